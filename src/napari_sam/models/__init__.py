"""Models: with training, the only part of the package that imports torch.

Importing this module does not import torch; loading a model does.  It does
choose how torch's threads will wait (:mod:`napari_sam.models.openmp`), which has
to happen before.
"""

from __future__ import annotations

from napari_sam.models.openmp import prefer_sleeping
from napari_sam.models.registry import (
    DEFAULT_MODEL,
    ModelSpec,
    find_model,
    list_models,
    load_model,
    models_folder,
)

THREADS_SLEEP = prefer_sleeping()
"""Whether torch's idle threads sleep; where they do not, use one thread."""

__all__ = [
    "DEFAULT_MODEL",
    "THREADS_SLEEP",
    "ModelSpec",
    "find_model",
    "list_models",
    "load_model",
    "models_folder",
]
