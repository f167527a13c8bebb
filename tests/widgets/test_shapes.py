"""Boxes, outlines and scribbles, drawn in the real window."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, spin, wait_until

from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def around(coin: tuple[int, int], half: int = 24) -> list[tuple[int, int]]:
    """Return two corners of a box around a coin."""
    row, column = coin
    return [(row - half, column - half), (row + half, column + half)]


def clear(sam: Driver) -> None:
    """Take back what was written and drop what is under way."""
    while sam.labeled:
        sam.labels.undo()
    sam.wait_idle()
    # The first may only finish a shape.
    sam.key("Escape")
    sam.key("Escape")
    assert sam.labeled == []
    assert sam.annotator.is_empty
    assert sam.shapes.nshapes == 0


def a_dragged_box_is_a_box_prompt(sam: Driver) -> None:
    sam.choose_tool(Tool.BOX)
    corners = around(COINS[4])
    sam.drag(corners)
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.box == pytest.approx((*corners[0], *corners[1]), abs=1.0)
    sam.wait_preview()
    sam.key("N")
    assert sam.labeled == [1]
    assert sam.labels.data[COINS[4]] == 1
    assert sam.shapes.nshapes == 0


def two_boxes_are_two_objects(sam: Driver) -> None:
    sam.choose_tool(Tool.BOX)
    sam.drag(around(COINS[4]), steps=2)
    sam.drag(around(COINS[5]), steps=2)
    assert len(sam.annotator.prompting.here()) == 2
    sam.wait_idle()
    sam.key("N")
    assert sam.labeled == [1, 2]
    assert sam.labels.data[COINS[4]] == 1
    assert sam.labels.data[COINS[5]] == 2
    sam.labels.undo()
    assert sam.labeled == []


def moving_a_box_moves_the_preview(sam: Driver) -> None:
    sam.choose_tool(Tool.BOX)
    sam.drag(around(COINS[4]), steps=2)
    sam.wait_preview()
    preview = sam.annotator.preview.layer
    assert preview is not None
    assert not preview.data[COINS[5]]
    sam.shapes.mode = "select"
    sam.drag([COINS[4], COINS[5]])
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.box is not None
    wait_until(lambda: preview.data[COINS[5]], "the preview to follow the box")


def a_lasso_is_a_rough_mask(sam: Driver) -> None:
    sam.choose_tool(Tool.OUTLINE)
    r, c = COINS[4]
    path = [(r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14), (r + 14, c - 14)]
    sam.drag(path, steps=3)
    assert list(sam.shapes.shape_type) == ["polygon"]
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.mask is not None
    sam.wait_preview()
    sam.key("N")
    assert sam.labels.data[COINS[4]] == 1


def an_ellipse_is_a_rough_mask(sam: Driver) -> None:
    sam.choose_tool(Tool.ELLIPSE)
    sam.drag(around(COINS[4], 14))
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.mask is not None
    assert 400 < prompts.mask.area < 900
    sam.wait_preview()


def a_scribble_is_sampled_to_points(sam: Driver) -> None:
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


def escape_finishes_a_shape_before_it_discards(sam: Driver) -> None:
    sam.choose_tool(Tool.OUTLINE)
    sam.shapes.mode = "add_polygon"
    r, c = COINS[4]
    for corner in ((r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14)):
        sam.click(corner)
    sam.key("Escape")
    assert sam.shapes.nshapes == 1
    (prompts,) = sam.annotator.prompting.here()
    assert prompts.mask is not None
    sam.key("Escape")
    assert sam.annotator.is_empty
    assert sam.shapes.nshapes == 0


def everything_inside_a_box(sam: Driver) -> None:
    everything = sam.controller.everything
    sam.widget.everything.side.value = 5
    assert not sam.widget.everything.box.enabled
    assert "Box tool" in sam.widget.everything.box.tooltip
    sam.choose_tool(Tool.BOX)
    sam.drag([(85, 15), (150, 185)], steps=2)
    sam.wait_preview()
    sam.push(sam.widget.everything.box)
    wait_until(lambda: not everything.is_running, "the search to end")
    assert everything.count > 0
    shown = everything.overlay.layer
    assert shown is not None
    assert shown.data[86:149, 16:184].any()
    assert not shown.data[:60].any()


def test_what_is_drawn_is_what_is_asked(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    for check in (
        a_dragged_box_is_a_box_prompt,
        two_boxes_are_two_objects,
        moving_a_box_moves_the_preview,
        a_lasso_is_a_rough_mask,
        an_ellipse_is_a_rough_mask,
        a_scribble_is_sampled_to_points,
        escape_finishes_a_shape_before_it_discards,
    ):
        check(sam)
        clear(sam)
    everything_inside_a_box(sam)


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Return the list that unhandled exceptions of the window come to."""
    found: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _, error, __: found.append(error))
    return found


