"""Pre-filling a slice: confident proposals, decided one by one."""

from __future__ import annotations

import numpy as np
import pytest
from desk import COINS, Desk
from scipy.ndimage import binary_dilation, minimum_filter

from napari_sam.core.annotation.records import Source
from napari_sam.core.everything.search import EverythingSettings
from napari_sam.core.masks import OverlapPolicy
from napari_sam.types import MaskLevel

FEW = EverythingSettings(points_per_side=6, prompts="grid")
SURE = {"confident_score": 0.8, "confident_stability": 0.9}


@pytest.fixture
def filled(open_desk, coins):
    """Return a function that opens the coins with a slice pre-filled."""

    def fill(**options):
        desk = open_desk(coins, everything=FEW, **SURE, **options)
        desk.controller.prefill()
        assert len(review_items(desk)) >= 3
        return desk

    return fill


def review_items(desk: Desk):
    return desk.controller.everything.review_items


def inside(review_item):
    """Return a pixel well inside an offer."""
    rows, cols = np.nonzero(review_item.mask.mask)
    at = np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2)
    return rows[at] + review_item.mask.region.row0, cols[
        at
    ] + review_item.mask.region.col0


def point_at(desk, review_item):
    desk.viewer.cursor.position = desk.world(*inside(review_item))


def record(desk, label):
    return desk.controller.context.records.get(label)


def test_only_what_is_certain_is_offered(open_desk, coins):
    desk = open_desk(coins, everything=FEW, min_score=0.6, min_stability=0.6)
    mode = desk.controller.everything
    desk.controller.prefill()
    settings = desk.controller.settings
    assert settings.confident_score is None
    sure = desk.controller.context.thresholds
    assert all(o.score > sure.confident_score for o in review_items(desk))
    assert all(o.stability >= sure.confident_stability for o in review_items(desk))
    count = mode.count
    assert count == len(review_items(desk))
    # sliders above what is certain act on it; below, they do not
    desk.controller.change_settings(min_score=0.5)
    assert mode.count == count
    desk.controller.change_settings(min_area=10**6)
    assert mode.count == 0


def test_labeled_pixels_are_left_alone(open_desk, coins):
    desk = open_desk(coins, everything=FEW, policy=OverlapPolicy.OVERWRITE, **SURE)
    desk.click(*COINS[1])
    desk.accept()
    before = desk.labels.data == 1
    desk.controller.prefill()
    found = review_items(desk)
    assert found
    for review_item in found:
        assert not (review_item.mask.full(coins.shape) & before).any()
    desk.controller.review.accept_plane()
    np.testing.assert_array_equal(desk.labels.data == 1, before)
    # every other object as it was shown, in one undo step
    for number, review_item in enumerate(found):
        np.testing.assert_array_equal(
            desk.labels.data == 2 + number, review_item.mask.full(coins.shape)
        )
    assert not review_items(desk)
    assert desk.annotator.label == 2 + len(found)
    desk.labels.undo()
    np.testing.assert_array_equal(desk.labels.data != 0, before)
    assert {o.key for o in review_items(desk)} == {o.key for o in found}
    desk.labels.redo()
    assert not review_items(desk)


def test_a_second_press_needs_no_second_search(filled, monkeypatch):
    desk = filled()
    count = len(review_items(desk))

    def never(*_, **__):
        raise AssertionError("this plane was searched already")

    monkeypatch.setattr(desk.controller.context.runner, "submit", never)
    desk.controller.prefill()
    assert len(review_items(desk)) == count


def test_the_key_accepts_what_is_under_the_cursor(filled):
    desk = filled()
    first, *rest = review_items(desk)
    point_at(desk, first)
    desk.controller.accept()
    np.testing.assert_array_equal(
        desk.labels.data == 1, first.mask.full(desk.image.data.shape)
    )
    assert {o.key for o in review_items(desk)} == {o.key for o in rest}
    one = record(desk, 1)
    assert one.source is Source.PREFILL
    assert one.confirmed
    assert not one.corrected
    assert one.items.is_empty
    assert one.planes == (first.plane,)
    assert one.stability == pytest.approx(first.stability)
    desk.labels.undo()
    assert record(desk, 1) is None
    assert first.key in {o.key for o in review_items(desk)}
    desk.labels.redo()
    assert record(desk, 1).source is Source.PREFILL


def test_rejected_stays_rejected_until_dropped(filled):
    desk = filled()
    first = review_items(desk)[0]
    point_at(desk, first)
    desk.controller.reject()
    assert first.key not in {o.key for o in review_items(desk)}
    assert desk.controller.labels.layer is None
    desk.controller.prefill()
    assert first.key not in {o.key for o in review_items(desk)}
    desk.controller.everything.discard()
    desk.controller.prefill()
    assert first.key in {o.key for o in review_items(desk)}
    desk.viewer.cursor.position = desk.world(0, 0)
    desk.controller.reject()
    assert "no proposal under the cursor" in desk.controller.status


