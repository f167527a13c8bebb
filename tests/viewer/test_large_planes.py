"""Clicks in pyramids and in planes that are never read as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_sam.core.engine import Engine
from napari_sam.core.steps import finish
from napari_sam.core.store import EmbeddingStore
from napari_sam.errors import ImageError
from napari_sam.models import load_model
from napari_sam.types import Plane
from napari_sam.viewer.predict import PlaneEncoder
from napari_sam.viewer.settings import Normalisation
from napari_sam.viewer.source import snapshot

COIN = (26 + 6 * 124.0, 30 + 5 * 170.0)
WHOLE = Plane((0, 1), (None, None))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    model = load_model("mobile-sam-microscopy", device="cpu", dtype="float32")
    return Engine(model, EmbeddingStore(tmp_path_factory.mktemp("embeddings")))


@pytest.fixture(scope="module")
def fine(coins: np.ndarray) -> np.ndarray:
    """Return coins in a plane of which the model's input shows every second pixel."""
    return np.tile(coins, (17, 12))[:2048, :2040]


def halved(a: np.ndarray) -> np.ndarray:
    wide = a.astype(float)
    parts = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return np.rint(parts / 4).astype(np.uint8)


def answer(
    engine: Engine, layer: Image, normalisation: Any
) -> tuple[np.ndarray, float]:
    encoder = PlaneEncoder(engine, snapshot(layer, normalisation, [layer]))
    found = finish(encoder.iter_get(WHOLE)).predict(points=[COIN])
    return found.best, found.score


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_a_click_in_a_pyramid_is_answered_from_its_finest_level(
    engine: Engine, fine: np.ndarray, normalisation: Normalisation
) -> None:
    single = Image(fine, contrast_limits=(0, 255))
    levels = [fine, halved(fine), halved(halved(fine))]
    pyramid = Image(levels, multiscale=True, contrast_limits=(0, 255))
    (a, score), (b, score_b) = (
        answer(engine, layer, normalisation) for layer in (single, pyramid)
    )
    assert a.shape == b.shape == fine.shape
    assert (a & b).sum() / (a | b).sum() > 0.97
    assert score_b == pytest.approx(score, abs=0.03)
    # A coin of 37 pixels, not of two dozen pixels of the coarse level.
    assert 800 < b.sum() < 1400


def test_of_a_large_plane_only_parts_are_read(engine: Engine, fine: np.ndarray) -> None:
    data = np.tile(fine, (3, 3))

    class Lazy:
        shape, dtype, ndim = data.shape, data.dtype, 2
        size, most = data.size, 0

        def __getitem__(self, key: Any) -> np.ndarray:
            part = data[key]
            self.most = max(self.most, part.size)
            return part

    layer, lazy = Image(data, contrast_limits=(0, 255)), Lazy()
    source = snapshot(layer, Normalisation.PERCENTILE)
    object.__setattr__(source.layers[0], "levels", (lazy,))
    plane = finish(PlaneEncoder(engine, source).iter_get(WHOLE))
    assert plane.frame.image_size == data.shape
    assert lazy.most <= 1 << 24
    lazy.most = 0
    found = plane.predict(points=[COIN])
    assert 800 < found.best.sum() < 1400
    assert 0 < lazy.most <= 900**2


def test_a_part_that_cannot_be_read_is_said(engine: Engine, fine: np.ndarray) -> None:
    fine = np.roll(fine, 20, axis=0)  # that nobody has clicked in
    levels = [fine, halved(fine), halved(halved(fine))]
    layer = Image(levels, multiscale=True, contrast_limits=(0, 255))
    source = snapshot(layer, Normalisation.PERCENTILE)
    whole = source.layers[0].levels

    class Broken:
        shape, dtype, ndim = fine.shape, fine.dtype, 2

        def __getitem__(self, key: Any) -> np.ndarray:
            raise OSError("chunk 3.4 is damaged")

    object.__setattr__(source.layers[0], "levels", (Broken(), *whole[1:]))
    plane = finish(PlaneEncoder(engine, source).iter_get(WHOLE))
    with pytest.raises(ImageError, match=r"could not be read .*chunk 3.4 is damaged"):
        plane.predict(points=[COIN])
