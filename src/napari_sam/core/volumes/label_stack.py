"""Label images of a stack, one at a time, and the segments in them.

A *segment* is the pixels of one label in one slice or frame.  Everything here is linear
in the number of pixels: labels are counted, not sorted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from skimage import measure

from napari_sam.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.core.planes import ArrayLike

IntArray = npt.NDArray[np.int64]
Labels: TypeAlias = "ArrayLike | Sequence[npt.NDArray[Any]]"

# Up to so many times the pixels a label may be large and still index a table.
_TABLE_FACTOR = 4


class LabelStack:
    """Label images of one shape, read when their turn comes.

    Parameters
    ----------
    labels : array (Z, H, W) or (T, Z, H, W), or a sequence of arrays without the first
        Integers from 0, which is the background; numpy, dask, zarr, or what else has a
        shape and is indexed.
    volumes : bool
        Whether each may be a volume, (Z, H, W), as along time.

    Raises
    ------
    LabelsError
        If it is no stack, has fewer than two slices, or they differ in shape or are no
        integers.  Values are looked at when a slice is read.
    """

    def __init__(self, labels: Labels, *, volumes: bool = False) -> None:
        self._labels: Any = labels
        shapes: list[tuple[int, ...]]
        dtypes: list[np.dtype[Any]]
        if isinstance(labels, list | tuple):
            self._labels = arrays = [np.asanyarray(image) for image in labels]
            shapes = [a.shape for a in arrays] or [()]
            dtypes = [a.dtype for a in arrays]
            self.shape = (len(arrays), *shapes[0])
        elif hasattr(labels, "shape") and hasattr(labels, "dtype"):
            self.shape = tuple(int(n) for n in labels.shape)
            shapes = [self.shape[1:]]
            dtypes = [np.dtype(labels.dtype)]
        else:
            raise LabelsError(
                f"The labels are a {type(labels).__name__}; pass an array (slices,"
                " rows, columns) or a list of label images."
            )
        _check_shapes(self.shape, shapes, volumes=volumes)
        for dtype in dtypes:
            if dtype.kind not in "iu":
                raise LabelsError(
                    f"Labels of type {dtype} are not integers; number the objects of"
                    " each slice first, for example with skimage.measure.label."
                )
        common = np.result_type(*dtypes)
        # int64 with uint64 would be float64.
        self.dtype = common if common.kind in "iu" else np.dtype(np.uint64)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Return a slice, checked.

        Raises
        ------
        LabelsError
            If it has labels below 0 or beyond int64.
        """
        image = np.asarray(self._labels[index])
        low, high = (int(image.min()), int(image.max())) if image.size else (0, 0)
        if low < 0:
            raise LabelsError(
                f"The labels of slice {index} go down to {low}; number objects from 1,"
                " with 0 for the background."
            )
        if high > np.iinfo(np.int64).max:
            raise LabelsError(
                f"The labels of slice {index} go up to {high}; renumber them from 1."
            )
        return image


