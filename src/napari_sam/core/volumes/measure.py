"""How large an object is: slices, volume, surface."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.measure import marching_cubes, mesh_surface_area

from napari_sam.core.planes import read_plane

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.core.planes import ArrayLike
    from napari_sam.types import Plane


@dataclass(frozen=True, slots=True)
class Measures:
    """Size of an object in a stack.

    Parameters
    ----------
    label : int
        Its number.
    first, last : int
        The first and the last slice that it is on.
    voxels : int
        How many pixels of all slices it has.
    volume : float
        The same in units of the scale.
    surface : float
        Area of the surface between its voxels' centers and others' (marching cubes,
        Lorensen & Cline 1987), in square units; NaN where it is one slice thick.
    """

    label: int
    first: int
    last: int
    voxels: int
    volume: float
    surface: float


def iter_measure(
    labels: ArrayLike, plane: Plane, axis: int, label: int, scale: Sequence[float]
) -> Generator[None, None, Measures | None]:
    """Measure an object along an axis, reading one slice after another.

    Parameters
    ----------
    labels : integer array, n-D
        One slice is read at a time.
    plane : Plane
        Any of the slices.
    axis : int
        The array axis that they lie along.
    label : int
        The object.
    scale : sequence of float
        Size of a pixel along each axis of the array.

    Returns
    -------
    Measures or None
        None if the object is on none of the slices.
    """
    found: dict[int, np.ndarray[Any, np.dtype[np.bool_]]] = {}
    low, high = np.full(2, np.iinfo(int).max), np.zeros(2, int)
    for position in range(labels.shape[axis]):
        mask = read_plane(labels, plane.moved(axis, position)) == label
        if mask.any():
            found[position] = mask
            places = np.argwhere(mask)
            low = np.minimum(low, places.min(axis=0))
            high = np.maximum(high, places.max(axis=0) + 1)
        yield
    if not found:
        return None
    first, last = min(found), max(found)
    body = np.zeros((last - first + 1, *(high - low)), bool)
    for position, mask in found.items():
        body[position - first] = mask[low[0] : high[0], low[1] : high[1]]
    step = [abs(float(scale[a])) for a in (axis, *plane.displayed)]
    yield
    surface = math.nan
    if last > first:
        # With a rim of nothing the surface is closed.
        vertices, faces, *_ = marching_cubes(
            np.pad(body, 1).astype(np.float32), 0.5, spacing=tuple(step)
        )
        surface = float(mesh_surface_area(vertices, faces))
    voxels = int(body.sum())
    return Measures(label, first, last, voxels, voxels * math.prod(step), surface)
