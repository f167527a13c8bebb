"""What writing many masks on one plane comes to, against one array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.core.annotation import transaction
from napari_sam.core.annotation.records import digest_of
from napari_sam.core.annotation.transaction import ObjectMask, PixelPlan, plan_pixels
from napari_sam.core.masks import OverlapPolicy
from napari_sam.types import MaskCrop, Plane, Region

if TYPE_CHECKING:
    import numpy.typing as npt
    import pytest

SHAPE = (14, 17)
FLAT = Plane((0, 1), (None, None))
WHOLE = Region.whole(SHAPE)


@st.composite
def masks(draw: st.DrawFn) -> MaskCrop:
    """Return a mask that may hang over the border, or have no pixel."""
    row, column = draw(st.integers(-3, 12)), draw(st.integers(-3, 15))
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    bits = draw(st.integers(0, 2 ** (height * width) - 1))
    flat = np.array([bits >> i & 1 for i in range(height * width)], bool)
    region = Region(row, column, row + height, column + width)
    return MaskCrop(flat.reshape(height, width), region)


def planned(
    labels: npt.NDArray[Any], objects: list[ObjectMask], policy: OverlapPolicy
) -> PixelPlan:
    return plan_pixels(
        objects, policy, lambda _, region: labels[region.slices].copy(), labels.shape
    )


def seen(mask: MaskCrop) -> npt.NDArray[np.bool_]:
    """Return a mask as far as it lies in the plane."""
    full = np.zeros((30, 34), bool)
    rows, columns = np.nonzero(mask.mask)
    full[rows + mask.region.row0 + 8, columns + mask.region.col0 + 8] = True
    return full[8 : 8 + SHAPE[0], 8 : 8 + SHAPE[1]]


@given(
    st.lists(masks(), min_size=1, max_size=6),
    st.lists(masks(), max_size=4),
    st.sampled_from(list(OverlapPolicy)),
)
def test_many_objects_are_written_as_one_after_another(
    new: list[MaskCrop], old: list[MaskCrop], policy: OverlapPolicy
) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    for number, mask in enumerate(old, 1):
        labels[seen(mask)] = number
    first = len(old) + 1
    objects = [ObjectMask(first + i, FLAT, mask) for i, mask in enumerate(new)]
    expected = labels.copy()
    for obj in objects:
        free = seen(obj.mask)
        if policy is not OverlapPolicy.OVERWRITE:
            free &= expected == 0
        expected[free] = obj.label
    plan = planned(labels, objects, policy)
    after = labels.copy()
    for change in plan.changes:
        change.write_to(after)
    np.testing.assert_array_equal(after, expected)
    for obj in objects:
        found = digest_of(MaskCrop(expected == obj.label, WHOLE))
        assert plan.digests[obj.label, FLAT] == found
    lost = {int(n) for n in np.unique(labels[labels != expected]) if n}
    assert set(plan.losing) == lost


def test_an_object_looks_at_its_own_part_of_the_plane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand in a large plane are written as fast as each alone."""
    looked: list[int] = []
    plan_write = transaction.plan_write

    def counted(current: npt.NDArray[Any], *rest: Any) -> Any:
        looked.append(current.size)
        return plan_write(current, *rest)

    monkeypatch.setattr(transaction, "plan_write", counted)
    labels = np.zeros((600, 600), np.uint16)
    square = np.ones((5, 5), bool)
    objects = [
        ObjectMask(i + 1, FLAT, MaskCrop(square, Region(at, at, at + 5, at + 5)))
        for i, at in enumerate(range(0, 600, 60))
    ]
    plan = planned(labels, objects, OverlapPolicy.KEEP)
    assert looked == [25] * 10
    assert len(set(plan.digests.values())) == 10
