"""Stained nuclei: slices through packed tissue, and cells on glass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import spatial

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import Canvas, Points, blob, clean

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels, Stamp


def pack(
    rng: Generator, count: int, extent: tuple[float, float, float], gap: float
) -> Points:
    """Return points in a box, pushed apart until few are nearer than ``gap``.

    Parameters
    ----------
    rng : numpy Generator
    count : int
    extent : (float, float, float)
        Size of the box; depth, rows, columns.
    gap : float
        Wanted distance between neighbors.

    Returns
    -------
    float array (count, 3)
    """
    points = rng.uniform(0, 1, (count, 3)) * extent
    for _ in range(8):
        pairs = spatial.cKDTree(points).query_pairs(gap, output_type="ndarray")
        if not len(pairs):
            break
        a, b = pairs.T
        away = points[a] - points[b]
        distance = np.maximum(np.linalg.norm(away, axis=1), 1e-6)
        push = away * (0.5 * (gap - distance) / distance)[:, None]
        for axis in range(3):
            points[:, axis] += 0.7 * (
                np.bincount(a, push[:, axis], count)
                - np.bincount(b, push[:, axis], count)
            )
    return points


def _chromatin(rng: Generator, stamp: Stamp, radius: float, style: float) -> FloatImage:
    """Return the light of one nucleus inside its box, before the texture."""
    body = np.maximum(1 - stamp.level**2, 0) ** np.float32(style)
    if radius > 9 and rng.random() < 0.8:
        for _ in range(int(rng.integers(1, 5))):  # nucleoli hold little DNA
            along, across = rng.normal(0, 0.3, 2) * radius
            width = radius * rng.uniform(0.1, 0.22)
            away = (stamp.along - along) ** 2 + (stamp.across - across) ** 2
            body *= 1 - np.float32(rng.uniform(0.2, 0.7)) * np.exp(
                -away / (2 * width**2)
            )
    return np.asarray(body, np.float32)


def _haze(
    rng: Generator, shape: tuple[int, int], points: Points, radius: float, spread: float
) -> FloatImage:
    """Return the light of nuclei out of focus, whose outlines no longer matter."""
    light = np.zeros(shape, np.float32)
    away = np.abs(points[:, 0])
    for low, high in ((0.0, 1.5), (1.5, 3.0), (3.0, np.inf)):
        some = points[(away >= low * radius) & (away < high * radius)]
        row, col = np.rint(some[:, 1:]).astype(np.intp).T
        inside = (row >= 0) & (row < shape[0]) & (col >= 0) & (col < shape[1])
        if not inside.any():
            continue
        layer = np.zeros(shape, np.float32)
        np.add.at(
            layer, (row[inside], col[inside]), rng.lognormal(0, 0.4, int(inside.sum()))
        )
        depth = float(np.abs(some[inside, 0]).mean())
        sigma = float(np.hypot(0.55 * radius, spread * depth))
        light += optics.blur(layer, sigma) * np.float32(np.pi * radius**2)
    return light


def nuclei(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw nuclei cut by a plane, with light from above and below it.

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
    radius = float(np.exp(rng.uniform(np.log(8), np.log(85))))
    is_tissue = rng.random() < 0.65
    size = side + 4 * radius
    depth = (rng.uniform(3, 8) if is_tissue else 0.6) * radius
    density = rng.uniform(0.2, 1.1) if is_tissue else rng.uniform(0.03, 0.8)
    gap = 2 * radius * rng.uniform(0.8, 1.0)
    count = int(
        np.clip(density * size * size * (depth + radius) / (2 * radius) ** 3, 3, 6000)
    )
    points = pack(rng, count, (depth, size, size), gap)
    points -= (depth / 2, 2 * radius, 2 * radius)
    if is_tissue and radius < 40 and rng.random() < 0.3:  # tissue ends inside the image
        edge = optics.texture(rng, (64, 64), 40, 4)
        at = np.clip(points[:, 1:] / size * 64, 0, 63).astype(np.intp)
        points = points[edge[at[:, 0], at[:, 1]] < rng.uniform(-0.3, 1)]
    light = np.zeros(canvas.shape, np.float32)
    style = float(rng.uniform(0.1, 0.8))
    long = rng.uniform(0, 0.5)
    direction, order = rng.uniform(0, np.pi), rng.uniform(0.2, 2)
    vary, rough = rng.uniform(0.05, 0.3), rng.uniform(0.01, 0.1)
    mitotic = rng.uniform(0, 0.1)
    far = []
    for z, row, col in points[np.argsort(-np.abs(points[:, 0]))]:
        own = radius * np.exp(rng.normal(0, vary))
        cut = 1 - (z / own) ** 2
        if cut < 0.15:
            far.append((z, row, col))
            continue
        across = own * np.sqrt(cut)
        angle = float(rng.normal(direction, order))
        bright = float(np.exp(rng.normal(0, 0.3)))
        elongation = float(np.exp(abs(rng.normal(0, long))))
        parts = [(row, col)]
        if rng.random() < mitotic:
            bright, elongation, across = (
                bright * 2,
                float(rng.uniform(2, 3.5)),
                across * 0.6,
            )
            if rng.random() < 0.4:  # anaphase: two plates that move apart
                step = across * rng.uniform(0.7, 1.4)
                shift = (step * np.cos(angle), -step * np.sin(angle))
                parts = [
                    (row + shift[0], col + shift[1]),
                    (row - shift[0], col - shift[1]),
                ]
        for center in parts:
            stamp = blob(
                rng,
                canvas.shape,
                center,
                float(across),
                elongation=elongation,
                angle=angle,
                roughness=rough,
                harmonics=5,
            )
            if stamp is None:
                continue
            visible = canvas.touch(stamp)
            body = bright * _chromatin(rng, stamp, float(across), style)
            light[stamp.box] = np.where(visible, body, light[stamp.box])
    grain = optics.texture(
        rng, canvas.shape, max(radius * rng.uniform(0.15, 0.5), 2), 1.8
    )
    light *= np.clip(1 + np.float32(rng.uniform(0.03, 0.35)) * grain, 0.1, 3)
    if far:
        light += np.float32(rng.uniform(0.1, 0.7)) * _haze(
            rng, canvas.shape, np.array(far), radius, rng.uniform(0.3, 1)
        )
    psf = float(np.clip(radius * rng.uniform(0.02, 0.13), 0.6, 5))
    light = optics.blur(light, psf)
    if rng.random() < 0.2:  # cytoplasm of cells around them
        light += np.float32(rng.uniform(0.02, 0.15)) * np.clip(
            optics.texture(rng, canvas.shape, radius * 3, 3), 0, 3
        )
    return rendering.fluorescence(rng, light), clean(canvas.labels)
