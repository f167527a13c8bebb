"""Planned objects as one transaction, with the records of those that lose pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.records import digest_of
from napari_sam.core.annotation.transaction import RecordChange, Transaction
from napari_sam.types import MaskCrop, Region
from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from napari_sam.core.annotation.records import PlaneMask
    from napari_sam.core.annotation.transaction import PixelChange, PixelPlan
    from napari_sam.types import Plane
    from napari_sam.viewer.labels.target import LabelsTarget


def write_objects(
    target: LabelsTarget,
    plan: PixelPlan,
    records: Iterable[RecordChange],
    origin: object = None,
) -> Transaction:
    """Write planned objects and their records as one undo step; see `LabelsTarget`.

    Parameters
    ----------
    target : LabelsTarget
        The labels.
    plan : PixelPlan
        The pixels.
    records : iterable of RecordChange
        Of the objects that are written.
    origin : object, optional
        What an undo brings back.

    Raises
    ------
    LabelsError
        If the layer is locked or its array refuses to be written.
    """
    own, now = tuple(records), target.next_label
    after = max([now, *(r.label + 1 for r in own if r.after is not None)])
    lost = _losing_records(plan, target)
    return target.apply(Transaction(plan.changes, (*own, *lost), (now, after), origin))


def _losing_records(plan: PixelPlan, target: LabelsTarget) -> list[RecordChange]:
    """Return how the records of objects that lose pixels change.

    One that was as it had been written still is, with fewer pixels; one without any
    left leaves the plane, and with its last plane its record.
    """
    # By plane as it was written and as it is written now: one may be transposed.
    lost: dict[tuple[Plane, Plane], dict[int, PlaneMask]] = {}
    records = {label: target.records.get(label) for label in plan.losing}
    for label, old in records.items():
        for plane in plan.losing[label]:
            known = old.mask_on(plane) if old is not None else None
            if known is not None:
                lost.setdefault((known.plane, plane), {})[label] = known
    masks: dict[int, list[PlaneMask]] = {label: [] for label in records}
    for (before, now), known_masks in lost.items():
        change = plan.by_plane[now]
        for label, mask in _after(known_masks, before, change, target).items():
            masks[label].append(mask)
    changes = []
    for label, old in records.items():
        if old is not None:
            new = old.with_masks(masks[label])
            changes.append(RecordChange(label, old, new if new.masks else None))
    return changes


def _after(
    known: dict[int, PlaneMask], plane: Plane, change: PixelChange, target: LabelsTarget
) -> dict[int, PlaneMask]:
    """Return what is known of the masks on a plane once it has changed, by label."""
    labels = target.read(plane, Region.whole(plane.shape(layer_shape(target.layer))))
    regions = _regions(labels, list(known))

    def digests() -> dict[int, str]:
        return {
            label: digest_of(MaskCrop(labels[region.slices] == label, region))
            for label, region in regions.items()
        }

    before = digests()
    indices = change.indices
    labels[indices[plane.displayed[0]], indices[plane.displayed[1]]] = change.after
    after = digests()
    # The digest of an object that was changed by hand still tells that it was.
    return {
        label: replace(
            mask,
            digest=after[label]
            if mask.digest == before[label]
            else after[label] and mask.digest,
        )
        for label, mask in known.items()
    }


def _regions(labels: npt.NDArray[Any], wanted: list[int]) -> dict[int, Region]:
    """Return the bounding box of each label; empty for one without pixels."""
    found = dict.fromkeys(wanted, Region(0, 0, 0, 0))
    at = np.nonzero(np.isin(labels, wanted))
    values = labels[at]
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-1))
    if starts.size:
        first, last = (
            [function.reduceat(axis[order], starts) for axis in at]
            for function in (np.minimum, np.maximum)
        )
        for label, *box in zip(
            values[order][starts].tolist(), *first, *last, strict=True
        ):
            row0, col0, row1, col1 = map(int, box)
            found[label] = Region(row0, col0, row1 + 1, col1 + 1)
    return found
