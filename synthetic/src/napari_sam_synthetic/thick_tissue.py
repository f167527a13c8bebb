"""Slices through thick tissue with stained walls, as a confocal microscope gives.

Cells are solid and a slice cuts them anywhere: walls at a slant are wide and faint,
those in the plane of the slice light up whole cells, and walls above and below shine
through.  A cell reaches to the middle of its walls, as in what people annotate in
such stacks (Wolny et al., "Accurate and versatile 3D segmentation of plant tissues at
cellular resolution", eLife 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import spatial

from napari_sam_synthetic import optics, rendering
from napari_sam_synthetic.nuclei import pack
from napari_sam_synthetic.shapes import clean

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_sam.types import RGBArray
    from napari_sam_synthetic.shapes import FloatImage, Labels

Places: TypeAlias = npt.NDArray[np.float32]
"""Float32 array (..., 3): depth, row, column."""

_NEAR = 7
"""A place is in the cell of one of this many nearest centers."""
_PLANES = 5
"""Planes that shine into the slice, itself among them."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Cells in space: where the distance to a center, less its size, is least.

    Parameters
    ----------
    centers : float32 array (N, 3)
    sizes : float32 array (N,)
        Subtracted from the squared distance.
    inside : bool array (N,)
        False for what lies outside the organ.
    tree : cKDTree
        Of the centers.
    """

    centers: Places
    sizes: npt.NDArray[np.float32]
    inside: npt.NDArray[np.bool_]
    tree: spatial.cKDTree

    def candidates(self, places: Places) -> npt.NDArray[np.intp]:
        """Return the nearest centers of places, int (..., 7)."""
        near = min(_NEAR, len(self.centers))
        return np.asarray(self.tree.query(places, k=near)[1], np.intp)

    def power(self, places: Places, among: npt.NDArray[np.intp]) -> FloatImage:
        """Return what is least in the own cell, float32 (..., 7)."""
        away = places[..., None, :] - self.centers[among]
        return np.asarray((away**2).sum(-1) - self.sizes[among], np.float32)

    def own(self, places: Places, among: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return whose cell each place is in, int (...)."""
        first = self.power(places, among).argmin(-1)[..., None]
        return np.asarray(np.take_along_axis(among, first, -1)[..., 0], np.intp)

    def wall_distance(
        self, places: Places, among: npt.NDArray[np.intp]
    ) -> tuple[FloatImage, npt.NDArray[np.intp]]:
        """Return the distance to the nearest wall, and whose cell each place is in.

        Walls are the planes on which two centers are equally near in the sense of
        :meth:`power`; one between two cells outside the organ is none.
        """
        power = self.power(places, among)
        first = power.argmin(-1)[..., None]
        own = np.take_along_axis(among, first, -1)
        more = power - np.take_along_axis(power, first, -1)
        apart = np.linalg.norm(self.centers[among] - self.centers[own], axis=-1)
        is_wall = (self.inside[among] | self.inside[own]) & (among != own)
        distance = np.where(is_wall, more / (2 * np.maximum(apart, 1e-3)), np.inf)
        return distance.min(-1).astype(np.float32), own[..., 0]


def _grow(rng: Generator, side: float, size: float) -> _Cells:
    """Return cells of about a size around a plane of a side."""
    thick = 2.6 * size
    margin = 1.3 * size
    extent = (thick, side + 2 * margin, side + 2 * margin)
    count = max(int(np.prod(extent) / size**3 * rng.uniform(1.0, 1.6)), 8)
    centers = pack(rng, count, extent, size * rng.uniform(0.55, 0.95))
    centers -= (thick / 2, margin, margin)
    sizes = size**2 * rng.uniform(0, 0.45) * rng.standard_normal(count)
    inside = np.ones(count, bool)
    if rng.random() < 0.35:  # the organ ends inside the image
        middle = (0, side * rng.uniform(0.1, 0.9), side * rng.uniform(0.1, 0.9))
        radii = (3 * size, *(side * rng.uniform(0.3, 0.75, 2)))
        inside = (((centers - middle) / radii) ** 2).sum(1) < 1
        if not inside.any():
            inside[:] = True
    places: Places = centers.astype(np.float32)
    return _Cells(places, sizes.astype(np.float32), inside, spatial.cKDTree(places))


