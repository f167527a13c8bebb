"""Settings as the plain values that a project keeps."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from napari_sam.errors import SamError

if TYPE_CHECKING:
    from napari_sam.viewer.settings import AnnotationSettings


_RENAMED = {
    "normalisation": "normalization",
    "min_centre": "min_center",
    "unlabelled": "unlabeled",
}
"""Names and values as projects had them that were made before."""


def settings_to_json(settings: AnnotationSettings) -> dict[str, Any]:
    """Return plain values; enumerations are their text."""
    return {
        name: str(value) if isinstance(value, str) else value
        for name, value in asdict(settings).items()
    }


def settings_from_json(
    stored: dict[str, Any], current: AnnotationSettings
) -> dict[str, Any]:
    """Return the settings that can be taken over; what is not known is passed over."""
    changes: dict[str, Any] = {}
    stored = _renamed(stored)
    for field in fields(current):
        if field.name not in stored:
            continue
        now, value = getattr(current, field.name), stored[field.name]
        with suppress(TypeError, ValueError, SamError):
            if is_dataclass(now) and not isinstance(now, type):
                known = {f.name for f in fields(now)}
                given = {k: v for k, v in _renamed(value).items() if k in known}
                value = replace(now, **given)
            elif isinstance(now, Enum):
                value = type(now)(_RENAMED.get(value, value))
            replace(current, **{field.name: value})  # raises what it cannot be
            changes[field.name] = value
    return changes


def _renamed(stored: dict[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in dict(stored).items()}
