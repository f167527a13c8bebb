"""Boxes, outlines and scribbles, drawn in the real window."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, spin, wait_until

from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def around(coin: tuple[int, int], half: int = 24) -> list[tuple[int, int]]:
    """Return two corners of a box around a coin."""
    row, column = coin
    return [(row - half, column - half), (row + half, column + half)]


def test_a_dragged_box_is_a_box_prompt(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    sam.choose_tool(Tool.BOX)
    corners = around(COINS[4])
    sam.drag(corners)
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.box == pytest.approx((*corners[0], *corners[1]), abs=1.0)
    sam.wait_preview()
    sam.key("N")
    assert sam.labelled == [1]
    assert sam.labels.data[COINS[4]] == 1
    assert sam.shapes.nshapes == 0


def test_two_boxes_are_two_objects(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    sam.choose_tool(Tool.BOX)
    sam.drag(around(COINS[4]))
    sam.drag(around(COINS[5]))
    assert len(sam.annotator.prompting.here()) == 2
    sam.wait_idle()
    sam.key("N")
    assert sam.labelled == [1, 2]
    assert sam.labels.data[COINS[4]] == 1
    assert sam.labels.data[COINS[5]] == 2
    sam.labels.undo()
    assert sam.labelled == []


def test_moving_a_box_moves_the_preview(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    sam.choose_tool(Tool.BOX)
    sam.drag(around(COINS[4]))
    sam.wait_preview()
    sam.shapes.mode = "select"
    sam.drag([COINS[4], COINS[5]])
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.box is not None
    preview = sam.annotator.preview.layer
    assert preview is not None
    wait_until(lambda: preview.data[COINS[5]], "the preview to follow the box")


def test_a_lasso_is_a_rough_mask(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    sam.choose_tool(Tool.OUTLINE)
    r, c = COINS[4]
    sam.drag([(r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14), (r + 14, c - 14)])
    assert list(sam.shapes.shape_type) == ["polygon"]
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.mask is not None
    sam.wait_preview()
    sam.key("N")
    assert sam.labels.data[COINS[4]] == 1


def test_an_ellipse_is_a_rough_mask(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    sam.choose_tool(Tool.ELLIPSE)
    sam.drag(around(COINS[4], 14))
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.mask is not None
    assert 400 < prompts.mask.area < 900
    sam.wait_preview()


def test_a_scribble_is_sampled_to_points(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    sam.choose_tool(Tool.SCRIBBLE)
    r, c = COINS[4]
    sam.drag([(r, c - 12), (r + 3, c), (r, c + 12)])
    wait_until(lambda: sam.annotator.prompting.here(), "the scribble to be a prompt")
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.box is None
    assert all(p.positive for p in prompts.points)
    assert len(prompts.points) >= 2
    sam.wait_preview()
    sam.key("N")
    assert sam.labels.data[COINS[4]] == 1


def test_escape_finishes_a_shape_before_it_discards(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    sam.choose_tool(Tool.OUTLINE)
    sam.shapes.mode = "add_polygon"
    r, c = COINS[4]
    for corner in ((r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14)):
        sam.click(corner)
        # napari takes a quick second click for the double click that ends it
        spin(600)
    sam.key("Escape")
    assert sam.shapes.nshapes == 1
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.mask is not None
    sam.key("Escape")
    assert sam.annotator.is_empty
    assert sam.shapes.nshapes == 0


def test_everything_inside_a_box(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    everything = sam.controller.everything
    sam.widget.everything.side.value = 5
    assert not sam.widget.everything.box.enabled
    assert "Box tool" in sam.widget.everything.box.tooltip
    sam.choose_tool(Tool.BOX)
    sam.drag([(85, 15), (150, 185)])
    sam.wait_preview()
    sam.push(sam.widget.everything.box)
    wait_until(lambda: not everything.is_running, "the search to end")
    assert everything.count > 0
    shown = everything.overlay.layer
    assert shown is not None
    assert shown.data[86:149, 16:184].any()
    assert not shown.data[:60].any()


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Return the list that unhandled exceptions of the window come to."""
    found: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _, error, __: found.append(error))
    return found