SHAPE_TOOLS = (Tool.BOX, Tool.OUTLINE, Tool.ELLIPSE, Tool.SCRIBBLE)


def assert_shape_tools_work(sam: Driver, tools: Sequence[Tool] = SHAPE_TOOLS) -> None:
    """Draw a shape with each of these tools; each is the shape drawn."""
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
    for count, tool in enumerate(tools, start + 1):
        path, kind = drawn[tool]
        sam.choose_tool(tool)
        sam.drag(path, steps=2)
        # A line is finished a moment after the drag.
        spin(50)
        assert sam.shapes.nshapes == len(sam.annotator.items.shapes) == count
        item = sam.annotator.items.shapes[-1]
        assert item.kind == kind
        assert item.positive
        assert np.ptp(item.vertices, axis=0).max() > 20
        assert len(sam.shapes.features) == len(sam.shapes.edge_color) == count
        assert sam.controller.toolbox.lit is tool


@pytest.mark.filterwarnings("ignore:Polygons must have three")
def test_a_shape_that_napari_throws_away_breaks_no_tool(
    open_sam: OpenSam, coins: Pixels, raised: list[BaseException]
) -> None:
    """napari 0.9 leaves the rows of such a shape in its features and colors."""
    sam = open_sam(coins)
    r, c = COINS[4]
    straight = [(r, c - 20), (r, c + 20)]
    tiny = [(r, c), (r, c + 1)]
    for tool, paths in ((Tool.OUTLINE, (tiny, straight)), (Tool.SCRIBBLE, (tiny,))):
        sam.choose_tool(tool)
        for path in paths:
            sam.drag(path)
            sam.drag(path)
        assert sam.annotator.items.shapes == ()
        assert_shape_tools_work(sam)
        assert raised == []
        sam.key("Escape")
        sam.key("Escape")
        assert sam.annotator.is_empty


def test_escape_during_a_drag_drops_what_is_drawn(
    open_sam: OpenSam, coins: Pixels, raised: list[BaseException]
) -> None:
    sam = open_sam(coins)
    r, c = COINS[4]
    path = [(r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14), (r + 14, c - 14)]
    for tool in (Tool.BOX, Tool.ELLIPSE, Tool.OUTLINE, Tool.SCRIBBLE):
        sam.choose_tool(Tool.POINT)
        sam.click(COINS[0])
        sam.choose_tool(tool)
        sam.drag(path, steps=2, midway=lambda: sam.key("Escape"))
        spin(50)
        assert sam.shapes.nshapes == 0
        assert sam.annotator.items.shapes == ()
        # What was prompted before is not what was being drawn.
        assert len(sam.annotator.items.points) == 1
        assert_shape_tools_work(sam, [tool])
        sam.key("Escape")
        sam.key("Escape")
        assert sam.annotator.is_empty
        assert raised == []
    assert_shape_tools_work(sam)
    assert raised == []


def test_an_accept_during_a_drag_leaves_the_shape_to_the_next_object(
    open_sam: OpenSam, coins: Pixels, raised: list[BaseException]
) -> None:
    sam = open_sam(coins)
    r, c = COINS[4]
    path = [(r - 14, c - 14), (r - 14, c + 14), (r + 14, c + 14), (r + 14, c - 14)]
    for tool in (Tool.BOX, Tool.OUTLINE):
        sam.choose_tool(Tool.POINT)
        sam.click(COINS[0])
        sam.wait_preview()
        sam.choose_tool(tool)
        sam.drag(path, steps=2, midway=lambda: sam.key("N"))
        wait_until(lambda: sam.labeled == [1], "the accepted object")
        wait_until(lambda: len(sam.points.data) == 0, "its prompts to go")
        assert sam.annotator.items.points == ()
        (shape,) = sam.annotator.items.shapes
        assert np.ptp(shape.vertices, axis=0).max() > 20
        assert sam.shapes.nshapes == 1
        sam.wait_preview()
        assert raised == []
        clear(sam)
