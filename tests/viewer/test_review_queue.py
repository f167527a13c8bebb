"""The order of a review, and its count."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.annotation.review_queue import Entry, Outcome, ReviewQueue
from napari_sam.types import Plane


def entry(label, certainty=0.5, position=0):
    return Entry(label, Plane((1, 2), (position, None, None)), None, certainty)


ENTRIES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), max_size=12).map(
    lambda rows: [entry(i + 1, c / 20, z) for i, (c, z) in enumerate(rows)]
)


def always(_):
    return True


@settings(deadline=None)
@given(entries=ENTRIES, outcomes=st.lists(st.sampled_from(list(Outcome))))
def test_every_entry_comes_once_least_certain_first(entries, outcomes):
    queue = ReviewQueue()
    queue.fill(entries)
    seen = []
    while (current := queue.advance(always)) is not None:
        seen.append(current)
        gone = queue.count(Outcome.GONE)
        assert queue.position == len(seen) - gone
        assert queue.position <= len(queue) == len(entries) - gone
        chosen = outcomes[len(seen) - 1] if len(seen) <= len(outcomes) else None
        queue.mark(current.key, chosen or Outcome.ACCEPTED)
    assert [e.rank for e in seen] == sorted(e.rank for e in entries)
    assert queue.current is None


@settings(deadline=None)
@given(entries=ENTRIES, cut=st.integers(0, 12))
def test_going_on_after_an_interruption_counts_on(entries, cut):
    queue = ReviewQueue()
    queue.fill(entries)
    for _ in range(min(cut, len(entries))):
        current = queue.advance(always)
        assert current is not None
        queue.mark(current.key, Outcome.ACCEPTED)
    left = queue.open()
    queue.fill(left)
    if left:
        assert queue.count(Outcome.ACCEPTED) == len(entries) - len(left)
        assert len(queue) == len(entries)
    assert queue.open() == left


def test_what_is_skipped_comes_again_in_the_next_round():
    queue = ReviewQueue()
    entries = [entry(1, 0.1), entry(2, 0.2)]
    queue.fill(entries)
    assert queue.advance(always) == entries[0]
    queue.mark(1, Outcome.SKIPPED)
    assert queue.advance(always) == entries[1]
    queue.mark(2, Outcome.REJECTED)
    assert queue.advance(always) is None
    assert queue.open() == (entries[0],)
    queue.fill(queue.open())
    assert queue.advance(always) == entries[0]


def test_what_can_not_be_decided_any_more_is_not_counted():
    queue = ReviewQueue()
    queue.fill([entry(1, 0.1), entry(2, 0.2), entry(3, 0.3)])
    assert queue.advance(lambda e: e.key != 1) == entry(2, 0.2)
    assert len(queue) == 2
    assert queue.position == 1
    queue.drop(lambda e: e.key == 3)
    assert len(queue) == 1


def test_taken_back_it_is_looked_at_again():
    queue = ReviewQueue()
    queue.fill([entry(1, 0.1), entry(2, 0.2)])
    queue.advance(always)
    queue.mark(1, Outcome.ACCEPTED)
    queue.advance(always)
    assert queue.reopen(1) == entry(1, 0.1)
    assert queue.count(Outcome.ACCEPTED) == 0
    assert queue.advance(always) == entry(1, 0.1)
    assert queue.reopen(9) is None


def test_what_comes_up_meanwhile_takes_its_turn():
    queue = ReviewQueue()
    queue.fill([entry(1, 0.1), entry(2, 0.5)])
    queue.advance(always)
    queue.mark(1, Outcome.REJECTED)
    queue.add([entry(1, 0.1), entry(3, 0.3)])
    assert queue.advance(always) == entry(3, 0.3)
    assert len(queue) == 3
    assert queue.count(Outcome.REJECTED) == 1


def test_another_set_of_entries_is_another_review():
    queue = ReviewQueue()
    queue.fill([entry(1)])
    queue.advance(always)
    queue.mark(1, Outcome.ACCEPTED)
    queue.fill([entry(2)])
    assert queue.count(Outcome.ACCEPTED) == 0
    assert len(queue) == 1


def test_equal_certainty_goes_by_position():
    queue = ReviewQueue()
    queue.fill([entry(1, 0.5, 3), entry(2, 0.5, 1), entry(3, 0.4, 9)])
    assert [e.key for e in queue.open()] == [3, 2, 1]


@settings(deadline=None)
@given(entries=ENTRIES, by=st.sampled_from([1, -1]), data=st.data())
def test_steps_go_around_all_that_can_be_decided(entries, by, data):
    """From the first one on, or back from the last one; nothing is decided by it."""
    closed = data.draw(st.sets(st.sampled_from(entries))) if entries else set()

    def is_open(one):
        return one not in closed

    queue = ReviewQueue()
    queue.fill(entries)
    expected = [e for e in queue.open() if is_open(e)][::by]
    for _ in range(2):
        seen = [queue.step(by, is_open) for _ in expected]
        assert seen == expected
    assert queue.current == (expected[-1] if expected else None)
    assert len(queue) == len(entries)
    if not expected:
        assert queue.step(by, is_open) is None
