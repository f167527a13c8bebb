"""Non-maximum suppression of boxes, as Segment Anything uses it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def box_nms(
    boxes: npt.NDArray[np.integer], scores: npt.ArrayLike, max_overlap: float
) -> npt.NDArray[np.intp]:
    """Return the boxes that no better-scored kept box overlaps too much.

    Greedy suppression, as in torchvision's ``nms`` and therefore in SAM's
    automatic mask generation: a box goes if its overlap (intersection over
    union) with a kept one is above ``max_overlap``.  As there, sides are
    measured between the centres of the first and the last pixel, so a box of
    ``n`` pixels is ``n - 1`` long.  Boxes one pixel thin have no area by that
    measure; two such are compared by their pixels instead.

    Parameters
    ----------
    boxes : int array (N, 4)
        ``(row0, col0, row1, col1)``, half-open.
    scores : array (N,)
        Higher is better; the first of equals wins.
    max_overlap : float
        From 0 to 1; 1 keeps everything.

    Returns
    -------
    int array (K,)
        Indices of the kept boxes, best first.
    """
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    if max_overlap >= 1 or order.size == 0:
        return order
    sorted_boxes = np.asarray(boxes, dtype=float)[order]
    top, left, bottom, right = sorted_boxes.T.copy()
    bottom -= 1
    right -= 1
    area = (bottom - top) * (right - left)
    alive = np.arange(order.size)
    kept: list[int] = []
    while alive.size:
        i, rest = alive[0], alive[1:]
        kept.append(int(i))
        height = np.minimum(bottom[rest], bottom[i]) - np.maximum(top[rest], top[i])
        width = np.minimum(right[rest], right[i]) - np.maximum(left[rest], left[i])
        shared = np.maximum(height, 0) * np.maximum(width, 0)
        joint = area[rest] + area[i] - shared
        # shared / joint > max_overlap, without dividing by 0.
        overlaps = shared > max_overlap * joint
        if area[i] == 0:
            flat = joint == 0
            shared = np.maximum(height + 1, 0) * np.maximum(width + 1, 0)
            pixels = (bottom - top + 1) * (right - left + 1)
            joint = pixels[rest] + pixels[i] - shared
            overlaps |= flat & (shared > max_overlap * joint)
        alive = rest[~overlaps]
    return order[kept]
