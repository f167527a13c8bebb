"""Encoding planes before they are asked for.

The queue says which plane; each plane is one job at the lowest priority, so a
click, the plane on screen and everything mode go first.  After the user moved,
prefetch waits a moment, because scrolling itself needs the processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.core.embeddings.prefetch_queue import PrefetchQueue
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from napari_sam.types import BoolArray, Plane, Progress
    from napari_sam.viewer.context import Context

SHOWN_SLOT = "shown"
PREFETCH_SLOT = "prefetch"
SETTLE_SECONDS = 0.12
"""A plane that is only scrolled past is not encoded."""
IDLE_SECONDS = 0.6
"""Rest after the user's last movement before prefetch goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class StripState:
    """What the strip of slices shows.

    Parameters
    ----------
    ready : bool array (n,)
        Which positions are encoded.
    position : int or None
        The one on screen.
    axis : int or None
        The image axis they run along; None for a single plane.
    """

    ready: BoolArray
    position: int | None
    axis: int | None

    def __eq__(self, other: object) -> bool:
        """Whether the same is to be drawn."""
        return (
            isinstance(other, StripState)
            and (self.position, self.axis) == (other.position, other.axis)
            and np.array_equal(self.ready, other.ready)
        )

    __hash__ = None  # type: ignore[assignment]


