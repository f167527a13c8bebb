"""The review items of one plane, made again only where something has changed.

A threshold that moves hides and shows a few proposals of a thousand.  What an item is
cut to depends on nothing but its own mask, the labels under it and the items that were
cut before it and touch it.  So each proposal keeps what it was cut to under which
others, and is cut anew only when those have changed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.review_items import MOST_COVERED, ReviewItem
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    from napari_sam.core.annotation.review_items import ReviewItemKey
    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.core.rle import RunLengths
    from napari_sam.types import BoolArray, Plane

_REMEMBERED = 4
"""How many cuts of one proposal are kept: those before and after a threshold."""
_BUDGET = 64 << 20
"""Bytes of masks that may be kept for proposals that are hidden, and of old cuts."""
_CHUNK = 256
"""Boxes compared with all others at once."""


@dataclass(slots=True, eq=False)
class _Cut:
    """What is left of a proposal under certain others."""

    number: int
    own: BoolArray
    left: int
    covered: int
    review_item: ReviewItem | None = None


@dataclass(slots=True, eq=False)
class _Entry:
    """A proposal, those that may touch it, and what it was cut to.

    ``turn`` is the last pass in which it was a review item, ``cut`` what it was then.
    """

    runs: RunLengths
    mask: MaskCrop
    area: int
    key: ReviewItemKey
    score: float
    stability: float
    point: tuple[float, float]
    neighbors: list[_Entry] = field(default_factory=list)
    cuts: dict[tuple[int, ...], _Cut] = field(default_factory=dict)
    turn: int = 0
    cut: _Cut | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its masks; a cut that takes nothing away shares the mask."""
        cuts = sum(c.own is not self.mask.mask for c in self.cuts.values())
        return (1 + cuts) * self.mask.mask.nbytes


