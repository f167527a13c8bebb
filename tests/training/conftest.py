"""A real and a tiny network, and images with exact labels, for training tests."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from napari_sam.models import registry
from napari_sam.models.image_encoders import tiny_vit_name
from napari_sam.models.registry import find_model, load_model
from napari_sam.models.sam1 import tiny_vit
from napari_sam.models.sam1.checkpoint import (
    SamNetwork,
    load_network,
    save_network,
)
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.prompt_head import PromptHead
from napari_sam.training.data.crops import SampleGroup
from napari_sam.training.finetune.state import TrainingState
from napari_sam_synthetic import generate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_sam.models.sam1.sam import SamModel
    from napari_sam.training.finetune.recipe import Recipe


@pytest.fixture(scope="module", autouse=True)
def _networks(small_models: None) -> None:
    """Train networks with a small input."""


@pytest.fixture(scope="module")
def model(_networks: None) -> SamModel:
    """Return MobileSAM with a small input: what is adapted here is made of it."""
    return load_model("mobile-sam", device="cpu")


@pytest.fixture(scope="session")
def rods() -> tuple[SampleGroup, ...]:
    """Two drawn images of bacteria."""
    samples = tuple(generate("rods", seed, 320) for seed in (1, 2))
    return (SampleGroup("rods", samples),)


@pytest.fixture(scope="session")
def rod(rods: tuple[SampleGroup, ...]) -> tuple[SampleGroup, ...]:
    """Return one of the drawn images: each is encoded whole when a run ends."""
    return (replace(rods[0], samples=rods[0].samples[:1]),)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images and label images; ``d`` and ``f`` are in the val part."""
    root = tmp_path_factory.mktemp("drawn")
    for part in ("images", "masks"):
        (root / part).mkdir()
    for seed, name in enumerate("abcdef"):
        sample = generate("rods", seed, 256)
        iio.imwrite(root / "images" / f"{name}.png", sample.rgb)
        iio.imwrite(root / "masks" / f"{name}.png", sample.labels.astype(np.uint16))
    return root


@contextmanager
def few_channels() -> Iterator[None]:
    """Have MobileSAM's encoder made with one block a stage and few channels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_vit, "DIMS", (8, 16, 16, 16))
        patch.setattr(tiny_vit, "DEPTHS", (1, 1, 1, 1))
        patch.setattr(tiny_vit, "HEADS", (1, 2, 2, 2))
        yield


def tiny_network() -> SamNetwork:
    """Return a network of the default architecture, small and with random weights.

    For tests of how training goes, and not of what is learnt.
    """
    with few_channels(), torch.random.fork_rng():
        torch.manual_seed(0)
        network = SamNetwork(tiny_vit.TinyViT(), tiny_vit_name(512), 512)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tiny_models(
    _networks: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Have the names of the bundled models mean a tiny network in a file."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_network(tiny_network(), path)
    specs = tuple(replace(spec, path=path) for spec in registry._BUNDLED)
    with few_channels(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_BUNDLED", specs)
        yield


def untrained(network: SamNetwork) -> SamNetwork:
    """Give a network the parts that a run begins with, which have learnt nothing."""
    network.prompt_head = PromptHead()
    network.prompt_head.reset_parameters()
    network.blend = MultimaskEnsemble()
    return network


@pytest.fixture
def start() -> Callable[[Recipe], TrainingState]:
    """Begin a run of a tiny network with a recipe."""

    def begin(recipe: Recipe) -> TrainingState:
        return TrainingState(untrained(tiny_network()), recipe, torch.device("cpu"))

    return begin


@pytest.fixture
def start_real(_networks: None) -> Callable[[Recipe], TrainingState]:
    """Begin a run of the bundled model with a recipe."""
    path = find_model("mobile-sam").path

    def begin(recipe: Recipe) -> TrainingState:
        return TrainingState(untrained(load_network(path)), recipe, torch.device("cpu"))

    return begin
