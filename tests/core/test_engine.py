from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from skimage import data, transform

from napari_sam import load_model
from napari_sam.core.embeddings.disk_cache import EntryFolder
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.imaging import to_rgb
from napari_sam.models.sam1 import sam as sam_module
from napari_sam.models.sam1 import view_encoder as views_module
from napari_sam.types import Frame

if TYPE_CHECKING:
    from napari_sam.core.model import Model


@pytest.fixture(scope="module")
def coins():
    return to_rgb(data.coins())


@pytest.fixture(scope="module")
def others():
    return [to_rgb(data.coins()[y : y + 60, 20:80]) for y in (0, 60, 120, 180)]


@pytest.fixture(scope="module")
def fresh(model: Model, coins):
    return model.encode_rgb(coins)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model: Model, coins, others, fresh):
    """Return a store folder that holds all planes of this module.

    Only the first is truly encoded; what the others answer does not matter.
    """
    path = tmp_path_factory.mktemp("engine")
    engine = Engine(model, EmbeddingStore(path))
    for rgb in (coins, *others):
        assert not engine.is_ready(engine.key(rgb))
        engine.store.put(engine.key(rgb), fresh.embedding)
    return path


class Counting:
    """A real model that counts how often it encodes and restores."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.encoded = self.restored = 0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def iter_encode_rgb(self, rgb, image_size=None, **how):
        self.encoded += 1
        return self._model.iter_encode_rgb(rgb, image_size, **how)

    def restore(self, embedding, rgb=None, **how):
        self.restored += 1
        return self._model.restore(embedding, rgb, **how)


def make(model, folder, **kwargs) -> tuple[Engine, Counting]:
    counting = Counting(model)
    return Engine(counting, EmbeddingStore(folder), **kwargs), counting


def test_a_stored_plane_answers_like_a_fresh_one(model, folder, coins, fresh):
    engine, counting = make(model, folder)
    assert engine.is_ready(engine.key(coins))
    stored = engine.encode(coins)
    assert (counting.encoded, counting.restored) == (0, 1)
    point = [(60, 110)]
    a, b = stored.predict(points=point), fresh.predict(points=point)
    overlap = np.count_nonzero(a.best & b.best) / np.count_nonzero(a.best | b.best)
    assert overlap > 0.99
    assert a.best[60, 110]
    assert a.best.shape == coins.shape[:2]


def test_a_plane_in_use_is_restored_once(model, folder, coins):
    engine, counting = make(model, folder)
    first = engine.encode(coins)
    assert engine.encode(coins.copy()) is first
    assert engine.encode(coins, key=engine.key(coins)) is first
    assert counting.restored == 1


def test_the_least_recently_used_planes_are_let_go(model, folder, others):
    engine, counting = make(model, folder, live=2)
    a, b, c, _ = others
    first = engine.encode(a)
    engine.encode(b)
    assert engine.encode(a) is first
    engine.encode(c)
    assert engine.encode(a) is first
    assert counting.restored == 3
    engine.encode(b)
    assert counting.restored == 4
    assert counting.encoded == 0


def test_planes_that_keep_much_are_let_go_sooner(model, folder, others):
    """What a plane has prepared counts, from the first prompt on."""
    a, b, c, _ = others
    point = [(30, 30)]
    measured = make(model, folder)[0].encode(a)
    assert measured.nbytes == 0
    measured.predict(points=point)
    assert measured.nbytes > 1e6
    engine, counting = make(model, folder, live_bytes=2 * measured.nbytes)
    first = engine.encode(a)
    first.predict(points=point)
    engine.encode(b).predict(points=point)
    assert engine.encode(a) is first
    engine.encode(c).predict(points=point)
    assert engine.encode(a) is first
    engine.encode(b)
    assert counting.restored == 4
    alone, counting = make(model, folder, live_bytes=0)
    assert alone.encode(a) is alone.encode(a)
    assert counting.restored == 1


def test_a_stored_plane_has_its_pixels(coins, tmp_path):
    """The default model looks closer at small objects, also after a restart."""
    image = np.ascontiguousarray(np.tile(coins, (4, 3, 1)))
    model = load_model(device="cpu")
    point = (124.0 + 303, 205.0 + 384)
    answers = [
        Engine(model, EmbeddingStore(tmp_path)).encode(image).predict(points=[point])
        for _ in range(2)
    ]
    fresh, stored = answers
    assert fresh.detail is not None
    assert stored.detail is not None
    np.testing.assert_allclose(stored.detail.logits, fresh.detail.logits, atol=0.05)


def test_preparing_another_plane_lets_none_in_use_go(model, folder, coins):
    engine, counting = make(model, folder, live=1)
    shown = engine.encode(coins)
    other = np.ascontiguousarray(coins[:40, :50])
    assert not engine.is_ready(engine.key(other))
    assert engine.prepare(other) is True
    assert engine.prepare(other) is False
    assert engine.prepare(other, key=engine.key(other)) is False
    assert engine.is_ready(engine.key(other))
    assert engine.encode(coins) is shown
    assert (counting.encoded, counting.restored) == (1, 1)


def test_masks_of_a_pyramid_level_come_in_full_size(model, folder):
    full = to_rgb(data.coins())
    half = transform.resize(full, (152, 192), preserve_range=True, anti_aliasing=True)
    half = half.astype(np.uint8)
    size = full.shape[:2]
    engine, counting = make(model, folder)
    fresh = engine.encode(half, size)
    assert counting.encoded == 1
    engine, counting = make(model, folder)
    restored = engine.encode(half, size)
    assert (counting.encoded, counting.restored) == (0, 1)
    for plane in (fresh, restored):
        mask = plane.predict(points=[(60, 110)]).best
        assert mask.shape == size
        assert mask[60, 110]
    at_own_size = engine.encode(half)
    assert at_own_size is not restored
    assert at_own_size.predict(points=[(30, 55)]).best.shape == (152, 192)
    assert engine.encode(half, size) is restored
    assert counting.encoded == 0


def test_a_damaged_entry_is_encoded_again(model, tmp_path, others, fresh):
    rgb = others[0]
    engine, counting = make(model, tmp_path)
    engine.store.put(engine.key(rgb), fresh.embedding)
    path = tmp_path / f"{engine.key(rgb)}.safetensors"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    engine, counting = make(model, tmp_path)
    engine.encode(rgb)
    assert (counting.encoded, counting.restored) == (1, 0)
    assert EmbeddingStore(tmp_path).get(engine.key(rgb)) is not None


def test_without_any_budget_the_planes_in_use_remain(model, tmp_path, others):
    counting = Counting(model)
    store = EmbeddingStore(tmp_path, ram_bytes=0, disk_bytes=0)
    engine = Engine(counting, store)
    key = engine.key(others[0])
    assert not engine.is_ready(key)
    plane = engine.encode(others[0])
    assert engine.is_ready(key)
    assert engine.encode(others[0]) is plane
    assert counting.encoded == 1


def test_readiness_may_be_asked_from_another_thread(model, folder, others):
    engine, _ = make(model, folder, live=1)
    keys = [engine.key(rgb) for rgb in others]
    answers: set[bool] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.update(engine.is_ready(key) for key in keys)

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(5):
        for rgb in others:
            engine.encode(rgb)
    stop.set()
    thread.join()
    assert answers == {True}


def test_models_do_not_share_entries(model, folder, coins):
    engine, _ = make(model, folder)
    key = engine.key(coins)

    class Other(Counting):
        encoder_fingerprint = "another"

    other = Engine(Other(model), EmbeddingStore(folder))
    assert other.key(coins) != key
    assert not other.is_ready(other.key(coins))


@pytest.fixture(scope="module")
def blending(small_models) -> Model:
    return load_model("mobile-sam-microscopy", device="cpu", dtype="float32")


class TestViews:
    """What a plane encodes of itself, and tiles of it: in the store as well."""

    @pytest.fixture
    def encoded(self, monkeypatch) -> list[tuple[int, ...]]:
        """Note the pixels that the encoder is given, whoever asks."""
        noted = []
        for module in (sam_module, views_module):
            features = module.iter_features

            def watched(encoder, rgb, *how, features=features):
                noted.append(rgb.shape)
                return features(encoder, rgb, *how)

            monkeypatch.setattr(module, "iter_features", watched)
        return noted

    def test_tomorrow_a_click_finds_its_views_encoded(
        self, blending, tmp_path, encoded
    ):
        image = to_rgb(np.tile(data.coins(), (3, 2)))
        clicks = [(427, 205), (127, 205), (500, 300)]
        first = Engine(blending, EmbeddingStore(tmp_path)).encode(image)
        before = [first.predict(points=[at]) for at in clicks]
        assert len(encoded) > 3
        encoded.clear()
        again = Engine(blending, EmbeddingStore(tmp_path)).encode(image)
        for at, answer in zip(clicks, before, strict=True):
            assert np.array_equal(again.predict(points=[at]).logits, answer.logits)
        assert encoded == []

    def test_nor_is_a_tile_encoded_twice(self, blending, coins, tmp_path, encoded):
        pixels = np.ascontiguousarray(coins[:224, :160])
        frames = [Frame((224, 160), size, 448) for size in ((448, 320), (224, 160))]
        planes = {}
        for _ in range(2):
            engine = Engine(blending, EmbeddingStore(tmp_path))
            for frame in frames:
                found = engine.encode(pixels, frame=frame).embedding
                assert found.frame == frame
                before = planes.setdefault(frame, found)
                assert np.array_equal(before.features, found.features)
        assert len(encoded) == len(frames)
        # Nor are they taken for the plane of the same pixels.
        engine.encode(pixels)
        assert len(encoded) == len(frames) + 1

    def test_on_a_full_disk_it_is_encoded_and_answers(
        self, blending, tmp_path, monkeypatch, encoded
    ):
        def full(*_):
            raise OSError(28, "No space left on device")

        engine = Engine(blending, EmbeddingStore(tmp_path))
        monkeypatch.setattr(EntryFolder, "write", full)
        plane = engine.encode(to_rgb(np.tile(data.coins(), (3, 2))))
        assert plane.predict(points=[(427, 205)]).best.any()
        assert "No space left" in str(engine.store.problem)
