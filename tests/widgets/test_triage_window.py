"""Many proposals decided at once in the real window: lasso, likeness, doubt, color."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, spin, wait_until

from napari_sam.viewer.overlay import color_text, score_color
from napari_sam.viewer.settings import ProposalColor, Tool
from napari_sam.widgets.histogram import BINS

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui

UPPER = [(2, 2), (2, 198), (80, 198), (80, 2)]
"""Around the three upper coins."""


def search(sam: Driver) -> None:
    """Search the plane on screen; the layer is there before something is found."""
    sam.widget.everything.side.value = 6
    everything = sam.controller.everything
    sam.controller.segment_plane()
    assert everything.is_running
    layer = everything.overlay.layer
    assert layer in sam.viewer.layers
    wait_until(lambda: everything.found and not everything.is_running, "the search")
    assert everything.overlay.layer is layer
    assert layer.data.any()
    assert len(everything.review_items_here) >= 5


def keys(review_items) -> set:
    return {review_item.key for review_item in review_items}


def a_lasso_drawn_by_hand_is_accepted_and_undone(sam: Driver) -> None:
    everything, triage = sam.controller.everything, sam.controller.triage
    before = keys(everything.review_items_here)
    sam.key("Shift+K")
    assert sam.widget.triage.lasso.native.isChecked()
    assert not any(b.native.isChecked() for b in sam.widget.objects.tools.values())
    sam.drag(UPPER, steps=4)
    wait_until(lambda: triage.chosen, "proposals in the lasso")
    chosen = triage.chosen
    assert 0 < len(chosen) < len(before)
    # No prompt came of it, and the lasso waits for the next line.
    assert sam.annotator.items.is_empty
    assert sam.shapes.nshapes == 0
    assert triage.lasso.is_armed
    assert triage.lasso.layer is not None
    assert triage.lasso.layer.nshapes == 0
    count = len(chosen)
    spin()
    assert sam.widget.triage.accept.text == f"Accept {count} chosen (N)"
    # The other button of that key.
    assert sam.widget.objects.accept.enabled
    sam.key("N")
    assert len(sam.labeled) == count
    for review_item in chosen:
        assert (
            sam.labels.data[review_item.mask.region.slices][review_item.mask.mask] > 0
        ).all()
    sam.key("Ctrl+Z")
    assert sam.labeled == []
    assert keys(chosen) <= keys(everything.review_items_here)
    sam.key("Escape")
    assert sam.controller.toolbox.lit is Tool.POINT
    assert not triage.lasso.layer.visible
    # A click makes a prompt again, or takes a proposal.
    sam.click((80, 80))
    assert len(sam.annotator.items.points) == 1


def a_lasso_is_rejected_and_undone(sam: Driver) -> None:
    everything, triage = sam.controller.everything, sam.controller.triage
    before = keys(everything.review_items_here)
    sam.push(sam.widget.triage.lasso)
    sam.drag(UPPER, steps=4)
    wait_until(lambda: triage.chosen, "proposals in the lasso")
    chosen = keys(triage.chosen)
    sam.push(sam.widget.triage.reject)
    assert not chosen & keys(everything.review_items_here)
    assert not sam.widget.triage.reject.enabled
    sam.key("Ctrl+Z")
    assert keys(everything.review_items_here) == before


def escape_during_the_lasso_drops_it(sam: Driver) -> None:
    triage = sam.controller.triage
    sam.key("Shift+K")
    sam.drag(UPPER, steps=4, midway=lambda: sam.key("Escape"))
    spin(100)
    assert triage.chosen == ()
    assert triage.lasso.layer is not None
    assert triage.lasso.layer.nshapes == 0
    assert triage.lasso.is_armed
    sam.drag(UPPER, steps=4)
    wait_until(lambda: triage.chosen, "proposals in the next lasso")


def a_line_too_short_to_go_around_anything(sam: Driver) -> None:
    triage = sam.controller.triage
    sam.key("Shift+K")
    sam.drag([(80, 80), (80, 84)], steps=2)
    lasso = triage.lasso.layer
    assert lasso is not None
    wait_until(lambda: lasso.nshapes == 0, "the line to be thrown away")
    sam.drag(UPPER, steps=4)
    wait_until(lambda: triage.chosen, "proposals in the lasso")
    assert sam.annotator.items.is_empty


def like_this_one_and_its_slider(sam: Driver) -> None:
    triage, panel = sam.controller.triage, sam.widget.triage
    assert not panel.alike.enabled
    sam.hover(COINS[4])
    this = sam.controller.proposal_actions.under_cursor()
    assert this is not None
    sam.key("Shift+J")
    wait_until(lambda: triage.likeness, "the comparison")
    assert panel.alike.enabled
    assert panel.likeness.counts.sum() == len(triage.likeness)
    likeness = sorted(triage.likeness.values())
    panel.alike.value = (likeness[-1] + likeness[-2]) / 2
    assert keys(triage.chosen) == {this.key}
    panel.alike.value = panel.alike.min
    count = len(triage.chosen)
    assert count == len(triage.likeness)
    assert panel.accept.text == f"Accept {count} alike (N)"
    sam.push(panel.accept)
    assert len(sam.labeled) == count
    sam.labels.undo()
    assert sam.labeled == []


def the_next_in_doubt_by_key_and_button(sam: Driver) -> None:
    review, everything = sam.controller.review, sam.controller.everything
    limits = everything.shown.thresholds
    sam.key("Shift+W")
    wait_until(lambda: review.current is not None, "the review")
    ways = {
        o.key: min(o.score - limits.min_score, o.stability - limits.min_stability)
        for o in everything.review_items_here
    }
    order = sorted(ways, key=ways.__getitem__)
    assert review.current.key == order[0]
    sam.push(sam.widget.triage.next)
    assert review.current.key == order[1]
    sam.key("Shift+Q")
    assert review.current.key == order[0]
    sam.key("N")
    assert len(sam.labeled) == 1
    assert review.current.key == order[1]


def colored_by_score_with_the_histogram_as_legend(sam: Driver) -> None:
    panel, everything = sam.widget.everything, sam.controller.everything
    bars = panel.histograms["score"]
    assert bars.counts.sum() >= len(everything.review_items_here)
    assert bars.colors == ()
    panel.color.value = ProposalColor.SCORE
    assert sam.controller.settings.proposal_color is ProposalColor.SCORE
    spin()
    review_items = {id(o.mask): o for o in everything.review_items_here}
    for mask in everything.overlay.masks:
        assert mask.color == score_color(review_items[id(mask.mask)].score)
    middles = 0.5 + (np.arange(BINS) + 0.5) / BINS / 2
    assert bars.colors == tuple(color_text(score_color(x)) for x in middles.tolist())
    # What is drawn: the colors of the bars, and gray for what the slider hides.
    total = bars.counts.sum()
    panel.score.value = 0.99
    assert bars.kept[0] == pytest.approx(0.98, abs=0.01)
    assert bars.counts.sum() == total
    image = bars.grab().toImage()
    seen = {
        image.pixelColor(x, y).name()
        for x in range(image.width())
        for y in range(image.height() - 1)
    }
    high = {bars.colors[n] for n in range(BINS) if bars.counts[n] and n >= BINS - 1}
    low = {bars.colors[n] for n in range(BINS) if bars.counts[n] and n < BINS - 2}
    assert low
    assert not (low - high) & seen
    panel.score.value = 0.5
    image = bars.grab().toImage()
    seen = {
        image.pixelColor(x, y).name()
        for x in range(image.width())
        for y in range(image.height() - 1)
    }
    assert low <= seen


def drop_choice(sam: Driver) -> None:
    """Leave the lasso and what is under way."""
    for _ in range(3):
        sam.key("Escape")
    assert sam.controller.toolbox.lit is Tool.POINT
    assert sam.controller.triage.chosen == ()
    assert sam.annotator.is_empty
    assert sam.labeled == []


@pytest.mark.filterwarnings("ignore:Polygons must have three")
def test_lassos(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    search(sam)
    for check in (
        a_lasso_drawn_by_hand_is_accepted_and_undone,
        a_lasso_is_rejected_and_undone,
        escape_during_the_lasso_drops_it,
        a_line_too_short_to_go_around_anything,
    ):
        check(sam)
        drop_choice(sam)


def test_proposals_by_score_likeness_and_doubt(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    search(sam)
    least = sam.widget.everything.score.value
    colored_by_score_with_the_histogram_as_legend(sam)
    sam.widget.everything.score.value = least
    like_this_one_and_its_slider(sam)
    drop_choice(sam)
    the_next_in_doubt_by_key_and_button(sam)
