"""Drawn microscopy with exact labels, to train on beside real images.

Each kind is a family of specimens; size, density, optics, contrast and noise
vary widely within it, and every image follows from ``(kind, seed, side)``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import imageio.v3 as iio
import numpy as np

from napari_sam.training.data.samples import Sample
from napari_sam.types import RGBArray
from napari_sam_synthetic.bacteria import rods
from napari_sam_synthetic.composite_objects import things
from napari_sam_synthetic.dead_leaves import leaves
from napari_sam_synthetic.em import em_neurites, em_organelles
from napari_sam_synthetic.filaments import filaments
from napari_sam_synthetic.histology import histology
from napari_sam_synthetic.membranes import membranes
from napari_sam_synthetic.multiplexed import multiplexed
from napari_sam_synthetic.nuclei import nuclei
from napari_sam_synthetic.phase_cells import phase_cells
from napari_sam_synthetic.shapes import Labels
from napari_sam_synthetic.spots import spots
from napari_sam_synthetic.stained_cells import stained_cells
from napari_sam_synthetic.thick_tissue import thick_tissue

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = ["KINDS", "generate", "write_folder"]

Draw: TypeAlias = Callable[[np.random.Generator, int], tuple[RGBArray, Labels]]
"""Draws one image, uint8 (side, side, 3), and its labels, int32 (side, side)."""

KINDS: dict[str, Draw] = {
    "rods": rods,
    "em_neurites": em_neurites,
    "em_organelles": em_organelles,
    "membranes": membranes,
    "nuclei": nuclei,
    "histology": histology,
    "phase_cells": phase_cells,
    "filaments": filaments,
    "leaves": leaves,
    "spots": spots,
    "things": things,
    "thick_tissue": thick_tissue,
    "multiplexed": multiplexed,
    "stained_cells": stained_cells,
}
"""Families of specimens by name."""

README = """\
# Drawn microscopy

{count} images of each of {kinds}, {side} x {side} pixels, drawn by
`python -m napari_sam_synthetic`, seed {seed}.

`images/KIND_0001.png` is RGB; `masks/KIND_0001.png` holds its objects, uint16,
0 is background. Nothing in them was photographed.

Licence: BSD-3-Clause, like napari-sam.
"""


def generate(kind: str, seed: int, side: int = 640) -> Sample:
    """Draw one image with its objects.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS`.
    seed : int
        Which image of that kind; the same number gives the same image.
    side : int
        Side of the image in pixels.

    Returns
    -------
    Sample
        With at least one object.

    Raises
    ------
    ValueError
        If the kind is unknown, the seed negative, or the side below 64.
    """
    if kind not in KINDS:
        raise ValueError(
            f"no kind {kind!r} of drawn images; choose from {', '.join(KINDS)}"
        )
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; use 0 or more")
    if side < 64:
        raise ValueError(f"side {side} is too small to draw in; use 64 or more")
    family = zlib.crc32(kind.encode())
    attempt = 0
    while True:
        # sparse scenes may place everything outside the image: draw another one
        rng = np.random.default_rng([family, seed, side, attempt])
        rgb, labels = KINDS[kind](rng, side)
        if labels.any():
            return Sample(f"{kind}/{seed}", rgb, labels)
        attempt += 1


def write_folder(
    folder: str | os.PathLike[str],
    kinds: Iterable[str] | None = None,
    count: int = 200,
    seed: int = 0,
    side: int = 640,
) -> int:
    """Write images, masks and a README that says what they are.

    Parameters
    ----------
    folder : path
        Gets ``images/KIND_0001.png`` (RGB) and ``masks/KIND_0001.png`` (uint16).
    kinds : iterable of str, optional
        Keys of :data:`KINDS`; all if None.
    count : int
        Images of each kind.
    seed : int
        Image ``i`` of a kind, from 1, is ``generate(kind, seed + i - 1, side)``.
    side : int
        Side of the images in pixels.

    Returns
    -------
    int
        How many images were written.

    Raises
    ------
    ValueError
        As :func:`generate`, before anything is written.
    """
    names = list(KINDS if kinds is None else kinds)
    for kind in names:
        if kind not in KINDS:
            raise ValueError(
                f"no kind {kind!r} of drawn images; choose from {', '.join(KINDS)}"
            )
    root = Path(folder)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    text = README.format(count=count, kinds=", ".join(names), side=side, seed=seed)
    (root / "README.md").write_text(text, encoding="utf-8")
    for index in range(count):
        for kind in names:
            sample = generate(kind, seed + index, side)
            file = f"{kind}_{index + 1:04d}.png"
            iio.imwrite(root / "images" / file, sample.rgb, compress_level=3)
            iio.imwrite(
                root / "masks" / file, sample.labels.astype(np.uint16), compress_level=3
            )
    return count * len(names)
