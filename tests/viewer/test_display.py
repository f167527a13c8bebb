"""What is done is seen: above the image, on the shown plane, in whatever order."""

from __future__ import annotations

import numpy as np
import pytest
from desk import COINS
from napari.layers import Image

from napari_sam.core.everything.search import EverythingSettings
from napari_sam.errors import LabelsError
from napari_sam.viewer.plugin_layers import ROLE, is_ours

FEW = EverythingSettings(points_per_side=5, prompts="grid")


def names(desk) -> list[str]:
    return [layer.name for layer in desk.viewer.layers]


def lowest_of_ours(desk) -> int:
    layers = desk.viewer.layers
    return min(
        i for i, layer in enumerate(layers) if is_ours(layer) or layer is desk.labels
    )


def topmost_cover(desk) -> int:
    return max(
        i
        for i, layer in enumerate(desk.viewer.layers)
        if isinstance(layer, Image) and not is_ours(layer)
    )


@pytest.fixture
def clicked(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    desk.click(*COINS[1])
    return desk


def test_a_second_image_lies_below_what_is_ours(clicked, coins):
    desk = clicked
    second = desk.viewer.add_image(coins[::-1], name="second")
    assert lowest_of_ours(desk) > topmost_cover(desk)
    assert "'image' is still what is segmented" in desk.controller.status
    desk.controller.choose_image(second)
    assert lowest_of_ours(desk) > topmost_cover(desk)


def test_the_order_of_events_does_not_matter(clicked, coins):
    desk = clicked
    layers = desk.viewer.layers
    layers.move(layers.index(desk.image), len(layers))
    assert lowest_of_ours(desk) > topmost_cover(desk)
    desk.viewer.layers.remove(desk.image)
    replaced = desk.viewer.add_image(coins, name="again")
    desk.controller.choose_image(replaced)
    desk.click(*COINS[0])
    desk.controller.new_labels()
    assert lowest_of_ours(desk) > topmost_cover(desk)


def test_an_order_that_hides_nothing_is_the_users(clicked):
    desk = clicked
    layers = desk.viewer.layers
    other = desk.viewer.add_points([[5, 5]], name="mine")
    layers.move(layers.index(desk.shapes), len(layers))
    before = names(desk)
    assert before[-2:] == [other.name, desk.shapes.name]
    desk.click(*COINS[2])
    assert names(desk) == before


def test_chosen_labels_lie_below_what_is_ours(clicked, coins):
    desk = clicked
    layers = desk.viewer.layers

    def is_in_order() -> bool:
        ours = [i for i, layer in enumerate(layers) if is_ours(layer)]
        return topmost_cover(desk) < layers.index(desk.labels) < min(ours)

    assert is_in_order()
    # Dragged to the top of the list.
    layers.move(layers.index(desk.labels), len(layers))
    assert is_in_order()
    # Opened from a file, then chosen.
    opened = desk.viewer.add_labels(np.ones(coins.shape, np.uint16), name="opened")
    assert layers[-1] is opened
    desk.controller.choose_labels(opened)
    assert is_in_order()
    # Chosen first, covered later; the preview is made anew below them.
    desk.viewer.add_image(coins[::-1], name="second")
    assert is_in_order()
    layers.remove(desk.annotator.preview.layer)
    layers.move(layers.index(opened), len(layers))
    desk.click(*COINS[2])
    assert desk.annotator.preview.layer in layers
    assert is_in_order()


def test_hidden_layers_of_ours_are_shown_when_they_are_used(clicked):
    desk = clicked
    for layer in desk.viewer.layers:
        if is_ours(layer) or layer is desk.labels:
            layer.visible = False
    desk.click(*COINS[2])
    assert desk.points.visible
    assert desk.annotator.preview.layer.visible
    desk.accept()
    assert desk.labels.visible


def test_in_3d_a_click_places_nothing_and_the_reason_is_said(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    assert desk.controller.images.rest_reason == ""
    desk.viewer.dims.ndisplay = 3
    assert "2-D" in desk.controller.images.rest_reason
    desk.click_world((1, *COINS[0]))
    assert len(desk.points.data) == 0
    desk.viewer.dims.ndisplay = 2
    assert desk.controller.images.rest_reason == ""
    assert desk.points.mode == "add"
    desk.click(*COINS[0])
    assert len(desk.points.data) == 1


def test_the_grid_keeps_the_annotation_in_one_cell(clicked, coins):
    desk = clicked
    viewer = desk.viewer
    viewer.add_image(coins, name="other")
    before = viewer.canvas.grid.stride
    viewer.canvas.grid.enabled = True
    assert "share a cell" in desk.controller.status
    together = [desk.image, desk.labels, desk.points, desk.shapes]
    cells = {
        tuple(viewer.canvas.grid.position(viewer.layers.index(layer), viewer.layers))
        for layer in together
    }
    assert len(cells) == 1
    viewer.canvas.grid.enabled = False
    assert viewer.canvas.grid.stride == before


def test_labels_that_lie_elsewhere_are_put_where_the_image_is(open_desk, coins):
    desk = open_desk(coins, layer={"scale": (0.3, 0.3), "translate": (5, 6)})
    labels = desk.viewer.add_labels(np.zeros(coins.shape, np.uint16), name="mine")
    with pytest.raises(LabelsError, match="another scale or position"):
        desk.controller.choose_labels(labels)
    assert desk.controller.labels.misplaced is labels
    desk.controller.labels.place()
    assert desk.controller.labels.layer is labels
    assert desk.controller.labels.misplaced is None
    np.testing.assert_allclose(labels.scale, (0.3, 0.3))
    np.testing.assert_allclose(labels.translate, (5, 6))
    with pytest.raises(LabelsError):
        desk.controller.labels.place()


def test_what_the_model_sees_is_a_layer_for_a_moment(open_desk, coin_stack):
    desk = open_desk(coin_stack, layer={"scale": (2, 0.5, 0.5)})
    seen = [x for x in desk.viewer.layers if x.metadata.get(ROLE) == "input"]
    assert not seen
    desk.controller.show_model_input()
    (seen,) = [x for x in desk.viewer.layers if x.metadata.get(ROLE) == "input"]
    plane = desk.controller.context.plane
    expected, _ = desk.controller.context.encoder.source.read(plane)
    np.testing.assert_array_equal(np.squeeze(seen.data), expected)
    corner = desk.image.data_to_world(plane.to_array_point(0, 0))
    np.testing.assert_allclose(seen.data_to_world((0, 0, 0)), corner)
    assert lowest_of_ours(desk) if desk.controller.labels.layer else True
    desk.click(*COINS[0])
    assert seen not in desk.viewer.layers
    desk.controller.show_model_input()
    desk.controller.show_model_input()
    assert not [x for x in desk.viewer.layers if x.metadata.get(ROLE) == "input"]


def test_an_image_of_little_contrast_is_seen_like_any_other(open_desk, coins):
    """Eleven of 65,536 levels; what is shown on request is what the model gets."""
    faint = np.round(1000 + coins / 255 * 10).astype(np.uint16)
    masks = []
    for image in (coins, faint):
        desk = open_desk(image)
        desk.controller.show_model_input()
        (seen,) = [x for x in desk.viewer.layers if x.metadata.get(ROLE) == "input"]
        assert np.ptp(seen.data) > 200
        desk.click(*COINS[0])
        masks.append(desk.masks[0])
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.9


def test_in_a_review_the_rest_is_dimmed(open_desk, coins):
    desk = open_desk(coins, min_score=0.3, everything=FEW)
    desk.controller.new_labels()
    opacity = desk.labels.opacity
    desk.controller.segment_plane()
    desk.controller.toggle_review()
    assert desk.labels.opacity < opacity
    desk.controller.toggle_review()
    assert desk.labels.opacity == opacity
