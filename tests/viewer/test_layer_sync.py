"""Whatever the user does to the prompt layers, the items say the same."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.core.annotation.prompts import PointItem, PromptItems, ShapeItem
from napari_sam.viewer.plugin_layers import is_ours
from napari_sam.viewer.prompting.layer_sync import PromptLayerSync, same_items
from napari_sam.viewer.prompting.prompt_layers import COLORS, NEGATIVE, POSITIVE

BOX = np.array([(5, 5), (5, 20), (20, 20), (20, 5)], float)


class Desk:
    def __init__(self) -> None:
        self.viewer = ViewerModel()
        self.image = Image(np.zeros((40, 50), np.uint8))
        self.viewer.add_layer(self.image)
        self.layer_sync = PromptLayerSync(self.viewer)
        self.layer_sync.ensure(self.image)
        self.layer_sync.arm(True, (0, 1))
        self.changes = 0
        self.layer_sync.changed.connect(self._count)

    def _count(self):
        self.changes += 1

    @property
    def points(self):
        return self.layer_sync.layers.points

    @property
    def shapes(self):
        return self.layer_sync.layers.shapes

    @property
    def items(self):
        return self.layer_sync.items


@pytest.fixture
def desk():
    return Desk()


def test_adding_points_is_followed(desk):
    desk.points.add([[1, 2]])
    desk.points.add([[3, 4], [5, 6]])
    assert [p.position for p in desk.items.points] == [(1, 2), (3, 4), (5, 6)]
    assert desk.changes == 2


def test_data_assigned_by_a_script_is_followed(desk):
    desk.points.data = [[1, 2], [3, 4]]
    assert [p.position for p in desk.items.points] == [(1, 2), (3, 4)]
    assert all(p.positive and p.axes == (0, 1) for p in desk.items.points)


def test_negative_default_makes_negative_prompts(desk):
    desk.points.add([[1, 2]])
    desk.layer_sync.arm(False, (0, 1))
    desk.points.add([[3, 4]])
    desk.shapes.add([BOX], shape_type=["rectangle"])
    assert [p.positive for p in desk.items.points] == [True, False]
    assert [s.positive for s in desk.items.shapes] == [False]


def test_moving_points_is_followed(desk):
    desk.points.add([[1, 2], [3, 4]])
    before = desk.changes
    moved = desk.points.data.copy()
    moved[1] = (30, 40)
    desk.points.data = moved
    assert desk.items.points[1].position == (30, 40)
    assert desk.changes > before


def test_deleting_points_is_followed(desk):
    desk.points.add([[1, 2], [3, 4], [5, 6]])
    desk.points.selected_data = {1}
    desk.points.remove_selected()
    assert [p.position for p in desk.items.points] == [(1, 2), (5, 6)]


def test_recoloring_points_changes_their_polarity(desk):
    desk.points.add([[1, 2], [3, 4]])
    desk.points.selected_data = {0}
    desk.points.current_face_color = COLORS[NEGATIVE]
    assert [p.positive for p in desk.items.points] == [False, True]
    desk.points.current_face_color = COLORS[POSITIVE]
    assert [p.positive for p in desk.items.points] == [True, True]
    # The next click marks what it would have marked.
    desk.points.current_face_color = COLORS[NEGATIVE]
    desk.points.selected_data = set()
    desk.layer_sync.arm(True, (0, 1))
    for place in ([5, 6], [7, 8]):
        desk.points.add([place])
    assert [p.positive for p in desk.items.points] == [False, True, True, True]
    red, green = desk.points.face_color[:, 0], desk.points.face_color[:, 1]
    np.testing.assert_array_equal(green > red, [False, True, True, True])


def test_feature_edited_in_the_table_changes_the_polarity(desk):
    desk.points.add([[1, 2], [3, 4]])
    features = desk.points.features.copy()
    features["prompt"] = [POSITIVE, NEGATIVE]
    desk.points.features = features
    assert [p.positive for p in desk.items.points] == [True, False]


def test_selecting_changes_nothing(desk):
    desk.points.add([[1, 2], [3, 4]])
    desk.layer_sync.arm(False, (0, 1))
    desk.points.add([[5, 6]])
    before = desk.changes
    for selected in ({0}, {2}, {0, 2}, set()):
        desk.points.selected_data = selected
    assert desk.changes == before
    assert [p.positive for p in desk.items.points] == [True, True, False]


def test_shapes_are_followed(desk):
    desk.shapes.add([BOX], shape_type=["rectangle"])
    desk.shapes.add([BOX[:2]], shape_type=["line"])
    assert [s.kind for s in desk.items.shapes] == ["rectangle", "line"]
    desk.shapes.data = [BOX + 5, BOX[:2]]
    np.testing.assert_array_equal(desk.items.shapes[0].vertices, BOX + 5)
    desk.shapes.selected_data = {0}
    desk.shapes.remove_selected()
    assert [s.kind for s in desk.items.shapes] == ["line"]


def test_recoloring_shapes_changes_their_polarity(desk):
    desk.shapes.add([BOX, BOX + 10], shape_type=["rectangle", "rectangle"])
    desk.shapes.selected_data = {1}
    desk.shapes.current_edge_color = COLORS[NEGATIVE]
    assert [s.positive for s in desk.items.shapes] == [True, False]
    red, green = desk.shapes.edge_color[:, 0], desk.shapes.edge_color[:, 1]
    np.testing.assert_array_equal(green > red, [True, False])
    desk.shapes.selected_data = set()
    desk.layer_sync.arm(True, (0, 1))
    desk.shapes.add([BOX + 20], shape_type=["rectangle"])
    assert [s.positive for s in desk.items.shapes] == [True, False, True]


def test_writing_items_is_not_a_change_by_the_user(desk):
    items = PromptItems(
        (PointItem((1.0, 2.0), False, (0, 1)),),
        (ShapeItem(BOX, "rectangle", True, (0, 1)),),
    )
    desk.layer_sync.write(items)
    assert desk.changes == 0
    assert desk.layer_sync.items is items
    assert same_items(desk.layer_sync.layers.read(), items)
    desk.layer_sync.write(PromptItems())
    assert desk.changes == 0
    assert len(desk.points.data) == desk.shapes.nshapes == 0


def test_renaming_hiding_and_reordering_change_nothing(desk):
    desk.points.add([[1, 2]])
    desk.points.name = "something else"
    desk.points.visible = False
    desk.viewer.layers.move(desk.viewer.layers.index(desk.points), 0)
    desk.viewer.layers.reverse()
    desk.points.add([[3, 4]])
    assert len(desk.items.points) == 2
    assert not desk.layer_sync.ensure(desk.image)


def test_a_deleted_layer_is_made_anew_with_its_prompts(desk):
    desk.points.add([[1, 2]])
    desk.shapes.add([BOX], shape_type=["rectangle"])
    old, changes = desk.points, desk.changes
    desk.viewer.layers.remove(old)
    assert desk.layer_sync.layer_removed(old)
    assert not desk.layer_sync.layer_removed(desk.image)
    # Also with a prompt that comes before the layer does.
    desk.shapes.add([BOX + 10], shape_type=["rectangle"])
    assert [p.position for p in desk.items.points] == [(1, 2)]
    assert desk.layer_sync.ensure(desk.image)
    assert desk.points is not old
    assert desk.shapes.nshapes == 2
    assert desk.changes == changes + 1
    desk.points.add([[7, 8]])
    assert [p.position for p in desk.items.points] == [(1, 2), (7, 8)]
    # The old layer, brought back by an undo of the user's, is nobody's.
    old.add([[9, 9]])
    assert len(desk.items.points) == 2


def test_prompts_of_other_axes_go_with_their_layers(desk):
    desk.points.add([[1, 2]])
    volume = Image(np.zeros((3, 40, 50), np.uint8))
    desk.viewer.add_layer(volume)
    changes = desk.changes
    assert desk.layer_sync.ensure(volume)
    assert desk.items.is_empty
    assert desk.changes == changes + 1
    assert len(desk.points.data) == 0


def test_closing_stops_listening_also_to_layers_that_are_removed(desk):
    points = desk.points
    desk.layer_sync.close()
    desk.layer_sync.layers.remove()
    assert not any(is_ours(layer) for layer in desk.viewer.layers)
    points.add([[1, 2]])
    assert desk.items.is_empty
    desk.layer_sync.close()


def test_newest_prompt_is_known_over_both_layers(desk):
    desk.points.add([[1, 2]])
    desk.shapes.add([BOX], shape_type=["rectangle"])
    desk.points.add([[3, 4]])
    seen = []
    while not desk.items.is_empty:
        desk.layer_sync.write(desk.layer_sync.without_newest())
        seen.append((len(desk.items.points), len(desk.items.shapes)))
    assert seen == [(1, 1), (1, 0), (0, 0)]
    assert desk.layer_sync.without_newest().is_empty
