"""Shapes between and beyond the slices in which an object is known.

The signed distance of an object to its outline, positive inside, is interpolated from
slice to slice (Raya & Udupa 1990, IEEE Trans. Med. Imaging 9, 32-42), after the
centroids of both are laid on each other (Higgins et al. 1993, IEEE Trans. Med. Imaging
12, 439-450).  All distances are in pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.types import BoolArray, FloatArray, Frame

    Places = npt.NDArray[np.floating[Any]]


def signed_distance(mask: MaskCrop, region: Region) -> FloatArray:
    """Signed distance of pixel centers to a mask's outline, positive inside.

    Parameters
    ----------
    mask : MaskCrop
        Not empty.
    region : Region
        Where it is wanted; it may reach beyond the plane, where nothing is inside.

    Returns
    -------
    float32 array of the region's shape
        In pixels; half a pixel on either side of the outline.
    """
    tight = mask.tight()
    # What is nearest may lie beyond the region, but nothing lies beyond its union with
    # the mask, a pixel of background around it.
    around = _grown(region.union(tight.region), 1)
    inside = _within(tight, around)
    distance = ndimage.distance_transform_edt(inside)
    distance -= ndimage.distance_transform_edt(~inside)
    distance -= np.copysign(0.5, distance)
    part = region.shifted(-around.row0, -around.col0)
    return np.asarray(distance[part.slices], np.float32)


def interpolated(below: MaskCrop, above: MaskCrop, share: float) -> MaskCrop:
    """Shape between two slices, by their signed distances with centroids aligned.

    Parameters
    ----------
    below, above : MaskCrop
        The object in the two slices, not empty.
    share : float
        How far it is from ``below`` to ``above``, 0 to 1.

    Returns
    -------
    MaskCrop
        Tight.  Of shapes so thin that nothing is left between them, the nearer one,
        where the centroid is expected.
    """
    centers = [_centroid(m) for m in (below, above)]
    middle = (1 - share) * centers[0] + share * centers[1]
    moves = [middle - center for center in centers]
    region = _moved(below.tight().region, moves[0]).union(
        _moved(above.tight().region, moves[1])
    )
    distances = [
        _shifted_distance(mask, move, region)
        for mask, move in zip((below, above), moves, strict=True)
    ]
    between = (1 - share) * distances[0] + share * distances[1] > 0
    if not between.any():
        nearer = int(share > 0.5)
        mask, move = (below, above)[nearer].tight(), np.rint(moves[nearer]).astype(int)
        return MaskCrop(mask.mask, mask.region.shifted(int(move[0]), int(move[1])))
    return MaskCrop(between, region).tight()


def outline_change(below: MaskCrop, above: MaskCrop) -> float:
    """Mean distance between the outlines of two shapes with centroids aligned.

    The mean of the absolute difference of their signed distances at the outline of the
    shape half-way.

    Returns
    -------
    float
        In pixels.
    """
    centers = [_centroid(m) for m in (below, above)]
    moves = [(centers[1] - centers[0]) / 2, (centers[0] - centers[1]) / 2]
    region = _moved(below.tight().region, moves[0]).union(
        _moved(above.tight().region, moves[1])
    )
    first, second = (
        _shifted_distance(mask, move, region)
        for mask, move in zip((below, above), moves, strict=True)
    )
    at_outline = np.abs(first + second) <= 2  # within a pixel of it
    if not at_outline.any():
        return float(np.abs(first - second).min())
    return float(np.abs(first - second)[at_outline].mean())


def extrapolated(
    last: MaskCrop, before: MaskCrop | None, share: float, most: float = 4.0
) -> MaskCrop:
    """Shape beyond the last slice, its signed distance changing on as it did.

    Parameters
    ----------
    last : MaskCrop
        The object in the last slice, not empty.
    before : MaskCrop, optional
        In the slice before it; without, nothing changes.
    share : float
        Of the last change, that is expected once more.
    most : float
        Larger changes count as this many pixels.

    Returns
    -------
    MaskCrop
        Tight; ``last`` where nothing would be left.
    """
    if before is None or share == 0 or before.tight().region.is_empty:
        return last.tight()
    region = _grown(last.tight().region, math.ceil(share * most) + 1)
    now = signed_distance(last, region)
    change = np.clip(now - signed_distance(before, region), -most, most)
    beyond = MaskCrop(now + share * change > 0, region).tight()
    return last.tight() if beyond.region.is_empty else beyond


def soft_logits(
    mask: MaskCrop, frame: Frame, depth: float | None = None, most: float = 4.0
) -> FloatArray:
    """Logits of a shape that is roughly known, at the cells of a model's input.

    The signed distance, scaled and cut.

    Parameters
    ----------
    mask : MaskCrop
        In pixels of the image of ``frame``, not empty.
    frame : Frame
        How that image sits in the input.
    depth : float, optional
        Distance in pixels at which ``most`` is reached: how well the outline is known.
        Half the radius of a disk of the same area by default.
    most : float
        Largest logit, and outside smallest.

    Returns
    -------
    float32 array (side / 4, side / 4)
    """
    if depth is None:
        depth = max(1.0, math.sqrt(mask.area / math.pi) / 2)
    region = _grown(mask.tight().region, math.ceil(depth) + 1)
    values = np.clip(
        signed_distance(mask, region) * np.float32(most / depth), -most, most
    )
    cells = frame.side // 4
    logits = np.full((cells, cells), -most, np.float32)
    bounds, tables = [], []
    for scale, start, size in zip(
        frame.scale, (region.row0, region.col0), region.shape, strict=True
    ):
        step = 4 / scale  # pixels of a cell
        first = max(0, math.ceil((start + 0.5) / step - 0.5))
        last = min(cells - 1, math.floor((start + size - 0.5) / step - 0.5))
        at = (np.arange(first, last + 1) + 0.5) * step - 0.5 - start
        bounds.append((first, first + len(at)))
        tables.append(linear_table(at, size))
    (row0, row1), (col0, col1) = bounds
    if row1 > row0 and col1 > col0:
        logits[row0:row1, col0:col1] = tables[0] @ values @ tables[1].T
    return logits


def linear_table(at: Places, size: int) -> FloatArray:
    """Weights of linear interpolation, edge values held.

    Parameters
    ----------
    at : float array (n,)
        Places, in samples from the first.
    size : int
        How many samples there are.

    Returns
    -------
    float32 array (n, size)
        To be multiplied with the samples.
    """
    clipped = np.clip(at, 0, size - 1)
    low = np.minimum(clipped.astype(np.intp), max(size - 2, 0))
    weight = (clipped - low).astype(np.float32)
    table = np.zeros((len(at), size), np.float32)
    rows = np.arange(len(at))
    table[rows, low] = 1 - weight
    if size > 1:
        table[rows, low + 1] = weight
    return table


def touching(mask: MaskCrop, prior: MaskCrop) -> MaskCrop:
    """Pieces of a mask that have a pixel in common with an earlier one.

    Returns
    -------
    MaskCrop
        Tight; empty if none does.
    """
    pieces, count = ndimage.label(mask.mask, np.ones((3, 3), bool))
    if count == 0:
        return mask.tight()
    is_kept = np.zeros(count + 1, bool)
    is_kept[np.unique(pieces[_within(prior, mask.region)])] = True
    is_kept[0] = False
    return MaskCrop(is_kept[pieces], mask.region).tight()


def without(mask: MaskCrop, blocked: BoolArray | None) -> MaskCrop:
    """Return a mask without the pixels of a plane that belong to others."""
    if blocked is None or mask.region.is_empty:
        return mask
    return MaskCrop(mask.mask & ~blocked[mask.region.slices], mask.region).tight()


def _within(mask: MaskCrop, region: Region) -> BoolArray:
    """Return the mask inside a region, as an array of the region's shape."""
    moved = MaskCrop(mask.mask, mask.region.shifted(-region.row0, -region.col0))
    return moved.full(region.shape)


