"""Cells that crawl on glass, unstained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import Canvas, blob, clean, spread

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels, Stamp


def _body(rng: Generator, stamp: Stamp, radius: float, flat: float) -> FloatImage:
    """Return the thickness of a spread cell: lamella, and a mound at the nucleus."""
    lamella = rng.uniform(0.1, 0.4) * np.clip(
        (1 - stamp.level) * 2.5, 0, 1
    ) ** np.float32(flat)
    off = rng.normal(0, 0.2, 2) * radius
    away = np.hypot((stamp.along - off[0]) / 1.3, stamp.across - off[1])
    mound = np.exp(-((away / (radius * rng.uniform(0.35, 0.6))) ** 2))
    nucleus = away < radius * rng.uniform(0.2, 0.32)
    return np.asarray(
        lamella + rng.uniform(0.2, 0.7) * mound - 0.12 * nucleus, np.float32
    )


def _granules(rng: Generator, stamp: Stamp, radius: float, amount: float) -> FloatImage:
    """Return vesicles and mitochondria around the nucleus."""
    picture = np.zeros(stamp.level.shape, np.float32)
    near = np.flatnonzero(stamp.level < rng.uniform(0.4, 0.9))
    count = int(min(amount * radius, near.size, 80))
    if count:
        picture.ravel()[rng.choice(near, count)] = rng.normal(0.2, 1, count)
    return picture


def phase_cells(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw adherent cells in phase contrast, relief or brightfield.

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
    canvas = Canvas((side, side))
    radius = float(np.exp(rng.uniform(np.log(12), np.log(75))))
    spacing = radius * (
        rng.uniform(1.5, 2.4) if rng.random() < 0.5 else rng.uniform(2.4, 6)
    )
    at = spread(rng, side, spacing, margin=radius)
    thickness = np.zeros(canvas.shape, np.float32)
    specks = np.zeros(canvas.shape, np.float32)
    edges = np.zeros(canvas.shape, np.float32)
    glow = np.zeros(canvas.shape, np.float32)
    long, spiky = rng.uniform(0.05, 1.0), rng.uniform(0, 2.5)
    direction, order = rng.uniform(0, np.pi), rng.uniform(0.2, 3)
    rough, flat = rng.uniform(0.06, 0.22), rng.uniform(0.4, 1.3)
    rounded, grains = rng.uniform(0, 0.2), rng.uniform(0, 2.5)
    modulation = optics.texture(rng, canvas.shape, radius, 3)
    for row, col in at:
        is_round = rng.random() < rounded
        size = float(radius * np.exp(rng.normal(0, 0.25)) * (0.45 if is_round else 1))
        stamp = blob(
            rng,
            canvas.shape,
            (float(row), float(col)),
            max(size, 5),
            elongation=1.1 if is_round else float(np.exp(abs(rng.normal(0, long)))),
            angle=float(rng.normal(direction, order)),
            roughness=0.03 if is_round else rough,
            harmonics=8,
            spikes=0 if is_round else int(rng.poisson(spiky)),
        )
        if stamp is None:
            continue
        own = canvas.touch(stamp)
        depth = (1 - stamp.level) * np.float32(size)
        if is_round:  # as thick as a drop: a bright body in a bright halo
            inner = np.clip(1.2 - stamp.level, 0, 1)
            glow[stamp.box] = np.where(own, 0.3 + 0.5 * inner, glow[stamp.box])
            thickness[stamp.box][own] = 0.9
            edges[stamp.box][own] = (-1.2 * np.exp(-((depth - 2) ** 2) / 6))[own]
            continue
        thickness[stamp.box][own] = _body(rng, stamp, size, flat)[own]
        specks[stamp.box] += np.where(own, _granules(rng, stamp, size, grains), 0)
        ruffle = np.exp(-((depth / max(size * 0.05, 1.5)) ** 2))
        ruffle *= np.clip(0.4 + modulation[stamp.box], 0, 2)
        edges[stamp.box][own] = ruffle[own]
    labels = clean(canvas.labels)
    psf = rng.uniform(0.7, 1.8)
    if grains:
        dots = optics.blur(specks, float(np.clip(radius * 0.03, 0.8, 2.0)))
        thickness += np.float32(rng.uniform(0.5, 2.0)) * dots
    inside = canvas.labels > 0
    fine = optics.texture(rng, canvas.shape, max(radius / 4, 3), 1.8)
    thickness += np.float32(rng.uniform(0.01, 0.1)) * fine * inside
    thickness = optics.blur(thickness, psf)
    if rng.random() < 0.35:
        return rendering.see_through(
            rng, thickness + 0.2 * optics.blur(edges, psf), radius, 0.0
        ), labels
    # often the inside is as gray as the background, and only the rim tells
    halo = radius * rng.uniform(0.2, 0.8)
    weight = float(np.exp(rng.uniform(np.log(0.12), 0)))
    contrast = weight * optics.phase_contrast(thickness, halo, rng.uniform(0.75, 1.15))
    contrast += np.float32(rng.uniform(0.1, 0.5)) * optics.blur(edges, psf)
    contrast -= (
        np.float32(rng.uniform(0.0, 0.25))
        * optics.blur(inside.astype(np.float32), psf)
        * (contrast < 0.1)
    )
    coarse = optics.texture(rng, canvas.shape, radius, 2.5)
    mottle = (fine + rng.uniform(0, 1.2) * coarse) * inside
    contrast += np.float32(rng.uniform(0.02, 0.16)) * optics.blur(mottle, psf)
    drops = optics.blur(glow, psf)
    contrast += drops + 0.5 * optics.blur(glow, 4) * (drops < 0.3)
    return rendering.transmitted(rng, contrast, rng.uniform(0.06, 0.3)), labels
