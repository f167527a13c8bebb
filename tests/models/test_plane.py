"""Prompts of every kind on a real image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from skimage.transform import resize
from torch.nn import functional

from napari_sam.core.model import EncodedPlane, Model
from napari_sam.core.results import upscale_mask
from napari_sam.errors import ImageError, ModelError, PromptError
from napari_sam.types import (
    Frame,
    MaskCrop,
    MaskLevel,
    PointPrompt,
    PromptSet,
)

if TYPE_CHECKING:
    from napari_sam.models.sam1.plane import SamPlane
    from napari_sam.models.sam1.sam import SamModel

COIN = (124.0, 205.0)
OTHER = (127.0, 154.0)
BOX = (104.5, 185.5, 143.5, 225.5)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_it_is_what_the_rest_of_the_package_expects(
    model32: SamModel, plane32: SamPlane
) -> None:
    assert isinstance(model32, Model)
    assert isinstance(plane32, EncodedPlane)
    assert model32.device == "cpu"
    assert model32.architecture == "vit_t"
    assert model32.dtype == "float32"


def test_one_point(plane32: SamPlane) -> None:
    result = plane32.predict(points=[COIN])
    assert result.masks.shape == (3, 303, 384)
    areas = result.masks.sum(axis=(1, 2))
    assert (np.diff(areas) >= 0).all()
    assert result.default == 1 + int(np.argmax(result.scores))
    assert result.best[124, 205]
    assert not result.best[127, 154]
    assert result.score > 0.9


def test_a_flat_point_is_one_point(plane32: SamPlane) -> None:
    a, b = plane32.predict(points=COIN), plane32.predict(points=[COIN], labels=[1])
    np.testing.assert_array_equal(a.logits, b.logits)


def test_box_points_and_both_use_the_single_mask_output(plane32: SamPlane) -> None:
    by_box = plane32.predict(box=BOX)
    by_points = plane32.predict(points=[COIN, OTHER], labels=[1, 0])
    by_both = plane32.predict(points=[COIN], box=BOX)
    for result in (by_box, by_points, by_both):
        assert result.default == 0
        assert result.index_of(MaskLevel.AUTO) == 0
        assert result.best[124, 205]
        assert not result.best[127, 154]
    assert iou(by_box.best, by_both.best) > 0.9


def test_the_corners_of_a_box_come_in_any_order(plane32: SamPlane) -> None:
    a = plane32.predict(box=BOX)
    b = plane32.predict(box=(BOX[2], BOX[1], BOX[0], BOX[3]))
    np.testing.assert_array_equal(a.logits, b.logits)


def test_a_box_is_cut_at_the_border(plane32: SamPlane) -> None:
    a = plane32.predict(box=(-40, -40, 50, 60))
    b = plane32.predict(box=(-0.5, -0.5, 50, 60))
    np.testing.assert_array_equal(a.logits, b.logits)


def test_refining_from_logits(plane32: SamPlane) -> None:
    first = plane32.predict(points=[COIN])
    refined = plane32.predict(points=[COIN], logits=first.logits[first.default])
    assert refined.default == 0
    assert iou(first.best, refined.best) > 0.9


def test_a_rough_mask_becomes_the_object(plane32: SamPlane) -> None:
    truth = plane32.predict(box=BOX).best
    rough = np.zeros((303, 384), bool)
    rows, cols = np.indices(rough.shape)
    rough[np.hypot(rows - 121, cols - 207) < 18] = True
    result = plane32.predict(mask=rough)
    assert result.default == 0
    assert iou(result.best, truth) > 0.8


def test_a_prompt_set_is_the_same_prompts(plane32: SamPlane) -> None:
    points = (PointPrompt(*COIN), PointPrompt(*OTHER, positive=False))
    a = plane32.predict_prompts(PromptSet(points, BOX))
    b = plane32.predict(points=[COIN, OTHER], labels=[1, 0], box=BOX)
    np.testing.assert_array_equal(a.logits, b.logits)
    mask = np.zeros((303, 384), bool)
    mask[105:143, 187:224] = True
    c = plane32.predict_prompts(PromptSet(mask=MaskCrop.from_full(mask)))
    d = plane32.predict(mask=mask)
    np.testing.assert_array_equal(c.logits, d.logits)


def test_many_objects_are_as_one_by_one(plane32: SamPlane) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((0, 0), (302, 383), (7, 2))
    boxes = np.concatenate([points.clip(0, 250), points.clip(0, 250) + 40], axis=1)
    for many, single in (
        (plane32.predict_many(points), [{"points": [p]} for p in points]),
        (plane32.predict_many(boxes=boxes), [{"box": b} for b in boxes]),
    ):
        assert len(many) == 7
        for found, prompt in zip(many, single, strict=True):
            expected = plane32.predict(**prompt)
            assert found.default == expected.default
            np.testing.assert_allclose(found.logits, expected.logits, atol=5e-3)
    assert plane32.predict_many(np.empty((0, 2))) == []


def test_many_objects_with_several_points_each(plane32: SamPlane) -> None:
    points = [[COIN, OTHER], [OTHER, COIN]]
    first, second = plane32.predict_many(points, labels=[[1, 0], [1, 0]])
    assert first.best[124, 205]
    assert not first.best[127, 154]
    assert second.best[127, 154]
    assert not second.best[124, 205]


def test_points_in_micro_batches(plane32: SamPlane) -> None:
    points = np.array([COIN, OTHER, (37.0, 106.0), (5.0, 5.0), (145.0, 50.0)])
    found = list(plane32.iter_points(points, min_iou=0.9))
    index = np.concatenate([part.point for part in found])
    assert (np.diff(index) >= 0).all()
    assert index.max() < len(points)
    for part in found:
        assert (part.predicted_iou > 0.9).all()
        for logits, point, score in zip(
            part.logits, part.point, part.predicted_iou, strict=True
        ):
            one = plane32.predict(points=[points[point]])
            match = np.abs(one.logits - logits).max(axis=(1, 2)).argmin()
            np.testing.assert_allclose(one.logits[match], logits, atol=5e-3)
            assert one.predicted_iou[match] == pytest.approx(float(score), abs=1e-4)
    assert list(plane32.iter_points(np.empty((0, 2)))) == []


def test_restoring_an_embedding(model32: SamModel, plane32: SamPlane) -> None:
    again = model32.restore(plane32.embedding)
    np.testing.assert_array_equal(
        again.predict(points=[COIN]).logits, plane32.predict(points=[COIN]).logits
    )


def test_an_embedding_of_another_model_is_refused(
    model32: SamModel, plane32: SamPlane
) -> None:
    e = plane32.embedding
    with pytest.raises(ModelError, match="not computed by"):
        model32.restore(replace(e, model="another"))
    with pytest.raises(ModelError, match="not computed by"):
        model32.restore(replace(e, tensors={"features": e.features[:, :32]}))


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ({}, "no prompt"),
        ({"points": [(-0.6, 3)]}, "outside the image of 303 × 384"),
        ({"points": [(3, 383.6)]}, "outside"),
        ({"points": [(np.nan, 3)]}, "nan"),
        ({"points": [(np.inf, 3)]}, "inf"),
        ({"points": [(1, 2, 3)]}, "pairs"),
        ({"points": "here"}, "not numbers"),
        ({"points": [COIN], "labels": [1, 0]}, "2 labels for 1 points"),
        ({"points": [COIN], "labels": [2]}, "neither"),
        ({"labels": [1]}, "without points"),
        ({"box": (10, 10, 10, 20)}, "no area"),
        ({"box": (400, 10, 500, 20)}, "outside"),
        ({"box": (1, 2, 3)}, "four numbers"),
        ({"box": (1, 2, 3, np.nan)}, "nan"),
        ({"mask": np.ones((5, 5), bool)}, "does not fit"),
        ({"mask": np.zeros((303, 384), bool)}, "empty"),
        ({"logits": np.zeros((5, 5))}, "cannot be refined"),
    ],
)
def test_unusable_prompts_get_one_sentence(
    plane32: SamPlane, prompt: dict[str, object], says: str
) -> None:
    with pytest.raises(PromptError, match=says) as caught:
        plane32.predict(**prompt)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text


def test_prompts_of_many_are_checked_before_the_first(plane32: SamPlane) -> None:
    with pytest.raises(PromptError, match="outside"):
        plane32.iter_points([COIN, (999, 0)])
    with pytest.raises(PromptError, match="objects and boxes"):
        plane32.predict_many([COIN], boxes=[BOX, BOX])
    with pytest.raises(PromptError, match="one point for each"):
        plane32.iter_points([[COIN, OTHER]])


def test_a_hundred_points(plane32: SamPlane) -> None:
    rng = np.random.default_rng(0)
    inside = np.array(COIN) + rng.uniform(-10, 10, (50, 2))
    outside = np.array([87.0, 245.0]) + rng.uniform(-9, 9, (50, 2))
    result = plane32.predict(np.concatenate([inside, outside]), [1] * 50 + [0] * 50)
    assert result.best[124, 205]


def test_a_pyramid_level_answers_at_full_resolution(
    model32: SamModel, coins: np.ndarray
) -> None:
    small = resize(coins, (152, 192), anti_aliasing=True, preserve_range=True)
    rgb = np.repeat(small.astype(np.uint8)[..., None], 3, axis=2)
    plane = model32.encode_rgb(rgb, image_size=(303, 384))
    assert plane.frame.image_size == (303, 384)
    result = plane.predict(box=BOX)
    assert result.best.shape == (303, 384)
    truth = model32.encode(coins).predict(box=BOX).best
    assert iou(result.best, truth) > 0.9


@pytest.mark.parametrize("size", [(303, 411), (511, 257), (97, 131)])
def test_a_disc_is_found_where_it_is(model32: SamModel, size: tuple[int, int]) -> None:
    center = (size[0] * 0.43 + 0.3, size[1] * 0.56 - 0.2)
    radius = min(size) * 0.19
    rows, cols = np.indices(size)
    distance = np.hypot(rows - center[0], cols - center[1])
    image = (np.clip(radius - distance + 0.5, 0, 1) * 150 + 50).astype(np.uint8)
    mask = model32.encode(image).predict(points=[center]).best
    found = np.argwhere(mask).mean(axis=0)
    # Half a pixel would be a systematic offset; the model itself is this good.
    np.testing.assert_allclose(found, center, atol=0.25)
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.05)


@pytest.mark.parametrize("size", [(303, 384), (1211, 1535), (151, 190)])
def test_one_step_agrees_with_the_two_steps_of_sam(
    plane32: SamPlane, size: tuple[int, int]
) -> None:
    """SAM goes to its input's resolution, cuts the padding off, then resizes."""
    rows, cols = plane32.frame.input_size
    frame = Frame(size, (rows, cols), plane32.frame.side)
    for point in (COIN, OTHER, (44.0, 335.0)):
        result = plane32.predict(points=[point])
        agreement = []
        for logits in result.logits:
            big = functional.interpolate(
                torch.from_numpy(logits)[None, None], (1024, 1024), mode="bilinear"
            )
            two = functional.interpolate(big[..., :rows, :cols], size, mode="bilinear")
            one = upscale_mask(logits, frame).full(size)
            agreement.append(iou(one, two[0, 0].numpy() > 0))
        assert agreement[result.default] > 0.999
        assert np.mean(agreement) > 0.99


def test_a_large_image_is_as_its_small_version(
    model32: SamModel, plane32: SamPlane, coins: np.ndarray
) -> None:
    large = np.kron(coins, np.ones((4, 4), np.uint8))
    result = model32.encode(large).predict(box=[4 * v + 1.5 for v in BOX])
    expected = np.kron(plane32.predict(box=BOX).best, np.ones((4, 4), bool))
    assert result.best.shape == (1212, 1536)
    assert iou(result.best, expected) > 0.95


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_tiny_images(model32: SamModel, size: tuple[int, int]) -> None:
    plane = model32.encode(np.arange(size[0] * size[1]).reshape(size) % 251)
    result = plane.predict(points=[(0, 0)])
    assert result.best.shape == size
    assert plane.frame == Frame.fit(size)


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_what_is_not_rgb_is_refused(model32: SamModel, rgb: np.ndarray) -> None:
    with pytest.raises(ImageError, match="not an RGB image"):
        model32.encode_rgb(rgb)
