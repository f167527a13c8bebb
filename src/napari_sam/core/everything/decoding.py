"""From points to measured masks: decode, upscale, score, compress."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.everything.selection import Candidates, as_box
from napari_sam.core.results import support, upscale, upscale_mask
from napari_sam.core.rle import RunLengths
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
    from napari_sam.core.model import EncodedPlane
    from napari_sam.types import FloatArray, Frame

_REFERENCE_SHIFT = 0.5
"""In pixels of the model's input, 1024 a side.

The reference takes the positions of its grid, measured from the image's corner,
for pixel centers.  Doing the same keeps masks that lie close to a threshold on
the reference's side of it.
"""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredMask:
    """A mask at image resolution and its stability score."""

    mask: MaskCrop
    stability: float


def measure(
    logits: FloatArray, frame: Frame, *, offset: float = 1.0, min_stability: float = 0.0
) -> MeasuredMask | None:
    """Return the mask of low-resolution logits and its stability.

    The stability score is the IoU of the masks cut at ``+offset`` and
    ``-offset``, at image resolution or, if that is more than twice as fine as
    the model's input, at the resolution of the latter, where the same smooth
    surface is sampled well enough.

    Parameters
    ----------
    logits : float32 array (h, w)
        As the decoder returns them.
    frame : Frame
        How the image sat in the model's input.
    offset : float
        Distance of both cuts from the threshold 0.
    min_stability : float
        Less stable masks are not returned.

    Returns
    -------
    MeasuredMask or None
        None if the mask is empty or not stable enough.
    """
    is_fine = max(frame.image_size) > 2 * max(frame.input_size)
    sampled = replace(frame, image_size=frame.input_size) if is_fine else frame
    region = support(logits > -offset, sampled)
    values = upscale(logits, sampled, region)
    union = np.count_nonzero(values > -offset)
    if union == 0:
        return None
    stability = float(np.count_nonzero(values > offset) / union)
    if stability < min_stability:
        return None
    if is_fine:
        mask = upscale_mask(logits, frame)
    else:
        mask = MaskCrop(values > 0, region).tight()
    return None if mask.region.is_empty else MeasuredMask(mask, stability)


def decode_candidates(
    encoded: EncodedPlane,
    points: FloatArray,
    *,
    origin: tuple[int, int] = (0, 0),
    crop: int = 0,
    offset: float = 1.0,
    floor: tuple[float, float] = (0.0, 0.0),
    on_objects: bool = False,
) -> Candidates:
    """Return the masks of single-point prompts.

    Points of a grid give three masks each at most, since nobody knows what they
    hit.  For them the model is asked where the reference implementation would
    ask, which is half a pixel of the model's input to the lower right.  A point
    that is known to lie on an object gives the mask that the model would answer
    to a click there, and is asked for as it is.

    Parameters
    ----------
    encoded : EncodedPlane
        The plane, or a window of it.
    points : float32 array (N, 2)
        Row and column in the plane.
    origin : tuple of int
        Row and column of the window's first pixel in the plane.
    crop : int
        Index of the window, noted in the result.
    offset : float
        See `measure`.
    floor : tuple of float
        Predicted IoU that masks must exceed, and stability they must reach.
    on_objects : bool
        Whether the points lie on objects, one each.

    Returns
    -------
    Candidates
        In plane coordinates, in the order of the points.
    """
    own_points = points - origin
    if not on_objects:
        own_points = own_points + _REFERENCE_SHIFT / np.asarray(encoded.frame.scale)
    scores, prompts, found = [], [], []
    for batch in encoded.iter_points(
        own_points, min_iou=floor[0], best_only=on_objects
    ):
        for i in np.lexsort((batch.token, batch.point)).tolist():
            measured = measure(
                batch.logits[i],
                encoded.frame,
                offset=offset,
                min_stability=floor[1],
            )
            if measured is not None:
                scores.append(float(batch.predicted_iou[i]))
                prompts.append(int(batch.point[i]))
                found.append(measured)
    regions = [m.mask.region.shifted(*origin) for m in found]
    return Candidates(
        score=np.array(scores, np.float32),
        stability=np.array([m.stability for m in found], np.float32),
        area=np.array([m.mask.area for m in found], np.int64),
        box=np.array([as_box(r) for r in regions], np.int32).reshape(-1, 4),
        point=points[np.array(prompts, np.intp)].reshape(-1, 2),
        crop=np.full(len(found), crop, np.int32),
        masks=tuple(
            RunLengths.encode(MaskCrop(m.mask.mask, r))
            for m, r in zip(found, regions, strict=True)
        ),
    )
