"""Objects that get other numbers on some slices: their records, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.records import ObjectRecord, Source
from napari_sam.core.annotation.transaction import (
    RecordChange,
    Transaction,
    plane_change,
)
from napari_sam.types import Region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy.typing as npt

    from napari_sam.core.annotation.records import PlaneMask
    from napari_sam.core.annotation.transaction import PixelChange
    from napari_sam.types import Plane
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.labels.unreviewed import LinkedPlaces


@dataclass(frozen=True, slots=True)
class Renumbered:
    """Origin of a transaction that changes numbers and daughters.

    Parameters
    ----------
    undone, redone : str
        What is to be said when it was taken back, or made again.
    places : LinkedPlaces, optional
        Where linked objects are to be looked at.
    """

    undone: str
    redone: str
    places: LinkedPlaces | None = None


def renumbering(
    target: LabelsTarget,
    planes: Sequence[Plane],
    numbers: Mapping[tuple[int, int], int],
    changes: Sequence[PixelChange],
    grown: Mapping[int, Sequence[PlaneMask]] | None = None,
) -> Transaction:
    """Return the change of pixels and records.

    Parameters
    ----------
    target : LabelsTarget
        Whose labels.
    planes : sequence of Plane
        The slices.
    numbers : mapping of (int, int) to int
        The new number of a segment, by its slice among these and its number before;
        all others keep theirs, as do masks on other planes.
    changes : sequence of PixelChange
        The same of the pixels.
    grown : mapping of int to sequence of PlaneMask, optional
        Masks that objects get besides, by their new numbers.
    """
    records = target.records
    slices = {plane.index: z for z, plane in enumerate(planes)}
    touched = {label for _, label in numbers} | set(numbers.values())
    before = {label: records.get(label) for label in sorted(touched)}
    parts: dict[int, list[tuple[PlaneMask, ObjectRecord]]] = defaultdict(list)
    for label, record in before.items():
        for mask in record.masks if record is not None else ():
            z = slices.get(mask.plane.index)
            number = label if z is None else numbers.get((z, label), label)
            if record is not None:
                parts[number].append((mask, record))
    changed = []
    for label, old in before.items():
        model = old or next((record for _, record in parts[label]), None)
        new = None
        if parts[label] and model is not None:
            new = model.renumbered(label, parts[label])
        if grown and label in grown:
            begun = new or ObjectRecord(
                label, PromptItems(), "", float("nan"), Source.EVERYTHING
            )
            new = begun.with_masks(grown[label])
        if old is not None or new is not None:
            changed.append(RecordChange(label, old, new))
    now = target.next_label
    free = max([now, *(number + 1 for number in numbers.values())])
    return Transaction(tuple(changes), tuple(changed), (now, free))


def changed_part(
    plane: Plane, before: npt.NDArray[Any], after: npt.NDArray[Any]
) -> PixelChange | None:
    """Return how the labels of a whole plane (H, W) change; None if they do not."""
    rows, cols = (np.flatnonzero((before != after).any(axis=a)) for a in (1, 0))
    if not rows.size:
        return None
    part = Region(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
    return plane_change(plane, part, before[part.slices], after[part.slices])
