"""A few large things of many parts: what fills half of a picture.

Specimens are small and of one material, and a model that sees nothing else
forgets that an object may be large and patchwork: a person, an embryo, a
colony, an organ.  A box around such a thing means all of it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic.dead_leaves import leaf, leaves, part_of
from napari_sam_synthetic.em import em_neurites, em_organelles
from napari_sam_synthetic.histology import histology
from napari_sam_synthetic.membranes import membranes
from napari_sam_synthetic.nuclei import nuclei
from napari_sam_synthetic.phase_cells import phase_cells
from napari_sam_synthetic.shapes import clean
from napari_sam_synthetic.surfaces import (
    cast_shadow,
    cover,
    material,
    photographed,
)

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels, Stamp

_FIELDS = (
    em_neurites,
    em_organelles,
    histology,
    leaves,
    membranes,
    nuclei,
    phase_cells,
)
"""What a thing of many can consist of."""

_OF_MANY = 0.15
_RIMMED = 0.3
_MAX_PARTS = 10


def things(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw one to seven things, each of several parts, before a background.

    Parameters
    ----------
    rng : numpy Generator
    side : int
        Side of the image in pixels.

    Returns
    -------
    rgb : uint8 array (side, side, 3)
    labels : int32 array (side, side)
        The visible part of every thing with all its parts, and the smaller
        things behind them.
    """
    shape = (side, side)
    image, labels = _background(rng, side)
    field, _ = _field(rng, side)
    light = float(rng.uniform(0, 2 * np.pi))
    count = int(rng.integers(1, 8))
    sizes = side * np.exp(rng.uniform(np.log(0.12), np.log(0.9), count))
    first = int(labels.max()) + 1
    for number, size in enumerate(np.sort(sizes)[::-1], start=first):
        row, col = rng.uniform(0.05, 0.95, 2) * shape
        stamp = leaf(rng, shape, (float(row), float(col)), float(size))
        if stamp is None or not stamp.inside.any():
            continue
        if rng.random() < 0.3:
            cast_shadow(rng, image, stamp, stamp.inside, light)
        piece = _piece_of(rng, field, stamp)
        cover(rng, image, stamp, stamp.inside, light, piece)
        labels[stamp.box][stamp.inside] = number
        if rng.random() < _RIMMED:
            rim = stamp.inside & (stamp.level > rng.uniform(0.75, 0.95))
            cover(rng, image, stamp, rim, light)
        for _ in range(int(rng.integers(0, _MAX_PARTS))):
            part = part_of(rng, labels, stamp, 0.35, partial(_part_size, rng, size))
            if part is not None:
                cover(rng, image, *part, light, _piece_of(rng, field, part[0]))
    return photographed(rng, image), clean(labels)


def _background(rng: Generator, side: int) -> tuple[FloatImage, Labels]:
    """Return what is behind: nothing in particular, a crowd, or a specimen."""
    kind = rng.random()
    if kind < 0.5:
        return material(rng, (side, side)), np.zeros((side, side), np.int32)
    if kind < 0.85:
        rgb, labels = leaves(rng, side)
        return np.asarray(rgb / 255, np.float32), labels
    return _field(rng, side)


def _field(rng: Generator, side: int) -> tuple[FloatImage, Labels]:
    """Return a picture of one of the specimens, 0 … 1, and its objects."""
    rgb, labels = _FIELDS[rng.integers(len(_FIELDS))](rng, side)
    return np.asarray(rgb / 255, np.float32), labels


def _piece_of(rng: Generator, field: FloatImage, stamp: Stamp) -> FloatImage | None:
    """Return what a part is filled with, if it is one of many."""
    return field[stamp.box] if rng.random() < _OF_MANY else None


def _part_size(rng: Generator, size: float) -> float:
    share = np.exp(rng.uniform(np.log(0.05), np.log(0.7)))
    return max(6.0, float(size) * float(share))
