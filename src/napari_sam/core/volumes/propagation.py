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
from typing import TYPE_CHECKING, Annotated

import numpy as np
from scipy import ndimage

from napari_sam.core.model import EncodedPlane
from napari_sam.core.settings import Range, Settings
from napari_sam.core.volumes.judge import EndRule, confidence
from napari_sam.core.volumes.memory import Memory, appearance
from napari_sam.core.volumes.place import Place
from napari_sam.core.volumes.segment import Evidence, Weights, residual_of, segment
from napari_sam.core.volumes.shapes import (
    extrapolated,
    interpolated,
    outline_change,
    without,
)
from napari_sam.errors import PromptError
from napari_sam.types import BoolArray, MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from napari_sam.core.volumes.memory import Appearance
    from napari_sam.core.volumes.place import Seen
    from napari_sam.types import FloatArray

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
class PropagationSettings(Settings):
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
    ghosts: Annotated[int, Range(0, 1000)] = 3


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
    def positions(self) -> list[int]:
        """All positions, the nearest to a prompted slice first."""
        return sorted(range(self.first, self.stop), key=self.distance)

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
    end: EndRule | None = None


# Measured, see docs/volumes.md.
_BETWEEN = _Way(Weights(prior=1.0, memory=5.0, likeness=0.0, room=0.15))
# Outward the prior is less sure, and a box with more room lets it leak; the likeness of
# an outline is lowered, since else a shape never shrinks.
_OUTWARD = _Way(
    Weights(prior=0.5, memory=3.0, likeness=0.3, room=0.03),
    gamma=0.5,
    end=EndRule(score=0.9, contrast=0.6),
)
# What moves and deforms does not go on as it did, but hardly ends.
_IN_TIME = _Way(
    Weights(prior=1.0, memory=4.0, likeness=0.3, room=0.05),
    end=EndRule(score=0.75, contrast=0.6),
)
_RECENT = 0.5
"""Weight of the last slice, beside the prompted one, in what is learnt outward."""
_FINEST = 0.2
"""Pixels to which an outline between two equal slices is known."""
_GOOD = (0.7, 0.6)
"""Score and overlap from which on it is learnt from."""


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
            at = asked[number].positions.index(step.position)
            following = asked[number].positions[at + 1 : at + 2]
            if following:
                distance = asked[number].distance(following[0])
                heapq.heappush(queue, (distance, number, steps))
            break


