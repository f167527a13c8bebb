"""Strips of the stack: which planes are encoded, and where the object is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_sam.viewer.overlay import color_text, score_color

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.core.volumes.followed import FollowedState
    from napari_sam.viewer.background.prefetcher import StripState
    from napari_sam.viewer.view_state import FollowState

_READY = QColor("#2ecc40")
_EMPTY = QColor(128, 128, 128, 70)
_SHOWN = QColor("#ffdc00")
_PROMPTED = QColor("#ff4136")
_GHOST = QColor("#8395a7")


class Strip(QWidget):
    """One cell per plane, and a yellow mark on the one that is shown.

    Attributes
    ----------
    clicked : Signal(int)
        The user pressed or dragged over this position.
    """

    clicked = Signal(int)
    _height = 14
    _margin = 3

    def __init__(self, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._count = 0
        self._position: int | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(tip)

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(120, self._height)

    def runs(self) -> list[tuple[npt.NDArray[np.bool_], QColor, int]]:
        """Return what is drawn: cells, their color, and how far from the edge."""
        return []

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the cells; runs of equal cells as one rectangle."""
        painter = QPainter(self)
        width, height, count = self.width(), self.height(), self._count
        painter.fillRect(0, self._margin, width, height - 2 * self._margin, _EMPTY)
        if count == 0:
            return
        for cells, color, margin in self.runs():
            edges = np.flatnonzero(np.diff(np.r_[False, cells, False].astype(int)))
            for start, stop in edges.reshape(-1, 2):
                left = int(start * width / count)
                right = max(left + 1, int(stop * width / count))
                painter.fillRect(left, margin, right - left, height - 2 * margin, color)
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
        if self._count:
            at = int(event.position().x() * self._count / max(1, self.width()))
            self.clicked.emit(min(max(at, 0), self._count - 1))


class ReadyStrip(Strip):
    """Which planes are encoded: green."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Encoded planes are green. Click to go to a plane.", parent)
        self._ready = np.zeros(0, bool)

    def set_state(self, state: StripState) -> None:
        """Show a new state."""
        self._ready, self._count = state.ready, len(state.ready)
        self._position = state.position
        self.update()

    def runs(self) -> list[tuple[npt.NDArray[np.bool_], QColor, int]]:
        """Return the encoded planes."""
        return [(self._ready, _READY, self._margin)]


class ObjectStrip(Strip):
    """Where the object under way is, and how sure that is."""

    # Together with the other strip, small enough for a small screen.
    _height = 9
    _margin = 1

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "The object through the stack: red where it is prompted, from violet "
            "(least sure) to yellow (surest) where it was followed, gray beyond its "
            "end. Click to go to a slice.",
            parent,
        )
        self._state: FollowedState | None = None

    def set_state(self, state: FollowState) -> None:
        """Show where the object is, if one is followed."""
        self._count, self._position = len(state.strip.ready), state.strip.position
        followed = state.followed if state.is_on_strip else None
        self._state = None if followed is None else followed.state(self._count)
        self.update()

    def runs(self) -> list[tuple[npt.NDArray[np.bool_], QColor, int]]:
        """Return the slices of the object, in the colors of their confidence."""
        state = self._state
        if state is None:
            return []
        found = ~np.isnan(state.confidence) & ~state.ghost & ~state.prompted
        colors = np.zeros(len(found), int)
        # The scale of scores begins at a half, that of confidences at nothing.
        colors[found] = [score_color(0.5 + c / 2) for c in state.confidence[found]]
        runs = [
            (found & (colors == color), QColor(color_text(int(color))), self._margin)
            for color in np.unique(colors[found])
        ]
        return [*runs, (state.ghost, _GHOST, 3), (state.prompted, _PROMPTED, 0)]