def test_a_click_takes_a_proposal_and_n_writes_it_as_it_is(filled):
    desk = filled()
    first = review_items(desk)[0]
    desk.click(*inside(first))
    assert desk.annotator.adopted.key == first.key
    np.testing.assert_array_equal(desk.masks[0], first.mask.full(desk.image.data.shape))
    assert first.key not in {o.key for o in review_items(desk)}
    assert desk.points.mode == "add"
    desk.accept()
    np.testing.assert_array_equal(
        desk.labels.data == 1, first.mask.full(desk.image.data.shape)
    )
    one = record(desk, 1)
    assert (one.source, one.corrected, one.corrections) == (Source.PREFILL, False, 0)


def test_clicks_correct_a_proposal(filled):
    desk = filled()
    first, second = review_items(desk)[:2]
    desk.click(*inside(first))
    desk.click(*inside(second))
    both = desk.masks[0]
    assert both[inside(first)]
    assert desk.annotator.prediction.corrections == (1,)
    desk.click(*inside(second), "Control")
    desk.accept()
    one = record(desk, 1)
    assert (one.source, one.corrected, one.corrections) == (Source.PREFILL, True, 2)
    # the point that stood for the proposal and two of the user's
    assert len(one.items.points) == 3
    desk.labels.undo()
    assert desk.annotator.adopted.key == first.key
    assert len(desk.annotator.items.points) == 3
    desk.controller.discard()
    assert first.key in {o.key for o in review_items(desk)}


def test_corrections_go_on_from_the_proposal(filled):
    desk = filled()
    first = review_items(desk)[0]
    desk.click(*inside(first))
    proposal = desk.masks[0]
    # A click on what is covered already changes little.
    row, col = inside(first)
    desk.click(row + 2, col + 2)
    now = desk.masks[0]
    assert (now & proposal).sum() / (now | proposal).sum() > 0.8
    desk.controller.remove_last_prompt()
    again = desk.masks[0]
    assert (again & proposal).sum() / (again | proposal).sum() > 0.8
    assert desk.annotator.adopted is not None
    desk.controller.remove_last_prompt()
    assert desk.annotator.adopted is None
    assert first.key in {o.key for o in review_items(desk)}


def test_another_size_of_a_proposal_is_a_change_without_correction(filled):
    desk = filled()
    desk.click(*inside(review_items(desk)[0]))
    desk.controller.set_level(MaskLevel.WHOLE)
    assert desk.annotator.prediction.level is MaskLevel.WHOLE
    desk.accept()
    one = record(desk, 1)
    assert one.corrected
    assert one.corrections == 0


def test_ctrl_click_takes_a_part_away_at_once(filled):
    desk = filled()
    first = review_items(desk)[0]
    desk.click(*inside(first), "Control")
    assert desk.annotator.adopted.key == first.key
    assert [p.positive for p in desk.annotator.items.points] == [True, False]
    assert desk.annotator.prediction.corrections == (1,)


def test_shift_click_accepts_and_adds_no_point(filled):
    desk = filled()
    first = review_items(desk)[0]
    desk.click(*inside(first), "Shift")
    assert desk.annotator.is_empty
    assert len(desk.points.data) == 0
    assert np.unique(desk.labels.data).tolist() == [0, 1]
    assert desk.points.mode == "add"


def test_with_an_object_under_way_a_click_is_a_prompt(filled):
    desk = filled()
    desk.click(2, 2)
    count = len(review_items(desk))
    desk.click(*inside(review_items(desk)[0]))
    assert len(desk.annotator.items.points) == 2
    assert desk.annotator.adopted is None
    assert len(review_items(desk)) == count


def test_the_pick_key_corrects_and_escape_gives_back(filled):
    desk = filled()
    first, second = review_items(desk)[:2]
    point_at(desk, first)
    desk.controller.pick_under_cursor()
    assert desk.annotator.adopted.key == first.key
    point_at(desk, second)
    desk.controller.pick_under_cursor()
    assert desk.annotator.adopted.key == second.key
    desk.controller.reject()
    assert desk.annotator.adopted is None
    keys = {o.key for o in review_items(desk)}
    assert first.key in keys
    assert second.key not in keys


def test_painting_over_a_proposal_takes_it_away(filled):
    desk = filled()
    desk.controller.new_labels()
    first = review_items(desk)[0]
    rows, cols = np.nonzero(first.mask.full(desk.image.data.shape))
    desk.labels.data_setitem((rows, cols), 7)
    desk.controller.everything.labels_changed()
    assert first.key not in {o.key for o in review_items(desk)}
    point_at(desk, first)
    desk.controller.accept()
    assert np.unique(desk.labels.data).tolist() == [0, 7]


def test_live_writing_and_proposals(filled):
    desk = filled(live=True)
    first = review_items(desk)[0]
    desk.click(*inside(first))
    assert desk.controller.labels.layer is None
    row, col = inside(first)
    desk.click(row + 2, col + 2)
    assert desk.labels.data.any()
    desk.controller.accept()
    assert record(desk, 1).source is Source.PREFILL
    assert first.key not in {o.key for o in review_items(desk)}