def _slice_places(rng: Generator, side: int, size: float) -> Places:
    """Return where the pixels of a slice lie in the tissue, before it grew.

    Growing it in stretched and bent space makes its cells long and its walls curved.
    """
    rows, cols = np.indices((side, side), np.float32)
    stretch = np.exp(rng.normal(0, 0.25, 2))
    turn = rng.uniform(0, np.pi)
    row = (np.cos(turn) * rows + np.sin(turn) * cols) * np.float32(stretch[0])
    col = (np.cos(turn) * cols - np.sin(turn) * rows) * np.float32(stretch[1])
    tilt = rng.normal(0, 0.15, 2)
    depth = np.float32(tilt[0]) * (rows - side / 2) + np.float32(tilt[1]) * (
        cols - side / 2
    )
    depth = np.clip(depth, -0.3 * size, 0.3 * size)
    places = np.stack([depth, row - row.min(), col - col.min()], axis=-1)
    bend = np.float32(size * rng.uniform(0, 0.12))
    for axis in range(3):
        waves = size * rng.uniform(0.6, 2)
        places[..., axis] += bend * optics.texture(rng, (side, side), waves, 4)
    return places.astype(np.float32)


def _walls(
    rng: Generator,
    cells: _Cells,
    places: Places,
    among: npt.NDArray[np.intp],
    own: npt.NDArray[np.intp],
    size: float,
    width: float,
) -> FloatImage:
    """Return the light of walls and cells at places of the slice, 1 for a wall."""
    reach = size * float(rng.uniform(0.02, 0.11))
    count = len(cells.centers)
    stain = np.exp(rng.normal(0, rng.uniform(0, 0.4), count)).astype(np.float32)
    body = (np.exp(rng.normal(0, 0.8, count)) * cells.inside).astype(np.float32)
    light = np.zeros(places.shape[:2], np.float32)
    for offset in np.linspace(-1.6, 1.6, _PLANES):
        plane = places + np.array([offset * reach, 0, 0], np.float32)
        near = among if offset == 0 else cells.candidates(plane)
        distance, whose = cells.wall_distance(plane, near)
        # What is out of focus is wide, and fills the gaps between the planes.
        wide = np.hypot(width, 2 * reach * abs(offset))
        wall = np.exp(-((distance / np.float32(wide / 2)) ** 2))
        light += np.float32(np.exp(-(offset**2) / 2)) * wall * stain[whose]
    light /= np.float32(max(float(np.percentile(light, 99.5)), 1e-3))
    light += np.float32(rng.uniform(0, 0.3)) * body[own]
    return light


def _stain(
    rng: Generator, light: FloatImage, size: float, inside: npt.NDArray[np.bool_]
) -> FloatImage:
    """Return light as stains are: saturated, uneven, with spots inside cells."""
    shape = (light.shape[0], light.shape[1])
    if rng.random() < 0.5:  # saturated, or predicted by a network
        gain = np.float32(rng.uniform(1, 5))
        light = (1 - np.exp(-gain * light)) / (1 - np.exp(-gain))
    if rng.random() < 0.6:
        uneven = optics.texture(rng, shape, size, 3)
        light *= np.clip(1 + np.float32(rng.uniform(0.05, 0.4)) * uneven, 0.1, 2.5)
    if rng.random() < 0.4:  # nucleoli or vesicles, faint
        dots = np.zeros(light.size, np.float32)
        dots[rng.random(light.size) < rng.uniform(0.3, 2) / size**2] = 1
        dots = optics.blur(dots.reshape(shape), size * rng.uniform(0.04, 0.12))
        dots *= np.float32(rng.uniform(0.1, 0.5) / max(float(dots.max()), 1e-3))
        light += dots * inside
    return light


def thick_tissue(rng: Generator, side: int) -> tuple[RGBArray, Labels]:
    """Draw a slice through thick tissue whose labels are the cells.

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
    size = float(np.exp(rng.uniform(np.log(36), np.log(240))))
    places = _slice_places(rng, side, size)
    cells = _grow(rng, float(places[..., 1:].max()), size)
    width = size * float(np.exp(rng.uniform(np.log(0.03), np.log(0.16))))
    # Light is smooth at the width of a wall, and a grid about as fine is enough.
    step = int(np.clip(width / 2, 2, 8))
    coarse = optics.reduce(places, step)
    among = cells.candidates(coarse)
    block = np.arange(side) // step
    own = cells.own(places, among[block[:, None], block])
    labels = clean(np.where(cells.inside[own], own + 1, 0), 20)

    own = cells.own(coarse, among)
    light = _walls(rng, cells, coarse, among, own, size, width)
    light = _stain(rng, light, size / step, cells.inside[own])
    light = optics.enlarge(light, step)[:side, :side]
    light = optics.blur(light, width * float(rng.uniform(0.1, 0.6)))
    if rng.random() < 0.1:  # stained walls in brightfield: dark on light
        return rendering.transmitted(rng, 0.7 - 1.5 * light), labels
    if rng.random() < 0.4:  # denoised or deconvolved
        return rendering.finish(rng, rendering.to_uint8(rng, light)), labels
    return rendering.fluorescence(rng, light), labels
