"""When a key was pressed or let go, by the clock of the system.

A window that was busy for a while hears of a release and of the next press at the same
moment.  X11 sends the same pair for each repeat of a held key, and Qt marks it as one
only if both have arrived by then.  What tells them apart is when they happened.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QKeyEvent

from napari_sam.widgets.canvas_context import canvases_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class KeyClock(QObject):
    """Notes the time of each key that reaches a window; called, returns the last.

    Parameters
    ----------
    window : QWidget
        napari listens to keys on its main window and on the canvas in it.
    parent : QObject
        Which it lives as long as.
    """

    def __init__(self, window: QWidget, parent: QObject) -> None:
        super().__init__(parent)
        self._at: float | None = None
        for widget in (window, *canvases_of(window)):
            widget.installEventFilter(self)

    def __call__(self) -> float:
        """Return when the key that is being handled was pressed or let go, in s."""
        return time.monotonic() if self._at is None else self._at

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Note when a key was pressed or let go."""
        if isinstance(event, QKeyEvent):
            # 0 where a program made it.
            self._at = event.timestamp() / 1000 or None
        return False
