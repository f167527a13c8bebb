"""The mouse wheel over the dock: it scrolls the dock and changes no value.

Qt gives the wheel to what lies under the mouse, also to a number or a list that the
scrolling has only just brought there.
"""

from __future__ import annotations

from qtpy.QtCore import QChildEvent, QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from napari_sam.widgets.focus import ancestors


class WheelGuard(QObject):
    """Passes the wheel from the controls of a dock on to what scrolls.

    A number field or a slider takes it while it has the keyboard focus, a combo box
    never does.

    Parameters
    ----------
    dock : QWidget
        All widgets in it, and those that come later.
    """

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._watch(dock)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the wheel from a control."""
        if event is None:
            return False
        if event.type() == QEvent.Type.ChildPolished and isinstance(event, QChildEvent):
            # Not when it is added: it is half made then.
            child = event.child()
            if isinstance(child, QWidget):
                self._watch(child)
            return False
        if event.type() != QEvent.Type.Wheel or not isinstance(watched, QWidget):
            return False
        if not _is_kept_from(watched):
            return False
        areas = (w for w in ancestors(watched) if isinstance(w, QScrollArea))
        area = next(areas, None)
        bar = area.verticalScrollBar() if area is not None else None
        if bar is not None:
            QApplication.sendEvent(bar, event)
        event.accept()
        return True

    def _watch(self, root: QWidget) -> None:
        for widget in (root, *root.findChildren(QWidget)):
            if widget.focusPolicy() == Qt.FocusPolicy.WheelFocus:
                # Else the wheel gives it the focus first.
                widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            widget.installEventFilter(self)


def _is_kept_from(widget: QWidget) -> bool:
    """Whether the wheel would change a value that nobody has turned to."""
    if isinstance(widget, QComboBox):
        return True
    if isinstance(widget, QScrollBar):
        return False
    return (
        isinstance(widget, QAbstractSpinBox | QAbstractSlider) and not widget.hasFocus()
    )
