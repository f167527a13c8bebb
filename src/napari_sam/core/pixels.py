"""The pixels of a plane, read part by part at the resolution that a view needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from napari_sam.types import Frame, Region, RGBArray


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
