"""Small round things: particles, vesicles, droplets, organoids with rims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import Canvas, blob, clean, spread

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels

LOOKS = ("filled", "ring", "lens", "organoid", "flat")


def _light(rng: Generator, look: str, level: FloatImage, radius: float) -> FloatImage:
    """Return the light of one spot, about -1 to 1."""
    depth = (1 - level) * np.float32(radius)
    rim = max(radius * rng.uniform(0.08, 0.2), 1.0)
    edge = np.exp(-(((depth - rim) / rim) ** 2))
    if look == "filled":
        light = np.maximum(1 - level**2, 0) ** rng.uniform(0.3, 1.2)
    elif look == "ring":
        light = edge + rng.uniform(-0.1, 0.3)
    elif look == "lens":  # a drop focuses light: bright middle, dark rim
        light = np.exp(-((level / rng.uniform(0.25, 0.5)) ** 2)) - 0.9 * edge
    elif look == "organoid":  # a thick wall around a lumen
        wall = np.exp(-(((depth - 2 * rim) / (2 * rim)) ** 2))
        light = 0.7 * wall + 0.4 * edge + rng.uniform(-0.1, 0.25)
    else:
        light = np.full(level.shape, 0.8)
    return np.asarray(light, np.float32)


def spots(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw round objects of 8 to 60 pixels, sparse to dense.

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
    radius = float(np.exp(rng.uniform(np.log(5), np.log(32))))
    look = str(rng.choice(LOOKS))
    spacing = radius * (
        rng.uniform(1.9, 3) if rng.random() < 0.5 else rng.uniform(3, 10)
    )
    at = spread(rng, side, spacing, margin=radius)
    if rng.random() < 0.4:  # clusters
        crowd = optics.texture(rng, (64, 64), rng.uniform(6, 40), 3)
        cell = np.clip(at / side * 64, 0, 63).astype(np.intp)
        at = at[crowd[cell[:, 0], cell[:, 1]] > rng.uniform(-0.5, 1)]
    vary, rough = rng.uniform(0, 0.4), rng.choice([0.0, 0.02, 0.08])
    long, uneven = rng.uniform(0, 0.25), rng.uniform(0, 0.5)
    light = np.zeros(canvas.shape, np.float32)
    for row, col in at:
        size = float(np.clip(radius * np.exp(rng.normal(0, vary)), 3.5, 40))
        stamp = blob(
            rng,
            canvas.shape,
            (float(row), float(col)),
            size,
            elongation=float(np.exp(abs(rng.normal(0, long)))),
            angle=float(rng.uniform(0, np.pi)),
            roughness=float(rough),
        )
        if stamp is None:
            continue
        own = canvas.touch(stamp)
        gray = np.exp(rng.normal(0, uneven)) * _light(rng, look, stamp.level, size)
        light[stamp.box] = np.where(own, gray, light[stamp.box])
    if look in ("organoid", "flat", "filled"):
        grain = optics.texture(rng, canvas.shape, max(radius / 2, 2.5), 1.5)
        light *= np.clip(1 + np.float32(rng.uniform(0, 0.4)) * grain, 0.1, 3)
    seen = optics.blur(light, float(np.clip(radius * rng.uniform(0.04, 0.2), 0.6, 3)))
    labels = clean(canvas.labels)
    if rng.random() < (0.15 if look == "lens" else 0.5):
        if rng.random() < 0.3:  # some are out of focus
            seen += np.float32(rng.uniform(0.1, 0.5)) * optics.blur(
                np.rot90(light), radius * 0.7
            )
        return rendering.fluorescence(rng, seen), labels
    if rng.random() < 0.6:
        contrast = seen * rng.choice([-1.0, 1.0])
        if rng.random() < 0.4:
            contrast -= rng.uniform(0.2, 0.6) * optics.blur(contrast, radius)
        return rendering.transmitted(rng, contrast), labels
    return rendering.see_through(rng, seen, 2 * radius, 0.3), labels
