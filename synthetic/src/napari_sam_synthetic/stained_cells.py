"""Cells in culture whose cytoplasm is stained, often with nuclei in another color."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import Canvas, blob, clean, spread

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels, Stamp


@dataclass(frozen=True, slots=True)
class _Stain:
    """What one preparation has in common.

    Parameters
    ----------
    thin : float
        How much darker the lamella is than the middle, 0 to 1.
    edge : float
        How steep the light rises at the outline.
    rim : float
        Light of the cortex.
    fibres : float
        Contrast of stress fibres.
    spacing : float
        Their distance, as a share of the radius.
    hole : float
        How dark the nucleus is; negative: how bright.
    """

    thin: float
    edge: float
    rim: float
    fibres: float
    spacing: float
    hole: float


def _draw_stain(rng: Generator) -> _Stain:
    return _Stain(
        thin=float(rng.uniform(0, 0.75)),
        edge=float(rng.uniform(2, 12)),
        rim=float(rng.uniform(0.2, 1.2)) if rng.random() < 0.4 else 0.0,
        fibres=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.4 else 0.0,
        spacing=float(rng.uniform(0.05, 0.15)),
        hole=float(rng.uniform(-0.6, 0.9)),
    )


def _body(
    rng: Generator, stamp: Stamp, size: float, stain: _Stain
) -> tuple[FloatImage, FloatImage]:
    """Return the light of one cell's cytoplasm, and of its nucleus."""
    off = rng.normal(0, 0.15, 2) * size
    along, across = stamp.along - off[0], stamp.across - off[1]
    away = np.hypot(along / 1.3, across)
    light = 1 - stain.thin + stain.thin * np.exp(-((away / (0.6 * size)) ** 2))
    light *= np.clip((1 - stamp.level) * stain.edge, 0, 1)
    if stain.rim:
        depth = (1 - stamp.level) * size
        light += stain.rim * np.exp(-((depth / max(0.06 * size, 1.2)) ** 2))
    if stain.fibres:
        turn = float(rng.normal(0, 0.3))
        waves = np.cos(turn) * across + np.sin(turn) * along
        waves = waves + 0.15 * size * np.sin(along / size * 2)
        light *= 1 + stain.fibres * np.sin(waves / (stain.spacing * size) * 2 * np.pi)
    radius = size * rng.uniform(0.25, 0.42)
    nucleus = np.clip((radius - away) / max(0.1 * radius, 1), 0, 1)
    nucleus *= np.clip((0.95 - stamp.level) * 8, 0, 1)
    light *= 1 - stain.hole * nucleus
    return light.astype(np.float32), nucleus.astype(np.float32)


def stained_cells(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw cultured cells in fluorescence whose labels are whole cells.

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
    radius = float(np.exp(rng.uniform(np.log(9), np.log(90))))
    crowded = rng.random() < 0.6
    spacing = radius * (rng.uniform(1.1, 1.9) if crowded else rng.uniform(1.9, 5))
    at = spread(rng, side, spacing, margin=radius)
    cytoplasm = np.zeros(canvas.shape, np.float32)
    nuclei = np.zeros(canvas.shape, np.float32)
    stain = _draw_stain(rng)
    long, rough = rng.uniform(0.05, 0.8), rng.uniform(0.03, 0.18)
    spiky = rng.uniform(0, 1.5) if rng.random() < 0.5 else 0.0
    direction, order = rng.uniform(0, np.pi), rng.uniform(0.2, 3)
    vary = rng.uniform(0.1, 0.7)
    for row, col in at:
        size = float(radius * np.exp(rng.normal(0, 0.25)))
        stamp = blob(
            rng,
            canvas.shape,
            (float(row), float(col)),
            max(size, 4),
            elongation=float(np.exp(abs(rng.normal(0, long)))),
            angle=float(rng.normal(direction, order)),
            roughness=rough,
            harmonics=8,
            spikes=int(rng.poisson(spiky)),
        )
        if stamp is None:
            continue
        own = canvas.touch(stamp)
        body, nucleus = _body(rng, stamp, size, stain)
        # Dividing and dying cells are bright, some others hardly stained.
        amount = np.float32(np.exp(rng.normal(0, vary)))
        cytoplasm[stamp.box][own] = amount * body[own]
        nuclei[stamp.box][own] = np.float32(np.exp(rng.normal(0, 0.3))) * nucleus[own]
    grain = optics.texture(
        rng, canvas.shape, max(radius * rng.uniform(0.05, 0.4), 1.5), 1.8
    )
    cytoplasm *= np.clip(1 + np.float32(rng.uniform(0.05, 0.5)) * grain, 0.1, 3)
    psf = float(np.clip(radius * rng.uniform(0.01, 0.08), 0.6, 4))
    cytoplasm = optics.blur(cytoplasm, psf)
    nuclei = optics.blur(nuclei, psf)
    labels = clean(canvas.labels)
    if rng.random() < 0.4:
        return rendering.two_colors(rng, cytoplasm, nuclei), labels
    return rendering.fluorescence(rng, cytoplasm), labels
