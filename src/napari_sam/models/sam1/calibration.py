"""Give a trained model's logits the scale that SAM's have, and its scores a shift.

Training decides how steep logits are at a mask's edge: losses on soft targets
leave them several times flatter than SAM's.  No mask depends on it, but every
number measured in logits does: the stability score, and the thresholds that
users know it by.  A model fresh from training is therefore scaled once, so that
its good masks are as stable as SAM's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from napari_sam.core.results import inside_frame
from napari_sam.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from napari_sam.core.model import EncodedPlane
    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.layers import MLP
    from napari_sam.types import FloatArray

TYPICAL_STABILITY = 0.95
"""Of half the masks; SAM's own threshold."""

_FLATTEST, _STEEPEST = 1e-3, 1e3


def scale_logits(network: SamNetwork, factor: float) -> None:
    """Multiply a network's mask logits, in place; its masks stay the same.

    Logits fed back to refine an answer are divided on their way in, so later
    answers stay the same as well.  Before training goes on, undo it with the
    inverse factor: the losses see the scale.

    Parameters
    ----------
    network : SamNetwork
        The network.
    factor : float
        Positive.
    """
    first = cast("nn.Conv2d", next(network.prompt_encoder.mask_downscaling.children()))
    with torch.no_grad():
        first.weight.div_(factor)
        for mlp in network.mask_decoder.output_hypernetworks_mlps:
            last = cast("nn.Linear", cast("MLP", mlp).layers[-1])
            last.weight.mul_(factor)
            last.bias.mul_(factor)


def shift_scores(network: SamNetwork, by: float) -> None:
    """Add to the predicted IoU of the three answers to a click, in place.

    A model is surer of its answers than they deserve on images unlike those it
    learnt from, and the best-scored of three is one that was overestimated.  All
    three move together, so the choice among them stays the same, and the single
    answer to a box keeps its score; in a model that blends all four, all four move.

    Parameters
    ----------
    network : SamNetwork
        The network.
    by : float
        Negative makes it more modest.
    """
    head = network.mask_decoder.iou_prediction_head
    with torch.no_grad():
        first = 0 if network.capabilities.blends_masks else 1
        cast("nn.Linear", head.layers[-1]).bias[first:].add_(by)


def logit_factor(
    examples: Iterable[tuple[EncodedPlane, npt.ArrayLike]],
    *,
    stability: float = TYPICAL_STABILITY,
) -> float:
    """Return the factor for `scale_logits` that makes masks typically stable.

    Parameters
    ----------
    examples : iterable of (EncodedPlane, array (N, 2))
        Encoded images and a point on each of some of their objects, row and
        column in pixels.  Some tens of objects of all kinds suffice.
    stability : float
        What the median stability score
        (:func:`napari_sam.core.everything.decoding.measure` at its offset of 1) of
        the answers to these clicks is to be.

    Raises
    ------
    ModelError
        If no point gives a mask.
    """
    masks = [
        # Sorted, to count what is above a cut.
        np.sort(inside_frame(mask, plane.frame), axis=None)
        for plane, points in examples
        for batch in plane.iter_points(points, best_only=True)
        for mask in batch.logits
        if (mask > 0).any()
    ]
    if not masks:
        raise ModelError(
            "The sharpness of the model cannot be measured, since it answers none "
            "of the points with a mask; give points on objects."
        )
    low, high = _FLATTEST, _STEEPEST
    # The stability falls as the cuts move apart; halve the interval of offsets.
    for _ in range(40):
        offset = math.sqrt(low * high)
        typical = np.median([_stability(mask, offset) for mask in masks])
        low, high = (offset, high) if typical > stability else (low, offset)
    return 1 / offset


def _stability(ascending: FloatArray, offset: float) -> float:
    below = np.searchsorted(ascending, (offset, -offset))
    inside, outside = ascending.size - below
    return float(inside) / float(outside)
