"""Linking: the objects of single slices become objects of a stack, or tracks.

Segments of neighboring slices are matched one-to-one by overlap: intersection over
union, the assignment of the largest sum (as StarDist, Cellpose and CellProfiler stitch
and track), with a threshold.  Overlap over the smaller area, with which a large object
swallows its neighbors, only decides about what is left on both sides: along z, an
object narrows at its ends faster than any threshold allows.

Along z, what lies on top of each other is then cut where the area has a *waist*: a
slice that is much smaller than slices on both sides of it.  Along time, a segment that
nothing precedes may be a daughter
(:func:`~napari_sam.core.volumes.matching.proposed_divisions`).

Along z everything is symmetric: a reversed stack has the same objects, unless two
matchings are equally good.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam.core.names import check_type
from napari_sam.core.steps import finish
from napari_sam.core.volumes.label_stack import (
    Foreground,
    IntArray,
    LabelStack,
    Segments,
    renumber,
    smallest_dtype,
)
from napari_sam.core.volumes.linked import INSIDE, Linked, LinkedObject, LinkSettings
from napari_sam.core.volumes.marked import MarkedDivisions, is_among, without
from napari_sam.core.volumes.matching import (
    FloatArray,
    best_matching,
    left_inside,
    overlap_ratios,
    proposed_divisions,
)
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from scipy.sparse import csr_array

    from napari_sam.core.volumes.label_stack import Labels
    from napari_sam.types import ProgressCallback


_OBJECTS_A_STEP = 50


def link(
    labels_by_slice: Labels,
    *,
    min_iou: float | None = None,
    time: bool = False,
    gap: int = 0,
    min_extent: int = 1,
    split: bool = True,
    ends: bool = True,
    divisions: bool = True,
    progress: ProgressCallback | None = None,
) -> npt.NDArray[Any]:
    """Link the objects of single slices; return labels with ids through the stack.

    See `link_objects` for the objects, their ends, and tracks with divisions.

    Parameters
    ----------
    labels_by_slice : integer array (Z, H, W), or a sequence of arrays (H, W)
        Label images, as everything mode gives them for each slice; 0 is background.
        Equal labels in two slices mean nothing.  numpy, dask or zarr; slices are read
        one at a time.  Along time also (T, Z, H, W), whose frames are volumes.
    min_iou : float, optional
        Smallest intersection over union of an object in two slices, above 0 to 1.
    time : bool
        Whether the first axis is time, not z.
    gap : int
        How many slices an object may be missing in.  They are not filled.
    min_extent : int
        Objects through fewer slices are left out.
    split : bool
        Along z, whether objects on top of each other are cut where they are narrow.
    ends : bool
        Along z, whether what is left on both sides is linked where at least half of one
        lies in the other: objects narrow at their ends.
    divisions : bool
        Along time, whether divisions are looked for; daughters get ids of their own.
    progress : callable, optional
        Called with a `Progress` after every slice.  An exception that it raises ends
        the run.

    Returns
    -------
    integer array (Z, H, W)
        0, and 1 to N in order of first slices.  Of the type of the labels if that holds
        the ids, else of the smallest unsigned type that does.

    Raises
    ------
    LabelsError
        If the labels are no stack of two or more label images of one shape, are not
        integers, or are below 0.
    SettingsError
        If a number is outside its range.

    Examples
    --------
    >>> import numpy as np
    >>> slices = [np.array([[0, 7, 7]]), np.array([[2, 1, 1]])]
    >>> link(slices).tolist()
    [[[0, 1, 1]], [[2, 1, 1]]]
    """
    settings = LinkSettings(
        min_iou=min_iou,
        time=time,
        gap=gap,
        min_extent=min_extent,
        split=split,
        ends=ends,
        divisions=divisions,
    )
    return link_objects(labels_by_slice, settings, progress=progress).labels


def link_objects(
    labels_by_slice: Labels,
    settings: LinkSettings | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> Linked:
    """Link the objects of single slices; return the objects as well as the labels.

    Parameters
    ----------
    labels_by_slice, progress
        As for `link`.
    settings : LinkSettings, optional
        What is linked with what.

    Returns
    -------
    Linked
        ``labels``; ``objects`` with the slices, areas and overlaps of each;
        ``weakest_first()``; ``ends()``; and along time ``tracks``.

    Raises
    ------
    LabelsError, SettingsError
        As for `link`.
    """
    return finish(iter_link(labels_by_slice, settings), progress)


def iter_link(
    labels_by_slice: Labels,
    settings: LinkSettings | None = None,
    *,
    marked: MarkedDivisions | None = None,
) -> Generator[Progress, None, Linked]:
    """Link the objects of single slices; yield progress, return the objects.

    The generator form of `link_objects`, with its parameters and errors.  Each slice is
    read twice.  The work follows the pixels and the number of objects.

    Parameters
    ----------
    labels_by_slice, settings
        As for `link_objects`.
    marked : MarkedDivisions, optional
        Along time, divisions that a person marked: each is one of the result's, also if
        no others are looked for.

    Yields
    ------
    Progress
        After every slice, in slices: each is read, then written.

    Returns
    -------
    Linked
        As for `link_objects`.
    """
    settings = settings or LinkSettings()
    check_type("settings", settings, LinkSettings, "a LinkSettings")
    stack = LabelStack(labels_by_slice, volumes=settings.time)
    total = 2 * len(stack)
    links = _Links(settings, marked or MarkedDivisions())
    for index in range(len(stack)):
        links.add(stack[index])
        yield Progress(index + 1, total, "linking")
    segments = Segments.joined(links.parts, len(stack.shape) - 1)
    before, ious = links.before, links.ious
    if settings.split and not settings.time:
        for _ in _cut_waists(segments, before, ious, settings.waist):
            yield Progress(len(stack), total, "splitting")
    ids, left_out = _numbered(segments, before, settings.min_extent)
    high = int(ids.max(initial=0))
    dtype = smallest_dtype(high, stack.dtype)
    labels = np.zeros(stack.shape, dtype)
    starts = np.searchsorted(segments.slices, np.arange(len(stack) + 1))
    for index in range(len(stack)):
        rows = slice(starts[index], starts[index + 1])
        renumber(stack[index], segments.labels[rows], ids[rows], labels[index])
        yield Progress(len(stack) + index + 1, total, "writing")
    graph = {
        int(ids[d]): (int(ids[mother]),)
        for mother, daughters in links.divisions
        for d in daughters
        if ids[mother] and ids[d]
    }
    objects = tuple(_objects(segments, ids, ious))
    return Linked(labels, objects, graph, settings.time, left_out)


class _Links:
    """The links between slices, which are added one after another."""

    def __init__(self, settings: LinkSettings, marked: MarkedDivisions) -> None:
        self._settings = settings
        self._marked = marked if settings.time else MarkedDivisions()
        self.parts: list[Segments] = []
        self._before: list[IntArray] = []
        self._ious: list[FloatArray] = []
        self.divisions: list[tuple[int, tuple[int, ...]]] = []
        """Mother and daughters, by number of segment."""
        self._starts: list[int] = []
        # Of the last slices: pixels, number of the first segment, which go on.
        self._near: deque[tuple[npt.NDArray[np.int32], int, npt.NDArray[np.bool_]]] = (
            deque(maxlen=settings.gap + 1)
        )
        self._n = 0

    @property
    def before(self) -> IntArray:
        """The segment before each in its object, -1 of the first."""
        return np.concatenate([*self._before, np.zeros(0, np.int64)])

    @property
    def ious(self) -> FloatArray:
        """The overlap of each with the one before, NaN of the first.

        Of the first of a daughter, that of all daughters with the mother.
        """
        return np.concatenate([*self._ious, np.zeros(0)])

    def add(self, image: npt.NDArray[Any]) -> None:
        """Link the next slice to those before it, the nearest first."""
        index = len(self.parts)
        here = Foreground.of(image)
        part = here.measured(index)
        before = np.full(len(part), -1, np.int64)
        ious = np.full(len(part), np.nan)
        has_begun = np.zeros(len(part), np.bool_)
        for distance, (other, start, goes_on) in enumerate(
            reversed(self._near), start=1
        ):
            areas = self.parts[index - distance].areas
            shared = self._allowed(
                here.shared_with(other, len(areas)), index - distance, part
            )
            ratios = overlap_ratios(shared, areas, part.areas)
            if distance > 1:
                # Over a gap, only what ended there and has not begun since.
                pairs = ratios.tocoo()
                ratios.data[goes_on[pairs.row] | has_begun[pairs.col]] = 0
            first, second, weight = best_matching(ratios, self._settings.threshold)
            if distance == 1 and self._settings.ends and not self._settings.time:
                left = left_inside(
                    shared, ratios, areas, part.areas, (first, second), INSIDE
                )
                more = best_matching(left, 0)
                first, second, weight = (
                    np.concatenate(both)
                    for both in zip((first, second, weight), more, strict=True)
                )
            before[second] = start + first
            ious[second] = weight
            goes_on[first] = has_begun[second] = True
            if distance == 1 and self._settings.time and self._settings.divisions:
                matched = np.full(len(areas), -1, np.int64)
                matched[first] = second
                orphans = is_among(part.labels, self._marked.orphans_in(index))
                for division in proposed_divisions(
                    without(shared, np.zeros(len(areas), np.bool_), orphans)
                    if orphans.any()
                    else shared,
                    areas,
                    part.areas,
                    matched,
                    self._settings.threshold,
                ):
                    a, b = division.daughters
                    mother = start + division.mother
                    self.divisions.append((mother, (self._n + a, self._n + b)))
                    before[[a, b]] = -1
                    ious[[a, b]] = division.overlap
                    goes_on[division.mother] = has_begun[[a, b]] = True
        for label, segment in self._marked.begin_in(index).items():
            ends, begins = self._number(*segment), _number_in(part, self._n, label)
            if ends is not None and begins is not None:
                self.divisions.append((ends, (begins,)))
        self._near.append((here.numbered(), self._n, np.zeros(len(part), np.bool_)))
        self._starts.append(self._n)
        self._n += len(part)
        self.parts.append(part)
        self._before.append(before)
        self._ious.append(ious)

    def _allowed(self, shared: csr_array, frame: int, part: Segments) -> csr_array:
        """Return overlaps with a frame before, without those of marked divisions."""
        ends = self._marked.end_in(frame)
        begins = self._marked.begin_in(len(self.parts))
        if not ends and not begins:
            return shared
        return without(
            shared,
            is_among(self.parts[frame].labels, ends),
            is_among(part.labels, begins),
        )

    def _number(self, frame: int, label: int) -> int | None:
        if not 0 <= frame < len(self._starts):
            return None
        return _number_in(self.parts[frame], self._starts[frame], label)


def _number_in(part: Segments, start: int, label: int) -> int | None:
    """Return the number of a frame's segment; None if it has no such label."""
    at = int(np.searchsorted(part.labels, label))
    is_there = at < len(part) and int(part.labels[at]) == label
    return start + at if is_there else None


