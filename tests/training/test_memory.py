"""The image encoder keeps what it could do on chosen images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_sam.models.registry import find_model
from napari_sam.models.sam1.checkpoint import SamNetwork, load_network
from napari_sam.training.data.batches import make_batch
from napari_sam.training.data.crops import Cropper, SampleGroup
from napari_sam.training.finetune.memory import Memory
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.finetune.state import TrainingState
from napari_sam.training.finetune.trainer import iter_training

SMALL = Recipe(steps=4, side=112, images=2, prompts=2, warmup=1, cooldown=0.0)


@pytest.fixture(scope="module")
def old() -> SamNetwork:
    return load_network(find_model("mobile-sam").path)


@pytest.fixture
def network() -> SamNetwork:
    return load_network(find_model("mobile-sam-microscopy").path).float()


def test_the_gradient_is_that_of_the_distance(
    old: SamNetwork, network: SamNetwork
) -> None:
    images = torch.from_numpy(
        np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32)
    )
    which = torch.tensor([True, False, True])
    with torch.no_grad():
        embedding = network.image_encoder(images)
        before = old.image_encoder.float()(images[which])
    leaf = embedding.clone().requires_grad_()
    distance = ((leaf[which] - before) ** 2).mean((1, 2, 3)).sum() / 3 / before.var()
    (expected,) = torch.autograd.grad(4 * distance, leaf)
    memory = Memory(old, 4.0)
    found = memory.gradient(images, embedding, which)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-9)
    assert not found[1].any()
    all_three, none = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    assert not memory.gradient(images, embedding, all_three).isnan().any()
    assert not memory.gradient(images, embedding, none).any()


def test_recall_moves_the_encoder_alone(old: SamNetwork, network: SamNetwork) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    remembered = old.state_dict()
    Memory(old, 1.0).recall(network, 0.25)
    for name, value in network.state_dict().items():
        if name.startswith("image_encoder."):
            there = remembered[name].float()
            expected = 0.75 * before[name] + 0.25 * there
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(value, before[name])


@pytest.mark.parametrize("is_remembered", [False, True])
def test_the_embedding_comes_closer_where_it_is_remembered(
    old: SamNetwork,
    network: SamNetwork,
    rods: tuple[SampleGroup, ...],
    is_remembered: bool,
) -> None:
    groups = tuple(replace(g, is_remembered=is_remembered) for g in rods)
    state = TrainingState(network, SMALL, torch.device("cpu"))
    batches = [make_batch(Cropper(groups, SMALL, 512), SMALL, n, 0) for n in range(2)]
    assert all(b.remembered.all() == is_remembered for b in batches)

    def distance() -> float:
        with torch.no_grad():
            pairs = [
                (network.image_encoder(b.images), old.image_encoder(b.images))
                for b in batches
            ]
        return float(np.mean([((a - b) ** 2).mean() for a, b in pairs]))

    before = distance()
    memory = Memory(old, 1000.0)
    for _ in iter_training(state, groups, precision=torch.float32, memory=memory):
        pass
    assert (distance() < 0.9 * before) == is_remembered
