"""Windows for closer looks: pure geometry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.core.windows import (
    MAGNIFICATIONS,
    MAX_SCALE,
    SIDE,
    SMALL,
    TARGET,
    Window,
    contains,
    plan_window,
    prompt_windows,
)
from napari_sam.types import Frame, Region

BIG = Frame.fit((2048, 1536))


def around(row: float, col: float, size: float) -> tuple[float, float, float, float]:
    return (row - size / 2, col - size / 2, row + size / 2, col + size / 2)


@st.composite
def small_objects(draw):
    shape = (draw(st.integers(1, 5000)), draw(st.integers(1, 5000)))
    row0, row1 = sorted(draw(st.floats(0, shape[0])) for _ in range(2))
    col0, col1 = sorted(draw(st.floats(0, shape[1])) for _ in range(2))
    full = (row1 - row0) * (col1 - col0)
    return shape, (row0, col0, row1, col1), draw(st.floats(0, 1)) * full


@given(small_objects())
def test_a_window_is_in_the_image_and_holds_what_it_is_for(drawn):
    shape, extent, area = drawn
    frame = Frame.fit(shape)
    window = plan_window(extent, area, frame)
    if window is None:
        return
    r = window.region
    assert not r.is_empty
    assert r == r.intersection(Region.whole(shape))
    assert r.row0 <= extent[0] <= extent[2] <= r.row1
    assert r.col0 <= extent[1] <= extent[3] <= r.col1
    assert window.frame.image_size == r.shape
    assert max(window.frame.input_size) <= window.frame.side == SIDE
    for closer, before in zip(window.frame.scale, frame.scale, strict=True):
        # Enlarged, but not beyond what there is to see; rounded to whole pixels.
        slack = 1 + 1 / min(*r.shape, *window.frame.input_size)
        assert closer * slack >= before
        assert closer <= MAX_SCALE * slack**2


@pytest.mark.parametrize("size", [5, 20, 40, 63, 90, 127])
def test_objects_become_about_as_large_as_is_best(size: int) -> None:
    window = plan_window(around(800, 700, size), size**2, BIG)
    assert window is not None
    seen = size * window.frame.scale[0]
    if window.frame.scale[0] < MAX_SCALE / 2**0.5 - 0.1:
        assert TARGET / 2**0.5 - 3 <= seen <= TARGET + 3


@pytest.mark.parametrize("size", [SMALL * 2, SMALL * 3, 1000])
def test_large_objects_are_seen_well_as_they_are(size: float) -> None:
    # Half of the model's pixels per pixel of this image.
    assert plan_window(around(1000, 700, size), size**2, BIG) is None


def test_nothing_to_look_at() -> None:
    assert plan_window(around(100, 100, 10), 0.0, BIG) is None


def test_an_image_that_is_enlarged_as_far_as_it_goes() -> None:
    tiny = Frame.fit((100, 100))
    assert tiny.scale[0] > MAX_SCALE
    assert plan_window(around(50, 50, 4), 16, tiny) is None


def test_long_things_fit_with_room_around_them() -> None:
    window = plan_window((500, 500, 510, 700), 10 * 200, BIG)
    assert window is not None
    assert window.region.col1 - window.region.col0 >= 200 / 0.7
    assert plan_window((500, 100, 502, 1400), 2 * 1300, BIG) is None


def test_neighbours_and_the_next_click_share_a_window() -> None:
    """What is encoded for one click serves others nearby, and slightly other sizes."""
    windows = {
        plan_window(around(804 + d, 701 - d, 30 + d), (30 + d) ** 2, BIG)
        for d in range(4)
    }
    assert len(windows) == 1
    row = {plan_window(around(600, 600 + 6 * i, 30), 900, BIG) for i in range(40)}
    assert len(row) <= 8


def test_the_same_window_of_a_finer_level() -> None:
    window = Window(Region(10, 20, 110, 140), Frame((100, 120), (370, 448), 448))
    finer = window.scaled((600, 700), (2401, 2801))
    assert finer.region == Region(40, 80, 440, 560)
    assert finer.frame == Frame((400, 480), (370, 448), 448)
    assert window.scaled((600, 700), (600, 700)) == window


@given(small_objects(), st.booleans())
def test_windows_around_prompts_hold_them_and_enlarge(drawn, has_box):
    shape, extent, _ = drawn
    frame = Frame.fit(shape)
    windows = prompt_windows(extent, extent if has_box else None, frame)
    if max(shape) <= (frame.side if has_box else 700):
        assert windows == []  # it is as large as it was, or twice that
    assert len(windows) <= (1 if has_box else len(MAGNIFICATIONS))
    for window in windows:
        assert window.region == window.region.intersection(Region.whole(shape))
        assert contains(window.region, extent)
        for closer, before in zip(window.frame.scale, frame.scale, strict=True):
            slack = 1 + 1 / min(*window.region.shape, *window.frame.input_size)
            assert closer * slack >= before
    sizes = [w.region.shape for w in windows]
    assert sizes == sorted(sizes, reverse=True)


def test_a_click_in_a_large_image_is_seen_at_all_magnifications() -> None:
    frame = Frame.fit((8192, 6000))
    windows = prompt_windows((4000.5, 3000.5, 4000.5, 3000.5), None, frame)
    assert [w.frame.scale[0] for w in windows] == list(MAGNIFICATIONS)
    for window in windows:
        middle = (window.region.row0 + window.region.row1) / 2
        assert abs(middle - 4000) <= window.region.shape[0] / 8 + 1
    # Half of the pixels of this one are seen already.
    known = prompt_windows((900.0, 900.0, 900.0, 900.0), None, BIG)
    assert [w.frame.scale[0] for w in known] == [1.0, 2.0]


def test_clicks_far_apart_need_a_window_that_holds_them() -> None:
    frame = Frame.fit((8192, 6000))
    extent = (4000.0, 3000.0, 4300.0, 3000.0)
    windows = prompt_windows(extent, None, frame)
    assert [w.frame.scale[0] for w in windows] == [0.5, 1.0]


@pytest.mark.parametrize("size", [12, 30, 120])
def test_a_box_says_how_large_its_object_is(size: int) -> None:
    box = around(4000, 3000, size)
    (window,) = prompt_windows(box, box, Frame.fit((8192, 6000)))
    seen = 0.6**0.5 * size * window.frame.scale[0]
    if window.frame.scale[0] < MAX_SCALE / 2**0.5 - 0.1:
        assert TARGET / 2**0.5 - 3 <= seen <= TARGET + 3


@given(small_objects(), st.integers(1, 9))
def test_a_window_in_finer_pixels_and_back_is_the_same(drawn, times):
    shape, extent, area = drawn
    window = plan_window(extent, area, Frame.fit(shape))
    if window is None:
        return
    finer = (shape[0] * times + times // 2, shape[1] * times + times // 2)
    assert window.scaled(shape, finer).scaled(finer, shape) == window