def find_waists(
    areas: Sequence[float], ious: Sequence[float], waist: float
) -> list[int]:
    """Return where an object is to be cut at the waists of its areas.

    A waist is the slice whose area is the smallest part of the smaller of the largest
    areas on both sides; below ``waist`` the object is cut there, on the side where the
    overlap is smaller, and both parts are looked at again.

    Parameters
    ----------
    areas : sequence of float (n,)
        Area of each slice of the object.
    ious : sequence of float (n - 1,)
        Overlap of each slice but the first with the one before.
    waist : float
        0 cuts nothing, 1 at every dip.

    Returns
    -------
    list of int
        First slices of new objects, ascending, as indices of ``areas``.
    """
    cuts: list[int] = []
    parts = [(0, len(areas))]
    while parts:
        start, stop = parts.pop()
        if stop - start < 3:
            continue
        part = list(areas[start:stop])
        left = list(accumulate(part, max))
        right = list(accumulate(reversed(part), max))[::-1]
        depth, at = min(
            (part[i] / min(left[i - 1], right[i + 1]), start + i)
            for i in range(1, len(part) - 1)
        )
        if depth >= waist:
            continue
        # ious[at - 1] links the waist with the slice before it, ious[at] with the next.
        cut = at if ious[at - 1] <= ious[at] else at + 1
        cuts.append(cut)
        parts += [(start, cut), (cut, stop)]
    return sorted(cuts)


