"""Growing linked objects: propagation beyond the slices in which they were found.

What is found slice by slice ends early, or is missing in a slice between.  An object is
propagated from its weak ends, and across the slices that it is missing in, until its
end is proposed (`propagation`), into pixels that nobody has.  An end is weak where the
area is still half of the largest: what was seen to its end has become small.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_sam.core.volumes.label_stack import Foreground
from napari_sam.core.volumes.propagation import PropagationSettings, iter_propagate
from napari_sam.types import MaskCrop, Progress, Region

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    import numpy.typing as npt

    from napari_sam.core.volumes.propagation import EncodeAt
    from napari_sam.types import BoolArray

    _Regions = dict[int, dict[int, Region]]
    _Areas = dict[int, dict[int, int]]


WEAK = 0.5
"""Share of an object's largest area from which on an end is weak."""


@dataclass(frozen=True, slots=True, eq=False)
class GrownSlice:
    """A slice that an object has grown into.

    Parameters
    ----------
    id : int
        The object.
    position : int
        The slice.
    mask : MaskCrop
        Its pixels there, which nobody had.
    confidence : float
        0 to 1, see `judge.confidence`.
    """

    id: int
    position: int
    mask: MaskCrop
    confidence: float


def iter_grow(
    encode: EncodeAt, labels: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]
) -> Generator[GrownSlice | Progress | None, None, None]:
    """Grow linked objects along z in short steps; the labels are left as they are.

    From ends whose area is at least half of the object's largest.

    Those through most slices come first, of these the largest: of two that would have
    the same pixels, the first keeps them.

    Parameters
    ----------
    encode : callable
        Of a slice's position, returns a generator of steps whose value is the encoded
        slice.
    labels : integer array (Z, H, W), or a sequence of arrays (H, W)
        0 is background; ids go through the stack.

    Yields
    ------
    GrownSlice, Progress or None
        A slice as soon as it is known, the progress after every object, and nothing in
        between.

    Raises
    ------
    ImageError, ModelError
        If a slice cannot be read or encoded.
    """
    count, shape = len(labels), tuple(int(n) for n in labels[0].shape)
    taken: list[list[MaskCrop]] = [[] for _ in range(count)]
    places, areas, order = yield from _iter_places(labels)
    settings = PropagationSettings(ghosts=0)
    for number, label in enumerate(order):
        yield Progress(number, len(order), f"growing object {number + 1}")
        masks = {
            z: MaskCrop(labels[z][region.slices] == label, region)
            for z, region in places[label].items()
        }
        first, last = min(masks), max(masks)
        enough = WEAK * max(areas[label].values())
        start = 0 if areas[label][first] >= enough else first
        stop = count if areas[label][last] >= enough else last + 1
        if len(masks) == stop - start:
            continue

        def blocked(z: int, label: int = label) -> BoolArray:
            own = np.asarray(labels[z])
            pixels: BoolArray = (own != 0) & (own != label)
            for mask in taken[z]:
                pixels[mask.region.slices] |= mask.mask
            return pixels

        steps = iter_propagate(
            encode,
            masks,
            (start, stop),
            (shape[0], shape[1]),
            settings,
            blocked=blocked,
        )
        for step in steps:
            if step is None or step.is_ghost or not step.mask.area:
                yield None
                continue
            taken[step.position].append(step.mask)
            yield GrownSlice(label, step.position, step.mask, step.confidence)


def write_grown(labels: npt.NDArray[Any], grown: Iterable[GrownSlice]) -> None:
    """Write what objects have grown into to labels (Z, H, W), in place."""
    for one in grown:
        labels[one.position][one.mask.region.slices][one.mask.mask] = one.id


def _iter_places(
    labels: Sequence[npt.NDArray[Any]] | npt.NDArray[Any],
) -> Generator[None, None, tuple[_Regions, _Areas, list[int]]]:
    """Return each object's boxes and areas by slice, and the order to grow in."""
    places: dict[int, dict[int, Region]] = defaultdict(dict)
    areas: dict[int, dict[int, int]] = defaultdict(dict)
    for z in range(len(labels)):
        image = np.asarray(labels[z])
        here = Foreground.of(image)
        boxes = ndimage.find_objects(here.numbered().reshape(image.shape))
        counts = np.bincount(here.which, minlength=len(here)).tolist()
        for value, box, n in zip(here.values.tolist(), boxes, counts, strict=True):
            rows, cols = box
            places[value][z] = Region(rows.start, cols.start, rows.stop, cols.stop)
            areas[value][z] = n
        yield None
    order = sorted(places, key=lambda n: (-len(places[n]), -sum(areas[n].values()), n))
    return places, areas, order
