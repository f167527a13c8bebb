"""Watches that the GUI's event loop keeps running."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from types import TracebackType


@dataclass
class Watchdog:
    """Notes the time whenever the event loop gets to a timer of 5 ms.

    A context manager; a job that runs in the GUI thread leaves no ticks while
    it does.

    Parameters
    ----------
    interval : int
        Milliseconds between two ticks of an idle event loop.
    """

    interval: int = 5
    ticks: list[float] = field(default_factory=list)
    """Times of `time.perf_counter` in seconds."""

    def __enter__(self) -> Watchdog:
        self._timer = QTimer()
        self._timer.setInterval(self.interval)
        self._timer.timeout.connect(self._tick)
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.stop()
        self._timer.timeout.disconnect(self._tick)

    def _tick(self) -> None:
        self.ticks.append(time.perf_counter())

    def between(self, start: float, stop: float) -> int:
        """Return how many ticks there were between two times."""
        return sum(start <= t <= stop for t in self.ticks)

    def gaps(self) -> list[float]:
        """Return the seconds between neighboring ticks."""
        return [b - a for a, b in zip(self.ticks[:-1], self.ticks[1:], strict=True)]
