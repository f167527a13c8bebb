"""Keys that work wherever the focus is in the dock, and fields that give it back.

napari listens to keys on its main window and its canvas.  A combo box takes letters
for a search in its list, a number field takes Escape and Enter, and in a dock that
floats nothing reaches the main window at all.  So our keys go there before the
widget that has the focus sees them, except where letters are text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QMainWindow,
    QWidget,
)

from napari_sam.viewer.keys import key_names

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEYS = QEvent.Type.KeyPress, QEvent.Type.KeyRelease
_LEAVE = Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape


class KeyRelay(QObject):
    """Passes our keys from the widgets of a dock to the main window.

    Parameters
    ----------
    dock : QWidget
        Its widgets, which are all there by now, take the focus only to be typed in:
        a button that is pressed and a list that is chosen from leave it where it is.
    """

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._ours = {QKeySequence(name).toString() for name in key_names()}
        # A release is passed on if its press was, whatever modifiers it has.
        self._held: set[int] = set()
        for widget in (dock, *dock.findChildren(QWidget)):
            if isinstance(widget, QAbstractButton | QComboBox):
                widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take our keys from a widget of the dock."""
        if event is None or not isinstance(watched, QWidget):
            return False
        if not isinstance(event, QKeyEvent) or event.type() not in _KEYS:
            return False
        window = main_window(self._dock)
        if window is None:
            return False
        key = event.key()
        if _is_field(watched) and key in _LEAVE:
            if event.type() == QEvent.Type.KeyPress:
                # The field takes its value first.
                QTimer.singleShot(0, window.setFocus)
            return False
        if event.type() == QEvent.Type.KeyRelease:
            if key not in self._held:
                return False
            if not event.isAutoRepeat():
                self._held.discard(key)
        elif not self._is_ours(event) or _is_text(watched):
            return False
        else:
            self._held.add(key)
        QApplication.sendEvent(window, event)
        event.accept()
        return True

    def _is_ours(self, event: QKeyEvent) -> bool:
        return QKeySequence(event.keyCombination()).toString() in self._ours


def main_window(widget: QWidget) -> QWidget | None:
    """Return the main window, also of a dock that floats."""
    return next((w for w in ancestors(widget) if isinstance(w, QMainWindow)), None)


def ancestors(widget: QWidget) -> Iterator[QWidget]:
    """Yield what a widget is in, from the inside out."""
    parent = widget.parentWidget()
    while parent is not None:
        yield parent
        parent = parent.parentWidget()


def _is_field(widget: QWidget) -> bool:
    return isinstance(widget, QLineEdit | QAbstractSpinBox)


def _is_text(widget: QWidget) -> bool:
    """Whether letters are text there; those of a number field are not."""
    return isinstance(widget, QLineEdit) and not isinstance(
        widget.parentWidget(), QAbstractSpinBox
    )
