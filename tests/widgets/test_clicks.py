"""Annotating with mouse and keys in the real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import BACKGROUND, COINS, CONTROL, spin, wait_until
from skimage import data

from napari_sam.types import MaskLevel
from napari_sam.viewer.prompting.prompt_layers import COLORS, NEGATIVE
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def clear(sam: Driver) -> None:
    """Take back what was written and drop what is under way."""
    while sam.labeled:
        sam.labels.undo()
    while not sam.annotator.is_empty:
        sam.wait_idle()
        sam.key("Escape")
    sam.choose_tool(Tool.POINT)
    assert sam.labeled == []
    assert sam.annotator.is_empty
    assert sam.annotator.prompting.positive
    assert sam.preview_pixels == 0


def n_without_a_preview_says_what_to_do(sam: Driver) -> None:
    sam.key("N")
    assert "click an object" in sam.controller.status
    assert sam.widget.status.text() == sam.controller.status


def escape_discards(sam: Driver) -> None:
    sam.click(COINS[0])
    sam.wait_preview()
    sam.key("Escape")
    assert sam.annotator.is_empty
    assert sam.preview_pixels == 0
    assert sam.controller.labels.layer is None


def ctrl_click_marks_background(sam: Driver) -> None:
    sam.click(COINS[0])
    sam.click(BACKGROUND, CONTROL)
    sam.wait_preview()
    assert [p.positive for p in sam.annotator.items.points] == [True, False]
    preview = sam.annotator.preview.layer
    assert preview is not None
    assert preview.data[COINS[0]]
    assert not preview.data[BACKGROUND]
    # and the next click without Ctrl is an object again
    sam.click(COINS[1])
    assert sam.annotator.items.points[-1].positive


def q_flips_what_the_next_click_marks(sam: Driver) -> None:
    sam.click(COINS[0])
    sam.key("Q")
    sam.click(BACKGROUND)
    sam.click(BACKGROUND, CONTROL)
    sam.key("Q")
    sam.click(COINS[1])
    marks = [p.positive for p in sam.annotator.items.points]
    assert marks == [True, False, True, True]


def w_cycles_the_sizes(sam: Driver) -> None:
    sam.click(COINS[2])  # all three masks are of one piece there
    sam.wait_preview()
    first = sam.preview_pixels
    seen = {}
    for level in (MaskLevel.SUBPART, MaskLevel.PART, MaskLevel.WHOLE, MaskLevel.AUTO):
        sam.key("W")
        assert sam.annotator.level is level
        sam.wait_idle()
        seen[level] = sam.preview_pixels
        assert sam.widget.objects.level.value is level
    assert seen[MaskLevel.SUBPART] <= seen[MaskLevel.PART] <= seen[MaskLevel.WHOLE]
    assert seen[MaskLevel.SUBPART] < seen[MaskLevel.WHOLE]
    # The model's own answer, which is a blend of the three and a fourth.
    assert seen[MaskLevel.AUTO] == first


def u_takes_back_the_last_click(sam: Driver) -> None:
    sam.click(COINS[0])
    sam.wait_preview()
    alone = sam.preview_pixels
    sam.click(BACKGROUND)
    sam.wait_idle()
    sam.key("U")
    sam.wait_idle()
    assert sam.preview_pixels == alone
    sam.key("U")
    sam.wait_idle()
    assert sam.annotator.is_empty
    assert sam.preview_pixels == 0
    sam.key("U")
    assert sam.annotator.is_empty


def holding_h_shows_the_mask_under_the_cursor(sam: Driver) -> None:
    sam.click(COINS[0])
    sam.wait_preview()
    clicked = sam.preview_pixels
    sam.hover(COINS[4])
    sam.press("H")
    sam.hover((COINS[4][0] + 2, COINS[4][1]))
    preview = sam.annotator.preview.layer
    assert preview is not None
    wait_until(lambda: sam.annotator.prompting.hover.score is not None, "a hover score")
    assert preview.data[COINS[4]]
    sam.release("H")
    wait_until(
        lambda: sam.annotator.prompting.hover.score is None, "the end of hovering"
    )
    assert sam.preview_pixels == clicked
    assert not preview.data[COINS[4]]
    assert len(sam.annotator.items.points) == 1


def hover_switch_needs_no_key(sam: Driver) -> None:
    sam.controller.change_settings(hover=True)
    sam.hover(COINS[4])
    wait_until(lambda: sam.annotator.prompting.hover.score is not None, "a hover score")
    assert sam.preview_pixels > 300
    sam.controller.change_settings(hover=False)
    assert sam.preview_pixels == 0


def dragging_a_point_moves_the_preview(sam: Driver) -> None:
    sam.click(COINS[4])
    sam.wait_preview()
    sam.choose_tool(Tool.EDIT)
    sam.drag([COINS[4], COINS[5]])
    assert np.allclose(sam.annotator.items.points[0].position, COINS[5], atol=1)
    preview = sam.annotator.preview.layer
    assert preview is not None
    sam.wait_idle()
    assert preview.data[COINS[5]]
    assert not preview.data[COINS[4]]


def delete_removes_the_selected_point(sam: Driver) -> None:
    sam.click(COINS[4])
    sam.click(COINS[5])
    sam.wait_idle()
    preview = sam.annotator.preview.layer
    assert preview is not None
    sam.choose_tool(Tool.EDIT)
    sam.click(COINS[5])
    assert sam.points.selected_data == {1}
    sam.key("Delete")
    assert len(sam.annotator.items.points) == 1
    sam.wait_idle()
    assert preview.data[COINS[4]]
    assert not preview.data[COINS[5]]


def recoloring_a_point_changes_what_it_marks(sam: Driver) -> None:
    sam.click(COINS[4])
    sam.click(BACKGROUND)
    sam.wait_idle()
    both = sam.preview_pixels
    sam.points.selected_data = {1}
    sam.points.current_face_color = COLORS[NEGATIVE]
    assert [p.positive for p in sam.annotator.items.points] == [True, False]
    wait_until(lambda: sam.preview_pixels != both, "another preview")
    assert list(sam.points.features["prompt"]) == ["positive", "negative"]


def j_brings_an_object_back_for_refinement(sam: Driver) -> None:
    sam.annotate(COINS[4])
    sam.annotate(COINS[5])
    sam.hover(COINS[4])
    sam.key("J")
    assert sam.annotator.label == 1
    assert [
        np.allclose(p.position, COINS[4], atol=0.6) for p in sam.annotator.items.points
    ] == [True]
    sam.click(BACKGROUND, CONTROL)
    sam.wait_preview()
    sam.key("N")
    assert sam.labeled == [1, 2]
    assert sam.annotator.label == 3
    sam.hover((5, 5))
    sam.key("J")
    assert "no object" in sam.controller.status


def write_while_i_click_is_one_undo_step(sam: Driver) -> None:
    sam.controller.change_settings(live=True)
    sam.click(COINS[4])
    wait_until(lambda: sam.labeled == [1], "the object in the labels")
    sam.click(BACKGROUND, CONTROL)
    sam.wait_idle()
    assert sam.labeled == [1]
    sam.key("N")
    assert sam.annotator.label == 2
    sam.click(COINS[1])
    wait_until(lambda: sam.labeled == [1, 2], "the second object")
    sam.key("Escape")
    assert sam.labeled == [1]
    sam.labels.undo()
    assert sam.labeled == []
    sam.controller.change_settings(live=False)


def g_proposes_and_the_button_writes(sam: Driver) -> None:
    sam.widget.everything.side.value = 6
    everything = sam.controller.everything
    sam.key("G")
    wait_until(lambda: everything.is_running, "the search to start")
    wait_until(lambda: not everything.is_running, "the search to end")
    found = everything.count
    assert found >= 3
    spin()
    assert f"Write {found}" in sam.widget.everything.write.text
    # thresholds filter at once, without inference, and back
    sam.widget.everything.score.value = 1.0
    assert everything.count < found
    sam.widget.everything.score.value = 0.8
    assert everything.count == found
    sam.push(sam.widget.everything.write)
    assert len(sam.labeled) == found
    assert everything.count == 0
    sam.labels.undo()
    assert sam.labeled == []


def zoomed_in_a_point_is_grabbed_where_it_is_drawn(sam: Driver) -> None:
    row, column = COINS[4]
    sam.click(COINS[4])
    sam.wait_preview()
    # As exactly as the canvas has pixels.
    placed = sam.annotator.items.points[0].position
    sam.viewer.scene.camera.center = COINS[4]
    sam.viewer.scene.camera.zoom = 60
    sam.choose_tool(Tool.EDIT)
    sam.drag([(placed[0], placed[1] + 0.6), (row + 3, column + 3)])
    assert sam.annotator.items.points[0].position == placed
    sam.drag([placed, (row + 2, column + 2)])
    moved = sam.annotator.items.points[0].position
    assert np.allclose(moved, (row + 2, column + 2), atol=0.1)


def test_clicks_and_the_keys_beside_them(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    for check in (
        n_without_a_preview_says_what_to_do,
        escape_discards,
        ctrl_click_marks_background,
        q_flips_what_the_next_click_marks,
        w_cycles_the_sizes,
        u_takes_back_the_last_click,
        holding_h_shows_the_mask_under_the_cursor,
        hover_switch_needs_no_key,
        dragging_a_point_moves_the_preview,
        delete_removes_the_selected_point,
        j_brings_an_object_back_for_refinement,
        write_while_i_click_is_one_undo_step,
        g_proposes_and_the_button_writes,
        zoomed_in_a_point_is_grabbed_where_it_is_drawn,
    ):
        check(sam)
        clear(sam)
    sam.viewer.reset_view()
    recoloring_a_point_changes_what_it_marks(sam)
    clear(sam)


def test_click_preview_accept_next_object(open_sam: OpenSam, stack: Pixels) -> None:
    sam = open_sam(stack)
    plane = sam.controller.context.plane
    assert plane is not None
    for label, coin in enumerate(COINS[:2], start=1):
        sam.click(coin)
        sam.wait_preview()
        assert sam.preview_pixels > 300
        assert sam.controller.labels.layer is None or label not in sam.labeled
        sam.key("N")
        assert sam.labels.data[plane.index[0], *coin] == label
        assert sam.annotator.is_empty
        assert sam.preview_pixels == 0
        assert len(sam.points.data) == 0
    others = [z for z in range(3) if z != plane.index[0]]
    assert not sam.labels.data[others].any()


def test_a_click_lands_on_the_pixel_that_is_drawn_there(
    open_sam: OpenSam, stack: Pixels
) -> None:
    sam = open_sam(stack, scale=(3, 0.5, 0.5), translate=(10, -20, 7))
    sam.click(COINS[0])
    assert np.allclose(sam.points.data[0], [1, *COINS[0]], atol=0.6)


def test_prompts_stay_on_their_plane(open_sam: OpenSam, stack: Pixels) -> None:
    sam = open_sam(stack)
    sam.click(COINS[4])
    sam.wait_preview()
    shown = sam.preview_pixels
    sam.viewer.dims.set_current_step(0, 0)
    sam.wait_ready()
    assert sam.annotator.prediction is None
    assert sam.preview_pixels == 0
    sam.viewer.dims.set_current_step(0, 1)
    spin()
    assert sam.preview_pixels == shown


def test_a_coin_in_a_huge_image(open_sam: OpenSam) -> None:
    """It is 11 pixels wide in what the model sees of the whole."""
    sam = open_sam(np.tile(data.coins(), (12, 10)))
    row, col = 6 * 303 + 124, 5 * 384 + 205
    sam.viewer.scene.camera.center = (row, col)
    sam.viewer.scene.camera.zoom = 4
    spin()
    sam.click((row, col))
    sam.wait_preview()
    alone = sam.preview_pixels
    assert 1000 < alone < 1500
    sam.click((row, col - 55))
    sam.wait_preview()
    assert sam.preview_pixels > 1.5 * alone
    sam.key("U")
    wait_until(lambda: sam.preview_pixels == alone, "the first answer")
    sizes = set()
    for _ in range(4):
        sam.key("W")
        spin()
        sizes.add(sam.preview_pixels)
    assert len(sizes) > 1
    assert alone in sizes
    sam.key("N")
    assert np.count_nonzero(sam.labels.data) == alone
    assert sam.labels.data[row, col] == 1
