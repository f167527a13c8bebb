"""One object through a stack, from one or more slices in which it is known.

Between two known slices nothing is passed on from slice to slice: each is asked by
itself, with the shape interpolated between them (`shapes.interpolated`).  Beyond the
last known slice the run goes outward, each slice expecting the shape of the last ones
carried on (`shapes.extrapolated`), until the object's end is proposed.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from napari_sam.core.model import EncodedPlane
from napari_sam.core.names import check_number
from napari_sam.core.views import View, object_view, view_at
from napari_sam.core.volumes.memory import Memory, appearance
from napari_sam.core.volumes.segment import Evidence, Weights, segment
from napari_sam.core.volumes.shapes import extrapolated, interpolated, without
from napari_sam.errors import PromptError, SettingsError
from napari_sam.types import BoolArray, MaskCrop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from napari_sam.core.volumes.memory import Appearance
    from napari_sam.types import Box, Region

EncodeAt = Callable[[int], Generator[None, None, EncodedPlane]]
"""Encodes the slice at a position, in short steps."""
BlockedAt = Callable[[int], BoolArray | None]
"""Pixels (H, W) of the slice at a position that belong to others; None for none."""


class Source(StrEnum):
    """Where the mask of a slice comes from."""

    PROMPTED = "prompted"
    MODEL = "model"
    INTERPOLATED = "interpolated"


@dataclass(frozen=True, slots=True)
class PropagationSettings:
    """Settings of a propagation.

    Parameters
    ----------
    time : bool
        Along time instead of along an axis of space: shapes do not go on changing as
        they did, and an object has less of an end.
    find_ends : bool
        Propose where the object ends; otherwise it is followed to the limits, or until
        nothing of it is found.
    ghosts : int
        Slices that are looked at beyond a proposed end.
    """

    time: bool = False
    find_ends: bool = True
    ghosts: int = 3

    def __post_init__(self) -> None:
        for name in ("time", "find_ends"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise SettingsError(f"{name} is {value!r}; choose True or False.")
        check_number("ghosts", self.ghosts, 0, 1000)
        if not isinstance(self.ghosts, int):
            raise SettingsError(f"ghosts is {self.ghosts}; choose a whole number.")


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedSlice:
    """An object in one slice.

    Parameters
    ----------
    position : int
        Along the axis.
    mask : MaskCrop
        In pixels of the slice; with an empty region where nothing is found.
    confidence : float
        0 to 1, comparable within one object, whatever was redone.
    source : Source
        Where the mask comes from.
    is_ghost : bool
        Whether the object has ended before, as far as can be told.
    evidence : Evidence
        What the confidence is made of.
    """

    position: int
    mask: MaskCrop
    confidence: float
    source: Source
    is_ghost: bool = False
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True)
class Span:
    """Positions that depend on the same prompted slices.

    Parameters
    ----------
    first, stop : int
        First position, and one past the last.
    below, above : int or None
        The prompted slices before and after; None where there is none, so that the
        object is followed outward from the other one.
    """

    first: int
    stop: int
    below: int | None
    above: int | None

    @property
    def positions(self) -> range:
        """All positions, nearest to the prompted slice first if there is but one."""
        if self.below is None:
            return range(self.stop - 1, self.first - 1, -1)
        return range(self.first, self.stop)

    @property
    def prompted(self) -> tuple[int, ...]:
        """The one or two prompted slices."""
        return tuple(p for p in (self.below, self.above) if p is not None)

    def distance(self, position: int) -> int:
        """Slices from a position to the nearest prompted slice."""
        return min(abs(position - p) for p in self.prompted)


def spans(prompted: Collection[int], limits: tuple[int, int]) -> tuple[Span, ...]:
    """Positions between limits, divided by the prompted slices they depend on.

    A correction is a new prompted slice, and changes nothing but the spans on its two
    sides: all that is in a span depends on ``below`` and ``above`` alone.

    Parameters
    ----------
    prompted : collection of int
        Positions of the prompted slices, within the limits.
    limits : tuple of int
        First position, and one past the last.

    Returns
    -------
    tuple of Span
        In order; none is empty.

    Raises
    ------
    PromptError
        If there is no prompted slice, or one is beyond the limits.
    """
    start, stop = limits
    known = sorted(set(prompted))
    if not known:
        raise PromptError("No slice is prompted; mark the object in one at least.")
    for position in known:
        if not start <= position < stop:
            raise PromptError(
                f"Slice {position} is prompted and not in {start} to {stop - 1}; "
                "choose other limits."
            )
    bounds = [None, *known, None]
    found = [
        Span(
            start if below is None else below + 1,
            stop if above is None else above,
            below,
            above,
        )
        for below, above in itertools.pairwise(bounds)
    ]
    return tuple(s for s in found if s.first < s.stop)


@dataclass(frozen=True, slots=True)
class _Way:
    """What differs between the ways to look for an object in a slice."""

    weights: Weights
    gamma: float = 0.0  # share of the last change that is expected once more
    stop: float = 0.0  # share of the best score so far, below which an object ends


# Measured on 28 objects of six sets, see docs/volumes.md.
_BETWEEN = _Way(Weights(prior=1.0, memory=4.0, likeness=0.0, room=0.05))
# Outward the prior is less sure; the likeness of an outline is lowered, since else a
# shape never shrinks.
_OUTWARD = _Way(
    Weights(prior=0.5, memory=3.0, likeness=0.3, room=0.03), gamma=0.5, stop=0.9
)
# What moves and deforms does not go on as it did, but hardly ends.
_IN_TIME = _Way(Weights(prior=1.0, memory=4.0, likeness=0.3, room=0.05), stop=0.75)
_RECENT = 0.5
"""Weight of the last slice, beside the prompted one, in what is learnt outward."""


def iter_propagate(
    encode: EncodeAt,
    prompted: Mapping[int, MaskCrop],
    limits: tuple[int, int],
    shape: tuple[int, int],
    settings: PropagationSettings | None = None,
    *,
    positions: Collection[int] | None = None,
    blocked: BlockedAt | None = None,
) -> Generator[PropagatedSlice | None, None, None]:
    """Propagate one object through a stack in short steps.

    Parameters
    ----------
    encode : callable
        Of a position, returns a generator of steps whose value is the encoded slice.
    prompted : mapping of int to MaskCrop
        The object in one slice or more, in pixels of the slices.  They are neither
        changed nor yielded.
    limits : tuple of int
        First position, and one past the last.
    shape : tuple of int
        Height and width of the slices.
    settings : PropagationSettings, optional
        The defaults if not given.
    positions : collection of int, optional
        Only these are yielded, and what they depend on is computed: after a correction
        those of the spans around it, or of one span that is to be redone.  A span gives
        the same whether others are computed or not.
    blocked : callable, optional
        Of a position, returns the pixels that belong to others, which no mask gets.

    Yields
    ------
    PropagatedSlice or None
        A slice as soon as it is known, nearest to a prompted slice first, and nothing
        in between.  Closing the generator cancels.

    Raises
    ------
    PromptError
        If there is no prompted slice, one is empty, or beyond the limits.
    ImageError, ModelError
        If a slice cannot be read or encoded.
    """
    for position, mask in prompted.items():
        if not mask.mask.any():
            raise PromptError(
                f"The object is empty in slice {position}; mark it there, or leave the "
                "slice out."
            )
    asked = spans(prompted, limits)
    run = _Run(encode, prompted, shape, settings or PropagationSettings(), blocked)
    wanted = None if positions is None else set(positions)
    queue: list[tuple[int, int, Iterator[PropagatedSlice | None]]] = []
    for number, span in enumerate(asked):
        if wanted is None or wanted.intersection(span.positions):
            heapq.heappush(queue, (1, number, run.steps(span, wanted)))
    while queue:
        _, number, steps = heapq.heappop(queue)
        for step in steps:
            if step is None:
                yield None
                continue
            if wanted is None or step.position in wanted:
                yield step
            distance = asked[number].distance(step.position)
            heapq.heappush(queue, (distance, number, steps))
            break


class _Run:
    """One call of `iter_propagate`."""

    def __init__(
        self,
        encode: EncodeAt,
        prompted: Mapping[int, MaskCrop],
        shape: tuple[int, int],
        settings: PropagationSettings,
        blocked: BlockedAt | None,
    ) -> None:
        self._encode = encode
        self._prompted = prompted
        self._shape = shape
        self._settings = settings
        self._blocked = blocked

    def steps(
        self, span: Span, wanted: Collection[int] | None
    ) -> Generator[PropagatedSlice | None, None, None]:
        if span.below is not None and span.above is not None:
            return self._between(span, span.below, span.above, wanted)
        return self._outward(span)

    def _between(
        self, span: Span, below: int, above: int, wanted: Collection[int] | None
    ) -> Generator[PropagatedSlice | None, None, None]:
        ends = self._prompted[below], self._prompted[above]
        place = yield from self._place(below, ends)
        known = []
        for position in (below, above):
            learnt = yield from self._learn(place, position, self._prompted[position])
            known += [] if learnt is None else [(learnt, 1.0)]
        memory = Memory.learnt(known)
        yield None
        for position in sorted(span.positions, key=span.distance):
            if wanted is not None and position not in wanted:
                continue
            prior = interpolated(*ends, (position - below) / (above - below))
            mask, evidence = yield from self._segment(
                place, position, prior, memory, _BETWEEN.weights
            )
            yield PropagatedSlice(
                position, mask, evidence.score, Source.MODEL, evidence=evidence
            )

    def _outward(self, span: Span) -> Generator[PropagatedSlice | None, None, None]:
        (start,) = span.prompted
        seed = self._prompted[start]
        way = _IN_TIME if self._settings.time else _OUTWARD
        place = yield from self._place(start, [seed])
        first = yield from self._learn(place, start, seed)
        recent: Appearance | None = None
        last, before = seed, None
        best, ghosts = 0.0, 0
        largest = float(seed.area)
        for position in span.positions:
            known = [(a, w) for a, w in ((first, 1.0), (recent, _RECENT)) if a]
            prior = extrapolated(last, before, way.gamma)
            mask, evidence = yield from self._segment(
                place, position, prior, Memory.learnt(known), way.weights
            )
            if mask.region.is_empty:
                return
            is_end = (
                evidence.score < max(0.5, way.stop * best)
                or evidence.area < 0.1 * seed.area
                or evidence.area > 1.8 * largest
            )
            if self._settings.find_ends and (ghosts or is_end):
                ghosts += 1
                if ghosts > self._settings.ghosts:
                    return
            yield PropagatedSlice(
                position,
                mask,
                evidence.score,
                Source.MODEL,
                is_ghost=ghosts > 0,
                evidence=evidence,
            )
            best, largest = max(best, evidence.score), max(largest, evidence.area)
            if evidence.score > 0.7 and evidence.overlap > 0.6:
                recent = yield from self._learn(place, position, mask)
            last, before = mask, last

    def _place(
        self, position: int, masks: Iterable[MaskCrop]
    ) -> Generator[None, None, _Place]:
        """Choose the view that suits an object, for all slices of a span alike."""
        plane = yield from self._encode(position)
        regions = [mask.tight().region for mask in masks]
        areas = [mask.area for mask in masks]
        view = object_view(
            _roomy(regions[0].union(regions[-1]), _DRIFT, self._shape),
            sum(areas) / len(areas),
            self._shape,
            max(plane.frame.scale),
        )
        return _Place(view, self._shape)

    def _seen(
        self, place: _Place, position: int, mask: MaskCrop
    ) -> Generator[None, None, tuple[EncodedPlane, tuple[int, int]]]:
        """Return a slice or the view of it, and its first pixel."""
        plane = yield from self._encode(position)
        view = place.holding(mask.tight().region)
        if view is not None:
            seen = yield from plane.iter_view(view)
            if seen is not None:
                return seen, (view.region.row0, view.region.col0)
        return plane, (0, 0)

    def _learn(
        self, place: _Place, position: int, mask: MaskCrop
    ) -> Generator[None, None, Appearance | None]:
        plane, (row, col) = yield from self._seen(place, position, mask)
        yield
        return appearance(plane, MaskCrop(mask.mask, mask.region.shifted(-row, -col)))

    def _segment(
        self,
        place: _Place,
        position: int,
        prior: MaskCrop,
        memory: Memory | None,
        weights: Weights,
    ) -> Generator[None, None, tuple[MaskCrop, Evidence]]:
        plane, (row, col) = yield from self._seen(place, position, prior)
        yield
        moved = MaskCrop(prior.mask, prior.region.shifted(-row, -col))
        found, evidence = segment(plane, moved, memory, weights)
        mask = MaskCrop(found.mask, found.region.shifted(row, col))
        if self._blocked is not None:
            mask = without(mask, self._blocked(position))
        return mask, evidence


_DRIFT = 0.25
"""Room in a view for what an object moves and grows, as a share of its length."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The view of a span: the same for all slices, unless the object leaves it."""

    view: View | None
    shape: tuple[int, int]

    def holding(self, region: Region) -> View | None:
        """Return a view of the same scale that holds a shape, None for the plane."""
        if self.view is None:
            return None
        extent = _roomy(region, _DRIFT / 2, self.shape)
        if self.view.holds(extent):
            return self.view
        middle = ((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2)
        view = view_at(middle, max(self.view.frame.scale), self.shape)
        return view if view.holds(extent) else None


def _roomy(region: Region, share: float, shape: tuple[int, int]) -> Box:
    """Return the extent of a region with room around it, within the plane."""
    rows, cols = (n * share for n in region.shape)
    return (
        max(0.0, region.row0 - rows),
        max(0.0, region.col0 - cols),
        min(float(shape[0]), region.row1 + rows),
        min(float(shape[1]), region.col1 + cols),
    )
