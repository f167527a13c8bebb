"""Where objects are, from the maps of a model that sees them without a prompt.

Everything mode asks the model at these points instead of on a blind grid: one
prompt for each object (the idea of automatic prompt generation in Archit et al.,
"Segment Anything for Microscopy", Nature Methods 2025).

A map has one cell for ``side / cells`` pixels of the model's input.  Positions
are in cells, cell centers at whole numbers, until :func:`to_image` makes them
rows and columns of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_sam.core.results import inside_frame

if TYPE_CHECKING:
    from napari_sam.core.model import ObjectMaps
    from napari_sam.types import BoolArray, FloatArray, Frame

MIN_FOREGROUND = 0.5
"""Probability above which a cell belongs to some object."""

MAX_SADDLE = 0.85
"""Two peaks are two objects if the map falls below this part of the lower one
on every way between them."""

MIN_DISTANCE = 1.5
"""In cells; nearer peaks are one."""

MIN_DEPTH = 1.5
"""In cells: how far from its outline the middle of a region must be to be asked
for; what is thinner is the rim of something else."""

MAX_POINTS = 2048
"""Twice SAM's default grid: what is more is noise."""

_FLOOR = 1e-6


def object_points(
    maps: ObjectMaps, *, min_center: float = 0.2, limit: int = MAX_POINTS
) -> FloatArray:
    """Return one point on each object that the maps show.

    These are the peaks of the center map and, so that nothing is missed, the
    deepest points of foreground in which there is no peak.

    Parameters
    ----------
    maps : ObjectMaps
        What the model sees.
    min_center : float
        Lowest center probability of a peak.
    limit : int
        Keep this many points at most, the most certain.

    Returns
    -------
    float32 array (N, 2)
        Row and column in pixels of the image, inside it, the most certain
        first.
    """
    center = inside_frame(maps.center, maps.frame)
    foreground = inside_frame(maps.foreground, maps.frame)
    peaks, _ = find_peaks(center, min_height=min_center)
    is_missed = uncovered(foreground > MIN_FOREGROUND, peaks)
    found = np.concatenate([peaks, deepest_points(is_missed)])[:limit]
    return to_image(found, maps.frame, maps.center.shape)


