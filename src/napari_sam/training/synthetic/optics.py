"""From an ideal picture of a specimen to what a camera records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
from scipy import fft, ndimage

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.random import Generator

    from napari_sam.training.synthetic.shapes import FloatImage
    from napari_sam.types import RGBArray


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
    padded = np.pad(image, ((0, -rows % step), (0, -cols % step)), mode="edge")
    coarse = padded.reshape(
        padded.shape[0] // step, step, padded.shape[1] // step, step
    ).mean((1, 3))
    # block means already blur a little: variance (step² - 1) / 12
    rest = np.sqrt(max(sigma**2 - (step**2 - 1) / 12, 0.1)) / step
    coarse = ndimage.gaussian_filter(coarse, rest, truncate=3)
    return enlarge(coarse, step)[:rows, :cols]


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
    """Return uneven light: an off-centre fall-off and a slow drift.

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


def to_uint8(rng: Generator, signal: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Choose the black and white points as a user or a microscope would.

    Parameters
    ----------
    rng : numpy Generator
    signal : float array (H, W)

    Returns
    -------
    uint8 array (H, W)
    """
    cut = rng.choice([0.0, 0.1, 0.5, 1.5], 2)
    some = signal[:: max(signal.shape[0] // 200, 1), :: max(signal.shape[1] // 200, 1)]
    low, high = np.percentile(some, [cut[0], 100 - cut[1]])
    room = max(float(high - low), 1e-3)
    mode = rng.random()
    if mode < 0.3:  # offset below, head room above: less contrast than possible
        low -= room * rng.uniform(0, 0.8)
        high += room * rng.uniform(0, 0.8)
    grey = np.clip((signal - low) / max(float(high - low), 1e-3), 0, 1)
    if rng.random() < 0.25:
        grey = grey ** np.float32(rng.uniform(0.6, 1.6))
    out = (grey * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.05:
        step = int(rng.choice([4, 8, 12]))
        out = out // step * step
    return np.asarray(out, np.uint8)


def finish(rng: Generator, image: npt.NDArray[np.uint8]) -> RGBArray:
    """Return an RGB image as it would be read from a file.

    Parameters
    ----------
    rng : numpy Generator
    image : uint8 array (H, W) or (H, W, 3)

    Returns
    -------
    uint8 array (H, W, 3)
        Sometimes with the blocks of a JPEG.
    """
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if rng.random() < 0.12:
        quality = int(rng.integers(45, 92))
        data = iio.imwrite("<bytes>", rgb, extension=".jpg", quality=quality)
        rgb = np.asarray(iio.imread(data, extension=".jpg"))
    return np.ascontiguousarray(rgb)


def tint(rng: Generator, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a look-up-table colour on black, as exports of fluorescence have.

    Parameters
    ----------
    rng : numpy Generator
    grey : uint8 array (H, W)

    Returns
    -------
    uint8 array (H, W, 3)
    """
    colours = [(0, 1, 0), (1, 0, 0), (0.2, 0.3, 1), (1, 0, 1), (0, 1, 1), (1, 0.7, 0)]
    colour = np.array(colours[rng.integers(len(colours))], np.float32)
    share = np.asarray(grey, np.float32)[..., None] / 255
    white = 0.2 * share if rng.random() < 0.5 else 0.0  # lighter where bright
    rgb = 255 * share * np.minimum(colour * (1 - white) + white, 1)
    return np.asarray(rgb, np.uint8)


def fluorescence(
    rng: Generator, signal: npt.NDArray[np.floating], tinted: float = 0.12
) -> RGBArray:
    """Record a fluorescence image: haze, photons, camera, display.

    Parameters
    ----------
    rng : numpy Generator
    signal : float array (H, W)
        Light in focus, already blurred by the point spread function.
    tinted : float
        How often it is shown in a colour.

    Returns
    -------
    uint8 array (H, W, 3)
    """
    light = signal.astype(np.float32)
    top = float(np.percentile(light[::4, ::4], 99.5)) or 1.0
    light = light / np.float32(max(top, 1e-3))
    if rng.random() < 0.6:
        light = light + np.float32(rng.uniform(0.05, 0.5)) * blur(
            light, rng.uniform(10, 45)
        )
    light += np.float32(rng.uniform(0, 0.15))
    grey = to_uint8(rng, expose(rng, light, dark=True))
    if rng.random() < tinted:
        return finish(rng, tint(rng, grey))
    if rng.random() < 0.04:  # shown inverted, as in many figures
        grey = (255 - grey).astype(np.uint8)
    return finish(rng, grey)


def transmitted(
    rng: Generator, contrast: npt.NDArray[np.floating], strength: float | None = None
) -> RGBArray:
    """Record phase contrast, brightfield or DIC around a grey background.

    Parameters
    ----------
    rng : numpy Generator
    contrast : float array (H, W)
        0 is the background; about -1 to 1.
    strength : float, optional
        Modulation of the light by contrast 1; random if None.

    Returns
    -------
    uint8 array (H, W, 3)
    """
    shape = (contrast.shape[0], contrast.shape[1])
    if strength is None:
        strength = float(rng.uniform(0.15, 0.5))
    light = np.float32(0.5) + np.float32(strength) * contrast.astype(np.float32)
    # dust and medium are never quite even
    light += np.float32(rng.uniform(0, 0.015)) * texture(
        rng, shape, rng.uniform(20, 120), 3
    )
    light += np.float32(rng.uniform(0, 0.012)) * texture(
        rng, shape, rng.uniform(3, 8), 2
    )
    return finish(rng, to_uint8(rng, expose(rng, light)))
