"""Shapes between and beyond slices, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam.core.results import upscale_mask
from napari_sam.core.volumes.shapes import (
    extrapolated,
    interpolated,
    linear_table,
    outline_change,
    signed_distance,
    soft_logits,
    touching,
    without,
)
from napari_sam.types import Frame, MaskCrop, Region

SHAPE = (24, 30)
masks = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any)
places = st.tuples(st.integers(0, 14), st.integers(0, 20))


@st.composite
def crops(draw: st.DrawFn) -> MaskCrop:
    mask, (row, col) = draw(masks), draw(places)
    height, width = mask.shape
    return MaskCrop(mask, Region(row, col, row + height, col + width))


def disk(row: float, col: float, radius: float, shape: tuple[int, int]) -> MaskCrop:
    r, c = np.ogrid[: shape[0], : shape[1]]
    return MaskCrop.from_full((r - row) ** 2 + (c - col) ** 2 <= radius**2)


@settings(max_examples=25, deadline=None)
@given(crops(), places)
def test_signed_distance_is_that_to_the_nearest_pixel_of_the_other_kind(
    mask: MaskCrop, at: tuple[int, int]
) -> None:
    region = Region(at[0] - 3, at[1] - 3, at[0] + 5, at[1] + 6)
    found = signed_distance(mask, region)
    full = np.zeros((60, 60), bool)  # from -15 on, so that nothing is cut
    full[15:39, 15:45] = mask.full(SHAPE)
    inside = np.argwhere(full) - 15
    outside = np.argwhere(~full) - 15
    for (i, j), value in np.ndenumerate(found):
        here = np.array([region.row0 + i, region.col0 + j])
        is_inside = full[tuple(here + 15)]
        others = outside if is_inside else inside
        nearest = np.sqrt(((others - here) ** 2).sum(1).min())
        assert value == pytest.approx((nearest - 0.5) * (1 if is_inside else -1), 1e-5)


@settings(max_examples=25, deadline=None)
@given(crops(), crops(), st.floats(0.05, 0.95))
def test_between_two_shapes_there_is_one_and_it_reverses(
    below: MaskCrop, above: MaskCrop, share: float
) -> None:
    between = interpolated(below, above, share)
    back = interpolated(above, below, 1 - share)
    assert between.area > 0
    if abs(share - 0.5) > 1e-6:
        # Sums of rounded numbers may differ where a distance is all but zero.
        differing = between.full((60, 60)) ^ back.full((60, 60))
        assert differing.sum() <= max(2, 0.1 * between.area)
    assert between.area <= 4 * max(below.area, above.area) + 40


@settings(max_examples=30, deadline=None)
@given(crops(), places)
def test_a_shape_that_only_moves_keeps_its_form(
    mask: MaskCrop, move: tuple[int, int]
) -> None:
    mask = mask.tight()
    rows, cols = 2 * (move[0] // 2), 2 * (move[1] // 2)
    moved = MaskCrop(mask.mask, mask.region.shifted(rows, cols))
    half = interpolated(mask, moved, 0.5)
    expected = mask.region.shifted(rows // 2, cols // 2)
    assert half.region == expected
    np.testing.assert_array_equal(half.mask, mask.mask)


def test_interpolated_disks_are_disks_between() -> None:
    below, above = disk(20, 20, 6, (60, 60)), disk(30, 36, 12, (60, 60))
    third = interpolated(below, above, 1 / 3)
    expected = disk(20 + 10 / 3, 20 + 16 / 3, 8, (60, 60))
    shared = np.count_nonzero(third.full((60, 60)) & expected.full((60, 60)))
    assert shared / (third.area + expected.area - shared) > 0.93


def test_shapes_at_both_ends_are_those_given() -> None:
    below, above = disk(20, 20, 6, (60, 60)), disk(22, 25, 9, (60, 60))
    for share, mask in ((0.0, below), (1.0, above)):
        np.testing.assert_array_equal(
            interpolated(below, above, share).full((60, 60)), mask.full((60, 60))
        )


@pytest.mark.parametrize(("before", "expected"), [(10, 7), (7, 8.5), (8, 8)])
def test_what_shrinks_shrinks_on(before: float, expected: float) -> None:
    last = disk(30, 30, 8, (60, 60))
    beyond = extrapolated(last, disk(30, 30, before, (60, 60)), 0.5)
    assert beyond.area == pytest.approx(np.pi * expected**2, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(crops(), crops())
def test_something_is_left_beyond(last: MaskCrop, before: MaskCrop) -> None:
    beyond = extrapolated(last, before, 0.5)
    assert beyond.area > 0
    # Half of a change of four pixels at most.
    region = last.tight().region
    assert beyond.region.row0 >= region.row0 - 3
    assert beyond.region.col1 <= region.col1 + 3


def test_without_a_slice_before_nothing_changes() -> None:
    last = disk(30, 30, 8, (60, 60))
    np.testing.assert_array_equal(extrapolated(last, None, 0.5).mask, last.mask)


@settings(max_examples=25, deadline=None)
@given(crops())
def test_soft_logits_stand_for_the_mask(mask: MaskCrop) -> None:
    """At a cell of a pixel each, thresholding gives the very mask."""
    frame = Frame((32, 32), (128, 128), 128)
    logits = soft_logits(mask, frame)
    assert logits.shape == (32, 32)
    assert np.abs(logits).max() <= 4
    np.testing.assert_array_equal(logits > 0, mask.full((32, 32)))


def test_soft_logits_of_a_large_image_keep_the_area() -> None:
    frame = Frame.fit((600, 800), 512)
    mask = disk(300, 400, 50, (600, 800))
    found = upscale_mask(soft_logits(mask, frame), frame)
    assert found.area == pytest.approx(mask.area, rel=0.03)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_linear_table_interpolates(size: int) -> None:
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    at = np.linspace(-2, size + 1, 23)
    np.testing.assert_allclose(
        linear_table(at, size) @ values,
        np.interp(at, np.arange(size), values),
        atol=1e-6,
    )


def test_pieces_that_touch_stay() -> None:
    pixels = np.zeros((20, 30), bool)
    pixels[2:5, 2:5] = pixels[2:5, 10:15] = pixels[10:15, 3:6] = True
    prior = np.zeros((20, 30), bool)
    prior[4:12, 4] = True
    found = touching(MaskCrop.from_full(pixels), MaskCrop.from_full(prior)).full(
        (20, 30)
    )
    assert found[3, 3]
    assert found[12, 4]
    assert not found[3, 12]
    empty = touching(
        MaskCrop.from_full(pixels), MaskCrop(prior[:1, :1], Region(0, 0, 1, 1))
    )
    assert empty.area == 0


def test_others_keep_their_pixels() -> None:
    blocked = np.zeros((60, 60), bool)
    blocked[:, 30:] = True
    cut = without(disk(30, 30, 8, (60, 60)), blocked)
    assert cut.area > 0
    assert cut.region.col1 == 30
    assert without(cut, ~np.zeros((60, 60), bool)).region.is_empty


@pytest.mark.parametrize(("radius", "expected"), [(8, 0), (11, 3), (5, 3)])
def test_outlines_that_move_do_not_change(radius: float, expected: float) -> None:
    change = outline_change(disk(20, 20, 8, (60, 60)), disk(34, 31, radius, (60, 60)))
    assert change == pytest.approx(expected, abs=0.5)


def test_what_is_known_well_has_steep_logits() -> None:
    frame, mask = Frame((32, 32), (128, 128), 128), disk(15, 15, 8, (32, 32))
    steep = soft_logits(mask, frame, 0.5, 12.0)
    assert np.unique(steep).tolist() == [-12, 12]
    np.testing.assert_array_equal(steep > 0, mask.full((32, 32)))
