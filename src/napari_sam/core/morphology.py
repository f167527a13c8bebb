"""Holes, pieces and outlines of binary masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.types import BoolArray

PIECE_NEIGHBORS = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong to one piece; holes connect by edges."""

_SMOOTH_REACH = 4.0
"""Standard deviations of the smoothing kernel that are computed."""


def fill_holes(mask: BoolArray, max_area: float = np.inf) -> BoolArray:
    """Return the mask with enclosed background of up to ``max_area`` px filled.

    Background that reaches the border of the array is not enclosed.
    """
    if mask.size == 0:
        return mask
    background, n = ndimage.label(~mask)
    if n == 0:
        return mask
    is_hole = np.ones(n + 1, bool)
    is_hole[0] = False
    for edge in (background[0], background[-1], background[:, 0], background[:, -1]):
        is_hole[edge] = False
    if np.isfinite(max_area):
        is_hole &= np.bincount(background.ravel(), minlength=n + 1) <= max_area
    return np.asarray(mask | is_hole[background])


def eroded(mask: BoolArray, by: int) -> BoolArray:
    """Return the pixels whose square neighborhood lies inside the mask.

    Parameters
    ----------
    mask : bool array (H, W)
        Beyond its border there is nothing.
    by : int
        How far the neighborhood reaches in each direction.
    """
    height, width = mask.shape
    inside = np.zeros((height + 2 * by, width + 2 * by), bool)
    inside[by : height + by, by : width + by] = mask
    # Each step doubles the length that is known to be covered.
    covered = 1
    while covered < 2 * by + 1:
        step = min(covered, 2 * by + 1 - covered)
        inside = inside[:-step] & inside[step:]
        inside = inside[:, :-step] & inside[:, step:]
        covered += step
    return inside


def keep_pieces(mask: BoolArray, clicked: Sequence[tuple[int, int]] = ()) -> BoolArray:
    """Return only the clicked pieces of a mask or, if none is, the largest.

    Of two largest pieces the upper one stays.
    """
    pieces, n = ndimage.label(mask, PIECE_NEIGHBORS)
    if n <= 1:
        return mask
    height, width = mask.shape
    chosen = {
        int(pieces[r, c]) for r, c in clicked if 0 <= r < height and 0 <= c < width
    } - {0}
    is_kept = np.zeros(n + 1, bool)
    if chosen:
        is_kept[list(chosen)] = True
    else:
        is_kept[1 + int(np.bincount(pieces.ravel())[1:].argmax())] = True
    return np.asarray(is_kept[pieces])


def drop_small_pieces(mask: BoolArray, min_area: int) -> BoolArray:
    """Return the mask without its pieces of fewer than ``min_area`` pixels."""
    pieces, n = ndimage.label(mask, PIECE_NEIGHBORS)
    if n == 0:
        return mask
    is_kept = np.bincount(pieces.ravel(), minlength=n + 1) >= min_area
    is_kept[0] = False
    return np.asarray(is_kept[pieces])


def smooth_outline(
    mask: BoolArray,
    radius: float,
    *,
    open_edges: tuple[bool, bool, bool, bool] = (False, False, False, False),
) -> BoolArray:
    """Return the mask with a smoother outline and the same area, piece by piece.

    Each piece is blurred with a Gaussian of standard deviation ``radius`` and
    cut at the level that keeps its number of pixels (up to ties).  A fixed
    level of one half would shrink round objects and lose those smaller than
    the radius.

    Parameters
    ----------
    mask : bool array (h, w)
        The mask; the result stays within this array.
    radius : float
        Standard deviation in pixels.
    open_edges : tuple of four bool
        Whether the top, bottom, left and right border of the array is the
        border of the image, where the outline continues instead of ending.
    """
    pieces, n = ndimage.label(mask, PIECE_NEIGHBORS)
    out = np.zeros(mask.shape, bool)
    reach = int(np.ceil(_SMOOTH_REACH * radius)) + 1
    for number, where in enumerate(ndimage.find_objects(pieces), start=1):
        if where is None or number > n:
            continue
        piece = pieces[where] == number
        at_edge = (
            open_edges[0] and where[0].start == 0,
            open_edges[1] and where[0].stop == mask.shape[0],
            open_edges[2] and where[1].start == 0,
            open_edges[3] and where[1].stop == mask.shape[1],
        )
        out[where] |= _smooth_piece(piece, radius, reach, at_edge)
    return out


def _smooth_piece(
    piece: BoolArray, radius: float, reach: int, at_edge: tuple[bool, bool, bool, bool]
) -> BoolArray:
    field = piece.astype(np.float32)
    for axis, (low, high) in enumerate((at_edge[:2], at_edge[2:])):
        for side, is_open in ((0, low), (1, high)):
            pad = [(0, 0), (0, 0)]
            pad[axis] = (reach, 0) if side == 0 else (0, reach)
            field = np.pad(field, pad, mode="edge" if is_open else "constant")
    blurred = ndimage.gaussian_filter(field, radius, truncate=_SMOOTH_REACH)
    inner = blurred[
        reach : reach + piece.shape[0], reach : reach + piece.shape[1]
    ].ravel()
    area = int(np.count_nonzero(piece))
    level = np.partition(inner, inner.size - area)[inner.size - area]
    return np.asarray(inner >= level).reshape(piece.shape)
