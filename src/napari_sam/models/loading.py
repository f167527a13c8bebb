"""Models of any family from weights files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.models.devices import resolve_device, resolve_dtype
from napari_sam.models.families import find_family, register
from napari_sam.models.sam1.sam import SAM_FAMILIES, SamModel
from napari_sam.models.weights_file import read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.core.model import Model

for _family in SAM_FAMILIES:
    register(_family)


def load_weights(path: Path, *, name: str, device: str, dtype: str) -> Model:
    """Return the model of a weights file; see :func:`napari_sam.models.load_model`."""
    place = resolve_device(device)
    precision = resolve_dtype(dtype, place)
    file = read_weights(path)
    family = find_family(file.tensors)
    # What is of no family is told what it lacks to be one of SAM's.
    load = SamModel.from_weights if family is None else family.load
    return load(file, name=name, device=place, dtype=precision)
