"""Several objects through a stack, none of which gets a pixel of another."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from napari_sam.core.volumes.engine import PropagationEngine
    from napari_sam.core.volumes.followed import Followed
    from napari_sam.core.volumes.propagation import BlockedAt, PropagatedSlice
    from napari_sam.types import BoolArray, MaskCrop


class Claims:
    """Who has which pixels of a stack, as crops.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the slices.
    blocked : callable, optional
        Pixels that belong to none of the objects; see `propagation.BlockedAt`.
    """

    def __init__(
        self, shape: tuple[int, int], blocked: BlockedAt | None = None
    ) -> None:
        self._shape = shape
        self._blocked = blocked
        self._masks: dict[int, list[tuple[int, MaskCrop]]] = defaultdict(list)

    def add(self, label: int, position: int, mask: MaskCrop) -> None:
        """Give the pixels of a mask to an object."""
        self._masks[position].append((label, mask))

    def others(self, label: int, position: int) -> BoolArray | None:
        """Return the pixels (H, W) of a slice that an object does not get."""
        taken = None if self._blocked is None else self._blocked(position)
        crops = [mask for owner, mask in self._masks[position] if owner != label]
        if not crops:
            return taken
        pixels = np.zeros(self._shape, bool) if taken is None else taken.copy()
        for mask in crops:
            pixels |= mask.full(self._shape)
        return pixels


def iter_propagate_objects(
    engine: PropagationEngine,
    objects: Mapping[int, Followed],
    shape: tuple[int, int],
    *,
    blocked: BlockedAt | None = None,
) -> Generator[tuple[int, PropagatedSlice] | None, None, None]:
    """Propagate several objects, one after another, in short steps.

    Prompted slices of all of them come before what is propagated of any; of two that
    meet elsewhere, the one that comes first keeps the pixels.

    Parameters
    ----------
    engine : PropagationEngine
        What finds them.
    objects : mapping of int to Followed
        Each label's object, with its prompted slices.
    shape : tuple of int
        Height and width of the slices.
    blocked : callable, optional
        Pixels that belong to none of the objects; see `propagation.BlockedAt`.

    Yields
    ------
    tuple of (int, PropagatedSlice) or None
        A label and a slice of it.
    """
    claims = Claims(shape, blocked)
    for label, followed in objects.items():
        for position, mask in followed.prompted.items():
            claims.add(label, position, mask)
    for label, followed in objects.items():
        steps = engine.iter_left(followed, shape, blocked=partial(claims.others, label))
        for step in steps:
            if step is None:
                yield None
                continue
            if not step.is_ghost:
                claims.add(label, step.position, step.mask)
            yield label, step
