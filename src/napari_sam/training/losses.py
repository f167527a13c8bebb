"""What training makes small.

Focal and dice loss on masks, squared error of the predicted IoU, as in
Kirillov et al., "Segment Anything", ICCV 2023 (after Lin et al., "Focal Loss
for Dense Object Detection", 2017, and Milletari et al., "V-Net", 2016).  Targets
are soft: the share of each logit's cell that the object covers, so that the
outline is learnt finer than the cells are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SOFTNESS = 4.0
"""Logits are read at a quarter of their size where they are compared with
coverage: SAM's rise from outside to inside within a cell or so, and everything
mode's stability score counts on that."""

_SINGLE = 0
_OTHERS = 0.1
"""Weight of the outputs that are not the best of the three; without it, an
output that never wins never learns."""

_SCORE = 3.0
_CHOICE = 1.0
_SHARPNESS = 10.0
"""Predicted IoUs that differ by 0.1 are chosen between at odds of e to 1."""


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return focal plus dice loss of every mask.

    The focal loss is summed over the plane and divided by the area of object
    and answer together, so that small objects count as much as large ones and
    an answer that floods the plane does not outweigh all the others.

    Parameters
    ----------
    logits : float tensor (N, M, h, w)
        Mask logits.
    target : float tensor (N, h, w)
        Coverage, 0 … 1.

    Returns
    -------
    float tensor (N, M)
    """
    wanted = target[:, None].expand_as(logits)
    logits = logits / SOFTNESS
    p = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    area = wanted.sum((2, 3)) + p.detach().sum((2, 3))
    focal = ((p - wanted) ** 2 * cross).sum((2, 3)) / (area + 16)
    both = (p * wanted).sum((2, 3))
    squares = (p * p).sum((2, 3)) + (wanted * wanted).sum((2, 3))
    dice = 1 - (2 * both + 1) / (squares + 1)
    return 4 * focal + dice


@torch.no_grad()
def true_iou(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the IoU of masks that are twice as fine as the logits.

    Parameters
    ----------
    logits : float tensor (N, M, h, w)
        Mask logits.
    masks : bool tensor (N, 2 h, 2 w)
        The truth.

    Returns
    -------
    float tensor (N, M)
    """
    fine = F.interpolate(logits, scale_factor=2, mode="bilinear") > 0
    truth = masks[:, None]
    both = (fine & truth).sum((2, 3))
    either = (fine | truth).sum((2, 3))
    return both / either.clamp(min=1)


def choice_loss(predicted: Tensor, ious: Tensor) -> Tensor:
    """Return what is lost by choosing an output by its predicted IoU.

    The expected shortfall from the best output if the choice were made at random,
    more likely the higher the predicted IoU: unlike the squared error it does not
    care how high predictions are, only that the best output has the highest.

    Parameters
    ----------
    predicted, ious : float tensor (N, M)
        Predicted and true IoU of the outputs to choose from.
    """
    chances = (predicted * _SHARPNESS).softmax(dim=1)
    return (ious.max(dim=1).values - (chances * ious).sum(dim=1)).mean()


def round_loss(
    logits: Tensor, predicted: Tensor, target: Tensor, masks: Tensor, single: Tensor
) -> Tensor:
    """Return the loss of the decoder's four outputs for one round.

    Output 0 answers boxes and several clicks; the best of outputs 1 to 3 answers a
    single click, chosen by the model's own predicted IoU.  All of them learn from
    every prompt.

    Parameters
    ----------
    logits : float tensor (N, 4, h, w)
        Mask logits.
    predicted : float tensor (N, 4)
        Predicted IoU.
    target : float tensor (N, h, w)
        Coverage of the cells.
    masks : bool tensor (N, 2 h, 2 w)
        The truth, finer.
    single : bool tensor (N,)
        Whether the prompt is one click and nothing else.

    Returns
    -------
    scalar tensor
    """
    losses = mask_loss(logits, target)
    ious = true_iou(logits, masks)
    one, three = losses[:, _SINGLE], losses[:, 1:]
    best = three.min(dim=1).values
    three_loss = best + _OTHERS * (three.mean(dim=1) - best)
    weight_three = torch.where(single, 1.0, 0.5)
    mask = (one + weight_three * three_loss).mean()
    score = _SCORE * F.mse_loss(predicted, ious) + _CHOICE * choice_loss(
        predicted, ious
    )
    return mask + score


def maps_loss(logits: Tensor, maps: Tensor) -> Tensor:
    """Return the loss of the head that finds objects.

    Parameters
    ----------
    logits : float tensor (B, 2, h, w)
        Foreground and centers.
    maps : float tensor (B, 2, h, w)
        Their targets, 0 … 1.
    """
    cross = F.binary_cross_entropy_with_logits(logits, maps, reduction="none")
    # Cells near a center are few; they count ten times.
    weight = torch.ones_like(maps)
    weight[:, 1] += 9 * maps[:, 1]
    return (cross * weight).mean()
