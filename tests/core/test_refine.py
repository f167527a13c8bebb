"""Correction clicks that refine the answer before, on the real model."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from napari_sam.core.refine import MOST_ROUNDS, refine
from napari_sam.types import MaskLevel, PointPrompt, PromptSet


class Counting:
    """A real encoded plane that notes what it is asked."""

    def __init__(self, plane):
        self._plane = plane
        self.asked = []

    def predict_prompts(self, prompts, logits=None):
        self.asked.append((len(prompts.points), logits is not None))
        return self._plane.predict_prompts(prompts, logits)


@pytest.fixture(scope="module")
def encoded(model):
    return model.encode(data.coins()[:128, :192])


@pytest.fixture
def plane(encoded):
    return Counting(encoded)


def clicks(n: int) -> tuple[PointPrompt, ...]:
    return tuple(PointPrompt(30.0 + i % 40, 45.0 + i, i % 2 == 0) for i in range(n))


def test_the_first_click_is_asked_plainly(plane, encoded):
    prompts = PromptSet(clicks(1))
    result = refine(plane, prompts)
    assert plane.asked == [(1, False)]
    np.testing.assert_array_equal(
        result.logits, encoded.predict_prompts(prompts).logits
    )


def test_each_click_refines_the_answer_before(plane):
    refine(plane, PromptSet(clicks(3)))
    assert plane.asked == [(1, False), (2, True), (3, True)]


def test_a_known_beginning_saves_its_rounds(plane):
    two = PromptSet(clicks(2))
    known = {two: refine(plane, two)}
    plane.asked.clear()
    stepwise = refine(plane, PromptSet(clicks(3)), known=known)
    assert plane.asked == [(3, True)]
    at_once = refine(plane, PromptSet(clicks(3)))
    np.testing.assert_array_equal(stepwise.logits, at_once.logits)


def test_many_clicks_at_once_take_few_rounds(plane):
    refine(plane, PromptSet(clicks(100)))
    assert len(plane.asked) == MOST_ROUNDS
    assert plane.asked[-1] == (100, True)


def test_background_clicks_before_the_object_wait_for_it(plane):
    first = PointPrompt(5.0, 5.0, positive=False)
    refine(plane, PromptSet((first, PointPrompt(40.0, 45.0))))
    assert plane.asked == [(2, False)]


def test_a_box_with_a_click_is_one_prompt(plane):
    box = (10.0, 10.0, 60.0, 80.0)
    refine(plane, PromptSet(clicks(1), box))
    assert plane.asked == [(1, False)]
    plane.asked.clear()
    refine(plane, PromptSet((), box))
    assert plane.asked == [(0, False)]


def test_the_chosen_level_is_what_is_refined(plane):
    whole = refine(plane, PromptSet(clicks(2)), MaskLevel.WHOLE)
    part = refine(plane, PromptSet(clicks(2)), MaskLevel.SUBPART)
    assert not np.array_equal(whole.logits, part.logits)
