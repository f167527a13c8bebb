"""Models: the only part of the package that imports torch.

Importing this module does not import torch; loading a model does.
"""

from __future__ import annotations

from napari_sam.models.registry import (
    DEFAULT_MODEL,
    ModelSpec,
    list_models,
    load_model,
    models_folder,
)

__all__ = ["DEFAULT_MODEL", "ModelSpec", "list_models", "load_model", "models_folder"]
