"""A click at a world position labels the pixel that is there, whatever the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.viewer.coords import displayed_plane

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.viewer.conftest import Desk


@st.composite
def views(draw: st.DrawFn) -> dict:
    """Return a viewer's order of axes, a layer's place, and what is on top."""
    extra = draw(st.integers(0, 1))
    return {
        "order": tuple(draw(st.permutations(range(3 + extra)))),
        "scale": [draw(st.floats(0.01, 50)) for _ in range(3)],
        "translate": [draw(st.floats(-1000, 1000)) for _ in range(3)],
        "extra": extra,
        # Within the pixel that is clicked, short of its border.
        "inside": [draw(st.floats(-0.4, 0.4)) for _ in range(3)],
        # From the center of the object, as a part of its radius.
        "offset": [draw(st.floats(-0.35, 0.35)) for _ in range(3)],
    }


RADII = (11, 13, 16)


@given(view=views())
@settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_mask_has_the_pixel_under_a_click_at_the_right_array_indices(
    open_desk: Callable[..., Desk], blob, view
):
    volume, center = blob
    image = Image(volume, scale=view["scale"], translate=view["translate"])
    viewer = ViewerModel()
    viewer.add_layer(image)
    if view["extra"]:
        # A fourth viewer axis in front of the image's own.
        viewer.add_image(np.zeros((3, 2, 2, 2), np.uint8), name="time")
    viewer.dims.order = view["order"]
    # One cached embedding for each orientation: the sliders stay at the center.
    viewer.dims.point = (*([0.0] * view["extra"]), *image.data_to_world(center))
    desk = open_desk(image, viewer=viewer)
    plane = displayed_plane(viewer, image)
    assert plane is not None
    pixel = list(center)
    for axis in plane.displayed:
        pixel[axis] += round(view["offset"][axis] * RADII[axis])
    at = [
        p + (view["inside"][axis] if axis in plane.displayed else 0.0)
        for axis, p in enumerate(pixel)
    ]
    world = (*([0.0] * view["extra"]), *image.data_to_world(at))

    desk.click_world(world)

    (mask,) = desk.masks
    row, column = (pixel[axis] for axis in plane.displayed)
    assert mask[row, column]
    desk.accept()
    labels = desk.labels.data
    assert labels[tuple(pixel)] == 1
    written = np.argwhere(labels)
    for axis, position in enumerate(plane.index):
        if position is not None:
            assert set(written[:, axis]) == {position}
    # Napari shows the label where the user clicked.
    assert desk.labels.get_value(world, world=True) == 1
    desk.controller.close()


@pytest.mark.parametrize(
    "transform",
    [
        {"rotate": 30},
        {"shear": [0.3]},
        {"affine": np.array([[0.8, -0.6, 5], [0.6, 0.8, -3], [0, 0, 1]])},
        {"scale": (-1, 1)},
        {"units": ("um", "um"), "scale": (0.2, 0.2)},
    ],
    ids=lambda t: next(iter(t)),
)
def test_any_transform_of_a_flat_image(open_desk, coins, transform):
    desk = open_desk(coins, layer=transform)
    desk.click_world(desk.image.data_to_world((28, 87)))
    (mask,) = desk.masks
    assert mask[28, 87]
    assert not mask[70, 60]
    desk.accept()
    np.testing.assert_array_equal(desk.labels.data == 1, mask)
    np.testing.assert_allclose(
        desk.labels.data_to_world((28, 87)), desk.image.data_to_world((28, 87))
    )


def test_click_with_the_slider_between_two_planes(open_desk, coin_stack):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((6, 124, 170), np.uint8), scale=(0.5, 1, 1))
    desk = open_desk(coin_stack, viewer=viewer)
    # Half-way between planes 0 and 1 (as napari, 0) and 1 and 2 (2).
    for world_z, z in ((0.5, 0), (1.5, 2)):
        viewer.dims.set_point(0, world_z)
        desk.click(28, 87)
        desk.accept()
        assert {int(w[0]) for w in np.argwhere(desk.labels.data)} == {z}
        desk.labels.undo()
        desk.controller.discard()


def test_click_in_a_viewer_of_other_units(open_desk, coin_stack):
    viewer = ViewerModel()
    viewer.add_image(
        np.zeros((3, 124, 170), np.uint8), scale=(1, 1, 1), units=("um",) * 3
    )
    desk = open_desk(
        coin_stack,
        viewer=viewer,
        layer={"scale": (1000, 1000, 1000), "units": ("nm",) * 3},
    )
    # The viewer has one unit: find the world point of a pixel in it.
    factor = float((1 * desk.image.units[0]).to(viewer.dims.units[0]).magnitude)
    viewer.dims.set_current_step(0, 2)
    plane = desk.controller.context.plane
    assert plane.index[0] == 2
    world = [x * factor for x in desk.image.data_to_world((2, 28, 87))]
    desk.click_world(world)
    assert desk.masks[0][28, 87]
    desk.accept()
    assert desk.labels.data[2, 28, 87] == 1
