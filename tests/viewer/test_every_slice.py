"""Accepting writes what it was pressed for: every slice, and nothing of the next."""

from __future__ import annotations

import numpy as np
import pytest
from desk import COINS

from napari_sam.types import MaskLevel, Plane

MIRRORED = {0: COINS[0], 1: (COINS[0][0], 169 - COINS[0][1]), 2: COINS[3]}
"""A coin on each plane of the ``coin_stack`` fixture."""


def values(labels) -> dict[int, list[int]]:
    """Return the planes on which each label has pixels."""
    data = np.asarray(labels.data)
    return {
        int(n): [z for z in range(len(data)) if (data[z] == n).any()]
        for n in np.unique(data)
        if n
    }


@pytest.fixture
def threaded(open_desk, coin_stack, pumped):
    """Return a desk whose answers come when the test lets them."""
    desk = open_desk(coin_stack, runner=pumped)
    pumped.pump(lambda: not pumped.is_busy())
    pumped.drain()
    return desk


def settle(desk, pumped) -> None:
    pumped.pump(lambda: not desk.annotator.is_waiting)
    pumped.drain()


def test_accepting_writes_slices_left_before_their_answer(threaded, pumped):
    desk = threaded
    for z, where in MIRRORED.items():
        desk.viewer.dims.set_current_step(0, z)
        desk.click(*where)
    # Nothing has been delivered: at most the last slice is answered.
    assert not desk.annotator.accept()
    assert desk.annotator.is_waiting
    assert desk.annotator.is_empty
    settle(desk, pumped)
    assert values(desk.labels) == {1: [0, 1, 2]}
    assert "written on 3 slices" in desk.controller.status
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert len(desk.annotator.items.points) == 3


