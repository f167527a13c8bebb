"""Objects that nobody has looked at yet, in the labels: found, confirmed, erased.

Either their records say so, or they were linked: what is one object through the stack,
also where its slices had been looked at one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.records import PlaneMask, digest_of
from napari_sam.core.annotation.review_items import certainty
from napari_sam.core.annotation.review_queue import Entry
from napari_sam.core.annotation.transaction import (
    ObjectMask,
    RecordChange,
    Transaction,
)
from napari_sam.core.masks import OverlapPolicy
from napari_sam.core.planes import is_plane_of
from napari_sam.types import MaskCrop
from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.core.annotation.records import ObjectRecord
    from napari_sam.core.volumes.doubts import Doubt
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget


@dataclass(frozen=True, slots=True, eq=False)
class ErasedObject:
    """Which object an erasing transaction took out."""

    label: int


@dataclass(frozen=True, slots=True, eq=False)
class LinkedPlaces:
    """Where linked objects are to be looked at.

    Parameters
    ----------
    planes : tuple of Plane
        The slices, in order.
    slices : mapping of int to tuple of int
        Those that each object is in, by its number.
    doubts : mapping of int to Doubt
        Its least certain place; none of an object that has no doubts.
    """

    planes: tuple[Plane, ...]
    slices: Mapping[int, tuple[int, ...]]
    doubts: Mapping[int, Doubt]

    def place(self, label: int) -> tuple[Plane, float]:
        """Return where an object is looked at, and its certainty."""
        doubt = self.doubts.get(label)
        if doubt is None:
            own = self.slices[label]
            return self.planes[own[len(own) // 2]], 1.0
        # The gap before the second slice of a division is not her own.
        inside = min(self.slices[label], key=lambda z: abs(z - doubt.slice))
        return self.planes[inside], doubt.certainty


_WORDS = {
    "link": "little overlap with the slice before",
    "waist": "narrow here",
    "beginning": "begins here",
    "end": "ends here",
    "division": "divides here",
}


class UnreviewedObjects:
    """Unconfirmed objects of the chosen labels; GUI thread only.

    An object is looked at as a whole; what is known of it is known by plane.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._linked: LinkedPlaces | None = None
        self._linked_target: LabelsTarget | None = None
        self._looked_at: set[int] = set()

    def take(self, linked: LinkedPlaces | None) -> None:
        """Have these objects looked at, which have just been linked; None for none."""
        self._linked, self._linked_target = linked, self._context.target
        self._looked_at = set()

    def look_at(self, *labels: int) -> None:
        """Note that linked objects have been looked at."""
        self._looked_at.update(labels)

    def reopen(self, label: int) -> None:
        """Have an object looked at again: it was erased, and is there again."""
        self._looked_at.discard(label)

    @property
    def count(self) -> int:
        """How many objects nobody has looked at."""
        linked = self._left()
        return len(linked) + sum(r.label not in linked for r in self._unconfirmed())

    def entries(self) -> list[Entry]:
        """Return what is to be looked at; no pixels are read."""
        linked = self._left()
        entries = []
        for label, places in linked.items():
            plane, certain = places.place(label)
            doubt = places.doubts.get(label)
            why = "" if doubt is None else _WORDS[doubt.kind]
            entries.append(Entry(label, plane, None, certain, why))
        for record in self._unconfirmed():
            if record.label not in linked:
                weakest = _open_masks(record)[0]
                score = record.score if math.isnan(weakest.score) else weakest.score
                sure = certainty(score, record.stability)
                entries.append(Entry(record.label, weakest.plane, None, sure))
        return entries

    def _left(self) -> dict[int, LinkedPlaces]:
        """Return the linked objects that nobody has looked at."""
        linked = self._linked
        if linked is None or self._context.target is not self._linked_target:
            return {}
        return {n: linked for n in linked.slices if n not in self._looked_at}

    def _unconfirmed(self) -> list[ObjectRecord]:
        target = self._context.target
        if target is None:
            return []
        shape = layer_shape(target.layer)
        return [
            r
            for r in target.records
            if not r.confirmed and all(is_plane_of(p, shape) for p in r.planes)
        ]

    def find(self, label: int) -> tuple[Plane, MaskCrop] | None:
        """Return where an object is to be looked at, and its pixels there.

        Where the user has changed it by hand it was looked at: it counts as confirmed
        there from now on, and is never overwritten.

        Returns
        -------
        (Plane, MaskCrop) or None
            None if nobody has to look at it any more.
        """
        linked, target = self._left().get(label), self._context.target
        if linked is None or target is None:
            return next(iter(self._as_written(label).items()), None)
        plane, _ = linked.place(label)
        mask = target.mask_of(label, plane)
        return None if mask is None else (plane, mask)

    def confirm(self, *labels: int) -> None:
        """Note that a person has looked at these objects."""
        target = self._context.target
        self.look_at(*labels)
        if target is None:
            return
        records = [r for r in map(target.records.get, labels) if r is not None]
        target.change_records(
            *(RecordChange(r.label, r, r.confirm()) for r in records if not r.confirmed)
        )

    def erase(self, label: int) -> bool:
        """Take an object out of the labels as one undo step.

        What the user has confirmed or changed by hand, on other planes, stays.

        Returns
        -------
        bool
            False if it is not there as it was written.
        """
        target = self._context.target
        if target is not None:
            target.catch_up()
        linked = self._left().get(label)
        masks = self._as_written(label) if linked is None else self._free(label, linked)
        record = target.records.get(label) if target is not None else None
        if target is None or not masks or (record is None and linked is None):
            return False
        nothing = [
            ObjectMask(
                label,
                plane,
                MaskCrop(np.zeros(mask.region.shape, bool), mask.region),
                previous=mask,
            )
            for plane, mask in masks.items()
        ]
        plan = target.plan(nothing, OverlapPolicy.KEEP)
        records: tuple[RecordChange, ...] = ()
        if record is not None:
            left = record.with_masks(PlaneMask(plane) for plane in masks)
            after = left.confirm() if left.masks else None
            records = (RecordChange(label, record, after),)
        now = target.next_label
        target.apply(
            Transaction(plan.changes, records, (now, now), ErasedObject(label))
        )
        self.look_at(label)
        return True

    def _free(self, label: int, linked: LinkedPlaces) -> dict[Plane, MaskCrop]:
        """Return a linked object's pixels on the slices that no one has confirmed."""
        target = self._context.target
        if target is None:
            return {}
        record = target.records.get(label)
        masks = {}
        for z in linked.slices[label]:
            plane = linked.planes[z]
            known = None if record is None else record.mask_on(plane)
            mask = target.mask_of(label, plane)
            if mask is not None and (known is None or not known.confirmed):
                masks[plane] = mask
        return masks

    def _as_written(self, label: int) -> dict[Plane, MaskCrop]:
        """Return an object's pixels on the planes where nobody has looked at it."""
        target = self._context.target
        record = target.records.get(label) if target is not None else None
        if target is None or record is None:
            return {}
        found, changed = {}, []
        for known in _open_masks(record):
            mask = target.mask_of(label, known.plane)
            if mask is not None and known.digest in ("", digest_of(mask)):
                found[known.plane] = mask
            else:
                changed.append(known.plane)
        if changed:
            after = record.confirm(changed).corrected_by_hand()
            target.change_records(RecordChange(label, record, after))
        return found


def _open_masks(record: ObjectRecord) -> list[PlaneMask]:
    """Return the masks that nobody has looked at, the least sure first."""
    masks = [m for m in record.masks if not m.confirmed]
    # What is not known is not less sure than what is.
    return sorted(masks, key=lambda m: math.inf if math.isnan(m.score) else m.score)
