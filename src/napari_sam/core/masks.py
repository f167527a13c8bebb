"""Clean a predicted mask and decide which pixels of a labels plane it may change.

Everything here works on crops: nothing outside the bounding box of the new and
the previous mask is read or written, so the cost does not grow with the plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt

from napari_sam.core.morphology import (
    drop_small_pieces,
    fill_holes,
    keep_pieces,
    smooth_outline,
)
from napari_sam.core.settings import Range, Settings
from napari_sam.errors import LabelsError
from napari_sam.types import BoolArray, MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class PostProcessing(Settings):
    """What is done to a mask before it is shown and written.

    Parameters
    ----------
    fill_holes : bool
        Fill background enclosed by the mask.
    largest_piece : bool
        Keep the pieces that were clicked or, if none was, the largest one.
    smooth : float
        Radius in pixels of the outline smoothing; 0 is off.
    min_area : int
        Pieces of fewer pixels are dropped; 0 is off.
    """

    fill_holes: bool = True
    largest_piece: bool = True
    smooth: Annotated[float, Range(0)] = 0.0
    min_area: Annotated[int, Range(0)] = 0


def clean(
    crop: MaskCrop,
    settings: PostProcessing,
    keep: Sequence[tuple[float, float]] = (),
    *,
    shape: tuple[int, int] | None = None,
) -> MaskCrop:
    """Return the mask after post-processing, never larger than the crop's region.

    Parameters
    ----------
    crop : MaskCrop
        The predicted mask.
    settings : PostProcessing
        What to do.
    keep : sequence of (row, column)
        Positive clicks, in pixels of the plane.
    shape : tuple of int, optional
        Height and width of the plane.  An outline that runs along the plane's
        last row or column is then not rounded there.

    Returns
    -------
    MaskCrop
        A tight crop; empty if nothing is left.
    """
    region = crop.region
    mask = np.asarray(crop.mask, dtype=bool)
    if not mask.any():
        return crop.tight()
    if settings.fill_holes:
        mask = fill_holes(mask)
    if settings.largest_piece:
        mask = keep_pieces(mask, _to_indices(keep, region))
    if settings.smooth > 0:
        open_edges = (
            region.row0 == 0,
            shape is not None and region.row1 == shape[0],
            region.col0 == 0,
            shape is not None and region.col1 == shape[1],
        )
        mask = smooth_outline(mask, settings.smooth, open_edges=open_edges)
        # Smoothing can cut a thin neck.
        if settings.largest_piece:
            mask = keep_pieces(mask, _to_indices(keep, region))
    if settings.min_area > 1:
        mask = drop_small_pieces(mask, settings.min_area)
    return MaskCrop(mask, region).tight()


def _to_indices(
    points: Sequence[tuple[float, float]], region: Region
) -> list[tuple[int, int]]:
    return [
        (
            int(np.floor(row + 0.5)) - region.row0,
            int(np.floor(col + 0.5)) - region.col0,
        )
        for row, col in points
    ]


class OverlapPolicy(StrEnum):
    """What happens where a new mask meets pixels that are labeled already.

    Attributes
    ----------
    KEEP
        Pixels of other labels stay theirs.  The object's own previous pixels
        are replaced by the new mask: those outside it become 0.
    OVERWRITE
        All pixels of the mask become the object.  The object's own previous
        pixels outside it become 0.
    UNLABELED
        Only pixels that are 0 or negative are written; nothing is ever erased, not
        even the object's own previous pixels.
    """

    KEEP = "keep"
    OVERWRITE = "overwrite"
    UNLABELED = "unlabeled"


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """The pixels of a plane that change, and what they become.

    Parameters
    ----------
    rows, cols : int arrays (N,)
        Pixel indices in the plane, without repeats.
    values : array (N,)
        New values, in the dtype of the labels.
    """

    rows: npt.NDArray[np.intp]
    cols: npt.NDArray[np.intp]
    values: npt.NDArray[Any]

    def __len__(self) -> int:
        return int(self.values.size)

    @property
    def region(self) -> Region:
        """Smallest region that holds all changes."""
        if self.values.size == 0:
            return Region(0, 0, 0, 0)
        return Region(
            int(self.rows.min()),
            int(self.cols.min()),
            int(self.rows.max()) + 1,
            int(self.cols.max()) + 1,
        )


def write_region(
    mask: MaskCrop, previous: MaskCrop | None, shape: tuple[int, int]
) -> Region:
    """Return the part of the plane that `plan_write` has to see."""
    region = mask.region if previous is None else mask.region.union(previous.region)
    return region.intersection(Region.whole(shape))


def plan_write(
    current: npt.NDArray[Any],
    region: Region,
    mask: MaskCrop,
    label: int,
    policy: OverlapPolicy = OverlapPolicy.KEEP,
    previous: MaskCrop | None = None,
) -> Write:
    """Return the pixels that change when a mask is written into labels.

    Parameters
    ----------
    current : integer array (h, w)
        The labels inside ``region``, before the write.
    region : Region
        Which part of the plane ``current`` is; see `write_region`.
    mask : MaskCrop
        The object's new mask.  Pixels outside ``region`` are left out.
    label : int
        The object's label, not 0.
    policy : OverlapPolicy
        What happens to pixels that are labeled already.
    previous : MaskCrop, optional
        What this object wrote before, to be replaced.  Of these pixels only
        those that still carry ``label`` are erased.

    Returns
    -------
    Write
        Only pixels whose value changes.

    Raises
    ------
    LabelsError
        If the dtype of ``current`` cannot hold ``label``.
    """
    if current.shape != region.shape:
        raise ValueError(f"labels {current.shape} do not fill {region}")
    if label == 0:
        raise ValueError("label 0 is background and cannot be written as an object")
    check_label_fits(current.dtype, label)
    inside = _cut(mask, region)
    if policy is OverlapPolicy.OVERWRITE:
        gained = inside & (current != label)
    else:
        # Some labels have -1 where nobody is.
        gained = inside & (current <= 0)
    changed = gained
    if previous is not None and policy is not OverlapPolicy.UNLABELED:
        changed = gained | (_cut(previous, region) & (current == label) & ~inside)
    rows, cols = np.nonzero(changed)
    values = np.where(gained[rows, cols], label, 0).astype(current.dtype)
    return Write(rows + region.row0, cols + region.col0, values)


def _cut(mask: MaskCrop, region: Region) -> BoolArray:
    """Return the mask inside a region, as an array of the region's shape."""
    moved = MaskCrop(mask.mask, mask.region.shifted(-region.row0, -region.col0))
    return moved.full(region.shape)


