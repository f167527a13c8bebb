"""Changes of intensity: what other microscopes, stains and cameras would give.

All of them work on float images in 0 … 1 and leave geometry alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from napari_sam.types import FloatArray


def augment(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Return the image (H, W, 3) as another instrument might have taken it."""
    is_gray = bool(np.ptp(image[::4, ::4], axis=2).max() < 0.03)
    if rng.random() < 0.08:
        image = 1 - image
    if rng.random() < 0.2:
        image = _recolored(rng, image, is_gray)
        is_gray = False
    if rng.random() < 0.2:
        image = ndimage.gaussian_filter(image, (s := rng.uniform(0.4, 2.2), s, 0))
    elif rng.random() < 0.1:
        soft = ndimage.gaussian_filter(image, (1.5, 1.5, 0))
        image = image + rng.uniform(0.3, 1.0) * (image - soft)
    if rng.random() < 0.25:
        image = image * _illumination(rng, image.shape[:2])
    if rng.random() < 0.7:
        image = _contrast(rng, image)
    if rng.random() < 0.35:
        image = image + _noise(rng, image, is_gray)
    if rng.random() < 0.1:
        image = _stretched(image)
    return np.clip(image, 0, 1).astype(np.float32, copy=False)


def _recolored(
    rng: np.random.Generator, image: FloatArray, is_gray: bool
) -> FloatArray:
    """Mix the channels, or show a gray image in one false color."""
    if is_gray:
        color = rng.uniform(0.0, 1.0, 3)
        return np.asarray(image * (color / color.max()), np.float32)
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray(image[..., rng.permutation(3)], np.float32)
    if kind == 1:
        gray = image @ rng.dirichlet(np.ones(3)).astype(np.float32)
        return np.repeat(gray[..., None], 3, axis=2)
    mix = np.eye(3) + rng.normal(0, 0.15, (3, 3))
    return np.asarray(image @ (mix / mix.sum(0, keepdims=True)), np.float32)


def _illumination(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Return a smooth factor around 1: a lamp that is not centerd."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    a, b, c, d = rng.normal(0, 0.2, 4)
    field = 1 + a * y + b * x + c * (y * y + x * x) + d * x * y
    return np.asarray(np.clip(field, 0.3, 2)[..., None], np.float32)


def _contrast(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Change gamma, gain and offset; sometimes leave little of the range."""
    image = np.clip(image, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.2:
        span = rng.uniform(0.12, 0.5)
        return image * np.float32(span) + np.float32(rng.uniform(0, 1 - span))
    gain, offset = np.exp(rng.normal(0, 0.25)), rng.normal(0, 0.06)
    return (image - 0.5) * np.float32(gain) + np.float32(0.5 * gain**0.5 + offset)


def _noise(rng: np.random.Generator, image: FloatArray, is_gray: bool) -> FloatArray:
    """Return camera noise: of reading and of counting, a little correlated."""
    shape = (*image.shape[:2], 1 if is_gray else 3)
    noise = rng.standard_normal(shape, np.float32)
    if rng.random() < 0.5:
        sigma = rng.uniform(0.4, 1.2)
        noise = ndimage.gaussian_filter(noise, (sigma, sigma, 0))
        noise /= noise.std() + 1e-6
    strength = np.exp(rng.uniform(np.log(0.008), np.log(0.1)))
    if rng.random() < 0.5:
        level = image.mean(axis=2, keepdims=True)
        noise = noise * np.sqrt(np.clip(level, 0.02, 1) * 2)
    return np.asarray(noise * strength, np.float32)


def _stretched(image: FloatArray) -> FloatArray:
    """Use the whole range, as automatic contrast does."""
    low, high = np.percentile(image[::4, ::4], (0.5, 99.5))
    return np.asarray((image - low) / max(high - low, 0.02), np.float32)
