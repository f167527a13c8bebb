"""Prompts under way when a dock is closed, until it is opened again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

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


_kept: dict[UUID, tuple[KeptObject, ...]] = {}


def keep(image: Image, objects: Sequence[KeptObject]) -> None:
    """Keep objects for who annotates this image next, in this process."""
    if objects:
        _kept[image.unique_id] = tuple(objects)


def take(image: Image) -> tuple[KeptObject, ...]:
    """Return what is kept for an image, once."""
    return _kept.pop(image.unique_id, ())