def find_peaks(
    center: npt.NDArray[np.floating],
    *,
    min_height: float,
    max_saddle: float = MAX_SADDLE,
    min_distance: float = MIN_DISTANCE,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the peaks of a map, to a fraction of a cell.

    A maximum is a peak if it stands out: on every way to a higher one the map
    falls below ``max_saddle`` of its height.  What counts is the ratio, so that
    large objects with a broad noisy summit give one peak, and small ones side
    by side, low as their peaks are, one each.

    Parameters
    ----------
    center : float array (h, w)
        Probabilities.
    min_height : float
        Lower maxima are left out.
    max_saddle : float
        Between 0 and 1; 1 takes every maximum.
    min_distance : float
        In cells.  Of two nearer peaks the higher stays.

    Returns
    -------
    peaks : float64 array (N, 2)
        Row and column in cells, the highest first.
    heights : float64 array (N,)
    """
    # Heights as logarithms, in which a ratio is a difference and a Gaussian a
    # parabola.
    log = np.log(np.maximum(np.asarray(center, np.float64), _FLOOR))
    # Of equal neighbors the last is the summit.
    log += 1e-9 * np.arange(log.size).reshape(log.shape) / max(1, log.size)
    at = np.argwhere(
        _stands_out(log, max_saddle) & (log >= np.log(max(min_height, _FLOOR)))
    )
    heights = log[at[:, 0], at[:, 1]]
    order = np.argsort(-heights, kind="stable")
    at, heights = at[order], heights[order]
    peaks = at + _shifts(log, at)
    kept = _apart(peaks, min_distance)
    return peaks[kept], np.exp(heights[kept])


def _stands_out(log: npt.NDArray[np.float64], max_saddle: float) -> BoolArray:
    """Return the maxima that no way joins to a higher one above the saddle.

    Lowered by the saddle and grown again under the original, the map stays
    below itself by the full amount at just these (Vincent, "Morphological
    grayscale reconstruction", 1993).
    """
    from skimage.morphology import reconstruction

    if not log.size:
        return np.zeros(log.shape, bool)
    lowered = log + np.log(max(max_saddle, _FLOOR))
    if max_saddle >= 1:
        return np.asarray(ndimage.maximum_filter(log, 3) == log)
    return np.asarray(reconstruction(lowered, log) == lowered)


def _shifts(
    log: npt.NDArray[np.float64], at: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Return by how much of a cell each summit lies beside its cell's center.

    The top of the parabola through the cell and its two neighbors, along each
    axis; exact for a Gaussian.
    """
    last = np.array(log.shape) - 1
    middle = log[at[:, 0], at[:, 1]]
    shifts = np.zeros(at.shape)
    for axis in (0, 1):
        step = np.eye(2, dtype=np.intp)[axis]
        low, high = (log[tuple(np.clip(at + s, 0, last).T)] for s in (-step, step))
        is_edge = (at[:, axis] == 0) | (at[:, axis] == last[axis])
        bend = low - 2 * middle + high
        safe = np.where((bend < -1e-6) & ~is_edge, bend, -np.inf)
        shifts[:, axis] = np.clip((low - high) / (2 * safe), -0.5, 0.5)
    return shifts


def _apart(peaks: npt.NDArray[np.float64], min_distance: float) -> npt.NDArray[np.intp]:
    """Return the peaks that no better one before them is too near to."""
    kept = np.ones(len(peaks), bool)
    if len(peaks) > 1 and min_distance > 0:
        near = cKDTree(peaks).query_pairs(min_distance, output_type="ndarray")
        for first, second in near[np.lexsort(near.T[::-1])].tolist():
            kept[second] &= not kept[first]
    return np.flatnonzero(kept)


def uncovered(foreground: BoolArray, points: npt.NDArray[np.float64]) -> BoolArray:
    """Return the connected regions of a mask in which no point lies.

    Parameters
    ----------
    foreground : bool array (h, w)
        Cells of objects.
    points : float array (N, 2)
        Row and column in cells.
    """
    regions, n = ndimage.label(foreground)
    is_covered = np.zeros(n + 1, bool)
    at = points.round().astype(np.intp)
    is_covered[regions[at[:, 0], at[:, 1]]] = True
    is_covered[0] = True
    return np.asarray(~is_covered[regions])


def deepest_points(
    mask: BoolArray, min_depth: float = MIN_DEPTH
) -> npt.NDArray[np.float64]:
    """Return the point of each connected region farthest from its outside.

    Parameters
    ----------
    mask : bool array (h, w)
        Cells; beyond the map is outside.
    min_depth : float
        Regions whose deepest point is less deep are left out, in cells.

    Returns
    -------
    float64 array (N, 2)
        Row and column in cells, the deepest first.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    regions, n = ndimage.label(mask)
    if n == 0:
        return np.zeros((0, 2))
    index = np.arange(1, n + 1)
    at = np.array(ndimage.maximum_position(depth, regions, index), np.intp)
    depths = depth[at[:, 0], at[:, 1]]
    order = np.argsort(-depths, kind="stable")
    kept = order[depths[order] >= min_depth]
    return np.asarray(at[kept], np.float64)


def to_image(
    cells: npt.NDArray[np.generic], frame: Frame, map_shape: tuple[int, ...]
) -> FloatArray:
    """Return positions in a map as positions in the image.

    Parameters
    ----------
    cells : array (N, 2)
        Row and column in cells, cell centers at whole numbers.
    frame : Frame
        How the image sits in the model's input, which the map covers.
    map_shape : tuple of int
        Height and width of the whole map.

    Returns
    -------
    float32 array (N, 2)
        Row and column in pixels, moved into the image where its last cell
        reaches beyond it.
    """
    size = frame.side / np.array(map_shape[-2:], np.float64)
    pixels = (np.asarray(cells, np.float64) + 0.5) * size / frame.scale - 0.5
    last = np.array(frame.image_size) - 1
    return np.clip(pixels, 0, last).astype(np.float32)
