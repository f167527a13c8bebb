"""Reading planes out of n-D arrays of any kind, only the plane being loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_sam.errors import ImageError
from napari_sam.types import Plane, Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class ArrayLike(Protocol):
    """A numpy, dask or zarr array, or any other with basic indexing."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a part cut out with integers and slices."""


def read_plane(
    data: ArrayLike, plane: Plane, *, rgb: bool = False, region: Region | None = None
) -> npt.NDArray[Any]:
    """Return one plane of an array, or a part of it, loading nothing else.

    May block: it reads from disk or computes what a lazy array needs.

    Parameters
    ----------
    data : array-like, n-D
        Indexed first and converted after, so that a dask or zarr array loads
        only the chunks under the plane.
    plane : Plane
        Which plane; rows and columns come in its order of axes.
    rgb : bool
        Whether the last axis of ``data`` holds color channels; ``plane`` then
        describes the other axes.
    region : Region, optional
        Rows and columns of the plane to read; all of them by default.

    Returns
    -------
    array (H, W), or (H, W, C) for ``rgb``
        A view where ``data`` allows one: not to be written to.

    Raises
    ------
    ImageError
        If the plane lies outside the array, has no pixels, or cannot be read;
        the cause is chained.
    """
    spatial = tuple(data.shape[:-1] if rgb else data.shape)
    if len(spatial) != plane.ndim:
        raise ValueError(f"{plane} does not fit an array of shape {data.shape}")
    for axis, (position, length) in enumerate(zip(plane.index, spatial, strict=True)):
        if position is not None and not 0 <= position < length:
            raise ImageError(
                f"The image has no position {position} on axis {axis}, which has"
                f" {length}; move the sliders onto the image."
            )
    _check_mapped(data)
    try:
        pixels = np.asarray(data[_slicer(plane, region)])
    except Exception as error:
        # Lazy arrays run code of any origin here: readers, decoders, user graphs.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ImageError(
            f"The plane at {_where(plane)} could not be read ({reason});"
            " check the image's source."
        ) from error
    if pixels.size == 0:
        raise ImageError(
            f"The image has shape {tuple(data.shape)} and so no pixels; choose another."
        )
    return pixels.swapaxes(0, 1) if plane.is_transposed else pixels


def _slicer(plane: Plane, region: Region | None) -> tuple[int | slice, ...]:
    """Return what cuts a part of a plane out of an array, axes in its order."""
    slicer = list(plane.slicer)
    if region is not None:
        for axis, part in zip(plane.displayed, region.slices, strict=True):
            slicer[axis] = part
    return tuple(slicer)


OVERVIEW = 2048
"""How long the overview of a plane is that is too large to be read at once."""
_AT_ONCE = 1 << 24  # pixels; more are read in strips
_LARGE = 4096


def is_large(size: tuple[int, int]) -> bool:
    """Whether a plane of this height and width is read as an overview and parts."""
    return max(size) > _LARGE


def read_overview(
    data: ArrayLike, plane: Plane, *, rgb: bool = False
) -> npt.NDArray[Any]:
    """Return a large plane at a coarser resolution, reading it in strips.

    Parameters are those of :func:`read_plane`.

    Returns
    -------
    array (h, w), or (h, w, C) for ``rgb``
        Means over the pixels that each new one covers, at most `OVERVIEW` rows and
        columns; integers stay integers of their type, all else is float32.
    """
    height, width = plane.shape(tuple(data.shape)[: plane.ndim])
    factor = max(height, width) / min(OVERVIEW, max(height, width))
    rows, cols = (_bounds(n, max(1, round(n / factor))) for n in (height, width))
    counts = np.diff(rows)[:, None] * np.diff(cols)[None].astype(np.float32)
    strips = []
    step = max(1, int(_AT_ONCE / width / max(1.0, factor)))
    for first in range(0, len(rows) - 1, step):
        last = min(first + step, len(rows) - 1)
        part = read_plane(
            data, plane, rgb=rgb, region=Region(rows[first], 0, rows[last], width)
        )
        kind = part.dtype
        wide = np.float32 if kind.itemsize <= 2 or kind == np.float32 else np.float64
        summed = np.add.reduceat(part, cols[:-1], axis=1, dtype=wide)
        summed = np.add.reduceat(summed, rows[first:last] - rows[first], axis=0)
        share = counts[first:last].reshape(*summed.shape[:2], *(1,) * (part.ndim - 2))
        strips.append(summed / share)
    means = np.concatenate(strips)
    overview: npt.NDArray[Any] = means.astype(np.float32)
    if kind.kind in "iu":
        overview = np.rint(means).astype(kind)
    return overview


def _bounds(length: int, count: int) -> npt.NDArray[np.intp]:
    """Return the bounds of ``count`` parts of an axis that are equal to a pixel."""
    return (np.arange(count + 1) * length // count).astype(np.intp)


def _check_mapped(data: object) -> None:
    """Refuse an array in a mapped file that is shorter by now.

    The system kills a process that touches what is missing.
    """
    root = data
    while isinstance(root, np.ndarray) and isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None:
        return
    try:
        size = os.path.getsize(root.filename)
    except OSError:  # a file that was removed stays whole while it is mapped
        return
    if size < root.offset + root.nbytes:
        raise ImageError(
            f"{root.filename} has been cut short at {size:,} bytes; get the file again"
            " and open the image anew."
        )


def choose_level(
    level_shapes: Sequence[tuple[int, ...]],
    displayed: tuple[int, int],
    side: int = 1024,
) -> int:
    """Return the pyramid level to encode: the coarsest that loses nothing.

    Parameters
    ----------
    level_shapes : sequence of tuple of int
        Array shape of every level, finest first.
    displayed : tuple of two int
        The array axes of the plane.
    side : int
        Side of the model's input in pixels.

    Returns
    -------
    int
        The coarsest level whose plane is at least ``side`` long on its longer
        side; 0 if none is.
    """
    for level in range(len(level_shapes) - 1, 0, -1):
        if max(level_shapes[level][axis] for axis in displayed) >= side:
            return level
    return 0


def level_plane(
    plane: Plane, shape0: tuple[int, ...], shape_k: tuple[int, ...]
) -> Plane:
    """Return the plane of a coarser pyramid level that shows the same place.

    Parameters
    ----------
    plane : Plane
        A plane of level 0.
    shape0, shape_k : tuple of int
        Array shapes of level 0 and of the coarser level; a trailing channel
        axis is ignored.

    Returns
    -------
    Plane
        At the pixels that contain the centers of those of level 0.
    """
    index = tuple(
        None if i is None else min(n_k - 1, (2 * i + 1) * n_k // (2 * n_0))
        for i, n_0, n_k in zip(plane.index, shape0, shape_k, strict=False)
    )
    return Plane(plane.displayed, index)


def is_plane_of(plane: Plane, shape: tuple[int, ...]) -> bool:
    """Whether a plane exists in an array of this shape."""
    return plane.ndim == len(shape) and all(
        i is None or 0 <= i < n for i, n in zip(plane.index, shape, strict=True)
    )


def iter_planes(shape: tuple[int, ...], plane: Plane, axis: int) -> Iterator[Plane]:
    """Yield the parallel planes at every position along an axis, in order.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    plane : Plane
        Any of them.
    axis : int
        An array axis that is not displayed; `ValueError` if it is.
    """
    for position in range(shape[axis]):
        yield plane.moved(axis, position)


def _where(plane: Plane) -> str:
    positions = [f"{i} on axis {a}" for a, i in enumerate(plane.index) if i is not None]
    return ", ".join(positions) if positions else "this position"
