"""Sections of tissue in the electron microscope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.shapes import (
    Canvas,
    Stamp,
    blob,
    clean,
)
from napari_sam_synthetic.tissue import Tissue, tissue

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels


def _per_cell(rng: Generator, cells: Labels, spread: float) -> FloatImage:
    values = rng.normal(0, spread, int(cells.max()) + 1).astype(np.float32)
    return values[cells]


def _organelle(rng: Generator, stamp: Stamp, radius: float, style: str) -> FloatImage:
    """Return the gray levels of a mitochondrion or chloroplast, about 0 to 1."""
    depth = (1 - stamp.level) * np.float32(radius)  # about pixels below the surface
    wave = rng.uniform(0.2, 0.9) * np.sin(
        stamp.along / (radius * rng.uniform(0.3, 0.9)) + rng.uniform(0, 6)
    )
    if style == "chloroplast":
        pitch = max(radius * rng.uniform(0.12, 0.25), 3.0)
        stacks = 0.5 + 0.5 * np.sin(2 * np.pi * stamp.across / pitch + 2 * wave)
        grana = np.sin(stamp.along / (radius * 0.25) + rng.uniform(0, 6)) > rng.uniform(
            -0.8, 0.3
        )
        inner = rng.uniform(0.3, 0.5) - rng.uniform(0.1, 0.3) * stacks * grana
    else:
        pitch = max(rng.uniform(0.22, 0.5) * radius, 3.0)
        turn = stamp.along if rng.random() < 0.7 else stamp.across
        stripes = np.sin(2 * np.pi * turn / pitch + 2.5 * wave)
        inner = rng.uniform(0.3, 0.55) - rng.uniform(0.0, 0.22) * np.clip(
            stripes * 1.6, -1, 1
        )
    rim = max(radius * rng.uniform(0.03, 0.09), 1.0)
    outer = np.exp(-((depth / rim) ** 2))
    gap = np.exp(-(((depth - 2.2 * rim) / (0.9 * rim)) ** 2))
    second = np.exp(-(((depth - 4 * rim) / rim) ** 2))
    gray = (
        inner * (1 - outer - 0.8 * second)
        + rng.uniform(0.02, 0.15) * gap
        + 0.1 * second
    )
    return np.asarray(gray, np.float32)


def _place_organelles(
    rng: Generator,
    picture: FloatImage,
    ground: Tissue,
    size: float,
    style: str,
    membrane: float,
    many: float,
) -> Labels:
    """Draw organelles into ``picture`` and return their labels."""
    canvas = Canvas((picture.shape[0], picture.shape[1]))
    room = ground.depth - membrane
    wanted = int(np.clip((picture.size / size**2) * many, 3, 120))
    for _ in range(wanted * 3):
        if canvas.count >= wanted:
            break
        # of a few places the roomiest, so that thin profiles rarely get one
        rows = rng.integers(0, picture.shape[0], 4)
        cols = rng.integers(0, picture.shape[1], 4)
        best = int(np.argmax(np.minimum(room[rows, cols], size * 0.3)))
        row, col = int(rows[best]), int(cols[best])
        radius = float(
            min(size * rng.uniform(0.12, 0.3), room[row, col] * rng.uniform(0.7, 1.3))
        )
        if radius < 4:
            continue
        slope = np.gradient(
            ndimage.uniform_filter(
                ground.depth[max(row - 4, 0) : row + 5, max(col - 4, 0) : col + 5], 3
            )
        )
        along_wall = float(np.arctan2(slope[0].mean(), slope[1].mean()) + np.pi / 2)
        angle = along_wall + float(rng.normal(0, 0.4))
        elongation = float(np.exp(abs(rng.normal(0.25, 0.45))))
        stamp = blob(
            rng,
            canvas.shape,
            (row, col),
            radius * elongation**0.3,
            elongation=elongation,
            angle=angle,
            roughness=rng.uniform(0.03, 0.14),
        )
        if stamp is None:
            continue
        home = ground.cells[row, col]
        inside = stamp.inside
        fits = (
            inside
            & (ground.cells[stamp.box] == home)
            & (room[stamp.box] > 1.5)
            & (canvas.labels[stamp.box] == 0)
        )
        is_crowded = (
            inside & (canvas.labels[stamp.box] > 0)
        ).sum() > 0.08 * inside.sum()
        if is_crowded or fits.sum() < max(0.6 * inside.sum(), 30):
            continue
        # keep one piece; its own distance to the outline draws the membranes
        pieces, number = ndimage.label(fits)
        if number > 1:
            fits = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
        reach = ndimage.distance_transform_edt(np.pad(fits, 1))[1:-1, 1:-1]
        level = np.where(fits, 1 - (reach - 0.5) / radius, 1.1)
        shape_inside = Stamp(
            stamp.box, level.astype(np.float32), stamp.along, stamp.across
        )
        own = canvas.cover(shape_inside)
        gray = _organelle(rng, shape_inside, radius, style)
        picture[stamp.box][own] = gray[own]
        if style == "chloroplast":
            for _ in range(int(rng.integers(0, 4))):  # starch grains stay pale
                pick = rng.choice(np.flatnonzero(own))
                at = (
                    pick // own.shape[1] + stamp.box[0].start,
                    pick % own.shape[1] + stamp.box[1].start,
                )
                grain = blob(
                    rng,
                    canvas.shape,
                    (float(at[0]), float(at[1])),
                    radius * rng.uniform(0.15, 0.35),
                    elongation=1.8,
                    angle=angle,
                )
                if grain is not None:
                    part = grain.inside & (canvas.labels[grain.box] == canvas.count)
                    picture[grain.box][part] = rng.uniform(0.7, 0.95)
    return canvas.labels


def _vesicles(rng: Generator, picture: FloatImage, ground: Tissue, size: float) -> None:
    """Draw clouds of synaptic vesicles, microtubules and dense grains."""
    side = picture.shape[0]
    radius = float(np.clip(size * rng.uniform(0.02, 0.05), 1.6, 6))
    clouds = int(rng.integers(0, max(int(side / size * 1.5), 2) + 1))
    for _ in range(clouds):
        middle = rng.uniform(0, side, 2)
        for at in rng.normal(
            middle, size * rng.uniform(0.15, 0.4), (int(rng.integers(8, 60)), 2)
        ):
            _dot(picture, ground, at, radius, hollow=True)
    grains = int(rng.integers(0, 2 * int(side / size) ** 2 + 20))
    for at in rng.uniform(0, side, (min(grains, 250), 2)):
        _dot(
            picture,
            ground,
            at,
            radius * rng.uniform(0.5, 0.9),
            hollow=bool(rng.random() < 0.3),
        )


def _dot(
    picture: FloatImage,
    ground: Tissue,
    at: FloatImage | tuple[float, float],
    radius: float,
    hollow: bool,
) -> None:
    row, col = int(at[0]), int(at[1])
    reach = int(radius * 1.6) + 1
    if not (
        reach <= row < picture.shape[0] - reach
        and reach <= col < picture.shape[1] - reach
    ):
        return
    if ground.depth[row, col] < reach + 2:
        return
    box = (slice(row - reach, row + reach + 1), slice(col - reach, col + reach + 1))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    r = np.hypot(y, x)
    ring = (
        np.exp(-(((r - radius) / max(radius * 0.35, 0.7)) ** 2))
        if hollow
        else np.exp(-((r / radius) ** 4))
    )
    picture[box] -= (0.3 * ring).astype(np.float32)


def _draw(rng: Generator, side: int, *, of_organelles: bool) -> tuple[RGBArray, Labels]:
    size = float(np.exp(rng.uniform(np.log(35), np.log(260 if of_organelles else 190))))
    if of_organelles:
        size = max(size, 70)
    ground = tissue(rng, side, size, float(rng.uniform(0.3, 1)))
    style = (
        "chloroplast"
        if rng.random() < (0.3 if of_organelles else 0.08)
        else "mitochondrion"
    )
    width = float(np.clip(size * rng.uniform(0.02, 0.06), 2, 6))
    cytoplasm = rng.uniform(0.55, 0.8)
    picture = (cytoplasm + _per_cell(rng, ground.cells, rng.uniform(0.01, 0.1))).astype(
        np.float32
    )
    if style == "chloroplast" and rng.random() < 0.7:  # vacuoles: empty but for the rim
        picture = np.where(
            ground.depth > size * rng.uniform(0.1, 0.3), np.float32(0.88), picture
        )
    # what is cut: fluffy cytoplasm with ribosomes and reticulum
    fluff = optics.texture(rng, (side, side), rng.uniform(4, 14), 1.6)
    picture += np.float32(rng.uniform(0.02, 0.09)) * fluff
    _vesicles(rng, picture, ground, size)
    many = rng.uniform(0.3, 1.6) if of_organelles else rng.uniform(0.05, 0.5)
    organelles = _place_organelles(rng, picture, ground, size, style, width, many)
    half = width / 2
    # membranes cut obliquely are wide and faint
    slant = optics.texture(rng, (side, side), size * 0.7, 4)
    sharp = 1 + np.clip(slant - 1.2, 0, 2) * rng.uniform(0, 1.5)
    dark = np.exp(-((ground.depth / (half * sharp)) ** 2)) / sharp
    if rng.random() < 0.25:  # extracellular space between two membranes
        gap = half * rng.uniform(0.6, 1.4)
        dark = np.exp(-(((ground.depth - gap - 0.5) / half) ** 2))
    picture -= np.float32(rng.uniform(0.35, 0.7)) * dark.astype(np.float32)
    picture = optics.blur(
        picture, float(np.clip(rng.uniform(0.15, 0.4) * width, 0.5, 1.6))
    )
    picture += np.float32(rng.uniform(0.01, 0.09)) * optics.texture(
        rng, (side, side), 3, rng.choice([0.0, 1.0])
    )
    if rng.random() < 0.3:
        picture += np.float32(rng.uniform(0.02, 0.08)) * optics.texture(
            rng, (side, side), side / 3, 4
        )
    contrast = rng.uniform(0.5, 1)
    rgb = rendering.finish(
        rng,
        rendering.to_uint8(
            rng,
            optics.expose(
                rng, 0.5 + contrast * (picture - 0.5), photons=rng.uniform(150, 4000)
            ),
        ),
    )
    if of_organelles:
        return rgb, clean(organelles)
    return rgb, clean(np.where(ground.depth > half * 0.7, ground.cells, 0))


def em_neurites(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw neuropil whose labels are the membrane-bound profiles.

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
    return _draw(rng, side, of_organelles=False)


def em_organelles(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw tissue whose labels are the mitochondria or chloroplasts in it.

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
    return _draw(rng, side, of_organelles=True)
