"""Many proposals decided at once: in a lasso, like one of them, or one in doubt."""

from __future__ import annotations

import numpy as np
import pytest
from desk import COINS

from napari_sam.core.everything.search import EverythingSettings
from napari_sam.core.everything.triage import mean_features
from napari_sam.errors import ModelError
from napari_sam.viewer.everything.review_item_table import ReviewItemTable
from napari_sam.viewer.overlay import (
    EDGE,
    HIGHLIGHT,
    MUTED,
    pixel_value,
    score_color,
)
from napari_sam.viewer.plugin_layers import LASSO_ROLE, ROLE
from napari_sam.viewer.settings import ProposalColor, Tool

FEW = EverythingSettings(points_per_side=5, prompts="grid")
UPPER = [(-4, -4), (-4, 175), (62, 175), (62, -4)]
"""Around the three upper coins."""


@pytest.fixture
def searched(open_desk, coins):
    """Return a desk whose plane was searched."""
    desk = open_desk(coins, everything=FEW, min_score=0.7)
    desk.controller.segment_plane()
    assert len(desk.controller.everything.review_items_here) >= 5
    return desk


def draw(desk, outline):
    """Draw a line around proposals, as napari hands it over."""
    triage = desk.controller.triage
    if not triage.lasso.is_armed:
        triage.toggle_lasso()
    plane = desk.controller.context.plane
    vertices = np.array([plane.to_array_point(*corner) for corner in outline])
    triage.lasso.layer.add([vertices], shape_type=["polygon"])
    # Without an event loop nobody does it later.
    triage.lasso.hand_over()
    return triage.chosen


def test_a_lasso_chooses_what_lies_in_it_and_makes_no_prompt(searched):
    desk = searched
    chosen = draw(desk, UPPER)
    expected = [
        review_item.key
        for review_item in desk.controller.everything.review_items_here
        if np.nonzero(review_item.mask.full((124, 170))[:62])[0].size * 2
        > review_item.mask.area
    ]
    assert [o.key for o in chosen] == expected
    assert 0 < len(chosen) < len(desk.controller.everything.review_items_here)
    assert desk.annotator.items.is_empty
    assert desk.shapes.nshapes == 0
    lasso = desk.controller.triage.lasso.layer
    assert lasso.nshapes == 0
    assert lasso.metadata[ROLE] == LASSO_ROLE
    assert desk.controller.toolbox.lit is None
    assert f"{len(chosen)} proposals chosen" in desk.controller.status
    # What is chosen stands out among the others.
    values = {*np.unique(desk.controller.everything.overlay.layer.data).tolist()}
    assert {pixel_value(HIGHLIGHT, EDGE), pixel_value(MUTED, EDGE)} <= values
    colors = {value // 3 for value in values if value} | {
        (value - 1) // 3 for value in values if value
    }
    assert colors <= {HIGHLIGHT, MUTED, MUTED + 1}


def test_a_second_lasso_adds_and_escape_lets_all_be(searched):
    desk = searched
    first = {o.key for o in draw(desk, UPPER)}
    assert {
        o.key for o in draw(desk, [(60, -4), (60, 60), (128, 60), (128, -4)])
    } > first
    before = desk.controller.everything.count
    desk.controller.discard()
    assert desk.controller.triage.chosen == ()
    assert desk.controller.everything.count == before
    assert desk.controller.triage.lasso.is_armed
    desk.controller.discard()
    assert not desk.controller.triage.lasso.is_armed
    assert desk.viewer.layers.selection.active == desk.points
    assert not desk.controller.triage.lasso.layer.visible
    assert desk.controller.toolbox.lit is Tool.POINT


