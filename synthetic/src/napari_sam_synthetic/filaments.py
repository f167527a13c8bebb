"""Long curved tubes that cross: fibres, hyphae, axons, worms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import Points, clean

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels

STEP = 0.6
"""Distance between samples of a tube in pixels: below 1, so none is missed."""


def path(rng: Generator, side: int, length: float, stiffness: float) -> Points:
    """Return a smooth curve, sampled every :data:`STEP` pixels.

    Parameters
    ----------
    rng : numpy Generator
    side : int
        The curve passes near a random point of a square image of this side.
    length : float
        In pixels.
    stiffness : float
        Distance in pixels over which the direction changes by about a radian.

    Returns
    -------
    float array (N, 2)
        Rows and columns.
    """
    count = max(int(length / STEP), 4)
    knots = max(int(length / max(stiffness * 0.7, 8)), 1) + 2
    turns = np.cumsum(rng.normal(0, 0.7, knots)) + rng.uniform(0, 2 * np.pi)
    angle = np.interp(np.linspace(0, knots - 1, count), np.arange(knots), turns)
    width = max(int(stiffness * 0.7 / STEP), 1)
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(angle, (width // 2, width - 1 - width // 2), mode="edge")
    angle = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    curve = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], 1) * STEP, 0)
    anchor = curve[int(rng.uniform(0, count))]
    return np.asarray(curve - anchor + rng.uniform(0, side, 2), np.float64)


def tube(
    curve: Points, radius: npt.NDArray[np.float64], side: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatImage, FloatImage]:
    """Return the pixels of a tube with their place in it.

    Parameters
    ----------
    curve : float array (N, 2)
        Its middle line.
    radius : float array (N,)
        In pixels.
    side : int
        Side of the image.

    Returns
    -------
    rows, cols : int arrays (M,)
        Pixels; one may occur several times.
    along : float32 array (M,)
        Pixels from the start.
    across : float32 array (M,)
        -1 to 1 from one flank to the other.
    """
    ahead = np.gradient(curve, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    normal = np.stack([ahead[:, 1], -ahead[:, 0]], 1)
    # the outer flank of a bend is longer than the middle line: sample it densely
    offsets = np.linspace(-1, 1, int(np.ceil(2 * radius.max() / STEP)) + 2)
    fine = np.linspace(0, len(curve) - 1, int(len(curve) * 1.4))
    each = np.arange(len(curve))
    middle = np.stack([np.interp(fine, each, curve[:, i]) for i in (0, 1)], 1)
    side_step = np.stack(
        [np.interp(fine, each, normal[:, i] * radius) for i in (0, 1)], 1
    )
    at = middle[:, None] + offsets[None, :, None] * side_step[:, None]
    pixel = np.rint(at).astype(np.intp)
    inside = ((pixel >= 0) & (pixel < side)).all(2)
    along = np.broadcast_to(fine[:, None] * STEP, inside.shape)[inside]
    across = np.broadcast_to(offsets[None], inside.shape)[inside]
    rows, cols = pixel[inside].T
    return rows, cols, along.astype(np.float32), across.astype(np.float32)


def _profile(
    rng: Generator, look: str, along: FloatImage, across: FloatImage, width: float
) -> FloatImage:
    """Return light or thickness inside a tube, about 0 to 1."""
    body = np.sqrt(np.maximum(1 - across**2, 0))
    if look == "hollow":
        rim = np.exp(-(((1 - np.abs(across)) * width / 2 / max(width * 0.1, 1.2)) ** 2))
        body = 0.25 * body + rim
    if rng.random() < 0.5:  # septa, bands, beads
        period = width * rng.uniform(1, 7)
        wave = np.cos(2 * np.pi * along / period + rng.uniform(0, 6) + 0.4 * across)
        sharp = rng.choice([1.0, 12.0])
        body = body * (
            1 + rng.uniform(-0.5, 0.4) * np.abs(wave) ** sharp * np.sign(wave)
        )
    return np.asarray(body, np.float32)


def filaments(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw crossing tubes; a label is what is visible of one.

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
    shape = (side, side)
    width = float(np.exp(rng.uniform(np.log(5), np.log(32))))
    are_worms = rng.random() < 0.35
    stiffness = width * rng.uniform(3, 20)
    cover = rng.uniform(0.04, 0.5)
    look = str(rng.choice(["solid", "hollow"], p=[0.7, 0.3]))
    picture = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.int32)
    vary = rng.uniform(0, 0.35)
    drawn, number = 0.0, 0
    while drawn < cover * side**2 and number < 60:
        number += 1
        own = max(width * np.exp(rng.normal(0, vary)), 4.0)
        length = own * rng.uniform(6, 16) if are_worms else side * rng.uniform(0.2, 1.6)
        curve = path(rng, side, length, stiffness)
        place = np.linspace(0, 1, len(curve))
        radius = np.full(len(curve), own / 2)
        ends = own / length * (4 if are_worms else 0.6)
        radius *= np.sqrt(np.clip(np.minimum(place, 1 - place) / ends, 0.02, 1))
        rows, cols, along, across = tube(curve, radius, side)
        if not len(rows):
            continue
        bright = np.exp(rng.normal(0, 0.25))
        picture[rows, cols] = bright * _profile(rng, look, along, across, own)
        labels[rows, cols] = number
        drawn += length * own
    grain = optics.texture(rng, shape, max(width / 2, 3), 1.8)
    picture *= np.clip(1 + np.float32(rng.uniform(0.02, 0.25)) * grain, 0.1, 3)
    seen = optics.blur(picture, float(np.clip(width * rng.uniform(0.04, 0.14), 0.6, 3)))
    labels = clean(labels)
    if rng.random() < 0.45:
        if rng.random() < 0.4:  # others, out of focus
            behind = np.rot90(picture, int(rng.integers(1, 4)))
            seen += np.float32(rng.uniform(0.1, 0.4)) * optics.blur(
                behind, width * rng.uniform(0.5, 2)
            )
        return rendering.fluorescence(rng, seen), labels
    if rng.random() < 0.25:  # absorbs light
        return rendering.transmitted(rng, -seen, rng.uniform(0.15, 0.45)), labels
    return rendering.see_through(rng, seen, width, 0.45), labels
