"""Records of objects whose pixels another object takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam.core.annotation.records import digest_of
from napari_sam.core.annotation.transaction import RecordChange
from napari_sam.types import MaskCrop, Region
from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from napari_sam.core.annotation.records import PlaneMask
    from napari_sam.core.annotation.transaction import PixelChange, PixelPlan
    from napari_sam.viewer.labels.target import LabelsTarget


def robbed_records(plan: PixelPlan, target: LabelsTarget) -> list[RecordChange]:
    """Return how the records of objects that lose pixels change.

    One that was as it had been written still is, with fewer pixels; one without any
    left leaves the plane, and with its last plane its record.
    """
    changes = []
    for label, planes in plan.robbed.items():
        old = target.records.get(label)
        if old is None:
            continue
        masks = []
        for plane in planes:
            known = old.mask_on(plane)
            if known is not None:
                masks.append(_after(label, known, plan.by_plane[plane], target))
        new = old.with_masks(masks)
        changes.append(RecordChange(label, old, new if new.masks else None))
    return changes


def _after(
    label: int, known: PlaneMask, change: PixelChange, target: LabelsTarget
) -> PlaneMask:
    plane = known.plane
    whole = Region.whole(plane.shape(layer_shape(target.layer)))
    labels = target.read(plane, whole)
    before = digest_of(MaskCrop(labels == label, whole))
    indices = change.indices
    labels[indices[plane.displayed[0]], indices[plane.displayed[1]]] = change.after
    left = digest_of(MaskCrop(labels == label, whole))
    # The digest of an object that was changed by hand still tells that it was.
    return replace(
        known, digest=left if known.digest == before else left and known.digest
    )
