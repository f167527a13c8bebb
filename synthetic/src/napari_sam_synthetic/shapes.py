"""Shapes, and the label image they are painted into.

Everything is drawn inside the bounding box of one object, so hundreds of small
objects cost no more than a few large ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage, spatial

if TYPE_CHECKING:
    from numpy.random import Generator

FloatImage: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int32]
Points: TypeAlias = npt.NDArray[np.float64]
Box: TypeAlias = tuple[slice, slice]

MIN_AREA = 12
"""Pieces of an object smaller than this many pixels are no object."""


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """One object inside its bounding box, cut at the image's border.

    Parameters
    ----------
    box : pair of slices
        Rows and columns of the image that the arrays cover.
    level : float32 array (h, w)
        0 in the middle of the object, 1 at its outline, more outside. Where two
        objects touch, the lower level wins.
    along, across : float32 arrays (h, w)
        The object's own coordinates in pixels, for its texture.
    """

    box: Box
    level: FloatImage
    along: FloatImage
    across: FloatImage

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Return the object's pixels, bool (h, w)."""
        return self.level < 1.0


def box_around(
    center: tuple[float, float], reach: float, shape: tuple[int, ...]
) -> Box | None:
    """Return the image's part within ``reach`` pixels of a point.

    Parameters
    ----------
    center : (float, float)
        Row and column; may lie outside the image.
    reach : float
        Half the side of the box in pixels.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    pair of slices or None
        None if nothing of the box is inside the image.
    """
    row0 = max(int(center[0] - reach), 0)
    row1 = min(int(center[0] + reach) + 2, shape[0])
    col0 = max(int(center[1] - reach), 0)
    col1 = min(int(center[1] + reach) + 2, shape[1])
    if row0 >= row1 or col0 >= col1:
        return None
    return slice(row0, row1), slice(col0, col1)


def local_grid(
    box: Box, center: tuple[float, float], angle: float
) -> tuple[FloatImage, FloatImage]:
    """Return coordinates along and across an axis through ``center``.

    Parameters
    ----------
    box : pair of slices
        Part of the image.
    center : (float, float)
        Row and column of the origin.
    angle : float
        Direction of the axis in radians; 0 points along the columns.

    Returns
    -------
    along, across : float32 arrays (h, w)
        In pixels.
    """
    rows = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] - center[0]
    cols = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None] - center[1]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return (
        (cols * cos + rows * sin).astype(np.float32),
        (rows * cos - cols * sin).astype(np.float32),
    )


def capsule(
    shape: tuple[int, ...],
    center: tuple[float, float],
    angle: float,
    length: float,
    width: float,
    bend: float = 0.0,
    taper: float = 0.0,
) -> Stamp | None:
    """Return a spherocylinder, possibly bent or thinner at one end.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the image.
    center : (float, float)
        Row and column.
    angle : float
        Direction of the long axis in radians.
    length, width : float
        In pixels, caps included.
    bend : float
        Sagitta of the arc over the half length, as a part of the length.
    taper : float
        Relative change of the width from one end to the other.

    Returns
    -------
    Stamp or None
        None outside the image.
    """
    core = max(length - width, 0.0) / 2
    reach = length / 2 + abs(bend) * length + width * 0.5 + 2
    box = box_around(center, reach, shape)
    if box is None:
        return None
    along, across = local_grid(box, center, angle)
    if bend:
        arc = np.minimum(np.abs(along), np.float32(length / 2)) ** 2
        across = across - np.float32(4 * bend / length) * (
            arc - np.float32(length**2 / 16)
        )
    radius = np.float32(width / 2) * (1 + np.float32(taper / length) * along)
    over = np.maximum(np.abs(along) - core, 0)
    level = np.hypot(over, across) / np.maximum(radius, 1)
    return Stamp(box, level.astype(np.float32), along, across.astype(np.float32))


def blob(
    rng: Generator,
    shape: tuple[int, ...],
    center: tuple[float, float],
    radius: float,
    *,
    elongation: float = 1.0,
    angle: float = 0.0,
    roughness: float = 0.1,
    harmonics: int = 6,
    spikes: int = 0,
) -> Stamp | None:
    """Return a smooth random closed shape, star-shaped around its center.

    Parameters
    ----------
    rng : numpy Generator
        Source of the outline.
    shape : tuple of int
        Rows and columns of the image.
    center : (float, float)
        Row and column.
    radius : float
        Mean radius in pixels.
    elongation : float
        Long axis over short axis.
    angle : float
        Direction of the long axis in radians.
    roughness : float
        Standard deviation of the outline, relative to the radius.
    harmonics : int
        Highest Fourier mode of the outline.
    spikes : int
        Number of protrusions, as of a cell that crawls.

    Returns
    -------
    Stamp or None
        None outside the image.
    """
    theta = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    outline = np.ones(256)
    modes = np.arange(2, max(harmonics, 2) + 1)
    amplitudes = rng.normal(0, 1, modes.size) / modes**1.2
    amplitudes *= roughness * 1.6 / max(np.sqrt((amplitudes**2).sum() / 2), 0.5)
    phases = rng.uniform(0, 2 * np.pi, modes.size)
    outline += (
        amplitudes[:, None] * np.cos(modes[:, None] * theta + phases[:, None])
    ).sum(0)
    for _ in range(spikes):
        away = np.angle(np.exp(1j * (theta - rng.uniform(0, 2 * np.pi))))
        outline += rng.uniform(0.3, 1.3) * np.exp(
            -((np.abs(away) / rng.uniform(0.1, 0.35)) ** 1.3)
        )
    outline = np.maximum(outline, 0.25)
    stretch = np.sqrt(elongation)
    reach = radius * outline.max() * stretch + 2
    box = box_around(center, reach, shape)
    if box is None:
        return None
    along, across = local_grid(box, center, angle)
    x, y = along / stretch, across * stretch
    index = (np.arctan2(y, x) % (2 * np.pi)) * (256 / (2 * np.pi))
    low = index.astype(np.int32) % 256
    part = (index - np.floor(index)).astype(np.float32)
    edge = outline.astype(np.float32)
    limit = edge[low] * (1 - part) + edge[(low + 1) % 256] * part
    level = np.hypot(x, y) / (np.float32(radius) * limit)
    return Stamp(box, level.astype(np.float32), along, across)