class ReviewItemTable:
    """Makes the review items of one plane; for one thread at a time.

    Gives what `make_review_items` gives, and the same `ReviewItem` objects as before
    where nothing has changed.

    Parameters
    ----------
    plane : Plane
        Which plane.

    Attributes
    ----------
    review_items : tuple of ReviewItem
        What was made last.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._known: dict[int, _Entry] = {}
        self._boxes = np.zeros((0, 4), np.int32)
        self._entries: list[_Entry] = []
        self._numbers = itertools.count()
        # Bytes that are kept, forgotten cuts included.
        self._most = 0
        self._turn = 0
        self._taken: BoolArray | None = None
        self._apart: bool | None = None
        self.review_items: tuple[ReviewItem, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the masks that are kept."""
        return sum(entry.nbytes for entry in self._entries)

    def make(
        self,
        proposals: Proposals,
        taken: BoolArray,
        hidden: Collection[ReviewItemKey] = (),
        min_area: int = 1,
        *,
        apart: bool = True,
    ) -> tuple[ReviewItem, ...]:
        """Return the proposals in free ground, best first; see `make_review_items`.

        Parameters
        ----------
        proposals : Proposals
            What was found on the plane; ``taken`` has its shape.
        taken : bool array (H, W)
            Pixels of labeled objects.  The very same array says that no label has
            changed.
        hidden : collection of keys
            Proposals that were decided already.
        min_area : int
            Items of fewer pixels after the cut are left out.
        apart : bool
            Leave out what others cover, instead of cutting it.
        """
        self._look(taken, apart)
        entries = self._entries_of(proposals)
        order: Sequence[int] = range(len(entries))
        if not apart:
            order = proposals.smallest_first().tolist()
        self._turn += 1
        turn, least, review_items = self._turn, max(1, min_area), []
        # Hashing a thousand keys would take longer than the rest.
        hides = bool(hidden)
        for number in order:
            entry = entries[number]
            if not entry.area or (hides and entry.key in hidden):
                continue
            under = [n for n in entry.neighbors if n.turn == turn]
            known = tuple([n.cut.number for n in under if n.cut is not None])
            cut = entry.cuts.get(known)
            if cut is None:
                cut = self._made(entry, under, apart)
                entry.cuts[known] = cut
                if len(entry.cuts) > _REMEMBERED:
                    del entry.cuts[next(iter(entry.cuts))]
            if cut.left < least or cut.covered > MOST_COVERED * entry.area:
                continue
            entry.turn, entry.cut = turn, cut
            if cut.review_item is None:
                cut.review_item = self._review_item(entry, cut)
            review_items.append(cut.review_item)
        if self._most > _BUDGET:
            self._most = self.nbytes
            if self._most > _BUDGET:
                self._shrink()
                self._most = self.nbytes
        self.review_items = tuple(
            sorted(review_items, key=lambda review_item: -review_item.score)
        )
        return self.review_items

    def _look(self, taken: BoolArray, apart: bool) -> None:
        """Forget the cuts that labels or the way of cutting have made wrong."""
        before, self._taken = self._taken, taken
        if before is taken and apart == self._apart:
            return
        if before is None or before.shape != taken.shape or apart != self._apart:
            self._apart = apart
            for entry in self._entries:
                entry.cuts.clear()
            return
        changed: BoolArray = np.not_equal(before, taken)
        rows = np.flatnonzero(changed.any(axis=1))
        if not rows.size:
            return
        columns = np.flatnonzero(changed[rows[0] : rows[-1] + 1].any(axis=0))
        place = np.array([[rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]])
        for number in np.flatnonzero(_touching(place, self._boxes)[0]).tolist():
            self._entries[number].cuts.clear()

    def _made(self, entry: _Entry, under: list[_Entry], apart: bool) -> _Cut:
        """Return what is left of a proposal by labels and by what was cut before."""
        mask, region = entry.mask.mask, entry.mask.region
        taken = self._taken
        own = mask if taken is None else mask & ~taken[region.slices]
        unlabeled = int(np.count_nonzero(own))
        for other in under:
            common = region.intersection(other.mask.region)
            if other.cut is None or common.is_empty:
                continue
            mine = common.shifted(-region.row0, -region.col0).slices
            theirs = other.mask.region
            inner = common.shifted(-theirs.row0, -theirs.col0).slices
            own[mine] &= ~other.cut.own[inner]
        left = int(np.count_nonzero(own))
        covered = entry.area - (left if apart else unlabeled)
        if left == entry.area:
            own = mask
        else:
            self._most += own.nbytes
        return _Cut(next(self._numbers), own, left, covered)

    def _review_item(self, entry: _Entry, cut: _Cut) -> ReviewItem:
        crop = entry.mask
        if cut.own is not crop.mask:
            crop = MaskCrop(cut.own, crop.region).tight()
        return ReviewItem(
            entry.key, self._plane, crop, entry.score, entry.stability, entry.point
        )

    # -- what is known ------------------------------------------------------

    def _entries_of(self, proposals: Proposals) -> list[_Entry]:
        """Return the entries of what is shown, best first; new ones are added."""
        shown = proposals.shown
        entries = [self._known.get(id(runs)) for runs in shown.masks]
        new = [number for number, entry in enumerate(entries) if entry is None]
        if new:
            self._add(proposals, new)
            entries = [self._known.get(id(runs)) for runs in shown.masks]
        return [entry for entry in entries if entry is not None]

    def _add(self, proposals: Proposals, numbers: list[int]) -> None:
        whole, first = Region.whole(proposals.shape), len(self._entries)
        shown = proposals.shown.take(np.array(numbers))
        for runs, box, point, area, score, stability in zip(
            shown.masks,
            shown.box.tolist(),
            shown.point.tolist(),
            shown.area.tolist(),
            shown.score.tolist(),
            shown.stability.tolist(),
            strict=True,
        ):
            mask = _inside(runs.decode(), whole)
            key = self._plane, tuple(box), tuple(point), area
            entry = _Entry(runs, mask, mask.area, key, score, stability, tuple(point))
            self._known[id(runs)] = entry
            self._entries.append(entry)
            self._most += mask.mask.nbytes
        regions = [e.mask.region for e in self._entries[first:]]
        boxes = np.array(
            [(r.row0, r.col0, r.row1, r.col1) for r in regions], np.int32
        ).reshape(-1, 4)
        self._boxes = np.concatenate([self._boxes, boxes])
        self._acquaint(first)

    def _acquaint(self, first: int) -> None:
        """Find the neighbors of the entries from this number on."""
        for start in range(first, len(self._entries), _CHUNK):
            stop = min(start + _CHUNK, len(self._entries))
            touching = _touching(self._boxes[start:stop], self._boxes[:stop])
            for i, j in zip(*(x.tolist() for x in np.nonzero(touching)), strict=True):
                one, other = self._entries[start + i], self._entries[j]
                if j < start + i:
                    one.neighbors.append(other)
                    other.neighbors.append(one)

    def _shrink(self) -> None:
        """Forget what is not offered now, and all other cuts of what is."""
        kept = [e for e in self._entries if e.turn == self._turn]
        for entry in kept:
            entry.neighbors = [n for n in entry.neighbors if n.turn == self._turn]
            entry.cuts = {k: c for k, c in entry.cuts.items() if c is entry.cut}
        rows = [i for i, e in enumerate(self._entries) if e.turn == self._turn]
        self._boxes = self._boxes[rows]
        self._entries = kept
        self._known = {id(e.runs): e for e in kept}


def _inside(crop: MaskCrop, whole: Region) -> MaskCrop:
    """Return the part of a mask that lies in the plane."""
    region = crop.region.intersection(whole)
    if region == crop.region:
        return crop
    if region.is_empty:
        return MaskCrop(np.zeros((0, 0), bool), Region(0, 0, 0, 0))
    inner = region.shifted(-crop.region.row0, -crop.region.col0)
    return MaskCrop(crop.mask[inner.slices], region)


def _touching(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> BoolArray:
    """Return which boxes (A, 4) and (B, 4) have pixels in common, (A, B)."""
    one = a[:, None]
    touching: BoolArray = (
        (one[..., 0] < b[:, 2])
        & (b[:, 0] < one[..., 2])
        & (one[..., 1] < b[:, 3])
        & (b[:, 1] < one[..., 3])
    )
    return touching
