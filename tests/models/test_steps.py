"""Answers in steps: what is known at once, and what views that are encoded add."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from skimage import data

from napari_sam.core.imaging import to_rgb
from napari_sam.core.refine import iter_refine, refine
from napari_sam.core.steps import finish
from napari_sam.models import load_model
from napari_sam.models.sam1 import view_encoder as views_module
from napari_sam.models.sam1.view_encoder import ViewEncoder
from napari_sam.types import PointPrompt, PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.core.results import MaskResult
    from napari_sam.models.sam1.plane import SamPlane
    from napari_sam.models.sam1.sam import SamModel
    from napari_sam.types import Frame, RGBArray

COIN = (124.0 + 303, 205.0)
CLICK = PromptSet((PointPrompt(*COIN),))
CORRECTED = PromptSet((*CLICK.points, PointPrompt(COIN[0] + 8, COIN[1] + 6)))
BOX = PromptSet(box=(COIN[0] - 22, COIN[1] - 22, COIN[0] + 22, COIN[1] + 22))


@pytest.fixture(scope="module")
def model(small_models: None) -> SamModel:
    return load_model("mobile-sam-microscopy", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return to_rgb(np.tile(data.coins(), (3, 2)))


@pytest.fixture(scope="module")
def encoded(model: SamModel, rgb: np.ndarray) -> SamPlane:
    return model.encode_rgb(rgb)


@pytest.fixture
def plane(model: SamModel, encoded: SamPlane, rgb: np.ndarray) -> SamPlane:
    """Return the plane without any view."""
    return model.restore(encoded.embedding, rgb)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Frame, int]]:
    """Note each view that is begun, with its sum, and each that is finished."""
    noted: list[tuple[Frame, int]] = []
    prepare = ViewEncoder.iter_prepare

    def watched(
        self: ViewEncoder, rgb: RGBArray, frame: Frame, store: None
    ) -> Iterator[None]:
        noted.append((frame, int(rgb.sum())))
        return prepare(self, rgb, frame, store)

    monkeypatch.setattr(ViewEncoder, "iter_prepare", watched)
    return noted


def same(a: MaskResult, b: MaskResult) -> bool:
    return np.array_equal(a.logits, b.logits) and a.score == b.score


@pytest.mark.parametrize("prompts", [CLICK, BOX], ids=["click", "box"])
def test_what_is_known_comes_before_anything_is_encoded(
    plane: SamPlane, prepared: list, prompts: PromptSet
) -> None:
    steps = plane.iter_prompts(prompts)
    first = next(steps)
    assert first is not None
    assert not prepared
    assert first.best.any()
    rest = list(steps)
    assert prepared
    # The encoder lets others go first, and each answer is told once.
    assert rest.count(None) > 10
    told = [first, *(r for r in rest if r is not None)]
    assert all(not same(a, b) for a, b in itertools.pairwise(told))


@pytest.mark.parametrize("prompts", [CLICK, CORRECTED, BOX], ids=["one", "two", "box"])
def test_the_last_answer_is_the_one_asked_at_once(
    model: SamModel, encoded: SamPlane, rgb: np.ndarray, prompts: PromptSet
) -> None:
    whole, stepped = (model.restore(encoded.embedding, rgb) for _ in range(2))
    assert same(refine(whole, prompts), finish(iter_refine(stepped, prompts)))


def test_what_is_encoded_already_is_used_without_a_preliminary_answer(
    plane: SamPlane, prepared: list
) -> None:
    expected = plane.predict_prompts(CLICK)
    prepared.clear()
    steps = plane.iter_prompts(CLICK)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert same(end.value.value, expected)
    assert not prepared


def test_what_was_begun_and_given_up_is_finished_not_begun_again(
    plane: SamPlane, prepared: list
) -> None:
    steps = plane.iter_prompts(CLICK)
    for _ in range(6):
        next(steps)
    steps.close()
    assert len(prepared) == 1
    finish(plane.iter_prompts(CLICK))
    assert len(prepared) == len(set(prepared))


def test_no_more_is_kept_of_what_was_given_up_than_two(
    plane: SamPlane, prepared: list
) -> None:
    places = [(150.0 + 200 * i, 150.0 + 100 * j) for i in range(3) for j in range(2)]
    for row, column in places:
        steps = plane.iter_prompts(PromptSet((PointPrompt(row, column),)))
        for _ in range(4):
            next(steps)
        steps.close()
    assert len(prepared) > views_module._BEGUN
    assert plane._views is not None
    assert len(plane._views._begun) == views_module._BEGUN


def test_an_error_in_a_view_is_told_and_tried_again(
    plane: SamPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = ViewEncoder.iter_prepare

    def fails(*_: object) -> Iterator[None]:
        yield
        raise OSError("unreadable")

    monkeypatch.setattr(ViewEncoder, "iter_prepare", fails)
    with pytest.raises(OSError, match="unreadable"):
        finish(plane.iter_prompts(CLICK))
    monkeypatch.setattr(ViewEncoder, "iter_prepare", prepare)
    assert finish(plane.iter_prompts(CLICK)).best.any()


def test_clicks_that_come_at_once_have_a_first_answer_to_all_of_them(
    plane: SamPlane, prepared: list
) -> None:
    """Not to the first of them, which is the round that is encoded for."""
    background = PointPrompt(COIN[0], COIN[1] + 60, positive=False)
    clicks = PromptSet((*CORRECTED.points, background))
    first = next(iter_refine(plane, clicks))
    assert first is not None
    assert not prepared
    row, column = round(background.row), round(background.column)
    assert first.best[round(COIN[0]), round(COIN[1])]
    assert not first.best[row, column]


def test_a_model_without_views_answers_in_one_step(mobile_sam: SamModel) -> None:
    plane = mobile_sam.encode(data.coins())
    steps = plane.iter_prompts(PromptSet((PointPrompt(124.0, 205.0),)))
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value.best.any()
