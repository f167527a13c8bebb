"""Objects that nobody has looked at yet, in the labels: found, confirmed, erased."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.records import PlaneMask, digest_of
from napari_sam.core.annotation.transaction import (
    ObjectMask,
    RecordChange,
    Transaction,
)
from napari_sam.core.masks import OverlapPolicy
from napari_sam.core.planes import is_plane_of
from napari_sam.types import MaskCrop
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.offers import certainty
from napari_sam.viewer.review_queue import Entry

if TYPE_CHECKING:
    from napari_sam.core.annotation.records import ObjectRecord
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context


@dataclass(frozen=True, slots=True, eq=False)
class Erased:
    """Which object an erasing transaction took out."""

    label: int


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

    @property
    def count(self) -> int:
        """How many objects nobody has looked at, by their records."""
        return len(self._unconfirmed())

    def entries(self) -> list[Entry]:
        """Return what is to be looked at; no pixels are read."""
        return [
            Entry(
                record.label,
                _open_masks(record)[0].plane,
                None,
                certainty(record.score, record.stability),
            )
            for record in self._unconfirmed()
        ]

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
        return next(iter(self._as_written(label).items()), None)

    def confirm(self, *labels: int) -> None:
        """Note that a person has looked at these objects."""
        target = self._context.target
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
        masks = self._as_written(label)
        record = target.records.get(label) if target is not None else None
        if target is None or record is None or not masks:
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
        left = record.with_masks(PlaneMask(plane) for plane in masks)
        after = left.confirm() if left.masks else None
        now = target.next_label
        target.apply(
            Transaction(
                plan.changes,
                (RecordChange(label, record, after),),
                (now, now),
                Erased(label),
            )
        )
        return True

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
    return [m for m in record.masks if not m.confirmed]
