"""Simulated users click where a user could."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.models.sam1.mask_stride import MASK_STRIDE
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.training import simulated_clicks

seeds = st.integers(0, 2**32 - 1)


def blob(rng: np.random.Generator, side: int = 64) -> np.ndarray:
    """Return a mask of one to three overlapping rectangles."""
    mask = np.zeros((side, side), bool)
    for _ in range(rng.integers(1, 4)):
        row, col = rng.integers(0, side - 2, 2)
        height, width = rng.integers(1, side // 2, 2)
        mask[row : row + height, col : col + width] = True
    return mask


@given(seeds)
def test_the_first_click_is_on_the_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = blob(rng)
    x, y = simulated_clicks.first_click(rng, mask)
    assert mask[round(y), round(x)]


@given(seeds)
def test_a_noisy_box_keeps_its_order_and_touches_the_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = blob(rng)
    (x0, y0), (x1, y1) = simulated_clicks.noisy_box(rng, mask)
    assert -0.5 <= x0 < x1 <= mask.shape[1] - 0.5
    assert -0.5 <= y0 < y1 <= mask.shape[0] - 0.5
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert x0 <= cols[-1] + 0.5
    assert x1 >= cols[0] - 0.5
    assert y0 <= rows[-1] + 0.5
    assert y1 >= rows[0] - 0.5


def test_boxes_leave_room_more_often_than_they_cut() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((200, 200), bool)
    mask[60:140, 50:150] = True
    exact = np.array([[49.5, 59.5], [149.5, 139.5]])
    boxes = np.array([simulated_clicks.noisy_box(rng, mask) for _ in range(2000)])
    outward = (boxes - exact) * [[-1], [1]] / [100, 80]
    is_exact = (outward == 0).all(axis=(1, 2))
    assert 0.25 < is_exact.mean() < 0.35
    sides = outward[~is_exact]
    assert 0.6 < (sides > 0).mean() < 0.8
    np.testing.assert_allclose(sides.mean(axis=0), 0.03, atol=0.01)
    assert np.abs(outward * [100, 80]).max() <= 20.01


@given(seeds)
def test_a_correction_is_where_the_answer_is_wrong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = blob(rng), blob(rng)
    x, y, label = simulated_clicks.correction(rng, predicted, truth)
    row, col = int((y + 0.5) // MASK_STRIDE), int((x + 0.5) // MASK_STRIDE)
    if (truth != predicted).any():
        assert truth[row, col] != predicted[row, col]
    assert label == (TokenLabel.POSITIVE if truth[row, col] else TokenLabel.NEGATIVE)


@pytest.mark.parametrize("fill", [False, True])
def test_a_correction_of_nothing_and_of_everything(fill: bool) -> None:
    truth = np.full((8, 8), fill)
    rng = np.random.default_rng(0)
    *_, label = simulated_clicks.correction(rng, truth.copy(), truth)
    assert label == (TokenLabel.POSITIVE if fill else TokenLabel.NEGATIVE)


@given(seeds, st.integers(1, 12))
def test_every_object_that_is_large_enough_gets_its_turn(seed: int, count: int) -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[:20, :20] = 3
    labels[30:50, 30:50] = 9
    labels[60:62, 60:62] = 11
    chosen = simulated_clicks.choose(np.random.default_rng(seed), labels, count)
    assert len(chosen) == count
    assert set(chosen) <= {3, 9}
    assert abs(int((chosen == 3).sum()) - int((chosen == 9).sum())) <= 1


def test_a_crop_without_objects_gives_no_choice() -> None:
    empty = np.zeros((64, 64), np.int32)
    assert simulated_clicks.choose(np.random.default_rng(0), empty, 4).size == 0


def test_small_objects_are_chosen_first_more_often() -> None:
    labels = np.zeros((128, 128), np.int32)
    labels[:64, :64], labels[100:116, 100:116] = 3, 8
    rng = np.random.default_rng(0)
    first = [int(simulated_clicks.choose(rng, labels, 1)[0]) for _ in range(600)]
    # Four times as wide: odds of 2 to 1.
    assert 0.6 < np.mean(np.array(first) == 8) < 0.73
