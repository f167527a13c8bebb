"""Profiles that fill the plane: the ground of EM and of membrane stains."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_sam_synthetic import optics
from napari_sam_synthetic.shapes import (
    Canvas,
    Stamp,
    blob,
    border_distance,
    capsule,
    nearest,
)

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam_synthetic.shapes import FloatImage, Labels


class Tissue(NamedTuple):
    """Profiles that fill the plane.

    Parameters
    ----------
    cells : int32 array (H, W)
        Which profile each pixel belongs to; never 0.
    depth : float32 array (H, W)
        Distance to the profile's border in pixels.
    """

    cells: Labels
    depth: FloatImage


def tissue(rng: Generator, side: int, size: float, variety: float) -> Tissue:
    """Fill the plane with profiles: what is nearest to seeds of many shapes.

    Parameters
    ----------
    rng : numpy Generator
    side : int
        Side of the image in pixels.
    size : float
        Typical diameter in pixels.
    variety : float
        0: seeds are points and the profiles alike; 1: from thin axons to cell
        bodies and long dendrites.

    Returns
    -------
    Tissue
    """
    canvas = Canvas((side, side))
    margin = size
    area = (side + 2 * margin) ** 2
    count = int(np.clip(area / size**2 * rng.uniform(0.8, 1.4), 6, 1500))
    radii = size * 0.25 * np.exp(rng.normal(0, 0.2 + 0.55 * variety, count))
    for radius in np.sort(np.minimum(radii, side / 4))[::-1]:
        center = (
            float(rng.uniform(-margin, side + margin)),
            float(rng.uniform(-margin, side + margin)),
        )
        angle = float(rng.uniform(0, np.pi))
        seed: Stamp | None
        if rng.random() < 0.35 * variety:
            width = float(radius * rng.uniform(0.3, 0.9))
            seed = capsule(
                canvas.shape,
                center,
                angle,
                float(radius * rng.uniform(3, 9)),
                max(width, 2),
                bend=float(rng.normal(0, 0.12)),
            )
        else:
            seed = blob(
                rng,
                canvas.shape,
                center,
                max(float(radius), 1.5),
                elongation=float(np.exp(abs(rng.normal(0, 0.4 * variety)))),
                angle=angle,
                roughness=0.18 * variety,
            )
        if seed is None:
            continue
        # a seed on top of another would cut it in pieces
        free = seed.inside & (canvas.labels[seed.box] == 0)
        if free.sum() > 0.8 * seed.inside.sum():
            canvas.touch(seed)
    seeds = canvas.labels
    if not seeds.any():
        seeds[side // 2, side // 2] = 1
    cells = nearest(seeds)
    if rng.random() < 0.8:
        cells = warp(
            rng, cells, size * rng.uniform(0.05, 0.22), size * rng.uniform(0.4, 1.2)
        )
    return Tissue(cells, border_distance(cells))


def warp(rng: Generator, cells: Labels, amount: float, scale: float) -> Labels:
    """Make borders wavy.

    Parameters
    ----------
    rng : numpy Generator
    cells : int32 array (H, W)
    amount : float
        Typical shift in pixels; kept below what would fold the plane.
    scale : float
        Size of the waves in pixels.

    Returns
    -------
    int32 array (H, W)
    """
    shape = (cells.shape[0], cells.shape[1])
    amount = min(amount, scale * 0.2)
    rows, cols = np.indices(shape, np.float32)
    rows += np.float32(amount) * optics.texture(rng, shape, scale, 4)
    cols += np.float32(amount) * optics.texture(rng, shape, scale, 4)
    row = np.clip(np.rint(rows), 0, shape[0] - 1).astype(np.intp)
    col = np.clip(np.rint(cols), 0, shape[1] - 1).astype(np.intp)
    return cells[row, col]
