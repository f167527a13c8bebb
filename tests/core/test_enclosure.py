"""A box lowers what lies outside, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.core.enclosure import MOST, STEEPNESS, Enclosure
from napari_sam.core.results import Detail, MaskResult, upscale, upscale_mask
from napari_sam.core.windows import Window
from napari_sam.types import Frame, Region

places = st.floats(-50, 150)


@st.composite
def boxes(draw: st.DrawFn) -> Enclosure:
    row0, col0 = draw(places), draw(places)
    return Enclosure(
        (row0, col0, row0 + draw(st.floats(1, 90)), col0 + draw(st.floats(1, 90)))
    )


@given(boxes())
def test_nothing_is_lost_inside_and_more_the_farther_outside(box: Enclosure) -> None:
    rows, cols = np.arange(100), np.arange(120)
    doubt = box.doubt(rows, cols)
    assert doubt.shape == (100, 120)
    assert doubt.dtype == np.float32
    row0, col0, row1, col1 = box.box
    beyond = np.maximum(
        np.maximum(row0 - rows, rows - row1)[:, None],
        np.maximum(col0 - cols, cols - col1),
    )
    assert (doubt[beyond <= 0] == 0).all()
    assert doubt.max(initial=0) <= MOST
    order = np.argsort(beyond, axis=None)
    assert (np.diff(doubt.ravel()[order]) >= -1e-4).all()


def test_the_loss_grows_by_the_size_of_the_box() -> None:
    row = np.array([110.0])
    small = Enclosure((90, 0, 109.5, 19.5)).doubt(row, np.array([5.0]))
    large = Enclosure((0, 0, 109.5, 109.5)).doubt(row, np.array([5.0]))
    assert small[0, 0] == pytest.approx(MOST)
    assert large[0, 0] == pytest.approx(STEEPNESS * 0.5 / 109.5, rel=1e-5)


@given(boxes(), st.integers(-30, 30), st.integers(-30, 30))
def test_moved_with_the_grid_it_is_the_same(box: Enclosure, down: int, by: int) -> None:
    rows, cols = np.arange(40), np.arange(50)
    moved = box.shifted(down, by).doubt(rows + down, cols + by)
    np.testing.assert_allclose(moved, box.doubt(rows, cols), atol=1e-3)


@pytest.mark.parametrize("size", [(256, 256), (303, 384), (97, 31)])
def test_a_mask_is_cut_where_the_lowered_logits_are(size: tuple[int, int]) -> None:
    frame = Frame.fit(size)
    rng = np.random.default_rng(size)
    coarse = rng.normal(0, 4, (16, 16)).astype(np.float32)
    logits = np.kron(coarse, np.ones((16, 16), np.float32))
    h, w = size
    box = Enclosure((0.2 * h, 0.3 * w, 0.6 * h, 0.8 * w))
    lowered = upscale(logits, frame) - box.doubt(np.arange(h), np.arange(w))
    mask = upscale_mask(logits, frame, enclosure=box)
    np.testing.assert_array_equal(mask.full(size), lowered > 0)
    assert mask.tight().region == mask.region


def unsure(side: int, sure: float = 1.0) -> np.ndarray:
    return np.full((side, side), sure, np.float32)


def result(box: Enclosure | None, sure: float) -> MaskResult:
    logits = np.stack([unsure(256, sure)] * 4)
    return MaskResult(
        logits, np.ones(4, np.float32), Frame.fit((128, 128)), 0, None, box
    )


@pytest.mark.parametrize(("sure", "ends_at_the_box"), [(1.0, True), (9.0, False)])
def test_an_unsure_mask_ends_at_the_box_and_a_sure_one_goes_on(
    sure: float, ends_at_the_box: bool
) -> None:
    box = Enclosure((29.5, 39.5, 69.5, 89.5))
    answer = result(box, sure)
    assert (answer.crop().region == Region(30, 40, 70, 90)) is ends_at_the_box
    for mask in (answer.best, *answer.masks):
        assert mask[30:70, 40:90].all()
        assert mask.all() is not ends_at_the_box
    assert result(None, sure).best.all()


def test_a_closer_look_keeps_to_the_box_too() -> None:
    region = Region(20, 30, 84, 94)
    window = Window(region, Frame((64, 64), (448, 448), 448))
    box = Enclosure((29.5, 39.5, 69.5, 89.5))
    logits = np.full((4, 256, 256), -5, np.float32)
    answer = MaskResult(
        logits,
        np.ones(4, np.float32),
        Frame.fit((128, 128)),
        0,
        Detail(unsure(112)[None], window),
        box,
    )
    assert answer.crop().region == Region(30, 40, 70, 90)


def test_a_mask_that_leaves_the_box_is_not_stable() -> None:
    inside = Enclosure((29.5, 39.5, 69.5, 89.5))
    assert result(None, 0.5).stability(offset=1.0) == 0.0
    assert result(None, 2.0).stability(offset=1.0) == 1.0
    assert 0.5 < result(inside, 2.0).stability(offset=1.0) < 1.0