@dataclass(frozen=True, slots=True)
class LargestLabel:
    """The largest label in use, and whether the dtype's largest value is used.

    That value does not count as a label: some write it where nothing is to be counted,
    as 255 in uint8.
    """

    largest: int
    has_top: bool = False


def largest_label(labels: Any) -> LargestLabel:
    """Return the largest label of an array, reading it a slab at a time.

    Parameters
    ----------
    labels : integer array or array-like (dask, zarr)
        Any number of axes; only slabs along the first are loaded at once.

    Returns
    -------
    LargestLabel
        0 where no label is positive.
    """
    shape = tuple(labels.shape)
    if 0 in shape:
        return LargestLabel(0)
    top = int(np.iinfo(labels.dtype).max)
    step = shape[0] if isinstance(labels, np.ndarray) else _slab_thickness(labels)
    largest, has_top = 0, False
    for start in range(0, shape[0], step):
        slab = np.asarray(labels[start : start + step])
        most = int(slab.max())
        if most == top:
            has_top = True
            most = int(slab.max(initial=0, where=slab < top))
        largest = max(largest, most)
    return LargestLabel(largest, has_top)


def _slab_thickness(labels: Any) -> int:
    """Return how many rows of the first axis one chunk holds, 1 if unchunked."""
    chunks = getattr(labels, "chunks", None)
    if not chunks:
        return 1
    first = chunks[0]
    return max(1, int(max(first) if isinstance(first, tuple) else first))


def check_label_fits(dtype: npt.DTypeLike, label: int, name: str | None = None) -> None:
    """Raise unless labels of this dtype can hold a label.

    Parameters
    ----------
    dtype : dtype
        Of the labels.
    label : int
        The value to be written.
    name : str, optional
        Name of the Labels layer, for the message.

    Raises
    ------
    LabelsError
        With one sentence that says what to do.
    """
    kind = np.dtype(dtype)
    what = "The labels array" if name is None else f"Labels layer '{name}'"
    if kind.kind not in "iu":
        raise LabelsError(
            f"{what} is {kind} and cannot hold label {label}; "
            "use labels of an integer type such as uint16."
        )
    limits = np.iinfo(kind)
    if not limits.min <= label <= limits.max:
        wider = np.promote_types(kind, np.min_scalar_type(label))
        raise LabelsError(
            f"{what} is {kind} and cannot hold label {label}; convert it to "
            f"{wider} (right-click the layer, Convert data type) or start a new "
            "Labels layer."
        )


def crop_iou(a: MaskCrop, b: MaskCrop) -> float:
    """Return intersection over union of two cropped masks."""
    common = a.region.intersection(b.region)
    shared: int | np.integer[Any] = 0
    if not common.is_empty:
        parts = (
            m.mask[common.shifted(-m.region.row0, -m.region.col0).slices]
            for m in (a, b)
        )
        shared = np.count_nonzero(np.logical_and(*parts))
    union = a.area + b.area - shared
    return float(shared / union) if union else 1.0
