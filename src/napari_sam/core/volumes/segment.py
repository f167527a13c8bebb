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
    certainty : float
        Mean of the model's logits inside the mask, at most 6.
    inside, rim : float
        Mean likeness to the slices that were learnt from, inside the mask and in a
        rim around it.
    overlap : float
        IoU with the expected shape.
    area : float
        Pixels.
    foreground, center : float
        Means of the model's object maps inside the mask; NaN without.
    """

    score: float = 0.0
    certainty: float = 0.0
    inside: float = 0.0
    rim: float = 0.0
    overlap: float = 0.0
    area: float = 0.0
    foreground: float = math.nan
    center: float = math.nan


_MOST = 6.0  # of the model's logits that count
_OUTSIDE = -10.0


def segment(
    plane: EncodedPlane, prior: MaskCrop, memory: Memory | None, weights: Weights
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

    Returns
    -------
    MaskCrop
        The pieces that touch the expected shape, holes filled; may be empty.
    Evidence
    """
    frame = plane.frame
    soft = soft_logits(prior, frame)
    box = _box(prior.tight().region, weights.room)
    result = plane.predict(box=box, logits=soft)
    answer = np.clip(result.logits[result.default], -_MOST, _MOST)
    total = answer + np.float32(weights.prior) * soft
    likeness = None
    if memory is not None:
        likeness = memory.likeness(plane)
        total += np.float32(weights.memory) * (likeness - np.float32(weights.likeness))
    total[~_cells_in(box, frame, total.shape)] = _OUTSIDE
    found = touching(upscale_mask(total, frame), prior)
    mask = MaskCrop(fill_holes(found.mask), found.region).tight()
    inside = total > 0
    inside &= _cells_of(mask.region, frame, total.shape)
    return mask, _evidence(plane, mask, prior, inside, answer, likeness, result.score)


def _evidence(
    plane: EncodedPlane,
    mask: MaskCrop,
    prior: MaskCrop,
    inside: BoolArray,
    answer: FloatArray,
    likeness: FloatArray | None,
    score: float,
) -> Evidence:
    if mask.region.is_empty or not inside.any():
        return Evidence()
    # A rim as wide as a quarter of the object's radius, not less than an embedding's
    # cell, within which the likeness can hardly change.
    width = max(4, round(math.sqrt(np.count_nonzero(inside) / math.pi) / 2))
    around = ndimage.binary_dilation(inside, iterations=width) & ~inside
    maps = plane.objects()
    return Evidence(
        score=score,
        certainty=float(answer[inside].mean()),
        inside=0.0 if likeness is None else float(likeness[inside].mean()),
        rim=0.0
        if likeness is None or not around.any()
        else float(likeness[around].mean()),
        overlap=crop_iou(mask, prior),
        area=float(mask.area),
        foreground=math.nan if maps is None else float(maps.foreground[inside].mean()),
        center=math.nan if maps is None else float(maps.centre[inside].max()),
    )


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
