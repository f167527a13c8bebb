"""Named tensors from a weights file of any origin, none of it trusted.

Meta's ``sam_vit_{b,l,h}``, MobileSAM, MedSAM and micro-sam publish the same
names for the same weights, with small differences in packing: a wrapping
dictionary, a prefix, batch norms not yet folded into their convolutions.

A file may be damaged or made to harm.  Nothing stored in it is run, and nothing
larger than the file itself is made of it.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from napari_sam.errors import ModelError
from napari_sam.models.metadata import read_metadata
from napari_sam.models.torch_errors import translated_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

StateDict = dict[str, Tensor]

_WRAPPERS = ("model_state", "model", "state_dict", "model_state_dict")
_DEEPEST = 8  # wrappers around one another; trainers use two
_PREFIXES = ("sam.", "module.", "model.")
_UNUSED = (
    "pixel_mean",
    "pixel_std",
    # TinyViT's classification head, left over from its pretraining.
    "image_encoder.norm_head.",
    "image_encoder.head.",
    # Recomputed from the window size.
    "attention_bias_idxs",
)
_BATCH_NORM_EPS = 1e-5
_BATCH_NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


@dataclass(frozen=True, slots=True, eq=False)
class WeightsFile:
    """What is in a weights file.

    Parameters
    ----------
    path : Path
        Where it is.
    tensors : dict of str to Tensor
        Its entries, without what some trainers put before SAM's names; they may be
        a map of the file.
    about : mapping of str to str
        What it says about itself; see :mod:`napari_sam.models.metadata`.
    """

    path: Path
    tensors: StateDict
    about: Mapping[str, str]


def read_weights(path: Path) -> WeightsFile:
    """Read a weights file of any family of models.

    Raises
    ------
    ModelError
        As `read_tensors` does.
    """
    with translated_errors("load the model", "cpu"):
        return WeightsFile(path, _unprefixed(read_tensors(path)), read_metadata(path))


def read_tensors(path: Path) -> StateDict:
    """Read a weights file without running anything stored in it.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise ModelError(
            f"There is no weights file at {path}; check the path or choose a model "
            f"from the list."
        )
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name} cannot be loaded safely as plain tensors; convert it to "
            f"safetensors or get the original weights again."
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        # A reader of foreign bytes fails in any way: IndexError, KeyError, ...
        raise ModelError(
            f"{path.name} is damaged or cut short "
            f"({str(error).partition(chr(10))[0]}); get the file again."
        ) from error
    state = _unwrapped(content, path)
    _check_tensors(state, path)
    return state


def _unwrapped(content: Any, path: Path) -> StateDict:
    """Return the tensors of a torch file, out of a trainer's dictionary if need be."""
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            break
        inner = next((content[k] for k in _WRAPPERS if k in content), None)
        if inner is None:
            return {
                k: v
                for k, v in content.items()
                if isinstance(k, str) and isinstance(v, Tensor)
            }
        content = inner
    else:
        raise ModelError(
            f"{path.name} holds dictionaries inside one another without end, and no "
            f"weights; choose a file with a SAM state dictionary."
        )
    raise ModelError(
        f"{path.name} holds a {type(content).__name__}, not a dictionary of weights; "
        f"choose a file with a SAM state dictionary."
    )


def _check_tensors(state: StateDict, path: Path) -> None:
    """Refuse what is no plain array of numbers, or claims more than the file has."""
    for key, value in state.items():
        is_plain = (
            value.layout == torch.strided
            and value.device.type == "cpu"
            and not value.is_quantized
            and not value.is_complex()
        )
        if not is_plain:
            raise ModelError(
                f"{path.name} has an entry {key!r} that is no plain array of real "
                f"numbers ({value.dtype}, {value.layout}, {value.device}); convert it "
                f"to safetensors."
            )
    # Each number takes a byte at least; a view may claim the same one many times.
    count, size = sum(v.numel() for v in state.values()), path.stat().st_size
    if count > size:
        raise ModelError(
            f"{path.name} claims {count:,} numbers in {size:,} bytes; get the file "
            f"again."
        )


def _unprefixed(state: StateDict) -> StateDict:
    """Return the entries with SAM's names."""
    for prefix in _PREFIXES:
        if any(key.startswith(f"{prefix}image_encoder.") for key in state):
            state = {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
    return state


def normalized(state: StateDict, path: Path) -> StateDict:
    """Return the entries that SAM's networks have, batch norms folded.

    Raises
    ------
    ModelError
        If it has none of SAM's three parts, or a batch norm is not complete.
    """
    missing = [p for p in _PARTS if not any(k.startswith(p + ".") for k in state)]
    if missing:
        raise ModelError(
            f"{path.name} is not a SAM model: it has no {missing[0]}; choose the "
            f"weights of SAM, MobileSAM, MedSAM or micro-sam."
        )
    state = {k: v for k, v in state.items() if not any(u in k for u in _UNUSED)}
    return _folded(state, path)


def _folded(state: StateDict, path: Path) -> StateDict:
    """Fold every ``X.bn`` into the convolution ``X.c`` beside it."""
    out = {k: v for k, v in state.items() if ".bn." not in k}
    stems = {k.rpartition("bn.")[0] for k in state if ".bn." in k}
    for stem in sorted(stems):
        parts = [state.get(stem + name) for name in ("c.weight", *_BATCH_NORM)]
        present = [part.double() for part in parts if part is not None]
        channels = present[0].shape[:1] if present else ()
        if (
            len(present) < len(parts)
            or present[0].ndim != 4
            or any(part.shape != channels for part in present[1:])
        ):
            raise ModelError(
                f"{path.name} has an incomplete batch norm {stem + 'bn'!r}; get the "
                f"file again."
            )
        weight, gain, bias, mean, variance = present
        gain = gain / torch.sqrt(variance + _BATCH_NORM_EPS)
        out[f"{stem}c.weight"] = (weight * gain[:, None, None, None]).float()
        out[f"{stem}c.bias"] = (bias - mean * gain).float()
    return out
