"""Which plane of a stack to encode next: the shown one, then where the user goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.stopwatch import Stopwatch, describe
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.types import BoolArray


class PrefetchQueue:
    """Positions along one axis of a stack, by how soon they will be wanted.

    Holds no pixels and starts no work: ask :meth:`next`, encode that plane,
    say :meth:`mark_ready` or :meth:`mark_failed`, ask again.  The answer takes
    every visit since into account, so work in single steps always goes to the
    plane on screen first.  Not thread-safe.

    Parameters
    ----------
    n : int
        Number of positions.
    ahead, behind : int
        How many neighbors to prepare in scroll direction and against it.
    whole_stack : bool
        Whether to go on with all the others, nearest first.

    Attributes
    ----------
    whole_stack : bool
        As above; may be changed at any time.
    """

    def __init__(
        self,
        n: int = 0,
        *,
        ahead: int = 3,
        behind: int = 1,
        whole_stack: bool = False,
    ) -> None:
        self.whole_stack = whole_stack
        self._ahead = ahead
        self._behind = behind
        self._is_paused = False
        self._stopwatch = Stopwatch()
        self.reset(n)

    def reset(self, n: int) -> None:
        """Start over with ``n`` positions, none ready: other pixels, other model.

        Keeps the pause, the whole-stack request and the estimate of time.
        """
        if n < 0:
            raise ValueError(f"a stack cannot have {n} positions")
        self._ready = np.zeros(n, bool)
        self._failed = np.zeros(n, bool)
        self._shown: int | None = None
        self._direction = 1

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self._ready)

    @property
    def ready(self) -> BoolArray:
        """Which positions are encoded: bool array (n,), a copy."""
        return self._ready.copy()

    @property
    def failed(self) -> BoolArray:
        """Which positions could not be encoded: bool array (n,), a copy."""
        return self._failed.copy()

    @property
    def is_paused(self) -> bool:
        """Whether :meth:`next` has nothing to offer for now."""
        return self._is_paused

    def visit(self, position: int) -> None:
        """Take note that a position is shown.

        A failed position is tried again when the user returns to it.
        """
        self._check(position)
        if position == self._shown:
            return
        if self._shown is not None:
            self._direction = 1 if position > self._shown else -1
        self._shown = position
        self._failed[position] = False

    def mark_ready(self, position: int) -> None:
        """Take note that a position is encoded."""
        self._check(position)
        self._ready[position] = True
        self._failed[position] = False

    def mark_failed(self, position: int) -> None:
        """Take note that a position cannot be encoded; it is not offered again."""
        self._check(position)
        self._ready[position] = False
        self._failed[position] = True

    def forget(self, position: int) -> None:
        """Take note that a position has to be encoded again: its pixels changed."""
        self._check(position)
        self._ready[position] = False
        self._failed[position] = False

    def pause(self) -> None:
        """Offer nothing until :meth:`resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Offer positions again."""
        self._is_paused = False

    def next(self) -> int | None:
        """Return the position to encode next, ``None`` if there is nothing to do.

        Before the first visit nothing is known to be wanted, except the whole
        stack.
        """
        if self._is_paused:
            return None
        open_ = ~(self._ready | self._failed)
        for position in self._wanted():
            if open_[position]:
                return position
        if not self.whole_stack:
            return None
        left = np.flatnonzero(open_)
        if left.size == 0:
            return None
        offset = (left - (self._shown or 0)) * self._direction
        # Nearest first; of two equally near, the one in scroll direction.
        return int(left[np.argmin(2 * np.abs(offset) - (offset > 0))])

    def observe(self, seconds: float) -> None:
        """Take note of how long encoding one plane took."""
        self._stopwatch.observe(seconds)

    @property
    def eta_seconds(self) -> float | None:
        """Estimated seconds until the whole stack is ready, if known."""
        return self._stopwatch.eta_seconds(len(self) - self._done)

    def progress(self) -> Progress:
        """Return how much of the whole stack is ready or has failed."""
        text = describe(self._done, len(self), self.eta_seconds)
        return Progress(self._done, len(self), text)

    @property
    def _done(self) -> int:
        return int(np.count_nonzero(self._ready | self._failed))

    def _wanted(self) -> Iterator[int]:
        """Yield the shown position and its neighbors within the stack."""
        if self._shown is None:
            return
        steps = [0, *range(1, self._ahead + 1), *range(-1, -self._behind - 1, -1)]
        for step in steps:
            position = self._shown + step * self._direction
            if 0 <= position < len(self):
                yield position

    def _check(self, position: int) -> None:
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is not in a stack of {len(self)}")
