"""What the model sees, as a layer for a moment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.plugin_layers import (
    ROLE,
    is_ours,
    place_on_plane,
    selection_kept,
    transform_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy.typing as npt

    from napari_sam.types import Plane, RGBArray
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.image.source import PlaneSource

_SLOT = "model input"


class ModelInput:
    """Shows the RGB plane that is encoded, until a click or another plane.

    Parameters
    ----------
    context : Context
        Has image, plane and source.
    tell : callable
        Shows a sentence to the user.
    """

    def __init__(self, context: Context, tell: Callable[[str], None]) -> None:
        self._context = context
        self._tell = tell
        self._layer: Image | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the layer is in the viewer."""
        return self._layer is not None and self._layer in self._context.viewer.layers

    def toggle(self) -> None:
        """Show it, or stop showing it."""
        if self.is_shown:
            self.remove()
            self._tell("The image is shown as it is again.")
            return
        context = self._context
        if context.encoder is None or context.plane is None:
            self._tell("No plane of an image is ready for a model to see.")
            return
        context.runner.submit(
            Job(
                partial(_read, context.encoder.source, context.plane),
                priority=Priority.PREDICT,
                slot=_SLOT,
                on_result=partial(self._show, context.plane),
                on_error=self._on_error,
            )
        )

    def remove(self) -> None:
        """Take the layer out, and forget one that is on its way."""
        self._context.runner.cancel(_SLOT)
        layer, self._layer = self._layer, None
        viewer = self._context.viewer
        if layer is not None and layer in viewer.layers:
            with selection_kept(viewer):
                viewer.layers.remove(layer)

    def _show(self, plane: Plane, rgb: RGBArray) -> None:
        image, viewer = self._context.image, self._context.viewer
        if image is None or plane != self._context.plane:
            return
        self.remove()
        height, width = plane.shape(tuple(int(n) for n in image.data.shape))
        data = to_array_axes(rgb, plane)
        layer = Image(
            data,
            rgb=True,
            name="What the model sees",
            metadata={ROLE: "input"},
            **transform_of(image),
        )
        step = (height / rgb.shape[0], width / rgb.shape[1])
        place_on_plane(layer, image, plane, step)
        self._layer = layer
        with selection_kept(viewer):
            viewer.add_layer(layer)
            ours = [i for i, x in enumerate(viewer.layers) if is_ours(x)]
            viewer.layers.move(len(viewer.layers) - 1, min(ours))
        self._tell("What the model sees; the next click shows the image again.")

    def _on_error(self, error: Exception) -> None:
        self._tell(self._context.report(error))


def to_array_axes(rgb: RGBArray, plane: Plane) -> npt.NDArray[np.uint8]:
    """Return a plane's colors as an array with all of the image's axes.

    Returns
    -------
    uint8 array (..., 3)
        Of length 1 along the axes that the plane does not show.
    """
    rows_first = rgb.swapaxes(0, 1) if plane.is_transposed else rgb
    slots = tuple(slice(None) if i is None else np.newaxis for i in plane.index)
    array: npt.NDArray[np.uint8] = rows_first[slots]
    return array


def _read(source: PlaneSource, plane: Plane) -> Generator[None, None, RGBArray]:
    rgb, _ = source.read(plane)
    yield
    return rgb
