"""Where linked objects are in doubt: weak links, waists, ends, divisions.

Every doubt has a certainty of 0 to 1, and an object that of its least certain one:

==========  ======  =============================================================
link        z, t    intersection over union with the slice before; 0 if it is
                    missing in between
waist       z       area of a slice / the smaller of the largest areas on both sides
beginning,  z       1 - area there / its largest area: what was seen to its end has
end                 become small
            t       radius / distance of the centroid to the border of the frame, at
                    most 1: what is at the border may leave or enter
division    t       intersection over union of the mother with both daughters
==========  ======  =============================================================

Nothing ends at the first and the last slice of the stack.  How well this tells wrong
objects: docs/linking.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_sam.core.volumes.linked import LinkedObject

JUMP = 0.3
"""Along time, a link below this overlap is an event."""


class DoubtKind(StrEnum):
    """What is in doubt."""

    LINK = "link"
    WAIST = "waist"
    BEGINNING = "beginning"
    END = "end"
    DIVISION = "division"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Where an object may be wrong.

    Parameters
    ----------
    id : int
        The object; of a division, the mother.
    kind : DoubtKind
        What is in doubt.
    slice : int
        Where to look: the second slice of a link, the waist, the first or the last
        slice of the object, the first of the daughters.
    certainty : float
        0 to 1, see the module.
    daughters : tuple of int
        Of a division.
    """

    id: int
    kind: DoubtKind
    slice: int
    certainty: float
    daughters: tuple[int, ...] = ()

    @property
    def rank(self) -> tuple[float, int, int]:
        """Sorts doubts: least certain first, then by slice and object."""
        return self.certainty, self.slice, self.id


def find_doubts(
    objects: Iterable[LinkedObject],
    shape: tuple[int, ...],
    graph: Mapping[int, tuple[int, ...]] | None = None,
    *,
    time: bool = False,
) -> list[Doubt]:
    """Find where objects are in doubt.

    Parameters
    ----------
    objects : iterable of LinkedObject
        Of one stack.
    shape : tuple of int
        Of the stack, (Z, H, W) or (T, Z, H, W).
    graph : dict of int to tuple of int, optional
        The mother of each daughter.
    time : bool
        Whether the first axis is time.

    Returns
    -------
    list of Doubt
        Of all objects, the least certain first.
    """
    daughters: dict[int, list[LinkedObject]] = {}
    known = {one.id: one for one in objects}
    has_mother = set()
    for daughter, mothers in (graph or {}).items():
        for mother in mothers:
            # A division that does not fit the labels, such as one undone, is none.
            if (
                mother in known
                and daughter in known
                and known[mother].slices[-1] < known[daughter].slices[0]
            ):
                daughters.setdefault(mother, []).append(known[daughter])
                has_mother.add(daughter)
    found: list[Doubt] = []
    for one in known.values():
        found += _links(one)
        if not time:
            found += _waists(one)
        found += _ends(
            one,
            shape,
            time=time,
            has_mother=one.id in has_mother,
            has_daughters=one.id in daughters,
        )
        if len(daughters.get(one.id, ())) > 1:
            found.append(_division(one, daughters[one.id]))
    return sorted(found, key=lambda doubt: doubt.rank)


def least_certain(doubts: Iterable[Doubt]) -> dict[int, Doubt]:
    """Return the least certain doubt of each object, by its id."""
    found: dict[int, Doubt] = {}
    for doubt in doubts:
        if doubt.id not in found or doubt.rank < found[doubt.id].rank:
            found[doubt.id] = doubt
    return found


def find_events(doubts: Iterable[Doubt]) -> list[Doubt]:
    """Return what is an event of a track: its beginning, end, division or jump."""
    return [d for d in doubts if d.kind is not DoubtKind.LINK or d.certainty < JUMP]


def _links(one: LinkedObject) -> Iterator[Doubt]:
    for z, iou in zip(one.slices[1:].tolist(), one.ious.tolist(), strict=True):
        yield Doubt(one.id, DoubtKind.LINK, z, iou)


def _waists(one: LinkedObject) -> Iterator[Doubt]:
    areas: Sequence[int] = one.areas.tolist()
    left = list(accumulate(areas, max))
    right = list(accumulate(reversed(areas), max))[::-1]
    for i in range(1, len(areas) - 1):
        depth = areas[i] / min(left[i - 1], right[i + 1])
        if depth < 1:
            yield Doubt(one.id, DoubtKind.WAIST, int(one.slices[i]), depth)


def _ends(
    one: LinkedObject,
    shape: tuple[int, ...],
    *,
    time: bool,
    has_mother: bool,
    has_daughters: bool,
) -> Iterator[Doubt]:
    first, last = int(one.slices[0]), int(one.slices[-1])
    ends = []
    if first > 0 and not has_mother:
        ends.append((DoubtKind.BEGINNING, first, 0))
    if last < shape[0] - 1 and not has_daughters:
        ends.append((DoubtKind.END, last, -1))
    for kind, z, at in ends:
        if time:
            certainty = _at_border(int(one.areas[at]), one.centers[at], shape[1:])
        else:
            certainty = 1 - int(one.areas[at]) / int(one.areas.max())
        yield Doubt(one.id, kind, z, certainty)


def _at_border(area: int, center: Sequence[float], shape: tuple[int, ...]) -> float:
    """Return radius / distance of the centroid to the border, at most 1."""
    ndim = len(shape)
    ball = math.pi ** (ndim / 2) / math.gamma(ndim / 2 + 1)
    radius: float = (area / ball) ** (1 / ndim)
    distance = min(
        min(x + 0.5, n - 0.5 - x) for x, n in zip(center, shape, strict=True)
    )
    return min(1.0, radius / float(distance))


def _division(mother: LinkedObject, daughters: Sequence[LinkedObject]) -> Doubt:
    certainty = min(
        0.0 if math.isnan(d.mother_iou) else d.mother_iou for d in daughters
    )
    first = min(int(d.slices[0]) for d in daughters)
    ids = tuple(d.id for d in daughters)
    return Doubt(mother.id, DoubtKind.DIVISION, first, certainty, ids)
