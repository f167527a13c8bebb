"""What is known about an image that came from a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.core.planes import ArrayLike

PIXEL = "pixel"
"""The unit of an axis whose physical size is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """An image read from a file, with its axes and physical size.

    Parameters
    ----------
    data : array-like
        Rows and columns last, then the color channels if ``rgb``.  A numpy
        array, or for a TIFF stack an object that reads planes when indexed.
    axes : str
        One letter per axis of ``data``, as tifffile has them: ``T``, ``Z``,
        ``C``, ``Y``, ``X``, ``S`` for color, ``Q`` where the file says nothing.
    scale : tuple of float
        Size of a step along every axis but ``S``; 1 where unknown.
    units : tuple of str
        Unit of ``scale``, such as ``micrometer`` or ``second``; ``pixel`` where
        unknown.
    name : str
        File name without its suffix.
    rgb : bool
        Whether the last axis holds color channels.
    notes : tuple of str
        What the file holds beyond ``data``, or was taken for something that it
        may not be; a clause each, to be said to the user.
    """

    data: ArrayLike
    axes: str
    scale: tuple[float, ...]
    units: tuple[str, ...]
    name: str
    rgb: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not hasattr(self.data, "shape"):
            raise TypeError(f"an image is an array, not {type(self.data).__name__}")
        n = len(self.data.shape)
        if len(self.axes) != n or self.rgb != self.axes.endswith("S"):
            raise ValueError(f"axes {self.axes} do not fit shape {self.data.shape}")
        if not len(self.scale) == len(self.units) == n - self.rgb:
            raise ValueError(f"scale {self.scale} does not fit axes {self.axes}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without the color channels: that of labels for this image."""
        shape = tuple(int(n) for n in self.data.shape)
        return shape[:-1] if self.rgb else shape

    @property
    def label_axes(self) -> str:
        """The letters of `shape`."""
        return self.axes[:-1] if self.rgb else self.axes
