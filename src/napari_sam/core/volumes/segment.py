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
_LACK = 8.0  # most that a slice's logits are corrected by
_CELL = 4  # cells of logits in one of the embedding: the likeness hardly changes in it


def segment(
    plane: EncodedPlane,
    prior: MaskCrop,
    memory: Memory | None,
    weights: Weights,
    prompted: Memory | None = None,
    depth: float | None = None,
    residual: FloatArray | None = None,
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
    residual : float32 array (side / 4, side / 4), optional
        What is added besides: see `residual_of`.

    Returns
    -------
    MaskCrop
        The pieces that touch the expected shape, holes filled; may be empty.
    Evidence
    """
    frame = plane.frame
    answer = _ask(plane, prior, memory, weights, depth)
    total, likeness = answer.logits, answer.likeness
    if residual is not None:
        total += residual
    total[~_cells_in(answer.box, frame, total.shape)] = _OUTSIDE
    found = touching(upscale_mask(total, frame), prior)
    mask = MaskCrop(fill_holes(found.mask), found.region).tight()
    inside = total > 0
    inside &= _cells_of(mask.region, frame, total.shape)
    own = likeness if prompted is None else prompted.likeness(plane)
    evidence = Evidence(
        answer.score,
        _contrast(own, inside),
        crop_iou(mask, prior) if mask.area else 0.0,
        float(mask.area),
    )
    return mask, evidence


def residual_of(
    plane: EncodedPlane, mask: MaskCrop, memory: Memory | None, weights: Weights
) -> FloatArray:
    """Residual of a prompted slice: what its logits lack to give its own mask.

    The model draws other outlines than a person, of each object in its own way: along
    the bright core instead of the rim, without a branch.  Asked in the prompted slice
    with the mask itself as the expected shape, it shows where; added in other slices,
    this keeps the person's outline.  Where the logits are right it is 0.

    Parameters
    ----------
    plane : EncodedPlane
        The prompted slice, or a view of it.
    mask : MaskCrop
        The object in pixels of ``plane``, not empty.
    memory : Memory, optional
        Learnt from the prompted slices.
    weights : Weights
        Those of the slices that it is added in.

    Returns
    -------
    float32 array (side / 4, side / 4)
        -8 to 8.
    """
    wanted = soft_logits(mask, plane.frame, most=_SOFT)
    logits = _ask(plane, mask, memory, weights).logits
    sign = np.where(wanted > 0, np.float32(1), np.float32(-1))
    lack = np.clip(np.abs(wanted) - sign * logits, 0, _LACK)
    return np.asarray(sign * lack, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """Logits at the cells of the input, and what they are made of."""

    logits: FloatArray
    likeness: FloatArray | None
    score: float
    box: Box


def _ask(
    plane: EncodedPlane,
    prior: MaskCrop,
    memory: Memory | None,
    weights: Weights,
    depth: float | None = None,
) -> _Answer:
    """Add the logits of model, expected shape and memory."""
    frame = plane.frame
    soft = soft_logits(prior, frame, most=_SOFT)
    box = _box(prior.tight().region, weights.room)
    result = plane.predict(box=box, logits=soft)
    total = np.clip(result.logits[result.default], -_MOST, _MOST)
    known = (
        soft
        if depth is None
        else soft_logits(prior, frame, _SURE / _SOFT * depth, _SURE)
    )
    total += np.float32(weights.prior) * known
    likeness = None
    if memory is not None:
        likeness = memory.likeness(plane)
        total += np.float32(weights.memory) * (likeness - np.float32(weights.likeness))
    return _Answer(total, likeness, result.score, box)


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
