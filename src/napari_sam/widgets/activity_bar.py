"""What goes on in the background, in napari's own activity dock."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from napari.utils import progress
from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.types import Progress

_INTERVAL_MS = 500
_PATIENCE = 4  # intervals


class ActivityBar(QObject):
    """One bar in napari's activity dock for work that takes more than two seconds.

    With the bar napari starts a spinner.  Where OpenGL is done in software each of its
    pictures draws the whole window, which costs as much as the work.

    napari runs the event loop whenever a bar appears or changes, so this happens on
    a timer of its own and never inside somebody's change.

    Parameters
    ----------
    read : callable
        Returns how far the work is now; None when there is none.
    parent : QObject
        Lives as long as this.
    """

    def __init__(self, read: Callable[[], Progress | None], parent: QObject) -> None:
        super().__init__(parent)
        self._read = read
        self._bar: progress | None = None
        self._is_busy = False
        self._looks = 0
        self._timer = QTimer(self)
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.timeout.connect(self._show)

    def follow(self) -> None:
        """Look at the work from now on, until there is none."""
        if not self._timer.isActive():
            self._timer.start()

    def _show(self) -> None:
        if self._is_busy:
            return
        self._is_busy = True
        try:
            state = self._read()
            self._looks += 1
            if state is None:
                self.close()
            elif self._looks >= _PATIENCE:
                self._draw(state)
        finally:
            self._is_busy = False

    def _draw(self, state: Progress) -> None:
        if self._bar is None:
            # tqdm would draw it in the terminal as well.
            bar = progress(total=state.total, desc=state.text, file=StringIO())
            if not self._timer.isActive():
                # Closed while napari ran the event loop.
                bar.close()
                return
            self._bar = bar
        bar = self._bar
        if bar.total != state.total:
            bar.total = state.total
        if bar.desc.removesuffix(": ") != state.text:
            bar.set_description(state.text)
        if bar.n != state.done:
            bar.update(state.done - bar.n)

    def close(self) -> None:
        """Take the bar away."""
        self._timer.stop()
        self._looks = 0
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
