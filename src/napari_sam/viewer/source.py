"""Reading planes of an image layer, away from the layer.

A `PlaneSource` is a snapshot taken in the GUI thread: array references and
display settings.  The worker reads from it and never touches the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_sam.core.imaging import Channel, compose, to_rgb
from napari_sam.core.planes import choose_level, level_plane, read_plane
from napari_sam.errors import ImageError
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.settings import Normalisation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.layers import Image

    from napari_sam.core.imaging import Blending
    from napari_sam.types import Plane, RGBArray


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """Arrays and display settings of one image layer.

    Parameters
    ----------
    levels : tuple of array-like
        The pyramid, finest first; one entry for an ordinary image.
    rgb : bool
        Whether the last array axis holds colour channels.
    contrast_limits, gamma, opacity, blending
        As in the layer.
    lut : float array (256, 4)
        The layer's colormap.
    """

    levels: tuple[Any, ...]
    rgb: bool
    contrast_limits: tuple[float, float]
    gamma: float
    opacity: float
    blending: Blending
    lut: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class PlaneSource:
    """Where the pixels of a layer's planes come from.

    Parameters
    ----------
    name : str
        The layer's name, for messages.
    shape : tuple of int
        Shape of the layer at full resolution, without colour channels.
    layers : tuple of ImageData
        The image itself first; in "as displayed" mode, all visible layers on
        the same grid, bottom to top.
    normalisation : Normalisation
        How pixels become RGB.
    """

    name: str
    shape: tuple[int, ...]
    layers: tuple[ImageData, ...]
    normalisation: Normalisation

    def read(self, plane: Plane) -> tuple[RGBArray, tuple[int, int]]:
        """Read one plane as RGB; runs in the worker.

        Returns
        -------
        rgb : uint8 array (H, W, 3)
            Possibly from a coarser pyramid level that still fills the model's
            input.
        size : tuple of int
            Height and width of the plane at full resolution, which prompts and
            masks refer to.
        """
        size = plane.shape(self.shape)
        if self.normalisation is Normalisation.DISPLAYED:
            channels = [self._channel(image, plane) for image in self.layers]
            return compose(channels), size
        image = self.layers[0]
        return to_rgb(self._pixels(image, plane)), size

    def _pixels(self, image: ImageData, plane: Plane) -> npt.NDArray[Any]:
        if len(image.levels) == 1:
            return read_plane(image.levels[0], plane, rgb=image.rgb)
        ndim = plane.ndim
        shapes = [tuple(int(n) for n in a.shape[:ndim]) for a in image.levels]
        level = choose_level(shapes, plane.displayed)
        return read_plane(
            image.levels[level],
            level_plane(plane, shapes[0], shapes[level]),
            rgb=image.rgb,
        )

    def _channel(self, image: ImageData, plane: Plane) -> Channel:
        return Channel(
            data=self._pixels(image, plane),
            contrast_limits=image.contrast_limits,
            gamma=image.gamma,
            lut=image.lut,
            opacity=image.opacity,
            blending=image.blending,
        )


def _snapshot(layer: Image) -> ImageData:
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
    )


def snapshot(
    layer: Image,
    normalisation: Normalisation,
    others: Sequence[Image] = (),
) -> PlaneSource:
    """Take a snapshot of an image layer; GUI thread.

    Parameters
    ----------
    layer : Image
        The image to segment.
    normalisation : Normalisation
        Percentiles of this image, or the displayed composition.
    others : sequence of Image
        All image layers of the viewer in drawing order; used by the displayed
        composition, which takes those that are visible and on the same grid.

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
    if normalisation is Normalisation.DISPLAYED:
        stack = [
            other
            for other in others
            if other == layer or (other.visible and layer_shape(other) == shape)
        ]
        images = [_snapshot(other) for other in stack] or images
    return PlaneSource(layer.name, shape, tuple(images), normalisation)
