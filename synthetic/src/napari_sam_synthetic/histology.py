"""Stained sections and smears: nuclei in color on tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import Canvas, blob, clean, spread

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels

# Optical density in red, green and blue of one unit of stain: Ruifrok and
# Johnston, "Quantification of histochemical staining by color deconvolution",
# Analytical and Quantitative Cytology and Histology 2001.
HEMATOXYLIN = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)
BROWN = (0.27, 0.57, 0.78)
VIOLET = (0.55, 0.80, 0.15)


def _stain(rng: Generator, density: tuple[float, float, float]) -> FloatImage:
    """Return a stain's color as one laboratory or scanner shows it."""
    vector = np.maximum(np.array(density) + rng.normal(0, 0.06, 3), 0.02)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _stroma(rng: Generator, shape: tuple[int, int], size: float) -> FloatImage:
    """Return fibres, patches and gaps, about 0 to 1."""
    field = np.full(shape, rng.uniform(0.1, 0.6), np.float32)
    patches = optics.texture(rng, shape, size * rng.uniform(1.5, 6), 2.5)
    field *= np.clip(1 + rng.uniform(0.1, 0.5) * patches, 0.1, 2.5)
    if rng.random() < 0.7:  # level lines of a smooth field run like fibres
        waves = optics.texture(rng, shape, size * rng.uniform(1, 5), 3)
        lines = np.abs(np.sin(waves * np.float32(rng.uniform(2, 9))))
        field *= 1 - rng.uniform(0.1, 0.5) * lines
    if rng.random() < 0.6:  # thin fibres
        waves = optics.texture(rng, shape, size * rng.uniform(0.4, 1.2), 2.5)
        field *= 1 + rng.uniform(0.1, 0.5) * np.exp(-((waves / 0.25) ** 2))
    field += np.float32(rng.uniform(0.01, 0.07)) * optics.texture(
        rng, shape, size / 3, 1.5
    )
    if rng.random() < 0.5:  # lumen and cracks
        empty = optics.texture(rng, shape, size * rng.uniform(2, 8), 3)
        field *= 1 / (1 + np.exp((empty - rng.uniform(0.6, 2.0)) * 12))
    return np.asarray(np.clip(field, 0, None), np.float32)


def _cytoplasm(
    rng: Generator, shape: tuple[int, int], at: npt.NDArray[np.float64], size: float
) -> FloatImage:
    """Return pale bodies of cells that overlap, as in a smear."""
    density = np.zeros(shape, np.float32)
    for row, col in at:
        shift = rng.normal(0, size * 0.4, 2)
        body = blob(
            rng,
            shape,
            (row + shift[0], col + shift[1]),
            size * rng.uniform(1.2, 2.6),
            elongation=rng.uniform(1, 1.6),
            angle=rng.uniform(0, np.pi),
            roughness=0.12,
            harmonics=9,
        )
        if body is not None:
            rim = 0.7 + 0.3 * body.level**8
            density[body.box] += np.where(
                body.inside, rim * rng.uniform(0.5, 1.2), 0
            ).astype(np.float32)
    return density


