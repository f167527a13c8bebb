"""What is linked with what, and what comes of it: objects, their ends, their tracks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from napari_sam.core.settings import Range, Settings, Share
from napari_sam.core.volumes.doubts import find_doubts, least_certain
from napari_sam.core.volumes.tracks import Tracks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from napari_sam.core.volumes.doubts import Doubt
    from napari_sam.core.volumes.label_stack import IntArray
    from napari_sam.core.volumes.matching import FloatArray

MIN_IOU = 0.5
"""Along z, see docs/linking.md for the measurements."""
MIN_IOU_TIME = 0.1
"""Along time, where objects move."""
WAIST = 0.6
INSIDE = 0.5
"""Part of the smaller of two ends that lies in the other."""


@dataclass(frozen=True, slots=True)
class LinkSettings(Settings):
    """What is linked with what.

    Parameters
    ----------
    min_iou : float, optional
        Smallest overlap (intersection over union) of two segments of one object; by
        default 0.5 along z and 0.1 along time.
    time : bool
        Along time instead of z: the first axis is time.
    gap : int
        Slices that an object may be missing in.  They are not filled.
    min_extent : int
        Objects through fewer slices are left out, and counted.
    split : bool
        Along z, whether objects are cut at the waists of their areas.
    waist : float
        A waist's area is below this part of the largest areas on both sides, 0 to 1.
    ends : bool
        Along z, whether what is left on both sides is linked where at least half of one
        lies in the other: objects narrow at their ends.
    divisions : bool
        Along time, whether divisions are looked for.

    Raises
    ------
    SettingsError
        If one is outside its range.
    """

    min_iou: Annotated[float | None, Range(0, 1, above=True)] = None
    time: bool = False
    gap: Annotated[int, Range(0)] = 0
    min_extent: Annotated[int, Range(1)] = 1
    split: bool = True
    waist: Share = WAIST
    ends: bool = True
    divisions: bool = True

    @property
    def threshold(self) -> float:
        """The smallest intersection over union, given or by default."""
        if self.min_iou is not None:
            return float(self.min_iou)
        return MIN_IOU_TIME if self.time else MIN_IOU


@dataclass(frozen=True, slots=True, eq=False)
class LinkedObject:
    """An object through the stack, or a track through time.

    Parameters
    ----------
    id : int
        Its number in the labels.
    slices : int64 array (n,)
        The slices it is in, ascending.
    sources : int64 array (n,)
        Its label in each of these slices, as they were given.
    areas : int64 array (n,)
        In pixels.
    centers : float64 array (n, D)
        Centroids, (row, column), in pixels.
    ious : float64 array (n - 1,)
        Intersection over union of each slice's segment with the one before.
    mother_iou : float
        Along time, of a daughter: intersection over union of the mother with all her
        daughters together; NaN of others.
    """

    id: int
    slices: IntArray
    sources: IntArray
    areas: IntArray
    centers: npt.NDArray[np.float64]
    ious: FloatArray
    mother_iou: float = math.nan


@dataclass(frozen=True, slots=True)
class ObjectEnd:
    """Where an object ends inside the stack.

    Parameters
    ----------
    id : int
        Of the object.
    slice : int
        The last slice it is in.
    step : {-1, 1}
        The direction in which it would go on.
    share : float
        Its area there as part of its largest; an object that was seen to its end
        has become small.
    """

    id: int
    slice: int
    step: int
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """Labels with ids through the stack, and the objects.

    Parameters
    ----------
    labels : integer array (Z, H, W)
        0, and the ids 1 to N in order of the first slice.
    objects : tuple of LinkedObject
        In order of their ids.
    graph : dict of int to tuple of int
        Along time, the mother of each daughter: {daughter: (mother,)}.
    time : bool
        Whether the first axis is time.
    left_out : int
        How many objects went through fewer slices than `LinkSettings.min_extent`.
    """

    labels: npt.NDArray[Any]
    objects: tuple[LinkedObject, ...]
    graph: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    time: bool = False
    left_out: int = 0

    def doubts(self) -> list[Doubt]:
        """Return where objects may be wrong, the least certain place first."""
        return find_doubts(self.objects, self.labels.shape, self.graph, time=self.time)

    def weakest_first(self) -> list[LinkedObject]:
        """Return the objects, the least certain first: by their weakest `doubts`."""
        weakest = least_certain(self.doubts())
        sure = {o.id: weakest[o.id].certainty for o in self.objects if o.id in weakest}
        return sorted(self.objects, key=lambda o: (sure.get(o.id, 1.0), o.id))

    def ends(self) -> list[ObjectEnd]:
        """Return where objects end inside the stack, the most abrupt end first."""
        last = len(self.labels) - 1
        found = []
        for o in self.objects:
            largest = int(o.areas.max())
            if o.slices[0] > 0:
                share = int(o.areas[0]) / largest
                found.append(ObjectEnd(o.id, int(o.slices[0]), -1, share))
            if o.slices[-1] < last:
                share = int(o.areas[-1]) / largest
                found.append(ObjectEnd(o.id, int(o.slices[-1]), 1, share))
        return sorted(found, key=lambda end: (-end.share, end.id, end.step))

    @property
    def tracks(self) -> Tracks:
        """The objects as tracks: one centroid per object and frame, and the graph."""
        if not self.objects:
            empty = np.zeros(0, np.int64)
            return Tracks(empty, empty, np.zeros((0, self.labels.ndim - 1)))
        return Tracks(
            np.repeat(
                [o.id for o in self.objects], [len(o.slices) for o in self.objects]
            ),
            np.concatenate([o.slices for o in self.objects]),
            np.concatenate([o.centers for o in self.objects]),
            dict(self.graph),
        )