def _check_shapes(
    shape: tuple[int, ...], shapes: list[tuple[int, ...]], *, volumes: bool
) -> None:
    if len(shape) != 3 and not (volumes and len(shape) == 4):
        wanted = (
            "(frames, rows, columns) or (frames, slices, rows, columns)"
            if volumes
            else "(slices, rows, columns)"
        )
        raise LabelsError(
            f"Labels of shape {shape} are not a stack to link; pass {wanted}."
        )
    for index, other in enumerate(shapes):
        if other != shapes[0]:
            raise LabelsError(
                f"Slice {index} has the shape {other} and slice 0 {shapes[0]}; pass"
                " label images of one shape."
            )
    if shape[0] < 2:
        raise LabelsError(
            f"There is nothing to link in {shape[0]} slice{'s' * (shape[0] != 1)}; pass"
            " two or more."
        )
    if 0 in shape:
        raise LabelsError(f"Labels of shape {shape} have no pixels; choose others.")


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Segments of a stack, in order of slice and label.

    Parameters
    ----------
    slices : int64 array (N,)
        Slice, or frame, of each.
    labels : int64 array (N,)
        Its label there.
    areas : int64 array (N,)
        In pixels, or voxels of frames that are volumes.
    centers : float64 array (N, D)
        Centroids, (row, column) or (plane, row, column), in pixels of a slice.
    """

    slices: IntArray
    labels: IntArray
    areas: IntArray
    centers: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.slices)

    @classmethod
    def joined(cls, parts: Sequence[Segments], ndim: int) -> Segments:
        """Return the segments of several slices; ``ndim`` is that of a slice."""
        if not parts:
            empty = np.zeros(0, np.int64)
            return cls(empty, empty, empty, np.zeros((0, ndim)))
        return cls(
            np.concatenate([p.slices for p in parts]),
            np.concatenate([p.labels for p in parts]),
            np.concatenate([p.areas for p in parts]),
            np.concatenate([p.centers for p in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """The labeled pixels of a slice.

    Parameters
    ----------
    shape : tuple of int
        Of the slice.
    at : int64 array (P,)
        Where they are, as indices of the flat slice.
    which : int32 array (P,)
        The segment of each, from 0.
    values : int64 array (N,)
        The label of each segment, ascending.
    """

    shape: tuple[int, ...]
    at: IntArray
    which: npt.NDArray[np.int32]
    values: IntArray

    @classmethod
    def of(cls, image: npt.NDArray[Any]) -> Foreground:
        """Return that of a label image, whose labels are from 0."""
        flat = image.ravel()
        at = np.flatnonzero(flat)
        labels = flat[at]
        if _fits_table(image):
            is_there = np.zeros(int(labels.max(initial=0)) + 1, np.bool_)
            is_there[labels] = True
            values = np.flatnonzero(is_there)
            table = np.zeros(len(is_there), np.int32)
            table[values] = np.arange(len(values))
            return cls(image.shape, at, table[labels], values)
        values, which = np.unique(labels, return_inverse=True)
        return cls(image.shape, at, which.astype(np.int32), values.astype(np.int64))

    def __len__(self) -> int:
        return len(self.values)

    def numbered(self) -> npt.NDArray[np.int32]:
        """Return the slice with the segments counted from 1, flat."""
        dense = np.zeros(math.prod(self.shape), np.int32)
        dense[self.at] = self.which + 1
        return dense

    def measured(self, index: int) -> Segments:
        """Return the segments; ``index`` is that of the slice."""
        n = len(self)
        areas = np.bincount(self.which, minlength=n)
        sums = [
            np.bincount(self.which, places, minlength=n)
            for places in np.unravel_index(self.at, self.shape)
        ]
        centers = np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None]
        return Segments(np.full(n, index, np.int64), self.values, areas, centers)

    def shared_with(self, other: npt.NDArray[np.int32], n_other: int) -> csr_array:
        """Return how many pixels the segments share with those of another slice.

        Parameters
        ----------
        other : int32 array
            The other slice, from `numbered`.
        n_other : int
            How many segments it has.

        Returns
        -------
        sparse float64 array (n_other, N)
            Only of those that share any.
        """
        partner = other[self.at]
        is_both = partner > 0
        pairs = (partner[is_both] - 1, self.which[is_both])
        counts = csr_array((np.ones(len(pairs[0])), pairs), shape=(n_other, len(self)))
        counts.sum_duplicates()
        return counts


@dataclass(frozen=True, slots=True)
class Pieces:
    """Connected pieces of equal values in a label image.

    Parameters
    ----------
    values : int
        How many values there are, without 0.
    pieces : int
        How many connected pieces of one value, also across corners.
    single : int
        How many of them are of one pixel.
    """

    values: int
    pieces: int
    single: int

    @classmethod
    def of(cls, image: npt.NDArray[Any]) -> Pieces:
        """Count those of a label image (H, W)."""
        found = measure.label(image, background=0, connectivity=2)
        sizes = np.bincount(found.ravel())[1:]
        values = len(Foreground.of(image))
        return cls(values, len(sizes), int(np.count_nonzero(sizes == 1)))

    @property
    def are_of_an_image(self) -> bool:
        """Whether these are rather the gray values of an image than objects.

        In three planes of each of 8 images most pieces were single pixels, with 2 to
        2765 pieces a value; in those of 6 true labels in none, with 1 to 10 of them.
        """
        return self.pieces >= 2 * self.values and 2 * self.single > self.pieces


def renumber(
    image: npt.NDArray[Any],
    values: IntArray,
    numbers: IntArray,
    out: npt.NDArray[Any],
) -> None:
    """Write a label image in which each of the labels has another number.

    Parameters
    ----------
    image : integer array
        Labels from 0.
    values : int64 array (N,)
        All labels that are in it, ascending, without 0.
    numbers : int64 array (N,)
        The new ones.
    out : integer array, of the same shape
        Where to; of a type that holds them.
    """
    if _fits_table(image):
        table = np.zeros(int(image.max(initial=0)) + 1, out.dtype)
        table[values] = numbers
        # With "clip" the result is not buffered; every label has its entry.
        np.take(table, image, out=out, mode="clip")
        return
    known = np.concatenate([[0], values])
    table = np.concatenate([[0], numbers]).astype(out.dtype)
    out[...] = table[np.searchsorted(known, image.astype(np.int64))]


def smallest_dtype(high: int, wanted: np.dtype[Any]) -> np.dtype[Any]:
    """Return a wanted integer type if it holds a number, else the smallest unsigned."""
    smallest: np.dtype[Any] = np.min_scalar_type(high)
    return wanted if high <= np.iinfo(wanted).max else smallest


def _fits_table(image: npt.NDArray[Any]) -> bool:
    return int(image.max(initial=0)) <= _TABLE_FACTOR * image.size + 65_535
