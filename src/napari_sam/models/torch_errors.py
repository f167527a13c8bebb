"""Turn torch's errors into ours, so that one sentence reaches the user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from napari_sam.errors import DeviceMemoryError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What torch's CPU and MPS allocators say; CUDA has a class of its own.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "buffer size",
)


@contextmanager
def translated_errors(doing: str, device: str) -> Iterator[None]:
    """Raise torch's errors as :class:`ModelError` or :class:`DeviceMemoryError`.

    Neither is a ``RuntimeError``: Qt workers drop those silently.

    Parameters
    ----------
    doing : str
        What is being done, for the message: "encode the image".
    device : str
        Where, for the message.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).partition("\n")[0]
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            hint in text.lower() for hint in _OUT_OF_MEMORY
        ):
            raise DeviceMemoryError(
                f"Cannot {doing}: {device} has no memory left; close other programs, "
                f"choose a smaller model, or run on another device."
            ) from error
        raise ModelError(
            f"Cannot {doing} on {device}: {text}; run `napari-sam doctor` or choose "
            f"another device."
        ) from error
