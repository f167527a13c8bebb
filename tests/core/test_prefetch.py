from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from napari_sam.core.embeddings.prefetch_queue import PrefetchQueue
from napari_sam.core.stopwatch import Stopwatch, describe, format_duration


def drain(queue: PrefetchQueue) -> list[int]:
    """Return all positions in the order offered, each marked ready."""
    order = []
    while (position := queue.next()) is not None:
        order.append(position)
        queue.mark_ready(position)
    return order


def test_shown_plane_then_neighbors_in_scroll_direction():
    queue = PrefetchQueue(20)
    queue.visit(10)
    assert drain(queue) == [10, 11, 12, 13, 9]
    queue.visit(8)
    assert drain(queue) == [8, 7, 6, 5]
    queue.visit(14)
    assert drain(queue) == [14, 15, 16, 17]


def test_nothing_is_wanted_before_the_first_visit_but_the_whole_stack():
    assert drain(PrefetchQueue(5)) == []
    assert drain(PrefetchQueue(5, whole_stack=True)) == [0, 1, 2, 3, 4]
    assert drain(PrefetchQueue(0, whole_stack=True)) == []


def test_whole_stack_goes_outward_from_where_the_user_is():
    queue = PrefetchQueue(12, ahead=1, behind=0, whole_stack=True)
    queue.visit(5)
    assert [queue.next() for _ in range(3)] == [5, 5, 5]
    assert drain(queue) == [5, 6, 4, 7, 3, 8, 2, 9, 1, 10, 0, 11]
    queue.reset(6)
    queue.visit(5)
    queue.visit(2)
    assert drain(queue) == [2, 1, 3, 0, 4, 5]


def test_whole_stack_can_be_asked_for_and_withdrawn_at_any_time():
    queue = PrefetchQueue(9, ahead=0, behind=0)
    queue.visit(4)
    assert drain(queue) == [4]
    queue.whole_stack = True
    assert queue.next() == 5
    queue.whole_stack = False
    assert queue.next() is None


def test_a_failed_plane_is_tried_again_only_when_the_user_returns():
    queue = PrefetchQueue(3, whole_stack=True)
    queue.visit(1)
    queue.mark_failed(1)
    queue.visit(1)
    assert drain(queue) == [2, 0]
    assert queue.failed.tolist() == [False, True, False]
    queue.visit(0)
    assert queue.next() is None
    queue.visit(1)
    assert queue.next() == 1


def test_a_forgotten_plane_is_offered_again():
    queue = PrefetchQueue(3)
    queue.visit(0)
    drain(queue)
    queue.forget(1)
    assert queue.ready.tolist() == [True, False, True]
    assert drain(queue) == [1]


def test_ready_is_a_copy():
    queue = PrefetchQueue(2)
    queue.ready[0] = True
    assert not queue.ready.any()


@pytest.mark.parametrize("position", [-1, 3])
def test_positions_outside_the_stack_are_programming_errors(position):
    queue = PrefetchQueue(3)
    for method in (queue.visit, queue.mark_ready, queue.mark_failed, queue.forget):
        with pytest.raises(IndexError, match=f"{position} is not in a stack of 3"):
            method(position)
    with pytest.raises(ValueError, match="-1"):
        queue.reset(-1)


@given(
    n=st.integers(1, 40),
    ahead=st.integers(0, 5),
    behind=st.integers(0, 5),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_every_position_once_and_the_shown_one_first(n, ahead, behind, data):
    queue = PrefetchQueue(n, ahead=ahead, behind=behind, whole_stack=True)
    visits = st.none() | st.integers(0, n - 1)
    offered: list[int] = []
    shown = None
    while True:
        visit = data.draw(visits)
        if visit is not None:
            queue.visit(visit)
            shown = visit
        position = queue.next()
        if position is None:
            break
        if shown is not None and shown not in offered:
            assert position == shown
        offered.append(position)
        queue.mark_ready(position)
    assert sorted(offered) == list(range(n))
    assert queue.ready.all()


class AnyUse(RuleBasedStateMachine):
    """Any sequence of calls, against what must hold after each."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = PrefetchQueue(7)
        self.paused = False
        self.shown: int | None = None

    position = st.integers(0, 6)

    @rule(position=position)
    def visit(self, position):
        self.queue.visit(position)
        self.shown = position

    @rule(position=position)
    def mark_ready(self, position):
        self.queue.mark_ready(position)

    @rule(position=position)
    def mark_failed(self, position):
        self.queue.mark_failed(position)

    @rule(position=position)
    def forget(self, position):
        self.queue.forget(position)

    @rule()
    def pause(self):
        self.queue.pause()
        self.paused = True

    @rule()
    def resume(self):
        self.queue.resume()
        self.paused = False

    @rule(wanted=st.booleans())
    def ask_for_whole_stack(self, wanted):
        self.queue.whole_stack = wanted

    @rule()
    def reset(self):
        self.queue.reset(7)
        assert not self.queue.ready.any()
        self.shown = None

    @invariant()
    def next_is_open_and_nothing_is_offered_while_paused(self):
        assert self.queue.is_paused == self.paused
        position = self.queue.next()
        closed = self.queue.ready | self.queue.failed
        assert not (self.queue.ready & self.queue.failed).any()
        assert self.queue.progress().done == closed.sum()
        if self.paused:
            assert position is None
            return
        if self.shown is not None and not closed[self.shown]:
            assert position == self.shown
        elif position is not None:
            assert not closed[position]
        elif self.queue.whole_stack:
            assert closed.all()


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=100, deadline=None)


# -- time left ---------------------------------------------------------------


def test_what_is_done_says_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("napari_sam.core.stopwatch.time.perf_counter", lambda: now)
    watch = Stopwatch()
    assert watch.elapsed == 0
    assert watch.seconds_left(0, 10) is None
    now = 130.0
    assert watch.elapsed == 30
    assert watch.seconds_left(2, 10) == 120
    assert watch.seconds_left(10, 10) == 0


def test_progress_says_how_much_of_the_stack_and_how_long():
    queue = PrefetchQueue(142, whole_stack=True)
    assert queue.eta_seconds is None
    assert queue.progress().text == "0 of 142 planes"
    for position in range(18):
        queue.mark_ready(position)
        queue.observe(220 / 124)
    progress = queue.progress()
    assert (progress.done, progress.total) == (18, 142)
    assert queue.eta_seconds == pytest.approx(220)
    assert progress.text == "18 of 142 planes, 3 min 40 s left"


def test_estimate_ignores_an_interruption_and_follows_a_change():
    watch = Stopwatch()
    assert watch.seconds_per_step is None
    assert watch.eta_seconds(10) is None
    for seconds in (1.0, 1.0, 60.0, 1.0):
        watch.observe(seconds)
    assert watch.eta_seconds(10) == pytest.approx(10)
    for _ in range(9):
        watch.observe(3.0)
    assert watch.seconds_per_step == pytest.approx(3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.2, "1 s"),
        (59, "59 s"),
        (59.5, "1 min"),
        (61, "1 min 10 s"),
        (220, "3 min 40 s"),
        (599, "10 min"),
        (600, "10 min"),
        (3541, "1 h"),
        (7300, "2 h 2 min"),
    ],
)
def test_durations_in_words(seconds, text):
    assert format_duration(seconds) == text


def test_progress_in_words():
    assert describe(0, 1) == "0 of 1 plane"
    assert describe(3, 3, 5.0) == "3 of 3 planes"
    assert describe(1, 3, 5.0) == "1 of 3 planes, 5 s left"
