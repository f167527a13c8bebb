"""The stride of mask logits, and what is between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

MASK_STRIDE = 4
"""Input pixels from one logit of a mask to the next."""


def sample(logits: Tensor, xy: Tensor) -> Tensor:
    """Interpolate logits, edge values held, as masks of an image are made.

    Parameters
    ----------
    logits : float tensor (N, M, h, w)
        Mask logits over the whole input.
    xy : float tensor (N, a, b, 2)
        Places in input pixels, measured from the corner of the first.

    Returns
    -------
    float tensor (N, M, a, b)
    """
    size = MASK_STRIDE * xy.new_tensor([logits.shape[-1], logits.shape[-2]])
    at = xy / size * 2 - 1
    return F.grid_sample(logits, at, "bilinear", "border", align_corners=False)
