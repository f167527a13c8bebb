"""From an ideal picture of a specimen to what a camera records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.random import Generator

    from napari_sam_synthetic.shapes import FloatImage


def blur(image: npt.NDArray[np.floating], sigma: float) -> FloatImage:
    """Blur with a Gaussian; wide ones on a coarser grid, which is much faster.

    Parameters
    ----------
    image : float array (H, W)
    sigma : float
        Standard deviation in pixels; 0 copies.

    Returns
    -------
    float32 array (H, W)
    """
    image = image.astype(np.float32)
    if sigma < 0.2:
        return image
    step = int(sigma / 2.5)
    if step < 2:
        out: FloatImage = ndimage.gaussian_filter(image, sigma, truncate=3)
        return out
    rows, cols = image.shape
    coarse = reduce(image, step)
    # block means already blur a little: variance (step² - 1) / 12
    rest = np.sqrt(max(sigma**2 - (step**2 - 1) / 12, 0.1)) / step
    coarse = ndimage.gaussian_filter(coarse, rest, truncate=3)
    return enlarge(coarse, step)[:rows, :cols]


def reduce(fine: FloatImage, step: int) -> FloatImage:
    """Return the means of blocks, which `enlarge` puts back where they were.

    Parameters
    ----------
    fine : float array (H, W, ...)
    step : int
        Side of the blocks; the last ones repeat the edge.

    Returns
    -------
    float32 array (ceil(H / step), ceil(W / step), ...)
    """
    rows, cols, *rest = fine.shape
    beyond = [(0, -rows % step), (0, -cols % step), *[(0, 0)] * len(rest)]
    padded = np.pad(fine, beyond, mode="edge")
    high, wide = padded.shape[0] // step, padded.shape[1] // step
    blocks = padded.reshape(high, step, wide, step, *rest)
    return np.asarray(blocks.mean((1, 3)), np.float32)


def enlarge(coarse: FloatImage, step: int) -> FloatImage:
    """Interpolate linearly onto a grid ``step`` times as fine.

    Parameters
    ----------
    coarse : float array (h, w)
    step : int

    Returns
    -------
    float32 array (h * step, w * step)
    """
    out = coarse
    for axis in (0, 1):
        size = out.shape[axis]
        at = (np.arange(size * step, dtype=np.float32) + 0.5) / step - 0.5
        at = np.clip(at, 0, size - 1)
        low = np.minimum(at.astype(np.int32), max(size - 2, 0))
        part = (at - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None]
        high = np.minimum(low + 1, size - 1)
        out = out.take(low, axis) * (1 - part) + out.take(high, axis) * part
    return out.astype(np.float32)


def texture(
    rng: Generator, shape: tuple[int, int], scale: float, slope: float = 2.0
) -> FloatImage:
    """Return a random field with a power-law spectrum below a cut.

    Parameters
    ----------
    rng : numpy Generator
    shape : (int, int)
        Rows and columns.
    scale : float
        Size of the largest structures in pixels.
    slope : float
        How fast finer structures fade: 0 is white noise, 2 cloudy, 4 smooth.

    Returns
    -------
    float32 array (H, W)
        Mean 0, standard deviation 1.
    """
    step = int(scale / 8) if slope >= 3 else 1
    if step > 1:
        small = (-(-shape[0] // step) + 2, -(-shape[1] // step) + 2)
        return _standard(
            enlarge(texture(rng, small, scale / step, slope), step)[
                : shape[0], : shape[1]
            ]
        )
    rows, cols = (fft.next_fast_len(n, real=True) for n in shape)
    noise = rng.standard_normal((rows, cols), dtype=np.float32)
    frequency = np.hypot(
        fft.fftfreq(rows).astype(np.float32)[:, None],
        fft.rfftfreq(cols).astype(np.float32)[None],
    )
    gain = (frequency**2 + np.float32(1 / scale) ** 2) ** np.float32(-slope / 2)
    field = fft.irfft2(fft.rfft2(noise) * gain, s=(rows, cols))
    return _standard(field[: shape[0], : shape[1]])


def _standard(field: FloatImage) -> FloatImage:
    spread = float(field.std())
    return np.asarray((field - field.mean()) / (spread or 1.0), np.float32)


def illumination(rng: Generator, shape: tuple[int, int], depth: float) -> FloatImage:
    """Return uneven light: an off-center fall-off and a slow drift.

    Parameters
    ----------
    rng : numpy Generator
    shape : (int, int)
    depth : float
        How much darker the dark parts are, 0 to 1.

    Returns
    -------
    float32 array (H, W)
        At most 1.
    """
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    cols = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    r0, c0 = rng.uniform(-0.6, 0.6, 2)
    fall = ((rows - r0) ** 2 + (cols - c0) ** 2) / 4
    a, b = rng.normal(0, 0.3, 2)
    field = fall + a * rows + b * cols
    field = field - field.min()
    return np.asarray(1 - depth * field / max(float(field.max()), 1e-3), np.float32)


def phase_contrast(
    thickness: npt.NDArray[np.floating], halo: float, shade_off: float
) -> FloatImage:
    """Return positive phase contrast of a thin object: dark, with a bright halo.

    The phase ring also lets through a little of the light that the specimen
    diffracted by small angles, so what is seen is the phase minus a wide blur
    of itself (Yin, Kanade and Chen, "Understanding the phase contrast optics to
    restore artifact-free microscopy images", Medical Image Analysis 2012).

    Parameters
    ----------
    thickness : float array (H, W)
        Optical path, about 0 to 1.
    halo : float
        Width of the halo in pixels.
    shade_off : float
        How much of the blur is subtracted: 0 none, 1 all.

    Returns
    -------
    float32 array (H, W)
        0 far from any object, negative inside, positive in the halo.
    """
    wide = 0.6 * blur(thickness, halo) + 0.4 * blur(thickness, halo * 2.5)
    return np.float32(shade_off) * wide - thickness.astype(np.float32)


def relief(thickness: npt.NDArray[np.floating], angle: float) -> FloatImage:
    """Return differential interference contrast: the slope along a direction.

    Parameters
    ----------
    thickness : float array (H, W)
    angle : float
        Shear direction in radians.

    Returns
    -------
    float32 array (H, W)
        Positive on one flank, negative on the other.
    """
    down, right = np.gradient(thickness.astype(np.float32))
    return np.asarray(np.cos(angle) * right + np.sin(angle) * down, np.float32)


def expose(
    rng: Generator,
    signal: npt.NDArray[np.floating],
    *,
    photons: float | None = None,
    dark: bool = False,
) -> FloatImage:
    """Record light with a camera: uneven field, shot and read noise, offset.

    Parameters
    ----------
    rng : numpy Generator
    signal : float array (H, W)
        Light, about 0 to 1; negative is cut.
    photons : float, optional
        Electrons at signal 1; random if None.
    dark : bool
        Fluorescence: sometimes very few photons.

    Returns
    -------
    float32 array (H, W)
        In units of the signal.
    """
    if photons is None:
        photons = float(np.exp(rng.uniform(np.log(40 if dark else 250), np.log(4000))))
    light = np.maximum(signal, 0).astype(np.float32)
    if rng.random() < 0.6:
        light *= illumination(rng, signal.shape[:2], rng.uniform(0.05, 0.5))
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    if rng.random() < 0.2:
        # resampled or denoised afterwards: the grain is coarser
        noise = blur(noise, rng.uniform(0.5, 1.0)) * 2
    read = rng.uniform(0.002, 0.02)
    deviation = np.sqrt(light / np.float32(photons) + np.float32(read**2))
    return np.asarray(light + deviation * noise, np.float32)
