"""Pre-fill and review in the real window: mouse, keys, buttons, palette."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, CONTROL, SHIFT, Driver, spin, wait_until
from qtpy.QtCore import Qt

from napari_sam.models import ModelSpec
from napari_sam.widgets.panels import which_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app_model import Application
    from driver import Pixels

    from napari_sam.core.annotation.review_items import ReviewItem

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def prepare(sam: Driver) -> None:
    """Make searches short and their outcome plenty."""
    sam.controller.change_settings(confident_score=0.8, confident_stability=0.9)
    sam.widget.everything.side.value = 5


def prefilled(sam: Driver) -> tuple[ReviewItem, ...]:
    """Press the key that pre-fills and wait for the proposals."""
    prepare(sam)
    sam.key("G", SHIFT)
    everything = sam.controller.everything
    wait_until(lambda: everything.is_running, "the search to start")
    wait_until(lambda: not everything.is_running, "the search to end")
    assert len(everything.review_items) >= 3
    return everything.review_items


def inside(review_item: ReviewItem) -> tuple[float, float]:
    """Return a pixel well inside a proposal."""
    rows, cols = np.nonzero(review_item.mask.mask)
    middle = (rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2
    at = int(np.argmin(middle))
    region = review_item.mask.region
    return float(rows[at] + region.row0), float(cols[at] + region.col0)


def keys_of(sam: Driver) -> set[object]:
    return {o.key for o in sam.controller.everything.review_items}


def test_mouse_and_keys_decide_proposals(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    panel = sam.widget.review
    assert not panel.walk.enabled
    assert "nothing to review" in panel.walk.tooltip
    the_panel_stays_calm(sam)
    labeled = sam.labels.data == 1
    accepted, rejected, corrected, *_ = prefilled(sam)
    assert panel.walk.enabled
    assert "proposals" in panel.info.value
    for review_item in sam.controller.everything.review_items:
        assert not (review_item.mask.full(coins.shape) & labeled).any()

    # Shift-click accepts and adds no point
    sam.click(inside(accepted), SHIFT)
    assert sam.labeled == [1, 2]
    assert len(sam.points.data) == 0
    assert sam.points.mode == "add"
    assert np.array_equal(sam.labels.data == 2, accepted.mask.full(coins.shape))

    # K rejects what is under the cursor
    sam.hover(inside(rejected))
    sam.key("K")
    assert rejected.key not in keys_of(sam)
    assert sam.labeled == [1, 2]

    # A click takes one, another corrects it, N writes it
    sam.click(inside(corrected))
    assert sam.annotator.adopted is not None
    assert sam.preview_pixels == corrected.mask.area
    row, col = inside(corrected)
    sam.click((row + 3, col), CONTROL)
    sam.wait_idle()
    sam.key("N")
    wait_until(lambda: 3 in sam.labeled, "the corrected object")
    book = sam.controller.context.records
    assert book is not None
    record = book.get(3)
    assert record is not None
    assert record.corrected
    assert record.corrections == 1

    # N accepts what is under the cursor
    left = sam.controller.everything.review_items
    if left:
        sam.hover(inside(left[0]))
        sam.key("N")
        assert 4 in sam.labeled
    sam.viewer.layers.selection.active = sam.labels
    sam.key("Z", CONTROL)
    assert np.array_equal(sam.labels.data == 1, labeled)


def test_a_drag_pans_and_decides_nothing_and_a_button_the_slice(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    review_items = prefilled(sam)
    review_item = review_items[0]
    row, col = inside(review_item)
    sam.drag([(row, col), (row + 12, col + 12)])
    assert sam.annotator.is_empty
    sam.drag([(row, col), (row + 12, col + 12)], SHIFT)
    assert sam.controller.labels.layer is None
    assert sam.points.mode == "add"
    assert keys_of(sam) == {o.key for o in review_items}
    sam.push(sam.widget.review.plane)
    assert len(sam.labeled) == len(review_items)
    assert not sam.controller.state.review.is_needed
    assert sam.annotator.label == len(review_items) + 1


def test_a_review_with_keys_and_buttons(open_sam: OpenSam, stack: Pixels) -> None:
    sam = open_sam(stack)
    prepare(sam)
    panel, review = sam.widget.review, sam.controller.review
    everything = sam.controller.everything
    sam.push(sam.widget.everything.stack)
    wait_until(lambda: len(everything.found) == 3, "all planes")
    wait_until(lambda: not everything.is_running, "the search to end")
    sam.push(panel.walk)
    wait_until(lambda: review.current is not None, "the review")
    assert panel.walk.text == "Pause review"
    assert sam.widget.objects.accept.enabled
    first = review.current
    assert first is not None
    assert sam.viewer.dims.current_step[0] == first.plane.index[0]
    assert panel.info.value.startswith("1 of ")

    sam.key("N")
    assert "1 accepted" in panel.info.value
    sam.push(sam.widget.objects.accept)
    assert "2 accepted" in panel.info.value
    sam.key("K")
    sam.push(panel.reject)
    sam.key("N", SHIFT)
    sam.push(panel.skip)
    assert panel.info.value.startswith("7 of ")
    assert sam.labeled == [1, 2]

    # The user looks at another slice; the first key only brings the review back.
    entry = review.current
    assert entry is not None
    others = [z for z in range(3) if z != entry.plane.index[0]]
    sam.viewer.dims.set_current_step(0, others[0])
    sam.key("N")
    assert sam.viewer.dims.current_step[0] == entry.plane.index[0]
    assert sam.labeled == [1, 2]

    sam.push(panel.correct)
    assert sam.annotator.adopted is not None
    sam.key("Escape")
    assert review.current == entry

    sam.viewer.layers.selection.active = sam.labels
    sam.key("Z", CONTROL)
    assert sam.labeled == [1]
    assert "1 accepted" in panel.info.value
    sam.push(panel.walk)
    assert review.current is None
    assert "proposals" in panel.info.value
    sam.push(panel.walk)
    wait_until(lambda: review.current is not None, "the review")
    assert "1 accepted" in panel.info.value
    left = review.proposal_count
    sam.push(panel.rest)
    assert len(sam.labeled) == 1 + left
    assert not sam.controller.state.review.is_needed


def test_layers_deleted_and_painted_during_a_review(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    prefilled(sam)
    review = sam.controller.review
    sam.push(sam.widget.review.walk)
    wait_until(lambda: review.current is not None, "the review")
    sam.key("N")
    assert sam.labeled == [1]
    sam.viewer.layers.remove("SAM proposals")
    # A brush stroke across what is looked at.
    highlight = sam.controller.everything.highlighter()
    assert highlight is not None
    region = highlight[1].region
    row = (region.row0 + region.row1) / 2
    sam.viewer.layers.selection.active = sam.labels
    sam.labels.mode = "paint"
    sam.labels.brush_size = 20
    sam.labels.selected_label = 40
    sam.drag([(row, region.col0), (row, region.col1)])
    painted = sam.labels.data == 40
    assert painted.any()
    sam.key("N")
    assert np.array_equal(sam.labels.data == 40, painted)
    sam.viewer.layers.remove(sam.labels)
    sam.key("K")
    sam.key("N")
    spin(50)
    sam.viewer.layers.remove("coins")
    assert not sam.controller.state.review.is_needed
    for key in ("N", "K", "J"):
        sam.key(key)
    sam.key("N", SHIFT)


def test_palette_commands(
    open_sam: OpenSam, coins: Pixels, mock_app_model: Application
) -> None:
    sam = open_sam(coins)
    prepare(sam)

    def run(name: str) -> None:
        mock_app_model.commands.execute_command(f"napari-sam.{name}").result()

    everything, review = sam.controller.everything, sam.controller.review
    run("prefill")
    wait_until(lambda: everything.is_running, "the search to start")
    wait_until(lambda: not everything.is_running, "the search to end")
    run("toggle_review")
    wait_until(lambda: review.current is not None, "the review")
    run("skip")
    count = review.proposal_count
    run("reject")
    assert review.proposal_count < count
    run("toggle_review")
    assert review.current is None
    run("accept_plane")
    assert sam.labeled


def the_panel_stays_calm(sam: Driver) -> None:
    """Nothing to review, nothing to see, and no key does harm."""
    assert not sam.controller.state.review.is_needed
    sam.key("K")
    assert "no proposal under the cursor" in sam.controller.status
    sam.key("N", SHIFT)
    assert "No review is under way" in sam.controller.status
    sam.controller.toggle_review()
    assert "nothing to review" in sam.controller.status
    sam.annotate(COINS[4])
    assert not sam.controller.state.review.is_needed


def test_one_line_says_which_model_to_choose(
    open_sam: OpenSam, coins: Pixels, tmp_path: Path
) -> None:
    sam = open_sam(coins, wait=False)
    line = sam.widget.layers.advice
    assert line.value.startswith("For ")
    assert line.value.count(".") == 1
    assert line.native.textFormat() != Qt.TextFormat.RichText

    def spec(name: str, use_for: str, bundled: bool = True) -> ModelSpec:
        return ModelSpec(name, "", "", tmp_path, bundled, use_for)

    models = {
        s.name: s
        for s in (spec("a", "cells"), spec("b", "photographs"), spec("c", "", False))
    }
    assert which_model("a", models) == "For cells; choose b for photographs."
    assert which_model("b", models) == "For photographs; choose a for cells."
    assert which_model("c", models) == ""
    assert which_model("somewhere/else.pt", models) == ""