@dataclass(frozen=True, slots=True, eq=False)
class _Residual:
    """What logits lack, in cells of a view whose first pixel is ``(row, col)``."""

    logits: FloatArray
    row: int
    col: int

    def seen_in(self, seen: Seen) -> FloatArray:
        """Return it in the cells of another view of the same scale."""
        move = [
            round((at - now) * scale / 4)
            for at, now, scale in zip(
                (self.row, self.col),
                (seen.row, seen.col),
                seen.plane.frame.scale,
                strict=True,
            )
        ]
        if not any(move):
            return self.logits
        moved: FloatArray = ndimage.shift(self.logits, move, order=0, prefilter=False)
        return moved


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
        change = outline_change(*ends)
        yield None
        lack_below = yield from self._lacking(place, below, memory, _BETWEEN)
        lack_above = yield from self._lacking(place, above, memory, _BETWEEN)
        for position in span.positions:
            if wanted is not None and position not in wanted:
                continue
            prior = interpolated(*ends, (position - below) / (above - below))
            seen = yield from self._seen(place, position, prior)
            yield None
            share = (position - below) / (above - below)
            # Half-way between unlike slices little is known, next to one much.
            depth = max(_FINEST, change * 4 * share * (1 - share))
            residual = np.float32(1 - share) * lack_below.seen_in(seen)
            residual += np.float32(share) * lack_above.seen_in(seen)
            mask, evidence = self._segment(
                seen, position, prior, memory, _BETWEEN, residual, depth=depth
            )
            source = Source.MODEL
            if mask.region.is_empty:
                # The object is known to be there.
                mask, source = self._free(prior, position), Source.INTERPOLATED
            sure = confidence(evidence, span.distance(position), is_between=True)
            yield PropagatedSlice(position, mask, sure, source, evidence=evidence)

    def _outward(self, span: Span) -> Generator[PropagatedSlice | None, None, None]:
        (start,) = span.prompted
        seed = self._prompted[start]
        way = _IN_TIME if self._settings.time else _OUTWARD
        place = yield from self._place(start, [seed])
        first = yield from self._learn(place, start, seed)
        prompted = Memory.learnt([] if first is None else [(first, 1.0)])
        memory = prompted
        lacking = yield from self._lacking(place, start, prompted, way)
        last, before = seed, None
        known: list[Evidence] = []
        ghosts = 0
        for position in span.positions:
            prior = extrapolated(last, before, way.gamma)
            seen = yield from self._seen(place, position, prior)
            yield None
            residual = lacking.seen_in(seen)
            mask, evidence = self._segment(
                seen, position, prior, memory, way, residual, prompted
            )
            if mask.region.is_empty:
                return
            is_end = way.end and way.end.is_met(evidence, known, seed.area)
            if self._settings.find_ends and (ghosts or is_end):
                ghosts += 1
                if ghosts > self._settings.ghosts:
                    return
            sure = confidence(evidence, span.distance(position))
            yield PropagatedSlice(
                position, mask, sure, Source.MODEL, ghosts > 0, evidence
            )
            known.append(evidence)
            if first and evidence.score > _GOOD[0] and evidence.overlap > _GOOD[1]:
                recent = appearance(seen.plane, seen.moved(mask))
                known_slices = [(first, 1.0)]
                if recent is not None:
                    known_slices.append((recent, _RECENT))
                memory = Memory.learnt(known_slices)
                yield None
            last, before = mask, last

    def _place(
        self, position: int, masks: Sequence[MaskCrop]
    ) -> Generator[None, None, Place]:
        plane = yield from self._encode(position)
        return Place.of(masks, self._shape, max(plane.frame.scale))

    def _seen(
        self, place: Place, position: int, mask: MaskCrop
    ) -> Generator[None, None, Seen]:
        plane = yield from self._encode(position)
        return (yield from place.iter_look(plane, mask))

    def _learn(
        self, place: Place, position: int, mask: MaskCrop
    ) -> Generator[None, None, Appearance | None]:
        seen = yield from self._seen(place, position, mask)
        yield
        return appearance(seen.plane, seen.moved(mask))

    def _lacking(
        self, place: Place, position: int, memory: Memory | None, way: _Way
    ) -> Generator[None, None, _Residual]:
        mask = self._prompted[position]
        seen = yield from self._seen(place, position, mask)
        yield
        lack = residual_of(seen.plane, seen.moved(mask), memory, way.weights)
        yield
        return _Residual(lack, seen.row, seen.col)

    def _segment(
        self,
        seen: Seen,
        position: int,
        prior: MaskCrop,
        memory: Memory | None,
        way: _Way,
        residual: FloatArray,
        prompted: Memory | None = None,
        depth: float | None = None,
    ) -> tuple[MaskCrop, Evidence]:
        found, evidence = segment(
            seen.plane,
            seen.moved(prior),
            memory,
            way.weights,
            prompted,
            depth,
            residual,
        )
        return self._free(seen.moved_back(found), position), evidence

    def _free(self, mask: MaskCrop, position: int) -> MaskCrop:
        """Return a mask within the slice, without what belongs to others."""
        region = mask.region.intersection(Region.whole(self._shape))
        if region != mask.region:
            mask = MaskCrop.from_full(mask.full(self._shape))
        blocked = None if self._blocked is None else self._blocked(position)
        return without(mask, blocked)
