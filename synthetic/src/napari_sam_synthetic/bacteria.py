"""Bacteria: single, in chains, in colonies grown by division."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import spatial

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import Canvas, Points, capsule, clean

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import Labels


class Rods(NamedTuple):
    """Spherocylinders of width 1.

    Parameters
    ----------
    at : float array (N, 2)
        Centers.
    angle, length : float arrays (N,)
        Direction of the axis; length with the caps.
    """

    at: Points
    angle: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]


def relax(rods: Rods, steps: int) -> Rods:
    """Push overlapping rods apart and turn them out of each other's way.

    Every rod is a row of beads; beads of different rods repel when nearer than
    the rods are wide.

    Parameters
    ----------
    rods : Rods
    steps : int

    Returns
    -------
    Rods
        With the same lengths.
    """
    at, angle = rods.at.copy(), rods.angle.copy()
    offset = _beads(rods)
    beads = offset.shape[1]
    inertia = (offset**2).sum(1) + 0.1
    for _ in range(steps):
        axis = np.stack([np.sin(angle), np.cos(angle)], 1)
        place, pairs = _contacts(at, axis, offset, 1.0)
        if not len(pairs):
            break
        a, b = pairs.T
        gap = place[a] - place[b]
        distance = np.maximum(np.hypot(gap[:, 0], gap[:, 1]), 1e-6)
        push = gap * (0.5 * (1 - distance) / distance)[:, None]
        force = np.stack(
            [
                np.bincount(a, push[:, i], len(place))
                - np.bincount(b, push[:, i], len(place))
                for i in (0, 1)
            ],
            1,
        ).reshape(len(at), beads, 2)
        touching = np.maximum((np.abs(force).sum(2) > 0).sum(1), 1)
        at += 0.9 * force.sum(1) / touching[:, None]
        normal = np.stack([axis[:, 1], -axis[:, 0]], 1)
        torque = (offset * (force * normal[:, None]).sum(2)).sum(1)
        angle += np.clip(0.7 * torque / inertia, -0.3, 0.3)
    return Rods(at, angle, rods.length)


def _beads(rods: Rods) -> Points:
    half = np.maximum(rods.length - 1, 0.05) / 2
    count = int(np.clip(np.ceil(half.max() * 2.2) + 1, 2, 9))
    return half[:, None] * np.linspace(-1, 1, count)


def _contacts(
    at: Points, axis: Points, offset: Points, reach: float
) -> tuple[Points, npt.NDArray[np.intp]]:
    """Return the places of all beads, and which pairs of different rods touch."""
    place = (at[:, None] + offset[..., None] * axis[:, None]).reshape(-1, 2)
    pairs = spatial.cKDTree(place).query_pairs(reach, output_type="ndarray")
    owner = pairs // offset.shape[1]
    return place, pairs[owner[:, 0] != owner[:, 1]]


def without_crossings(rods: Rods) -> Rods:
    """Leave out rods that still lie across an earlier one.

    Parameters
    ----------
    rods : Rods

    Returns
    -------
    Rods
    """
    offset = _beads(rods)
    axis = np.stack([np.sin(rods.angle), np.cos(rods.angle)], 1)
    _, pairs = _contacts(rods.at, axis, offset, 0.55)
    stays = np.ones(len(rods.at), bool)
    stays[np.unique(pairs.max(1) // offset.shape[1])] = False
    return Rods(rods.at[stays], rods.angle[stays], rods.length[stays])


def grow(rng: Generator, slim: float, count: int, wobble: float) -> Rods:
    """Let one rod grow and divide into a colony of ``count``.

    Parameters
    ----------
    rng : numpy Generator
    slim : float
        Mean length over width.
    count : int
        How many to stop at.
    wobble : float
        Angle in radians by which daughters deviate.

    Returns
    -------
    Rods
        Around (0, 0).
    """
    rods = Rods(np.zeros((1, 2)), rng.uniform(0, np.pi, 1), np.full(1, max(slim, 1.0)))
    loose = rng.uniform(0.38, 0.5)
    while len(rods.at) < count:
        now = len(rods.at)
        divides = np.zeros(now, bool)
        divides[rng.permutation(now)[: max(min(int(now * 0.9), count - now), 1)]] = True
        step = np.stack([np.sin(rods.angle), np.cos(rods.angle)], 1)
        step *= (rods.length / 4)[:, None]
        stays = ~divides
        at = np.concatenate(
            [
                rods.at[divides] + step[divides],
                rods.at[divides] - step[divides],
                rods.at[stays],
            ]
        )
        halves = rods.length[divides] / 2
        length = np.concatenate([halves, halves, rods.length[stays]])
        angle = np.concatenate(
            [rods.angle[divides], rods.angle[divides], rods.angle[stays]]
        )
        angle = angle + rng.normal(0, wobble, len(angle))
        goal = np.maximum(slim * rng.uniform(0.65, 1.3, len(at)), length)
        before = length.sum()
        for part in (0.5, 1.0):
            grown = np.maximum(length + part * (goal - length), 1)
            # pressure moves whole colonies; pushing neighbors alone would take
            # hundreds of steps to reach the rim
            at = at.mean(0) + (at - at.mean(0)) * (grown.sum() / before) ** loose
            before = grown.sum()
            rods = relax(Rods(at, angle, grown), 4)
            at, angle = rods.at, rods.angle
    rods = relax(rods, 12)
    return Rods(rods.at - rods.at.mean(0), rods.angle, rods.length)


def arrange(rng: Generator, side: float, slim: float) -> Rods:
    """Place rods: scattered, chained, or in colonies.

    Parameters
    ----------
    rng : numpy Generator
    side : float
        Side of the image in widths of a rod.
    slim : float
        Mean length over width.

    Returns
    -------
    Rods
        In units of their width, image coordinates from 0 to ``side``.
    """
    full = side**2 / (slim + 0.3)
    way = rng.choice(
        ["scatter", "chains", "colonies", "colony", "confluent"],
        p=[0.2, 0.15, 0.25, 0.15, 0.25],
    )
    if way == "scatter":
        count = int(np.clip(full * rng.uniform(0.03, 0.5), 4, 500))
        align = rng.uniform(0.2, 3)
        rods = Rods(
            rng.uniform(0, side, (count, 2)),
            rng.normal(rng.uniform(0, np.pi), align, count),
            np.maximum(slim * rng.uniform(0.6, 1.5, count), 1),
        )
        return relax(rods, 10)
    if way == "chains":
        chains = [
            _chain(rng, side, slim)
            for _ in range(int(np.clip(rng.uniform(0.02, 0.15) * side, 1, 14)))
        ]
        return relax(
            Rods(*(np.concatenate(part) for part in zip(*chains, strict=True))), 6
        )
    colonies = int(rng.integers(2, 9)) if way == "colonies" else 1
    fill = rng.uniform(1.0, 1.6) if way == "confluent" else rng.uniform(0.05, 0.6)
    wobble = rng.uniform(0.02, 0.25)
    grown = [
        grow(
            rng,
            slim,
            int(np.clip(full * fill / colonies * rng.uniform(0.5, 1), 2, 420)),
            wobble,
        )
        for _ in range(colonies)
    ]
    low = 0.35 if way == "confluent" else 0.15
    centers = rng.uniform(low, 1 - low, (colonies, 2)) * side
    grown = [
        Rods(g.at + c, g.angle, g.length) for g, c in zip(grown, centers, strict=True)
    ]
    return relax(Rods(*(np.concatenate(part) for part in zip(*grown, strict=True))), 4)


def _chain(rng: Generator, side: float, slim: float) -> Rods:
    count = int(rng.integers(3, 25))
    length = np.maximum(slim * rng.uniform(0.75, 1.25, count), 1)
    turn = np.cumsum(rng.normal(0, rng.uniform(0.02, 0.35), count)) + rng.uniform(
        0, 2 * np.pi
    )
    step = (
        np.stack([np.sin(turn), np.cos(turn)], 1)
        * (length * rng.uniform(0.96, 1.05))[:, None]
    )
    at = np.cumsum(step, 0) - step / 2
    return Rods(at - at.mean(0) + rng.uniform(0, side, 2), turn, length)


def rods(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw bacteria in phase contrast, fluorescence, or brightfield relief.

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
    slim = float(rng.choice([1.1, 1.8, 3.0, 4.5, 7.0], p=[0.12, 0.2, 0.33, 0.22, 0.13]))
    slim *= rng.uniform(0.85, 1.15)
    long = float(np.exp(rng.uniform(np.log(18), np.log(170))))
    width = float(np.clip(long / slim, 7, 55))
    placed = without_crossings(arrange(rng, side / width, slim))
    bend = rng.uniform(0, 0.12) if slim > 2 and rng.random() < 0.4 else 0.0
    gap = rng.uniform(0.86, 1.04)
    canvas = Canvas((side, side))
    thickness = np.zeros(canvas.shape, np.float32)
    stain = np.zeros(canvas.shape, np.float32)
    look = rng.choice(["membrane", "cytoplasm", "clear"], p=[0.14, 0.18, 0.68])
    uneven, inner = rng.uniform(0, 0.5), rng.uniform(0.05, 0.6)
    flat = rng.uniform(0.5, 1.0)
    for at, angle, length in zip(placed.at, placed.angle, placed.length, strict=True):
        stamp = capsule(
            canvas.shape,
            (float(at[0]) * width, float(at[1]) * width),
            float(angle),
            float(length) * width * (0.5 + 0.5 * gap),
            width * gap,
            bend=float(rng.normal(0, 0.5) * bend),
            taper=float(rng.normal(0, 0.08)),
        )
        if stamp is None:
            continue
        own = canvas.touch(stamp)
        level = stamp.level[own]
        body = np.maximum(1 - level**2, 0) ** np.float32(0.5 * flat)
        weight = np.float32(np.exp(rng.normal(0, 0.35 * uneven)))
        thickness[stamp.box][own] = body * weight
        if look == "membrane":
            rim = np.exp(-(((1 - level) * width / 2 / max(width * 0.09, 1.2)) ** 2))
            if length > 2 and rng.random() < 0.4:  # a septum before division
                rim = np.maximum(
                    rim, np.exp(-((stamp.along[own] / max(width * 0.08, 1.0)) ** 2))
                )
            stain[stamp.box][own] = weight * (rim + inner * 0.6 * body)
        elif look == "cytoplasm":
            wave = np.cos(
                stamp.along[own] / width * rng.uniform(1, 4) + rng.uniform(0, 6)
            )
            stain[stamp.box][own] = weight**2 * body * (1 + 0.5 * inner * wave)
    labels = clean(canvas.labels)
    psf = rng.uniform(0.06, 0.2) * width if width < 20 else rng.uniform(0.8, 3)
    psf = max(psf, 0.7)
    if look in ("membrane", "cytoplasm"):
        return rendering.fluorescence(rng, optics.blur(stain, psf)), labels
    grain = optics.texture(rng, canvas.shape, max(width / 3, 3), 2)
    thickness *= 1 + np.float32(rng.uniform(0, 0.15)) * grain
    seen = optics.blur(thickness, psf)
    return rendering.see_through(rng, seen, width), labels
