"""How a recorded image is shown: contrast, color, file format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np

from napari_sam_synthetic import optics

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.random import Generator

    from napari_sam.types import RGBArray


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
    gray = np.clip((signal - low) / max(float(high - low), 1e-3), 0, 1)
    if rng.random() < 0.25:
        gray = gray ** np.float32(rng.uniform(0.6, 1.6))
    out = (gray * 255 + 0.5).astype(np.uint8)
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


def tint(rng: Generator, gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a look-up-table color on black, as exports of fluorescence have.

    Parameters
    ----------
    rng : numpy Generator
    gray : uint8 array (H, W)

    Returns
    -------
    uint8 array (H, W, 3)
    """
    colors = [(0, 1, 0), (1, 0, 0), (0.2, 0.3, 1), (1, 0, 1), (0, 1, 1), (1, 0.7, 0)]
    color = np.array(colors[rng.integers(len(colors))], np.float32)
    share = np.asarray(gray, np.float32)[..., None] / 255
    white = 0.2 * share if rng.random() < 0.5 else 0.0  # lighter where bright
    rgb = 255 * share * np.minimum(color * (1 - white) + white, 1)
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
        How often it is shown in a color.

    Returns
    -------
    uint8 array (H, W, 3)
    """
    light = signal.astype(np.float32)
    top = float(np.percentile(light[::4, ::4], 99.5)) or 1.0
    light = light / np.float32(max(top, 1e-3))
    if rng.random() < 0.6:
        light = light + np.float32(rng.uniform(0.05, 0.5)) * optics.blur(
            light, rng.uniform(10, 45)
        )
    light += np.float32(rng.uniform(0, 0.15))
    gray = to_uint8(rng, optics.expose(rng, light, dark=True))
    if rng.random() < tinted:
        return finish(rng, tint(rng, gray))
    if rng.random() < 0.04:  # shown inverted, as in many figures
        gray = (255 - gray).astype(np.uint8)
    return finish(rng, gray)


def transmitted(
    rng: Generator, contrast: npt.NDArray[np.floating], strength: float | None = None
) -> RGBArray:
    """Record phase contrast, brightfield or DIC around a gray background.

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
    # the same strength must mean the same for sparse and for dense specimens
    some = np.abs(contrast[::2, ::2])
    scale = np.percentile(some[some >= 0.1 * some.max()], 80)
    contrast = contrast / np.float32(max(float(scale), 1e-3))
    if strength is None:
        strength = float(rng.uniform(0.15, 0.5))
    light = np.float32(0.5) + np.float32(strength) * contrast.astype(np.float32)
    # dust and medium are never quite even
    light += np.float32(rng.uniform(0, 0.015)) * optics.texture(
        rng, shape, rng.uniform(20, 120), 3
    )
    light += np.float32(rng.uniform(0, 0.012)) * optics.texture(
        rng, shape, rng.uniform(3, 8), 2
    )
    return finish(rng, to_uint8(rng, optics.expose(rng, light)))


def see_through(
    rng: Generator,
    thickness: npt.NDArray[np.floating],
    size: float,
    phase: float = 0.6,
) -> RGBArray:
    """Show a transparent specimen in phase contrast, relief or brightfield.

    Parameters
    ----------
    rng : numpy Generator
    thickness : float array (H, W)
        Optical path, about 0 to 1, already blurred by the optics.
    size : float
        Short diameter of an object in pixels; the halo follows it.
    phase : float
        How often phase contrast is chosen.

    Returns
    -------
    uint8 array (H, W, 3)
    """
    way = rng.random()
    if way < phase:
        halo = size * rng.uniform(0.4, 1.6)
        contrast = optics.phase_contrast(thickness, halo, rng.uniform(0.3, 0.9))
        if rng.random() < 0.08:
            contrast = -contrast  # negative phase contrast
        return transmitted(rng, contrast, rng.uniform(0.06, 0.55))
    if way < phase + 0.55 * (1 - phase):
        slope = optics.relief(thickness, rng.uniform(0, 2 * np.pi)) * size / 3
        return transmitted(rng, slope - rng.uniform(-0.1, 0.3) * thickness)
    # slightly out of focus: a dark outline around a lighter body, or the reverse
    near, far = rng.uniform(0.5, 2), rng.uniform(3, max(size / 8, 4))
    ring = optics.blur(thickness, near) - optics.blur(thickness, far)
    sign = rng.choice([-1.0, 1.0])
    return transmitted(rng, sign * 2 * ring - rng.uniform(0, 0.3) * thickness)


def two_colors(
    rng: Generator, cells: npt.NDArray[np.floating], nuclei: npt.NDArray[np.floating]
) -> RGBArray:
    """Record two channels and show them in two colors.

    Parameters
    ----------
    rng : numpy Generator
    cells : float array (H, W)
        Light of walls or cytoplasm.
    nuclei : float array (H, W)

    Returns
    -------
    uint8 array (H, W, 3)
    """
    colors = np.array(
        [[1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 0]], np.float32
    )
    color = colors[rng.integers(len(colors))]
    other = np.array(
        [[0.1, 0.2, 1], [0, 0.4, 1], [0.9, 0, 0.9], [0, 1, 0]], np.float32
    )[rng.integers(4)]
    pair = []
    for light in (cells, nuclei):
        top = max(float(np.percentile(light[::4, ::4], 99.7)), 1e-3)
        pair.append(
            np.asarray(
                to_uint8(rng, optics.expose(rng, light / top, dark=True)),
                np.float32,
            )
        )
    rgb = pair[0][..., None] * color + pair[1][..., None] * other
    return finish(rng, np.clip(rgb, 0, 255).astype(np.uint8))
