"""Value types shared by every part of the package.

Everything here is immutable and made of numpy arrays and plain numbers, so it
may cross threads.  Arrays inside are read-only by convention.

Coordinates are napari's: ``(row, column)`` in pixels, the center of the first
pixel at ``(0, 0)``, so an image of height ``H`` spans ``-0.5 .. H - 0.5``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
RGBArray = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""A box prompt ``(row0, column0, row1, column1)`` in pixels, ordered."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long operation is: ``done`` of ``total`` steps.

    Parameters
    ----------
    done, total : int
        Finished steps and all steps; ``total`` is 0 while unknown.
    text : str
        What is being done, for a progress bar ("plane 3 of 20").
    """

    done: int
    total: int
    text: str = ""


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Plane:
    """A 2-D plane of an n-D array.

    Parameters
    ----------
    displayed : tuple of two int
        The array axes that run along the rows and along the columns.
    index : tuple of (int or None)
        One entry per array axis: the position along it, ``None`` for the two
        displayed axes.

    Examples
    --------
    >>> Plane((1, 2), (5, None, None)).slicer
    (5, slice(None, None, None), slice(None, None, None))
    """

    displayed: tuple[int, int]
    index: tuple[int | None, ...]

    def __post_init__(self) -> None:
        open_axes = {a for a, i in enumerate(self.index) if i is None}
        if set(self.displayed) != open_axes or len(open_axes) != 2:
            raise ValueError(
                f"Plane axes {self.displayed} do not match index {self.index}"
            )

    @property
    def ndim(self) -> int:
        """Number of array axes."""
        return len(self.index)

    @property
    def slicer(self) -> tuple[int | slice, ...]:
        """Index expression that cuts the plane out, in array-axis order.

        The result still has to be transposed if ``displayed`` is descending.
        """
        return tuple(slice(None) if i is None else i for i in self.index)

    @property
    def is_transposed(self) -> bool:
        """Whether rows run along the later array axis."""
        return self.displayed[0] > self.displayed[1]

    def shape(self, array_shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of this plane of an array of that shape."""
        return array_shape[self.displayed[0]], array_shape[self.displayed[1]]

    def to_array_point(self, row: float, column: float) -> tuple[float, ...]:
        """n-D array coordinates of a point of the plane."""
        point = [float(i) if i is not None else 0.0 for i in self.index]
        point[self.displayed[0]] = row
        point[self.displayed[1]] = column
        return tuple(point)

    def to_plane_point(self, point: npt.ArrayLike) -> tuple[float, float]:
        """Row and column of an n-D array point, whichever plane it is on."""
        p = np.asarray(point, dtype=float)
        return float(p[self.displayed[0]]), float(p[self.displayed[1]])

    def contains(self, point: npt.ArrayLike) -> bool:
        """Whether an n-D point, rounded to whole indices, lies on this plane.

        Half-way between two planes counts for the even one, as in napari.
        """
        p = np.asarray(point, dtype=float)
        return all(
            i is None or int(np.round(x)) == i
            for i, x in zip(self.index, p, strict=True)
        )

    def moved(self, axis: int, position: int) -> Plane:
        """Return the parallel plane at another position along one axis."""
        if self.index[axis] is None:
            raise ValueError(f"axis {axis} is displayed and has no position")
        index = list(self.index)
        index[axis] = position
        return Plane(self.displayed, tuple(index))


@dataclass(frozen=True, slots=True)
class Region:
    """A half-open rectangle of pixels, ``[row0, row1) × [col0, col1)``."""

    row0: int
    col0: int
    row1: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, never negative."""
        return max(0, self.row1 - self.row0), max(0, self.col1 - self.col0)

    @property
    def is_empty(self) -> bool:
        """Whether the region has no pixel."""
        return self.row1 <= self.row0 or self.col1 <= self.col0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices that cut the region out of a plane."""
        return slice(self.row0, self.row1), slice(self.col0, self.col1)

    def union(self, other: Region) -> Region:
        """Return the smallest region that contains both; empty ones are ignored."""
        if self.is_empty:
            return other
        if other.is_empty:
            return self
        return Region(
            min(self.row0, other.row0),
            min(self.col0, other.col0),
            max(self.row1, other.row1),
            max(self.col1, other.col1),
        )

    def intersection(self, other: Region) -> Region:
        """Return the common part, possibly empty."""
        return Region(
            max(self.row0, other.row0),
            max(self.col0, other.col0),
            min(self.row1, other.row1),
            min(self.col1, other.col1),
        )

    def shifted(self, rows: int, cols: int) -> Region:
        """Return the region moved by whole pixels."""
        return Region(
            self.row0 + rows, self.col0 + cols, self.row1 + rows, self.col1 + cols
        )

    def padded(self, pixels: int, shape: tuple[int, int]) -> Region:
        """Return the region grown on every side, clipped to an image shape."""
        return Region(
            max(0, self.row0 - pixels),
            max(0, self.col0 - pixels),
            min(shape[0], self.row1 + pixels),
            min(shape[1], self.col1 + pixels),
        )

    @staticmethod
    def whole(shape: tuple[int, int]) -> Region:
        """Return the region of a whole image."""
        return Region(0, 0, shape[0], shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class MaskCrop:
    """A binary mask stored as its bounding box only.

    Parameters
    ----------
    mask : bool array (h, w)
        The pixels inside ``region``.
    region : Region
        Where the crop lies in the plane; same height and width as ``mask``.
    """

    mask: BoolArray
    region: Region

    def __post_init__(self) -> None:
        if self.mask.shape != self.region.shape:
            raise ValueError(f"mask {self.mask.shape} does not fill {self.region}")

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(np.count_nonzero(self.mask))

    def tight(self) -> MaskCrop:
        """Return the same mask with the smallest possible region."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        if rows.size == 0:
            r = self.region
            return MaskCrop(
                np.zeros((0, 0), bool), Region(r.row0, r.col0, r.row0, r.col0)
            )
        cols = np.flatnonzero(self.mask.any(axis=0))
        inner = Region(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
        return MaskCrop(
            self.mask[inner.slices], inner.shifted(self.region.row0, self.region.col0)
        )

    def full(self, shape: tuple[int, int]) -> BoolArray:
        """Return the mask in a full plane of that shape, cut at its border."""
        out = np.zeros(shape, bool)
        r = self.region.intersection(Region.whole(shape))
        if not r.is_empty:
            out[r.slices] = self.mask[
                r.shifted(-self.region.row0, -self.region.col0).slices
            ]
        return out

    @staticmethod
    def from_full(mask: npt.ArrayLike) -> MaskCrop:
        """Return the tight crop of a full-plane mask."""
        full = np.asarray(mask, dtype=bool)
        return MaskCrop(full, Region.whole((full.shape[0], full.shape[1]))).tight()


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """A click: ``positive`` says the object is here, negative that it is not."""

    row: float
    column: float
    positive: bool = True


@dataclass(frozen=True, slots=True)
class PromptSet:
    """All that the user said about one object on one plane.

    Parameters
    ----------
    points : tuple of PointPrompt
        Any number of positive and negative clicks.
    box : tuple of four float, optional
        ``(row0, column0, row1, column1)`` in pixels.
    mask : MaskCrop, optional
        A rough outline, filled.
    """

    points: tuple[PointPrompt, ...] = ()
    box: Box | None = None
    mask: MaskCrop | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to predict from.

        Negative points alone say only where the object is not.
        """
        return (
            self.box is None
            and self.mask is None
            and not any(p.positive for p in self.points)
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """How an image sits in the model's square input.

    Parameters
    ----------
    image_size : tuple of int
        Height and width of the image in pixels.
    input_size : tuple of int
        Height and width after resizing, before zero-padding at the bottom and
        right.
    side : int
        Side of the model's square input in pixels (1024 for SAM).
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    side: int

    @property
    def scale(self) -> tuple[float, float]:
        """Model pixels per image pixel along rows and columns."""
        return (
            self.input_size[0] / self.image_size[0],
            self.input_size[1] / self.image_size[1],
        )

    @staticmethod
    def fit(image_size: tuple[int, int], side: int = 1024) -> Frame:
        """Return the frame whose longest side fills ``side``, rounded half up."""
        height, width = image_size
        scale = side / max(height, width)
        return Frame(
            (height, width),
            (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))),
            side,
        )


