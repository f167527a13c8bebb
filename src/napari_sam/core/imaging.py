"""From pixels of any type to the 8-bit RGB plane that a model sees.

Two ways lead there.  :func:`to_rgb` stretches the plane between two percentiles
of its own values, so the result depends on nothing but the pixels.
:func:`compose` reproduces what is on screen: contrast limits, gamma, colormaps
and blending of all visible channels.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_sam.types import BoolArray, RGBArray

PREPROCESSING_VERSION = 1
"""Part of every embedding's key: raise it when the same pixels give other RGB."""

MAX_CHANNELS = 64
"""More than this is taken for a stack passed as one plane."""

_SAMPLES = 1 << 18
"""Percentiles of larger planes come from about this many evenly spaced pixels."""

_LUT_SIZE = 256

_TWO_GRAYS = (38, 204)
_GRAIN = 7.65
"""Grays of an image of two values, and the standard deviation of grain on them.

Models learnt from images with texture: of a click on a flat white blob between flat
black they make a few pixels of it.  Of 54 blobs in eight masks, IoU with the blob on
average and at worst: black and white 0.94 and 0.06, these grays 0.96 and 0.64; twice
the grain, or half the contrast, is worse.
"""

Blending = Literal[
    "additive",
    "translucent",
    "translucent_no_depth",
    "opaque",
    "minimum",
    "multiplicative",
]


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One visible layer, as displayed.

    Parameters
    ----------
    data : array (H, W) or (H, W, 3 | 4)
        Scalar values, or colors: floating point in 0..1, integers over the
        range of their type.
    contrast_limits : tuple of two float
        Values shown as the first and last color; ignored for colors.
    gamma : float
        Exponent applied between the contrast limits; ignored for colors.
    lut : float array (N, 3 | 4), optional
        Colors in 0..1, evenly spaced and interpolated; gray without.
    opacity : float
        Between 0 and 1.
    blending : str
        napari's blending mode.
    covered : bool array (H, W), optional
        Where the layer has pixels; everywhere by default.
    """

    data: npt.NDArray[Any]
    contrast_limits: tuple[float, float] = (0.0, 1.0)
    gamma: float = 1.0
    lut: npt.NDArray[np.floating[Any]] | None = None
    opacity: float = 1.0
    blending: Blending = "translucent"
    covered: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class Tones:
    """Which values of a plane become which gray values, for all of its parts alike.

    Parameters
    ----------
    limits : tuple of (float, float)
        Of each channel, the values that become 0 and 255.
    is_two_valued : bool
        Whether the plane has these two values only.
    peak : float
        Of channels that are added up, the sum that becomes 255.
    """

    limits: tuple[tuple[float, float], ...] = ()
    is_two_valued: bool = False
    peak: float = 255.0


PERCENTILES = (0.1, 99.9)
"""Of the finite values, those that become 0 and 255."""


def to_rgb(
    plane: npt.ArrayLike,
    *,
    percentiles: tuple[float, float] = PERCENTILES,
    tones: Tones | None = None,
) -> RGBArray:
    """Return an 8-bit RGB image of a plane of any real type.

    Parameters
    ----------
    plane : array (H, W) or (H, W, C)
        Boolean, integer or floating-point pixels.  NaN and infinite values
        count as background, the low end.
    percentiles : tuple of two float
        Percentiles of the finite values that become 0 and 255.  In planes of
        more than 2**18 pixels they are estimated from an even subset.
    tones : Tones, optional
        Those of the plane that this is a part of, from :func:`to_rgb_with_tones`,
        instead of its own.

    Returns
    -------
    uint8 array (H, W, 3)
        A new array: what is hashed and encoded must not change meanwhile.

    Raises
    ------
    ImageError
        If the plane has no pixels, is not two-dimensional with an optional
        channel axis of at most 64, looks like a stack of planes, or is of a type
        that has no gray values.

    Notes
    -----
    The number of channels decides:

    * one, or no channel axis: gray;
    * three or four of type uint8: RGB or RGBA, unchanged, without the alpha;
    * two or three: red, green and blue, each stretched by itself;
    * four of another type: the same of RGBA, without the alpha;
    * more: each is stretched by itself and given one of as many hues around
      the color wheel; they are added up, and dimmed together where the sum
      would saturate.

    A plane whose percentiles coincide is stretched between its extremes; a
    constant one is black.  A gray plane of two values, such as a mask, becomes dark
    and light gray with a little grain, always the same: models make little of
    images without any texture.
    """
    return to_rgb_with_tones(plane, percentiles=percentiles, tones=tones)[0]


def to_rgb_with_tones(
    plane: npt.ArrayLike,
    *,
    percentiles: tuple[float, float] = PERCENTILES,
    tones: Tones | None = None,
) -> tuple[RGBArray, Tones]:
    """Return what `to_rgb` does, and the tones for other parts of the same plane."""
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles {percentiles} are not ordered within 0..100")
    pixels = _checked(np.asarray(plane))
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels > 4 and channels >= min(pixels.shape[:2]) and tones is None:
        # No picture has more channels than rows or columns; a stack of planes does.
        raise ImageError(
            f"The image has shape {pixels.shape}, which looks like a stack of"
            f" {pixels.shape[0]} planes; pass one of them, for example image[0]."
        )
    if channels in (3, 4) and pixels.dtype == np.uint8:
        return pixels[..., :3].copy(order="C"), Tones()
    if channels == 4:
        channels = 3
    planes = [pixels if pixels.ndim == 2 else pixels[..., c] for c in range(channels)]
    limits = None if tones is None else tones.limits
    if limits is None or len(limits) != channels:
        limits, tones = tuple(_limits(p, percentiles) for p in planes), None
    grays = map(_stretched, planes, limits)
    if channels == 1:
        gray = next(grays)
        is_two_valued = _is_two_valued(gray) if tones is None else tones.is_two_valued
        shown = _gray_to_rgb(_with_grain(gray) if is_two_valued else gray)
        return shown, Tones(limits, is_two_valued)
    if channels <= 3:
        rgb = np.zeros((*pixels.shape[:2], 3), np.uint8)
        for c, gray in enumerate(grays):
            rgb[..., c] = gray
        return rgb, Tones(limits)
    total = _hues_added(grays, channels)
    peak = _peak(total, percentiles) if tones is None else tones.peak
    if peak > 255:
        total *= np.float32(255 / peak)
    total += np.float32(0.5)
    added = np.clip(total, 0, 255, out=total).astype(np.uint8)
    return added, Tones(limits, peak=peak)


def as_seen(pixels: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return what is given of a plane, pixel by pixel of the plane.

    Parameters
    ----------
    pixels : array (h, w) or (h, w, C)
        The plane, perhaps of a coarser level of a pyramid.
    size : tuple of int
        Height and width of the plane at full resolution.

    Returns
    -------
    array of ``size``
        Each pixel of the plane is as the pixel that it is in.
    """
    rows, cols = (
        np.arange(n) * have // n for n, have in zip(size, pixels.shape[:2], strict=True)
    )
    seen: npt.NDArray[Any] = pixels[rows[:, None], cols]
    return seen