class Canvas:
    """A label image into which objects are painted.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.

    Attributes
    ----------
    labels : int32 array (H, W)
        What is visible of each object; 0 is background.
    level : float32 array (H, W)
        The level of the visible object, 1 on the background.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.labels: Labels = np.zeros(shape, np.int32)
        self.level: FloatImage = np.ones(shape, np.float32)
        self.count = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns."""
        return self.labels.shape[0], self.labels.shape[1]

    def touch(self, stamp: Stamp) -> npt.NDArray[np.bool_]:
        """Paint an object beside the others: the border lies midway.

        Returns
        -------
        bool array (h, w)
            The pixels of the stamp's box that it owns now.
        """
        own = stamp.level < self.level[stamp.box]
        return self._own(stamp, own)

    def cover(self, stamp: Stamp) -> npt.NDArray[np.bool_]:
        """Paint an object in front of the others.

        Returns
        -------
        bool array (h, w)
            The pixels of the stamp's box that it owns now.
        """
        return self._own(stamp, stamp.inside)

    def _own(self, stamp: Stamp, own: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        self.count += 1
        self.labels[stamp.box][own] = self.count
        self.level[stamp.box][own] = stamp.level[own]
        return own


def clean(labels: npt.NDArray[np.integer], min_area: int = MIN_AREA) -> Labels:
    """Drop small disconnected pieces and number the objects 1, 2, 3, ...

    Parameters
    ----------
    labels : int array (H, W)
        0 is background.
    min_area : int
        Pieces (4-connected) with fewer pixels become background.

    Returns
    -------
    int32 array (H, W)
    """
    from skimage.measure import label

    pieces = label(labels, background=0, connectivity=1)
    is_small = np.bincount(pieces.ravel()) < min_area
    kept = np.where(is_small[pieces], 0, labels)
    _, numbers = np.unique(kept, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    return (numbers + int(kept.min() > 0)).astype(np.int32)


def nearest(seeds: npt.NDArray[np.integer]) -> Labels:
    """Give every pixel to the nearest seed: Voronoi cells of any shapes.

    Parameters
    ----------
    seeds : int array (H, W)
        0 where there is no seed.

    Returns
    -------
    int32 array (H, W)
        No pixel is 0.
    """
    index = ndimage.distance_transform_edt(
        seeds == 0, return_distances=False, return_indices=True
    )
    return np.asarray(seeds[index[0], index[1]], np.int32)


def border_distance(cells: npt.NDArray[np.integer]) -> FloatImage:
    """Return the distance to the border between cells, in pixels.

    Parameters
    ----------
    cells : int array (H, W)

    Returns
    -------
    float32 array (H, W)
        0.5 on both sides of a border.
    """
    inner = np.ones(cells.shape, bool)
    down = cells[1:] != cells[:-1]
    right = cells[:, 1:] != cells[:, :-1]
    inner[1:][down] = False
    inner[:-1][down] = False
    inner[:, 1:][right] = False
    inner[:, :-1][right] = False
    if inner.all():
        return np.full(cells.shape, float(max(cells.shape)), np.float32)
    return np.asarray(ndimage.distance_transform_edt(inner) + 0.5, np.float32)


def spread(
    rng: Generator, side: float, spacing: float, margin: float = 0.0, tries: int = 30
) -> Points:
    """Return random points at least ``spacing`` apart (dart throwing).

    Parameters
    ----------
    rng : numpy Generator
    side : float
        Side of the square.
    spacing : float
        Smallest distance in pixels.
    margin : float
        How far outside the square points may lie.
    tries : int
        Darts for each point that would fit.

    Returns
    -------
    float array (N, 2)
        Rows and columns, in random order.
    """
    extent = side + 2 * margin
    fits = int((extent / spacing) ** 2) + 1
    darts = rng.uniform(-margin, side + margin, (min(fits * tries, 60_000), 2))
    pairs = spatial.cKDTree(darts[: min(len(darts), fits * 6)]).query_pairs(
        spacing, output_type="ndarray"
    )
    count = min(len(darts), fits * 6)
    # a dart stays if no earlier dart that stays is too near
    earlier: list[list[int]] = [[] for _ in range(count)]
    for a, b in pairs.tolist():
        earlier[b].append(a)
    stays = np.ones(count, bool)
    for i, near in enumerate(earlier):
        if near and stays[near].any():
            stays[i] = False
    return darts[:count][stays]
