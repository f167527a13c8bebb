"""What things are covered with, and the light on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_sam_synthetic.optics import blur, illumination, texture

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import BoolArray, RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Stamp


def material(rng: Generator, shape: tuple[int, int]) -> FloatImage:
    """Return a colored surface, float32 (H, W, 3) around 0 to 1."""
    base = rng.uniform(0.05, 0.95, 3)
    if rng.random() < 0.6:  # most things are not vivid
        base = base.mean() + (base - base.mean()) * rng.uniform(0.1, 0.5)
    other = np.clip(base + rng.normal(0, 0.2, 3), 0, 1)
    pattern = _pattern(rng, shape)[..., None]
    mixed = base + (other - base) * pattern
    return np.asarray(mixed, np.float32)


def _pattern(rng: Generator, shape: tuple[int, int]) -> FloatImage:
    """Return how much of the second color there is, about 0 to 1."""
    kind = rng.random()
    if kind < 0.25:
        return np.zeros(shape, np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    if kind < 0.4:
        return np.asarray((along - along.min()) / (np.ptp(along) + 1), np.float32)
    if kind < 0.55:
        period = rng.uniform(4, 30)
        wave = np.sin(along * np.float32(2 * np.pi / period))
        return np.asarray(0.5 + 0.5 * wave, np.float32)
    field = texture(rng, shape, float(rng.uniform(1, 20)), float(rng.uniform(0.5, 3)))
    if kind < 0.7:
        return np.asarray(field > rng.uniform(0.2, 1.2), np.float32)
    return np.asarray(0.5 + 0.3 * field, np.float32)


def shading(rng: Generator, stamp: Stamp, light: float) -> FloatImage:
    """Return a factor around 1: rounder things are darker away from the light."""
    depth = rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
    rows, cols = stamp.level.shape
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, cols, dtype=np.float32)[None]
    slope = x * np.float32(np.cos(light)) + y * np.float32(np.sin(light))
    rim = np.clip(stamp.level, 0, 1) ** 3
    return np.asarray(1 + depth * (0.6 * slope - 0.5 * rim), np.float32)


def cast_shadow(
    rng: Generator, image: FloatImage, stamp: Stamp, inside: BoolArray, light: float
) -> None:
    """Darken what lies behind a shape, on the side away from the light."""
    away = rng.uniform(0.03, 0.12) * max(inside.shape)
    shift = (-away * np.sin(light), -away * np.cos(light))
    shadow = ndimage.shift(inside.astype(np.float32), shift, order=0)
    shadow = blur(shadow, float(rng.uniform(0.5, 0.2 * away + 1)))
    image[stamp.box] *= 1 - np.float32(rng.uniform(0.2, 0.6)) * shadow[..., None]


def cover(
    rng: Generator,
    image: FloatImage,
    stamp: Stamp,
    where: BoolArray,
    light: float,
    piece: FloatImage | None = None,
) -> None:
    """Give some pixels of a shape a surface, in place: a material if none is given."""
    if piece is None:
        piece = material(rng, (where.shape[0], where.shape[1]))
    piece = piece * shading(rng, stamp, light)[..., None]
    image[stamp.box][where] = piece[where]


def photographed(rng: Generator, image: FloatImage) -> RGBArray:
    """Return a scene as a camera shows it: blurred, unevenly lit, noisy, maybe gray."""
    sharpness = rng.uniform(0.0, 1.4)
    image = np.stack([blur(image[..., c], sharpness) for c in range(3)], axis=2)
    image *= illumination(rng, image.shape[:2], float(rng.uniform(0, 0.4)))[..., None]
    image += rng.normal(0, rng.uniform(0.0, 0.03), image.shape)
    if rng.random() < 0.25:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)
