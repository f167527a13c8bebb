"""One mask of a model's four.

SAM gives four masks and takes one of them.  A model with a `MultimaskEnsemble` takes
all of them, each as far as it is believed.  Measured (docs/model-card.md): better
outlines, and large things for which the single-mask output alone finds a part only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_sam.models.sam1.mask_stride import sample
from napari_sam.models.sam1.prompt_encoder import TokenLabel

TEMPERATURE = 0.05
"""Masks whose predicted IoUs differ by this count as e to 1."""
_COLDEST = 1e-4  # below it a softmax of scores near 1 has no digits left
IGNORED = 2.0
"""A mask that ignores one click more counts as 1 to e to the power of this.

Measured on nine sets of images (docs/model-card.md): about half as many corrections
without effect, and masks as good as without it.
"""


def ignored_clicks(logits: Tensor, xy: Tensor, labels: Tensor) -> Tensor:
    """Count the clicks that masks do not follow.

    Parameters
    ----------
    logits : float tensor (N, M, h, w)
        Mask logits over the whole input, a quarter of its size.
    xy : float tensor (N, T, 2)
        Prompt tokens in pixels of that input.
    labels : int tensor (N, T)
        :class:`~napari_sam.models.sam1.prompt_encoder.TokenLabel` values; what is
        neither a positive nor a negative click is never ignored.

    Returns
    -------
    float tensor (N, M)
        Positive clicks outside a mask, and negative ones inside.
    """
    found = sample(logits, xy.to(logits)[:, None] + 0.5)[:, :, 0]
    missed = (labels == TokenLabel.POSITIVE)[:, None] & (found <= 0)
    extra = (labels == TokenLabel.NEGATIVE)[:, None] & (found > 0)
    return (missed | extra).sum(dim=2).to(logits)


class MultimaskEnsemble(nn.Module):
    """Blend masks by their predicted IoU.

    It has nothing that is trained; that a weights file holds it says that the
    model was trained to be asked like this.
    """

    temperature: Tensor

    def __init__(self, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(temperature))

    @property
    def is_usable(self) -> bool:
        """Whether the temperature is one to divide by."""
        return _COLDEST <= float(self.temperature) <= 1 / _COLDEST

    def forward(
        self, logits: Tensor, predicted: Tensor, ignored: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the blended mask and what is predicted for it.

        Parameters
        ----------
        logits : float tensor (N, M, h, w)
            Mask logits.
        predicted : float tensor (N, M)
            Predicted IoU of each.
        ignored : float tensor (N, M), optional
            How many clicks each ignores, from :func:`ignored_clicks`; such masks
            count less.

        Returns
        -------
        logits : float tensor (N, h, w)
        predicted : float tensor (N,)
        """
        shares = self._shares(predicted, ignored)
        blended = torch.einsum("nm,nmhw->nhw", shares, logits)
        return blended, (shares * predicted).sum(dim=1)

    def agreement(self, answer: Tensor, logits: Tensor, predicted: Tensor) -> Tensor:
        """Return how far an answer is what the masks show, (N,).

        The IoU that the answer would have if one of the masks were the truth, each
        as likely as it weighs in the blend.

        Parameters
        ----------
        answer : float tensor (N, h, w)
            Logits of the answer.
        logits, predicted : float tensors (N, M, h, w) and (N, M)
            As for :meth:`forward`.
        """
        mine, others = answer[:, None] > 0, logits > 0
        both = (mine & others).sum((2, 3))
        either = (mine | others).sum((2, 3))
        return (self._shares(predicted) * both / either.clamp(min=1)).sum(dim=1)

    def _shares(self, predicted: Tensor, ignored: Tensor | None = None) -> Tensor:
        weight = predicted / self.temperature
        if ignored is not None:
            weight = weight - IGNORED * ignored
        return weight.softmax(dim=1)
