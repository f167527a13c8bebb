"""Objects that nobody has looked at yet, in the labels: found, confirmed, erased."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.records import ObjectRecord, digest_of
from napari_sam.core.masks import OverlapPolicy
from napari_sam.types import MaskCrop, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels import ObjectMask
from napari_sam.viewer.offers import certainty
from napari_sam.viewer.review_queue import Entry

if TYPE_CHECKING:
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context


@dataclass(frozen=True, slots=True, eq=False)
class Erased:
    """What an undo brings back: the record of an object that was erased."""

    record: ObjectRecord


class WrittenObjects:
    """Unconfirmed objects of the chosen labels; GUI thread only.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def count(self) -> int:
        """How many objects nobody has looked at, by their records."""
        return sum(1 for _ in self._unconfirmed())

    def entries(self) -> list[Entry]:
        """Return what is to be looked at; no pixels are read."""
        return [
            Entry(
                record.label,
                record.planes[0],
                None,
                certainty(record.score, record.stability),
            )
            for record in self._unconfirmed()
        ]

    def _unconfirmed(self) -> list[ObjectRecord]:
        book, target = self._context.book, self._context.target
        if book is None or target is None:
            return []
        shape = layer_shape(target.layer)
        return [
            r
            for r in book
            if not r.confirmed and r.planes and _is_inside(r.planes[0], shape)
        ]

    def mask(self, label: int) -> MaskCrop | None:
        """Return an object's pixels if they are as they were written.

        An object that the user has changed by hand was looked at: it counts as
        confirmed from now on, and is never overwritten.
        """
        book, target = self._context.book, self._context.target
        record = book.get(label) if book is not None else None
        if book is None or target is None or record is None or record.confirmed:
            return None
        plane = record.planes[0]
        whole = Region.whole(plane.shape(layer_shape(target.layer)))
        mask = target.object_mask(plane, label, whole)
        if not mask.area:
            return None
        if record.digest and digest_of(mask) != record.digest:
            book.put(replace(record, confirmed=True, corrected=True))
            return None
        return mask

    def confirm(self, *labels: int) -> None:
        """Note that a person has looked at these objects."""
        book = self._context.book
        if book is None:
            return
        records = [r for r in map(book.get, labels) if r is not None]
        book.put(*(replace(r, confirmed=True) for r in records))

    def erase(self, label: int) -> bool:
        """Take an object out of the labels as one undo step.

        Returns
        -------
        bool
            False if it is not there as it was written.
        """
        mask = self.mask(label)
        book, target = self._context.book, self._context.target
        record = book.get(label) if book is not None else None
        if mask is None or book is None or target is None or record is None:
            return False
        nothing = MaskCrop(np.zeros(mask.region.shape, bool), mask.region)
        erased = ObjectMask(label, record.planes[0], nothing, previous=mask)
        if target.write([erased], OverlapPolicy.KEEP, Erased(record)) is None:
            return False
        book.drop(label)
        return True


def _is_inside(plane: Plane, shape: tuple[int, ...]) -> bool:
    """Whether a stored plane exists in labels of this shape."""
    return plane.ndim == len(shape) and all(
        i is None or 0 <= i < n for i, n in zip(plane.index, shape, strict=True)
    )
