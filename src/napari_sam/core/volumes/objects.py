"""Objects of labels whose ids go through the stack: what linking would say of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.volumes.label_stack import Foreground, LabelStack, Segments
from napari_sam.core.volumes.linked import LinkedObject

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from napari_sam.core.volumes.label_stack import Labels


def iter_objects(
    labels: Labels, graph: Mapping[int, tuple[int, ...]] | None = None
) -> Generator[None, None, tuple[LinkedObject, ...]]:
    """Measure objects of labels whose ids go through the stack; a slice a step.

    Parameters
    ----------
    labels : integer array (Z, H, W) or (T, Z, H, W), or a sequence of label images
        0 is background.
    graph : dict of int to tuple of int, optional
        Along time, the mother of each daughter.

    Returns
    -------
    tuple of LinkedObject
        In order of their ids; the overlap across slices that one is missing in is 0.

    Raises
    ------
    LabelsError
        If the labels are no stack of integers from 0.
    """
    stack = LabelStack(labels, volumes=True)
    parts: list[Segments] = []
    overlaps: dict[tuple[int, int], float] = {}
    with_mother: dict[int, float] = {}
    before: Foreground | None = None
    for index in range(len(stack)):
        here = Foreground.of(stack[index])
        part = here.measured(index)
        if before is not None:
            pairs = here.shared_with(before.numbered(), len(before)).tocoo()
            shared = {
                (int(a), int(b)): int(n)
                for a, b, n in zip(
                    before.values[pairs.row],
                    here.values[pairs.col],
                    pairs.data,
                    strict=True,
                )
            }
            old = dict(
                zip(parts[-1].labels.tolist(), parts[-1].areas.tolist(), strict=True)
            )
            new = dict(zip(part.labels.tolist(), part.areas.tolist(), strict=True))
            for (a, b), n in shared.items():
                if a == b:
                    overlaps[index, b] = n / (old[a] + new[b] - n)
            with_mother |= _divisions(graph or {}, shared, old, new)
        parts.append(part)
        before = here
        yield
    table = Segments.joined(parts, len(stack.shape) - 1)
    order = np.lexsort((table.slices, table.labels))
    starts = np.flatnonzero(np.diff(table.labels[order], prepend=-1))
    stops = [*starts[1:].tolist(), order.size][: len(starts)]
    found = []
    for start, stop in zip(starts.tolist(), stops, strict=True):
        rows = order[start:stop]
        label = int(table.labels[rows[0]])
        slices = table.slices[rows]
        ious = [overlaps.get((z, label), 0.0) for z in slices[1:].tolist()]
        found.append(
            LinkedObject(
                label,
                slices,
                table.labels[rows],
                table.areas[rows],
                table.centers[rows],
                np.array(ious, np.float64),
                with_mother.get(label, math.nan),
            )
        )
    return tuple(found)


def _divisions(
    graph: Mapping[int, tuple[int, ...]],
    shared: Mapping[tuple[int, int], int],
    old: Mapping[int, int],
    new: Mapping[int, int],
) -> dict[int, float]:
    """Return how much of a mother all that begin as her daughters overlap."""
    begun: dict[int, list[int]] = {}
    for daughter, mothers in graph.items():
        if daughter in new and daughter not in old and mothers[0] in old:
            begun.setdefault(mothers[0], []).append(daughter)
    found: dict[int, float] = {}
    for mother, daughters in begun.items():
        both = sum(shared.get((mother, d), 0) for d in daughters)
        union = old[mother] + sum(new[d] for d in daughters) - both
        found |= dict.fromkeys(daughters, both / union)
    return found