def test_a_deleted_overlay_comes_back(filled):
    desk = filled()
    mode = desk.controller.everything
    desk.viewer.layers.remove(mode.overlay.layer)
    assert review_items(desk)
    desk.viewer.cursor.position = desk.world(*inside(review_items(desk)[0]))
    desk.controller.accept()
    assert mode.overlay.layer in desk.viewer.layers


def test_full_labels_refuse_in_one_sentence(filled, notes):
    desk = filled()
    labels = desk.viewer.add_labels(np.zeros(desk.image.data.shape, np.uint8))
    labels.data[0, :2] = 254, 255
    desk.controller.choose_labels(labels)
    before = labels.data.copy()
    count = len(review_items(desk))
    point_at(desk, review_items(desk)[0])
    desk.controller.accept()
    assert len(notes()) == 1
    np.testing.assert_array_equal(labels.data, before)
    assert len(review_items(desk)) == count


def test_nothing_certain_is_said(open_desk, coins):
    desk = open_desk(
        coins, everything=FEW, confident_score=1.0, confident_stability=1.0
    )
    desk.controller.prefill()
    assert not review_items(desk)
    assert "click the rest" in desk.controller.status


def test_nothing_is_written_while_the_labels_are_counted(open_desk, coins):
    desk = open_desk(coins, everything=FEW, **SURE)
    desk.click(*COINS[1])
    desk.accept()
    desk.controller.prefill()
    target = desk.controller.context.target
    before = desk.labels.data.copy()
    counted, target._next = target._next, None
    # numbers may be taken on planes that nobody has looked at yet
    assert not desk.controller.everything.write()
    assert desk.controller.everything.accept(review_items(desk)[:1]) == 0
    assert "counting" in desk.controller.status
    np.testing.assert_array_equal(desk.labels.data, before)
    target._next = counted
    assert desk.controller.everything.write()
    assert (desk.labels.data[before == 1] == 1).all()
    assert desk.labels.data.max() > 1


def test_what_is_labeled_is_not_proposed_as_new_and_leaves_no_rim(open_desk, coins):
    desk = open_desk(coins, everything=FEW, min_score=0.3)
    desk.controller.segment_plane()
    first = desk.controller.everything.count
    assert first > 1
    desk.controller.everything.write()
    # Labels a little smaller than what the model draws leave a rim of it free.
    labels = desk.labels
    shrunk = np.where(minimum_filter(labels.data > 0, 5), labels.data, 0)
    gone = np.nonzero((labels.data > 0) & (shrunk == 0))
    labels.data_setitem(gone, 0)
    before = labels.data.copy()
    desk.controller.segment_plane()
    desk.controller.everything.write()
    np.testing.assert_array_equal(labels.data[before > 0], before[before > 0])
    least = desk.controller.settings.everything.min_area
    for number in range(int(before.max()) + 1, int(labels.data.max()) + 1):
        mask = labels.data == number
        if mask.any():
            assert mask.sum() >= least
            beside = binary_dilation(mask, iterations=2) & (before > 0)
            assert beside.sum() < 0.5 * mask.sum()


def test_how_many_are_left_out_is_said_and_the_rest_stays(open_desk, coins):
    desk = open_desk(coins, everything=FEW, min_score=0.3)
    mode = desk.controller.everything
    desk.controller.segment_plane()
    desk.click(*COINS[1])
    desk.accept()
    assert mode.write()
    assert "left out (labeled already or below" in desk.controller.status
    # What was found is still there: pre-filling computes nothing again.
    assert mode.found
    searched = dict(mode._searched)
    desk.controller.prefill()
    assert mode._searched == searched
    assert not mode.is_running


def test_the_slice_with_its_axes_exchanged_is_the_same_slice(open_desk, coin_stack):
    """Found again, an object is not there twice."""
    desk = open_desk(coin_stack, everything=FEW)
    everything = desk.controller.everything
    desk.controller.segment_plane()
    once = everything.count
    assert once > 3
    order = desk.viewer.dims.order
    desk.viewer.dims.order = (order[0], order[2], order[1])
    desk.controller.segment_plane()
    assert everything.count < 1.5 * once
    everything.write()
    assert desk.labels.data.max() < 1.5 * once


def test_a_proposal_taken_over_leaves_what_is_painted_meanwhile(open_desk, coins):
    """Nobody looked at its outline closely, whatever may be overwritten otherwise."""
    desk = open_desk(coins, everything=FEW, policy=OverlapPolicy.OVERWRITE, **SURE)
    desk.controller.new_labels()
    desk.controller.prefill()
    first = review_items(desk)[0]
    desk.click(*inside(first))
    row, column = inside(first)
    desk.labels.data_setitem((np.array([row]), np.array([column])), 9)
    desk.accept()
    expected = first.mask.full(coins.shape)
    expected[row, column] = False
    assert desk.labels.data[row, column] == 9
    np.testing.assert_array_equal(desk.labels.data == 10, expected)