def _grouped(segments: Segments, before: IntArray) -> tuple[IntArray, IntArray]:
    """Return segments in order of object and slice, and where each object starts."""
    root = np.where(before < 0, np.arange(len(before)), before)
    while True:
        further = root[root]
        if np.array_equal(further, root):
            break
        root = further
    order = np.lexsort((segments.slices, root))
    starts = np.flatnonzero(np.diff(root[order], prepend=-1))
    return order, starts


def _cut_waists(
    segments: Segments, before: IntArray, ious: FloatArray, waist: float
) -> Iterator[None]:
    """Cut the links at the waists, in place; yield after every few objects."""
    order, starts = _grouped(segments, before)
    areas, overlaps = segments.areas[order].tolist(), ious[order].tolist()
    stops = [*starts[1:].tolist(), order.size][: len(starts)]
    for count, (start, stop) in enumerate(zip(starts.tolist(), stops, strict=True), 1):
        for cut in find_waists(areas[start:stop], overlaps[start + 1 : stop], waist):
            row = order[start + cut]
            before[row] = -1
            ious[row] = np.nan
        if count % _OBJECTS_A_STEP == 0:
            yield


def _numbered(
    segments: Segments, before: IntArray, min_extent: int
) -> tuple[IntArray, int]:
    """Return the id of each segment's object, 0 of those through too few slices.

    And how many these objects are.
    """
    ids = np.zeros(len(segments), np.int64)
    if not ids.size:
        return ids, 0
    order, starts = _grouped(segments, before)
    stops = np.append(starts[1:], order.size)
    firsts, lasts = order[starts], order[stops - 1]
    is_kept = segments.slices[lasts] - segments.slices[firsts] + 1 >= min_extent
    # The first segment of each is its root, so the objects are in its order.
    numbers = np.where(is_kept, np.cumsum(is_kept), 0)
    ids[order] = np.repeat(numbers, stops - starts)
    return ids, int(np.count_nonzero(~is_kept))


def _objects(
    segments: Segments, ids: IntArray, ious: FloatArray
) -> Iterator[LinkedObject]:
    order = np.lexsort((segments.slices, ids))
    order = order[ids[order] > 0]
    starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
    stops = [*starts[1:], order.size][: len(starts)]
    slices, labels = segments.slices[order], segments.labels[order]
    areas, centers = segments.areas[order], segments.centers[order]
    overlaps, numbers = ious[order], ids[order]
    for start, stop in zip(starts, stops, strict=True):
        yield LinkedObject(
            int(numbers[start]),
            slices[start:stop],
            labels[start:stop],
            areas[start:stop],
            centers[start:stop],
            overlaps[start + 1 : stop],
            float(overlaps[start]),
        )
