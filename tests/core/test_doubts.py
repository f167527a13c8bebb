"""Where linked objects are in doubt, and what labels with ids say of themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam.core.steps import finish
from napari_sam.core.volumes.doubts import (
    DoubtKind,
    find_doubts,
    find_events,
    least_certain,
)
from napari_sam.core.volumes.linked import LinkSettings
from napari_sam.core.volumes.linking import link_objects
from napari_sam.core.volumes.objects import iter_objects

STACKS = hnp.arrays(
    np.uint8, st.tuples(st.integers(2, 6), st.just(5), st.just(6)),
    elements=st.integers(0, 4),
)  # fmt: skip


def cone() -> np.ndarray:
    """Return an object that grows from a tip and stops while it is large."""
    stack = np.zeros((9, 30, 30), np.uint8)
    for z, half in enumerate((1, 3, 5, 7, 9, 10), start=2):
        stack[z, 15 - half : 15 + half, 15 - half : 15 + half] = 3
    return stack


def kinds(doubts):
    return [(d.kind, d.slice, round(d.certainty, 3)) for d in doubts]


def test_an_object_that_stops_while_it_is_large_is_in_doubt_there():
    linked = link_objects(cone())
    doubts = linked.doubts()
    assert kinds(doubts)[0] == (DoubtKind.END, 7, 0.0)
    assert (DoubtKind.BEGINNING, 2, 1 - 4 / 400) in [
        (d.kind, d.slice, d.certainty) for d in doubts
    ]
    assert least_certain(doubts) == {1: doubts[0]}
    # To the end of the stack there is no end.
    assert DoubtKind.END not in [d.kind for d in link_objects(cone()[:8]).doubts()]


def test_a_weak_link_a_waist_and_one_slice():
    stack = np.zeros((6, 20, 40), np.uint8)
    stack[:, 2:12, 2:12] = 1
    stack[3:, 2:12, 2:12] = 0
    stack[3:, 2:12, 5:15] = 1  # shifted by three of ten
    stack[:, 14:19, 20:36] = 2
    stack[2, 14:19, 32:36] = 0
    stack[4, 2:8, 20:30] = 3
    linked = link_objects(stack)
    first = least_certain(linked.doubts())
    assert first[1].kind is DoubtKind.LINK
    assert first[1].slice == 3
    assert first[1].certainty == pytest.approx(7 / 13)
    waists = [d for d in linked.doubts() if d.kind is DoubtKind.WAIST]
    assert [(d.id, d.slice, d.certainty) for d in waists] == [(2, 2, 0.75)]
    assert first[3].certainty == 0
    assert [o.id for o in linked.weakest_first()] == [3, 1, 2]


def test_in_time_what_leaves_over_the_border_is_sure():
    movie = np.zeros((4, 40, 60), np.uint8)
    movie[:3, 0:8, 20:28] = 1  # at the border
    movie[:3, 20:28, 26:34] = 2  # in the middle
    objects = finish(iter_objects(movie))
    doubts = find_doubts(objects, movie.shape, time=True)
    ends = {d.id: d.certainty for d in doubts if d.kind is DoubtKind.END}
    assert ends[1] == 1
    radius = math.sqrt(64 / math.pi)
    assert ends[2] == pytest.approx(radius / 16)
    events = find_events(doubts)
    assert [(e.id, e.kind, e.slice) for e in events] == [
        (2, DoubtKind.END, 2), (1, DoubtKind.END, 2),
    ]  # fmt: skip


def test_divisions_and_jumps_are_events():
    movie = np.zeros((4, 30, 40), np.uint8)
    movie[:2, 10:18, 10:28] = 7
    movie[2:, 10:18, 10:18] = 7
    movie[2:, 10:18, 20:28] = 9
    linked = link_objects(movie, LinkSettings(time=True))
    (event,) = find_events(linked.doubts())
    mother = int(linked.labels[0, 12, 12])
    assert (event.id, event.kind, event.slice) == (mother, DoubtKind.DIVISION, 2)
    assert event.certainty == pytest.approx(128 / 144)
    # The same of the labels, without linking.
    objects = finish(iter_objects(linked.labels, linked.graph))
    assert find_doubts(objects, movie.shape, linked.graph, time=True) == linked.doubts()
    # A division that does not fit the labels is none.
    (end,) = find_events(
        find_doubts(finish(iter_objects(movie)), movie.shape, {9: (7,)}, time=True)
    )
    assert (end.id, end.kind) == (9, DoubtKind.BEGINNING)
    jump = np.zeros((2, 10, 30), np.uint8)
    jump[0, 2:6, 2:12] = jump[1, 2:6, 10:20] = 1
    (event,) = find_events(
        find_doubts(finish(iter_objects(jump)), jump.shape, time=True)
    )
    assert event.kind is DoubtKind.LINK
    assert event.certainty == pytest.approx(2 / 18)


@given(STACKS)
def test_labels_with_ids_are_measured_as_linking_measures_them(stack: np.ndarray):
    for settings in (LinkSettings(), LinkSettings(time=True)):
        linked = link_objects(stack, settings)
        objects = finish(iter_objects(linked.labels, linked.graph))
        for one, other in zip(linked.objects, objects, strict=True):
            assert one.id == other.id
            assert np.array_equal(one.slices, other.slices)
            assert np.array_equal(one.areas, other.areas)
            assert np.allclose(one.ious, other.ious)
            assert np.allclose(one.mother_iou, other.mother_iou, equal_nan=True)
        doubts = linked.doubts()
        assert [d.rank for d in doubts] == sorted(d.rank for d in doubts)
        assert all(0 <= d.certainty <= 1 for d in doubts)


@given(STACKS)
def test_overlap_across_slices_that_an_object_is_missing_in_is_none(stack: np.ndarray):
    for one in finish(iter_objects(stack)):
        masks = [stack[z] == one.id for z in one.slices]
        for i, iou in enumerate(one.ious):
            expected = (masks[i] & masks[i + 1]).sum() / (masks[i] | masks[i + 1]).sum()
            is_next = one.slices[i + 1] == one.slices[i] + 1
            assert iou == pytest.approx(expected if is_next else 0)
