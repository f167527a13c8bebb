"""Prompts under way on an image that is left, until it is annotated again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from napari_sam.core.annotation.under_way import KeptObject

_KEY = "napari_sam_under_way"


def keep(image: Image, objects: Sequence[KeptObject]) -> None:
    """Keep objects with the image, for who annotates it next."""
    if objects:
        image.metadata[_KEY] = tuple(objects)


def take(image: Image) -> tuple[KeptObject, ...]:
    """Return what is kept for an image, once."""
    objects: tuple[KeptObject, ...] = image.metadata.pop(_KEY, ())
    return objects
