"""Dead leaves: shapes of every size in front of one another, like photographs.

Images made of occluding shapes share many statistics of natural ones (Lee,
Mumford and Huang, "Occlusion models for natural images", IJCV 2001), and models
that learn from them carry over to photographs (Baradad et al., "Learning to see
by looking at noise", NeurIPS 2021).  Here they keep the general notion of an
object alive beside the specimens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam_synthetic.shapes import blob, capsule, clean
from napari_sam_synthetic.surfaces import (
    cast_shadow,
    cover,
    material,
    photographed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from napari_sam.types import BoolArray, RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels, Stamp

_MAX_SHAPES = 70
_WITH_PARTS = 0.45
"""Things of several materials teach that a box means all of it."""


def leaves(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw shapes with textures of their own, the later in front of the earlier.

    Parameters
    ----------
    rng : numpy Generator
    side : int
        Side of the image in pixels.

    Returns
    -------
    rgb : uint8 array (side, side, 3)
    labels : int32 array (side, side)
        The visible part of every shape.
    """
    shape = (side, side)
    image = material(rng, shape)
    labels = np.zeros(shape, np.int32)
    count = int(rng.integers(6, _MAX_SHAPES))
    # Far things first; the last ones are whole and may be large.
    sizes = side * np.exp(rng.uniform(np.log(0.02), np.log(0.35), count))
    sizes = sizes[np.argsort(-sizes + rng.normal(0, 0.4, count) * sizes)]
    light = rng.uniform(0, 2 * np.pi)
    for number, size in enumerate(sizes, start=1):
        row, col = rng.uniform(-0.05, 1.05, 2) * shape
        stamp = leaf(rng, shape, (row, col), float(size))
        if stamp is None or not stamp.inside.any():
            continue
        inside = stamp.inside
        if rng.random() < 0.3:
            cast_shadow(rng, image, stamp, inside, light)
        cover(rng, image, stamp, inside, light)
        labels[stamp.box][inside] = number
        if rng.random() < _WITH_PARTS:
            _add_parts(rng, image, labels, stamp, float(size), light)
    return photographed(rng, image), clean(labels)


def _add_parts(
    rng: Generator,
    image: FloatImage,
    labels: Labels,
    stamp: Stamp,
    size: float,
    light: float,
) -> None:
    """Put a few parts on a shape, or beyond its outline: clothes and limbs."""
    for _ in range(int(rng.integers(1, 5))):
        part = part_of(
            rng, labels, stamp, 0.4, lambda: size * float(rng.uniform(0.2, 0.8))
        )
        if part is not None:
            cover(rng, image, *part, light)


def part_of(
    rng: Generator,
    labels: Labels,
    stamp: Stamp,
    limbs: float,
    draw_size: Callable[[], float],
) -> tuple[Stamp, BoolArray] | None:
    """Add a part to an object's labels, in place; it is of the same object.

    Parameters
    ----------
    rng : numpy Generator
    labels : int32 array (H, W)
        The object is all of ``stamp`` there.
    stamp : Stamp
        The object's shape.
    limbs : float
        How likely the part begins at the outline and goes beyond it.
    draw_size : callable
        Returns how large the part is, in pixels.

    Returns
    -------
    stamp : Stamp
        Of the part.
    where : bool array
        Its pixels, inside its box.  None if the part has no place.
    """
    is_limb = rng.random() < limbs
    number = labels[stamp.box][stamp.inside][0]
    near = stamp.inside & (stamp.level > 0.7) if is_limb else stamp.inside
    rows, cols = np.nonzero(near)
    if not rows.size:
        return None
    at = rng.integers(rows.size)
    middle = (
        float(rows[at] + stamp.box[0].start),
        float(cols[at] + stamp.box[1].start),
    )
    part = leaf(rng, labels.shape, middle, draw_size())
    if part is None:
        return None
    where = part.inside
    if not is_limb:
        where = where & (labels[part.box] == number)
    labels[part.box][where] = number
    return part, where


def leaf(
    rng: Generator, shape: tuple[int, ...], center: tuple[float, float], size: float
) -> Stamp | None:
    """Return one shape of about ``size`` pixels across, or None if it is outside."""
    row, col = center
    angle = float(rng.uniform(0, 2 * np.pi))
    kind = rng.random()
    if kind < 0.2:
        width = size * rng.uniform(0.1, 0.5)
        return capsule(
            shape,
            (row, col),
            angle,
            float(size * rng.uniform(1.0, 2.5)),
            float(max(4.0, width)),
            bend=float(rng.uniform(-0.6, 0.6)),
        )
    return blob(
        rng,
        shape,
        (row, col),
        size / 2,
        elongation=float(np.exp(rng.uniform(0, 0.9))),
        angle=angle,
        roughness=float(rng.choice([0.0, 0.08, 0.25])),
        spikes=int(rng.integers(3, 9)) if kind > 0.8 else 0,
    )
