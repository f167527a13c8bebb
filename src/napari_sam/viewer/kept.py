"""Prompts under way when a dock is closed, until it is opened again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from napari_sam.core.annotation.prompts import PromptItems


@dataclass(frozen=True, slots=True)
class KeptObject:
    """An object that was not written yet.

    Parameters
    ----------
    items : PromptItems
        Its prompts.
    label : int, optional
        Its number, if it corrects an object that is in the labels.
    is_accepted : bool
        Whether the user had accepted it; its answers were still missing.
    """

    items: PromptItems
    label: int | None = None
    is_accepted: bool = False


_KEY = "napari_sam_under_way"


def keep(image: Image, objects: Sequence[KeptObject]) -> None:
    """Keep objects with the image, for who annotates it next."""
    if objects:
        image.metadata[_KEY] = tuple(objects)


def take(image: Image) -> tuple[KeptObject, ...]:
    """Return what is kept for an image, once."""
    objects: tuple[KeptObject, ...] = image.metadata.pop(_KEY, ())
    return objects
