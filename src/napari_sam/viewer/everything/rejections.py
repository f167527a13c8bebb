"""Proposals that were rejected, in their places among the steps of the labels.

napari's history knows of pixels only.  A rejection changes none, so it is kept here
with the step after which it was made: an undo takes back whichever is newer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from napari_sam.viewer.labels.history import LENGTH

if TYPE_CHECKING:
    from napari_sam.core.annotation.lineage import Lineage
    from napari_sam.core.annotation.review_items import ReviewItemKey
    from napari_sam.core.annotation.transaction import PixelChange


Step: TypeAlias = "tuple[PixelChange, ...] | tuple[Lineage, Lineage] | None"
"""A step of the labels: what it changes, as an object; None for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Rejection:
    """Proposals rejected together.

    Parameters
    ----------
    keys : tuple of ReviewItemKey
        Which.
    after : Step
        The newest step of the labels then.
    """

    keys: tuple[ReviewItemKey, ...]
    after: Step


class Rejections:
    """What can be taken back, and rejected again; the newest last."""

    def __init__(self) -> None:
        self._done: list[Rejection] = []
        self._undone: list[Rejection] = []

    def add(self, keys: tuple[ReviewItemKey, ...], newest: Step) -> None:
        """Note a rejection; ``newest`` is the newest step of the labels."""
        self._done.append(Rejection(keys, newest))
        del self._done[:-LENGTH]
        self._undone.clear()

    def undo(self, newest: Step) -> tuple[ReviewItemKey, ...]:
        """Return what to offer again; nothing if the newest step is newer."""
        return _moved(self._done, self._undone, newest)

    def redo(self, newest: Step) -> tuple[ReviewItemKey, ...]:
        """Return what to reject again; nothing if a step of the labels comes before."""
        return _moved(self._undone, self._done, newest)

    def fork(self) -> None:
        """Note a new step of the labels: what was undone cannot be redone any more."""
        self._undone.clear()

    def clear(self) -> None:
        """Forget everything: other proposals."""
        self._done.clear()
        self._undone.clear()


def _moved(
    start: list[Rejection], stop: list[Rejection], newest: Step
) -> tuple[ReviewItemKey, ...]:
    if not start or start[-1].after is not newest:
        return ()
    stop.append(start.pop())
    return stop[-1].keys
