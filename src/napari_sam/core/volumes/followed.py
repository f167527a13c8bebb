"""An object that is followed along one axis: what is known of it, slice by slice.

All changes return a new value.  What has to be computed is derived from the slices that
are prompted now and from those that the known slices were made of, so a correction
leaves two spans to be done again, whatever happened before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.planes import is_plane_of
from napari_sam.core.volumes.propagation import (
    PropagatedSlice,
    PropagationSettings,
    Source,
    Span,
    spans,
)
from napari_sam.types import Region

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from napari_sam.types import FloatArray, MaskCrop, Plane

Ends = tuple[int | None, int | None]
"""The prompted slices on the two sides of a span."""


@dataclass(frozen=True, slots=True, eq=False)
class FollowedState:
    """One object along the axis, as a strip shows it.

    Parameters
    ----------
    confidence : float32 array (n,)
        0 to 1; NaN where the object is not, or is not known yet.
    prompted : bool array (n,)
        Where the user has marked or confirmed it.
    ghost : bool array (n,)
        Where it is shown but not written: beyond its proposed end.
    interpolated : bool array (n,)
        Where the shape between two prompted slices is taken as it is.
    """

    confidence: FloatArray
    prompted: npt.NDArray[np.bool_]
    ghost: npt.NDArray[np.bool_]
    interpolated: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """An object along one axis.

    Parameters
    ----------
    base : Plane
        Any plane of the stack.
    axis : int
        The array axis that the object is followed along.
    limits : tuple of int
        First position, and one past the last.
    settings : PropagationSettings
        How it is followed.
    prompted : mapping of int to MaskCrop
        The slices in which it is known: prompted and answered, or confirmed.
    confirmed : mapping of int to MaskCrop
        Those of them that the user has taken over as they were found.
    slices : mapping of int to PropagatedSlice
        What was found, none of it in prompted slices.
    stale : frozenset of int
        Those of them that depend on prompted slices which are others by now.
    finished : frozenset of (int or None, int or None)
        Prompted slices between which, or beyond which, all is found.
    """

    base: Plane
    axis: int
    limits: tuple[int, int]
    settings: PropagationSettings = field(default_factory=PropagationSettings)
    prompted: Mapping[int, MaskCrop] = field(default_factory=dict)
    confirmed: Mapping[int, MaskCrop] = field(default_factory=dict)
    slices: Mapping[int, PropagatedSlice] = field(default_factory=dict)
    stale: frozenset[int] = frozenset()
    finished: frozenset[Ends] = frozenset()

    # -- planes -------------------------------------------------------------

    def plane(self, position: int) -> Plane:
        """Return the plane at a position."""
        return self.base.moved(self.axis, position)

    def position(self, plane: Plane) -> int | None:
        """Return where a plane lies; None if it is none of the stack."""
        at = plane.index[self.axis] if plane.ndim == self.base.ndim else None
        return None if at is None or self.plane(at) != plane else at

    def on(self, plane: Plane) -> PropagatedSlice | None:
        """Return what was found on a plane, if anything was."""
        at = self.position(plane)
        if at is not None and at in self.confirmed:
            return PropagatedSlice(at, self.confirmed[at], 1.0, Source.PROMPTED)
        found = None if at is None else self.slices.get(at)
        return None if found is None or found.mask.region.is_empty else found

    def goes_on(self, plane: Plane, axis: int, settings: PropagationSettings) -> bool:
        """Return whether following it from a plane goes on with what is known."""
        return (
            bool(self.prompted)
            and self.axis == axis
            and self.settings == settings
            and self.position(plane) is not None
        )

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether all of it lies in an image of a shape."""
        if not is_plane_of(self.base, shape):
            return False
        start, stop = self.limits
        known = {p: s.mask for p, s in self.slices.items()}
        masks = [*known.values(), *self.prompted.values(), *self.confirmed.values()]
        whole = Region.whole(self.base.shape(shape))
        return (
            0 <= start < stop <= shape[self.axis]
            and all(start <= p < stop for p in (*known, *self.prompted))
            and all(whole.intersection(mask.region) == mask.region for mask in masks)
        )

    # -- what is to be done -------------------------------------------------

    @property
    def left(self) -> tuple[Span, ...]:
        """The spans that are not finished."""
        if not self.prompted:
            return ()
        return tuple(
            span
            for span in spans(self.prompted, self.limits)
            if (span.below, span.above) not in self.finished
        )

    @property
    def positions_left(self) -> tuple[int, ...]:
        """Positions to be computed: of an outward span all, as each needs the last."""
        return tuple(
            p
            for span in self.left
            for p in span.positions
            if None in (span.below, span.above)
            or p not in self.slices
            or p in self.stale
        )

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to be computed."""
        return bool(self.prompted) and not self.left

    # -- changes ------------------------------------------------------------

    def with_prompted(self, answered: Mapping[int, MaskCrop]) -> Followed:
        """Return it with these slices answered, and those that are confirmed.

        Returns itself if nothing has changed by that.
        """
        low, high = min(answered, default=None), max(answered, default=None)
        limits = self.limits
        if low is not None and high is not None:
            limits = min(limits[0], low), max(limits[1], high + 1)
        confirmed = {p: m for p, m in self.confirmed.items() if p not in answered}
        prompted = {**confirmed, **answered}
        same = {p for p in prompted if _is_same(prompted[p], self.prompted.get(p))}
        if same == prompted.keys() == self.prompted.keys() and limits == self.limits:
            return self
        kept = {p: s for p, s in self.slices.items() if p not in prompted}
        old = {} if not prompted else {
            (s.below, s.above): s for s in spans(prompted, limits)
        }  # fmt: skip
        finished = frozenset(
            ends
            for ends in self.finished
            if ends in old and all(e is None or e in same for e in ends)
        )
        fresh = {p for ends in finished for p in old[ends].positions}
        stale = frozenset(p for p in kept if p not in fresh)
        # What was found of a span that is the same, if it was not finished.
        unchanged = self._unchanged(old.values(), same)
        return replace(
            self,
            limits=limits,
            prompted=prompted,
            confirmed=confirmed,
            slices=kept,
            stale=(stale - unchanged) | (self.stale & kept.keys()),
            finished=finished,
        )

    def asked_again(self, answered: Mapping[int, MaskCrop]) -> Followed:
        """Return it with new answers to its prompts: from another session, say.

        The answers may differ by some pixels.  Where the same slices are prompted, what
        was found goes with them.
        """
        asked = self.prompted.keys() - self.confirmed.keys()
        if asked != answered.keys():
            return self.with_prompted(answered)
        return replace(self, prompted={**self.confirmed, **answered})

    def _unchanged(self, now: Collection[Span], same: set[int]) -> frozenset[int]:
        """Return the positions of spans between the same prompted slices as before."""
        if not self.prompted:
            return frozenset()
        before = {(s.below, s.above) for s in spans(self.prompted, self.limits)}
        return frozenset(
            p
            for span in now
            if (span.below, span.above) in before and same.issuperset(span.prompted)
            for p in span.positions
        )

    def with_limits(self, limits: tuple[int, int]) -> Followed:
        """Return it to be followed between other limits; what lies beyond is dropped.

        No prompted slice is: limits nearer than these are moved to them.
        """
        low, high = min(self.prompted), max(self.prompted)
        start, stop = min(limits[0], low), max(limits[1], high + 1)
        finished = set(self.finished)
        # Where it had been followed to the limit, and that is farther now.
        if start < self.limits[0]:
            finished.discard((None, low))
        if stop > self.limits[1]:
            finished.discard((high, None))
        kept = {p: s for p, s in self.slices.items() if start <= p < stop}
        return replace(
            self,
            limits=(start, stop),
            slices=kept,
            stale=self.stale & kept.keys(),
            finished=frozenset(finished),
        )

    def with_slice(self, found: PropagatedSlice) -> Followed:
        """Return it with one more slice."""
        if found.position in self.prompted:
            return self
        return replace(
            self,
            slices={**self.slices, found.position: found},
            stale=self.stale - {found.position},
        )

    def with_finished(self, done: Collection[Span]) -> Followed:
        """Return it with all of some spans found: what is stale there has ended."""
        gone = {p for span in done for p in span.positions if p in self.stale}
        return replace(
            self,
            slices={p: s for p, s in self.slices.items() if p not in gone},
            stale=self.stale - gone,
            finished=self.finished | {(s.below, s.above) for s in done},
        )

    def ended_at(self, position: int) -> Followed | None:
        """Return it with its end at a slice: cut after it, or extended to it.

        A ghost is confirmed by that, and the object followed on from there.  None if
        the object does not reach the slice, or is prompted beyond it, or on it alone.
        """
        low, high = min(self.prompted), max(self.prompted)
        found = self.slices.get(position)
        if found is not None and found.is_ghost and not found.mask.region.is_empty:
            return self.confirming(position)
        if position not in self.prompted and (found is None or found.is_ghost):
            return None
        if low == high == position:
            return None
        if position >= high:
            return self.with_limits((self.limits[0], position + 1))
        if position <= low:
            return self.with_limits((position, self.limits[1]))
        return None

    def redoing(self, position: int) -> Followed | None:
        """Return it with the span around a slice to be found again; None if prompted.

        What was found there is shown until then.
        """
        for span in spans(self.prompted, self.limits) if self.prompted else ():
            if span.first <= position < span.stop:
                again = self.stale.union(p for p in span.positions if p in self.slices)
                done = self.finished - {(span.below, span.above)}
                return replace(self, stale=again, finished=done)
        return None

    def confirming(self, position: int) -> Followed:
        """Return it with a slice that was found as good as prompted."""
        found = self.slices[position]
        answered = {p: m for p, m in self.prompted.items() if p not in self.confirmed}
        confirmed = {**self.confirmed, position: found.mask}
        return replace(self, confirmed=confirmed).with_prompted(answered)

    # -- what is read -------------------------------------------------------

    @property
    def to_write(self) -> dict[int, tuple[MaskCrop, float]]:
        """Masks and confidences of the slices that are written, beside the answers."""
        found = {
            p: (s.mask, s.confidence)
            for p, s in self.slices.items()
            if not (s.is_ghost or s.mask.region.is_empty)
        }
        found |= {p: (mask, 1.0) for p, mask in self.confirmed.items()}
        return dict(sorted(found.items()))

    @property
    def extent(self) -> tuple[int, int]:
        """First and last position of the object."""
        known = [*self.to_write, *self.prompted]
        return min(known), max(known)

    def least_sure(self, but: Collection[int] = ()) -> int | None:
        """Return the position of the lowest confidence, not one of some others."""
        sure = {
            p: s.confidence
            for p, s in self.slices.items()
            if not s.is_ghost and p not in but
        }
        return min(sure, key=lambda p: (sure[p], p), default=None)

    def state(self, count: int) -> FollowedState:
        """Return what a strip of so many slices shows."""
        confidence = np.full(count, np.nan, np.float32)
        prompted, ghost, interpolated = np.zeros((3, count), bool)
        for p, found in self.slices.items():
            if not found.mask.region.is_empty:
                confidence[p] = found.confidence
                ghost[p] = found.is_ghost
                interpolated[p] = found.source is Source.INTERPOLATED
        for p in self.prompted:
            prompted[p], confidence[p] = True, 1.0
        return FollowedState(confidence, prompted, ghost, interpolated)


def _is_same(a: MaskCrop, b: MaskCrop | None) -> bool:
    if a is b:
        return True
    return (
        b is not None and a.region == b.region and bool(np.array_equal(a.mask, b.mask))
    )
