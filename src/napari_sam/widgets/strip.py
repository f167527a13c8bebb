"""A strip that shows which planes of the stack are encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from napari_sam.viewer.prefetcher import StripState

_READY = QColor("#2ecc40")
_EMPTY = QColor(128, 128, 128, 70)
_SHOWN = QColor("#ffdc00")


class ReadyStrip(QWidget):
    """One cell per plane: green when encoded, a yellow mark on the shown one.

    Attributes
    ----------
    clicked : Signal(int)
        The user pressed or dragged over this position.
    """

    clicked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._ready = np.zeros(0, bool)
        self._position: int | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Encoded planes are green. Click to go to a plane.")

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(120, 14)

    def set_state(self, state: StripState) -> None:
        """Show a new state."""
        self._ready = state.ready
        self._position = state.position
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the cells; runs of equal cells as one rectangle."""
        painter = QPainter(self)
        width, height = self.width(), self.height()
        painter.fillRect(0, 3, width, height - 6, _EMPTY)
        count = len(self._ready)
        if count == 0:
            return
        edges = np.flatnonzero(np.diff(np.r_[False, self._ready, False].astype(int)))
        for start, stop in edges.reshape(-1, 2):
            left = int(start * width / count)
            right = max(left + 1, int(stop * width / count))
            painter.fillRect(left, 3, right - left, height - 6, _READY)
        if self._position is not None:
            left = int(self._position * width / count)
            cell = max(3, int(width / count))
            painter.fillRect(min(left, width - cell), 0, cell, height, _SHOWN)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the plane under the cursor."""
        self._go(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Follow a drag."""
        self._go(event)

    def _go(self, event: QMouseEvent | None) -> None:
        if event is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        count = len(self._ready)
        if count:
            at = int(event.position().x() * count / max(1, self.width()))
            self.clicked.emit(min(max(at, 0), count - 1))
