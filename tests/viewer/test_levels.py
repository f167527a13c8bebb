"""Subpart, part and whole as they are shown."""

from __future__ import annotations

import numpy as np
import pytest
from desk import COINS

from napari_sam.core.masks import PostProcessing
from napari_sam.core.results import MaskResult
from napari_sam.types import (
    NESTED_LEVELS,
    Frame,
    MaskLevel,
    Plane,
    PointPrompt,
    PromptSet,
)
from napari_sam.viewer.prompting.predictions import Prediction, reselect_level

SIZE = (256, 256)


def squares(*regions: tuple[slice, slice]) -> np.ndarray:
    logits = np.full(SIZE, -5, np.float32)
    for region in regions:
        logits[region] = 5
    return logits


@pytest.fixture
def torn() -> Prediction:
    """The largest mask is of two pieces, each smaller than the second largest."""
    one, two = slice(20, 80), slice(120, 190)
    logits = np.stack(
        [
            squares((one, one)),
            squares((slice(40, 60), slice(40, 60))),
            squares((slice(10, 95), slice(10, 95))),
            squares((one, one), (two, two)),
        ]
    )
    scores = np.array([0.5, 0.6, 0.7, 0.8], np.float32)
    result = MaskResult(logits, scores, Frame.fit(SIZE), default=3)
    prompts = PromptSet((PointPrompt(50, 50),))
    plane = Plane((0, 1), (None, None))
    return Prediction(plane, (prompts,), (result,), MaskLevel.AUTO, ())


def test_levels_follow_the_masks_that_are_shown(torn: Prediction) -> None:
    cleaning = PostProcessing()
    shown = [
        reselect_level(torn, level, cleaning).candidates[0] for level in NESTED_LEVELS
    ]
    areas = [c.mask.area for c in shown]
    assert areas == sorted(areas)
    # each with its own score
    assert [round(c.score, 1) for c in shown] == [0.6, 0.8, 0.7]


def test_what_is_kept_whole_keeps_the_models_order(torn: Prediction) -> None:
    cleaning = PostProcessing(largest_piece=False)
    shown = [
        reselect_level(torn, level, cleaning).candidates[0] for level in NESTED_LEVELS
    ]
    assert [round(c.score, 1) for c in shown] == [0.6, 0.7, 0.8]


def test_the_models_own_choice_stays_while_levels_change(torn: Prediction) -> None:
    cleaning = PostProcessing()
    before = reselect_level(torn, MaskLevel.AUTO, cleaning)
    after = before
    for level in (*NESTED_LEVELS, MaskLevel.AUTO):
        after = reselect_level(after, level, cleaning)
    assert after.candidates[0].score == before.candidates[0].score
    assert np.array_equal(after.candidates[0].mask.mask, before.candidates[0].mask.mask)


@pytest.mark.parametrize("coin", COINS)
def test_cycling_grows_on_every_coin(open_desk, coins, coin) -> None:
    desk = open_desk(coins)
    desk.click(*coin)
    areas = []
    for _ in NESTED_LEVELS:
        desk.controller.cycle_level()
        areas.append(desk.annotator.prediction.candidates[0].mask.area)
        assert (desk.shown != 0).sum() == areas[-1]
    assert areas == sorted(areas)
