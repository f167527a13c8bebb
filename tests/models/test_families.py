"""A family of models that this package does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_sam import load_model
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.model import Capabilities, EncodedPlane, Model
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.core.results import MaskResult
from napari_sam.errors import ModelError
from napari_sam.models.families import Family, find_family, register, unregister
from napari_sam.models.image_encoders import ENCODER_KINDS
from napari_sam.models.sam1.checkpoint import load_network
from napari_sam.models.sam1.sam import SamModel
from napari_sam.types import Embedding, Frame

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from napari_sam.models.weights_file import StateDict, WeightsFile

ENTRY = "toy.threshold"
SIDE = 64


class ToyPlane:
    """An image of which what is brighter than a number is the only object."""

    capabilities = Capabilities()
    thresholds = ModelThresholds()
    nbytes = 0

    def __init__(self, embedding: Embedding) -> None:
        self.embedding = embedding
        self.frame = embedding.frame

    def predict(self, *_: Any, **__: Any) -> MaskResult:
        cells = self.embedding.features[0].astype(np.float32)[::4, ::4]
        logits = (cells - self.embedding.tensors["threshold"])[None]
        score = np.array([0.5], np.float32)
        return MaskResult(logits, score, self.frame, 0, levels=())

    predict_prompts = iter_prompts = predict_many = iter_points = predict
    iter_view = objects = predict


class Toy:
    """A model of one number."""

    fingerprint = encoder_fingerprint = "toy"
    capabilities = Capabilities()
    thresholds = ModelThresholds()
    encoding_steps = 1

    def __init__(
        self, file: WeightsFile, *, name: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.name, self.device, self.dtype = name, str(device), str(dtype)
        self.threshold = float(file.tensors[ENTRY])
        self.about = file.about

    def iter_encode_rgb(
        self, rgb: Any, image_size: Any = None, **_: Any
    ) -> Generator[None, None, ToyPlane]:
        yield
        gray = np.zeros((1, SIDE, SIDE), np.float16)
        gray[0, : rgb.shape[0], : rgb.shape[1]] = rgb.mean(axis=2)
        tensors = {"features": gray, "threshold": np.float16([self.threshold])}
        size = rgb.shape[:2]
        frame = Frame(image_size or size, size, SIDE)
        return self.restore(Embedding(tensors, frame, self.encoder_fingerprint))

    def encode(self, image: Any) -> ToyPlane:
        raise NotImplementedError

    encode_rgb = encode

    def restore(self, embedding: Embedding, *_: Any, **__: Any) -> ToyPlane:
        return ToyPlane(embedding)


TOY = Family("toy", lambda tensors: ENTRY in tensors, Toy, Toy.capabilities)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    save_file({ENTRY: torch.tensor(100.0)}, path, {"name": "Mine"})
    return path


@pytest.fixture
def toy(weights: Path) -> Iterator[Model]:
    """Return a model of a family that is known for the time of a test."""
    register(TOY)
    try:
        yield load_model(weights, device="cpu")
    finally:
        unregister(TOY)


def test_one_registration_makes_a_family_loadable(toy: Model, tmp_path: Path) -> None:
    assert isinstance(toy, Toy)
    assert isinstance(toy, Model)
    assert (toy.name, toy.device) == ("Mine", "cpu")
    rgb = np.zeros((40, 50, 3), np.uint8)
    rgb[8:24, 8:32] = 200
    for _ in range(2):  # encoded, then found in the store
        engine = Engine(toy, EmbeddingStore(tmp_path / "store"))
        plane = engine.encode(rgb)
        assert isinstance(plane, EncodedPlane)
        mask = plane.predict(points=[(12, 12)]).best
        assert mask[10:22, 10:30].all()
        assert not mask[30:].any()


def test_the_others_are_loaded_as_before(toy: Model) -> None:
    assert isinstance(load_model("mobile-sam", device="cpu"), SamModel)


def test_a_family_that_is_not_known_is_refused_in_sams_words(
    weights: Path, tmp_path: Path
) -> None:
    for load in (load_model, load_network):
        with pytest.raises(ModelError, match="not a SAM model: it has no image_enc"):
            load(weights)
    other = {f"{part}.x": torch.ones(1) for part in ("image_encoder", "mask_decoder")}
    path = tmp_path / "other.safetensors"
    save_file(other | {"prompt_encoder.x": torch.ones(1)}, path)
    with pytest.raises(ModelError, match="image encoder of an unknown kind; choose"):
        load_model(path)


def test_what_is_not_sams_is_not_trained(toy: Model, weights: Path) -> None:
    with pytest.raises(ModelError, match="not a SAM model"):
        load_network(weights)


def test_two_families_of_one_name_are_refused(toy: Model) -> None:
    with pytest.raises(ValueError, match="called toy already"):
        register(TOY)


@pytest.mark.parametrize("kind", ENCODER_KINDS, ids=lambda kind: kind.name)
def test_weights_are_of_one_family(kind: Any) -> None:
    state: StateDict = {kind.entry: torch.ones(1)}
    family = find_family(state)
    assert family is not None
    assert family.name == kind.name
    assert family.capabilities == kind.encoder.capabilities
    assert find_family({"image_encoder.x": torch.ones(1)}) is None


def test_a_record_says_what_a_network_has() -> None:
    plain = load_model("mobile-sam", device="cpu").capabilities
    ours = load_model("mobile-sam-microscopy", device="cpu").capabilities
    assert plain == Capabilities(views=True)
    assert ours == Capabilities(object_maps=True, blends_masks=True, views=True)
