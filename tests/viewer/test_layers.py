"""The prompt layers: what they hold, and what they say after any edit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks

from napari_sam.core.annotation.prompts import PointItem, PromptItems, ShapeItem
from napari_sam.viewer.plugin_layers import is_ours, make_labels, transform_of
from napari_sam.viewer.prompting.layer_sync import same_items
from napari_sam.viewer.prompting.prompt_layers import (
    COLORS,
    NEGATIVE,
    POSITIVE,
    PromptLayers,
    make_points,
    make_shapes,
)


def stack(**arguments) -> Image:
    return Image(np.zeros((4, 40, 50), np.uint8), name="cells", **arguments)


def layers_for(image: Image) -> tuple[ViewerModel, PromptLayers]:
    viewer = ViewerModel()
    viewer.add_layer(image)
    layers = PromptLayers(viewer)
    assert layers.ensure(image)
    return viewer, layers


def rectangle(z=1, size=10, positive=True, axes=(1, 2)) -> ShapeItem:
    corners = [(z, 5, 5), (z, 5, 5 + size), (z, 5 + size, 5 + size), (z, 5 + size, 5)]
    return ShapeItem(np.array(corners, float), "rectangle", positive, axes)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_layers_lie_exactly_on_the_image():
    image = stack(
        scale=(3, 0.5, 0.5),
        translate=(1, 2, 3),
        rotate=(10, 20, 30),
        shear=(0.1, 0.2, 0.3),
        affine=np.diag([1.0, 2.0, 1.0, 1.0]),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
    )
    for layer in (make_points(image), make_shapes(image), make_labels(image)):
        np.testing.assert_allclose(
            layer.data_to_world((1, 2, 3)), image.data_to_world((1, 2, 3))
        )
        assert layer.units == image.units
        assert layer.axis_labels == image.axis_labels
        assert set(transform_of(layer)) == set(transform_of(image))


def test_labels_match_the_pixels_of_color_images_and_pyramids():
    color = Image(np.zeros((20, 30, 3), np.uint8), rgb=True, name="h&e")
    assert make_labels(color).data.shape == (20, 30)
    pyramid = Image([np.zeros((64, 64)), np.zeros((32, 32))], multiscale=True)
    assert make_labels(pyramid).data.shape == (64, 64)
    assert make_labels(color).name == "h&e labels"
    assert make_labels(color, "mine").name == "mine"
    assert not is_ours(make_labels(color))
    assert is_ours(make_points(color))


def test_adding_layers_keeps_the_active_one():
    image = stack()
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.layers.selection.active = image
    layers = PromptLayers(viewer)
    layers.ensure(image)
    assert viewer.layers.selection.active is image
    assert not layers.ensure(image)


def test_ensure_makes_only_what_is_missing():
    image = stack()
    viewer, layers = layers_for(image)
    points = layers.points
    shapes = layers.shapes
    viewer.layers.remove(shapes)
    assert layers.forget(shapes)
    assert layers.ensure(image)
    assert layers.points is points
    assert layers.shapes is not shapes
    assert len([x for x in viewer.layers if is_ours(x)]) == 2


def test_layers_of_another_dimensionality_are_replaced():
    image = stack()
    viewer, layers = layers_for(image)
    flat = Image(np.zeros((20, 30)))
    viewer.add_layer(flat)
    assert layers.ensure(flat)
    assert layers.points.ndim == layers.shapes.ndim == 2
    assert len([x for x in viewer.layers if is_ours(x)]) == 2


def test_next_prompt_takes_polarity_and_axes():
    _, layers = layers_for(stack())
    layers.set_defaults(False, (0, 2))
    layers.points.add([[1, 2, 3]])
    layers.shapes.add([rectangle().vertices], shape_type=["rectangle"])
    items = layers.read()
    assert [(p.positive, p.axes) for p in items.points] == [(False, (0, 2))]
    assert [(s.positive, s.axes) for s in items.shapes] == [(False, (0, 2))]
    layers.set_defaults(True, (1, 2))
    layers.points.add([[1, 2, 3], [2, 3, 4]])
    assert [p.positive for p in layers.read().points] == [False, True, True]


def test_what_the_next_prompt_is_is_read_from_both_layers():
    _, layers = layers_for(stack())
    layers.set_defaults(True, (1, 2))
    assert layers.has_defaults(True, (1, 2))
    assert not layers.has_defaults(False, (1, 2))
    assert not layers.has_defaults(True, (0, 2))
    for layer in (layers.points, layers.shapes):
        before = layer.feature_defaults
        layer.feature_defaults = before.assign(prompt=NEGATIVE)
        assert not layers.has_defaults(True, (1, 2))
        layer.feature_defaults = before
        assert layers.has_defaults(True, (1, 2))
    with pytest.warns(RuntimeWarning, match="property used for face_color dropped"):
        layers.points.features = {}
    assert not layers.has_defaults(True, (1, 2))


def test_rows_without_our_columns_count_as_positive_on_the_last_axes():
    _, layers = layers_for(stack())
    layers.points.data = np.array([[1.0, 2, 3], [2, 3, 4]])
    layers.points.features = {"prompt": [None, NEGATIVE], "axes": ["nonsense", "7,7"]}
    items = layers.read()
    assert [p.positive for p in items.points] == [True, False]
    assert {p.axes for p in items.points} == {(1, 2)}


def test_features_replaced_by_a_script_do_not_break_reading():
    _, layers = layers_for(stack())
    layers.points.add([[1, 2, 3]])
    with pytest.warns(RuntimeWarning, match="property used for face_color dropped"):
        layers.points.features = {"mine": [5]}
    layers.shapes.add([rectangle().vertices], shape_type=["rectangle"])
    layers.shapes.features = {"mine": [5]}
    items = layers.read()
    assert [p.positive for p in items.points] == [True]
    assert [s.positive for s in items.shapes] == [True]


def test_rows_of_a_shape_that_napari_threw_away_go_with_it():
    _, layers = layers_for(stack())
    shapes = layers.shapes
    layers.set_defaults(False, (0, 2))
    shapes.mode = "add_path"
    event = SimpleNamespace(
        type="mouse_press", position=(1, 2, 3), pos=np.zeros(2), modifiers=()
    )
    for event.type in ("mouse_press", "mouse_release", "mouse_press"):
        act = (
            mouse_release_callbacks
            if "release" in event.type
            else mouse_press_callbacks
        )
        act(shapes, event)
    assert shapes.nshapes == 0
    assert len(shapes.features) == len(shapes.edge_color) == 1

    layers.realign()
    assert len(shapes.features) == len(shapes.edge_color) == 0
    layers.set_defaults(True, (1, 2))
    shapes.add([rectangle().vertices])
    (item,) = layers.read().shapes
    assert (item.positive, item.axes) == (True, (1, 2))
    assert len(shapes.features) == len(shapes.edge_color) == 1


def test_a_column_of_the_users_does_not_keep_the_next_prompt_from_its_polarity():
    _, layers = layers_for(stack())
    layers.points.add([[1, 2, 3]])
    layers.points.features = layers.points.features.assign(mine=[5])
    layers.set_defaults(False, (1, 2))
    layers.points.add([[2, 3, 4]])
    assert [p.positive for p in layers.read().points] == [True, False]
    assert list(layers.points.features["mine"]) == [5, 5]


items_of_a_stack = st.builds(
    PromptItems,
    st.lists(
        st.builds(
            PointItem,
            st.tuples(st.floats(0, 3), st.floats(-5, 45), st.floats(-5, 55)),
            st.booleans(),
            st.sampled_from([(1, 2), (0, 2), (2, 1)]),
        ),
        max_size=5,
    ).map(tuple),
    st.lists(
        st.builds(
            rectangle,
            st.integers(0, 3),
            st.floats(1, 20),
            st.booleans(),
            st.sampled_from([(1, 2), (2, 1)]),
        ),
        max_size=3,
    ).map(tuple),
)


@pytest.fixture(scope="module")
def kept_layers():
    return layers_for(stack())[1]


@given(items=st.lists(items_of_a_stack, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read_back(kept_layers, items):
    for one in items:
        kept_layers.write(one)
        assert same_items(kept_layers.read(), one)


def test_colors_show_the_polarity():
    _, layers = layers_for(stack())
    layers.write(
        PromptItems(
            (
                PointItem((1.0, 2, 3), True, (1, 2)),
                PointItem((1.0, 5, 6), False, (1, 2)),
            ),
            (rectangle(), rectangle(z=2, positive=False)),
        )
    )
    for colors in (layers.points.face_color, layers.shapes.edge_color):
        red, green = colors[:, 0], colors[:, 1]
        np.testing.assert_array_equal(green > red, [True, False])
    assert set(COLORS) == {POSITIVE, NEGATIVE}


def test_polarity_of_the_next_point_survives_emptying_the_layer():
    _, layers = layers_for(stack())
    layers.set_defaults(True, (1, 2))
    layers.write(PromptItems((PointItem((1.0, 2, 3), False, (1, 2)),)))
    layers.write(PromptItems())
    layers.set_defaults(True, (1, 2))
    layers.points.add([[1, 2, 3]])
    (point,) = layers.read().points
    assert point.positive
    assert layers.points.face_color[0, 1] > layers.points.face_color[0, 0]
