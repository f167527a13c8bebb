"""Images much larger than the model's input, in which objects are tiny.

A coin is 11 of the model's pixels wide here, three of its cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest

from napari_sam.core.everything.search import EverythingSettings, iter_everything, run
from napari_sam.core.imaging import to_rgb
from napari_sam.core.metrics import average_precision
from napari_sam.models import load_model
from napari_sam.samples import SAMPLES
from napari_sam.types import MaskLevel

if TYPE_CHECKING:
    from napari_sam.models.sam1.plane import SamPlane
    from napari_sam.models.sam1.sam import SamModel

COIN = (124.0, 205.0)  # in the photograph of coins, 40 pixels wide
POINT = (COIN[0] + 6 * 303, COIN[1] + 5 * 384)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def model() -> SamModel:
    return load_model("mobile-sam-microscopy", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def image(coins: np.ndarray) -> np.ndarray:
    return to_rgb(np.tile(coins, (12, 10)))


@pytest.fixture(scope="module")
def large(model: SamModel, image: np.ndarray) -> SamPlane:
    return model.encode_rgb(image)


@pytest.fixture(scope="module")
def truth(model: SamModel, image: np.ndarray, coins: np.ndarray) -> np.ndarray:
    """Return the coin as the model finds it in the photograph alone."""
    full = np.zeros(image.shape[:2], bool)
    found = model.encode(coins).predict(points=[COIN])
    assert found.detail is None
    full[6 * 303 : 7 * 303, 5 * 384 : 6 * 384] = found.best
    return full


def test_a_click_finds_what_is_tiny_in_it(
    model: SamModel, large: SamPlane, truth: np.ndarray
) -> None:
    found = large.predict(points=[POINT])
    assert iou(found.best, truth) > 0.9
    assert found.score > 0.7
    blind = model.restore(large.embedding).predict(points=[POINT])
    assert iou(blind.best, truth) < 0.7


def test_so_does_a_box(large: SamPlane, truth: np.ndarray) -> None:
    rows, cols = np.nonzero(truth)
    box = (rows.min() - 2, cols.min() - 2, rows.max() + 2, cols.max() + 2)
    assert iou(large.predict(box=box).best, truth) > 0.9


def test_all_its_sizes_are_fine(large: SamPlane, truth: np.ndarray) -> None:
    found = large.predict(points=[POINT])
    areas = [found.crop_of(n).area for n in (1, 2, 3)]
    assert areas == sorted(areas)
    # To the pixel, not in cells of 15 pixels.
    assert max(iou(mask, truth) for mask in found.masks) > 0.85
    levels = (MaskLevel.SUBPART, MaskLevel.PART, MaskLevel.WHOLE)
    turned = found.reordered([2, 0, 1])
    for level, was in zip(levels, (2, 0, 1), strict=True):
        crop = turned.crop(level)
        assert crop.region == found.crop(levels[was]).region
        assert turned.stability(level) == found.stability(levels[was])


def test_corrections_refine_it_where_it_was_found(
    large: SamPlane, truth: np.ndarray
) -> None:
    first = large.predict(points=[POINT])
    assert first.detail is not None
    neighbor = (int(POINT[0]), int(POINT[1]) - 55)
    clicks = (POINT, neighbor)
    both = large.predict(points=clicks, labels=[1, 1], logits=first.earlier())
    assert both.best[neighbor]
    assert both.best.sum() > 1.5 * first.best.sum()
    one = large.predict(points=clicks, labels=[1, 0], logits=both.earlier())
    assert not one.best[neighbor]
    assert iou(one.best, truth) > 0.9
    for result in (both, one):
        assert result.detail is not None
        assert result.detail.view == first.detail.view


def test_a_correction_beyond_the_view_leaves_it(large: SamPlane) -> None:
    first = large.predict(points=[POINT])
    assert first.detail is not None
    far = (POINT[0] + 900, POINT[1])
    second = large.predict(points=[POINT, far], labels=[1, 1], logits=first.earlier())
    view = second.detail.view if second.detail else None
    assert view != first.detail.view


def test_an_earlier_answer_to_another_image_does_no_harm(
    model: SamModel, large: SamPlane, coins: np.ndarray
) -> None:
    earlier = large.predict(points=[POINT]).earlier()
    assert earlier.detail is not None
    small = model.encode(coins)
    with_it = small.predict(points=[COIN, COIN], logits=earlier)
    without = small.predict(points=[COIN, COIN], logits=earlier.logits)
    np.testing.assert_array_equal(with_it.best, without.best)


def test_large_things_are_seen_as_a_whole(model: SamModel) -> None:
    image = np.random.default_rng(3).normal(40, 8, (3000, 3400))
    row, col = np.ogrid[:3000, :3400]
    truth = np.hypot(row - 1400, col - 1700) < 800
    image[truth] += 120
    result = model.encode(image).predict(points=[(1400, 1700)])
    assert iou(result.best, truth) > 0.9


def test_of_a_pyramid_the_level_is_looked_at(
    model: SamModel, coins: np.ndarray
) -> None:
    """Also to refine: views are the same there and back."""
    level = to_rgb(np.tile(coins, (5, 4)))
    point = np.add(COIN, (2 * 303, 384))
    found = []
    for k in (3, 1):
        plane = model.encode_rgb(level, (level.shape[0] * k, level.shape[1] * k))
        points = [point * k + k // 2, (point + 12) * k + k // 2]
        first = plane.predict(points=points[:1])
        second = plane.predict(points=points, labels=[1, 1], logits=first.earlier())
        assert second.detail is not None
        found.append(second.best)
    assert iou(found[0], np.kron(found[1], np.ones((3, 3), bool))) > 0.97


def test_everything_of_a_large_plane_is_what_is_in_a_part(
    small_model: SamModel,
) -> None:
    """Nuclei of some ten pixels: nearly nothing is found in the whole at once."""
    small = np.ascontiguousarray(iio.imread(SAMPLES["nuclei"].path)[::3, ::3][:110])
    rows, cols = small.shape
    plane = np.full((130, 560), small.min())
    place = (slice(10, 10 + rows), slice(200, 200 + cols))
    plane[place] = small

    def found(image: np.ndarray, **settings: float) -> np.ndarray:
        chosen = EverythingSettings(**settings)  # type: ignore[arg-type]
        steps = iter_everything(to_rgb(image), small_model.encode_rgb, chosen)
        return run(steps).to_labels()

    alone = found(small)
    truth = np.zeros(plane.shape, np.int32)
    truth[place] = alone
    assert average_precision(truth, found(plane))[0] > 0.85
    assert average_precision(truth, found(plane, object_size=560.0))[0] < 0.7
