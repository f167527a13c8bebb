"""Clicks in pyramids and in planes that are never read as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.everything.search import EverythingSettings, iter_everything, run
from napari_sam.core.imaging import to_rgb
from napari_sam.core.pixels import ArrayPixels
from napari_sam.core.steps import finish
from napari_sam.errors import ImageError
from napari_sam.models import load_model
from napari_sam.types import Frame, Plane, Region
from napari_sam.viewer.image.encoder import PlaneEncoder
from napari_sam.viewer.image.source import snapshot
from napari_sam.viewer.settings import Normalization

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
    engine: Engine, layer: Image, normalization: Any
) -> tuple[np.ndarray, float]:
    encoder = PlaneEncoder(engine, snapshot(layer, normalization, [layer]))
    found = finish(encoder.iter_get(WHOLE)).predict(points=[COIN])
    return found.best, found.score


@pytest.mark.parametrize("normalization", list(Normalization))
def test_a_click_in_a_pyramid_is_answered_from_its_finest_level(
    engine: Engine, fine: np.ndarray, normalization: Normalization
) -> None:
    single = Image(fine, contrast_limits=(0, 255))
    levels = [fine, halved(fine), halved(halved(fine))]
    pyramid = Image(levels, multiscale=True, contrast_limits=(0, 255))
    (a, score), (b, score_b) = (
        answer(engine, layer, normalization) for layer in (single, pyramid)
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
    source = snapshot(layer, Normalization.PERCENTILE)
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
    source = snapshot(layer, Normalization.PERCENTILE)
    whole = source.layers[0].levels

    class Broken:
        shape, dtype, ndim = fine.shape, fine.dtype, 2

        def __getitem__(self, key: Any) -> np.ndarray:
            raise OSError("chunk 3.4 is damaged")

    object.__setattr__(source.layers[0], "levels", (Broken(), *whole[1:]))
    plane = finish(PlaneEncoder(engine, source).iter_get(WHOLE))
    with pytest.raises(ImageError, match=r"could not be read .*chunk 3.4 is damaged"):
        plane.predict(points=[COIN])


class Watched:
    """A plane that notes what is read of it, and of which a part may be damaged."""

    def __init__(self, rgb: np.ndarray, damaged: Region | None = None) -> None:
        self._pixels = ArrayPixels(rgb)
        self._damaged = damaged or Region(0, 0, 0, 0)
        self.size, self.nbytes = self._pixels.size, 0
        self.read_regions: list[Region] = []

    def read(self, region: Region, frame: Frame) -> np.ndarray:
        self.read_regions.append(region)
        if not region.intersection(self._damaged).is_empty:
            raise ImageError("chunk 3.4 is damaged")
        return self._pixels.read(region, frame)


class TestEverything:
    """Everything mode of a plane of which only an overview is in memory."""

    SETTINGS = EverythingSettings(object_size=14.0)

    @pytest.fixture(scope="class")
    @staticmethod
    def small(coins: np.ndarray) -> np.ndarray:
        """Return small coins, so that they are searched in tiles."""
        return to_rgb(np.tile(halved(coins), (5, 5)))

    @pytest.fixture(scope="class")
    @staticmethod
    def overview(engine: Engine, small: np.ndarray) -> Any:
        return engine.model.encode_rgb(small[::2, ::2].copy(), small.shape[:2])

    @pytest.fixture(scope="class")
    @staticmethod
    def watched(small: np.ndarray) -> Watched:
        return Watched(small)

    @pytest.fixture(scope="class")
    @classmethod
    def lazily(cls, engine: Engine, overview: Any, watched: Watched) -> Any:
        """Return what is found in the plane, read part by part."""
        return cls.search(engine, overview, watched)

    @classmethod
    def search(cls, engine: Engine, overview: Any, pixels: Any, **how: Any) -> Any:
        steps = iter_everything(
            pixels, engine.iter_encode, cls.SETTINGS, plane=overview, **how
        )
        return run(steps)

    def test_it_finds_what_is_found_in_memory(
        self, engine: Engine, small: np.ndarray, lazily: Any, watched: Watched
    ) -> None:
        at_once = run(iter_everything(small, engine.encode, self.SETTINGS))
        assert len(lazily) == len(at_once) > 125
        labels = [p.to_labels() > 0 for p in (lazily, at_once)]
        assert np.array_equal(*labels)
        assert lazily.scale == at_once.scale
        assert lazily.unread == ()
        assert max(max(r.shape) for r in watched.read_regions) <= 448

    def test_a_damaged_part_is_told_and_the_rest_is_searched(
        self, engine: Engine, small: np.ndarray, overview: Any, lazily: Any
    ) -> None:
        damaged = Region(30, 30, 40, 40)
        found = self.search(engine, overview, Watched(small, damaged))
        assert 1 <= len(found.unread) <= 4
        assert "rows" in found.unread[0]
        assert "chunk 3.4 is damaged" in found.unread[0]
        assert len(lazily) * 0.5 < len(found) < len(lazily)
        assert not (found.to_labels()[damaged.slices] > 0).any()
        # It is said once more when the thresholds move.
        assert found.filter(min_area=1).unread == found.unread

    def test_what_was_searched_before_a_cancel_is_kept(
        self, engine: Engine, small: np.ndarray, overview: Any
    ) -> None:
        pixels = Watched(small)
        found = self.search(
            engine,
            overview,
            pixels,
            should_stop=lambda: len(pixels.read_regions) >= 3,
        )
        assert len(found)
        rows = np.flatnonzero(found.to_labels().any(axis=1))
        assert rows.max() < small.shape[0] / 2

    def test_nothing_is_encoded_again(
        self,
        engine: Engine,
        small: np.ndarray,
        overview: Any,
        lazily: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Neither what was searched, nor a part of it as a region."""
        count: list[int] = []
        encode = type(engine.model).iter_encode_rgb
        monkeypatch.setattr(
            type(engine.model),
            "iter_encode_rgb",
            lambda *a, **k: count.append(1) or encode(*a, **k),
        )
        again = self.search(engine, overview, Watched(small))
        assert not count
        assert np.array_equal(lazily.to_labels(), again.to_labels())

    def test_a_click_need_not_wait_for_a_tile(
        self, engine: Engine, small: np.ndarray, overview: Any
    ) -> None:
        rolled = np.roll(small, 7, axis=0)  # that is in no store
        steps = iter_everything(
            Watched(rolled), engine.iter_encode, self.SETTINGS, plane=overview
        )
        pauses = 0
        while "points" not in next(steps).text:
            pauses += 1
        assert pauses > 10
        steps.close()
