"""Reading planes of an image layer, away from the layer.

A `PlaneSource` is a snapshot taken in the GUI thread: array references and
display settings.  The worker reads from it and never touches the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_sam.core.imaging import Channel, as_seen, compose, to_rgb_with_tones
from napari_sam.core.pixels import PyramidPixels, level_shapes, read_part
from napari_sam.core.planes import (
    choose_level,
    is_large,
    level_plane,
    read_overview,
    read_plane,
)
from napari_sam.errors import ImageError
from napari_sam.types import Plane
from napari_sam.viewer.coords import layer_shape, unit_factors
from napari_sam.viewer.settings import Normalization

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.layers import Image

    from napari_sam.core.imaging import Blending
    from napari_sam.core.pixels import PlanePixels
    from napari_sam.types import BoolArray, Frame, Region, RGBArray


_MANY_PIXELS = 1 << 28


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """Arrays and display settings of one image layer.

    Parameters
    ----------
    levels : tuple of array-like
        The pyramid, finest first; one entry for an ordinary image.
    rgb : bool
        Whether the last array axis holds color channels.
    contrast_limits, gamma, opacity, blending
        As in the layer.
    lut : float array (256, 4)
        The layer's colormap.
    to_own : float array (m, n + 1), optional
        Takes array coordinates of the image that is segmented, n and a 1, to those of
        this one.  None for that image itself and for what lies pixel on pixel with it.
    """

    levels: tuple[Any, ...]
    rgb: bool
    contrast_limits: tuple[float, float]
    gamma: float
    opacity: float
    blending: Blending
    lut: npt.NDArray[np.float32]
    to_own: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PlaneSource:
    """Where the pixels of a layer's planes come from.

    Parameters
    ----------
    name : str
        The layer's name, for messages.
    shape : tuple of int
        Shape of the layer at full resolution, without color channels.
    layers : tuple of ImageData
        The image itself; in "as displayed" mode all visible layers instead, bottom
        to top.
    normalization : Normalization
        How pixels become RGB.
    """

    name: str
    shape: tuple[int, ...]
    layers: tuple[ImageData, ...]
    normalization: Normalization

    def read(self, plane: Plane) -> tuple[RGBArray, tuple[int, int]]:
        """Read one plane as RGB; runs in the worker.

        Returns
        -------
        rgb : uint8 array (H, W, 3)
            Possibly from a coarser pyramid level, or the overview of a large plane,
            that still fills the model's input.
        size : tuple of int
            Height and width of the plane at full resolution, which prompts and
            masks refer to.
        """
        return self.read_with_pixels(plane)[:2]

    def read_with_pixels(
        self, plane: Plane
    ) -> tuple[RGBArray, tuple[int, int], PlanePixels | None]:
        """Read one plane as RGB, and return what reads finer parts of it.

        Returns
        -------
        rgb, size
            As :meth:`read` does.
        pixels : PlanePixels or None
            The plane at full resolution; None if ``rgb`` is that, or if layers that
            do not lie pixel on pixel are shown together.
        """
        size = plane.shape(self.shape)
        if self.normalization is not Normalization.DISPLAYED:
            image = self.layers[0]
            rgb, tones = to_rgb_with_tones(self._pixels(image, plane))
            if rgb.shape[:2] == size:
                return rgb, size, None
            return rgb, size, PyramidPixels(image.levels, plane, image.rgb, tones)
        rgb = self._displayed(plane, size)
        if rgb.shape[:2] == size or any(i.to_own is not None for i in self.layers):
            return rgb, size, None
        return rgb, size, _DisplayedPixels(self.layers, plane)

    def _displayed(self, plane: Plane, size: tuple[int, int]) -> RGBArray:
        """Return all visible layers as displayed, at the resolution to encode."""
        # A pyramid among those that lie pixel on pixel with the image gives the grid.
        own = [self._pixels(i, plane) for i in self.layers if i.to_own is None]
        grid = min((p.shape[:2] for p in own), default=size)
        found = iter(own)
        channels = []
        for image in self.layers:
            pixels = next(found) if image.to_own is None else None
            if pixels is not None and pixels.shape[:2] == grid:
                channels.append(_channel(image, pixels))
                continue
            resampled = self._resampled(image, plane, (grid[0], grid[1]), size)
            if resampled is not None:
                channels.append(_channel(image, *resampled))
        if not channels:
            raise ImageError(
                f"No visible image has pixels on this plane of '{self.name}'; show it, "
                "or let the model see the image alone."
            )
        return compose(channels)

    @property
    def is_quick(self) -> bool:
        """Whether reading every plane is a matter of seconds, and of memory only."""
        return (
            sum(
                level.size if isinstance(level, np.ndarray) else _MANY_PIXELS
                for image in self.layers
                for level in image.levels[:1]
            )
            < _MANY_PIXELS
        )

    def is_reduced(self, plane: Plane) -> bool:
        """Whether a plane is searched at a coarser resolution than the finest.

        As layers are that do not lie pixel on pixel with the image.
        """
        if self.normalization is not Normalization.DISPLAYED or not any(
            i.to_own is not None for i in self.layers
        ):
            return False
        return any(
            choose_level(level_shapes(i.levels, plane.ndim), plane.displayed) > 0
            or is_large(plane.shape(self.shape))
            for i in self.layers
            if i.to_own is None
        )

    def _resampled(
        self,
        image: ImageData,
        plane: Plane,
        grid: tuple[int, int],
        size: tuple[int, int],
    ) -> tuple[npt.NDArray[Any], BoolArray] | None:
        """Return an image's nearest pixels on a plane of another, and where it is.

        None where it has nothing on that plane, or lies across it at an angle.
        """
        n = plane.ndim
        to_own = np.eye(n, n + 1) if image.to_own is None else image.to_own
        shape = tuple(int(k) for k in image.levels[0].shape[: len(to_own)])
        origin = to_own @ [*plane.to_array_point(0.0, 0.0), 1.0]
        down, right = (to_own[:, a] for a in plane.displayed)
        axes = np.flatnonzero(np.abs(down) + np.abs(right) > 1e-9)
        at_slice = [math.floor(x + 0.5) for x in origin]
        if len(axes) != 2 or any(
            not 0 <= i < n
            for a, (i, n) in enumerate(zip(at_slice, shape, strict=True))
            if a not in axes
        ):
            return None
        own = Plane(
            (int(axes[0]), int(axes[1])),
            tuple(None if a in axes else i for a, i in enumerate(at_slice)),
        )
        pixels = self._pixels(image, own)
        at, covered = [], np.ones((1, 1), bool)
        for a, have in zip(axes, pixels.shape[:2], strict=True):
            place = np.full((1, 1), origin[a])
            for along, count, length, sign in (
                (down[a], grid[0], size[0], (slice(None), None)),
                (right[a], grid[1], size[1], (None, slice(None))),
            ):
                if abs(along) > 1e-9:
                    centers = (np.arange(count) + 0.5) * length / count - 0.5
                    place = place + (along * centers)[sign]
            # Of a coarser level, the pixel that this place is in.
            pixel = np.floor((place + 0.5) * have / shape[a]).astype(np.intp)
            covered = covered & (pixel >= 0) & (pixel < have)
            at.append(pixel.clip(0, have - 1))
        return pixels[at[0], at[1]], np.broadcast_to(covered, grid)

    def _pixels(self, image: ImageData, plane: Plane) -> npt.NDArray[Any]:
        shapes = level_shapes(image.levels, plane.ndim)
        level = choose_level(shapes, plane.displayed)
        at = level_plane(plane, shapes[0], shapes[level])
        data = image.levels[level]
        if is_large(at.shape(shapes[level])):
            return read_overview(data, at, rgb=image.rgb)
        return read_plane(data, at, rgb=image.rgb)


@dataclass(frozen=True, slots=True, eq=False)
class _DisplayedPixels:
    """Layers that lie pixel on pixel, as displayed, read part by part."""

    layers: tuple[ImageData, ...]
    plane: Plane

    @property
    def size(self) -> tuple[int, int]:
        shapes = level_shapes(self.layers[0].levels, self.plane.ndim)
        return self.plane.shape(shapes[0])

    @property
    def nbytes(self) -> int:
        return 0

    def read(self, region: Region, frame: Frame) -> RGBArray:
        parts = [
            read_part(i.levels, self.plane, region, frame, rgb=i.rgb)
            for i in self.layers
        ]
        # Of pyramids of other steps the levels differ: all as the finest of them.
        finest = max((p.shape[:2] for p in parts), default=(0, 0))
        return compose(
            [
                _channel(
                    image, part if part.shape[:2] == finest else as_seen(part, finest)
                )
                for image, part in zip(self.layers, parts, strict=True)
            ]
        )


def _channel(
    image: ImageData,
    pixels: npt.NDArray[Any],
    covered: BoolArray | None = None,
) -> Channel:
    return Channel(
        data=pixels,
        contrast_limits=image.contrast_limits,
        gamma=image.gamma,
        lut=image.lut,
        opacity=image.opacity,
        blending=image.blending,
        covered=covered,
    )


def _between(image: Image, other: Image) -> npt.NDArray[np.float64] | None:
    """Return what takes array coordinates of an image to those of another layer.

    None where the two lie pixel on pixel.
    """
    factors = unit_factors(image.units, other)

    def moved(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        world = np.asarray(image.data_to_world(tuple(point)), float)[-other.ndim :]
        return np.asarray(other.world_to_data(tuple(world * factors)), float)

    origin = moved(np.zeros(image.ndim))
    columns = [moved(unit) - origin for unit in np.eye(image.ndim)]
    matrix = np.column_stack([*columns, origin])
    is_same = layer_shape(image) == layer_shape(other) and np.allclose(
        matrix, np.eye(image.ndim, image.ndim + 1), atol=1e-3
    )
    return None if is_same else matrix


def _snapshot(layer: Image, to_own: npt.NDArray[np.float64] | None = None) -> ImageData:
    # Materialising here would load a lazy array; only references are taken.
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    low, high = layer.contrast_limits
    lut = np.asarray(layer.colormap.map(np.linspace(0, 1, 256)), dtype=np.float32)
    return ImageData(
        levels=levels,
        rgb=bool(layer.rgb),
        contrast_limits=(float(low), float(high)),
        gamma=float(layer.gamma),
        opacity=float(layer.opacity),
        blending=cast("Blending", str(layer.blending)),
        lut=lut,
        to_own=to_own,
    )


def snapshot(
    layer: Image,
    normalization: Normalization,
    others: Sequence[Image] = (),
) -> PlaneSource:
    """Take a snapshot of an image layer; GUI thread.

    Parameters
    ----------
    layer : Image
        The image to segment.
    normalization : Normalization
        Percentiles of this image, or the displayed composition.
    others : sequence of Image
        All image layers of the viewer in drawing order; used by the displayed
        composition, which takes those that are visible, each where it lies.  The
        image itself is taken alone if nothing is visible.

    Raises
    ------
    ImageError
        If the image has no pixel, or a type that is not a picture.
    """
    shape = layer_shape(layer)
    if 0 in shape:
        raise ImageError(
            f"Image layer '{layer.name}' has shape {shape} and so no pixel to "
            "segment; choose another image."
        )
    kind = np.dtype(layer.dtype).kind
    if kind not in "buif":
        raise ImageError(
            f"Image layer '{layer.name}' is {layer.dtype}; convert it to an "
            "integer or real type."
        )
    images = [_snapshot(layer)]
    if normalization is Normalization.DISPLAYED:
        # napari aligns the last axes; one with more axes has none of this image's.
        stack = [x for x in others if x.visible and x.ndim <= layer.ndim]
        images = [_snapshot(x, _between(layer, x)) for x in stack] or images
    return PlaneSource(layer.name, shape, tuple(images), normalization)
