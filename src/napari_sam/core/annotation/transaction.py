"""Changes of labels and records that are made whole or not at all.

A transaction is a value: which pixels of a labels array change on any of its planes,
which object records change with them, which objects become daughters of which, and
which label is free before and after.  It is planned on copies (`plan_pixels`), and
applied, undone and redone by its owner; an undo is the inverse transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.records import ObjectRecord, digest_of
from napari_sam.core.masks import OverlapPolicy, plan_write, write_region
from napari_sam.types import MaskCrop, Plane, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from napari_sam.core.annotation.lineage import Lineage
    from napari_sam.types import BoolArray

_NOWHERE = Region(0, 0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """A mask to be written: its label, plane and pixels.

    ``previous`` is what this object covered before on that plane and gives up.  A
    mask without pixels erases.
    """

    label: int
    plane: Plane
    mask: MaskCrop
    previous: MaskCrop | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PixelChange:
    """Pixels of a labels array inside one box: where, before and after.

    Parameters
    ----------
    start : tuple of int
        First index of the box, one per array axis.
    mask : bool array
        Which pixels of the box change; one axis per array axis.
    before, after : integer array (N,)
        Their values in C order of ``mask``, in the dtype of the labels.
    """

    start: tuple[int, ...]
    mask: BoolArray
    before: npt.NDArray[Any]
    after: npt.NDArray[Any]

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(self.after.size)

    @property
    def box(self) -> tuple[slice, ...]:
        """The box as an index of the array."""
        return tuple(
            slice(s, s + n) for s, n in zip(self.start, self.mask.shape, strict=True)
        )

    @property
    def indices(self) -> tuple[npt.NDArray[np.intp], ...]:
        """Array indices of the pixels, one array per axis."""
        found = np.nonzero(self.mask)
        return tuple(i + s for i, s in zip(found, self.start, strict=True))

    def inverse(self) -> PixelChange:
        """Return the change that takes this one back."""
        return replace(self, before=self.after, after=self.before)

    def write_to(self, labels: npt.NDArray[Any]) -> None:
        """Set the values after the change, in memory."""
        labels[self.box][self.mask] = self.after

    def is_shown_by(self, labels: Any, *, before: bool = False) -> bool:
        """Whether an array holds the values after (or before) the change.

        A few pixels settle nearly every case without reading them all.
        """
        expected = self.before if before else self.after
        flat = np.flatnonzero(self.mask.ravel()[:65536])[:16]
        few = np.unravel_index(flat, self.mask.shape)
        at = tuple(i + s for i, s in zip(few, self.start, strict=True))
        if not np.array_equal(np.asarray(labels[at]), expected[: flat.size]):
            return False
        return np.array_equal(np.asarray(labels[self.box])[self.mask], expected)


@dataclass(frozen=True, slots=True, eq=False)
class RecordChange:
    """What is recorded about one label: before and after, None for nothing."""

    label: int
    before: ObjectRecord | None
    after: ObjectRecord | None

    def inverse(self) -> RecordChange:
        """Return the change that takes this one back."""
        return RecordChange(self.label, self.after, self.before)


@dataclass(frozen=True, slots=True)
class Stroke:
    """The origin of a transaction that the user's brush, fill or eraser made."""


