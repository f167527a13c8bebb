"""Choose where a model runs and how precisely."""

from __future__ import annotations

import torch

from napari_sam.errors import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(device: str) -> torch.device:
    """Return the device to run on.

    Parameters
    ----------
    device : str
        ``"auto"`` for CUDA, then MPS, then the CPU; or a torch device.

    Raises
    ------
    ModelError
        If there is no such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(
            f"{device!r} is not a device; choose auto, cpu, cuda or mps."
        ) from error
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if (chosen.index or 0) >= present.get(chosen.type, 0):
        raise ModelError(
            f"There is no device {device!r} on this computer; choose auto or cpu."
        )
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the precision to compute in.

    Parameters
    ----------
    dtype : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    device : torch.device
        Where to run.

    Raises
    ------
    ModelError
        If the precision is not one of these.
    """
    if dtype == "auto":
        return torch.float32
    if dtype not in DTYPES:
        raise ModelError(
            f"{dtype!r} is not a precision; choose auto, {' or '.join(DTYPES)}."
        )
    return DTYPES[dtype]
