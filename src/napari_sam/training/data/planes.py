"""Line up an image with its ground truth, plane by plane."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.imaging import MAX_CHANNELS, to_rgb
from napari_sam.core.planes import read_plane
from napari_sam.errors import DataError
from napari_sam.io import read_image
from napari_sam.training.data.coco import CocoImage
from napari_sam.training.data.samples import Sample
from napari_sam.types import Plane

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.core.planes import ArrayLike
    from napari_sam.training.data.sources import Pair


@dataclass(frozen=True, slots=True, eq=False)
class LabeledArray:
    """An image and a label image over the same leading axes.

    Parameters
    ----------
    name : str
        For the samples' names and messages.
    image : array-like
        Of the labels' shape, plus a channel axis if ``channel_axis`` is given.
    labels : array-like (..., H, W)
        One number per object.
    channel_axis : int, optional
        The axis of ``image`` that is neither in ``labels`` nor a plane's.
    displayed : tuple of two int
        The axes of ``labels`` along rows and columns of a plane.
    """

    name: str
    image: ArrayLike
    labels: ArrayLike
    channel_axis: int | None = None
    displayed: tuple[int, int] = (-2, -1)

    def planes(self, every: int = 1) -> list[Plane]:
        """Return every k-th plane, the first from the middle of the first k."""
        shape = self.labels.shape
        n = len(shape)
        shown = (self.displayed[0] % n, self.displayed[1] % n)
        ranges = [(None,) if a in shown else range(shape[a]) for a in range(n)]
        found = [Plane(shown, index) for index in itertools.product(*ranges)]
        return found[min(every // 2, (len(found) - 1) // 2) :: every]

    def sample_name(self, plane: Plane) -> str:
        """Return the name of a plane's sample, such as ``stem/3``."""
        position = ",".join(str(i) for i in plane.index if i is not None)
        return f"{self.name}/{position}" if position else self.name

    def truth(self, plane: Plane) -> npt.NDArray[np.int32]:
        """Return the labels of a plane, (H, W); all 0 if it has no object.

        Raises
        ------
        DataError
            If they are not whole numbers from 0, or one object covers all.
        """
        return checked_labels(read_plane(self.labels, plane))

    def sample(
        self, plane: Plane, labels: npt.NDArray[np.int32] | None = None
    ) -> Sample:
        """Return the sample of a plane, with its labels if they are known.

        Raises
        ------
        DataError
            As for `truth`.
        ImageError
            If the image cannot be read or shown.
        """
        if labels is None:
            labels = self.truth(plane)
        if self.channel_axis is None:
            pixels = read_plane(self.image, plane)
        elif self.channel_axis == len(self.image.shape) - 1:
            pixels = read_plane(self.image, plane, rgb=True)
        else:
            pixels = self._channels(plane, self.channel_axis)
        return Sample(self.sample_name(plane), to_rgb(pixels), labels)

    def _channels(self, plane: Plane, axis: int) -> npt.NDArray[Any]:
        """Return the pixels (H, W, C) of a plane."""
        rows, columns = (a + (a >= axis) for a in plane.displayed)
        channels = []
        for channel in range(self.image.shape[axis]):
            index = (*plane.index[:axis], channel, *plane.index[axis:])
            channels.append(read_plane(self.image, Plane((rows, columns), index)))
        return np.stack(channels, axis=-1)


def open_pair(pair: Pair) -> LabeledArray:
    """Open an image and its ground truth, loading stacks plane by plane.

    Raises
    ------
    DataError
        If their sizes differ or the labels are a color picture.
    FileFormatError, ImageError
        If one cannot be read.
    """
    image = read_image(pair.image)
    if isinstance(pair.truth, CocoImage):
        # Sizes first: a file may declare any, and labels are made in that size.
        sized = _Sized(pair.truth.shape)
        array = aligned(pair.name, image.data, sized, axes=image.axes)
        return replace(array, labels=pair.truth.labels())
    truth = read_image(pair.truth, colors=False)
    labels = _first_channel(truth.data) if truth.rgb else truth.data
    return aligned(pair.name, image.data, labels, axes=image.axes)


@dataclass(frozen=True, slots=True)
class _Sized:
    """Labels of which only the shape is known yet."""

    shape: tuple[int, ...]

    def __getitem__(self, key: Any) -> Any:
        raise TypeError("these labels have no pixels yet")


def aligned(
    name: str,
    image: ArrayLike,
    labels: ArrayLike,
    *,
    axes: str = "",
    channel_axis: int | None = None,
) -> LabeledArray:
    """Find the channel axis of an image, given its labels.

    Parameters
    ----------
    name : str
        For messages.
    image, labels : array-like
        The image has the labels' axes, and may have one more: the last, with at
        most 64 channels, or the one called ``C``.
    axes : str
        One letter per axis of ``image``, if known.
    channel_axis : int, optional
        The axis, if it is known.

    Raises
    ------
    DataError
        If the sizes differ.
    """
    shape, wanted = tuple(image.shape), tuple(labels.shape)
    if min(len(wanted), len(shape)) < 2:
        raise DataError(f"image of shape {shape} or labels of shape {wanted} are none")
    if channel_axis is not None:
        candidates = [channel_axis % len(shape)]
    elif shape == wanted:
        return LabeledArray(name, image, labels)
    else:
        candidates = [i for i, letter in enumerate(axes) if letter in "CS"]
        candidates += [len(shape) - 1] if shape[-1] <= MAX_CHANNELS else []
    for axis in candidates:
        if shape[:axis] + shape[axis + 1 :] == wanted:
            return LabeledArray(name, image, labels, axis)
    # Readers keep or drop axes of length one as they like.
    if channel_axis is None and wanted[0] == 1 and len(wanted) > 2:
        return aligned(name, image, labels[0], axes=axes)
    if channel_axis is None and shape[0] == 1 and len(shape) > 2:
        return aligned(name, image[0], labels, axes=axes[1:])
    raise DataError(
        f"image of {_size(shape)} and labels of {_size(wanted)} differ in size"
    )


def checked_labels(labels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return labels of a plane as int32, or say what is wrong with them.

    Parameters
    ----------
    labels : array (H, W)
        Boolean, integer, or floating point with whole numbers.  Numbers beyond
        int32 are replaced by others.

    Raises
    ------
    DataError
        If there are other values than whole numbers from 0, or one object
        covers the whole plane.
    """
    if labels.dtype.kind == "f":
        wrong = labels[~np.isfinite(labels) | (labels != np.floor(labels))]
        if wrong.size:
            raise DataError(f"labels are not whole numbers, for example {wrong[0]}")
    elif labels.dtype.kind not in "biu":
        raise DataError(f"labels of type {labels.dtype} are not numbers")
    low, high = labels.min(), labels.max()
    if low < 0:
        raise DataError(f"labels go down to {low}, but the background is 0")
    if low == high != 0:
        raise DataError("one object covers the whole image")
    if high > np.iinfo(np.int32).max:
        # With a 0 in front, so that the background keeps its number.
        _, order = np.unique(np.append(0, labels), return_inverse=True)
        labels = order[1:].reshape(labels.shape)
    return labels.astype(np.int32, copy=True)


def _first_channel(labels: ArrayLike) -> npt.NDArray[Any]:
    """Return the numbers of labels that were saved as a gray color picture."""
    pixels = np.asarray(labels[:])
    if (pixels[..., :3] != pixels[..., :1]).any():
        raise DataError("labels are a color picture; save one number per object")
    return pixels[..., 0]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
