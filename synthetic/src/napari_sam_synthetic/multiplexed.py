"""Tissue stained for several proteins at once, shown as one composite.

Imaging mass cytometry and multiplexed fluorescence: few pixels to a cell, few counts
to a pixel, and cells that are told apart by different channels in different places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import (
    border_distance,
    clean,
    nearest,
    spread,
)
from napari_sam_synthetic.tissue import warp

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels

_CHANNELS = 3
_COLORS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 1], [0, 1, 0], [0, 0.4, 1]],
        [[0, 1, 1], [1, 0, 1], [1, 1, 0]],
        [[1, 1, 1], [1, 0, 0], [0, 0.5, 1]],
        [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    ],
    np.float32,
)


@dataclass(frozen=True, slots=True, eq=False)
class _Tissue:
    """Cells that fill the plane.

    Parameters
    ----------
    cells : int32 array (H, W)
        Which one each pixel belongs to, from 1.
    depth : float32 array (H, W)
        Distance to its border in pixels.
    core : float32 array (H, W)
        The same, as a share of the largest in the cell.
    kinds : int array (N + 1,)
        Type of each; alike ones lie together.
    is_cell : bool array (N + 1,)
        False for what is matrix between cells.
    """

    cells: Labels
    depth: FloatImage
    core: FloatImage
    kinds: npt.NDArray[np.intp]
    is_cell: npt.NDArray[np.bool_]


def _tissue(rng: Generator, side: int, size: float) -> _Tissue:
    points = spread(rng, side, size * rng.uniform(0.6, 0.85))
    seeds = np.zeros((side, side), np.int32)
    row, col = np.clip(points, 0, side - 1).astype(np.intp).T
    seeds[row, col] = np.arange(1, len(points) + 1)
    amount = size * rng.uniform(0.05, 0.2)
    cells = warp(rng, nearest(seeds), amount, size * rng.uniform(0.8, 2))
    depth = border_distance(cells)
    count = len(points)
    deepest = ndimage.maximum(depth, cells, np.arange(count + 1))
    core = depth / np.maximum(deepest, 1).astype(np.float32)[cells]
    # Types and matrix lie in patches, with some of each among the others.
    number = int(rng.integers(2, 6))
    patch = size * float(rng.uniform(2, 9))
    fields = [optics.texture(rng, (side, side), patch, 3) for _ in range(number)]
    mixed = rng.normal(0, rng.uniform(0.1, 1), (number, count))
    kinds = np.zeros(count + 1, np.intp)
    kinds[1:] = (np.array([field[row, col] for field in fields]) + mixed).argmax(0)
    matrix = optics.texture(rng, (side, side), patch, 3)[row, col]
    is_cell = np.ones(count + 1, bool)
    is_cell[1:] = matrix + rng.normal(0, 0.3, count) < rng.uniform(0.4, 3)
    is_cell[0] = False
    return _Tissue(cells, depth, core, kinds, is_cell)


def _channel(
    rng: Generator, tissue: _Tissue, size: float, *, common: bool
) -> FloatImage:
    """Return where one protein is, float32 (H, W).

    A common one is in all cells, another in those of some types.
    """
    cells = tissue.cells
    spread_out = 0.3 if common else 0.8
    levels = np.exp(rng.normal(0, spread_out, int(tissue.kinds.max()) + 1))
    if not common:
        levels *= rng.random(len(levels)) < 0.5
    amount = levels[tissue.kinds] * np.exp(rng.normal(0, 0.35, len(tissue.kinds)))
    amount = (amount * tissue.is_cell).astype(np.float32)[cells]
    where = rng.random()
    if where < 0.35:  # nucleus
        edge = np.float32(rng.uniform(0.25, 0.6))
        light = amount * np.clip((tissue.core - edge) / 0.25, 0, 1)
    elif where < 0.75:  # membrane, and some inside
        width = np.float32(max(size * rng.uniform(0.06, 0.16), 0.8))
        ring = np.exp(-(((tissue.depth - 0.5) / width) ** 2))
        light = amount * (ring + np.float32(rng.uniform(0, 0.5)))
    else:  # cytoplasm
        light = amount * np.clip(
            1.2 - np.float32(rng.uniform(0, 1)) * tissue.core, 0, 1
        )
    shape = (cells.shape[0], cells.shape[1])
    if rng.random() < 0.35:  # fibres of the matrix
        waves = optics.texture(rng, shape, size * rng.uniform(0.5, 2), 2.5)
        fibres = np.exp(-((waves / 0.3) ** 2)) * ~tissue.is_cell[cells]
        light = light + np.float32(rng.uniform(0.2, 1.5)) * fibres
    return optics.blur(
        np.asarray(light, np.float32), rng.uniform(0.2, 0.09 * size + 0.3)
    )


def multiplexed(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw a composite of three channels whose labels are the cells.

    Parameters
    ----------
    rng : numpy Generator
    side : int
        Side of the image in pixels.

    Returns
    -------
    rgb : uint8 array (side, side, 3)
    labels : int32 array (side, side)
    """
    size = float(np.exp(rng.uniform(np.log(8), np.log(44))))
    tissue = _tissue(rng, side, size)
    shape = (side, side)
    counts = float(np.exp(rng.uniform(np.log(1.5), np.log(60))))
    colors = _COLORS[rng.integers(len(_COLORS))][rng.permutation(_CHANNELS)]
    rgb = np.zeros((*shape, 3), np.float32)
    common = int(rng.integers(_CHANNELS))
    for channel, color in enumerate(colors):
        light = _channel(rng, tissue, size, common=channel == common)
        light /= np.float32(max(float(np.percentile(light[::4, ::4], 98)), 1e-2))
        light += np.float32(rng.uniform(0, 0.1))
        seen = rng.poisson(light * counts).astype(np.float32)
        if rng.random() < 0.5:  # single bright pixels
            hot = rng.random(shape) < rng.uniform(0, 0.004)
            seen[hot] += rng.exponential(counts, int(hot.sum())).astype(np.float32)
        if rng.random() < 0.3:
            seen = optics.blur(seen, rng.uniform(0.4, 0.9))
        gray = np.asarray(rendering.to_uint8(rng, seen), np.float32)
        rgb += gray[..., None] * color * np.float32(rng.uniform(0.4, 1))
    kept = tissue.is_cell[tissue.cells]
    if size > 12 and rng.random() < 0.3:  # masks with gaps
        kept &= tissue.depth > 1
    labels = clean(np.where(kept, tissue.cells, 0))
    return rendering.finish(rng, np.clip(rgb, 0, 255).astype(np.uint8)), labels
