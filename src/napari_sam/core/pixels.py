"""The pixels of a plane, read part by part at the resolution that a view needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from napari_sam.core.imaging import Tones, to_rgb
from napari_sam.core.planes import level_plane, read_plane
from napari_sam.types import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.types import Frame, Plane, RGBArray


class PlanePixels(Protocol):
    """What a model may see of a plane: RGB pixels of any part of it."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the finest resolution."""

    @property
    def nbytes(self) -> int:
        """Bytes that are in memory because of it."""

    def read(self, region: Region, frame: Frame) -> RGBArray:
        """Return the pixels of a part, no finer than they are looked at.

        Parameters
        ----------
        region : Region
            Inside the plane, in pixels of the finest resolution.
        frame : Frame
            How the part will sit in a model's input.

        Returns
        -------
        uint8 array (h, w, 3)
            The part: of a pyramid its coarsest level that has a pixel for each of the
            input's, else the finest.  All parts are normalized alike.

        Raises
        ------
        ImageError
            If they cannot be read.
        """


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPixels:
    """A plane that is wholly in memory.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3)
        The plane.
    """

    rgb: RGBArray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.rgb.nbytes

    def read(self, region: Region, frame: Frame) -> RGBArray:
        """Return a part; see `PlanePixels.read`."""
        del frame
        return self.rgb[region.slices]


@dataclass(frozen=True, slots=True, eq=False)
class PyramidPixels:
    """A plane of an array of any kind, or of a pyramid of them; only parts are read.

    Parameters
    ----------
    levels : tuple of array-like
        The pyramid, finest first; one entry for an ordinary array.
    plane : Plane
        Of the finest level.
    rgb : bool
        Whether the last axis of the arrays holds color channels.
    tones : Tones
        Those of the whole plane.
    """

    levels: tuple[Any, ...]
    plane: Plane
    rgb: bool
    tones: Tones

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at the finest resolution."""
        return self.plane.shape(level_shapes(self.levels, self.plane.ndim)[0])

    @property
    def nbytes(self) -> int:
        """Nothing is kept."""
        return 0

    def read(self, region: Region, frame: Frame) -> RGBArray:
        """Return a part; see `PlanePixels.read`."""
        return to_rgb(
            read_part(self.levels, self.plane, region, frame, rgb=self.rgb),
            tones=self.tones,
        )


def level_shapes(levels: Sequence[Any], ndim: int) -> list[tuple[int, ...]]:
    """Return the shape of every level of a pyramid, without colors."""
    return [tuple(int(n) for n in a.shape[:ndim]) for a in levels]


def read_part(
    levels: Sequence[Any], plane: Plane, region: Region, frame: Frame, *, rgb: bool
) -> Any:
    """Return the pixels of a part of a plane as they are in the level that suits it.

    Parameters
    ----------
    levels : sequence of array-like
        The pyramid, finest first.
    plane : Plane
        Of the finest level.
    region : Region
        In pixels of the finest level, inside the plane.
    frame : Frame
        How the part will sit in a model's input.
    rgb : bool
        Whether the last axis of the arrays holds color channels.

    Returns
    -------
    array (h, w) or (h, w, C)
        Of the coarsest level that has a pixel for each of the input's, in each
        direction; its border is that of the region to half a pixel there.
    """
    shapes = level_shapes(levels, plane.ndim)
    sizes = [plane.shape(shape) for shape in shapes]
    level = max(
        k
        for k, size in enumerate(sizes)
        if k == 0
        or all(
            have / whole >= scale * (1 - 1e-6)
            for have, whole, scale in zip(size, sizes[0], frame.scale, strict=True)
        )
    )
    at = plane
    if level:
        region = _in_level(region, sizes[0], sizes[level])
        at = level_plane(plane, shapes[0], shapes[level])
    return read_plane(levels[level], at, rgb=rgb, region=region)


def _in_level(region: Region, size: tuple[int, int], have: tuple[int, int]) -> Region:
    """Return a region in pixels of a coarser level, at least one pixel of it."""
    bounds = []
    for start, stop, whole, count in (
        (region.row0, region.row1, size[0], have[0]),
        (region.col0, region.col1, size[1], have[1]),
    ):
        first = min(round(start * count / whole), count - 1)
        bounds.append((first, max(first + 1, round(stop * count / whole))))
    (row0, row1), (col0, col1) = bounds
    return Region(row0, col0, row1, col1)
