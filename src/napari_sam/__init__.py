"""Segment Anything inside napari, for people who annotate microscopy images.

Names are imported on first use, so ``import napari_sam`` loads neither torch nor
napari nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam.api import (
        adapt,
        iter_adapt,
        iter_everything,
        iter_everything_stack,
        segment_everything,
    )
    from napari_sam.api_volumes import Propagated, grow, iter_propagate, propagate
    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.core.everything.proposals import Proposal, Proposals
    from napari_sam.core.everything.search import EverythingSettings
    from napari_sam.core.results import MaskResult
    from napari_sam.core.volumes.linked import Linked, LinkSettings
    from napari_sam.core.volumes.linking import iter_link, link, link_objects
    from napari_sam.core.volumes.propagation import PropagationSettings
    from napari_sam.core.volumes.tracks import Tracks
    from napari_sam.errors import (
        Cancelled,
        DataError,
        DeviceMemoryError,
        FileFormatError,
        ImageError,
        LabelsError,
        ModelError,
        PromptError,
        SamError,
        SettingsError,
        TracksError,
    )
    from napari_sam.io import ImageFile, read_image, write_labels
    from napari_sam.io.ctc import read_ctc, write_ctc
    from napari_sam.io.geff import read_geff, write_geff
    from napari_sam.models import ModelSpec, list_models, load_model
    from napari_sam.projects import Project, Replay, open_project
    from napari_sam.training.adapt.loop import Adapted
    from napari_sam.training.adapt.settings import AdaptSettings
    from napari_sam.types import (
        Embedding,
        MaskCrop,
        MaskLevel,
        Plane,
        PointPrompt,
        Progress,
        PromptSet,
        Region,
    )
    from napari_sam.viewer.annotate import annotate

    __version__: str

__all__ = [
    "AdaptSettings",
    "Adapted",
    "Cancelled",
    "DataError",
    "DeviceMemoryError",
    "Embedding",
    "EmbeddingStore",
    "EverythingSettings",
    "FileFormatError",
    "ImageError",
    "ImageFile",
    "LabelsError",
    "LinkSettings",
    "Linked",
    "MaskCrop",
    "MaskLevel",
    "MaskResult",
    "ModelError",
    "ModelSpec",
    "Plane",
    "PointPrompt",
    "Progress",
    "Project",
    "PromptError",
    "PromptSet",
    "Propagated",
    "PropagationSettings",
    "Proposal",
    "Proposals",
    "Region",
    "Replay",
    "SamError",
    "SettingsError",
    "Tracks",
    "TracksError",
    "__version__",
    "adapt",
    "annotate",
    "grow",
    "iter_adapt",
    "iter_everything",
    "iter_everything_stack",
    "iter_link",
    "iter_propagate",
    "link",
    "link_objects",
    "list_models",
    "load_model",
    "open_project",
    "propagate",
    "read_ctc",
    "read_geff",
    "read_image",
    "segment_everything",
    "write_ctc",
    "write_geff",
    "write_labels",
]

_HOMES = {
    "napari_sam.projects": ("Project", "Replay", "open_project"),
    "napari_sam.api": (
        "adapt",
        "iter_adapt",
        "iter_everything",
        "iter_everything_stack",
        "segment_everything",
    ),
    "napari_sam.api_volumes": ("Propagated", "grow", "iter_propagate", "propagate"),
    "napari_sam.core.everything.search": ("EverythingSettings",),
    "napari_sam.core.everything.proposals": ("Proposal", "Proposals"),
    "napari_sam.core.results": ("MaskResult",),
    "napari_sam.core.embeddings.store": ("EmbeddingStore",),
    "napari_sam.core.volumes.propagation": ("PropagationSettings",),
    "napari_sam.core.volumes.linked": ("LinkSettings", "Linked"),
    "napari_sam.core.volumes.linking": ("iter_link", "link", "link_objects"),
    "napari_sam.core.volumes.tracks": ("Tracks",),
    "napari_sam.errors": (
        "Cancelled",
        "DataError",
        "DeviceMemoryError",
        "FileFormatError",
        "ImageError",
        "LabelsError",
        "ModelError",
        "PromptError",
        "SamError",
        "SettingsError",
        "TracksError",
    ),
    "napari_sam.io": ("ImageFile", "read_image", "write_labels"),
    "napari_sam.io.ctc": ("read_ctc", "write_ctc"),
    "napari_sam.io.geff": ("read_geff", "write_geff"),
    "napari_sam.models": ("ModelSpec", "list_models", "load_model"),
    "napari_sam.training.adapt.loop": ("Adapted",),
    "napari_sam.training.adapt.settings": ("AdaptSettings",),
    "napari_sam.types": (
        "Embedding",
        "MaskCrop",
        "MaskLevel",
        "Plane",
        "PointPrompt",
        "Progress",
        "PromptSet",
        "Region",
    ),
    "napari_sam.viewer.annotate": ("annotate",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("napari-sam")
    elif name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
