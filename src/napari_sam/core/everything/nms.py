"""Non-maximum suppression of boxes, as Segment Anything uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_BLOCK = 64
"""Boxes compared with all others at once: few calls, tables that fit the cache."""


def box_nms(
    boxes: npt.NDArray[np.integer], scores: npt.ArrayLike, max_overlap: float
) -> npt.NDArray[np.intp]:
    """Return the boxes that no better-scored kept box overlaps too much.

    Greedy suppression, as in torchvision's ``nms`` and therefore in SAM's
    automatic mask generation: a box goes if its overlap (intersection over
    union) with a kept one is above ``max_overlap``.  As there, sides are
    measured between the centers of the first and the last pixel, so a box of
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
    edges = np.ascontiguousarray(np.asarray(boxes)[order].T)
    sides = edges.astype(float)
    sides[2:] -= 1
    alive = np.arange(order.size)
    kept: list[int] = []
    while alive.size:
        block = alive[:_BLOCK]
        # Few meet at all, and only those are measured.
        one, other = np.nonzero(_meets(edges[:, block], edges[:, alive]))
        pairs = one != other
        one, other = one[pairs], other[pairs]
        above = _overlap_too_much(
            sides[:, block[one]], sides[:, alive[other]], max_overlap
        )
        suppressed = np.zeros(alive.size, bool)
        ends = np.searchsorted(one[above], np.arange(block.size + 1)).tolist()
        worse = other[above]
        for i, own in enumerate(block.tolist()):
            if not suppressed[i]:
                kept.append(own)
                if ends[i] < ends[i + 1]:
                    suppressed[worse[ends[i] : ends[i + 1]]] = True
        alive = alive[_BLOCK:][~suppressed[_BLOCK:]]
    return order[kept]


def _meets(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which boxes (4, A) and (4, B) have a pixel in common, (A, B)."""
    a = a[:, :, None]
    meets = a[0] < b[2]
    meets &= b[0] < a[2]
    meets &= a[1] < b[3]
    meets &= b[1] < a[3]
    return np.asarray(meets)


def _overlap_too_much(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], max_overlap: float
) -> npt.NDArray[np.bool_]:
    """Return which of the pairs of boxes, (4, P) each, overlap too much, (P,)."""
    heights = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    widths = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    result = _exceeds(heights, widths, _area(a), _area(b), max_overlap)
    is_thin = (_area(a) == 0) & (_area(b) == 0)
    if is_thin.any():
        by_pixels = _exceeds(
            heights + 1, widths + 1, _area(a, 1), _area(b, 1), max_overlap
        )
        result |= is_thin & by_pixels
    return result


def _area(sides: npt.NDArray[np.float64], grown: int = 0) -> npt.NDArray[np.float64]:
    return np.asarray((sides[2] - sides[0] + grown) * (sides[3] - sides[1] + grown))


def _exceeds(
    heights: npt.NDArray[np.float64],
    widths: npt.NDArray[np.float64],
    area_a: npt.NDArray[np.float64],
    area_b: npt.NDArray[np.float64],
    max_overlap: float,
) -> npt.NDArray[np.bool_]:
    shared = np.maximum(heights, 0) * np.maximum(widths, 0)
    # shared / joint > max_overlap, without dividing by 0.
    return np.asarray(shared > max_overlap * (area_a + area_b - shared))
