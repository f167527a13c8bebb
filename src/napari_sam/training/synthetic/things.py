"""A few large things of many parts: what fills half of a picture.

Specimens are small and of one material, and a model that sees nothing else
forgets that an object may be large and patchwork: a person, an embryo, a
colony, an organ.  A box around such a thing means all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam.training.synthetic.em import em_neurites, em_organelles
from napari_sam.training.synthetic.histology import histology
from napari_sam.training.synthetic.leaves import leaf, leaves
from napari_sam.training.synthetic.membranes import membranes
from napari_sam.training.synthetic.nuclei import nuclei
from napari_sam.training.synthetic.optics import blur, illumination
from napari_sam.training.synthetic.phase_cells import phase_cells
from napari_sam.training.synthetic.shapes import clean
from napari_sam.training.synthetic.surfaces import cast_shadow, material, shading

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.training.synthetic.shapes import FloatImage, Labels, Stamp
    from napari_sam.types import BoolArray, RGBArray

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
        _cover(rng, image, stamp, stamp.inside, field, light)
        labels[stamp.box][stamp.inside] = number
        if rng.random() < _RIMMED:
            rim = stamp.inside & (stamp.level > rng.uniform(0.75, 0.95))
            _cover(rng, image, stamp, rim, None, light)
        for _ in range(int(rng.integers(0, _MAX_PARTS))):
            _add_part(rng, image, labels, stamp, float(size), field, light)
    sharpness = rng.uniform(0.0, 1.4)
    image = np.stack([blur(image[..., c], sharpness) for c in range(3)], axis=2)
    image *= illumination(rng, shape, float(rng.uniform(0, 0.4)))[..., None]
    image += rng.normal(0, rng.uniform(0.0, 0.03), image.shape)
    if rng.random() < 0.25:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    rgb = np.clip(np.round(image * 255), 0, 255).astype(np.uint8)
    return rgb, clean(labels)


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


def _cover(
    rng: Generator,
    image: FloatImage,
    stamp: Stamp,
    where: BoolArray,
    field: FloatImage | None,
    light: float,
) -> None:
    """Give some pixels of a shape a surface: a material, or a piece of a field."""
    if field is not None and rng.random() < _OF_MANY:
        piece = field[stamp.box].copy()
    else:
        piece = material(rng, (where.shape[0], where.shape[1]))
    piece *= shading(rng, stamp, light)[..., None]
    image[stamp.box][where] = piece[where]


def _add_part(
    rng: Generator,
    image: FloatImage,
    labels: Labels,
    stamp: Stamp,
    size: float,
    field: FloatImage,
    light: float,
) -> None:
    """Put a part on a thing, or a limb at its outline; it is of the same object."""
    is_limb = rng.random() < 0.35
    number = int(labels[stamp.box][stamp.inside].max())
    near = stamp.inside & (stamp.level > 0.7) if is_limb else stamp.inside
    rows, cols = np.nonzero(near)
    if not rows.size:
        return
    at = rng.integers(rows.size)
    middle = (
        float(rows[at] + stamp.box[0].start),
        float(cols[at] + stamp.box[1].start),
    )
    share = np.exp(rng.uniform(np.log(0.05), np.log(0.7)))
    part = leaf(rng, labels.shape, middle, max(6.0, size * float(share)))
    if part is None:
        return
    where = part.inside
    if not is_limb:
        where = where & (labels[part.box] == number)
    _cover(rng, image, part, where, field, light)
    labels[part.box][where] = number
