"""What training makes small, on logits made up for the purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.interactive import shown_logits
from napari_sam.training.losses import (
    SOFTNESS,
    choice_loss,
    mask_loss,
    round_loss,
    true_iou,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.training.finetune.state import TrainingState

SIDE = 16


@pytest.fixture
def truth() -> torch.Tensor:
    """Return one object at the resolution of masks, bool (1, 32, 32)."""
    mask = torch.zeros(1, 2 * SIDE, 2 * SIDE, dtype=torch.bool)
    mask[0, 8:24, 8:24] = True
    return mask


def answers(truth: torch.Tensor, *shares: float) -> torch.Tensor:
    """Return logits (1, 4, 16, 16) of masks that hold a share of the object's rows."""
    coverage = truth[:, ::2, ::2].float()
    logits = torch.full((1, len(shares), SIDE, SIDE), -8.0)
    for i, share in enumerate(shares):
        rows = round(share * 8)
        logits[0, i, 4 : 4 + rows] = torch.where(coverage[0, 4 : 4 + rows] > 0, 8, -8)
    return logits


def loss(
    logits: torch.Tensor, predicted: list[float], truth: torch.Tensor, *, single: bool
) -> float:
    result = round_loss(
        logits,
        torch.tensor([predicted]),
        truth[:, ::2, ::2].float(),
        truth,
        torch.tensor([single]),
    )
    return float(result)


def test_a_better_mask_loses_less(truth: torch.Tensor) -> None:
    values = mask_loss(answers(truth, 1, 0.75, 0.5, 0), truth[:, ::2, ::2].float())
    assert (values[0].diff() > 0).all()


def test_the_loss_is_four_times_focal_plus_dice(truth: torch.Tensor) -> None:
    """The formula, written out for one mask in numpy."""
    target = truth[:, ::2, ::2].float()
    logits = torch.linspace(-3, 3, SIDE * SIDE).reshape(1, 1, SIDE, SIDE)
    p = 1 / (1 + np.exp(-logits[0, 0].numpy().astype(float) / SOFTNESS))
    t = target[0].numpy()
    cross = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    focal = ((p - t) ** 2 * cross).sum() / (t.sum() + p.sum() + 16)
    dice = 1 - (2 * (p * t).sum() + 1) / ((p * p).sum() + (t * t).sum() + 1)
    assert float(mask_loss(logits, target)) == pytest.approx(4 * focal + dice, rel=1e-4)


def test_the_choice_costs_what_the_chosen_lacks() -> None:
    ious = torch.tensor([[0.9, 0.5]])
    right = choice_loss(torch.tensor([[2.0, 0.0]]), ious)
    even = choice_loss(torch.tensor([[0.3, 0.3]]), ious)
    wrong = choice_loss(torch.tensor([[0.0, 2.0]]), ious)
    torch.testing.assert_close(even, torch.tensor(0.2))
    assert right < 1e-6
    torch.testing.assert_close(wrong, torch.tensor(0.4), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("single", "iou"),
    [
        (True, 0.75),  # the highest-scored of the three
        (False, 0.5),  # several clicks or a box: always the first
    ],
)
def test_what_the_user_would_see(
    truth: torch.Tensor,
    start: Callable[[Recipe], TrainingState],
    single: bool,
    iou: float,
) -> None:
    logits = answers(truth, 0.5, 1, 0.75, 0.25)
    predicted = torch.tensor([[0.9, 0.1, 0.8, 0.2]])
    network = start(Recipe()).network
    network.blend = None
    # A click in a corner, where no answer is, and a negative one or none.
    xy = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]])
    kinds = torch.tensor([[1, TokenLabel.PADDING if single else 0]])
    shown = shown_logits(network, logits, predicted, xy, kinds)
    # Bilinear interpolation cuts the corners of a square.
    assert float(true_iou(shown, truth)) == pytest.approx(iou, abs=0.06)
    network.blend = MultimaskEnsemble()
    blended = shown_logits(network, logits, predicted, xy, kinds)
    torch.testing.assert_close(blended[:, 0], network.blend(logits, predicted)[0])


@pytest.mark.parametrize("single", [True, False])
def test_the_single_mask_learns_from_every_prompt(
    truth: torch.Tensor, single: bool
) -> None:
    good, bad = answers(truth, 1, 1, 0.75, 0.5), answers(truth, 0, 1, 0.75, 0.5)
    cost = loss(bad, [0.0, 1.0, 0.75, 0.5], truth, single=single)
    cost -= loss(good, [1.0, 1.0, 0.75, 0.5], truth, single=single)
    assert cost > 1
