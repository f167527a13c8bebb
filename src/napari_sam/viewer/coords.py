"""From the viewer's sliders to a plane of a layer.

napari's sliders hold a *world* point, one entry per viewer axis.  A layer with
fewer dimensions uses the trailing axes.  ``Layer.world_to_data`` ignores units,
although slicing converts them, so the world point is rescaled first when the
viewer's and the layer's units differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.types import Plane, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import Dims, ViewerModel
    from napari.layers import Layer


def unit_factors(dims_units: Sequence[Any] | None, layer: Layer) -> list[float]:
    """Factors from viewer units to layer units, one per layer axis.

    Parameters
    ----------
    dims_units : sequence of pint units or None
        ``viewer.dims.units``; None when the loaded layers' units cannot be
        converted into each other, in which case napari compares raw numbers.
    layer : Layer
        The layer whose ``units`` are wanted.
    """
    ndim = layer.ndim
    if dims_units is None or layer.units is None:
        return [1.0] * ndim
    factors = []
    viewer_units = list(dims_units)[-ndim:]
    if len(viewer_units) < ndim:
        return [1.0] * ndim
    for viewer_unit, layer_unit in zip(viewer_units, layer.units, strict=True):
        if viewer_unit == layer_unit:
            factors.append(1.0)
        elif viewer_unit.dimensionality == layer_unit.dimensionality:
            factors.append(float((1 * viewer_unit).to(layer_unit).magnitude))
        else:
            factors.append(1.0)
    return factors


def world_to_data(dims: Dims, layer: Layer, world: Sequence[float]) -> np.ndarray:
    """Return the array-index coordinates of a world point.

    Parameters
    ----------
    dims : Dims
        The viewer's dims, for its units.
    layer : Layer
        Target layer.
    world : sequence of float
        World point with one entry per viewer axis (or per layer axis).
    """
    point = np.asarray(world, dtype=float)[-layer.ndim :]
    point = point * unit_factors(dims.units, layer)
    return np.asarray(layer.world_to_data(tuple(point)), dtype=float)


def data_to_world(dims: Dims, layer: Layer, point: Sequence[float]) -> np.ndarray:
    """Return the world point, in the viewer's units, of array coordinates.

    The inverse of `world_to_data`; one entry per layer axis.
    """
    world = np.asarray(layer.data_to_world(tuple(point)), dtype=float)
    return world / unit_factors(dims.units, layer)


def canvas_zoom(viewer: ViewerModel, layer: Layer) -> float:
    """Return how many pixels of the canvas one of the layer is wide."""
    # As napari scales points: by the last axis.
    scale = abs(float(layer.scale[-1]))
    factor = unit_factors(viewer.dims.units, layer)[-1]
    return float(viewer.scene.camera.zoom) * scale / factor


def visible_region(viewer: ViewerModel, layer: Layer, plane: Plane) -> Region | None:
    """Return the pixels of a layer's plane that the canvas shows.

    Parameters
    ----------
    viewer : ViewerModel
        In 2-D; supplies camera and canvas.
    layer : Layer
        An image or labels layer.
    plane : Plane
        The one on screen.

    Returns
    -------
    Region or None
        At full resolution; of a rotated layer what is around them.  None if the canvas
        shows none.
    """
    camera, dims = viewer.scene.camera, viewer.dims
    reach = np.asarray(viewer.canvas.size, float) / 2 / camera.zoom
    places = []
    for sides in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        world = np.array(dims.point, float)
        world[list(dims.displayed)] = np.asarray(camera.center[-2:]) + sides * reach
        places.append(plane.to_plane_point(world_to_data(dims, layer, tuple(world))))
    low, high = np.min(places, axis=0), np.max(places, axis=0)
    (row0, col0), (row1, col1) = np.floor(low + 0.5), np.floor(high + 0.5) + 1
    shown = Region(int(row0), int(col0), int(row1), int(col1))
    shown = shown.intersection(Region.whole(plane.shape(layer_shape(layer))))
    return None if shown.is_empty else shown


def displayed_axes(dims: Dims, layer: Layer) -> tuple[int, ...]:
    """Layer axes in display order, slowest first, as napari slices them."""
    offset = dims.ndim - layer.ndim
    order = [axis - offset for axis in dims.order if axis >= offset]
    return tuple(order[-dims.ndisplay :])


def displayed_plane(viewer: ViewerModel, layer: Layer) -> Plane | None:
    """Return the plane of a layer that is on screen.

    Parameters
    ----------
    viewer : ViewerModel
        Supplies the sliders.
    layer : Layer
        An image or labels layer; RGB channels are not an axis.

    Returns
    -------
    Plane or None
        None when the viewer shows 3-D, when the layer has less than two axes,
        or when the sliders are outside the layer.
    """
    dims = viewer.dims
    if dims.ndisplay != 2 or layer.ndim < 2:
        return None
    shown = displayed_axes(dims, layer)
    if len(shown) != 2:
        return None
    data_point = world_to_data(dims, layer, dims.point)
    shape = layer_shape(layer)
    index: list[int | None] = []
    for axis in range(layer.ndim):
        if axis in shown:
            index.append(None)
            continue
        # As napari does: half-way between two planes, the even one is shown.
        position = int(np.round(data_point[axis]))
        if not 0 <= position < shape[axis]:
            return None
        index.append(position)
    return Plane((shown[0], shown[1]), tuple(index))


def layer_shape(layer: Layer) -> tuple[int, ...]:
    """Shape of the layer's pixels without RGB channels, at full resolution."""
    data = layer.data
    # A pyramid is a list of arrays; its first level is the full resolution.
    full = data[0] if getattr(layer, "multiscale", False) else data
    return tuple(int(n) for n in full.shape[: layer.ndim])
