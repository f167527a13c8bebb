"""Objects of linked slices that go on where the slices do not show them.

What was found slice by slice ends early, or misses a slice between.  Each object is
propagated outward from its first and last slice, and between slices that it is missing
in, until its own end is proposed, into pixels that nobody has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_sam.core.volumes.propagation import PropagationSettings, iter_propagate
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    import numpy.typing as npt

    from napari_sam.core.volumes.propagation import EncodeAt, PropagatedSlice


def iter_grow(
    encode: EncodeAt,
    labels: npt.NDArray[Any],
    ids: Iterable[int],
    *,
    time: bool = False,
    is_weak_end: Collection[tuple[int, int]] | None = None,
) -> Generator[tuple[int, PropagatedSlice] | None, None, npt.NDArray[Any]]:
    """Propagate linked objects from their ends; yield each slice that is found."""
    grown = labels.copy()
    shape = labels.shape[1:]
    boxes = ndimage.find_objects(labels)
    settings = PropagationSettings(time=time, ghosts=0)
    for label in ids:
        where = boxes[label - 1]
        first, stop = where[0].start, where[0].stop
        region = Region(where[1].start, where[2].start, where[1].stop, where[2].stop)
        masks = {}
        for z in range(first, stop):
            part = labels[(z, *where[1:])] == label
            if part.any():
                masks[z] = MaskCrop(part, region).tight()
        low = 0 if is_weak_end is None or (label, -1) in is_weak_end else first
        high = len(labels) if is_weak_end is None or (label, 1) in is_weak_end else stop
        yield None
        if len(masks) == high - low:
            continue

        def taken(z: int, label: int = label) -> npt.NDArray[np.bool_]:
            return (grown[z] > 0) & (grown[z] != label)

        for step in iter_propagate(
            encode, masks, (low, high), shape, settings, blocked=taken
        ):
            if step is not None and step.mask.area and not step.is_ghost:
                part = grown[(step.position, *step.mask.region.slices)]
                part[step.mask.mask] = label
                yield label, step
            else:
                yield None
    return grown