def test_a_slice_that_comes_back_is_not_asked_again(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    desk.viewer.dims.set_current_step(0, 0)
    desk.click(*COINS[0])
    (answer,) = desk.annotator.draft.answers.values()
    desk.viewer.dims.set_current_step(0, 1)
    desk.viewer.dims.set_current_step(0, 0)
    assert list(desk.annotator.draft.answers.values()) == [answer]


def test_the_next_click_is_another_object_while_the_first_is_on_its_way(
    threaded, pumped
):
    desk = threaded
    desk.viewer.dims.set_current_step(0, 0)
    desk.click(*COINS[0])
    assert not desk.annotator.accept()
    desk.viewer.dims.set_current_step(0, 1)
    desk.click(*MIRRORED[1])
    settle(desk, pumped)
    assert values(desk.labels) == {1: [0]}
    pumped.pump(lambda: desk.annotator.can_accept and not pumped.is_busy())
    pumped.drain()
    assert desk.accept() == 2
    assert values(desk.labels) == {1: [0], 2: [1]}


def test_scrolling_while_an_answer_is_due_raises_nothing(threaded, pumped):
    desk = threaded
    desk.viewer.dims.set_current_step(0, 0)
    desk.click(*COINS[0])
    desk.viewer.dims.set_current_step(0, 1)
    desk.controller.cycle_level()
    pumped.pump(lambda: len(desk.annotator.draft.answers) == 1 and not pumped.is_busy())
    pumped.drain()
    # The score of another slice is not told here.
    assert desk.annotator.score is None
    assert not desk.controller.status.startswith("Score")
    desk.controller.accept()
    settle(desk, pumped)
    assert values(desk.labels) == {1: [0]}


def test_what_waits_can_be_called_off(threaded, pumped, monkeypatch):
    desk = threaded
    # However quick this machine is.
    monkeypatch.setattr(desk.annotator.prompting, "_foreseen", lambda: None)
    desk.click(*COINS[0])
    assert not desk.annotator.accept()
    desk.annotator.cancel_accept()
    assert not desk.annotator.is_waiting
    assert len(desk.annotator.items.points) == 1
    pumped.pump(lambda: bool(desk.annotator.draft.answers))
    pumped.drain()
    assert desk.controller.labels.layer is None
    assert desk.accept() == 1


def test_called_off_while_the_next_is_under_way_both_are_kept(threaded, pumped):
    desk = threaded
    desk.click(*COINS[0])
    assert not desk.annotator.accept()
    desk.click(*COINS[1])
    desk.annotator.cancel_accept()
    seen = [desk.annotator.items.points[0].position[1:]]
    desk.controller.discard()
    seen.append(desk.annotator.items.points[0].position[1:])
    assert {tuple(p) for p in seen} == {COINS[0], COINS[1]}


def test_objects_are_written_in_the_order_of_their_keys(threaded, pumped):
    desk = threaded
    desk.viewer.dims.set_current_step(0, 0)
    for center in COINS[:3]:
        desk.click(*center)
        desk.annotator.accept()
    settle(desk, pumped)
    data = desk.labels.data[0]
    assert [int(data[c]) for c in COINS[:3]] == [1, 2, 3]


def test_an_error_gives_the_prompts_back(open_desk, coin_stack, pumped, notes):
    desk = open_desk(coin_stack, runner=pumped)
    pumped.pump(lambda: not pumped.is_busy())
    desk.box(-60, -60, -20, -20)
    assert not desk.annotator.accept()
    settle(desk, pumped)
    assert notes()
    assert len(desk.annotator.items.shapes) == 1
    desk.controller.discard()
    desk.click(*COINS[0])
    pumped.pump(lambda: bool(desk.annotator.draft.answers))
    pumped.drain()
    assert desk.accept() == 1


def test_escape_after_an_undo_begins_a_new_object(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.accept()
    desk.labels.undo()
    desk.controller.discard()
    desk.click(*COINS[1])
    # Its number is free again, its pixels are not joined.
    assert desk.accept() == 1
    assert desk.labels.data[COINS[0]] == 0
    assert desk.labels.data[COINS[1]] == 1


def test_escape_after_many_undos_begins_a_new_object(open_desk, coins):
    """All that the undos brought is gone at once, but not what the user began."""
    desk = open_desk(coins)
    for center in COINS[:3]:
        desk.click(*center)
        desk.accept()
    written = desk.labels.data.copy()
    desk.click(*COINS[3])
    for _ in range(3):
        desk.labels.undo()
    desk.controller.discard()
    assert [p.position for p in desk.annotator.items.points] == [COINS[3]]
    desk.controller.discard()
    assert desk.annotator.is_empty
    assert desk.annotator.label == 1
    for _ in range(3):
        desk.labels.redo()
    np.testing.assert_array_equal(desk.labels.data, written)
    assert desk.annotator.is_empty


def test_only_slices_with_free_pixels_are_said_to_be_written(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    desk.viewer.dims.set_current_step(0, 0)
    desk.click(*MIRRORED[0])
    desk.accept()
    for z in (0, 1):
        desk.viewer.dims.set_current_step(0, z)
        desk.click(*MIRRORED[z])
    desk.accept()
    assert values(desk.labels) == {1: [0], 2: [1]}
    said = desk.controller.status
    assert said.startswith("Object 2 written (no pixel was free on 1 more)")
    desk.viewer.dims.set_current_step(0, 0)
    desk.click(*MIRRORED[0])
    assert not desk.annotator.accept()
    assert "with the choice 'keep other objects'" in desk.controller.status


def test_escape_keeps_what_was_changed_after_an_undo(open_desk, coins):
    desk = open_desk(coins)
    for center in COINS[:2]:
        desk.click(*center)
        desk.accept()
    desk.labels.undo()
    desk.click(*COINS[2])
    desk.labels.undo()
    desk.controller.discard()
    places = [p.position for p in desk.annotator.items.points]
    assert places == [COINS[1], COINS[2]]


def test_undo_twice_and_redo_twice_leave_nothing_under_way(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    desk.viewer.dims.set_current_step(0, 0)
    desk.click(*COINS[0])
    desk.accept()
    before = desk.labels.data.copy()
    desk.annotator.select_object(1)
    desk.viewer.dims.set_current_step(0, 1)
    desk.click(*MIRRORED[1])
    desk.accept()
    after = desk.labels.data.copy()
    assert values(desk.labels) == {1: [0, 1]}
    desk.labels.undo()
    np.testing.assert_array_equal(desk.labels.data, before)
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert desk.annotator.label == 1
    desk.labels.redo()
    desk.labels.redo()
    np.testing.assert_array_equal(desk.labels.data, after)
    assert desk.annotator.is_empty
    assert desk.annotator.label == 2
    assert not desk.annotator.accept()
    np.testing.assert_array_equal(desk.labels.data, after)


def test_a_picked_object_keeps_slices_that_were_not_touched(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    for z in (0, 1):
        desk.viewer.dims.set_current_step(0, z)
        desk.click(*MIRRORED[z])
    desk.accept()
    painted = tuple(np.array([x]) for x in (0, 5, 5))
    desk.labels.data_setitem(painted, 1)
    before = desk.labels.data[0].copy()
    desk.viewer.dims.set_current_step(0, 0)
    desk.annotator.select_object(1)
    desk.viewer.dims.set_current_step(0, 2)
    desk.click(*MIRRORED[2])
    desk.accept()
    np.testing.assert_array_equal(desk.labels.data[0], before)
    assert values(desk.labels) == {1: [0, 1, 2]}
    record = desk.controller.context.records.get(1)
    assert {p.index[0] for p in record.planes} == {0, 1, 2}


def test_hidden_labels_take_objects_of_any_slice(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    desk.controller.new_labels()
    desk.labels.visible = False
    for n, (z, where) in enumerate(((2, COINS[3]), (1, MIRRORED[1])), start=1):
        desk.viewer.dims.set_current_step(0, z)
        desk.click(*where)
        assert desk.accept() == n
    assert values(desk.labels) == {1: [2], 2: [1]}
    # napari tells nobody what is undone in a layer that is not shown.
    desk.labels.undo()
    assert values(desk.labels) == {1: [2]}
    desk.click(*COINS[1])
    desk.accept()
    assert values(desk.labels) == {1: [2], 2: [1]}
    desk.controller.undo()
    assert values(desk.labels) == {1: [2]}
    assert len(desk.controller.context.records) == 1
    desk.labels.undo()
    desk.labels.visible = True
    assert not desk.labels.data.any()
    assert len(desk.controller.context.records) == 0
    assert desk.annotator.label == 1


def test_a_proposal_taken_over_is_written_where_it_was_found(open_desk, coin_stack):
    """The transposed view of a slice is the same slice."""
    desk = open_desk(coin_stack)
    desk.viewer.dims.set_current_step(0, 1)
    desk.click(*MIRRORED[1])
    desk.viewer.dims.order = (0, 2, 1)
    assert desk.controller.context.plane == Plane((2, 1), (1, None, None))
    desk.accept()
    assert values(desk.labels) == {1: [1]}


def test_what_is_undone_in_another_view_is_not_written_right_back(
    open_desk, coin_stack
):
    desk = open_desk(coin_stack, live=True)
    desk.viewer.dims.set_current_step(0, 1)
    desk.click(*MIRRORED[1])
    desk.accept()
    desk.viewer.dims.order = (0, 2, 1)
    desk.labels.undo()
    assert not desk.labels.data.any()


def test_what_undo_keeps_is_small_and_can_be_refined_and_releveled(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    (full,) = desk.annotator.draft.answers.values()
    desk.accept()
    written = desk.labels.data == 1
    desk.labels.undo()
    (kept,) = desk.annotator.draft.answers.values()
    size = sum(r.nbytes for r in kept.results)
    assert size <= sum(r.nbytes for r in full.results) / 4
    np.testing.assert_array_equal(desk.masks[0], written)
    # Another level is asked for again, and is another mask.
    desk.controller.set_level(MaskLevel.WHOLE)
    desk.controller.set_level(MaskLevel.SUBPART)
    (asked,) = desk.annotator.draft.answers.values()
    assert asked.level is MaskLevel.SUBPART
    assert not asked.is_compact
    desk.controller.set_level(MaskLevel.AUTO)
    desk.click(COINS[0][0] + 8, COINS[0][1])
    desk.accept()
    now = desk.labels.data == 1
    assert (now & written).sum() > 0.8 * written.sum()


def test_the_brush_has_the_number_of_the_object_under_way(threaded, pumped):
    """Accepted before there was an answer, and before there were labels."""
    desk = threaded
    desk.click(*COINS[0])
    assert not desk.annotator.accept()
    settle(desk, pumped)
    assert desk.annotator.label == 2
    assert desk.labels.selected_label == 2
    desk.viewer.dims.set_current_step(0, 1)
    pumped.drain()
    assert desk.labels.selected_label == desk.annotator.label == 2