def histology(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw H&E, brown-and-blue, violet or gray stains whose labels are nuclei.

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
    shape = canvas.shape
    style = rng.choice(["he", "ihc", "violet", "gray"], p=[0.45, 0.2, 0.2, 0.15])
    radius = float(np.exp(rng.uniform(np.log(8), np.log(60))))
    spacing = radius * (
        rng.uniform(1.4, 4.5) if rng.random() < 0.8 else rng.uniform(4.5, 8)
    )
    at = spread(rng, side, spacing, margin=radius)
    crowd = optics.texture(rng, (64, 64), rng.uniform(15, 50), 3)
    cell = np.clip(at / side * 64, 0, 63).astype(np.intp)
    at = at[crowd[cell[:, 0], cell[:, 1]] < rng.uniform(-0.2, 2.5)]
    flow = optics.texture(rng, (64, 64), 60, 4) * rng.uniform(0, 1) + rng.uniform(
        0, np.pi
    )
    blue = np.zeros(shape, np.float32)
    brown = np.zeros(shape, np.float32)
    out = np.zeros(shape, np.float32)
    positive = rng.uniform(0, 0.9) if style == "ihc" else 0.0
    long, vary = rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.3)
    rim_strength, clumps = rng.uniform(0, 0.8), rng.uniform(0.05, 0.5)
    faint = rng.uniform(0, 0.2)
    rough = rng.uniform(0.02, 0.12)
    for row, col in at:
        size = float(radius * np.exp(rng.normal(0, vary)))
        place = np.clip(np.array([row, col]) / side * 64, 0, 63).astype(np.intp)
        stamp = blob(
            rng,
            shape,
            (float(row), float(col)),
            size,
            elongation=float(np.exp(abs(rng.normal(0, long)))),
            angle=float(flow[place[0], place[1]] + rng.normal(0, 0.4)),
            roughness=rough,
        )
        if stamp is None:
            continue
        amount = np.exp(rng.normal(0, 0.35))
        if rng.random() < faint:  # above or below the focus: seen, but no object
            shade = np.clip(1.3 - stamp.level, 0, 1) * 0.25 * amount
            out[stamp.box] += shade.astype(np.float32)
            continue
        own = canvas.touch(stamp)
        rim = np.exp(-(((1 - stamp.level) * size / max(size * 0.1, 1.2)) ** 2))
        body = amount * (0.75 + rim_strength * rim)
        if size > 8:
            for _ in range(int(rng.integers(0, 3))):  # nucleoli take up the stain
                near = rng.normal(0, 0.3, 2) * size
                away = (stamp.along - near[0]) ** 2 + (stamp.across - near[1]) ** 2
                body += rng.uniform(0.2, 0.6) * np.exp(-away / (2 * (0.12 * size) ** 2))
        target = brown if rng.random() < positive else blue
        other = blue if target is brown else brown
        target[stamp.box][own] = body[own]
        other[stamp.box][own] = 0.0
    grain = optics.texture(rng, shape, max(radius * rng.uniform(0.2, 0.6), 2), 1.5)
    chromatin = np.clip(1 + np.float32(clumps) * grain, 0.15, 2.5)
    blur = float(np.clip(radius * rng.uniform(0.02, 0.09), 0.5, 2.5))
    blue = optics.blur(blue * chromatin, blur) + optics.blur(out, radius * 0.35)
    brown = optics.blur(brown * chromatin, blur)
    if style in ("violet", "gray") and rng.random() < 0.6:
        ground = 0.3 * optics.blur(
            _cytoplasm(rng, shape, at, radius * rng.uniform(1, 2.2)), 1
        )
    else:
        ground = _stroma(rng, shape, max(radius * 2, 25))
    if style in ("ihc", "violet"):
        ground *= np.float32(rng.uniform(0.1, 0.7))
    strength = rng.uniform(0.6, 1.6)
    main = VIOLET if style == "violet" else HEMATOXYLIN
    back = {"he": EOSIN, "ihc": HEMATOXYLIN, "violet": VIOLET, "gray": EOSIN}[
        str(style)
    ]
    density = (
        (strength * blue)[..., None] * _stain(rng, main)
        + (strength * brown)[..., None] * _stain(rng, BROWN)
        + (rng.uniform(0.3, 1.0) * ground * (1 - 0.6 * np.clip(blue, 0, 1)))[..., None]
        * _stain(rng, back)
    )
    lamp = np.asarray(np.clip(rng.normal((0.95, 0.94, 0.95), 0.03), 0.8, 1), np.float32)
    light = lamp * np.exp(-density)
    if rng.random() < 0.4:
        light *= optics.illumination(rng, shape, rng.uniform(0.02, 0.2))[..., None]
    light += rng.normal(0, 1, light.shape).astype(np.float32) * np.float32(
        rng.uniform(0.002, 0.025)
    )
    if style == "gray":
        gray = optics.expose(rng, light.mean(2))
        return rendering.finish(rng, rendering.to_uint8(rng, gray)), clean(
            canvas.labels
        )
    rgb = (np.clip(light, 0, 1) * 255).astype(np.uint8)
    return rendering.finish(rng, rgb), clean(canvas.labels)
