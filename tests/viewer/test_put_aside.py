"""Objects left for others: where the next click goes, and what is said of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from desk import COINS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk import Desk

    OpenDesk = Callable[..., Desk]

COMES_AFTER = "What was under way comes after it."


def pick(desk: Desk, coin: int) -> None:
    """Press J with the pointer on a coin."""
    desk.move(*COINS[coin])
    desk.controller.pick_under_cursor()


def numbers(desk: Desk) -> set[int]:
    layer = desk.controller.labels.layer
    return set() if layer is None else set(np.unique(layer.data).tolist()) - {0}


def made(desk: Desk, coin: int) -> int:
    """Click a coin and accept it; its number."""
    desk.click(*COINS[coin])
    return desk.accept()


def check(desk: Desk) -> None:
    """Compare what is said with what is under way."""
    annotator, said = desk.annotator, desk.controller.status
    draft = annotator.draft
    if re.search(r"Click (the next one|the next object|an object)", said):
        assert draft.is_new, said
        assert annotator.label not in numbers(desk)
    for number in re.findall(r"Object (\d+) goes on", said):
        assert int(number) == annotator.label
        assert not draft.is_new, said
    known = [d.label for d in annotator.objects if d.label is not None]
    assert len(known) == len(set(known)), "two drafts of one object"
    # In live mode a correction may have led to where other objects are.
    there = [d.label for d in annotator.objects if d.label and d.live is None]
    assert numbers(desk).issuperset(there), "a draft corrects what is not there"
    assert not any(d.is_unchanged for d in annotator.objects if d is not draft)


class TestSequences:
    steps = st.one_of(
        st.tuples(st.sampled_from(["pick", "click"]), st.integers(0, 2)),
        st.tuples(
            st.sampled_from(["accept", "discard", "undo", "redo", "remove_last_prompt"])
        ),
    )

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(steps=st.lists(steps, min_size=4, max_size=14), live=st.booleans())
    def test_the_next_click_goes_where_status_and_header_say(
        self, open_desk: OpenDesk, coins: np.ndarray, steps: list[Any], live: bool
    ) -> None:
        desk = open_desk(coins, live=live)
        try:
            for coin in (0, 1):
                desk.click(*COINS[coin])
                desk.annotator.accept()
            for what, *coin in steps:
                self.do(desk, what, *coin)
                check(desk)
        finally:
            desk.controller.close()

    def do(self, desk: Desk, what: str, coin: int = 0) -> None:
        annotator = desk.annotator
        header, prompts = annotator.label, len(annotator.items.points)
        if what == "click":
            desk.click(*COINS[coin])
            assert annotator.label == header
            assert len(annotator.items.points) == prompts + 1
        elif what == "pick":
            pick(desk, coin)
        elif what == "accept":
            before = self.pixels(desk)
            annotator.accept()
            after = self.pixels(desk)
            changed = before != after
            assert set(np.unique(after[changed]).tolist()) <= {0, header}
            assert set(np.unique(before[changed]).tolist()) <= {0, header}
        else:
            getattr(desk.controller, what)()

    @staticmethod
    def pixels(desk: Desk) -> np.ndarray:
        layer = desk.controller.labels.layer
        if layer is None:
            return np.zeros(desk.image.data.shape, int)
        return np.asarray(layer.data).copy()


def test_a_pick_that_was_not_changed_does_not_come_back(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    """What a fresh pair of eyes found: the next cell went into the last object."""
    desk = open_desk(coins)
    made(desk, 0)
    pick(desk, 0)
    desk.controller.undo()
    assert "Object 1 taken back" in desk.controller.status
    assert COMES_AFTER not in desk.controller.status
    assert desk.accept() == 1
    assert "Click the next one" in desk.controller.status
    first = desk.labels.data == 1
    assert made(desk, 1) == 2
    assert np.array_equal(desk.labels.data == 1, first)
    # Left for another object or closed, it is in the labels, and nowhere else.
    pick(desk, 0)
    pick(desk, 1)
    assert desk.annotator.under_way() == ()
    desk.controller.discard()
    assert "Click an object" in desk.controller.status
    assert desk.annotator.draft.is_new


def test_an_accept_says_which_object_goes_on(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(coins)
    made(desk, 0)
    desk.click(*COINS[1])
    pick(desk, 0)
    assert desk.controller.status.endswith(COMES_AFTER)
    desk.click(COINS[0][0] + 3, COINS[0][1])
    desk.accept()
    assert "Object 2 goes on" in desk.controller.status
    assert "Click the next one" not in desk.controller.status
    desk.accept()
    assert "Click the next one" in desk.controller.status
    assert numbers(desk) == {1, 2}


def test_an_accept_that_changed_nothing_says_so_too(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(coins)
    made(desk, 0)
    desk.click(*COINS[1])
    pick(desk, 0)
    desk.annotator.accept()
    assert desk.controller.status == "Nothing was changed.  Object 2 goes on."


def test_escape_on_nothing_says_what_goes_on(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(coins)
    made(desk, 0)
    desk.click(*COINS[1])
    desk.controller.undo()
    desk.controller.remove_last_prompt()
    assert desk.annotator.draft.is_new
    desk.controller.discard()
    assert desk.controller.status == "There was nothing to discard.  Object 1 goes on."


def test_a_correction_under_way_survives_an_undo_of_its_object(
    open_desk: OpenDesk, coin_stack: np.ndarray
) -> None:
    desk = open_desk(coin_stack)
    made(desk, 0)
    written = desk.labels.data.copy()
    pick(desk, 0)
    desk.viewer.dims.set_point(0, 1)
    desk.click(26, 169 - 30)
    desk.controller.undo()
    assert not desk.labels.data.any()
    assert desk.controller.status.startswith("Object 1 taken back")
    assert len(desk.annotator.items.points) == 2
    # Both slices are one object; redone, the prompts correct it again.
    desk.controller.redo()
    assert np.array_equal(desk.labels.data, written)
    assert desk.annotator.draft.label == 1
    desk.controller.undo()
    assert desk.accept() == 1
    assert np.array_equal(desk.labels.data[0], written[0])
    assert desk.labels.data[1].any()
    assert "Click the next one" in desk.controller.status
    assert len(desk.controller.context.records.get(1).items.points) == 2


def test_a_correction_left_for_another_goes_on_when_its_object_is_picked(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(coins)
    for coin in (0, 1):
        made(desk, coin)
    pick(desk, 0)
    desk.click(COINS[0][0] + 3, COINS[0][1])
    pick(desk, 1)
    pick(desk, 0)
    assert "Object 1 goes on" in desk.controller.status
    assert len(desk.annotator.items.points) == 2
    assert len(desk.annotator.objects) == 1


def test_what_was_changed_of_one_of_several_boxes_is_an_object_of_its_own(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(coins)
    for row, column in COINS[:2]:
        desk.box(row - 20, column - 20, row + 20, column + 20)
    desk.accept()
    assert numbers(desk) == {1, 2}
    pick(desk, 0)
    desk.click(COINS[0][0] + 3, COINS[0][1])
    desk.controller.undo()
    assert desk.controller.status.endswith(COMES_AFTER)
    check(desk)
    desk.accept()
    assert numbers(desk) == {1, 2}
    assert "Object 3 goes on" in desk.controller.status


@pytest.mark.parametrize("corrected", [False, True])
def test_a_correction_that_waits_for_its_answer_is_picked_again(
    open_desk: OpenDesk, coins: np.ndarray, pumped: Any, corrected: bool
) -> None:
    desk = open_desk(coins, runner=pumped)
    pumped.pump(lambda: desk.controller.prefetcher.is_shown_ready)
    desk.click(*COINS[0])
    desk.annotator.accept()
    pumped.pump(lambda: numbers(desk) == {1})
    pick(desk, 0)
    if corrected:
        desk.click(COINS[0][0] + 3, COINS[0][1])
        assert not desk.annotator.accept()
        pick(desk, 0)
        assert "Object 1 is not written yet" in desk.controller.status
        assert not desk.annotator.is_waiting
    assert desk.annotator.label == 1
    assert len(desk.annotator.items.points) == 1 + corrected
    check(desk)


def test_a_redo_of_what_live_mode_took_out_counts_as_an_object(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    """Its number was given to the next object, which was then one with it."""
    desk = open_desk(coins, live=True)
    desk.click(*COINS[0])
    desk.controller.remove_last_prompt()
    assert numbers(desk) == set()
    desk.controller.redo()
    assert numbers(desk) == {1}
    assert desk.controller.context.target.records.get(1) is not None
    desk.click(*COINS[1])
    assert numbers(desk) == {1, 2}
    desk.controller.accept()
    assert desk.annotator.label == 3
