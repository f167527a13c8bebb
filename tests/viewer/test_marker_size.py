"""Prompts are as large on screen at every zoom."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from desk import COINS
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.viewer.prompting.layer_sync import PromptLayerSync
from napari_sam.viewer.prompting.prompt_layers import EDGE, LEAST, POINT

ZOOMS = (0.02, 0.5, 1.0, 7.3, 80.0)


@pytest.fixture
def shown():
    return open_image()


def open_image(**options):
    viewer = ViewerModel()
    image = Image(np.zeros((40, 50), np.uint8), **options)
    viewer.add_layer(image)
    layer_sync = PromptLayerSync(viewer)
    layer_sync.ensure(image)
    return SimpleNamespace(
        viewer=viewer,
        image=image,
        layer_sync=layer_sync,
        points=layer_sync.layers.points,
        shapes=layer_sync.layers.shapes,
    )


def zoom_to(shown, zoom):
    shown.viewer.scene.camera.zoom = zoom


def add_prompts(shown):
    shown.points.add([[5, 5], [20, 30]])
    shown.shapes.add([[[2, 2], [12, 22]]], shape_type=["rectangle"])


def assert_sized(shown, unit=1.0):
    """Two points and an edge are as large on the canvas as they should be."""
    zoom = shown.viewer.scene.camera.zoom * unit
    points = shown.points.size * zoom
    edges = np.array(shown.shapes.edge_width) * zoom
    np.testing.assert_allclose(points, [POINT, POINT], rtol=0.16)
    np.testing.assert_allclose(edges, [EDGE], rtol=0.16)


@pytest.mark.parametrize("zoom", ZOOMS)
def test_prompts_that_are_there_follow_the_zoom(shown, zoom):
    add_prompts(shown)
    before = shown.layer_sync.items
    zoom_to(shown, zoom)
    assert_sized(shown)
    assert shown.layer_sync.items is before


@pytest.mark.parametrize("zoom", ZOOMS)
def test_prompts_that_come_have_the_size_of_the_zoom(shown, zoom):
    zoom_to(shown, zoom)
    add_prompts(shown)
    assert_sized(shown)


@pytest.mark.parametrize("scale", [0.001, 0.65, 300.0])
def test_pixels_of_any_size(scale):
    shown = open_image(scale=(scale, scale))
    zoom_to(shown, 4.0 / scale)
    add_prompts(shown)
    assert_sized(shown, scale)


def test_a_viewer_in_other_units():
    shown = open_image(scale=(200.0, 200.0), units=("nm", "nm"))
    coarse = Image(np.zeros((4, 4)), scale=(2.0, 2.0), units=("um", "um"))
    shown.viewer.dims.units = coarse.units
    zoom_to(shown, 10.0)
    add_prompts(shown)
    assert_sized(shown, 0.2)


def test_another_pixel_size_changes_the_data_size(shown):
    add_prompts(shown)
    shown.image.scale = (0.1, 0.1)
    shown.layer_sync.layers.follow(shown.image)
    assert_sized(shown, 0.1)


def test_sizes_that_the_user_chose_stay(shown):
    add_prompts(shown)
    shown.points.current_size = 9
    shown.shapes.current_edge_width = 4
    zoom_to(shown, 50.0)
    add_prompts(shown)
    assert list(shown.points.size[-2:]) == [9, 9]
    assert shown.shapes.edge_width[-1] == 4
    zoom_to(shown, 5.0)
    assert list(shown.points.size[-2:]) == [9, 9]


def test_a_selected_prompt_does_not_count_as_chosen(shown):
    add_prompts(shown)
    shown.points.selected_data = {0}
    shown.shapes.selected_data = {0}
    zoom_to(shown, 30.0)
    assert_sized(shown)


def test_layers_made_anew_have_the_size_of_the_zoom(shown):
    zoom_to(shown, 30.0)
    shown.viewer.layers.remove(shown.points)
    shown.layer_sync.layer_removed(shown.points)
    shown.layer_sync.ensure(shown.image)
    shown.points = shown.layer_sync.layers.points
    add_prompts(shown)
    assert_sized(shown)


def test_a_closed_plugin_leaves_the_zoom_alone(shown):
    points = shown.points
    points.add([[5, 5]])
    before = list(points.size)
    shown.layer_sync.close()
    zoom_to(shown, 30.0)
    assert list(points.size) == before


@pytest.mark.parametrize("area", [0, 1, 30, 10**6])
@pytest.mark.parametrize("zoom", ZOOMS)
def test_points_beside_an_object_of_any_size_can_be_seen(shown, area, zoom):
    add_prompts(shown)
    zoom_to(shown, zoom)
    shown.layer_sync.layers.limit(area)
    on_screen = shown.points.size * zoom
    assert LEAST >= 6
    assert (on_screen > LEAST / 1.16).all()
    assert (on_screen < POINT * 1.16).all()


def accepted(desk):
    desk.accept()


def discarded(desk):
    desk.controller.discard()


def taken_back(desk):
    desk.controller.remove_last_prompt()


def on_another_slice(desk):
    desk.viewer.dims.set_point(0, 0)


def in_another_view(desk):
    desk.viewer.dims.roll()


def in_3d(desk):
    desk.viewer.dims.ndisplay = 3


@pytest.mark.parametrize(
    "leave",
    [accepted, discarded, taken_back, on_another_slice, in_another_view, in_3d],
)
def test_points_are_small_only_while_an_object_is_previewed(
    open_desk, coin_stack, leave
):
    desk = open_desk(coin_stack)
    desk.viewer.scene.camera.zoom = 0.5
    desk.click(*COINS[0])
    assert desk.points.current_size * 0.5 < POINT / 1.2
    leave(desk)
    # napari may fit another view into the window.
    on_screen = desk.points.current_size * desk.viewer.scene.camera.zoom
    assert on_screen == pytest.approx(POINT, rel=0.16)