@dataclass(frozen=True, slots=True, eq=False)
class Transaction:
    """One change of labels, records and lineage, applied whole or not at all.

    Parameters
    ----------
    pixels : tuple of PixelChange
        On any planes; none where only records change.
    records : tuple of RecordChange
        One per label whose record changes.
    next_label : (int, int)
        The free number before and after.
    origin : object, optional
        What its author needs to offer the same again when it is undone.
    lineage : (Lineage, Lineage), optional
        Which objects are daughters of which before and after; None if that stays.
    """

    pixels: tuple[PixelChange, ...]
    records: tuple[RecordChange, ...] = ()
    next_label: tuple[int, int] = (1, 1)
    origin: Any = None
    lineage: tuple[Lineage, Lineage] | None = None

    @property
    def is_step(self) -> bool:
        """Whether an undo takes it back by itself: pixels or daughters change."""
        if self.pixels or self.lineage is None:
            return bool(self.pixels)
        before, after = self.lineage
        return before.descents != after.descents

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that have a record afterwards."""
        return tuple(r.label for r in self.records if r.after is not None)

    @property
    def size(self) -> int:
        """Number of pixels that change."""
        return sum(change.size for change in self.pixels)

    def inverse(self) -> Transaction:
        """Return the transaction that takes this one back."""
        return replace(
            self,
            pixels=tuple(c.inverse() for c in reversed(self.pixels)),
            records=tuple(r.inverse() for r in self.records),
            next_label=self.next_label[::-1],
            lineage=None if self.lineage is None else self.lineage[::-1],
        )


@dataclass(frozen=True, slots=True, eq=False)
class PixelPlan:
    """What writing some masks comes to.

    Parameters
    ----------
    by_plane : dict of Plane to PixelChange
        Planes on which nothing changes are left out.
    digests : dict
        Checksum of the pixels that each label has on a plane afterwards, within what
        was looked at; empty for none.  See `digest_of`.
    losing : dict
        Other labels that lose pixels, and the planes on which they do.
    """

    by_plane: dict[Plane, PixelChange]
    digests: dict[tuple[int, Plane], str]
    losing: dict[int, tuple[Plane, ...]]

    @property
    def changes(self) -> tuple[PixelChange, ...]:
        """The changes on all planes."""
        return tuple(self.by_plane.values())


def plan_pixels(
    objects: Iterable[ObjectMask],
    policy: OverlapPolicy,
    read: Callable[[Plane, Region], npt.NDArray[Any]],
    shape: tuple[int, ...],
) -> PixelPlan:
    """Return what writing masks would change; nothing is written.

    Planes may share pixels: the same slice with its axes exchanged, or slices of
    different directions, which cross.  Each sees what the planes before it get.

    Parameters
    ----------
    objects : iterable of ObjectMask
        In order, plane by plane: under ``KEEP`` the first to write a pixel keeps it.
    policy : OverlapPolicy
        What happens to pixels that are labeled already.
    read : callable
        Returns a copy of the labels in a region of a plane, rows first.
    shape : tuple of int
        Of the labels array.

    Raises
    ------
    LabelsError
        If a label does not fit the dtype of the labels.
    """
    groups: dict[Plane, list[ObjectMask]] = {}
    for obj in objects:
        groups.setdefault(obj.plane, []).append(obj)
    changes: dict[Plane, PixelChange] = {}
    digests: dict[tuple[int, Plane], str] = {}
    losing: dict[int, dict[Plane, None]] = {}
    crossing = {p for p in groups if any(_share_pixels(p, q) for q in groups if q != p)}

    def planned(
        plane: Plane, region: Region, now: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Return a copy of a region's labels with what is planned so far."""
        values = now.copy()
        for other, change in changes.items():
            if _share_pixels(plane, other):
                _show(change, plane, region, values)
        return values

    for plane, group in groups.items():
        size = plane.shape(shape)
        seen: dict[int, Region] = {}
        parts = [write_region(obj.mask, obj.previous, size) for obj in group]
        for obj, part in zip(group, parts, strict=True):
            seen[obj.label] = seen.get(obj.label, _NOWHERE).union(part)
        region = reduce(Region.union, seen.values(), _NOWHERE)
        digests |= {(label, plane): "" for label in seen}
        if region.is_empty:
            continue
        before = read(plane, region)
        now = planned(plane, region, before) if plane in crossing else before
        after = now.copy()
        # Each object looks at its own part: what thousands of them cover is large.
        for obj, part in zip(group, parts, strict=True):
            if part.is_empty:
                continue
            own = after[part.shifted(-region.row0, -region.col0).slices]
            write = plan_write(own, part, obj.mask, obj.label, policy, obj.previous)
            own[write.rows - part.row0, write.cols - part.col0] = write.values
        for label, part in seen.items():
            if part.is_empty:
                continue
            own = after[part.shifted(-region.row0, -region.col0).slices]
            digests[label, plane] = digest_of(MaskCrop(own == label, part))
        changed = now != after
        if not changed.any():
            continue
        if plane in crossing:
            # What this plane changes again is no change of another one.
            for other, change in changes.items():
                if _share_pixels(plane, other):
                    changes[other] = _without(change, plane, region, changed)
        for label in np.unique(before[changed]).tolist():
            if label > 0 and label not in seen:
                losing.setdefault(label, {})[plane] = None
        changes[plane] = plane_change(
            plane, region, before, np.where(changed, after, before)
        )
    for plane in crossing:
        # Planes that came later have changed it, wherever they cross it.
        whole = Region.whole(plane.shape(shape))
        values = planned(plane, whole, read(plane, whole))
        for obj in groups[plane]:
            digests[obj.label, plane] = digest_of(MaskCrop(values == obj.label, whole))
    changes = {plane: change for plane, change in changes.items() if change.size}
    return PixelPlan(changes, digests, {label: tuple(p) for label, p in losing.items()})


