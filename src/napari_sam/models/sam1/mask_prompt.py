"""Turn a binary mask into what the prompt encoder understands.

SAM was trained to refine its own logits, and makes little of a mask alone
(0.22 mean IoU with the truth over 103 objects of 18 images).  Measured on rough
masks (hulls, shifted, dilated and eroded outlines; 277 prompts), IoU with the
truth, single-mask output:

=====================================  ====
the mask's box alone                   0.72
with logits of ± 2                     0.71
with logits of ± 4                     0.73
with logits of ± 8                     0.74
with a signed distance, cut at ± 8     0.73
=====================================  ====

For outlines like a user's, the hull, it is 0.82 instead of 0.76.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam.errors import PromptError

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.types import FloatArray, Frame, MaskCrop

MASK_LOGIT = 8.0


def bounding_box(mask: MaskCrop) -> npt.NDArray[np.float64]:
    """Return the box of a mask's pixels, outer edges, (4,).

    Raises
    ------
    PromptError
        If the mask is empty.
    """
    region = mask.tight().region
    if region.is_empty:
        raise PromptError("The mask is empty; paint or draw the object first.")
    return np.array(
        [region.row0 - 0.5, region.col0 - 0.5, region.row1 - 0.5, region.col1 - 0.5]
    )


def mask_logits(mask: MaskCrop, frame: Frame, cells: int) -> FloatArray:
    """Return logits that stand for a mask.

    Each cell holds the share of its area that is inside, scaled to
    ``-MASK_LOGIT .. MASK_LOGIT``.

    Parameters
    ----------
    mask : MaskCrop
        The object, in pixels of the image.
    frame : Frame
        How the image sits in the model's input.
    cells : int
        Cells along one side of the input, ``side / 4``.

    Returns
    -------
    float32 array (cells, cells)
    """
    share = mask.mask.astype(np.float32)
    for axis, start in ((0, mask.region.row0), (1, mask.region.col0)):
        pixels_per_cell = frame.side / cells / frame.scale[axis]
        edges = np.arange(cells + 1, dtype=np.float64) * pixels_per_cell - start
        share = _cell_sums(share, edges, axis) / np.float32(pixels_per_cell)
    return ((2 * share - 1) * MASK_LOGIT).astype(np.float32)


def _cell_sums(
    values: FloatArray, edges: npt.NDArray[np.float64], axis: int
) -> FloatArray:
    """Integrate along one axis between consecutive edges, zero outside."""
    size = values.shape[axis]
    total = np.cumsum(values, axis=axis, dtype=np.float64)
    total = np.insert(total, 0, 0, axis=axis)
    at = np.clip(edges, 0, size)
    lower = np.minimum(at.astype(np.intp), max(size - 1, 0))
    weight = (at - lower).reshape([-1 if a == axis else 1 for a in range(2)])
    low = np.take(total, lower, axis=axis)
    high = np.take(total, np.minimum(lower + 1, size), axis=axis)
    sums: FloatArray = np.diff(low + weight * (high - low), axis=axis)
    return sums.astype(np.float32)
