"""Objects that lose pixels to others, against one after another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Labels

from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.records import ObjectRecord, PlaneMask, digest_of
from napari_sam.core.annotation.transaction import (
    ObjectMask,
    RecordChange,
    Transaction,
)
from napari_sam.core.masks import OverlapPolicy
from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.labels.object_changes import _regions, write_objects
from napari_sam.viewer.labels.target import LabelsTarget


@given(st.data())
def test_the_box_of_each_label(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 6), min_size=30, max_size=30))
    labels = np.array(values, np.uint16).reshape(5, 6)
    wanted = data.draw(st.lists(st.integers(1, 9), unique=True))
    found = _regions(labels, wanted)
    assert set(found) == set(wanted)
    for label, region in found.items():
        rows, columns = np.nonzero(labels == label)
        if not rows.size:
            assert region.is_empty
            continue
        box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert (region.row0, region.col0, region.row1, region.col1) == box


@pytest.mark.parametrize("is_by_hand", [False, True])
@pytest.mark.parametrize("rows", [3, 6])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_what_is_known_of_an_object_that_loses_pixels(
    is_by_hand: bool, rows: int, axes: tuple[int, int]
) -> None:
    """One that was changed by hand still is, and one without pixels is none."""
    target = LabelsTarget(Labels(np.zeros((20, 30), np.uint16)))
    plane, own = Plane((0, 1), (None, None)), Region(4, 4, 10, 12)
    mask = MaskCrop(np.ones(own.shape, bool), own)
    plan = target.plan([ObjectMask(1, plane, mask)], OverlapPolicy.KEEP)
    known = PlaneMask(plane, digest_of(mask))
    record = ObjectRecord(1, PromptItems(), "sam", 0.9).with_masks([known])
    change = RecordChange(1, None, record)
    target.apply(Transaction(plan.changes, (change,), (1, 2)))
    if is_by_hand:
        target.layer.data_setitem((np.array([9]), np.array([11])), 0)
    taken = MaskCrop(np.ones((rows, 30), bool), Region(4, 0, 4 + rows, 30))
    if axes == (1, 0):
        # Seen from the other side.
        taken = MaskCrop(taken.mask.T, Region(0, 4, 30, 4 + rows))
    other = ObjectMask(2, Plane(axes, (None, None)), taken)
    plan = target.plan([other], OverlapPolicy.OVERWRITE)
    (change,) = write_objects(target, plan, []).records
    assert change.before is record
    if rows == 6:
        assert change.after is None
        return
    (after,) = change.after.masks
    left = Region(7, 4, 10, 12)
    whole = digest_of(MaskCrop(np.ones(left.shape, bool), left))
    assert after.digest == (known.digest if is_by_hand else whole)
