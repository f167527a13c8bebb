"""Tissue whose cell borders are stained: confocal epithelium and plant walls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import (
    blob,
    border_distance,
    clean,
    nearest,
    spread,
)
from napari_sam_synthetic.tissue import tissue, warp

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels


def _cells(rng: Generator, side: int, size: float) -> Labels:
    """Return cells that fill the plane, int32 (side, side)."""
    if rng.random() < 0.45:  # varied sizes, elongated: plant organs
        return tissue(rng, side, size, float(rng.uniform(0, 0.7))).cells
    points = spread(rng, side, size * 0.75, margin=size)
    # neighbors outside the image shape the cells at its border
    margin = int(size) + 1
    seeds = np.zeros((side + 2 * margin, side + 2 * margin), np.int32)
    row, col = np.clip(points + margin, 0, seeds.shape[0] - 1).astype(np.intp).T
    seeds[row, col] = np.arange(1, len(points) + 1)
    if rng.random() < 0.35:  # stretched along one direction
        squeeze = rng.uniform(0.45, 0.9)
        keep = np.linspace(0, len(seeds) - 1, int(len(seeds) * squeeze)).astype(np.intp)
        small = np.zeros((len(keep), seeds.shape[1]), np.int32)
        where = np.clip((row * squeeze).astype(np.intp), 0, len(keep) - 1)
        small[where, col] = seeds[row, col]
        filled = nearest(small)[
            np.clip((np.arange(len(seeds)) * squeeze).astype(np.intp), 0, len(keep) - 1)
        ]
        cells = filled if rng.random() < 0.5 else filled.T
    else:
        cells = nearest(seeds)
    cells = np.ascontiguousarray(cells[margin : margin + side, margin : margin + side])
    if rng.random() < 0.8:
        cells = warp(
            rng, cells, size * rng.uniform(0.0, 0.11), size * rng.uniform(0.3, 1.5)
        )
    return cells


def _nuclei(
    rng: Generator, cells: Labels, depth: FloatImage, size: float
) -> FloatImage:
    """Return one nucleus in most cells, float32 (H, W)."""
    picture = np.zeros(cells.shape, np.float32)
    flat = cells.ravel()
    rows, cols = np.indices(cells.shape)
    area = np.maximum(np.bincount(flat), 1)
    row = (np.bincount(flat, rows.ravel()) / area).astype(np.intp)
    col = (np.bincount(flat, cols.ravel()) / area).astype(np.intp)
    share = rng.uniform(0.35, 0.75)
    for cell in np.unique(flat):
        at = (int(row[cell]), int(col[cell]))
        radius = float(min(depth[at] * share * rng.uniform(0.7, 1.2), size * 0.45))
        if cells[at] != cell or radius < 2.5 or rng.random() < 0.12:
            continue
        stamp = blob(
            rng,
            cells.shape,
            at,
            radius,
            elongation=rng.uniform(1, 1.6),
            angle=rng.uniform(0, np.pi),
            roughness=0.06,
        )
        if stamp is not None:
            light = rng.uniform(0.5, 1) * np.clip(1.2 - stamp.level**2 * 0.4, 0, 1)
            picture[stamp.box] += np.where(stamp.inside, light, 0).astype(np.float32)
    return picture


def _walls(
    rng: Generator, cells: Labels, depth: FloatImage, size: float, width: float
) -> FloatImage:
    """Return the stained borders, float32 (H, W), about 0 to 1."""
    shape = (cells.shape[0], cells.shape[1])
    wall = np.exp(-(((depth - 0.5) / (width / 2)) ** 2)).astype(np.float32)
    # each side of a border stains as its cell does, and unevenly along it
    lightness = np.exp(rng.normal(0, rng.uniform(0, 0.5), int(cells.max()) + 1))
    wall *= lightness.astype(np.float32)[cells]
    if rng.random() < 0.7:
        uneven = optics.texture(rng, shape, size * rng.uniform(0.2, 1), 3)
        wall *= np.clip(1 + np.float32(rng.uniform(0.1, 0.7)) * uneven, 0.03, 2.5)
    if rng.random() < 0.35:  # puncta: junctions and vesicles
        pick = np.flatnonzero(rng.random(cells.size) < rng.uniform(0.001, 0.02))
        pick = pick[
            depth.ravel()[pick] < max(width, 2) * (1 if rng.random() < 0.7 else 4)
        ]
        dots = np.zeros(cells.size, np.float32)
        dots[pick] = rng.exponential(1, pick.size)
        spots = optics.blur(dots.reshape(shape), width * 0.5)
        wall += spots * np.float32(rng.uniform(0.2, 1) / max(float(spots.max()), 1e-3))
    return np.asarray(wall, np.float32)


def membranes(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw membrane-stained tissue whose labels are the cells.

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
    shape = (side, side)
    size = float(np.exp(rng.uniform(np.log(22), np.log(190))))
    cells = _cells(rng, side, size)
    is_bounded = rng.random() < 0.3
    if is_bounded:  # the organ ends inside the image
        organ = blob(
            rng,
            shape,
            (side * rng.uniform(0.2, 0.8), side * rng.uniform(0.2, 0.8)),
            side * rng.uniform(0.35, 0.6),
            roughness=0.15,
            elongation=rng.uniform(1, 2),
            angle=rng.uniform(0, np.pi),
        )
        outside = np.ones(shape, bool)
        if organ is not None:
            outside[organ.box] = ~organ.inside
        cells = np.where(outside, 0, cells).astype(np.int32)
    depth = border_distance(cells)
    width = float(np.clip(size * rng.uniform(0.03, 0.14), 1.5, 14))
    wall = _walls(rng, cells, depth, size, width)
    body = np.exp(rng.normal(0, 0.5, int(cells.max()) + 1)).astype(np.float32)[cells]
    light = wall + np.float32(rng.uniform(0, 0.12)) * body * (cells > 0)
    if rng.random() < 0.4:
        cytoplasm = 1 + 0.4 * optics.texture(rng, shape, size / 3, 2)
        light += (
            np.float32(rng.uniform(0.02, 0.2)) * np.clip(cytoplasm, 0, 3) * (cells > 0)
        )
    if rng.random() < 0.5:  # the plane above, out of focus
        shift = rng.integers(-side // 3, side // 3, 2)
        above = np.roll(wall[::-1, ::-1], tuple(int(s) for s in shift), (0, 1))
        light += np.float32(rng.uniform(0.1, 0.5)) * optics.blur(
            above, width * rng.uniform(1.5, 4)
        )
    psf = float(np.clip(width * rng.uniform(0.15, 0.6), 0.7, 5))
    light = optics.blur(light, psf)
    # People let cells meet in the middle of a wall; some outline what it encloses.
    is_lumen = width >= 4 and rng.random() < 0.15
    labels = clean(np.where(depth > width * 0.3, cells, 0) if is_lumen else cells, 20)
    style = rng.random()
    if style < 0.22:
        nuclei = optics.blur(_nuclei(rng, cells, depth, size), psf)
        return rendering.two_colors(rng, light, nuclei), labels
    if style < 0.3:  # stained walls in brightfield: dark on light
        return rendering.transmitted(
            rng, 0.7 - 1.5 * light / max(float(light.max()), 1e-3)
        ), labels
    if style < 0.4:
        light += np.float32(rng.uniform(0.2, 0.9)) * optics.blur(
            _nuclei(rng, cells, depth, size), psf
        )
    return rendering.fluorescence(rng, light), labels
