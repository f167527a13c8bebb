"""Answers that are a blend of the model's masks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_sam.errors import ModelError
from napari_sam.models import find_model, load_model
from napari_sam.models.sam1.checkpoint import (
    load_network,
    network_fingerprint,
    save_network,
)
from napari_sam.models.sam1.multimask_ensemble import (
    IGNORED,
    TEMPERATURE,
    MultimaskEnsemble,
    ignored_clicks,
)
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.models.sam1.prompts import tokens
from napari_sam.models.sam1.sam import SamModel
from napari_sam.types import NESTED_LEVELS, MaskLevel

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.plane import SamPlane

COIN = (124.0, 205.0)
BOX = (104.5, 185.5, 143.5, 225.5)
PROMPTS = (
    {"points": [COIN]},
    {"box": BOX},
    {"points": [COIN, (127.0, 154.0)], "labels": [1, 0]},
)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def network() -> SamNetwork:
    """Return the natural-image model, made to blend its masks."""
    network = load_network(find_model("mobile-sam").path)
    assert network.blend is None
    network.blend = MultimaskEnsemble()
    return network


@pytest.fixture(scope="module")
def plane(network: SamNetwork, coins: np.ndarray) -> SamPlane:
    model = SamModel.from_network(network, name="blend", device="cpu", dtype="float32")
    assert model.capabilities.blends_masks
    # Without the pixels there are no views, which tests/models/test_plane_views.py
    # is about.
    return model.restore(model.encode(coins).embedding)


def test_equal_scores_are_a_mean_and_a_clear_best_is_alone() -> None:
    blend = MultimaskEnsemble()
    logits = torch.randn(2, 3, 5, 5)
    predicted = torch.tensor([[0.7, 0.7, 0.7], [0.1, 0.2, 0.9]])
    mask, score = blend(logits, predicted)
    torch.testing.assert_close(mask[0], logits[0].mean(dim=0))
    torch.testing.assert_close(mask[1], logits[1, 2], atol=1e-4, rtol=0)
    torch.testing.assert_close(score, torch.tensor([0.7, 0.9]), atol=1e-4, rtol=0)


def test_a_temperature_apart_is_e_to_one() -> None:
    predicted = torch.tensor([[0.8, 0.8 - TEMPERATURE]])
    logits = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    mask, _ = MultimaskEnsemble()(logits, predicted)
    assert mask.item() / (1 - mask.item()) == pytest.approx(np.e, rel=1e-4)


def test_raising_all_scores_changes_no_mask() -> None:
    # The training lowers scores that are too high, all by the same.
    logits, predicted = torch.randn(2, 4, 5, 5), torch.rand(2, 4)
    mask, score = MultimaskEnsemble()(logits, predicted)
    other, lowered = MultimaskEnsemble()(logits, predicted - 0.05)
    torch.testing.assert_close(mask, other)
    torch.testing.assert_close(score - 0.05, lowered)


def test_clicks_that_masks_ignore() -> None:
    """Where the mask is sampled is where the pixel under the click is upscaled."""
    left, right = torch.full((2, 4, 6), -1.0)
    left[:, :3], right[:, 3:] = 1.0, 1.0
    logits = torch.stack([left, right])[None]
    last_left, first_right = (11.0, 5.0), (12.0, 5.0)  # of 24 pixels

    def ignored(*clicks: tuple[float, float, int]) -> list[float]:
        xy = torch.tensor([[click[:2] for click in clicks]])
        labels = torch.tensor([[click[2] for click in clicks]])
        return ignored_clicks(logits, xy, labels)[0].tolist()

    assert ignored((*last_left, TokenLabel.POSITIVE)) == [0, 1]
    assert ignored((*first_right, TokenLabel.POSITIVE)) == [1, 0]
    assert ignored((*last_left, TokenLabel.NEGATIVE)) == [1, 0]
    assert ignored((23.4, 15.4, 1), (0.0, 0.0, 0), (-0.4, 9.0, 1)) == [2, 1]
    for kind in (TokenLabel.PADDING, TokenLabel.BOX_START, TokenLabel.BOX_END):
        assert ignored((*last_left, kind)) == [0, 0]


def test_a_mask_that_ignores_a_click_counts_less() -> None:
    logits = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    predicted = torch.tensor([[0.8, 0.8]])
    for clicks in 0, 1, 2:
        mask, score = MultimaskEnsemble()(
            logits, predicted, torch.tensor([[clicks, 0.0]])
        )
        share = mask.item()
        assert (1 - share) / share == pytest.approx(np.exp(IGNORED * clicks), rel=1e-4)
        assert score.item() == pytest.approx(0.8)


def test_a_correction_counts_where_masks_disagree(
    plane: SamPlane, plane32: SamPlane
) -> None:
    before = plane.predict(points=[COIN]).logits[0]
    disagreed = 0
    for column in range(185, 240, 3):
        points, labels = [COIN, (COIN[0], float(column))], [1, 0]
        # The same weights, whose masks are not blended.
        once = plane32.predict(points, labels, logits=before)
        logits = torch.from_numpy(once.logits)[None]
        given = tokens(plane.frame, [points], [labels], None)
        assert given is not None
        ignored = ignored_clicks(
            logits, torch.from_numpy(given.xy), torch.from_numpy(given.labels)
        )
        wanted, score = MultimaskEnsemble()(
            logits, torch.from_numpy(once.predicted_iou)[None], ignored
        )
        result = plane.predict(points, labels, logits=before)
        np.testing.assert_allclose(result.logits[0], wanted[0], atol=0.02)
        assert result.score == pytest.approx(float(score), abs=1e-3)
        disagreed += bool(ignored.max() > ignored.min())
    assert disagreed > 2


def test_masks_agree_as_far_as_they_are_believed() -> None:
    blend = MultimaskEnsemble()
    answer = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]])
    masks = torch.tensor([[[[1.0, 1.0, -1.0, -1.0]], [[1.0, -1.0, -1.0, -1.0]]]])
    for predicted, wanted in ([0.9, 0.1], 1.0), ([0.1, 0.9], 0.5), ([0.5, 0.5], 0.75):
        found = blend.agreement(answer, masks, torch.tensor([predicted]))
        assert float(found) == pytest.approx(wanted, abs=1e-4)
    nothing = torch.full_like(masks, -1.0)
    assert float(blend.agreement(nothing[:, 0], nothing, torch.ones(1, 2))) == 0


@pytest.mark.parametrize("prompt", PROMPTS, ids=["point", "box", "two points"])
def test_an_answer_is_the_blend_of_one_decoding(
    plane: SamPlane, plane32: SamPlane, prompt: dict[str, object]
) -> None:
    """Against the model that does not blend, its masks blended by hand."""
    once = plane32.predict(**prompt)  # type: ignore[arg-type]
    given = tokens(
        plane.frame,
        [prompt["points"]] if "points" in prompt else None,
        [prompt["labels"]] if "labels" in prompt else None,
        [prompt["box"]] if "box" in prompt else None,
    )
    assert given is not None
    masks = torch.from_numpy(once.logits)[None]
    ignored = ignored_clicks(
        masks, torch.from_numpy(given.xy), torch.from_numpy(given.labels)
    )
    mask, believed = MultimaskEnsemble()(
        masks, torch.from_numpy(once.predicted_iou)[None], ignored
    )
    wanted, score = mask[0].numpy(), float(believed)

    if "labels" not in prompt and "points" in prompt:
        # One click leaves open what is meant: what the outputs disagree on costs.
        shares = torch.from_numpy(once.predicted_iou / TEMPERATURE).softmax(0).numpy()
        score *= sum(
            share * iou(mask > 0, wanted > 0)
            for share, mask in zip(shares, once.logits, strict=True)
        )
        assert score < 0.99 * float(once.predicted_iou.max())

    result = plane.predict(**prompt)  # type: ignore[arg-type]
    assert result.default == 0
    np.testing.assert_allclose(result.logits[0], wanted, atol=0.02)
    assert result.score == pytest.approx(score, abs=1e-3)
    # Subpart, part and whole stay those of the model.
    np.testing.assert_allclose(result.logits[1:], once.logits[1:], atol=1e-3)
    np.testing.assert_allclose(result.scores, once.scores, atol=1e-4)
    assert result.index_of(MaskLevel.AUTO) == 0


def test_many_at_once_are_the_same_as_one_by_one(plane: SamPlane) -> None:
    points = [COIN, (127.0, 154.0), (60.0, 60.0), (200.0, 300.0), (30.0, 340.0)]
    for point, many in zip(points, plane.predict_many(points), strict=True):
        one = plane.predict(points=[point])
        assert one.default == many.default == 0
        np.testing.assert_allclose(one.logits, many.logits, atol=0.02)
        np.testing.assert_allclose(one.predicted_iou, many.predicted_iou, atol=1e-3)


def test_everything_mode_sees_the_same_blend(
    plane: SamPlane, plane32: SamPlane
) -> None:
    points = [COIN, (127.0, 154.0), (60.0, 60.0), (200.0, 300.0), (30.0, 340.0)]
    batches = list(plane.iter_points(points, best_only=True))
    masks = np.concatenate([b.logits for b in batches])
    scores = np.concatenate([b.predicted_iou for b in batches])
    assert np.concatenate([b.point for b in batches]).tolist() == list(range(5))
    assert not np.concatenate([b.token for b in batches]).any()
    for once, mask, score in zip(
        plane32.predict_many(points), masks, scores, strict=True
    ):
        wanted, believed = MultimaskEnsemble()(
            torch.from_numpy(once.logits)[None],
            torch.from_numpy(once.predicted_iou)[None],
        )
        np.testing.assert_allclose(mask, wanted[0], atol=0.02)
        assert float(score) == pytest.approx(float(believed), abs=1e-3)
    low = float(np.median(scores))
    kept = list(plane.iter_points(points, best_only=True, min_iou=low))
    assert np.concatenate([b.point for b in kept]).tolist() == [
        i for i, score in enumerate(scores) if score > low
    ]


def test_all_three_masks_of_a_point_are_as_before(
    plane: SamPlane, plane32: SamPlane
) -> None:
    for a, b in zip(
        plane.iter_points([COIN]), plane32.iter_points([COIN]), strict=True
    ):
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-3)
        assert a.token.tolist() == b.token.tolist() == [0, 1, 2]


def test_the_levels_stay_nested_in_size(plane: SamPlane) -> None:
    result = plane.predict(points=[COIN])
    areas = [result.crop(level).area for level in NESTED_LEVELS]
    assert areas == sorted(areas)


def test_a_file_keeps_it(tmp_path: Path, network: SamNetwork) -> None:
    path = tmp_path / "blending.safetensors"
    save_network(network, path)
    read = load_network(path)
    assert read.blend is not None
    assert float(read.blend.temperature) == pytest.approx(TEMPERATURE, rel=1e-3)
    assert SamModel.from_file(path, device="cpu").capabilities.blends_masks


def test_it_is_part_of_what_a_model_is(network: SamNetwork) -> None:
    once = copy.deepcopy(network)
    once.blend = None
    assert network_fingerprint(network) != network_fingerprint(once)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_a_file_with_a_temperature_that_is_none(
    tmp_path: Path, network: SamNetwork, wrong: float
) -> None:

    path = tmp_path / "wrong.safetensors"
    save_network(network, path)
    state = load_file(path)
    save_file(state | {"blend.temperature": torch.tensor(wrong)}, path)
    with pytest.raises(ModelError, match=r"wrong\.safetensors .*temperature"):
        load_network(path)


def test_only_the_microscopy_model_blends_its_masks() -> None:
    assert load_model("mobile-sam-microscopy", device="cpu").capabilities.blends_masks
    assert not load_model("mobile-sam", device="cpu").capabilities.blends_masks
