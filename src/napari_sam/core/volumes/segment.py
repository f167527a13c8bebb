"""One slice of an object whose shape is roughly known: one decoding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_sam.core.masks import crop_iou
from napari_sam.core.morphology import fill_holes
from napari_sam.core.results import upscale_mask
from napari_sam.core.volumes.shapes import soft_logits, touching
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.volumes.memory import Memory
    from napari_sam.types import BoolArray, Box, FloatArray, Frame, Region


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much in one slice, in logits.

    Parameters
    ----------
    prior : float
        Of the shape that is expected, whose logits are ± 4.
    memory : float
        Of the likeness to the slices that were learnt from, ± 1.
    likeness : float
        The likeness of an outline, neither inside nor outside.
    room : float
        Share of its length by which the box is larger than the expected shape.
    """

    prior: float
    memory: float
    likeness: float
    room: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a mask.

    Parameters
    ----------
    score : float
        Predicted IoU.
    contrast : float
        Mean likeness to the prompted slices inside the mask, less that in a rim around
        it; -2 to 2.
    overlap : float
        IoU with the expected shape.
    area : float
        Pixels.
    """

    score: float = 0.0
    contrast: float = 0.0
    overlap: float = 0.0
    area: float = 0.0


_MOST = 6.0  # of the model's logits that count
_SOFT = 4.0  # those of a mask prompt
_SURE = 12.0  # those of what is known
_OUTSIDE = -20.0
_CELL = 4  # cells of logits in one of the embedding: the likeness hardly changes in it


def segment(
    plane: EncodedPlane,
    prior: MaskCrop,
    memory: Memory | None,
    weights: Weights,
    prompted: Memory | None = None,
    depth: float | None = None,
) -> tuple[MaskCrop, Evidence]:
    """Segment an object in one slice from the shape that is expected there.

    The shape is given as a soft mask prompt with a box around it, and its logits and
    the likeness to other slices are added to the model's answer.

    Parameters
    ----------
    plane : EncodedPlane
        The slice, or a view of it.
    prior : MaskCrop
        The expected shape in pixels of ``plane``, not empty.
    memory : Memory, optional
        Learnt from other slices.
    weights : Weights
        What counts how much.
    prompted : Memory, optional
        Learnt from prompted slices only, for the evidence; ``memory`` by default.
    depth : float, optional
        How well the outline of ``prior`` is known, in pixels: at this distance from
        it, its logits that are added are ± 4, and at three times that, ± 12, more than
        model and memory together.  The soft ones are added by default.

    Returns
    -------
    MaskCrop
        The pieces that touch the expected shape, holes filled; may be empty.
    Evidence
    """
    frame = plane.frame
    soft = soft_logits(prior, frame, most=_SOFT)
    box = _box(prior.tight().region, weights.room)
    result = plane.predict(box=box, logits=soft)
    answer = np.clip(result.logits[result.default], -_MOST, _MOST)
    known = (
        soft
        if depth is None
        else soft_logits(prior, frame, _SURE / _SOFT * depth, _SURE)
    )
    total = answer + np.float32(weights.prior) * known
    likeness = None
    if memory is not None:
        likeness = memory.likeness(plane)
        total += np.float32(weights.memory) * (likeness - np.float32(weights.likeness))
    total[~_cells_in(box, frame, total.shape)] = _OUTSIDE
    found = touching(upscale_mask(total, frame), prior)
    mask = MaskCrop(fill_holes(found.mask), found.region).tight()
    inside = total > 0
    inside &= _cells_of(mask.region, frame, total.shape)
    own = likeness if prompted is None else prompted.likeness(plane)
    evidence = Evidence(
        result.score,
        _contrast(own, inside),
        crop_iou(mask, prior) if mask.area else 0.0,
        float(mask.area),
    )
    return mask, evidence


def _contrast(likeness: FloatArray | None, inside: BoolArray) -> float:
    """Return the mean likeness inside less that around, within half a radius."""
    count = np.count_nonzero(inside)
    if likeness is None or not count:
        return 0.0
    width = max(_CELL, round(math.sqrt(count / math.pi) / 2))
    rows, cols = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    window = tuple(
        slice(max(0, at[0] - width), at[-1] + width + 1) for at in (rows, cols)
    )
    inside, likeness = inside[window], likeness[window]
    distance = ndimage.distance_transform_edt(~inside)
    around = (distance > 0) & (distance <= width)
    if not around.any():
        return 0.0
    return float(likeness[inside].mean() - likeness[around].mean())


def _box(region: Region, room: float) -> Box:
    height, width = region.shape
    rows, cols = room * height + 0.5, room * width + 0.5
    # Outer edges of the pixels, whose centers are at whole numbers.
    return (
        region.row0 - 0.5 - rows,
        region.col0 - 0.5 - cols,
        region.row1 - 0.5 + rows,
        region.col1 - 0.5 + cols,
    )


def _cells_in(box: Box, frame: Frame, cells: tuple[int, ...]) -> BoolArray:
    """Return the cells whose centers are inside a box."""
    inside = []
    for scale, start, stop, count in zip(
        frame.scale, box[:2], box[2:], cells, strict=True
    ):
        at = (np.arange(count) + 0.5) * (4 / scale) - 0.5
        inside.append((at >= start) & (at <= stop))
    return inside[0][:, None] & inside[1]


def _cells_of(region: Region, frame: Frame, cells: tuple[int, ...]) -> BoolArray:
    box = (region.row0 - 1.0, region.col0 - 1.0, region.row1 + 0.0, region.col1 + 0.0)
    return _cells_in(box, frame, cells)
