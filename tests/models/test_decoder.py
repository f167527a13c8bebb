"""The fast decoder against the plain one, and the two precisions."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_sam.core.imaging import to_rgb
from napari_sam.models import load_model
from napari_sam.models.registry import list_models
from napari_sam.models.sam1.checkpoint import load_network
from napari_sam.models.sam1.fast_decoder import FastDecoder
from napari_sam.models.sam1.preprocess import preprocess
from napari_sam.types import Frame

if TYPE_CHECKING:
    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.plane import SamPlane

# Centers of coins, in pixels of the image; each is about 40 pixels wide.
POINTS = [(124, 205), (51, 155), (56, 100), (198, 154), (261, 302), (44, 335)]


@pytest.fixture(scope="module")
def network() -> SamNetwork:
    return load_network(list_models()[0].path)


@pytest.fixture(scope="module")
def features(plane32: SamPlane) -> torch.Tensor:
    return torch.from_numpy(plane32.embedding.features).float()


def plain(
    network: SamNetwork,
    features: torch.Tensor,
    xy: torch.Tensor,
    labels: torch.Tensor,
    dense: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    encoder = network.prompt_encoder
    with torch.inference_mode():
        return network.mask_decoder(
            features[None],
            encoder.image_positions(),
            encoder.tokens(xy, labels),
            encoder.dense(dense),
        )


@pytest.mark.parametrize(
    "labels", [[1, -1], [1, 0, -1], [2, 3], [1, 0, 1, 2, 3], [-1], [1] * 100 + [-1]]
)
@pytest.mark.parametrize("with_mask", [False, True])
def test_fast_is_plain(
    network: SamNetwork, features: torch.Tensor, labels: list[int], with_mask: bool
) -> None:
    generator = torch.Generator().manual_seed(len(labels))
    xy = torch.rand(2, len(labels), 2, generator=generator) * 800
    kinds = torch.tensor([labels, labels])
    dense = None
    if with_mask:
        dense = torch.randn(1, 1, 256, 256, generator=generator) * 5
    decoder = FastDecoder(network, torch.float32)
    with torch.inference_mode():
        state = decoder.prepare(features)
        logits, iou = decoder.decode(state, xy, kinds, dense)
    expected, expected_iou = plain(network, features, xy, kinds, dense)
    torch.testing.assert_close(logits, expected, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(iou, expected_iou, atol=1e-4, rtol=1e-4)


def test_only_good_masks_are_upscaled_and_none_is_lost(
    network: SamNetwork, features: torch.Tensor
) -> None:
    xy = torch.rand(6, 2, 2, generator=torch.Generator().manual_seed(0)) * 800
    labels = torch.tensor([[1, -1]] * 6)
    decoder = FastDecoder(network, torch.float32)
    with torch.inference_mode():
        state = decoder.prepare(features)
        every, iou = decoder.decode(state, xy, labels)
        limit = float(iou[:, 1:].median())
        logits, score, prompt, output = decoder.decode_points(state, xy, labels, limit)
        none = decoder.decode_points(state, xy, labels, 9.0)
    good = torch.nonzero(iou[:, 1:] > limit)
    assert torch.equal(torch.stack([prompt, output], dim=1), good)
    assert 0 < len(good) < 18
    torch.testing.assert_close(logits, every[prompt, output + 1], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(score, iou[prompt, output + 1])
    assert none[0].shape == (0, 256, 256)
    assert all(len(part) == 0 for part in none)


def test_bfloat16_gives_the_same_embedding(
    network: SamNetwork, coins: np.ndarray
) -> None:
    """Of a small input: processors without bfloat16 take very long for it."""
    encoder = network.image_encoder
    half = copy.deepcopy(encoder).bfloat16()
    frame = Frame.fit((112, 112), 224)
    x = preprocess(to_rgb(coins[:112, :112]), frame, torch.device("cpu"))
    with torch.inference_mode():
        expected, found = encoder(x), half(x.bfloat16()).float()
    assert torch.cosine_similarity(expected, found, dim=1).min() > 0.98


def test_bfloat16_gives_the_same_masks(plane32: SamPlane) -> None:
    model16 = load_model("mobile-sam", device="cpu", dtype="bfloat16")
    plane16 = model16.restore(plane32.embedding)
    ious = []
    for row, column in POINTS:
        for prompt in (
            {"points": [(row, column)]},
            {"box": (row - 22, column - 22, row + 22, column + 22)},
        ):
            a, b = (p.predict(**prompt).best for p in (plane32, plane16))
            ious.append((a & b).sum() / (a | b).sum())
    assert np.mean(ious) > 0.99
