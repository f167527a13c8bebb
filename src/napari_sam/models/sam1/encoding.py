"""The image encoder run in short steps, between which others may compute."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch

from napari_sam.core.steps import Run
from napari_sam.models.sam1.preprocess import preprocess
from napari_sam.models.torch_errors import translated_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from napari_sam.models.image_encoders import ImageEncoder
    from napari_sam.types import Frame, RGBArray

S = TypeVar("S")
T = TypeVar("T")


def iter_features(
    encoder: ImageEncoder,
    rgb: RGBArray,
    frame: Frame,
    device: torch.device,
    dtype: torch.dtype,
) -> Generator[None, None, npt.NDArray[np.float16]]:
    """Encode pixels, one block of the network at a time.

    Parameters
    ----------
    encoder : ImageEncoder
        On the device, in ``dtype``.
    rgb : uint8 array (H, W, 3)
        The pixels, contiguous.
    frame : Frame
        How they sit in the input.
    device, dtype
        Where, and in which precision.

    Returns
    -------
    float16 array (256, side / 16, side / 16)
        As it is stored, so that what is found again answers alike.
    """
    where = str(device)
    x = _compute(
        lambda: preprocess(rgb, frame, device).to(
            dtype, memory_format=torch.channels_last
        ),
        where,
    )
    for step in encoder.steps():
        yield
        x = _compute(partial(step, x), where)
    return _compute(lambda: x[0].float().to("cpu", torch.float16), where).numpy()


def inferring(
    steps: Generator[S, None, T], doing: str, device: str
) -> Generator[S, None, T]:
    """Run each step of a generator without gradients, its errors translated.

    The mode belongs to the thread, and what runs between two steps must not inherit it.

    Parameters
    ----------
    steps : generator
        What it yields and returns is passed on.
    doing, device : str
        For messages, as in `translated_errors`.
    """
    run = Run(steps)

    def advance() -> bool:
        with torch.inference_mode(), translated_errors(doing, device):
            return run.advance()

    try:
        while advance():
            yield run.latest
        return run.value
    finally:
        steps.close()


def _compute(compute: Callable[[], Tensor], device: str) -> Tensor:
    with torch.inference_mode(), translated_errors("encode the image", device):
        return compute()
