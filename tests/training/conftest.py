"""A real network, and drawn images with exact labels, for training tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_sam.models.registry import list_models, load_model
from napari_sam.models.sam1.checkpoint import SamNetwork, load_network
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.prompt_head import PromptHead
from napari_sam.training.data.crops import SampleGroup
from napari_sam.training.finetune.state import TrainingState
from napari_sam_synthetic import generate

if TYPE_CHECKING:
    from collections.abc import Callable

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


def fresh_network() -> SamNetwork:
    """Return the bundled model as a run begins with it: its head is untrained."""
    path = next(s.path for s in list_models() if s.name == "mobile-sam")
    network = load_network(path)
    network.prompt_head = PromptHead()
    network.prompt_head.reset_parameters()
    network.blend = MultimaskEnsemble()
    return network


@pytest.fixture
def start() -> Callable[[Recipe], TrainingState]:
    """Begin a run with a recipe."""

    def begin(recipe: Recipe) -> TrainingState:
        return TrainingState(fresh_network(), recipe, torch.device("cpu"))

    return begin