def _centroid(mask: MaskCrop) -> Places:
    rows, cols = np.nonzero(mask.mask)
    return np.array([rows.mean() + mask.region.row0, cols.mean() + mask.region.col0])


def _moved(region: Region, move: Places) -> Region:
    """Return the whole pixels that a region covers after a move, and one more."""
    low, high = np.floor(move).astype(int), np.ceil(move).astype(int)
    return Region(
        region.row0 + int(low[0]) - 1,
        region.col0 + int(low[1]) - 1,
        region.row1 + int(high[0]) + 1,
        region.col1 + int(high[1]) + 1,
    )


def _shifted_distance(
    mask: MaskCrop,
    move: Places,
    region: Region,
) -> FloatArray:
    """Return the signed distance in a region of a mask that has moved."""
    whole = np.floor(move).astype(int)
    rest = move - whole
    source = region.shifted(-int(whole[0]), -int(whole[1]))
    # One pixel before the first, for what is between two pixels.
    source = Region(source.row0 - 1, source.col0 - 1, source.row1, source.col1)
    d = signed_distance(mask, source)
    rows, cols = (np.float32(r) for r in rest)
    d = (1 - rows) * d[1:] + rows * d[:-1]
    return (1 - cols) * d[:, 1:] + cols * d[:, :-1]


def _grown(region: Region, by: int) -> Region:
    return Region(
        region.row0 - by, region.col0 - by, region.row1 + by, region.col1 + by
    )
