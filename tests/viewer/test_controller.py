"""The user's story, with the real model and no window."""

from __future__ import annotations

import json
import threading

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam.core.annotation.records import METADATA_KEY, ObjectRecords
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.everything.search import EverythingSettings
from napari_sam.core.imaging import to_rgb
from napari_sam.core.masks import OverlapPolicy
from napari_sam.errors import LabelsError
from napari_sam.models import load_model
from napari_sam.types import MaskLevel
from napari_sam.viewer.plugin_layers import is_ours
from napari_sam.viewer.prompting import draft as draft_module
from napari_sam.viewer.prompting.prompt_layers import COLORS, NEGATIVE
from napari_sam.viewer.settings import Normalization, Tool

COINS = ((26, 30), (28, 87), (29, 139), (99, 29), (99, 87), (100, 139))
"""Centers of the coins, as rows and columns."""
FEW_POINTS = EverythingSettings(points_per_side=4)


def values(layer) -> set[int]:
    return {int(v) for v in np.unique(layer.data)}


def iou(a, b) -> float:
    return float((a & b).sum() / (a | b).sum())


# -- point, preview, accept ---------------------------------------------------------


def test_click_previews_the_object_and_accept_writes_it(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    (mask,) = desk.masks
    assert mask[COINS[0]]
    assert 900 < mask.sum() < 1700
    np.testing.assert_array_equal(desk.shown != 0, mask)
    assert desk.annotator.score > 0.8
    assert "N accept" in desk.controller.status
    assert desk.controller.labels.layer is None

    assert desk.accept() == 1

    np.testing.assert_array_equal(desk.labels.data == 1, mask)
    assert desk.annotator.is_empty
    assert desk.shown is None
    assert len(desk.points.data) == 0
    assert desk.annotator.label == 2
    assert desk.labels.selected_label == 2


def test_objects_get_the_next_free_labels(open_desk, coins):
    desk = open_desk(coins)
    for n, coin in enumerate(COINS[:3], start=1):
        desk.click(*coin)
        assert desk.accept() == n
    assert [int(desk.labels.data[c]) for c in COINS[:3]] == [1, 2, 3]


def test_nothing_to_accept_is_said(open_desk, coins):
    desk = open_desk(coins)
    assert not desk.annotator.accept()
    assert "Nothing to accept" in desk.controller.status
    assert desk.controller.labels.layer is None


def test_cycling_shows_the_nested_answers_ordered_by_area(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    areas = {}
    for level in (
        MaskLevel.SUBPART,
        MaskLevel.PART,
        MaskLevel.WHOLE,
        MaskLevel.AUTO,
    ):
        desk.controller.cycle_level()
        assert desk.annotator.level is level
        areas[level] = int(desk.annotator.prediction.candidates[0].mask.area)
        assert (desk.shown != 0).sum() == areas[level]
    assert areas[MaskLevel.SUBPART] <= areas[MaskLevel.PART] <= areas[MaskLevel.WHOLE]
    desk.controller.set_level(MaskLevel.WHOLE)
    desk.accept()
    assert (desk.labels.data == 1).sum() == areas[MaskLevel.WHOLE]
    assert desk.annotator.level is MaskLevel.AUTO


def test_escape_drops_prompts_and_preview(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.controller.discard()
    assert desk.annotator.is_empty
    assert desk.shown is None
    assert not desk.annotator.accept()


def test_remove_prompt_takes_back_the_newest_of_either_layer(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    one = desk.masks[0]
    desk.box(8, 65, 48, 108)
    desk.controller.choose_tool(Tool.POINT)
    assert len(desk.annotator.items.shapes) == 1
    desk.controller.remove_last_prompt()
    assert len(desk.annotator.items.shapes) == 0
    np.testing.assert_array_equal(desk.masks[0], one)
    desk.controller.remove_last_prompt()
    assert desk.annotator.is_empty
    assert desk.shown is None
    desk.controller.remove_last_prompt()


def test_background_clicks_by_key_and_by_modifier(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.click(60, 60, "Control")
    desk.controller.flip_polarity()
    desk.click(62, 62)
    desk.click(24, 28, "Control")
    desk.controller.flip_polarity()
    desk.click(27, 33)
    assert [p.positive for p in desk.annotator.items.points] == [
        True,
        False,
        False,
        True,
        True,
    ]
    red, green = desk.points.face_color[:, 0], desk.points.face_color[:, 1]
    np.testing.assert_array_equal(green > red, [True, False, False, True, True])
    (prompts,) = desk.annotator.prompting.here()
    assert [p.positive for p in prompts.points] == [True, False, False, True, True]
    assert desk.masks[0][COINS[0]]
    assert not desk.masks[0][60, 60]


def test_background_alone_asks_for_the_object(open_desk, coins):
    desk = open_desk(coins)
    desk.click(60, 60, "Meta")
    assert desk.shown is None
    assert "background" in desk.controller.status


def test_preview_follows_moved_recolored_and_deleted_prompts(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.points.data = np.array([COINS[1]], float)
    assert desk.masks[0][COINS[1]]
    assert not desk.masks[0][COINS[0]]
    desk.points.selected_data = {0}
    desk.points.current_face_color = COLORS[NEGATIVE]
    assert desk.shown is None
    desk.points.remove_selected()
    assert desk.annotator.is_empty


def test_box_gives_the_object_in_it(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[1])
    by_click = desk.masks[0]
    desk.controller.discard()
    desk.box(6, 66, 50, 108)
    assert iou(desk.masks[0], by_click) > 0.85


def test_lasso_and_scribble_give_the_object_too(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[1])
    by_click = desk.masks[0]
    for kind, corners in (
        ("polygon", [(12, 72), (12, 102), (44, 102), (44, 72)]),
        ("ellipse", [(10, 70), (10, 104), (46, 104), (46, 70)]),
        ("path", [(20, 80), (28, 87), (34, 94)]),
    ):
        desk.controller.discard()
        desk.shape(kind, corners)
        assert iou(desk.masks[0], by_click) > 0.7, kind


# -- several objects at once, and back to one --------------------------------------


def two_boxes(desk) -> None:
    desk.box(6, 66, 50, 108)
    desk.box(8, 118, 50, 160)


def test_several_boxes_are_several_objects_in_one_undo_step(open_desk, coins):
    desk = open_desk(coins)
    two_boxes(desk)
    assert len(desk.masks) == 2
    assert len({(v - 1) // 3 for v in np.unique(desk.shown).tolist() if v}) == 2
    desk.accept()
    assert desk.labels.data[COINS[1]] == 1
    assert desk.labels.data[COINS[2]] == 2
    assert desk.annotator.label == 3
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert len(desk.annotator.items.shapes) == 2
    assert desk.annotator.label == 1


def test_one_of_several_boxes_can_be_refined_alone(open_desk, coins):
    desk = open_desk(coins)
    two_boxes(desk)
    desk.accept()
    desk.click(*COINS[3])
    desk.accept()
    before = desk.labels.data.copy()
    desk.annotator.select_object(2)
    assert len(desk.annotator.items.shapes) == 1
    assert len(desk.masks) == 1
    desk.click(29, 150, "Control")
    desk.accept()
    np.testing.assert_array_equal(desk.labels.data == 1, before == 1)
    np.testing.assert_array_equal(desk.labels.data == 3, before == 3)
    assert values(desk.labels) == {0, 1, 2, 3}
    assert desk.annotator.label == 4


def test_picking_an_object_brings_its_prompts_back_and_replaces_its_pixels(
    open_desk, coins
):
    desk = open_desk(coins)
    for coin in COINS[:2]:
        desk.click(*coin)
        desk.accept()
    before = desk.labels.data.copy()
    desk.viewer.cursor.position = desk.world(*COINS[0])
    desk.controller.pick_under_cursor()
    assert desk.annotator.label == 1
    assert [p.position for p in desk.annotator.items.points] == [COINS[0]]
    desk.controller.set_level(MaskLevel.WHOLE)
    new = desk.masks[0]
    desk.accept()
    np.testing.assert_array_equal(desk.labels.data == 1, new & (before != 2))
    np.testing.assert_array_equal(desk.labels.data == 2, before == 2)
    assert desk.annotator.label == 3
    desk.labels.undo()
    np.testing.assert_array_equal(desk.labels.data, before)


def test_picking_by_napari_s_label_control_and_nothing_under_the_cursor(
    open_desk, coins
):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    desk.labels.selected_label = 1
    assert desk.annotator.label == 1
    assert len(desk.annotator.items.points) == 1
    desk.controller.discard()
    for position in ((60, 60), (-0.9, 30), (26, 4000)):
        desk.viewer.cursor.position = desk.world(*position)
        desk.controller.pick_under_cursor()
        assert "no object" in desk.controller.status
        assert desk.annotator.label == 2


def test_object_without_known_prompts_is_refined_from_its_pixels(open_desk, coins):
    desk = open_desk(coins)
    labels = desk.viewer.add_labels(np.zeros(coins.shape, np.uint16))
    labels.data[15:38, 18:42] = 5
    desk.controller.choose_labels(labels)
    desk.annotator.select_object(5)
    assert desk.annotator.items.is_empty
    desk.click(*COINS[0])
    assert desk.annotator.prompting.here()[0].mask is not None
    desk.accept()
    assert values(labels) == {0, 5}
    assert labels.data[COINS[0]] == 5


def test_object_under_way_waits_while_another_is_refined(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    desk.click(*COINS[1])
    desk.annotator.select_object(1)
    assert [p.position for p in desk.annotator.items.points] == [COINS[0]]
    desk.accept()
    assert [p.position for p in desk.annotator.items.points] == [COINS[1]]
    assert desk.masks[0][COINS[1]]
    assert desk.accept() == 2


# -- undo ---------------------------------------------------------------------------


def test_undo_brings_the_prompts_back_and_redo_takes_them(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.controller.set_level(MaskLevel.WHOLE)
    desk.accept()
    written = desk.labels.data.copy()
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert desk.annotator.label == 1
    assert desk.annotator.level is MaskLevel.WHOLE
    assert [p.position for p in desk.annotator.items.points] == [COINS[0]]
    np.testing.assert_array_equal(desk.masks[0], written == 1)
    assert METADATA_KEY in desk.labels.metadata
    assert len(desk.controller.context.records) == 0
    desk.labels.redo()
    np.testing.assert_array_equal(desk.labels.data, written)
    assert desk.annotator.is_empty
    assert desk.annotator.label == 2
    assert len(desk.controller.context.records) == 1


def test_prompts_of_several_planes_are_one_object_and_one_undo_step(
    open_desk, coin_stack
):
    desk = open_desk(coin_stack)
    for z in (0, 1):
        desk.viewer.dims.set_current_step(0, z)
        desk.click(*COINS[1])
    desk.viewer.dims.set_current_step(0, 2)
    assert desk.shown is None
    assert desk.masks == []
    desk.accept()
    assert [bool((p == 1).any()) for p in desk.labels.data] == [True, True, False]
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert len(desk.annotator.items.points) == 2


# -- writing while clicking ---------------------------------------------------------


def test_live_mode_writes_at_once_in_one_undo_step_per_object(open_desk, coins):
    desk = open_desk(coins, live=True)
    desk.click(*COINS[0])
    first = desk.labels.data.copy()
    assert first[COINS[0]] == 1
    desk.click(38, 30)
    desk.click(60, 60, "Control")
    assert desk.labels.data[COINS[0]] == 1
    assert desk.accept() == 1
    desk.click(*COINS[1])
    assert values(desk.labels) == {0, 1, 2}
    desk.labels.undo()
    assert values(desk.labels) == {0, 1}
    # What was undone is not written right back, but new prompts are.
    assert len(desk.annotator.items.points) == 1
    assert values(desk.labels) == {0, 1}
    desk.click(30, 90)
    assert values(desk.labels) == {0, 1, 2}
    desk.labels.undo()
    desk.labels.undo()
    assert values(desk.labels) == {0}


def test_live_mode_escape_takes_the_object_out_and_the_book_forgets_it(
    open_desk, coins
):
    desk = open_desk(coins, live=True)
    desk.click(*COINS[0])
    desk.click(38, 30)
    assert len(desk.controller.context.records) == 1
    desk.controller.discard()
    assert not desk.labels.data.any()
    assert len(desk.controller.context.records) == 0


def test_live_mode_removing_the_last_prompt_takes_the_object_out(open_desk, coins):
    desk = open_desk(coins, live=True)
    desk.click(*COINS[0])
    desk.controller.remove_last_prompt()
    assert not desk.labels.data.any()


# -- hover --------------------------------------------------------------------------


def test_a_moving_mouse_fills_no_outline_again(open_desk, coins, monkeypatch):
    desk = open_desk(coins)
    desk.shape("polygon", [(10, 10), (10, 50), (40, 50), (40, 10)])
    filled = []
    fill = draft_module.plane_prompts
    monkeypatch.setattr(
        draft_module, "plane_prompts", lambda *a: filled.append(a) or fill(*a)
    )
    desk.controller.choose_tool(Tool.POINT)
    for column in range(20, 30):
        desk.move(20, column)
    assert filled == []
    desk.shape("polygon", [(60, 60), (60, 90), (90, 90), (90, 60)])
    assert len(filled) == 1
    (prompts,) = desk.annotator.prompting.here()
    assert prompts.mask.region.row1 > 80


def test_hover_shows_mask_and_score_and_gives_the_preview_back(open_desk, coins):
    desk = open_desk(coins)
    desk.move(*COINS[1])
    assert desk.shown is None
    desk.viewer.cursor.position = desk.world(*COINS[1])
    desk.controller.hold_hover(True)
    assert desk.shown[COINS[1]]
    assert desk.annotator.score > 0.8
    assert desk.annotator.is_empty
    desk.move(*COINS[2])
    assert desk.shown[COINS[2]]
    assert not desk.shown[COINS[1]]
    desk.controller.hold_hover(False)
    assert desk.shown is None
    assert desk.annotator.score is None

    desk.click(*COINS[0])
    clicked, score = desk.shown.copy(), desk.annotator.score
    desk.controller.change_settings(hover=True)
    desk.move(60, 60)
    assert not np.array_equal(desk.shown, clicked)
    assert desk.annotator.score != score
    desk.move(-30, -30)
    np.testing.assert_array_equal(desk.shown, clicked)
    assert desk.annotator.score == score
    desk.move(60, 60)
    desk.controller.change_settings(hover=False)
    np.testing.assert_array_equal(desk.shown, clicked)
    desk.accept()
    np.testing.assert_array_equal(desk.labels.data == 1, clicked != 0)


# -- layers and models come and go --------------------------------------------------


def test_switching_the_image_keeps_the_labels(open_desk, coins, coin_stack):
    desk = open_desk(coins)
    first = desk.image
    desk.click(*COINS[0])
    desk.accept()
    labels, before = desk.labels, desk.labels.data.copy()
    desk.click(*COINS[1])
    other = desk.viewer.add_image(coin_stack[1], name="other")
    desk.controller.choose_image(other)
    assert desk.annotator.is_empty
    assert desk.shown is None
    assert desk.labels is labels
    desk.click(*COINS[4])
    assert desk.accept() == 2
    np.testing.assert_array_equal(labels.data == 1, before == 1)
    # A stack needs other labels; the first ones are let go, untouched.
    stack = desk.viewer.add_image(coin_stack)
    after = labels.data.copy()
    desk.controller.choose_image(stack)
    assert desk.controller.labels.layer is None
    assert desk.points.ndim == 3
    desk.controller.choose_tool(Tool.POINT)
    desk.click(*COINS[0])
    desk.accept()
    assert desk.labels is not labels
    np.testing.assert_array_equal(labels.data, after)
    # Back on the first image its labels are there again, and its prompts.
    desk.controller.choose_image(first)
    assert desk.labels is labels
    assert desk.masks[0][COINS[1]]
    assert desk.accept() == 3


def test_switching_the_model_keeps_prompts_and_labels(open_desk, coins, engine):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    desk.click(*COINS[1])
    before = desk.masks[0]
    desk.controller.loader.use(Engine(engine.model, engine.store))
    np.testing.assert_array_equal(desk.masks[0], before)
    assert desk.accept() == 2


def test_model_that_comes_later_answers_waiting_prompts(open_desk, coins, engine):
    desk = open_desk(coins, engine=None)
    desk.click(*COINS[0])
    assert desk.masks == []
    desk.controller.loader.use(engine)
    assert desk.masks[0][COINS[0]]


def test_switching_and_deleting_labels(open_desk, coins):
    desk = open_desk(coins)
    first = desk.viewer.add_labels(np.zeros(coins.shape, np.uint16), name="first")
    second = desk.viewer.add_labels(np.zeros(coins.shape, np.uint8), name="second")
    second.data[0, 0] = 40
    desk.controller.choose_labels(first)
    desk.click(*COINS[0])
    desk.accept()
    desk.controller.choose_labels(second)
    desk.click(*COINS[1])
    assert desk.accept() == 41
    assert values(first) == {0, 1}
    desk.click(*COINS[2])
    desk.viewer.layers.remove(second)
    assert desk.controller.labels.layer is None
    assert desk.masks[0][COINS[2]]
    assert desk.accept() == 1
    assert desk.labels not in (first, second)
    assert values(second) == {0, 40, 41}


def test_refused_labels_leave_the_chosen_ones(open_desk, coins):
    desk = open_desk(coins)
    good = desk.viewer.add_labels(np.zeros(coins.shape, np.uint16))
    desk.controller.choose_labels(good)
    bad = desk.viewer.add_labels(np.zeros((5, 5), np.uint16), name="bad")
    with pytest.raises(LabelsError, match="'bad'"):
        desk.controller.choose_labels(bad)
    assert desk.labels is good


def test_deleting_the_image_ends_the_object_and_keeps_the_rest(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    labels = desk.labels
    desk.click(*COINS[1])
    image = desk.image
    desk.viewer.layers.remove(image)
    assert desk.controller.context.image is None
    assert desk.annotator.is_empty
    assert desk.shown is None
    assert labels in desk.viewer.layers
    desk.controller.choose_tool(Tool.POINT)
    desk.controller.segment_plane()
    desk.viewer.add_layer(image)
    desk.controller.choose_image(image)
    desk.controller.choose_tool(Tool.POINT)
    desk.click(*COINS[1])
    assert desk.accept() == 2
    assert desk.labels is labels


def test_prompt_layers_and_preview_may_be_deleted_at_any_time(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.viewer.layers.remove(desk.annotator.preview.layer)
    desk.click(28, 32)
    assert desk.shown[COINS[0]]
    desk.viewer.layers.remove(desk.points)
    assert len(desk.annotator.items.points) == 2
    assert desk.shown[COINS[0]]
    desk.viewer.layers.remove(desk.shapes)
    desk.controller.choose_tool(Tool.BOX)
    assert desk.shapes in desk.viewer.layers
    desk.controller.choose_tool(Tool.POINT)
    assert len(desk.points.data) == 2
    desk.controller.discard()
    desk.click(*COINS[1])
    assert desk.masks[0][COINS[1]]
    desk.accept()
    assert len([x for x in desk.viewer.layers if is_ours(x)]) == 3


def test_renaming_hiding_and_reordering_layers_changes_nothing(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    for n, layer in enumerate(desk.viewer.layers):
        layer.name = f"layer {n}"
        layer.visible = False
    desk.viewer.layers.reverse()
    desk.controller.choose_tool(Tool.POINT)
    assert desk.points.visible
    desk.click(*COINS[1])
    assert desk.accept() == 2
    assert values(desk.labels) == {0, 1, 2}
    assert len([x for x in desk.viewer.layers if not is_ours(x)]) == 2


def test_labels_data_replaced_by_a_script(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    labels = desk.labels
    replaced = np.zeros(coins.shape, np.uint8)
    replaced[0, 0] = 9
    labels.data = replaced
    desk.click(*COINS[1])
    assert desk.accept() == 10
    assert labels.data is replaced
    labels.data = np.zeros((7, 7), np.uint8)
    assert desk.controller.labels.layer is None


def test_image_data_replaced_by_a_script(open_desk, coins, coin_stack):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.image.data = coin_stack[1]
    assert desk.masks[0][COINS[0]]
    desk.controller.discard()
    desk.image.data = coin_stack
    assert desk.points.ndim == 3
    desk.controller.choose_tool(Tool.POINT)
    desk.viewer.dims.set_current_step(0, 2)
    desk.click(*COINS[5])
    desk.accept()
    assert desk.labels.data.shape == coin_stack.shape
    assert desk.labels.data[(2, *COINS[5])] == 1


def test_image_that_changes_dimensions_under_the_prompts_drops_them(
    open_desk, coins, coin_stack
):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.image.data = coin_stack
    assert desk.annotator.is_empty
    assert desk.points.ndim == 3


def test_moving_the_image_takes_prompts_and_preview_along(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.image.scale = (0.5, 0.5)
    desk.image.translate = (10, 20)
    for layer in (desk.points, desk.shapes, desk.annotator.preview.layer):
        np.testing.assert_allclose(
            layer.data_to_world((3, 4)), desk.image.data_to_world((3, 4))
        )
    assert desk.shown[COINS[0]]
    desk.click(*COINS[0])
    desk.accept()
    assert desk.labels.data[COINS[0]] == 1


def test_two_viewers_do_not_meet(open_desk, coins):
    first, second = open_desk(coins), open_desk(coins, live=True)
    first.click(*COINS[0])
    second.click(*COINS[1])
    assert first.controller.labels.layer is None
    assert second.labels.data[COINS[1]] == 1
    first.controller.close()
    second.accept()
    assert not any(is_ours(x) for x in first.viewer.layers)
    assert any(is_ours(x) for x in second.viewer.layers)


def test_closing_keeps_user_layers_and_gives_keys_back(open_desk, coins):
    viewer = ViewerModel()

    def mine(viewer):
        """Do what the user bound before."""

    viewer.bind_key("N", mine)
    desk = open_desk(coins, viewer=viewer)
    desk.click(*COINS[0])
    desk.accept()
    before = desk.labels.data.copy()
    labels = desk.labels
    desk.click(*COINS[1])
    desk.controller.close()
    desk.controller.close()
    assert [type(x) for x in viewer.layers] == [Image, Labels]
    np.testing.assert_array_equal(labels.data, before)
    assert mine in viewer.keymap.values()
    assert len(viewer.keymap) == 1
    viewer.dims.ndisplay = 3
    labels.undo()


# -- what is remembered about objects ------------------------------------------------


def test_book_is_plain_data_and_comes_back_with_the_layer(open_desk, coins):
    desk = open_desk(coins)
    two_boxes(desk)
    desk.accept()
    labels = desk.labels
    stored = json.loads(json.dumps(labels.metadata[METADATA_KEY]))
    assert set(stored["objects"]) == {"1", "2"}
    assert stored["objects"]["1"]["model"] == "small"
    desk.controller.close()

    # As after saving and opening it again.
    reopened = Labels(labels.data.copy(), metadata={METADATA_KEY: stored})
    again = open_desk(coins)
    again.viewer.add_layer(reopened)
    again.controller.choose_labels(reopened)
    again.annotator.select_object(2)
    assert len(again.annotator.items.shapes) == 1
    assert again.masks[0][COINS[2]]


@pytest.mark.parametrize(
    "stored",
    [
        5,
        {"objects": []},
        {"objects": {"one": {}}},
        {"objects": {"1": None, "2": {"points": 3}}},
        {
            "objects": {
                "1": {
                    "points": [{"at": [1, 2, 3], "positive": True, "axes": [1, 2]}],
                    "shapes": [],
                    "model": "m",
                    "source": "prompts",
                }
            }
        },
    ],
)
def test_damaged_or_foreign_metadata_is_left_out(stored):
    layer = Labels(np.zeros((5, 6), np.uint8), metadata={METADATA_KEY: stored})
    assert len(ObjectRecords(layer.metadata.get(METADATA_KEY), layer.ndim)) == 0


# -- planes of all kinds ------------------------------------------------------------


@pytest.mark.parametrize("shown", [(1, 2), (0, 2), (2, 0), (1, 0)])
def test_orthogonal_views_are_planes_too(open_desk, blob, shown):
    volume, center = blob
    (hidden,) = set(range(3)) - set(shown)
    viewer = ViewerModel()
    image = viewer.add_image(volume)
    viewer.dims.order = (hidden, *shown)
    viewer.dims.point = center
    desk = open_desk(image, viewer=viewer)
    desk.click(center[shown[0]], center[shown[1]])
    desk.accept()
    written = np.argwhere(desk.labels.data)
    assert set(written[:, hidden]) == {center[hidden]}
    truth = volume > 100
    index = [slice(None)] * 3
    index[hidden] = center[hidden]
    assert iou(desk.labels.data[tuple(index)] == 1, truth[tuple(index)]) > 0.7


def test_transposed_view_of_a_plane_refines_the_same_answer(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    first = desk.masks[0]
    desk.viewer.dims.order = (1, 0)
    assert desk.masks[0][COINS[0][::-1]]
    desk.click(*COINS[1][::-1])
    refined = desk.masks[0].T
    assert not np.array_equal(refined, first)
    desk.accept()
    np.testing.assert_array_equal(desk.labels.data == 1, refined)


PIXELS = {
    "rgb": lambda c: np.stack([c, c // 2, c // 3], axis=-1),
    "uint16": lambda c: c.astype(np.uint16) * 200,
    "float with nan": lambda c: np.where(c < 12, np.nan, c / 255.0),
    "bool": lambda c: c > 110,
}


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_of_all_kinds(open_desk, coins, kind):
    pixels = PIXELS[kind](coins)
    desk = open_desk(pixels, layer={"rgb": pixels.ndim == 3})
    desk.click(*COINS[1])
    assert desk.masks[0].shape == coins.shape
    assert desk.masks[0][COINS[1]]
    desk.accept()
    assert desk.labels.data.shape == coins.shape


def test_only_the_shown_plane_of_a_lazy_stack_is_computed(open_desk, coin_stack):
    computed = []

    def load(block, block_info=None):
        computed.append(block_info[0]["chunk-location"][0])
        return block

    lazy = da.from_array(coin_stack, chunks=(1, 124, 170)).map_blocks(
        load, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    desk = open_desk(lazy, layer={"contrast_limits": (0, 255)})
    # napari itself has looked at the first plane.
    computed.clear()
    desk.viewer.dims.set_current_step(0, 2)
    desk.click(*COINS[1])
    assert set(computed) == {2}
    desk.accept()
    assert desk.labels.data[(2, *COINS[1])] == 1


def test_zarr_image_and_zarr_labels(open_desk, coin_stack, tmp_path):
    image = zarr.create_array(tmp_path / "image.zarr", data=coin_stack)
    store = zarr.create_array(
        tmp_path / "labels.zarr", shape=coin_stack.shape, dtype="u2"
    )
    desk = open_desk(image, layer={"contrast_limits": (0, 255)})
    labels = desk.viewer.add_labels(store)
    desk.controller.choose_labels(labels)
    desk.click(*COINS[1])
    desk.accept()
    assert store[(1, *COINS[1])] == 1
    labels.undo()
    assert not store[:].any()


def test_masks_of_a_pyramid_are_at_full_resolution(open_desk, coins):
    full = np.kron(coins, np.ones((16, 16), np.uint8))
    pyramid = [full, full[::2, ::2], full[::4, ::4]]
    desk = open_desk(pyramid, layer={"multiscale": True, "contrast_limits": (0, 255)})
    row, column = COINS[1][0] * 16, COINS[1][1] * 16
    desk.click(row, column)
    (mask,) = desk.masks
    assert mask.shape == full.shape
    assert mask[row, column]
    # The outline lies where the coin's does at the finest level.
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() / 16 - COINS[1][0]) < 2
    assert abs(columns.mean() / 16 - COINS[1][1]) < 2
    desk.accept()
    assert desk.labels.data.shape == full.shape


def test_time_and_channel_axes(open_desk, coin_stack):
    five = np.stack([np.stack([coin_stack, coin_stack[:, ::-1]])] * 2)
    desk = open_desk(five, layer={"scale": (1, 1, 2, 0.5, 0.5)})
    assert desk.points.ndim == 5
    desk.viewer.dims.point = desk.image.data_to_world((1, 0, 2, 0, 0))
    desk.click(*COINS[1])
    desk.accept()
    written = np.argwhere(desk.labels.data)
    assert {tuple(w[:3]) for w in written} == {(1, 0, 2)}
    assert desk.labels.data[(1, 0, 2, *COINS[1])] == 1
    # The same pixels at another time: prompts stay where they were made.
    desk.click(*COINS[2])
    desk.viewer.dims.point = desk.image.data_to_world((0, 0, 2, 0, 0))
    assert desk.masks == []
    assert desk.shown is None


def test_channels_composed_as_displayed(open_desk, coins):
    left = np.where(np.arange(170) < 85, coins, 0)
    right = np.where(np.arange(170) < 85, 0, coins)
    viewer = ViewerModel()
    other = viewer.add_image(right, colormap="green", blending="additive", name="b")
    desk = open_desk(
        left,
        viewer=viewer,
        layer={"colormap": "magenta", "blending": "additive"},
    )
    source = desk.controller.context.encoder.source
    plane = desk.controller.context.plane
    alone, size = source.read(plane)
    assert size == coins.shape
    desk.controller.change_settings(normalization=Normalization.DISPLAYED)
    composed, _ = desk.controller.context.encoder.source.read(plane)
    assert composed[COINS[0]][0] > composed[COINS[0]][1]
    assert composed[COINS[2]][1] > composed[COINS[2]][0]
    assert not alone[COINS[2]].any()
    desk.click(*COINS[2])
    assert desk.masks[0][COINS[2]]
    # What the other channel looks like counts too.
    other.visible = False
    hidden, _ = desk.controller.context.encoder.source.read(plane)
    assert not hidden[COINS[2]].any()


# -- prefetch -----------------------------------------------------------------------


def test_neighbors_are_encoded_and_the_strip_shows_them(open_desk, coin_stack, engine):
    desk = open_desk(coin_stack[:2], prefetch=True)
    strip = desk.controller.prefetcher.strip
    assert strip.axis == 0
    assert strip.ready.all()
    assert strip.position == desk.controller.context.plane.index[0]


def test_whole_stack_is_encoded_on_request(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    prefetcher = desk.controller.prefetcher
    assert prefetcher.strip.ready.tolist() == [False, True, False]
    desk.controller.encode_stack()
    assert prefetcher.strip.ready.all()
    assert prefetcher.progress.done == prefetcher.progress.total == 3
    desk.controller.go_to(2)
    assert desk.controller.context.plane.index[0] == 2
    assert prefetcher.strip.position == 2


def test_prefetch_goes_where_the_user_scrolls(open_desk, coin_stack, monkeypatch):
    # Copies of encoded planes: nothing here is encoded anew.
    stack = coin_stack[[0, 1, 2, 0, 1, 2, 0]]
    desk = open_desk(stack)
    desk.viewer.dims.set_current_step(0, 2)
    order = []
    planes = desk.controller.context.encoder
    prepare = planes.iter_prepare

    def note(plane):
        order.append(plane.index[0])
        return prepare(plane)

    monkeypatch.setattr(planes, "iter_prepare", note)
    desk.controller.change_settings(prefetch=True)
    desk.viewer.dims.set_current_step(0, 3)
    assert order[:3] == [4, 5, 6]
    assert desk.controller.prefetcher.strip.position == 3


class AnotherModel:
    """The same model with another encoder, as far as anybody can tell."""

    encoder_fingerprint = "another"

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)


def test_what_a_model_has_encoded_counts_when_it_is_chosen_again(
    open_desk, coin_stack, model, tmp_path
):
    store = EmbeddingStore(tmp_path / "store")
    one, other = Engine(model, store), Engine(AnotherModel(model), store)
    desk = open_desk(coin_stack, engine=one)
    prefetcher = desk.controller.prefetcher
    desk.viewer.dims.set_current_step(0, 0)
    assert prefetcher.strip.ready.tolist() == [True, True, False]
    desk.controller.loader.use(other)
    assert prefetcher.strip.ready.tolist() == [True, False, False]
    desk.controller.loader.use(one)
    assert prefetcher.strip.ready.tolist() == [True, True, False]
    assert prefetcher.progress.done == 2
    # Other pixels are another matter.
    desk.image.data = coin_stack[:, :-4].copy()
    assert prefetcher.strip.ready.tolist() == [True, False, False]


def test_planes_that_everything_mode_has_encoded_count(
    open_desk, coin_stack, model, tmp_path
):
    engine = Engine(model, EmbeddingStore(tmp_path / "store"))
    desk = open_desk(coin_stack, engine=engine)
    desk.controller.change_settings(
        everything=EverythingSettings(points_per_side=2, prompts="grid")
    )
    prefetcher, seen = desk.controller.prefetcher, []
    prefetcher.changed.connect(lambda: seen.append(prefetcher.progress.done))
    desk.controller.segment_stack()
    assert prefetcher.strip.ready.all()
    assert {2, 3} <= set(seen)


def test_planes_of_an_earlier_session_count(open_desk, coin_stack, model, tmp_path):
    """They are looked for when nothing else is due, in images that are in memory."""
    stack = np.stack([np.roll(coin_stack[0], 9 * k, 1) for k in range(9)])
    store = EmbeddingStore(tmp_path / "store")
    engine = Engine(model, store)
    for plane in (0, 8):
        engine.prepare(to_rgb(stack[plane]))
    desk = open_desk(stack, engine=engine, prefetch=True)
    assert desk.controller.prefetcher.strip.ready.tolist() == (
        [True] + [False] * 2 + [True] * 6
    )


# -- everything ---------------------------------------------------------------------


def test_everything_on_the_plane_is_refiltered_and_written_in_one_step(
    open_desk, coins, monkeypatch
):
    desk = open_desk(coins, everything=FEW_POINTS)
    mode = desk.controller.everything
    desk.controller.segment_plane()
    found = mode.count
    assert found >= 2
    assert not mode.is_running
    assert mode.overlay.layer.data.any()
    assert f"{found} objects" in desk.controller.status

    def never(*_, **__):
        raise AssertionError("thresholds need no inference")

    monkeypatch.setattr(desk.controller.context.runner, "submit", never)
    desk.controller.change_settings(min_area=10**6)
    assert mode.count == 0
    assert not mode.overlay.layer.data.any()
    desk.controller.change_settings(min_area=20)
    assert mode.count == found
    monkeypatch.undo()

    assert mode.write()
    assert len(values(desk.labels) - {0}) <= found
    assert desk.labels.data.any()
    assert mode.count == 0
    assert not mode.overlay.layer.data.any()
    assert not mode.write()
    desk.labels.undo()
    assert not desk.labels.data.any()
    # They are proposed again, and can be written again.
    assert mode.count == found
    assert mode.overlay.layer.data.any()
    assert mode.write()
    mode.discard()
    assert not mode.write()


def test_everything_keeps_accepted_objects(open_desk, coins):
    desk = open_desk(coins, everything=FEW_POINTS, policy=OverlapPolicy.KEEP)
    desk.click(*COINS[1])
    desk.accept()
    before = desk.labels.data == 1
    desk.controller.segment_plane()
    desk.controller.everything.write()
    np.testing.assert_array_equal(desk.labels.data == 1, before)
    assert desk.annotator.label > 2


def test_everything_inside_a_drawn_box(open_desk, coins):
    desk = open_desk(coins, everything=FEW_POINTS)
    desk.controller.segment_box()
    assert "Draw a box" in desk.controller.status
    desk.box(70, 60, 124, 169)
    desk.controller.segment_box()
    assert desk.annotator.is_empty
    shown = desk.controller.everything.shown
    assert len(shown) >= 1
    assert shown.box[:, 0].min() >= 69
    assert shown.box[:, 1].min() >= 59


def test_everything_of_a_stack_and_cancel_keeps_what_is_finished(open_desk, coin_stack):
    desk = open_desk(coin_stack, everything=EverythingSettings(points_per_side=3))
    mode = desk.controller.everything
    desk.controller.segment_stack()
    assert {p.index[0] for p in mode.found} == {0, 1, 2}
    assert mode.write()
    assert all(p.any() for p in desk.labels.data)
    desk.labels.undo()
    assert not desk.labels.data.any()
    mode.discard()

    def cancel_when_one_is_done():
        if len(mode.found) == 1 and mode.is_running:
            desk.controller.cancel()

    mode.changed.connect(cancel_when_one_is_done)
    desk.controller.segment_stack()
    mode.changed.disconnect(cancel_when_one_is_done)
    assert not mode.is_running
    assert not desk.controller.task_status.can_cancel
    assert mode.count > 0
    assert 2 not in {p.index[0] for p in mode.found if len(mode.found[p])}
    assert "Stopped" in desk.controller.status


def test_proposals_go_when_the_image_does(open_desk, coins, coin_stack):
    desk = open_desk(coins, everything=EverythingSettings(points_per_side=3))
    desk.controller.segment_plane()
    assert desk.controller.everything.count
    desk.controller.choose_image(desk.viewer.add_image(coin_stack[1]))
    assert desk.controller.everything.count == 0
    assert not desk.controller.everything.overlay.layer.data.any()


# -- with the real worker thread ----------------------------------------------------


def ready(desk):
    return lambda: desk.controller.prefetcher.is_shown_ready


def test_discard_beats_an_answer_that_is_on_its_way(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    desk.click(*COINS[0])
    callback = pumped.waiting.get(timeout=60)
    desk.controller.discard()
    callback()
    pumped.drain()
    assert desk.annotator.is_empty
    assert desk.shown is None


def test_only_the_last_of_quick_clicks_is_shown(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    for coin in COINS[:3]:
        desk.points.data = np.array([coin], float)
    pumped.pump(lambda: bool(desk.masks))
    assert desk.masks[0][COINS[2]]
    assert not pumped.is_busy("predict")


def test_accept_waits_for_an_answer_that_is_on_its_way(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    desk.click(*COINS[0])
    desk.controller.accept()
    assert desk.controller.labels.layer is None
    pumped.pump(lambda: desk.controller.labels.layer is not None)
    assert desk.controller.labels.layer.data[COINS[0]] == 1
    assert desk.annotator.is_empty


def test_a_click_right_after_accept_begins_the_next_object(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    desk.click(*COINS[0])
    desk.controller.accept()
    desk.click(*COINS[1])
    desk.click(*COINS[4], "Control")
    pumped.pump(lambda: bool(desk.masks) and desk.controller.labels.layer is not None)
    labels = desk.controller.labels.layer.data
    assert labels[COINS[0]] == 1
    assert labels[COINS[1]] == 0
    assert desk.annotator.label == 2
    assert [p.positive for p in desk.annotator.items.points] == [True, False]
    assert desk.masks[0][COINS[1]]


def test_discard_leaves_an_accept_that_waits(open_desk, coins, pumped):
    """What N was pressed for is written, whatever is pressed next."""
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    desk.click(*COINS[0])
    desk.controller.accept()
    desk.controller.discard()
    pumped.pump(lambda: not desk.annotator.is_waiting)
    pumped.drain()
    assert desk.labels.data[COINS[0]] == 1
    desk.click(*COINS[1])
    pumped.pump(lambda: bool(desk.masks))
    assert desk.annotator.label == 2
    assert not desk.masks[0][COINS[0]]


def test_undo_beats_an_answer_that_is_on_its_way(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    desk.click(*COINS[0])
    pumped.pump(lambda: bool(desk.masks))
    desk.controller.accept()
    desk.click(*COINS[1])
    # Answered, but not yet delivered to the GUI thread.
    pumped.wait(["predict"])
    desk.controller.labels.layer.undo()
    pumped.drain()
    assert desk.annotator.label == 1
    assert len(desk.masks) == 1
    assert desk.masks[0][COINS[0]]
    assert not desk.masks[0][COINS[1]]


def test_picking_an_object_keeps_an_accept_that_waits(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    desk.click(*COINS[0])
    pumped.pump(lambda: bool(desk.masks))
    desk.controller.accept()
    desk.click(*COINS[1])
    desk.controller.accept()
    desk.annotator.select_object(1)
    pumped.pump(lambda: bool(desk.masks) and not desk.annotator.is_waiting)
    pumped.drain()
    labels = desk.controller.labels.layer.data
    assert labels[COINS[0]] == 1
    assert labels[COINS[1]] == 2
    assert desk.annotator.label == 1
    assert desk.masks[0][COINS[0]]


def test_another_size_does_not_replace_an_answer_on_its_way(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    pumped.pump(ready(desk))
    desk.click(*COINS[0])
    pumped.pump(lambda: bool(desk.masks))
    desk.click(*COINS[1])
    desk.controller.set_level(MaskLevel.WHOLE)
    pumped.pump(
        lambda: (
            desk.annotator.prediction is not None
            and len(desk.annotator.prediction.prompts[0].points) == 2
        )
    )
    assert desk.annotator.prediction.level == MaskLevel.WHOLE


@pytest.mark.parametrize(
    ("prompts", "min_area", "helps", "does_not"),
    [
        ("auto", 20, {"click"}, {"Points per side", "thresholds"}),
        ("grid", 20, {"click", "Points per side"}, {"thresholds"}),
        ("grid", 10**6, {"thresholds"}, {"Points per side"}),
    ],
)
def test_where_nothing_is_found_only_what_helps_is_said(
    open_desk, coins, tmp_path, prompts, min_area, helps, does_not
):
    image = coins if min_area > 20 else np.full_like(coins, 90)
    everything = EverythingSettings(points_per_side=3, prompts=prompts)
    desk = open_desk(image, everything=everything, min_area=min_area)
    if prompts == "auto":
        # One that sees where objects are.
        seeing = load_model("mobile-sam-microscopy", device="cpu")
        desk.controller.loader.use(Engine(seeing, EmbeddingStore(tmp_path)))
    desk.controller.segment_plane()
    said = desk.controller.status
    assert said.startswith("Nothing found: ")
    assert {word for word in helps | does_not if word in said} == helps


def test_everything_lets_a_click_through_and_survives_an_image_switch(
    open_desk, coins, coin_stack, pumped
):
    desk = open_desk(
        coins, runner=pumped, everything=EverythingSettings(points_per_side=12)
    )
    pumped.pump(ready(desk))
    desk.controller.segment_plane()
    mode = desk.controller.everything
    pumped.pump(lambda: mode.progress is not None and mode.progress.done > 0)
    desk.click(*COINS[0])
    pumped.pump(lambda: bool(desk.masks))
    assert mode.is_running
    desk.controller.choose_image(desk.viewer.add_image(coin_stack[1]))
    assert not mode.is_running
    pumped.pump(ready(desk))
    pumped.drain()
    assert mode.count == 0
    assert "Nothing found" not in desk.controller.status


def test_a_search_under_way_is_not_replaced_without_a_word(open_desk, coins, pumped):
    desk = open_desk(
        coins, runner=pumped, everything=EverythingSettings(points_per_side=6)
    )
    pumped.pump(ready(desk))
    mode = desk.controller.everything
    said = []
    mode.status.connect(said.append)
    desk.controller.segment_plane()
    pumped.pump(lambda: mode.progress is not None and mode.progress.done > 0)
    done = mode.progress.done
    desk.controller.segment_plane()
    assert said == ["A search is under way: Cancel stops it."]
    assert mode.progress is not None
    assert mode.progress.done >= done
    pumped.pump(lambda: not mode.is_running)
    assert len(said) == 2
    assert mode.count > 0


def test_clicks_while_the_plane_is_encoded_do_not_start_anew(
    open_desk, coins, pumped, model, tmp_path, monkeypatch
):
    begun = threading.Event()
    count = []
    encode = type(model).iter_encode_rgb

    def counted(self, *arguments, **how):
        count.append(1)
        begun.set()
        return encode(self, *arguments, **how)

    monkeypatch.setattr(type(model), "iter_encode_rgb", counted)
    fresh = Engine(model, EmbeddingStore(tmp_path))
    desk = open_desk(coins, runner=pumped, engine=fresh)
    assert begun.wait(60)
    for coin in COINS[:2]:
        desk.click(*coin)
    pumped.pump(lambda: bool(desk.masks))
    pumped.pump(ready(desk))
    assert len(count) == 1


def test_closing_while_encoding(open_desk, coins, pumped, model, tmp_path):
    fresh = Engine(model, EmbeddingStore(tmp_path))
    desk = open_desk(coins, runner=pumped, engine=fresh)
    desk.click(*COINS[0])
    desk.controller.close()
    pumped.close(timeout=60)
    # What was on its way finds nobody, and says nothing.
    pumped.drain()
    assert [type(x) for x in desk.viewer.layers] == [Image]


def test_discarded_is_said_of_what_was_discarded(open_desk, coins):
    desk = open_desk(coins)
    desk.controller.discard()
    assert "iscarded" not in desk.controller.status
    desk.click(*COINS[0])
    desk.controller.discard()
    assert desk.controller.status.startswith("Discarded.  Click an object.")
    desk.click(*COINS[0])
    desk.accept()
    desk.controller.discard()
    assert "iscarded" not in desk.controller.status
    desk.annotator.select_object(1)
    desk.controller.discard()
    assert desk.controller.status.startswith("Object 1 is as it was.  Click an object.")
    # The one that was left for another goes on.
    desk.click(*COINS[1])
    desk.annotator.select_object(1)
    desk.controller.discard()
    assert desk.controller.status == "Object 1 is as it was.  Object 2 goes on."
    desk.controller.choose_image(None)
    said = desk.controller.status
    desk.controller.discard()
    assert desk.controller.status == said


def test_a_label_chosen_in_napari_stays_until_the_number_changes(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    desk.labels.selected_label = 9
    desk.click(*COINS[1])
    desk.controller.discard()
    assert desk.annotator.label == 2
    assert desk.labels.selected_label == 9
    # A stroke moves the number that is free next, and not the brush.
    desk.labels.paint((60, 60), 9)
    desk.click(*COINS[1])
    desk.controller.discard()
    assert desk.annotator.label == 10
    assert desk.labels.selected_label == 9
    heard = []
    desk.labels.events.selected_label.connect(heard.append)
    desk.click(*COINS[1])
    assert desk.accept() == 10
    assert desk.labels.selected_label == 11
    assert heard  # by napari's controls, which show the number
