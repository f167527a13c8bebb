"""Bringing a place of an image to the screen."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.types import Plane, Region
from napari_sam.viewer.background.worker import SyncRunner
from napari_sam.viewer.context import Context
from napari_sam.viewer.coords import displayed_plane
from napari_sam.viewer.navigation import COMFORTABLE, Navigator

SHAPE = (6, 400, 500)


def open_at(zoom, **options):
    """Return viewer, image and navigator; the canvas is 600 x 800 by default."""
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(SHAPE, np.uint8), **options)
    viewer.canvas.size = (600, 800)
    viewer.scene.camera.zoom = zoom
    return viewer, image, Navigator(Context(viewer, SyncRunner(), image=image))


def center(viewer):
    return viewer.scene.camera.center[-2:]


def around(row, column, size=30):
    """Return a box around a point."""
    half = size // 2
    return Region(row - half, column - half, row + half + 1, column + half + 1)


def test_what_is_on_screen_stays_where_it_is():
    viewer, _, navigator = open_at(1)
    before = center(viewer)
    navigator.show(Plane((1, 2), (4, None, None)), around(100, 120))
    assert viewer.dims.current_step[0] == 4
    assert center(viewer) == before
    assert viewer.scene.camera.zoom == 1


def test_what_is_too_small_to_judge_is_zoomed_to():
    viewer, _, navigator = open_at(1)
    navigator.show(Plane((1, 2), (4, None, None)), around(200, 250, 10))
    assert viewer.scene.camera.zoom * 11 == pytest.approx(COMFORTABLE)
    assert center(viewer) == pytest.approx((200, 250))


def test_what_is_out_of_view_is_in_the_middle_as_far_as_the_image_goes():
    viewer, _, navigator = open_at(4)
    plane = Plane((1, 2), (4, None, None))
    viewer.scene.camera.center = (0, 0, 0)
    navigator.show(plane, around(200, 250))
    assert center(viewer) == pytest.approx((200, 250))
    # 75 by 100 pixels from the middle of the canvas to its edges
    navigator.show(plane, Region(0, 470, 30, 500))
    assert center(viewer) == pytest.approx((74.5, 399.5))
    assert viewer.scene.camera.zoom == 4


@pytest.mark.parametrize("shown", [(0, 2), (2, 0), (1, 0)])
def test_the_axes_come_along(shown):
    viewer, image, navigator = open_at(50)
    index = tuple(None if a in shown else 3 for a in range(3))
    where = Region(2, 2, 5, 5)
    navigator.show(Plane(shown, index), where)
    assert displayed_plane(viewer, image) == Plane(shown, index)
    viewer.dims.ndisplay = 3
    navigator.show(Plane(shown, index), where)
    assert displayed_plane(viewer, image) == Plane(shown, index)


def test_scale_units_and_place_are_followed():
    viewer, image, navigator = open_at(
        40, scale=(2, 0.5, 0.5), translate=(0, 100, -30), units=("um", "um", "um")
    )
    viewer.scene.camera.center = (0, 0, 0)
    navigator.show(Plane((1, 2), (5, None, None)), around(200, 300))
    assert displayed_plane(viewer, image) == Plane((1, 2), (5, None, None))
    assert center(viewer) == pytest.approx((200, 120))


def test_a_rotated_image_is_followed():
    viewer, image, navigator = open_at(20, rotate=30)
    assert isinstance(image, Image)
    viewer.scene.camera.center = (0, 0, 0)
    plane = Plane((1, 2), (0, None, None))
    navigator.show(plane, around(200, 250))
    assert center(viewer) == pytest.approx(image.data_to_world((0, 200, 250))[1:])


def test_without_an_image_nothing_moves():
    viewer = ViewerModel()
    before = viewer.scene.camera.center
    navigator = Navigator(Context(viewer, SyncRunner()))
    navigator.show(Plane((0, 1), (None, None)), Region(0, 0, 5, 5))
    assert viewer.scene.camera.center == before