def compose(channels: Sequence[Channel]) -> RGBArray:
    """Return the 8-bit RGB image of layers on top of each other, as displayed.

    Parameters
    ----------
    channels : sequence of Channel
        Visible layers of the same height and width, lowest first, over black.

    Returns
    -------
    uint8 array (H, W, 3)

    Raises
    ------
    ImageError
        If there are no channels, their sizes differ, or one cannot be shown.
    """
    if not channels:
        raise ImageError("No image layer is visible; show at least one of them.")
    size = channels[0].data.shape[:2]
    canvas = np.zeros((*size, 3), np.float32)
    for i, channel in enumerate(channels):
        if channel.data.shape[:2] != size:
            raise ImageError(
                f"Visible images differ in size, {size} and"
                f" {channel.data.shape[:2]}; hide one of them."
            )
        color, alpha = _displayed(channel)
        blended = _blended(canvas, color, alpha, channel.blending, is_lowest=i == 0)
        if channel.covered is not None:
            blended = np.where(channel.covered[..., None], blended, canvas)
        canvas = blended
    canvas = np.clip(canvas, 0.0, 1.0)
    return (canvas * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _checked(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the pixels in native byte order, or raise `ImageError`."""
    if pixels.dtype.kind == "c":
        raise ImageError(
            f"The image holds complex numbers ({pixels.dtype}), which have no"
            " brightness; convert it first, for example with abs()."
        )
    if pixels.dtype.kind not in "biuf":
        raise ImageError(
            f"The image has the type {pixels.dtype}, which holds no pixel values;"
            " convert it to integers or floating-point numbers first."
        )
    if pixels.ndim not in (2, 3):
        raise ImageError(
            f"The image has shape {pixels.shape}; pass one plane, (rows, columns)"
            " or (rows, columns, channels)."
        )
    if pixels.size == 0:
        raise ImageError(
            f"The image has shape {pixels.shape} and so no pixels; choose another."
        )
    if pixels.ndim == 3 and pixels.shape[2] > MAX_CHANNELS:
        raise ImageError(
            f"The image has shape {pixels.shape}, which would be"
            f" {pixels.shape[2]} channels; pass one plane, (rows, columns) or"
            f" (rows, columns, channels) with at most {MAX_CHANNELS} channels."
        )
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _limits(
    values: npt.NDArray[Any], percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Return the finite values that become black and white; equal if constant."""
    if values.dtype == np.bool_:
        return 0.0, 1.0
    # An odd step never falls in step with interlaced rows or a Bayer pattern.
    step = int(np.ceil(np.sqrt(max(1.0, values.size / _SAMPLES)))) | 1
    sample = values[::step, ::step] if values.size > _SAMPLES else values
    for subset in (sample, values):
        finite = subset[np.isfinite(subset)] if subset.dtype.kind == "f" else subset
        if finite.size == 0:
            continue
        # Interpolating between two values could overflow their type.
        low, high = map(float, np.percentile(finite, percentiles, method="nearest"))
        if low < high:
            return low, high
    # Few bright pixels on an even background: percentiles see only the latter.
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if finite.size == 0:
        return 0.0, 0.0
    return float(finite.min()), float(finite.max())


def _unit(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[Any]:
    """Return the values with ``low`` mapped to 0 and ``high`` to 1, clipped.

    In float32 where that resolves the values, else in float64.
    """
    span = high - low
    is_narrow = values.dtype.kind in "biu" and values.dtype.itemsize <= 2
    is_tame = values.dtype in (np.float16, np.float32) and 1e-30 < span < 1e30
    dtype = np.float32 if is_narrow or is_tame else np.float64
    unit: npt.NDArray[Any]
    # longdouble beyond the range of float64 becomes infinite: background.
    with np.errstate(over="ignore"):
        unit = values.astype(dtype)
    if values.dtype.kind == "f":
        unit[~np.isfinite(unit)] = low
    if not np.isfinite(span):
        unit, low, high = unit * 0.5, low * 0.5, high * 0.5
    np.clip(unit, low, high, out=unit)
    unit -= dtype(low)
    # A division: the reciprocal of a subnormal span would overflow.
    unit /= dtype(high - low)
    return np.clip(unit, 0.0, 1.0, out=unit)


def _stretched(
    values: npt.NDArray[Any], limits: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Return (H, W) values as uint8, stretched between their limits."""
    low, high = limits
    if low == high:
        return np.zeros(values.shape, np.uint8)
    unit = _unit(values, low, high)
    unit *= unit.dtype.type(255)
    unit += unit.dtype.type(0.5)
    return unit.astype(np.uint8)


def _is_two_valued(gray: npt.NDArray[np.uint8]) -> bool:
    is_high = gray == 255
    return bool(is_high.any() and not is_high.all() and not (gray[~is_high] != 0).any())


def _with_grain(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give an image of two values the texture that a model needs."""
    is_high = gray == 255
    noise = np.random.default_rng(0).normal(0, _GRAIN, (256, 256))
    tile = np.clip(np.rint(noise), -3 * _GRAIN, 3 * _GRAIN).astype(np.int16)
    rows, cols = (np.arange(n) % 256 for n in gray.shape)
    levels = np.where(is_high, *map(np.int16, reversed(_TWO_GRAYS)))
    textured: npt.NDArray[np.uint8] = (levels + tile[rows[:, None], cols]).astype(
        np.uint8
    )
    return textured


def _gray_to_rgb(gray: npt.NDArray[np.uint8]) -> RGBArray:
    rgb = np.empty((*gray.shape, 3), np.uint8)
    # Three strided copies are five times faster than one broadcast.
    for c in range(3):
        rgb[..., c] = gray
    return rgb


def _hues_added(
    grays: Iterable[npt.NDArray[np.uint8]], count: int
) -> npt.NDArray[np.float32]:
    """Return channels (H, W) with a hue for each, added up as (H, W, 3)."""
    total: npt.NDArray[np.float32] | None = None
    for c, gray in enumerate(grays):
        if total is None:
            total = np.zeros((*gray.shape, 3), np.float32)
        for i, weight in enumerate(colorsys.hsv_to_rgb(c / count, 1.0, 1.0)):
            if weight > 0:
                total[..., i] += gray.astype(np.float32) * np.float32(weight)
    return np.zeros((0, 0, 3), np.float32) if total is None else total


def _peak(total: npt.NDArray[np.float32], percentiles: tuple[float, float]) -> float:
    """Return the sum that becomes 255."""
    return _limits(total.reshape(total.shape[0], -1), percentiles)[1]


def _displayed(
    channel: Channel,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | np.float32]:
    """Return color (H, W, 3) and alpha (H, W, 1) or scalar, both in 0..1."""
    data = _checked(channel.data)
    if data.ndim == 2:
        table = _table(channel.lut)
        colors = table[_indices(data, channel.contrast_limits, channel.gamma)]
        opaque = bool((table[:, 3] == 1).all())
    elif data.shape[2] in (3, 4):
        whole = float(np.iinfo(data.dtype).max) if data.dtype.kind in "iu" else 1.0
        colors = _unit(data, 0.0, whole).astype(np.float32)
        opaque = data.shape[2] == 3
    else:
        raise ImageError(
            f"A color image has shape {data.shape}; its last axis must hold"
            " 3 or 4 channels."
        )
    opacity = np.float32(channel.opacity)
    if opaque:
        return colors[..., :3], opacity
    return colors[..., :3], colors[..., 3:] * opacity


def _indices(
    data: npt.NDArray[Any], limits: tuple[float, float], gamma: float
) -> npt.NDArray[np.intp]:
    """Return for every pixel the entry of the color table."""
    low, high = float(limits[0]), float(limits[1])
    if low >= high:
        return np.zeros(data.shape, np.intp)
    unit = _unit(data, low, high)
    if gamma != 1:
        unit **= unit.dtype.type(gamma)
    unit *= unit.dtype.type(_LUT_SIZE - 1)
    unit += unit.dtype.type(0.5)
    return unit.astype(np.intp)


def _table(lut: npt.NDArray[np.floating[Any]] | None) -> npt.NDArray[np.float32]:
    """Return a color table (256, 4); gray for ``None``."""
    positions = np.linspace(0.0, 1.0, _LUT_SIZE)
    table = np.ones((_LUT_SIZE, 4), np.float32)
    if lut is None:
        table[:, :3] = positions[:, None]
        return table
    colors = np.asarray(lut, dtype=np.float64)
    if colors.ndim != 2 or colors.shape[1] not in (3, 4) or len(colors) == 0:
        raise ValueError(f"lut has shape {colors.shape}, not (N, 3) or (N, 4)")
    knots = np.linspace(0.0, 1.0, len(colors))
    for c in range(colors.shape[1]):
        table[:, c] = np.interp(positions, knots, colors[:, c])
    return table


def _blended(
    below: npt.NDArray[np.float32],
    color: npt.NDArray[np.float32],
    alpha: npt.NDArray[np.float32] | np.float32,
    blending: Blending,
    *,
    is_lowest: bool,
) -> npt.NDArray[np.float32]:
    """Return a color over what is below it, by napari's rule for the mode.

    napari lays the lowest layer over the canvas, here black, whatever its
    mode, except that ``minimum`` ignores opacity.
    """
    if blending not in get_args(Blending):
        raise ValueError(f"blending {blending!r} is none of {get_args(Blending)}")
    if blending == "minimum":
        return color if is_lowest else np.minimum(below, color)
    if is_lowest or blending == "additive":
        return below + color * alpha
    if blending == "opaque":
        return color
    if blending == "multiplicative":
        return below * color
    return below * (1 - alpha) + color * alpha
