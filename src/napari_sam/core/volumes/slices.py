"""The slices of a stack as a model sees them, read one at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.imaging import Tones, to_rgb, to_rgb_with_tones
from napari_sam.core.planes import read_plane
from napari_sam.errors import ImageError, PromptError, SettingsError
from napari_sam.types import Plane

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_sam.core.planes import ArrayLike
    from napari_sam.types import RGBArray

_SAMPLED = 8  # slices that the contrast of the stack is read from
_SAMPLE_SIDE = 512  # pixels along a side of each of them, at most


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """A stack of three axes, cut along one of them.

    Parameters
    ----------
    data : array (Z, H, W), or (Z, H, W, C) for ``rgb``
        numpy, dask, zarr or the like.
    axis : int
        The axis that is cut; slices are planes of the other two, in order.
    rgb : bool
        Whether a last axis holds color channels.
    limits : tuple of int
        First slice that is of interest, and one past the last.
    tones : Tones, optional
        The contrast of all slices alike; each has its own without.
    """

    data: ArrayLike
    axis: int
    rgb: bool
    limits: tuple[int, int]
    tones: Tones | None = None

    @staticmethod
    def of(
        data: object, axis: object = 0, rgb: bool = False, limits: object = None
    ) -> Slices:
        """Check a stack, and return its slices.

        Raises
        ------
        ImageError
            If it is not of three axes, or has a single slice.
        SettingsError
            If there is no such axis, or the limits are not within the stack.
        """
        if not hasattr(data, "shape") or not hasattr(data, "__getitem__"):
            raise ImageError(
                f"The stack is a {type(data).__name__}; pass an array, for example"
                " numpy.stack(planes)."
            )
        shape = tuple(int(n) for n in data.shape)
        spatial = shape[:-1] if rgb else shape
        if len(spatial) != 3:
            wanted = "(Z, H, W, 3) for rgb=True" if rgb else "(Z, H, W)"
            raise ImageError(
                f"The stack has shape {shape}; pass one of three axes, {wanted}."
            )
        if not isinstance(axis, int | np.integer) or not -3 <= axis < 3:
            raise SettingsError(f"axis is {axis!r}; choose 0, 1 or 2.")
        if 0 in shape:
            raise ImageError(
                f"The stack has shape {shape} and so no pixels; choose another."
            )
        length = spatial[int(axis) % 3]
        if length == 1:
            raise ImageError(
                f"The stack has shape {shape}, one slice along axis {axis}; choose"
                " another axis, or segment the slice by itself."
            )
        bounds = _checked_limits(limits, length)
        return Slices(data, int(axis) % 3, bool(rgb), bounds)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the stack, without channels."""
        z, y, x = (int(n) for n in self.data.shape[:3])
        return z, y, x

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a slice."""
        return self.plane(0).shape(self.shape)

    def check_position(self, position: object) -> int:
        """Return the position of a slice.

        Raises
        ------
        PromptError
            If there is no such slice, or it is beyond the limits.
        """
        length = self.shape[self.axis]
        if not isinstance(position, int | np.integer) or not 0 <= position < length:
            raise PromptError(
                f"Slice {position!r} is prompted and not in the stack, whose slices are"
                f" 0 to {length - 1}."
            )
        first, stop = self.limits
        if not first <= position < stop:
            raise PromptError(
                f"Slice {position} is prompted and not in {first} to {stop - 1}; choose"
                " other limits."
            )
        return int(position)

    def plane(self, position: int) -> Plane:
        """Return where a slice is."""
        rows, cols = (a for a in range(3) if a != self.axis)
        at = tuple(position if a == self.axis else None for a in range(3))
        return Plane((rows, cols), at)

    def rgb_of(self, position: int) -> RGBArray:
        """Return the pixels of a slice, (H, W, 3) uint8.

        Raises
        ------
        ImageError
            If it cannot be read; it is named.
        """
        pixels = read_plane(self.data, self.plane(position), rgb=self.rgb)
        return to_rgb(pixels, tones=self.tones)

    def with_contrast(self, prompted: Collection[int]) -> Slices:
        """Return the slices with one contrast, read from some of them.

        So an object keeps its gray values from slice to slice.

        Parameters
        ----------
        prompted : collection of int
            Slices that count in any case.
        """
        first, stop = self.limits
        spread = np.linspace(first, stop - 1, _SAMPLED).astype(int).tolist()
        parts = []
        for position in sorted({*prompted, *spread}):
            try:
                pixels = read_plane(self.data, self.plane(position), rgb=self.rgb)
            except ImageError:
                # Said when it is its turn, and what is nearer is done.
                continue
            rows, cols = (max(1, -(-n // _SAMPLE_SIDE)) for n in pixels.shape[:2])
            parts.append(pixels[::rows, ::cols])
        if not parts:
            return self
        return replace(self, tones=to_rgb_with_tones(np.concatenate(parts))[1])


def _checked_limits(limits: object, length: int) -> tuple[int, int]:
    if limits is None:
        return 0, length
    values = tuple(limits) if isinstance(limits, tuple | list) else ()
    is_whole = len(values) == 2 and all(isinstance(n, int | np.integer) for n in values)
    if not is_whole or not 0 <= values[0] < values[1] <= length:
        raise SettingsError(
            f"limits is {limits!r}; pass the first slice and one past the last, from 0"
            f" to {length}."
        )
    return int(values[0]), int(values[1])