def test_what_is_chosen_is_accepted_as_one_step(searched):
    desk = searched
    chosen = draw(desk, UPPER)
    desk.controller.accept()
    written = {int(n) for n in np.unique(desk.labels.data) if n}
    assert len(written) == len(chosen)
    for review_item in chosen:
        values = np.unique(desk.labels.data[review_item.mask.full((124, 170))])
        assert len(values) == 1
        assert values[0] > 0
    assert desk.controller.triage.chosen == ()
    desk.controller.undo()
    assert not desk.labels.data.any()
    left = {o.key for o in desk.controller.everything.review_items_here}
    assert {o.key for o in chosen} <= left
    desk.controller.redo()
    assert len(np.unique(desk.labels.data)) == len(chosen) + 1


def test_what_is_chosen_is_rejected_and_one_undo_takes_it_back(searched):
    desk = searched
    # Something to undo that is older than the rejection.
    desk.click(*COINS[4])
    desk.accept()
    labels = desk.labels.data.copy()
    before = {o.key for o in desk.controller.everything.review_items_here}
    chosen = {o.key for o in draw(desk, UPPER)}
    desk.controller.reject()
    here = {o.key for o in desk.controller.everything.review_items_here}
    assert not chosen & here
    desk.controller.undo()
    assert {o.key for o in desk.controller.everything.review_items_here} == before
    np.testing.assert_array_equal(desk.labels.data, labels)
    desk.controller.undo()
    assert not desk.labels.data.any()


def test_a_stroke_that_is_undone_leaves_rejections_to_be_redone(searched):
    desk = searched
    controller = desk.controller
    controller.proposal_actions.accept([controller.everything.review_items_here[-1]])
    at = (np.array([0, 0]), np.array([0, 1]))
    desk.labels.data_setitem(at, 99)
    before = {o.key for o in controller.everything.review_items_here}
    controller.proposal_actions.reject(controller.everything.review_items_here[0].key)
    after = {o.key for o in controller.everything.review_items_here}
    controller.undo()
    controller.undo()
    assert not (desk.labels.data == 99).any()
    assert {o.key for o in controller.everything.review_items_here} == before
    controller.redo()
    assert (desk.labels.data == 99).sum() == 2
    controller.redo()
    assert {o.key for o in controller.everything.review_items_here} == after
    # A new one takes the place of what was undone.
    controller.undo()
    desk.labels.data_setitem(at, 98)
    controller.redo()
    assert {o.key for o in controller.everything.review_items_here} == before


