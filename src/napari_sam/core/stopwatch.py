"""Time left of a long operation, estimated and put into words."""

from __future__ import annotations

import math
import time
from collections import deque
from statistics import median

_WINDOW = 9


class Stopwatch:
    """How long something has taken since this was made, and will still take.

    Steps that are `observe`d are known by the median of the last nine: a step that
    the system interrupted does not disturb it, and it follows a machine that becomes
    busy.  Of other work, what is done says how long the rest takes.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._recent: deque[float] = deque(maxlen=_WINDOW)

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._start

    def seconds_left(self, done: float, total: float) -> float | None:
        """Return the seconds for the rest if it goes on as it did, None at first."""
        return self.elapsed * (total / done - 1) if done else None

    def observe(self, seconds: float) -> None:
        """Take note of how long a step took."""
        self._recent.append(seconds)

    @property
    def seconds_per_step(self) -> float | None:
        """The estimate in seconds, ``None`` before the first step."""
        return median(self._recent) if self._recent else None

    def eta_seconds(self, steps_left: int) -> float | None:
        """Return the seconds that the remaining steps will take, if known."""
        each = self.seconds_per_step
        return None if each is None else each * steps_left


def format_duration(seconds: float) -> str:
    """Return a duration in words, rounded up to what is worth reading.

    Examples
    --------
    >>> format_duration(220)
    '3 min 40 s'
    >>> format_duration(7300)
    '2 h 2 min'
    """
    total = max(0, math.ceil(seconds))
    if total < 60:
        return f"{total} s"
    if total < 600:
        minutes, rest = divmod(math.ceil(total / 10) * 10, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(math.ceil(total / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def describe(done: int, total: int, eta_seconds: float | None = None) -> str:
    """Return the progress of work on planes in words.

    Examples
    --------
    >>> describe(18, 142, 220)
    '18 of 142 planes, 3 min 40 s left'
    """
    text = f"{done} of {total} plane" + ("" if total == 1 else "s")
    if eta_seconds is None or done >= total:
        return text
    return f"{text}, {format_duration(eta_seconds)} left"
