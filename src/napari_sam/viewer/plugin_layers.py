"""What all layers of this plugin share.

Layers are known by a role kept in their metadata, never by name, so renaming one
changes nothing.  Each copies the image's whole transform.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Points, Shapes
from napari.utils.transforms import Affine

from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_sam.types import Plane

ROLE = "napari_sam_role"


LASSO_ROLE = "lasso"
"""Of the layer in which proposals are chosen; no prompt comes of it."""


IDLE_MODE = "pan_zoom"
"""In this mode a press places nothing."""


def transform_of(image: Layer) -> dict[str, Any]:
    """Return the layer's complete transform, as arguments for a new layer."""
    return {
        "scale": image.scale,
        "translate": image.translate,
        "rotate": image.rotate,
        "shear": image.shear,
        "affine": image.affine,
        "units": image.units,
        "axis_labels": image.axis_labels,
    }


def copy_transform(image: Layer, layer: Layer) -> None:
    """Give a layer of ours the image's transform."""
    _set_transform(layer, transform_of(image))


def _set_transform(layer: Layer, wanted: dict[str, Any]) -> None:
    """Set what is another value: for each, napari slices the layer anew."""
    for name, value in wanted.items():
        before = getattr(layer, name)
        if not _is_same(before, value):
            setattr(layer, name, value)


def _is_same(a: Any, b: Any) -> bool:
    """Whether two values of a transform are: affines, arrays, or tuples of units."""
    if isinstance(a, Affine):
        return np.array_equal(a.affine_matrix, b.affine_matrix)
    return bool(a == b) if isinstance(a, tuple) else np.array_equal(a, b)


def uncover(layer: Layer) -> None:
    """Show a layer if it is hidden.

    Setting what is set would slice and draw it anew, and end its mode.
    """
    if not layer.visible:
        layer.visible = True


def place_on_plane(
    layer: Layer,
    image: Layer,
    plane: Plane,
    step: tuple[float, float] = (1.0, 1.0),
) -> None:
    """Put a layer that has one plane of an image where that plane is.

    Parameters
    ----------
    layer : Layer
        Of length 1 along the axes that the plane does not show.
    image : Layer
        Whose plane.
    plane : Plane
        Which plane.
    step : tuple of two float
        How many pixels of the image one of the layer is high and wide.
    """
    factors = np.ones(image.ndim)
    factors[list(plane.displayed)] = step
    # Pixels begin at -0.5, so larger ones have their first center further in.
    offset = np.array(plane.to_array_point(*((s - 1) / 2 for s in step)))
    linear = Affine(
        scale=image.scale, rotate=image.rotate, shear=image.shear
    ).linear_matrix
    scale = np.asarray(image.scale) * factors
    translate = np.asarray(image.translate) + linear @ offset
    place = {"scale": scale, "translate": translate}
    _set_transform(layer, transform_of(image) | place)


def is_ours(layer: Layer) -> bool:
    """Whether the plugin made this layer for itself."""
    return ROLE in layer.metadata


@contextmanager
def selection_kept(viewer: ViewerModel) -> Iterator[None]:
    """Restore the active layer after layers were added."""
    active = viewer.layers.selection.active
    try:
        yield
    finally:
        if active is not None and active in viewer.layers:
            viewer.layers.selection.active = active


def fade_shapes(layer: Shapes, first: int) -> None:
    """Make the shapes from this number on invisible and let go of them.

    napari goes on drawing what is selected: the rest of a drag does nothing then.
    """
    layer.selected_data = set()
    colors = np.array(layer.edge_color)
    colors[first:, 3] = 0
    layer.edge_color = colors


def _row_colors(layer: Points | Shapes) -> np.ndarray:
    colors = layer.face_color if isinstance(layer, Points) else layer.edge_color
    return np.asarray(colors)


def make_labels(image: Image, name: str | None = None) -> Labels:
    """Return an empty Labels layer on the image's grid.

    ``uint16`` holds 65,535 objects at half the memory of napari's default.
    """
    return Labels(
        np.zeros(layer_shape(image), np.uint16),
        name=name or f"{image.name} labels",
        **transform_of(image),
    )


def finish_drawing(layer: Shapes) -> None:
    """Finish the shape that is being drawn, as napari's Escape does."""
    own_escape(layer)(layer)


def own_escape(layer: Shapes) -> Callable[[Shapes], Any]:
    """Return what napari's Escape does in a Shapes layer."""
    for key, function in layer.class_keymap.items():
        if str(key) == "Escape" and callable(function):
            own: Callable[[Shapes], Any] = function
            return own
    # The user may have given it another key; then there is nothing to pass on.
    return lambda layer: None