def _share_pixels(a: Plane, b: Plane) -> bool:
    """Whether two planes of an array have pixels in common."""
    return all(
        i is None or j is None or i == j for i, j in zip(a.index, b.index, strict=True)
    )


def _show(
    change: PixelChange, plane: Plane, region: Region, values: npt.NDArray[Any]
) -> None:
    """Set the values of a change in a copy of a region of a plane, rows first."""
    box, part, own = _common(change, plane, region, values)
    if part is None:
        return
    after = np.zeros(change.mask.shape, change.after.dtype)
    after[change.mask] = change.after
    mask = change.mask[own]
    box[part][mask] = after[own][mask]


def _without(
    change: PixelChange, plane: Plane, region: Region, taken: npt.NDArray[np.bool_]
) -> PixelChange:
    """Return a change without the pixels taken in a region of a plane."""
    box, part, own = _common(change, plane, region, taken)
    if part is None:
        return change
    mask = change.mask.copy()
    mask[own] &= ~box[part]
    stays = mask[change.mask]
    return PixelChange(change.start, mask, change.before[stays], change.after[stays])


def _common(
    change: PixelChange, plane: Plane, region: Region, values: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], tuple[slice, ...] | None, tuple[slice, ...]]:
    """Return values with all array axes, and what they share with a change.

    Returns
    -------
    box : array
        A view of the values, one axis per array axis.
    part, own : tuple of slice
        The shared pixels in the box, and in the box of the change; `part` is None if
        there are none.
    """
    start, box = _as_box(plane, region, values)
    part, own = [], []
    for first, size, other, other_size in zip(
        start, box.shape, change.start, change.mask.shape, strict=True
    ):
        low, high = max(first, other), min(first + size, other + other_size)
        if low >= high:
            return box, None, ()
        part.append(slice(low - first, high - first))
        own.append(slice(low - other, high - other))
    return box, tuple(part), tuple(own)


def _as_box(
    plane: Plane, region: Region, values: npt.NDArray[Any]
) -> tuple[tuple[int, ...], npt.NDArray[Any]]:
    """Return a region of a plane, rows first, as a view of a box of the array."""
    start = [0 if i is None else i for i in plane.index]
    start[plane.displayed[0]], start[plane.displayed[1]] = region.row0, region.col0
    across = tuple(a for a, i in enumerate(plane.index) if i is not None)
    box = np.expand_dims(values.T if plane.is_transposed else values, across)
    return tuple(start), box


def plane_change(
    plane: Plane,
    region: Region,
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
) -> PixelChange:
    """Return the pixels that differ between two states of a region of a plane.

    Parameters
    ----------
    plane : Plane
        Which plane.
    region : Region
        Which part of it.
    before, after : integer array (h, w)
        Rows first, as the plane is displayed.
    """
    start, old = _as_box(plane, region, before)
    _, new = _as_box(plane, region, after)
    changed = np.ascontiguousarray(old != new)
    return PixelChange(start, changed, old[changed], new[changed])


def replay(labels: npt.NDArray[Any], transactions: Sequence[Transaction]) -> None:
    """Write the pixels of transactions, in order, into an array in memory."""
    for transaction in transactions:
        for change in transaction.pixels:
            change.write_to(labels)
