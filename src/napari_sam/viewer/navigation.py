"""Moving the viewer to a plane, to a point, and saying where it is."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.review_items import center_of
from napari_sam.types import Region
from napari_sam.viewer.coords import data_to_world, layer_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.layers import Image

    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context

SMALLEST = 24.0
"""Objects below this size on screen, in pixels of the canvas, are zoomed to."""
COMFORTABLE = 160.0
"""Their size afterwards."""


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

    def show(self, plane: Plane, region: Region) -> None:
        """Bring an object into view: on screen, and large enough to judge.

        What is wholly on screen and large enough stays where it is.  Else the camera
        goes to it as far as the image goes: an object at its edge does not pull half
        the canvas beside the image.  The plane's axes are brought to the screen if
        others are there.

        Parameters
        ----------
        plane : Plane
            Which plane.
        region : Region
            The object's bounding box on it.
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
        self.go_to_point(plane.to_array_point(*center_of(region)))
        box = self._world_corners(plane, region)
        where = box.mean(axis=0)
        corners = self._world_corners(
            plane, Region.whole(plane.shape(layer_shape(image)))
        )
        camera = viewer.scene.camera
        canvas = np.asarray(viewer.canvas.size, float)
        size = float(np.ptp(box, axis=0).max()) * camera.zoom
        is_small = size < SMALLEST
        center = np.asarray(camera.center[-2:], float)
        is_inside = bool((np.abs(box - center) <= canvas / 2 / camera.zoom).all())
        if is_inside and not is_small:
            return
        if is_small and size > 0:
            camera.zoom = camera.zoom * COMFORTABLE / size
        reach = canvas / 2 / camera.zoom
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

    def _world_corners(self, plane: Plane, region: Region) -> npt.NDArray[np.float64]:
        """Return the corners of a region in the world, (4, 2) as displayed."""
        image, dims = self._context.image, self._context.viewer.dims
        edges = (
            (region.row0 - 0.5, region.row1 - 0.5),
            (region.col0 - 0.5, region.col1 - 0.5),
        )
        return np.array(
            [
                data_to_world(dims, image, plane.to_array_point(*at))[
                    list(plane.displayed)
                ]
                for at in product(*edges)
            ]
        )

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
            # Axes without a name are labeled "-3", "-2", "-1" by napari.
            known = not str(name).lstrip("-").isdigit()
            # Counted from 0, as on napari's sliders.
            parts.append(f"{name if known else 'plane'} {index} | {shape[axis] - 1}")
    return ", ".join(parts)
