"""The neck: the encoder's last step, which can be adapted without the rest.

What goes into it is in no cache, so the rest of the encoder runs once per plane;
from there on, training and measuring need only the neck.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from napari_sam.errors import DataError
from napari_sam.models.sam1.preprocess import preprocess
from napari_sam.types import FEATURES, Embedding, Frame

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.layers import Neck
    from napari_sam.training.adapt.examples import Example
    from napari_sam.training.adapt.windows import Window
    from napari_sam.types import RGBArray


def pixels(example: Example) -> RGBArray:
    """Return the pixels that the neck is adapted on.

    Raises
    ------
    DataError
        If the example has none.
    """
    if example.rgb is None:
        raise DataError(
            f"The neck cannot be adapted without the pixels of "
            f"{example.name or 'the image'}; give them, or adapt the decoder only."
        )
    return example.rgb


def iter_inputs(
    network: SamNetwork,
    examples: Sequence[Example],
    device: torch.device,
    precision: torch.dtype,
) -> Generator[None, None, list[Tensor]]:
    """Run the encoder up to its neck on every plane.

    Parameters
    ----------
    network : SamNetwork
        In float32; left as it is.
    examples : sequence of Example
        With pixels.
    device : torch.device
        Where the network is.
    precision : torch.dtype
        That of predictions.

    Yields
    ------
    None
        After each step of the encoder.

    Returns
    -------
    list of float16 tensor (C, g, g)
        One per example, on the device.
    """
    encoder = copy.deepcopy(network.image_encoder).to(precision)
    out = []
    for example in examples:
        rgb = pixels(example)
        frame = Frame.fit((rgb.shape[0], rgb.shape[1]), network.side)
        x = preprocess(rgb, frame, device).to(
            precision, memory_format=torch.channels_last
        )
        for step in encoder.steps()[:-1]:
            with torch.no_grad():
                x = step(x)
            yield
        out.append(x[0].half())
    return out


@torch.no_grad()
def embeddings(
    network: SamNetwork,
    inputs: Sequence[Tensor],
    examples: Sequence[Example],
    precision: torch.dtype,
) -> list[Embedding]:
    """Return the embeddings that a network's neck makes now.

    Parameters
    ----------
    network : SamNetwork
        With the neck to be used.
    inputs : sequence of tensor (C, g, g)
        What goes into it, one per example.
    examples : sequence of Example
        Whose planes they are.
    precision : torch.dtype
        That of predictions.
    """
    neck = copy.deepcopy(network.image_encoder.neck).to(precision)
    return [
        Embedding(
            {FEATURES: neck(x[None].to(precision))[0].half().cpu().numpy()},
            example.embedding.frame,
            "",
        )
        for x, example in zip(inputs, examples, strict=True)
    ]


def through_neck(neck: Neck, features: Tensor, window: Window) -> Tensor:
    """Return the embedding of a window from what goes into the neck.

    One more cell on every side is for the neck's 3 × 3 convolution; where the
    frame ends it sees zeros, as it does on the whole frame.

    Parameters
    ----------
    neck : Neck
        In float32.
    features : tensor (C, g, g)
        What goes into it.
    window : Window
        Where.

    Returns
    -------
    float32 tensor (1, 256, side, side)
    """
    size = features.shape[-1]
    top, left = max(0, window.row - 1), max(0, window.col - 1)
    bottom = min(size, window.row + window.side + 1)
    right = min(size, window.col + window.side + 1)
    out = cast("Tensor", neck(features[None, :, top:bottom, left:right].float()))
    rows = slice(window.row - top, window.row - top + window.side)
    cols = slice(window.col - left, window.col - left + window.side)
    return out[:, :, rows, cols]
