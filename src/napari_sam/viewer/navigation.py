"""Moving the viewer to a plane, to a point, and saying where it is."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.viewer.coords import data_to_world, layer_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context


class Navigator:
    """Moves sliders and camera of one viewer.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def go_to_point(self, point: Sequence[float]) -> None:
        """Move the sliders so that the plane through an array point is on screen."""
        image, dims = self._context.image, self._context.viewer.dims
        if image is None:
            return
        world = data_to_world(dims, image, point)
        offset = dims.ndim - image.ndim
        axes = [a for a in dims.not_displayed if a >= offset]
        dims.set_point(axes, [world[a - offset] for a in axes])

    def show(self, plane: Plane, row: float, column: float) -> None:
        """Bring a point of a plane to the middle of the canvas; the zoom stays.

        The middle as far as the image goes: an object at its edge does not pull
        half the canvas beside the image, and an image that is wholly on screen
        does not move at all.  The plane's axes are brought to the screen if
        others are there.
        """
        image, viewer = self._context.image, self._context.viewer
        if image is None:
            return
        dims = viewer.dims
        offset = dims.ndim - image.ndim
        shown = tuple(a + offset for a in plane.displayed)
        if dims.ndisplay != 2:
            dims.ndisplay = 2
        if tuple(dims.displayed) != shown:
            others = [a for a in dims.order if a not in shown]
            dims.order = (*others, *shown)
        self.go_to_point(plane.to_array_point(row, column))
        height, width = plane.shape(layer_shape(image))
        edges = (-0.5, height - 0.5), (-0.5, width - 0.5)
        where, *corners = (
            data_to_world(dims, image, plane.to_array_point(*at))[list(plane.displayed)]
            for at in [(row, column), *product(*edges)]
        )
        camera = viewer.scene.camera
        reach = np.asarray(viewer.canvas.size) / 2 / camera.zoom
        low = np.min(corners, axis=0) + reach
        high = np.max(corners, axis=0) - reach
        # Where the image is smaller than the canvas: its middle.
        middle = np.clip(where, np.minimum(low, high), np.maximum(low, high))
        middle = np.where(low > high, (low + high) / 2, middle)
        camera.center = (camera.center[0], *(float(x) for x in middle))

    @property
    def shows_all(self) -> bool:
        """Whether every layer is wholly inside the canvas, in 2-D."""
        viewer = self._context.viewer
        dims, camera = viewer.dims, viewer.scene.camera
        if dims.ndisplay != 2 or not viewer.layers:
            return False
        low, high = viewer.layers.extent.world[:, list(dims.displayed)]
        reach = np.asarray(viewer.canvas.size) / 2 / camera.zoom
        middle = np.asarray(camera.center)[-2:]
        return bool((low >= middle - reach).all() and (high <= middle + reach).all())

    @property
    def text(self) -> str:
        """Where the plane on screen is, in words: ``z 11 | 63``."""
        image, plane = self._context.image, self._context.plane
        if image is None or plane is None:
            return ""
        return _plane_text(image, plane)


def _plane_text(image: Image, plane: Plane) -> str:
    shape = layer_shape(image)
    parts = []
    for axis, (name, index) in enumerate(
        zip(image.axis_labels, plane.index, strict=True)
    ):
        if index is not None:
            # Axes without a name are labelled "-3", "-2", "-1" by napari.
            known = not str(name).lstrip("-").isdigit()
            # Counted from 0, as on napari's sliders.
            parts.append(f"{name if known else 'plane'} {index} | {shape[axis] - 1}")
    return ", ".join(parts)
