"""What is linked with what, and what comes of it: objects, their ends, their tracks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.names import check_number, check_type
from napari_sam.core.volumes.doubts import find_doubts, least_certain
from napari_sam.core.volumes.tracks import Tracks
from napari_sam.errors import SettingsError

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
class LinkSettings:
    """What is linked with what.

    Parameters
    ----------
    min_iou : float, optional
        Smallest intersection over union of two segments of one object, above 0 to 1;
        0.5 along z and 0.1 along time by default.
    time : bool
        Whether the first axis is time, not z.
    gap : int
        How many slices an object may be missing in.  They are not filled.
    min_extent : int
        Objects through fewer slices are left out.
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

    min_iou: float | None = None
    time: bool = False
    gap: int = 0
    min_extent: int = 1
    split: bool = True
    waist: float = WAIST
    ends: bool = True
    divisions: bool = True

    def __post_init__(self) -> None:
        if self.min_iou is not None:
            check_number("min_iou", self.min_iou, 0, 1)
            if self.min_iou == 0:
                raise SettingsError(
                    "min_iou is 0, so that all would be linked with all; choose a value"
                    f" above 0, such as {MIN_IOU}."
                )
        check_number("waist", self.waist, 0, 1)
        for name, low in (("gap", 0), ("min_extent", 1)):
            value = getattr(self, name)
            check_number(name, value, low, math.inf)
            if value != int(value):
                raise SettingsError(
                    f"{name} is {value}; choose a whole number of slices, {low} or"
                    " more."
                )
        for name in ("time", "split", "ends", "divisions"):
            check_type(name, getattr(self, name), bool, "True or False")

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