class Prefetcher:
    """Keeps the plane on screen and its neighbors encoded.

    Attributes
    ----------
    changed : Signal()
        The strip has to be drawn again.
    shown_ready : Signal()
        The plane on screen can answer now.
    failed : Signal(object)
        The plane on screen could not be read or encoded.
    """

    changed = Signal()
    shown_ready = Signal()
    failed = Signal(object)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._queue = PrefetchQueue()
        self._axis: int | None = None
        self._base: Plane | None = None
        self._last_shown: Plane | None = None
        self._shown_is_ready = False
        # How many planes were known to be encoded at the last look.
        self._looked_at = 0

    @property
    def is_shown_ready(self) -> bool:
        """Whether the plane on screen is encoded."""
        return self._shown_is_ready

    @property
    def strip(self) -> StripState:
        """What the strip shows."""
        plane = self._context.plane
        position = (
            plane.index[self._axis]
            if plane is not None and self._axis is not None
            else None
        )
        return StripState(self._queue.ready, position, self._axis)

    @property
    def is_whole_stack(self) -> bool:
        """Whether the user asked for all planes."""
        return self._queue.whole_stack

    @property
    def is_paused(self) -> bool:
        """Whether prefetch is paused."""
        return self._queue.is_paused

    @property
    def progress(self) -> Progress:
        """How much of the stack is encoded, with the time left."""
        return self._queue.progress()

    def reset(self) -> None:
        """Forget what is ready: other pixels or another model."""
        self._cancel()
        self._queue.reset(len(self._queue))
        self._base = None
        self._shown_is_ready = False
        self.changed.emit()

    def show(self) -> None:
        """Encode the plane that is on screen now, then go on around it."""
        context = self._context
        context.runner.cancel(PREFETCH_SLOT)
        plane = context.plane
        self._shown_is_ready = False
        # Nobody scrolls past the first plane of an image or a model.
        delay = 0.0 if self._base is None else SETTLE_SECONDS
        if plane is not None:
            # Without a model, too: the stack is known before it.
            self._follow(plane)
        if plane is None or context.encoder is None:
            context.runner.cancel(SHOWN_SLOT)
            self.changed.emit()
            return
        context.runner.submit(
            Job(
                partial(context.encoder.iter_visit, plane),
                priority=Priority.SHOWN,
                slot=SHOWN_SLOT,
                delay=delay,
                on_result=lambda result: self._on_shown(plane, result[1]),
                on_error=lambda error: self._on_shown_error(plane, error),
            )
        )
        self.changed.emit()

    def look(self) -> None:
        """Take note of planes that others have encoded, and of those from before."""
        encoder = self._context.encoder
        if encoder is None or self._base is None:
            return
        ready = encoder.ready
        if len(ready) == self._looked_at:
            return
        self._looked_at = len(ready)
        for plane in ready:
            if self._is_of_stack(plane):
                self._queue.mark_ready(self._position(plane))
        self.changed.emit()

    def request_whole_stack(self, wanted: bool) -> None:
        """Encode all planes, or stop doing so."""
        self._queue.whole_stack = wanted
        self._queue.resume()
        self._next(delay=0.0)
        self.changed.emit()

    def set_paused(self, paused: bool) -> None:
        """Pause or go on; the plane on screen is always encoded."""
        if paused:
            self._queue.pause()
            self._context.runner.cancel(PREFETCH_SLOT)
        else:
            self._queue.resume()
            self._next(delay=0.0)
        self.changed.emit()

    def _cancel(self) -> None:
        self._context.runner.cancel(SHOWN_SLOT)
        self._context.runner.cancel(PREFETCH_SLOT)

    def _follow(self, plane: Plane) -> None:
        """Point the queue at the stack that this plane belongs to."""
        context = self._context
        if context.image is None:
            return
        shape = layer_shape(context.image)
        moved = _moved_axis(self._last_shown, plane)
        self._last_shown = plane
        last_used = context.viewer.dims.last_used if moved is None else moved
        axis = _stack_axis(plane, shape, last_used, self._axis)
        # Planes of one stack differ only along its axis.
        base = plane if axis is None else plane.moved(axis, 0)
        if axis != self._axis or base != self._base:
            self._axis, self._base = axis, base
            self._queue.reset(1 if axis is None else shape[axis])
            self._looked_at = 0
            self.look()
        self._queue.visit(self._position(plane))

    def _position(self, plane: Plane) -> int:
        return 0 if self._axis is None else plane.index[self._axis] or 0

    def _is_of_stack(self, plane: Plane) -> bool:
        """Whether a plane is one of those along the strip."""
        axis = self._axis
        if axis is None:
            return plane == self._base
        # Of other views this axis is on screen.
        return plane.index[axis] is not None and plane.moved(axis, 0) == self._base

    def _on_shown(self, plane: Plane, seconds: float) -> None:
        self._mark(plane, seconds)
        if plane == self._context.plane:
            self._shown_is_ready = True
            self.shown_ready.emit()
        self._next(delay=IDLE_SECONDS)

    def _on_shown_error(self, plane: Plane, error: Exception) -> None:
        if plane == self._context.plane:
            self._queue.mark_failed(self._position(plane))
            self.failed.emit(error)
            self.changed.emit()

    def _mark(self, plane: Plane, seconds: float | None) -> None:
        if not self._is_of_stack(plane):
            return
        if seconds is not None and seconds > 0.2:
            # A hit in the store says nothing about the encoder's speed.
            self._queue.observe(seconds)
        self._queue.mark_ready(self._position(plane))
        self.changed.emit()

    def _next(self, delay: float) -> None:
        context = self._context
        if context.encoder is None or self._base is None:
            return
        if not (context.settings.prefetch or self._queue.whole_stack):
            return
        position = self._queue.next()
        if position is None:
            self._find_stored(delay)
            return
        plane = (
            self._base if self._axis is None else self._base.moved(self._axis, position)
        )
        context.runner.submit(
            Job(
                partial(context.encoder.iter_prepare, plane),
                priority=Priority.PREFETCH,
                slot=PREFETCH_SLOT,
                delay=delay,
                on_result=lambda seconds: self._on_prepared(plane, seconds),
                on_error=lambda error: self._on_prepare_error(plane),
            )
        )

    def _find_stored(self, delay: float) -> None:
        """Look for planes that an earlier session has encoded; nothing else is due."""
        context, base, axis = self._context, self._base, self._axis
        if context.encoder is None or base is None or axis is None:
            return
        if self._queue.is_paused or not context.encoder.source.is_quick:
            return
        left = np.flatnonzero(~self._queue.ready)
        context.runner.submit(
            Job(
                partial(
                    context.encoder.iter_find, [base.moved(axis, int(p)) for p in left]
                ),
                priority=Priority.PREFETCH,
                slot=PREFETCH_SLOT,
                delay=delay,
                on_end=self.look,
            )
        )

    def _on_prepared(self, plane: Plane, seconds: float | None) -> None:
        self._mark(plane, seconds)
        self._next(delay=0.0)

    def _on_prepare_error(self, plane: Plane) -> None:
        # Said aloud only when the user gets there and needs the plane.
        if self._axis is not None and self._is_of_stack(plane):
            self._queue.mark_failed(self._position(plane))
        self._next(delay=0.0)


def _moved_axis(before: Plane | None, after: Plane) -> int | None:
    """Return the axis along which the user has just gone, if it is one.

    napari notes the slider that was dragged, not one that a button or a key moved.
    """
    if before is None or before.displayed != after.displayed:
        return None
    if before.ndim != after.ndim:
        return None
    moved = [
        axis
        for axis, (a, b) in enumerate(zip(before.index, after.index, strict=True))
        if a != b
    ]
    return moved[0] if len(moved) == 1 else None


def _stack_axis(
    plane: Plane, shape: tuple[int, ...], last_used: int, current: int | None
) -> int | None:
    """Return the axis that the user scrolls along, None for a single plane.

    ``last_used`` counts viewer axes; a layer of fewer dimensions has the last
    ones, but the choice among several sliders is only a guess either way.
    """
    sliders = [a for a, i in enumerate(plane.index) if i is not None and shape[a] > 1]
    if not sliders:
        return None
    if last_used in sliders:
        return last_used
    return current if current in sliders else sliders[-1]
