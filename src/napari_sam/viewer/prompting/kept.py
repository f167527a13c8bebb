"""Prompts under way on an image that is left, until it is annotated again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Layer

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


def left_with(layers: Iterable[Layer], but: Image | None) -> list[tuple[Image, int]]:
    """Return the images with which objects are kept, and how many; not of one."""
    return [
        (layer, len(layer.metadata[_KEY]))
        for layer in layers
        if isinstance(layer, Image) and layer != but and layer.metadata.get(_KEY)
    ]