def assert_every_shape_tool_works(sam: Driver) -> None:
    """Draw a box, an outline, an ellipse and a scribble; each is the shape drawn."""
    r, c = COINS[4]
    corners = around(COINS[4])
    drawn = {
        Tool.BOX: (corners, "rectangle"),
        Tool.OUTLINE: (
            [(r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14), (r + 14, c - 14)],
            "polygon",
        ),
        Tool.ELLIPSE: (corners, "ellipse"),
        Tool.SCRIBBLE: ([(r, c - 12), (r + 3, c), (r, c + 12)], "path"),
    }
    start = sam.shapes.nshapes
    for count, (tool, (path, kind)) in enumerate(drawn.items(), start + 1):
        sam.choose_tool(tool)
        sam.drag(path)
        # A line is finished a moment after the drag.
        spin(50)
        assert sam.shapes.nshapes == len(sam.annotator.items.shapes) == count
        item = sam.annotator.items.shapes[-1]
        assert item.kind == kind
        assert item.positive
        assert np.ptp(item.vertices, axis=0).max() > 20
        assert len(sam.shapes.features) == len(sam.shapes.edge_color) == count
        assert sam.controller.toolbox.lit is tool


@pytest.mark.parametrize("tool", [Tool.OUTLINE, Tool.SCRIBBLE])
@pytest.mark.filterwarnings("ignore:Polygons must have three")
def test_a_shape_that_napari_throws_away_breaks_no_tool(
    open_sam: OpenSam, coins: Pixels, tool: Tool, raised: list[BaseException]
) -> None:
    """napari 0.9 leaves the rows of such a shape in its features and colors."""
    sam = open_sam(coins)
    r, c = COINS[4]
    straight = [(r, c - 20), (r, c + 20)]
    tiny = [(r, c), (r, c + 1)]
    sam.choose_tool(tool)
    for path in (tiny, straight) if tool is Tool.OUTLINE else (tiny,):
        sam.drag(path)
        spin(600)
        sam.drag(path)
        spin(600)
    assert sam.annotator.items.shapes == ()
    assert_every_shape_tool_works(sam)
    assert raised == []


@pytest.mark.parametrize("tool", [Tool.BOX, Tool.ELLIPSE, Tool.OUTLINE, Tool.SCRIBBLE])
def test_escape_during_a_drag_drops_what_is_drawn(
    open_sam: OpenSam, coins: Pixels, tool: Tool, raised: list[BaseException]
) -> None:
    sam = open_sam(coins)
    sam.click(COINS[0])
    sam.choose_tool(tool)
    r, c = COINS[4]
    sam.drag(
        [(r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14), (r + 14, c - 14)],
        midway=lambda: sam.key("Escape"),
    )
    spin(50)
    assert sam.shapes.nshapes == 0
    assert sam.annotator.items.shapes == ()
    # What was prompted before is not what was being drawn.
    assert len(sam.annotator.items.points) == 1
    assert_every_shape_tool_works(sam)
    sam.key("Escape")
    sam.key("Escape")
    assert sam.annotator.is_empty
    assert raised == []


@pytest.mark.parametrize("tool", [Tool.BOX, Tool.OUTLINE])
def test_an_accept_during_a_drag_leaves_the_shape_to_the_next_object(
    open_sam: OpenSam, coins: Pixels, tool: Tool, raised: list[BaseException]
) -> None:
    sam = open_sam(coins)
    sam.click(COINS[0])
    sam.wait_preview()
    sam.choose_tool(tool)
    r, c = COINS[4]
    sam.drag(
        [(r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14), (r + 14, c - 14)],
        midway=lambda: sam.key("N"),
    )
    wait_until(lambda: sam.labelled == [1], "the accepted object")
    wait_until(lambda: len(sam.points.data) == 0, "its prompts to go")
    assert sam.annotator.items.points == ()
    (shape,) = sam.annotator.items.shapes
    assert np.ptp(shape.vertices, axis=0).max() > 20
    assert sam.shapes.nshapes == 1
    sam.wait_preview()
    assert raised == []
