"""The plane on screen, checked against what napari itself shows there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam.types import Plane
from napari_sam.viewer.coords import (
    displayed_axes,
    displayed_plane,
    layer_shape,
    unit_factors,
    world_to_data,
)

SHAPE = (2, 3, 4, 5, 6)


def counted(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array in which every pixel has another value."""
    return np.arange(int(np.prod(shape)), dtype=np.uint16).reshape(shape)


def viewer_of(*layers, order=None) -> ViewerModel:
    viewer = ViewerModel()
    for layer in layers:
        viewer.add_layer(layer)
    if order is not None:
        viewer.dims.order = order
    return viewer


def napari_value(viewer: ViewerModel, layer: Image, world) -> int | None:
    """Return the pixel value that napari shows under a world point."""
    displayed = [
        a - viewer.dims.ndim + layer.ndim for a in viewer.dims.displayed if a >= 0
    ]
    value = layer.get_value(
        world, view_direction=None, dims_displayed=displayed, world=True
    )
    return None if value is None else int(value)


@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
def test_plane_is_what_napari_shows_for_every_order(ndim):
    shape = SHAPE[-ndim:]
    layer = Image(counted(shape))
    viewer = viewer_of(layer)
    point = tuple(n // 2 for n in shape)
    viewer.dims.point = point
    for order in itertools.permutations(range(ndim)):
        viewer.dims.order = order
        plane = displayed_plane(viewer, layer)
        assert plane is not None
        assert plane.displayed == order[-2:]
        rows, columns = plane.shape(shape)
        for row, column in ((0, 0), (rows - 1, 0), (rows // 2, columns - 1)):
            here = plane.to_array_point(row, column)
            expected = layer.data[tuple(int(x) for x in here)]
            assert napari_value(viewer, layer, here) == expected


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_lower_dimensional_layer_shows_its_own_axes_in_the_viewers_order(order):
    tall = Image(counted((3, 4, 5, 6)))
    flat, volume = Image(counted((5, 6))), Image(counted((4, 5, 6)))
    viewer = viewer_of(tall, flat, volume, order=order)
    viewer.dims.point = (1, 2, 3, 4)
    for layer in (flat, volume):
        offset = 4 - layer.ndim
        own = [a - offset for a in order if a >= offset]
        assert displayed_axes(viewer.dims, layer) == tuple(own[-2:])
        plane = displayed_plane(viewer, layer)
        assert plane is not None
        assert plane.displayed == tuple(own[-2:])
        for axis, position in enumerate(plane.index):
            if position is not None:
                assert position == viewer.dims.point[axis + offset]


@given(
    ndim=st.integers(2, 5),
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
def test_world_point_inside_the_image_is_on_the_plane_shown_there(ndim, data):
    shape = tuple(data.draw(st.integers(1, 6)) for _ in range(ndim))
    scale = [data.draw(st.floats(0.05, 20)) for _ in range(ndim)]
    translate = [data.draw(st.floats(-100, 100)) for _ in range(ndim)]
    order = tuple(data.draw(st.permutations(range(ndim))))
    pixel = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    inside = tuple(p + data.draw(st.floats(-0.45, 0.45)) for p in pixel)
    layer = Image(np.zeros(shape, np.uint8), scale=scale, translate=translate)
    viewer = viewer_of(layer, order=order)
    world = tuple(layer.data_to_world(inside))
    # The sliders take the nearest step, as when the user drags them.
    viewer.dims.point = tuple(layer.data_to_world(pixel))

    plane = displayed_plane(viewer, layer)

    assert plane is not None
    assert plane.displayed == order[-2:]
    assert plane.contains(pixel)
    point = world_to_data(viewer.dims, layer, world)
    np.testing.assert_allclose(point, inside, atol=1e-6)
    assert plane.contains(point)
    row, column = plane.to_plane_point(point)
    assert np.floor(row + 0.5) == pixel[order[-2]]
    assert np.floor(column + 0.5) == pixel[order[-1]]


def test_units_of_viewer_and_layer_are_converted_as_napari_slices_them():
    fine = Image(counted((6, 8, 9)), scale=(500, 100, 100), units=("nm", "nm", "nm"))
    coarse = Image(counted((12, 8, 9)), scale=(0.25, 0.1, 0.1), units=("um",) * 3)
    for layers in ((fine, coarse), (coarse, fine)):
        viewer = viewer_of(*layers)
        for step in range(12):
            viewer.dims.set_current_step(0, step)
            for layer in layers:
                plane = displayed_plane(viewer, layer)
                assert plane is not None
                position = plane.index[0]
                # napari itself, asked at the first pixel of what it shows
                shown = layer.get_value((0, 0, 0), dims_displayed=[1, 2], world=False)
                assert shown == layer.data[position, 0, 0], (step, layer.units)


def test_unit_factors_are_one_where_units_cannot_be_converted():
    pixels = Image(counted((3, 4)))
    metres = Image(counted((3, 4)), units=("um", "um"))
    viewer = viewer_of(pixels, metres)
    assert viewer.dims.units is None
    assert unit_factors(viewer.dims.units, metres) == [1.0, 1.0]
    assert unit_factors(pixels.units, metres) == [1.0, 1.0]
    assert unit_factors(metres.units, metres) == [1.0, 1.0]


def test_no_plane_in_three_dimensional_display():
    layer = Image(counted((3, 4, 5)))
    viewer = viewer_of(layer)
    viewer.dims.ndisplay = 3
    assert displayed_plane(viewer, layer) is None
    viewer.dims.ndisplay = 2
    assert displayed_plane(viewer, layer) == Plane((1, 2), (1, None, None))


def test_no_plane_where_the_sliders_are_outside_the_layer():
    short = Image(counted((2, 4, 5)), translate=(3, 0, 0))
    viewer = viewer_of(Image(counted((9, 4, 5))), short)
    positions = []
    for step in range(9):
        viewer.dims.set_current_step(0, step)
        plane = displayed_plane(viewer, short)
        positions.append(None if plane is None else plane.index[0])
    assert positions == [None, None, None, 0, 1, None, None, None, None]


def test_slider_half_way_between_two_planes_means_the_one_napari_shows():
    layer = Image(counted((8, 4, 5)) + 1)
    viewer = viewer_of(layer, Image(counted((16, 4, 5)), scale=(0.5, 1, 1)))
    for step in range(viewer.dims.nsteps[0]):
        viewer.dims.set_current_step(0, step)
        plane = displayed_plane(viewer, layer)
        value = layer.get_value((0, 0, 0), dims_displayed=[1, 2], world=False)
        # Beyond the last plane napari shows an empty slice, all zero.
        shown = (int(value) - 1) // 20 if value else None
        assert (plane.index[0] if plane else None) == shown, viewer.dims.point


def test_shape_of_pyramids_and_colors():
    pyramid = [counted((3, 64, 48)), counted((3, 32, 24)), counted((3, 16, 12))]
    layer = Image(pyramid, multiscale=True)
    assert layer_shape(layer) == (3, 64, 48)
    assert displayed_plane(viewer_of(layer), layer) == Plane((1, 2), (1, None, None))
    color = Image(np.zeros((3, 20, 30, 3), np.uint8), rgb=True)
    assert layer_shape(color) == (3, 20, 30)
    assert displayed_plane(viewer_of(color), color) == Plane((1, 2), (1, None, None))
    assert layer_shape(Labels(np.zeros((4, 5), np.uint8))) == (4, 5)
