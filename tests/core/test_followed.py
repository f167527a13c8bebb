"""What is known of an object along an axis, against what a full run would know."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.volumes.followed import Followed
from napari_sam.core.volumes.propagation import PropagatedSlice, Source, spans
from napari_sam.types import MaskCrop, Plane, Region

COUNT = 12
BASE = Plane((1, 2), (3, None, None))


def mask(number: int) -> MaskCrop:
    """Return a mask that is unlike all others."""
    return MaskCrop(np.ones((1, 1 + number), bool), Region(0, 0, 1, 1 + number))


def found(followed: Followed, position: int, reach: int = 3) -> PropagatedSlice:
    """Return what a run would find: it depends on the prompted slices alone.

    An object ends ``reach`` slices beyond the last prompted one.
    """
    (span,) = [
        s
        for s in spans(followed.prompted, followed.limits)
        if s.first <= position < s.stop
    ]
    made_of = sum(
        followed.prompted[p].mask.shape[1] for p in span.prompted if p is not None
    )
    is_ghost = None in (span.below, span.above) and span.distance(position) > reach
    return PropagatedSlice(
        position, mask(made_of), 1 / (1 + span.distance(position)), Source.MODEL,
        is_ghost,
    )  # fmt: skip


def run(followed: Followed, most: int | None = None) -> Followed:
    """Find what is left, or some of it, as the window does."""
    asked, positions = followed.left, followed.positions_left
    for position in positions[:most]:
        followed = followed.with_slice(found(followed, position))
    if most is None or most >= len(positions):
        followed = followed.with_finished(asked)
    return followed


def content(followed: Followed) -> dict[int, tuple[int, bool]]:
    return {
        p: (s.mask.region.col1, s.is_ghost) for p, s in sorted(followed.slices.items())
    }


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("prompt"), st.integers(0, COUNT - 1), st.integers(0, 50)),
        st.tuples(st.just("unprompt"), st.integers(0, COUNT - 1), st.just(0)),
        st.tuples(st.just("run"), st.integers(0, 8), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, COUNT - 1), st.just(0)),
        st.tuples(st.just("limits"), st.integers(0, COUNT), st.integers(0, COUNT)),
        st.tuples(st.just("redo"), st.integers(0, COUNT - 1), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, COUNT - 1), ACTIONS)
def test_whatever_was_done_what_is_known_is_what_a_full_run_finds(start, actions):
    answered = {start: mask(0)}
    followed = Followed(BASE, 0, (0, COUNT)).with_prompted(answered)
    for action, a, b in actions:
        if action == "prompt":
            answered = {**answered, a: mask(b)}
            followed = followed.with_prompted(answered)
        elif action == "unprompt" and len(answered) > 1:
            answered = {p: m for p, m in answered.items() if p != a}
            followed = followed.with_prompted(answered)
        elif action == "run":
            followed = run(followed, a)
        elif action == "end":
            followed = followed.ended_at(a) or followed
        elif action == "limits" and a < b:
            followed = followed.with_limits((a, b))
        elif action == "redo":
            followed = followed.redoing(a) or followed
        assert not followed.slices.keys() & followed.prompted.keys()
        assert followed.stale <= followed.slices.keys()
        low, high = followed.limits
        assert all(low <= p < high for p in (*followed.slices, *followed.prompted))
        assert set(answered) <= set(followed.prompted)
    done = run(followed)
    assert done.is_finished
    assert not done.stale
    fresh = Followed(
        BASE, 0, done.limits, prompted=done.prompted, confirmed=done.confirmed
    )
    assert content(done) == content(run(fresh))


def test_a_correction_leaves_the_two_spans_around_it() -> None:
    answered = {2: mask(1), 8: mask(2)}
    followed = run(Followed(BASE, 0, (0, COUNT)).with_prompted(answered))
    assert followed.is_finished
    assert followed.with_prompted(dict(answered)) is followed
    now = followed.with_prompted({**answered, 5: mask(3)})
    assert sorted(now.positions_left) == [3, 4, 6, 7]
    # What was found is shown until it is found again.
    assert set(now.slices) == set(followed.slices) - {5}


def test_a_run_that_was_stopped_goes_on_where_it_was() -> None:
    followed = Followed(BASE, 0, (0, COUNT)).with_prompted({0: mask(1), 11: mask(2)})
    followed = run(followed, 4)
    assert len(followed.positions_left) == 6


def test_the_end_is_cut_or_extended() -> None:
    followed = run(Followed(BASE, 0, (0, COUNT)).with_prompted({2: mask(1)}))
    assert followed.extent == (0, 5)
    assert followed.slices[6].is_ghost
    cut = followed.ended_at(4)
    assert cut is not None
    assert cut.extent == (0, 4)
    assert cut.is_finished
    # A ghost that is taken over is as good as prompted; the object goes on from there.
    longer = followed.ended_at(7)
    assert longer is not None
    assert set(longer.confirmed) == {7}
    assert longer.to_write[7][1] == 1.0
    shown = longer.on(longer.plane(7))
    assert shown is not None
    assert shown.source is Source.PROMPTED
    longer = run(longer)
    assert longer.extent == (0, 10)
    assert not longer.slices[6].is_ghost
    # Prompting there takes the place of what was confirmed.
    assert longer.with_prompted({2: mask(1), 7: mask(9)}).confirmed == {}
    # Between two prompted slices there is no end, and none where there is nothing.
    both = run(followed.with_prompted({2: mask(1), 9: mask(1)}))
    assert both.ended_at(5) is None
    assert cut.ended_at(8) is None


def test_the_strip_and_the_least_sure_slice() -> None:
    followed = run(Followed(BASE, 0, (0, COUNT)).with_prompted({2: mask(1)}))
    state = followed.state(COUNT)
    assert state.prompted.tolist() == [p == 2 for p in range(COUNT)]
    assert state.ghost.tolist() == [p > 5 for p in range(COUNT)]
    assert np.isnan(run(followed.with_limits((0, 4))).state(COUNT).confidence[4:]).all()
    seen: list[int] = []
    while (least := followed.least_sure(seen)) is not None:
        seen.append(least)
    assert seen == [5, 0, 4, 1, 3]


def test_planes_of_the_stack_and_no_others() -> None:
    followed = run(Followed(BASE, 0, (0, COUNT)).with_prompted({2: mask(1)}))
    assert followed.on(Plane((1, 2), (4, None, None))) is followed.slices[4]
    assert followed.on(Plane((1, 2), (2, None, None))) is None
    assert followed.on(Plane((2, 1), (4, None, None))) is None
    assert followed.on(Plane((0, 2), (None, 4, None))) is None
    assert followed.position(Plane((2, 3), (0, 4, None, None))) is None
