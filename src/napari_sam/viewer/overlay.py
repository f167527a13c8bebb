"""A layer of ours that shows masks on one plane of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap
from napari.utils.transforms import Affine

from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.layers import ROLE, selection_kept, transform_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image

PREVIEW_COLOUR = "#ffdc00"
_BRIGHT = ["#39cccc", "#f012be", "#ff851b", "#7fdbff", "#01ff70"]
_MUTED_COLOUR = "#8395a7"
_CYCLE = [PREVIEW_COLOUR, *_BRIGHT, _MUTED_COLOUR]
HIGHLIGHT, MUTED = 1, len(_CYCLE)
"""Values of what is looked at, and of what is not."""


def bright(number: int) -> int:
    """Return the value of one mask among many: neither highlighted nor muted."""
    cycle, place = divmod(number, len(_BRIGHT))
    # Values are bytes; after the last cycle that fits, they come again.
    return HIGHLIGHT + 1 + place + len(_CYCLE) * (cycle % (255 // len(_CYCLE)))


def _colormap() -> CyclicLabelColormap:
    # A direct colormap would say the same, but napari compiles code for it: a
    # second or more, in the GUI thread, when the first one is made.
    return CyclicLabelColormap(colors=["transparent", *_CYCLE], name="SAM masks")


class PlaneOverlay:
    """A Labels layer of ours that covers one plane of the image.

    It has length 1 along the axes that are not displayed and sits at the
    plane's position, so that it costs one plane of bytes for any stack and
    napari hides it on all other planes.

    Parameters
    ----------
    viewer : ViewerModel
        Where to show it.
    name, role : str
        Layer name and metadata role.
    opacity : float
        Opacity of the layer.
    """

    def __init__(
        self, viewer: ViewerModel, name: str, role: str, opacity: float
    ) -> None:
        self._viewer = viewer
        self._name = name
        self._role = role
        self._opacity = opacity
        self.layer: Labels | None = None
        self._plane: Plane | None = None
        self._dirty = Region(0, 0, 0, 0)

    def show(
        self, image: Image, plane: Plane, masks: Sequence[tuple[int, MaskCrop]]
    ) -> None:
        """Replace what is shown by masks with their values (1 to 255)."""
        layer = self._ensure(image, plane)
        view = self._plane_view(layer, plane)
        view[self._dirty.slices] = 0
        dirty = Region(0, 0, 0, 0)
        whole = Region.whole((view.shape[0], view.shape[1]))
        for value, crop in masks:
            region = crop.region.intersection(whole)
            if region.is_empty:
                continue
            inner = region.shifted(-crop.region.row0, -crop.region.col0)
            view[region.slices][crop.mask[inner.slices]] = value
            dirty = dirty.union(region)
        self._dirty = dirty
        layer.refresh(extent=False, thumbnail=False, highlight=False)

    def clear(self) -> None:
        """Show nothing; the layer stays."""
        if self.layer is None or self._plane is None or self._dirty.is_empty:
            return
        self._plane_view(self.layer, self._plane)[self._dirty.slices] = 0
        self._dirty = Region(0, 0, 0, 0)
        self.layer.refresh(extent=False, thumbnail=False, highlight=False)

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        layer, self.layer, self._plane = self.layer, None, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def forget(self) -> None:
        """Note that somebody else removed the layer."""
        self.layer, self._plane = None, None

    def _ensure(self, image: Image, plane: Plane) -> Labels:
        shape = tuple(
            n if i is None else 1
            for n, i in zip(layer_shape(image), plane.index, strict=True)
        )
        if self.layer is not None and self.layer.data.shape == shape:
            if plane != self._plane:
                view = self._plane_view(self.layer, plane)
                view[...] = 0
                self._dirty = Region(0, 0, 0, 0)
                self._place(self.layer, image, plane)
            self._plane = plane
            return self.layer
        self.remove()
        layer = Labels(
            np.zeros(shape, np.uint8),
            name=self._name,
            opacity=self._opacity,
            colormap=_colormap(),
            metadata={ROLE: self._role},
            **transform_of(image),
        )
        self._place(layer, image, plane)
        layer.mode = "pan_zoom"
        self.layer, self._plane, self._dirty = layer, plane, Region(0, 0, 0, 0)
        with selection_kept(self._viewer):
            self._viewer.add_layer(layer)
            self._below_prompts(layer)
        return layer

    def _below_prompts(self, layer: Labels) -> None:
        layers = self._viewer.layers
        at = [
            i
            for i, other in enumerate(layers)
            if other.metadata.get(ROLE) in ("points", "shapes")
        ]
        if at:
            layers.move(layers.index(layer), min(at))

    @staticmethod
    def _place(layer: Labels, image: Image, plane: Plane) -> None:
        offset = np.array([0.0 if i is None else float(i) for i in plane.index])
        linear = Affine(
            scale=image.scale, rotate=image.rotate, shear=image.shear
        ).linear_matrix
        layer.translate = np.asarray(image.translate) + linear @ offset

    @staticmethod
    def _plane_view(layer: Labels, plane: Plane) -> npt.NDArray[np.uint8]:
        index = tuple(slice(None) if i is None else 0 for i in plane.index)
        view = layer.data[index]
        rows_first: npt.NDArray[np.uint8] = view.T if plane.is_transposed else view
        return rows_first
