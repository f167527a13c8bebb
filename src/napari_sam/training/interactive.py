"""One training step: encode, then several rounds of prompts and corrections."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_sam.models.sam1.mask_stride import MASK_STRIDE
from napari_sam.models.sam1.multimask_ensemble import ignored_clicks
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.training import simulated_clicks
from napari_sam.training.finetune.recipe import ROUNDS
from napari_sam.training.losses import maps_loss, round_loss, true_iou

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.training.data.batches import Batch
    from napari_sam.training.finetune.memory import Memory

_LOOK_AGAIN = 0.3
"""Share of later rounds in which a model that blends its masks repeats the prompts."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a step measured on its own crops.

    Parameters
    ----------
    loss : float
        Mean over the rounds.
    first, last : float
        Mean IoU of the shown mask after the first prompt and after the last
        correction.
    maps : float
        Loss of the head that finds objects; 0 without one.
    """

    loss: float
    first: float
    last: float
    maps: float


def backward(
    network: SamNetwork,
    batch: Batch,
    *,
    device: torch.device,
    precision: torch.dtype,
    train_encoder: bool,
    share: float = 1.0,
    memory: Memory | None = None,
) -> Figures:
    """Add the gradients of one batch.

    Each round is differentiated as soon as it is done, up to the embedding; the
    encoder follows once, with the sum.  That keeps one round in memory.

    Parameters
    ----------
    network : SamNetwork
        In training mode as far as it is to be trained.
    batch : Batch
        Crops and first prompts.
    device : torch.device
        Where the network is.
    precision : torch.dtype
        Of the arithmetic: bfloat16 or float32; weights stay float32.
    train_encoder : bool
        Whether any part of the encoder wants a gradient.
    share : float
        Factor of the loss, one over the number of batches of a step.
    memory : Memory, optional
        What the encoder is not to forget.
    """
    images = batch.images.to(device, memory_format=torch.channels_last)
    with (
        nullcontext() if train_encoder else torch.no_grad(),
        _autocast(device, precision),
    ):
        embedding = network.image_encoder(images).float()
    figures, gradient = backward_from(
        network, embedding, batch, device=device, precision=precision, share=share
    )
    if train_encoder:
        if memory is not None:
            with _autocast(device, precision):
                pull = memory.gradient(images, embedding, batch.remembered.to(device))
            gradient = gradient + share * pull
        torch.autograd.backward(embedding, gradient)
    return figures


def backward_from(
    network: SamNetwork,
    embedding: Tensor,
    batch: Batch,
    *,
    device: torch.device,
    precision: torch.dtype,
    share: float = 1.0,
) -> tuple[Figures, Tensor]:
    """Add the gradients of all that follows the encoder.

    Returns
    -------
    figures : Figures
        What was measured.
    gradient : float32 tensor (B, 256, g, g)
        Of the loss by the embedding.
    """
    leaf = embedding.detach().requires_grad_()
    maps_value = 0.0
    if network.prompt_head is not None:
        with _autocast(device, precision):
            maps = network.prompt_head(leaf)
        loss = maps_loss(maps.float(), batch.maps.to(device))
        maps_value = float(loss.detach())
        torch.autograd.backward(share * loss)
    rng = np.random.default_rng(batch.seed)
    rounds = 1 + int(rng.choice(len(ROUNDS), p=ROUNDS))
    targets = _Targets(batch.masks.to(device))
    xy, kinds = batch.xy.to(device), batch.kinds.to(device)
    fed: Tensor | None = None
    losses, shown = [], []
    for number in range(rounds):
        with _autocast(device, precision):
            logits, predicted = decode(network, leaf, batch.offset, xy, kinds, fed)
        logits, predicted = logits.float(), predicted.float()
        loss = round_loss(
            logits, predicted, targets.soft, targets.fine, _is_one_click(kinds)
        )
        torch.autograd.backward(share / rounds * loss)
        losses.append(float(loss.detach()))
        fed = shown_logits(network, logits.detach(), predicted.detach(), xy, kinds)
        shown.append(float(true_iou(fed, targets.fine).mean()))
        # In a closer view a model sees its own answer without a new click.
        blends = network.capabilities.blends_masks
        looks_again = blends and rng.random() < _LOOK_AGAIN
        if number + 1 < rounds and not looks_again:
            xy, kinds = _corrected(rng, xy, kinds, fed, targets)
    gradient = leaf.grad
    if gradient is None:  # nothing of the loss depended on the image
        gradient = torch.zeros_like(leaf)
    figures = Figures(float(np.mean(losses)), shown[0], shown[-1], maps_value)
    return figures, gradient


def decode(
    network: SamNetwork,
    embedding: Tensor,
    offset: tuple[int, int],
    xy: Tensor,
    kinds: Tensor,
    fed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode prompts on crops that lie somewhere in the model's frame.

    Parameters
    ----------
    network : SamNetwork
        The model.
    embedding : float tensor (B, 256, g, g)
        Of the crops; g may be smaller than that of the whole frame.
    offset : tuple of int
        Column and row of the crops in the frame, multiples of 16.
    xy, kinds : tensors (B · P, T, 2) and (B · P, T)
        Prompts in pixels of the crop, P for each crop in order.
    fed : float tensor (B · P, 1, 4 g, 4 g), optional
        Logits of the answer that is being corrected.

    Returns
    -------
    logits : float tensor (B · P, 4, 4 g, 4 g)
    iou : float tensor (B · P, 4)
    """
    prompts = network.prompt_encoder
    cols, rows = (slice(n // 16, n // 16 + embedding.shape[-1]) for n in offset)
    positions = prompts.image_positions()[:, :, rows, cols]
    moved = xy + torch.tensor(offset, dtype=xy.dtype, device=xy.device)
    tokens = prompts.tokens(moved, kinds)
    per_crop = len(xy) // len(embedding)
    cells = embedding.repeat_interleave(per_crop, dim=0)
    logits, iou = network.mask_decoder(cells, positions, tokens, prompts.dense(fed))
    return logits, iou


def shown_logits(
    network: SamNetwork, logits: Tensor, predicted: Tensor, xy: Tensor, kinds: Tensor
) -> Tensor:
    """Return the logits of the mask that a user would see after the first look.

    Parameters
    ----------
    network : SamNetwork
        Blends its masks or chooses one.
    logits : float tensor (N, 4, h, w)
        Mask logits.
    predicted : float tensor (N, 4)
        Predicted IoU.
    xy, kinds : tensors (N, T, 2) and (N, T)
        Prompts in pixels of the crop.

    Returns
    -------
    float tensor (N, 1, h, w)
    """
    if network.blend is not None:
        ignored = ignored_clicks(logits, xy, kinds)
        blended: Tensor = network.blend(logits, predicted, ignored)[0]
        return blended[:, None]
    picked = torch.where(_is_one_click(kinds), 1 + predicted[:, 1:].argmax(dim=1), 0)
    return logits[torch.arange(len(logits), device=logits.device), picked][:, None]


def _is_one_click(kinds: Tensor) -> Tensor:
    """Return whether each prompt is one positive click and nothing else, (N,)."""
    single = (kinds == TokenLabel.POSITIVE).sum(1) == 1
    return single & ((kinds >= 0).sum(1) == 1)


class _Targets:
    """The true masks at the resolutions at which they are compared."""

    def __init__(self, masks: Tensor) -> None:
        full = masks[:, None].float()
        self.soft = F.avg_pool2d(full, MASK_STRIDE)[:, 0]
        self.fine = F.avg_pool2d(full, MASK_STRIDE // 2)[:, 0] >= 0.5
        self.coarse = (self.soft >= 0.5).cpu().numpy()


def _corrected(
    rng: np.random.Generator,
    xy: Tensor,
    kinds: Tensor,
    shown: Tensor,
    targets: _Targets,
) -> tuple[Tensor, Tensor]:
    """Add one click to every object's prompts."""
    masks = (shown[:, 0] > 0).cpu().numpy()
    added = [
        simulated_clicks.correction(rng, mask, truth)
        for mask, truth in zip(masks, targets.coarse, strict=True)
    ]
    places = torch.tensor([[a[:2]] for a in added], dtype=xy.dtype, device=xy.device)
    labels = torch.tensor([[int(a[2])] for a in added], device=kinds.device)
    # The newest first, so that the padding or the box stays last.
    return torch.cat([places, xy], dim=1), torch.cat([labels, kinds], dim=1)


def _autocast(
    device: torch.device, precision: torch.dtype
) -> AbstractContextManager[object]:
    return torch.autocast(
        device.type, precision, enabled=precision is not torch.float32
    )