def test_rejections_are_undone_and_redone_in_their_places_among_the_labels(searched):
    """One by one and many at once, under the cursor and in a lasso."""
    desk = searched
    controller = desk.controller

    def state():
        labels = desk.labels.data if controller.context.target is not None else 0
        return {o.key for o in controller.everything.review_items_here}, np.copy(labels)

    def is_as(before):
        keys, labels = state()
        return keys == before[0] and np.array_equal(labels, before[1])

    def reject_one():
        mask = controller.everything.review_items_here[0].mask.full((124, 170))
        desk.move(*np.argwhere(mask)[mask.sum() // 2])
        controller.reject()

    def reject_many():
        draw(desk, UPPER)
        controller.reject()
        controller.choose_tool(Tool.POINT)

    def accept_one():
        controller.proposal_actions.accept(
            [controller.everything.review_items_here[-1]]
        )

    accept_one()
    states = [state()]
    for act in (reject_one, reject_many, accept_one, reject_one):
        act()
        states.append(state())
        assert not is_as(states[-2])
    for before in reversed(states[:-1]):
        controller.undo()
        assert is_as(before)
    for after in states[1:]:
        controller.redo()
        assert is_as(after)
    controller.undo()
    accept_one()
    now = state()
    # Another step was made instead.
    controller.redo()
    assert is_as(now)


def test_a_rejection_takes_the_place_of_one_that_was_undone(searched):
    controller = searched.controller
    one, other = (o.key for o in controller.everything.review_items_here[:2])
    controller.proposal_actions.reject(one)
    controller.undo()
    controller.proposal_actions.reject(other)
    controller.redo()
    here = {o.key for o in controller.everything.review_items_here}
    assert one in here
    assert other not in here


def test_what_is_hidden_is_not_decided(searched):
    desk = searched
    everything = desk.controller.everything
    everything.overlay.layer.visible = False
    count = everything.count
    desk.move(*everything.review_items_here[0].point)
    desk.controller.reject()
    assert everything.count == count
    assert "no proposal under the cursor" in desk.controller.status


def test_a_search_that_is_stopped_early_leaves_what_was_there(searched):
    desk = searched
    everything = desk.controller.everything
    before = {o.key for o in everything.review_items_here}

    def stop():
        if everything.is_running:
            desk.controller.cancel()

    everything.changed.connect(stop)
    desk.controller.segment_plane()
    everything.changed.disconnect(stop)
    assert {o.key for o in everything.review_items_here} == before
    assert desk.controller.status.startswith("Stopped")


def test_while_the_layers_go_none_is_made(searched):
    desk = searched
    desk.click(*COINS[4])
    draw(desk, UPPER)
    made = []
    desk.viewer.layers.events.inserted.connect(made.append)
    desk.viewer.layers.clear()
    assert made == []
    assert len(desk.viewer.layers) == 0


def test_around_nothing_nothing_is_chosen(searched):
    desk = searched
    assert draw(desk, [(0, 0), (0, 3), (3, 3), (3, 0)]) == ()
    assert "No proposal lies in it" in desk.controller.status


def test_without_proposals_there_is_no_lasso(open_desk, coins):
    desk = open_desk(coins)
    desk.controller.triage.toggle_lasso()
    assert "nothing to choose" in desk.controller.status
    assert desk.controller.triage.lasso.layer is None


def test_the_lasso_that_the_user_removes_comes_back(searched):
    desk = searched
    draw(desk, UPPER)
    desk.controller.discard()
    desk.viewer.layers.remove(desk.controller.triage.lasso.layer)
    assert desk.controller.triage.lasso.layer is None
    assert draw(desk, UPPER)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_a_lasso_lies_where_it_is_drawn_in_any_view(open_desk, coin_stack, order):
    desk = open_desk(coin_stack, everything=FEW, min_score=0.7)
    desk.viewer.dims.order = order
    desk.controller.segment_plane()
    review_items = desk.controller.everything.review_items_here
    r = review_items[0].mask.region
    pad = 2
    corners = [
        (r.row0 - pad, r.col0 - pad),
        (r.row0 - pad, r.col1 + pad),
        (r.row1 + pad, r.col1 + pad),
        (r.row1 + pad, r.col0 - pad),
    ]
    assert review_items[0].key in {o.key for o in draw(desk, corners)}


def test_like_this_one_goes_by_the_embedding(searched):
    desk = searched
    triage, everything = desk.controller.triage, desk.controller.everything
    desk.move(*COINS[0])
    this = desk.controller.proposal_actions.under_cursor()
    triage.like_this_one()
    review_items = everything.review_items_here
    assert triage.likeness[this.key] == pytest.approx(1, abs=1e-5)
    plane = desk.controller.context.plane
    steps = desk.controller.context.encoder.iter_get(plane)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            encoded = end.value
            break
    means = mean_features(encoded.embedding, [o.mask for o in review_items])
    own = means[[o.key for o in review_items].index(this.key)]
    for review_item, mean in zip(review_items, means, strict=True):
        cosine = mean @ own / np.linalg.norm(mean) / np.linalg.norm(own)
        assert triage.likeness[review_item.key] == pytest.approx(cosine, abs=1e-4)
    middle = sorted(triage.likeness.values())[len(review_items) // 2]
    triage.set_least(middle)
    assert {o.key for o in triage.chosen} == {
        key for key, x in triage.likeness.items() if x >= middle
    }
    assert this.key in {o.key for o in triage.chosen}
    desk.controller.reject()
    desk.controller.undo()
    # A number field that loses the focus says its value once more.
    triage.set_least(middle)
    assert triage.chosen == ()
    triage.set_least(0.0)
    triage.set_least(middle)
    desk.controller.accept()
    assert (
        len(np.unique(desk.labels.data)) - 1
        == len(review_items) - len(review_items) // 2
    )


def test_a_clicked_proposal_is_the_one(searched):
    desk = searched
    desk.click(*COINS[0])
    adopted = desk.annotator.adopted
    assert adopted is not None
    desk.move(*COINS[5])
    desk.controller.triage.like_this_one()
    assert max(
        desk.controller.triage.likeness, key=desk.controller.triage.likeness.get
    ) == (adopted.key)
    # It is among those that are decided, not an object under way.
    assert desk.annotator.is_empty
    assert adopted.key in {o.key for o in desk.controller.triage.chosen}


def test_a_review_goes_on_by_likeness(searched):
    desk = searched
    review, triage = desk.controller.review, desk.controller.triage
    desk.controller.toggle_review()
    first = review.current.key
    triage.like_this_one()
    wanted = sorted(triage.likeness, key=triage.likeness.get, reverse=True)
    assert wanted[0] == first
    desk.controller.discard()
    assert review.current.key == first
    seen = []
    while review.current is not None:
        seen.append(review.current.key)
        desk.controller.skip()
    assert seen == wanted


def test_nothing_under_the_cursor_is_like_nothing(searched):
    desk = searched
    desk.move(62, 58)
    assert desk.controller.proposal_actions.under_cursor() is None
    desk.controller.triage.like_this_one()
    assert desk.controller.triage.likeness == {}
    assert "Click a proposal first" in desk.controller.status


def test_the_next_in_doubt_is_closest_to_a_threshold(searched):
    desk = searched
    review, everything = desk.controller.review, desk.controller.everything
    limits = everything.shown.thresholds

    def way(review_item):
        return min(
            abs(review_item.score - limits.min_score),
            abs(review_item.stability - limits.min_stability),
        )

    review.next_uncertain()
    review_items = everything.review_items_here
    wanted = [o.key for o in sorted(review_items, key=way)]
    assert wanted != [o.key for o in sorted(review_items, key=lambda o: o.certainty)]
    seen = [review.current.key]
    for _ in review_items[1:]:
        review.next_uncertain()
        seen.append(review.current.key)
    assert seen == wanted
    # Around the end, and back; nothing is decided by looking.
    review.next_uncertain()
    assert review.current.key == wanted[0]
    review.previous_uncertain()
    assert review.current.key == wanted[-1]
    assert everything.count == len(review_items)
    # What is decided goes on with the next.
    review.next_uncertain()
    desk.controller.reject()
    assert review.current.key == wanted[1]


def test_a_review_from_the_panel_is_by_certainty_again(searched):
    desk = searched
    review = desk.controller.review
    review.next_uncertain()
    review.stop()
    desk.controller.toggle_review()
    review_items = desk.controller.everything.review_items_here
    assert review.current.key == min(review_items, key=lambda o: o.certainty).key


def test_colored_by_score(searched):
    desk = searched
    desk.controller.change_settings(proposal_color=ProposalColor.SCORE)
    overlay = desk.controller.everything.overlay
    shown = {id(m.mask): m for m in overlay.masks}
    review_items = desk.controller.everything.review_items_here
    for review_item in review_items:
        assert shown[id(review_item.mask)].color == score_color(review_item.score)
    assert len({m.color for m in overlay.masks}) > 1
    desk.controller.change_settings(proposal_color=ProposalColor.LABEL)
    assert all(m.color < MUTED for m in overlay.masks)


def test_a_color_of_its_own_stays_when_a_threshold_moves(searched):
    desk = searched
    overlay = desk.controller.everything.overlay
    before = {id(m.mask): m.color for m in overlay.masks}
    scores = sorted(o.score for o in desk.controller.everything.review_items_here)
    desk.controller.change_settings(min_score=scores[2])
    after = {id(m.mask): m.color for m in overlay.masks}
    kept = before.keys() & after.keys()
    assert 0 < len(kept) < len(before)
    assert all(before[mask] == after[mask] for mask in kept)


def test_scores_are_light_where_they_are_high(searched):
    colormap = searched.controller.everything.overlay.layer.colormap
    colors = [
        colormap.map(pixel_value(score_color(s), EDGE)) for s in np.linspace(0.5, 1, 11)
    ]
    light = [c[:3] @ (0.2126, 0.7152, 0.0722) for c in colors]
    assert light == sorted(light)
    assert score_color(0.1) == score_color(0.5)
    assert score_color(1.2) == score_color(1.0)


def test_the_end_of_a_stack_cuts_only_what_is_on_screen(
    open_desk, coin_stack, monkeypatch
):
    made, make = [], ReviewItemTable.make

    def noted(table, *args, **options):
        review_items = make(table, *args, **options)
        made.append({review_item.plane for review_item in review_items})
        return review_items

    monkeypatch.setattr(ReviewItemTable, "make", noted)
    desk = open_desk(coin_stack, everything=FEW, min_score=0.7)
    desk.controller.segment_stack()
    assert len(desk.controller.everything.found) == 3
    assert set().union(*made) == {desk.controller.context.plane}
    assert desk.controller.everything.write()
    assert len(set().union(*made)) == 3


@pytest.mark.parametrize("is_stack", [False, True])
def test_a_search_that_is_stopped_half_way_keeps_what_is_whole(
    open_desk, coin_stack, is_stack
):
    """Of one plane what was found; of a stack no half plane, which would look poor."""
    desk = open_desk(coin_stack, everything=FEW, min_score=0.5, min_stability=0.5)
    everything = desk.controller.everything

    def stop():
        progress = everything.progress
        if progress is None or not progress.total:
            return
        # Of three planes that is the middle of the second one.
        share = progress.done / progress.total
        if 1 / 2 <= share < 1 and len(everything.found) == is_stack:
            desk.controller.cancel()

    everything.changed.connect(stop)
    if is_stack:
        desk.controller.segment_stack()
    else:
        desk.controller.segment_plane()
    everything.changed.disconnect(stop)
    assert desk.controller.status.startswith("Stopped: ")
    assert not everything.is_running
    (plane,) = everything.found
    found = len(everything.found[plane])
    assert found
    # What is whole is not searched again, and what is not is.
    desk.viewer.dims.set_point(0, plane.index[0])
    desk.controller.segment_plane()
    if is_stack:
        assert len(everything.found[plane]) == found
    else:
        assert len(everything.found[plane]) >= found


def test_the_lasso_is_put_away_by_its_own_key_and_goes_to_another_image(
    searched, coin_stack
):
    desk, lasso = searched, searched.controller.triage.lasso
    desk.controller.triage.toggle_lasso()
    assert lasso.is_armed
    desk.controller.triage.toggle_lasso()
    assert not lasso.is_armed
    assert desk.controller.toolbox.lit is Tool.POINT
    first = lasso.layer
    # An image of other axes takes another layer.
    image = desk.viewer.add_image(coin_stack)
    desk.controller.choose_image(image)
    desk.controller.segment_plane()
    chosen = draw(desk, UPPER)
    assert chosen
    assert lasso.layer is not first
    assert lasso.layer.ndim == 3
    assert first not in desk.viewer.layers


def test_like_one_that_is_labeled_already_chooses_nothing(searched, monkeypatch):
    desk, triage = searched, searched.controller.triage
    one = desk.controller.everything.review_items_here[0]
    monkeypatch.setattr(triage, "_this_one", lambda: one)
    desk.controller.proposal_actions.accept([one])
    triage.like_this_one()
    assert triage.chosen == ()
    assert "labeled already" in desk.controller.status


def test_what_cannot_be_compared_is_said(searched, monkeypatch, notes):
    desk = searched

    def fails(*_: object) -> None:
        raise ModelError("There is no memory left.")

    monkeypatch.setattr("napari_sam.viewer.everything.triage.mean_features", fails)
    desk.move(*desk.controller.everything.review_items_here[0].point)
    desk.controller.triage.like_this_one()
    assert notes() == ["There is no memory left."]
    assert desk.controller.triage.chosen == ()
    assert desk.controller.triage.likeness == {}