FEATURES = "features"
"""Name of the one tensor that every embedding has."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What the image encoder computed for one plane, or for a view of it.

    Parameters
    ----------
    tensors : mapping of str to float16 array
        By name: ``"features"``, and what else the model answers from.
    frame : Frame
        How the plane or the view sat in the model's input.
    model : str
        Fingerprint of the image encoder that computed it.
    """

    tensors: Mapping[str, npt.NDArray[np.float16]]
    frame: Frame
    model: str

    def __post_init__(self) -> None:
        if FEATURES not in self.tensors:
            raise ValueError(f"an embedding has {FEATURES}, not only {[*self.tensors]}")

    @property
    def features(self) -> npt.NDArray[np.float16]:
        """Feature vector of each cell of the input, (C, side / 16, side / 16)."""
        return self.tensors[FEATURES]

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class MaskLevel(StrEnum):
    """Which of the model's answers to use.

    SAM answers an ambiguous prompt with three nested masks, ordered here by
    area, and a fourth for prompts that are not ambiguous.  ``AUTO`` takes the
    best-scored of the three for one point and the fourth otherwise; of a model
    that blends its masks, the blend of all four.
    """

    AUTO = "auto"
    SUBPART = "subpart"
    PART = "part"
    WHOLE = "whole"

    def next(self) -> MaskLevel:
        """Return the level that the cycle key shows next."""
        order = list(MaskLevel)
        return order[(order.index(self) + 1) % len(order)]


NESTED_LEVELS = (MaskLevel.SUBPART, MaskLevel.PART, MaskLevel.WHOLE)
"""The answers to an ambiguous prompt, from the smallest."""
