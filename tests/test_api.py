"""The public API as a script uses it, on the real model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_sam as ns
from napari_sam.api import leading_planes
from napari_sam.core.everything.search import run
from napari_sam.samples import SAMPLES

if TYPE_CHECKING:
    from napari_sam.core.model import Model
    from napari_sam.types import RGBArray

FEW = {"points_per_side": 3, "pred_iou_thresh": 0.7, "stability_score_thresh": 0.8}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.asarray(ns.read_image(SAMPLES["nuclei"].path).data)[:256, :256]


def test_click_to_mask(model: Model, image: np.ndarray) -> None:
    row, column = np.unravel_index(np.argmax(image), image.shape)
    result = model.encode(image).predict(points=[(row, column)], labels=[1])
    assert result.masks.shape == (3, 256, 256)
    assert result.best[row, column]
    areas = [int(mask.sum()) for mask in result.masks]
    assert areas == sorted(areas)


def test_segment_everything(model: Model, image: np.ndarray) -> None:
    seen: list[ns.Progress] = []
    proposals = ns.segment_everything(image, model=model, progress=seen.append, **FEW)
    assert len(proposals) > 0
    assert seen[-1].done == seen[-1].total == 9
    labels = proposals.filter(min_area=50).to_labels()
    assert labels.shape == image.shape
    assert labels.max() > 0


def test_settings_and_overrides_agree(model: Model, image: np.ndarray) -> None:
    whole = ns.EverythingSettings(**FEW)
    one = ns.segment_everything(image, model=model, settings=whole)
    partly = ns.EverythingSettings(points_per_side=3, pred_iou_thresh=0.7)
    two = ns.segment_everything(
        image, model=model, settings=partly, stability_score_thresh=0.8
    )
    np.testing.assert_array_equal(one.to_labels(), two.to_labels())


def test_region(model: Model, image: np.ndarray) -> None:
    region = ns.Region(20, 30, 120, 130)
    proposals = ns.segment_everything(image, model=model, region=region, **FEW)
    outside = proposals.to_labels()
    outside[region.slices] = 0
    assert not outside.any()


def test_generator_stops_when_asked(model: Model, image: np.ndarray) -> None:
    steps = ns.iter_everything(
        image, model=model, should_stop=lambda: True, points_per_side=32
    )
    assert len(run(steps)) == 0


def test_exception_in_progress_cancels(model: Model, image: np.ndarray) -> None:
    def cancel(_: ns.Progress) -> None:
        raise ns.Cancelled("enough")

    with pytest.raises(ns.Cancelled):
        ns.segment_everything(image, model=model, progress=cancel)


def test_stack_plane_by_plane(model: Model, image: np.ndarray) -> None:
    stack = np.stack([image, np.zeros_like(image), image[::-1]])
    steps = ns.iter_everything_stack(stack, model=model, **FEW)
    planes = [step for step in steps if not isinstance(step, ns.Progress)]
    assert [plane.index[0] for plane, _ in planes] == [0, 1, 2]
    assert len(planes[0][1]) > 0


def test_stack_uses_the_given_encoder(model: Model, image: np.ndarray) -> None:
    seen: list[tuple[int, ...]] = []

    def encode(rgb: RGBArray) -> object:
        seen.append(rgb.shape)
        return model.encode_rgb(rgb)

    color = np.stack([image] * 3, axis=-1)[None]
    list(ns.iter_everything_stack(color, rgb=True, encode=encode, **FEW))
    assert seen == [(256, 256, 3)]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((0, 5)),
        np.zeros(5),
        np.zeros((4, 4), complex),
        np.zeros((4, 4), object),
        np.zeros((2, 2, 2, 2)),
    ],
    ids=["empty", "1-D", "complex", "object", "4-D"],
)
def test_unusable_images(model: Model, bad: np.ndarray) -> None:
    with pytest.raises(ns.ImageError, match=r"^[^\n]+\.$"):
        ns.segment_everything(bad, model=model)


@pytest.mark.parametrize("shape", [(5,), (0, 4, 4)])
def test_unusable_stacks(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ns.ImageError):
        list(ns.iter_everything_stack(np.zeros(shape), model=model))


def test_unusable_settings(model: Model, image: np.ndarray) -> None:
    with pytest.raises(ns.SettingsError, match="points_per_sid"):
        ns.segment_everything(image, model=model, points_per_sid=4)
    with pytest.raises(ns.SettingsError, match="points_per_side is 0"):
        ns.segment_everything(image, model=model, points_per_side=0)


def test_leading_planes_come_in_memory_order() -> None:
    planes = leading_planes((2, 3, 8, 9))
    assert [p.index[:2] for p in planes] == [(i, j) for i in range(2) for j in range(3)]
    assert {p.displayed for p in planes} == {(2, 3)}
    assert [p.index for p in leading_planes((8, 9))] == [(None, None)]
