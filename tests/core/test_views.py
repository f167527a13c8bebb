"""Views: pure geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.core.views import (
    LATTICE,
    MAGNIFICATIONS,
    MAX_SCALE,
    OVERLAP,
    SIDE,
    STEP,
    TARGET,
    View,
    object_view,
    plan_tiles,
    prompt_views,
)
from napari_sam.types import Frame, Region

BIG = (2048, 1536)
SEEN_AT = 0.5  # by a model of 1024 pixels


def around(row: float, col: float, size: float) -> tuple[float, float, float, float]:
    return (row - size / 2, col - size / 2, row + size / 2, col + size / 2)


@st.composite
def small_objects(draw):
    shape = (draw(st.integers(1, 5000)), draw(st.integers(1, 5000)))
    row0, row1 = sorted(draw(st.floats(0, shape[0])) for _ in range(2))
    col0, col1 = sorted(draw(st.floats(0, shape[1])) for _ in range(2))
    full = (row1 - row0) * (col1 - col0)
    return shape, (row0, col0, row1, col1), draw(st.floats(0, 1)) * full


def is_on_lattice(view: View, shape: tuple[int, int], scale: float) -> bool:
    """Whether it lies at a whole step, or was pushed to the border of the plane."""
    r = view.region
    for start, stop, whole in zip(
        (r.row0, r.col0), (r.row1, r.col1), shape, strict=True
    ):
        length = min(whole, max(1, round(SIDE / scale)))
        step = max(1, length // LATTICE)
        if stop - start != length or (start % step and stop != whole):
            return False
    return True


@given(small_objects(), st.floats(0.05, 8))
def test_a_view_is_in_the_plane_and_holds_what_it_is_for(drawn, seen_at):
    shape, extent, area = drawn
    view = object_view(extent, area, shape, seen_at)
    if view is None:
        return
    r = view.region
    assert not r.is_empty
    assert r == r.intersection(Region.whole(shape))
    assert view.holds(extent)
    assert view.frame.image_size == r.shape
    assert max(view.frame.input_size) <= view.frame.side == SIDE
    # Enlarged, but not beyond what there is to see; some scale is the view's.
    assert any(
        is_on_lattice(view, shape, scale)
        and view.frame.input_size
        == tuple(max(1, min(SIDE, round(length * scale))) for length in r.shape)
        for k in range(-20, 7)
        if STEP * seen_at <= (scale := STEP**k) <= MAX_SCALE * (1 + 1e-9)
    )


@given(small_objects(), st.floats(0.05, 8))
def test_there_is_no_view_only_where_none_gains(drawn, seen_at):
    """Against every scale and every place of the lattice."""
    shape, extent, area = drawn
    wanted = TARGET / math.sqrt(area) if area > 0 else 0
    room = max(extent[2] - extent[0], extent[3] - extent[1])
    fits = [
        s
        for k in range(-20, 7)
        if STEP * seen_at <= (s := STEP**k) <= min(wanted, MAX_SCALE) * (1 + 1e-9)
        and s * room <= SIDE * (1 - 1.5 / LATTICE) * (1 + 1e-9)
    ]
    view = object_view(extent, area, shape, seen_at)
    if not fits:
        assert view is None
    elif view is not None:
        assert is_on_lattice(view, shape, fits[-1])


@pytest.mark.parametrize("size", [12, 20, 40, 63, 90, 95])
def test_objects_become_about_as_large_as_is_best(size: int) -> None:
    view = object_view(around(800, 700, size), size**2, BIG, SEEN_AT)
    assert view is not None
    seen = size * view.frame.scale[0]
    assert TARGET / STEP - 3 <= seen <= TARGET + 3


@pytest.mark.parametrize("size", [100, 127, 200, 1000])
def test_large_objects_are_seen_well_as_they_are(size: float) -> None:
    assert object_view(around(1000, 700, size), size**2, BIG, SEEN_AT) is None


def test_nothing_to_look_at() -> None:
    assert object_view(around(100, 100, 10), 0.0, BIG, SEEN_AT) is None


def test_a_plane_that_is_enlarged_as_far_as_it_goes() -> None:
    assert object_view(around(50, 50, 4), 16, (100, 100), 10.24) is None


def test_long_things_fit_with_room_around_them() -> None:
    view = object_view((500, 500, 510, 700), 10 * 200, BIG, SEEN_AT)
    assert view is not None
    assert view.region.col1 - view.region.col0 >= 200 / 0.7
    assert object_view((500, 100, 502, 1400), 2 * 1300, BIG, SEEN_AT) is None


def test_neighbors_and_the_next_click_share_a_view() -> None:
    """What is encoded for one click serves others nearby, and slightly other sizes."""
    views = {
        object_view(around(804 + d, 701 - d, 30 + d), (30 + d) ** 2, BIG, SEEN_AT)
        for d in range(4)
    }
    assert len(views) == 1
    row = {object_view(around(600, 600 + 6 * i, 30), 900, BIG, 0.5) for i in range(40)}
    assert len(row) <= 8


def test_planes_of_other_sizes_share_the_scales() -> None:
    scales = set()
    for height in range(500, 3000, 37):
        view = object_view(around(250, 250, 30), 900, (height, 500), 1024 / height)
        if view is not None:
            scales.add(round(view.frame.scale[0], 1))
    assert len(scales) == 1


def test_the_same_view_of_a_finer_level() -> None:
    view = View(Region(10, 20, 110, 140), Frame((100, 120), (370, 448), 448))
    finer = view.scaled((600, 700), (2401, 2801))
    assert finer.region == Region(40, 80, 440, 560)
    assert finer.frame == Frame((400, 480), (370, 448), 448)
    assert view.scaled((600, 700), (600, 700)) == view


@given(small_objects(), st.booleans(), st.floats(0.05, 4))
def test_views_around_prompts_hold_them_and_enlarge(drawn, has_box, seen_at):
    shape, extent, _ = drawn
    views = prompt_views(extent, extent if has_box else None, shape, seen_at)
    if seen_at >= (1 if has_box else 2 / STEP + 1e-9):
        assert views == []  # as much is seen
    assert len(views) <= (1 if has_box else len(MAGNIFICATIONS))
    for view in views:
        assert view.region == view.region.intersection(Region.whole(shape))
        assert view.holds(extent)
        for larger in view.frame.scale:
            slack = 1 + 1 / min(*view.region.shape, *view.frame.input_size)
            assert larger * slack >= STEP * seen_at
    sizes = [view.region.shape for view in views]
    assert sizes == sorted(sizes, reverse=True)


def test_a_click_in_a_large_plane_is_seen_at_all_magnifications() -> None:
    shape = (8192, 6000)
    views = prompt_views((4000.5, 3000.5, 4000.5, 3000.5), None, shape, 1 / 8)
    assert [view.frame.scale[0] for view in views] == list(MAGNIFICATIONS)
    for view in views:
        middle = (view.region.row0 + view.region.row1) / 2
        assert abs(middle - 4000) <= view.region.shape[0] / 8 + 1
    # Half of the pixels of this one are seen already.
    known = prompt_views((900.0, 900.0, 900.0, 900.0), None, BIG, SEEN_AT)
    assert [view.frame.scale[0] for view in known] == [1.0, 2.0]


def test_clicks_far_apart_need_a_view_that_holds_them() -> None:
    extent = (4000.0, 3000.0, 4300.0, 3000.0)
    views = prompt_views(extent, None, (8192, 6000), 1 / 8)
    assert [view.frame.scale[0] for view in views] == [0.5, 1.0]


@pytest.mark.parametrize("size", [12, 30, 120])
def test_a_box_says_how_large_its_object_is(size: int) -> None:
    box = around(4000, 3000, size)
    (view,) = prompt_views(box, box, (8192, 6000), 1 / 8)
    seen = size * view.frame.scale[0]
    assert TARGET / STEP - 3 <= seen <= TARGET + 3


@given(small_objects(), st.integers(1, 9))
def test_a_view_in_finer_pixels_and_back_is_the_same(drawn, times):
    shape, extent, area = drawn
    view = object_view(extent, area, shape, 0.1)
    if view is None:
        return
    finer = (shape[0] * times + times // 2, shape[1] * times + times // 2)
    assert view.scaled(shape, finer).scaled(finer, shape) == view


@st.composite
def tiled(draw):
    row0, col0 = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    shape = (draw(st.integers(1, 3000)), draw(st.integers(1, 3000)))
    scale = STEP ** draw(st.integers(-4, 6))
    return Region(row0, col0, row0 + shape[0], col0 + shape[1]), scale


@given(tiled())
def test_the_cores_of_tiles_divide_what_they_cover(drawn):
    region, scale = drawn
    counts = np.zeros(region.shape, np.uint8)
    for tile in plan_tiles(region, scale):
        assert tile.view.region == tile.view.region.intersection(region)
        assert tile.core == tile.core.intersection(tile.view.region)
        assert not tile.core.is_empty
        counts[tile.core.shifted(-region.row0, -region.col0).slices] += 1
    assert (counts == 1).all()


@given(tiled())
def test_what_lies_around_a_core_is_seen_in_its_tile(drawn):
    """Half of the overlap, except at the border of the region."""
    region, scale = drawn
    room = min(round(OVERLAP / scale) // 2, SIDE / scale / 2) - 1
    for tile in plan_tiles(region, scale):
        core, view = tile.core, tile.view.region
        assert view.row0 in (region.row0, min(view.row0, core.row0 - room))
        assert view.col0 in (region.col0, min(view.col0, core.col0 - room))
        assert view.row1 in (region.row1, max(view.row1, core.row1 + room))
        assert view.col1 in (region.col1, max(view.col1, core.col1 + room))


def test_a_region_that_fits_is_one_tile() -> None:
    (tile,) = plan_tiles(Region(10, 20, 110, 320), 1.0)
    assert tile.view.region == tile.core == Region(10, 20, 110, 320)
    assert tile.view.frame == Frame((100, 300), (100, 300), SIDE)
    assert len(plan_tiles(Region(0, 0, 3072, 3072), 1.0)) == 10**2
