"""Two quick clicks at one place, where they are two clicks.

Qt takes the second of them for a double click, which adds no point: also if another
slice, or another object, was there in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.canvas_context import canvases_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_sam.viewer.prompting.pointer import Pointer


class QuickClicks(QObject):
    """Turns the double clicks of a window's canvas that are clicks into clicks.

    Parameters
    ----------
    window : QWidget
        The main window.
    pointer : Pointer
        Knows what the last press was about.
    parent : QObject
        Which it lives as long as.
    """

    def __init__(self, window: QWidget, pointer: Pointer, parent: QObject) -> None:
        super().__init__(parent)
        self._pointer = pointer
        for canvas in canvases_of(window):
            canvas.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Press the button instead of clicking it twice."""
        if (
            watched is None
            or not isinstance(event, QMouseEvent)
            or event.type() != QEvent.Type.MouseButtonDblClick
            or not self._pointer.clicks_anew
        ):
            return False
        press = QMouseEvent(
            QEvent.Type.MouseButtonPress,
            event.position(),
            event.scenePosition(),
            event.globalPosition(),
            event.button(),
            event.buttons(),
            event.modifiers(),
        )
        QApplication.sendEvent(watched, press)
        return True
