"""From RGB pixels to the image encoder's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from napari_sam.types import Frame, RGBArray

# ImageNet statistics in 8-bit units, as published with SAM.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def preprocess(rgb: RGBArray, frame: Frame, device: torch.device) -> Tensor:
    """Resize, normalize and pad an image.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3)
        The image.
    frame : Frame
        The size to give it, and the side of the square to put it in.
    device : torch.device
        Where to put the result.

    Returns
    -------
    float32 tensor (1, 3, side, side)
        Bilinear with antialiasing; zero, the mean color, outside the image.
    """
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    if tuple(x.shape[-2:]) != frame.input_size:
        # Large images are shrunk as 8-bit values, as SAM does: rounding to whole
        # gray levels, for an eighth of the time at 2048 x 2048 and of the memory.
        shrinks = max(rgb.shape[:2]) > frame.side
        x = F.interpolate(
            x if shrinks else x.float(),
            frame.input_size,
            mode="bilinear",
            antialias=True,
        )
    x = x.to(device, torch.float32)
    mean = torch.tensor(MEAN, device=device)[:, None, None]
    std = torch.tensor(STD, device=device)[:, None, None]
    height, width = frame.input_size
    x = (x - mean) / std
    return F.pad(x, (0, frame.side - width, 0, frame.side - height))
