"""Post-processing of masks and the writes into labels."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_sam.core.masks import (
    LargestLabel,
    OverlapPolicy,
    PostProcessing,
    check_label_fits,
    clean,
    largest_label,
    plan_write,
    write_region,
)
from napari_sam.core.morphology import PIECE_NEIGHBORS
from napari_sam.errors import LabelsError
from napari_sam.types import MaskCrop, Region

NOTHING = PostProcessing(fill_holes=False, largest_piece=False)
PLANE = (12, 14)
masks = hnp.arrays(bool, PLANE)
label_planes = hnp.arrays(np.uint8, PLANE, elements=st.integers(0, 3))


def disc(shape: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


# --- cleaning -----------------------------------------------------------------


def test_holes_are_filled_but_bays_are_not() -> None:
    mask = disc((40, 40), 20, 20, 15) & ~disc((40, 40), 20, 20, 4)
    mask[20, 20:] = False  # opens the hole to the outside
    assert clean(MaskCrop.from_full(mask), PostProcessing()).area == mask.sum()
    mask[20, 30:36] = True
    filled = clean(MaskCrop.from_full(mask), PostProcessing()).full(mask.shape)
    np.testing.assert_array_equal(filled, disc((40, 40), 20, 20, 15))


def test_the_largest_piece_stays_unless_others_were_clicked() -> None:
    big, small = disc((50, 90), 25, 25, 15), disc((50, 90), 25, 70, 8)
    crop = MaskCrop.from_full(big | small)
    np.testing.assert_array_equal(clean(crop, PostProcessing()).full(big.shape), big)
    for keep, expected in (
        ([(25.4, 70.0)], small),
        ([(33.4, 70.0)], small),  # in its last row
        ([(25.0, 61.6)], small),  # in its first column
        ([(25, 70), (25, 25)], big | small),
        ([(0, 0), (-5, 400)], big),  # clicks on no piece
    ):
        got = clean(crop, PostProcessing(), keep=keep)
        np.testing.assert_array_equal(got.full(big.shape), expected)


def test_small_pieces_are_dropped_by_area() -> None:
    big, small = disc((50, 90), 25, 25, 15), disc((50, 90), 25, 70, 3)
    crop = MaskCrop.from_full(big | small)
    limit = int(small.sum())
    keep_both = PostProcessing(largest_piece=False, min_area=limit)
    keep_one = PostProcessing(largest_piece=False, min_area=limit + 1)
    assert clean(crop, keep_both).area == big.sum() + limit
    assert clean(crop, keep_one).area == big.sum()
    assert clean(crop, PostProcessing(min_area=10_000)).region.is_empty


@pytest.mark.parametrize("radius", [1, 2, 5])
@pytest.mark.parametrize("size", [4, 15.3, 40])
def test_smoothing_keeps_area_and_place(radius: float, size: float) -> None:
    rng = np.random.default_rng(0)
    mask = disc((120, 130), 60.3, 64.7, size)
    ring = ndimage.binary_dilation(mask) ^ ndimage.binary_erosion(mask)
    rough = mask ^ (ring & (rng.random(mask.shape) < 0.4))
    smooth = clean(
        MaskCrop.from_full(rough), PostProcessing(smooth=radius), shape=mask.shape
    ).full(mask.shape)
    main = clean(MaskCrop.from_full(rough), PostProcessing()).full(mask.shape)
    assert abs(int(smooth.sum()) - int(main.sum())) <= 4  # ties only
    drift = np.subtract(ndimage.center_of_mass(smooth), ndimage.center_of_mass(main))
    assert np.abs(drift).max() < 0.3
    # Smoother: a shorter outline around the same area.
    assert _outline(smooth) <= _outline(main)


def _outline(mask: np.ndarray) -> int:
    padded = np.pad(mask, 1)
    return sum(int(np.count_nonzero(np.diff(padded, axis=a))) for a in (0, 1))


def test_smoothing_is_still_at_an_outline_along_the_border_of_the_plane() -> None:
    mask = np.zeros((40, 50), bool)
    mask[:, 20:] = True  # ends at three borders of the plane
    crop = MaskCrop.from_full(mask)
    smooth = clean(crop, PostProcessing(smooth=4), shape=mask.shape)
    np.testing.assert_array_equal(smooth.full(mask.shape), mask)


@settings(max_examples=60, deadline=None)
@given(
    masks,
    st.builds(
        PostProcessing,
        st.booleans(),
        st.booleans(),
        st.sampled_from([0, 0.7, 2]),
        st.sampled_from([0, 1, 5]),
    ),
    st.lists(st.tuples(st.floats(-2, 14), st.floats(-2, 16)), max_size=2),
)
def test_cleaning_stays_in_the_region(
    mask: np.ndarray, how: PostProcessing, keep: list[tuple[float, float]]
) -> None:
    crop = MaskCrop.from_full(mask)
    moved = MaskCrop(crop.mask, crop.region.shifted(100, 200))
    out = clean(moved, how, [(r + 100, c + 200) for r, c in keep])
    assert out.region.intersection(moved.region) == out.region
    assert out.tight().region.shape == out.region.shape
    if how.largest_piece and not keep:
        assert ndimage.label(out.mask, PIECE_NEIGHBORS)[1] <= 1
    if how.min_area:
        pieces, n = ndimage.label(out.mask, PIECE_NEIGHBORS)
        assert n == 0 or np.bincount(pieces.ravel())[1:].min() >= how.min_area


@given(masks)
def test_no_settings_no_change(mask: np.ndarray) -> None:
    out = clean(MaskCrop.from_full(mask), NOTHING)
    np.testing.assert_array_equal(out.full(PLANE), mask)


@pytest.mark.parametrize("shape", [(0, 0), (3, 4)])
def test_nothing_stays_nothing(shape: tuple[int, int]) -> None:
    crop = MaskCrop(np.zeros(shape, bool), Region(5, 6, 5 + shape[0], 6 + shape[1]))
    assert clean(crop, PostProcessing(smooth=2, min_area=3)).region.is_empty


@pytest.mark.parametrize("bad", [{"smooth": -1}, {"smooth": np.nan}, {"min_area": -1}])
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="from 0"):
        PostProcessing(**bad)


# --- writing ------------------------------------------------------------------


@given(
    label_planes,
    masks,
    st.none() | masks,
    st.sampled_from(OverlapPolicy),
    st.integers(1, 4),
)
def test_a_write_does_what_its_policy_says(
    plane: np.ndarray,
    mask: np.ndarray,
    previous: np.ndarray | None,
    policy: OverlapPolicy,
    label: int,
) -> None:
    new = MaskCrop.from_full(mask)
    old = None if previous is None else MaskCrop.from_full(previous)
    region = write_region(new, old, PLANE)
    write = plan_write(plane[region.slices], region, new, label, policy, old)
    after = plane.copy()
    after[write.rows, write.cols] = write.values

    outside = np.ones(PLANE, bool)
    outside[region.slices] = False
    np.testing.assert_array_equal(after[outside], plane[outside])
    assert len(write) == np.count_nonzero(after != plane)  # only real changes
    assert write.values.dtype == plane.dtype
    if len(write):
        changed = MaskCrop.from_full(after != plane).region
        assert write.region == changed

    others = (plane != 0) & (plane != label)
    own_before = np.zeros(PLANE, bool)
    if previous is not None:
        own_before = previous & (plane == label)
    if policy is OverlapPolicy.OVERWRITE:
        assert (after[mask] == label).all()
        assert (after[own_before & ~mask] == 0).all()
    elif policy is OverlapPolicy.KEEP:
        np.testing.assert_array_equal(after[others], plane[others])
        assert (after[mask & ~others] == label).all()
        assert (after[own_before & ~mask] == 0).all()
    else:
        np.testing.assert_array_equal(after[plane != 0], plane[plane != 0])
        assert (after[mask & (plane == 0)] == label).all()
    # Nothing else moves.
    untouched = ~mask & ~own_before
    np.testing.assert_array_equal(after[untouched], plane[untouched])


def test_a_mask_over_the_border_of_the_plane_is_cut() -> None:
    mask = MaskCrop(np.ones((4, 4), bool), Region(-2, 8, 2, 12))
    plane = np.zeros((10, 10), np.int32)
    region = write_region(mask, None, plane.shape)
    write = plan_write(plane[region.slices], region, mask, 7)
    plane[write.rows, write.cols] = write.values
    assert plane[:2, 8:].tolist() == [[7, 7], [7, 7]]
    assert np.count_nonzero(plane) == 4


def test_an_empty_mask_writes_nothing_or_erases_the_object() -> None:
    empty = MaskCrop.from_full(np.zeros((5, 5), bool))
    plane = np.full((5, 5), 2, np.uint8)
    region = write_region(empty, None, plane.shape)
    assert len(plan_write(plane[region.slices], region, empty, 2)) == 0
    old = MaskCrop.from_full(plane > 0)
    region = write_region(empty, old, plane.shape)
    write = plan_write(plane[region.slices], region, empty, 2, previous=old)
    assert len(write) == 25
    assert not write.values.any()
    assert write.region == Region(0, 0, 5, 5)


def test_wrong_calls_are_refused() -> None:
    mask = MaskCrop.from_full(np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="do not fill"):
        plan_write(np.zeros((2, 2), int), Region(0, 0, 3, 3), mask, 1)
    with pytest.raises(ValueError, match="label 0"):
        plan_write(np.zeros((3, 3), int), Region(0, 0, 3, 3), mask, 0)
    with pytest.raises(LabelsError, match="uint8 and cannot hold label 256"):
        plan_write(np.zeros((3, 3), np.uint8), Region(0, 0, 3, 3), mask, 256)


# --- labels -------------------------------------------------------------------


def test_the_largest_label_is_read_from_any_array() -> None:
    dask = pytest.importorskip("dask.array")
    zarr = pytest.importorskip("zarr")
    labels = np.zeros((7, 8, 9), np.uint16)
    labels[6, 3, 2] = 41
    for array in (
        labels,
        dask.from_array(labels, chunks=(2, 8, 9)),
        zarr.array(labels, chunks=(3, 4, 9)),
    ):
        assert largest_label(array) == LargestLabel(41)
    labels[0, 0, 0] = 65535
    assert largest_label(labels) == LargestLabel(41, has_top=True)
    assert largest_label(np.zeros((0, 3), int)) == LargestLabel(0)
    assert largest_label(np.full((2, 2), -4)) == LargestLabel(0)


def test_labels_of_too_small_a_type_are_named() -> None:
    check_label_fits(np.uint8, 255)
    check_label_fits(np.int16, -3)
    with pytest.raises(LabelsError) as error:
        check_label_fits(np.uint8, 256, "nuclei")
    assert str(error.value).startswith(
        "Labels layer 'nuclei' is uint8 and cannot hold label 256; convert it to uint16"
    )
    with pytest.raises(LabelsError, match="float32"):
        check_label_fits(np.float32, 1)
