"""Linking against brute force: matching, waists, nothing lost, any order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

import napari_sam as ns
from napari_sam.core.volumes.label_stack import Foreground
from napari_sam.core.volumes.linked import Linked, LinkSettings
from napari_sam.core.volumes.linking import find_waists, iter_link, link_objects
from napari_sam.core.volumes.matching import best_matching
from napari_sam.errors import LabelsError, SettingsError

QUICK = settings(max_examples=60, deadline=None)


def link(labels: object, **kwargs: object) -> Linked:
    return link_objects(labels, LinkSettings(**kwargs))


stacks = arrays(
    st.sampled_from([np.uint8, np.int16, np.int64]),
    st.tuples(st.integers(2, 4), st.integers(2, 5), st.integers(2, 5)),
    elements=st.integers(0, 3),
)


def brute_matching(weights: np.ndarray, lowest: float) -> tuple[float, int]:
    """Return the largest sum of allowed weights one-to-one, and how many have it."""
    n, m = weights.shape
    best: dict[frozenset[tuple[int, int]], float] = {}
    for k in range(min(n, m) + 1):
        for rows in itertools.combinations(range(n), k):
            for cols in itertools.permutations(range(m), k):
                pairs = frozenset(zip(rows, cols, strict=True))
                if all(weights[p] >= lowest and weights[p] > 0 for p in pairs):
                    best[pairs] = sum(weights[p] for p in pairs)
    top = max(best.values())
    return top, sum(value > top - 1e-9 for value in best.values())


@QUICK
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.sampled_from([0, 0, 0.1, 0.25, 0.3, 0.45, 0.6, 0.9]),
    ),
    st.sampled_from([0.05, 0.3, 0.5]),
)
def test_the_matching_is_one_to_one_and_the_best(weights, lowest):
    first, second, found = best_matching(csr_array(weights), lowest)
    assert len(set(first)) == len(first)
    assert len(set(second)) == len(second)
    assert list(first) == sorted(first)
    assert np.array_equal(weights[first, second], found)
    assert (found >= lowest).all()
    assert found.sum() == pytest.approx(brute_matching(weights, lowest)[0])


def partition(labels: np.ndarray, given_labels: np.ndarray) -> set[frozenset]:
    """Return the objects as sets of (slice, label as given)."""
    return {
        frozenset(
            (int(z), int(given_labels[z][labels[z] == i][0]))
            for z in np.unique(np.nonzero(labels == i)[0])
        )
        for i in np.unique(labels[labels > 0])
    }


@QUICK
@given(
    stacks,
    st.sampled_from([0.2, 0.5]),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_segments_stay_whole_and_nothing_is_lost(stack, min_iou, gap, split, ends):
    linked = link(stack, min_iou=min_iou, gap=gap, split=split, ends=ends)
    labels = linked.labels
    assert labels.dtype == stack.dtype
    assert np.array_equal(labels > 0, stack > 0)
    ids = np.unique(labels[labels > 0])
    assert list(ids) == list(range(1, len(ids) + 1))
    for z, image in enumerate(stack):
        # One id per segment, and two segments of a slice are two objects.
        pairs = set(zip(image[image > 0], labels[z][image > 0], strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert [o.id for o in linked.objects] == list(ids)
    for o in linked.objects:
        assert (np.diff(o.slices) > 0).all()
        assert (np.diff(o.slices) <= gap + 1).all()
        assert len(o.ious) == len(o.slices) - 1
        for k, (z, source) in enumerate(zip(o.slices, o.sources, strict=True)):
            mask = labels[z] == o.id
            assert np.array_equal(mask, stack[z] == source)
            assert mask.sum() == o.areas[k]
            assert np.allclose(np.argwhere(mask).mean(0), o.centers[k])
            if k:
                before = labels[o.slices[k - 1]] == o.id
                iou = (mask & before).sum() / (mask | before).sum()
                assert iou == pytest.approx(o.ious[k - 1])
                inside = (mask & before).sum() / min(mask.sum(), before.sum())
                assert iou >= min_iou or (ends and inside >= 0.5)


@QUICK
@given(stacks, st.sampled_from([0.2, 0.5]))
def test_links_are_the_best_assignment_of_neighboring_slices(stack, min_iou):
    linked = link(stack, min_iou=min_iou, split=False, ends=False)
    for z in range(len(stack) - 1):
        masks = [[stack[y] == v for v in np.unique(stack[y]) if v] for y in (z, z + 1)]
        weights = np.array(
            [[(a & b).sum() / (a | b).sum() for b in masks[1]] for a in masks[0]]
        ).reshape(len(masks[0]), len(masks[1]))
        got = sum(
            o.ious[list(o.slices).index(z + 1) - 1]
            for o in linked.objects
            if {z, z + 1} <= set(o.slices.tolist())
        )
        assert got == pytest.approx(brute_matching(weights, min_iou)[0])


@QUICK
@given(stacks, st.integers(0, 1))
def test_a_reversed_stack_has_the_same_objects(stack, gap):
    # Above one half the best matching is the only one.
    there = link(stack, min_iou=0.51, gap=gap, split=False, ends=False).labels
    back = link(stack[::-1], min_iou=0.51, gap=gap, split=False, ends=False).labels[
        ::-1
    ]
    assert partition(there, stack) == partition(back, stack)


@QUICK
@given(stacks, st.integers(1, 3))
def test_the_smallest_extent_leaves_out_short_objects_only(stack, extent):
    whole = link(stack, min_iou=0.5)
    linked = link(stack, min_iou=0.5, min_extent=extent)
    kept = [o for o in whole.objects if o.slices[-1] - o.slices[0] + 1 >= extent]
    assert partition(linked.labels, stack) == partition(
        np.where(np.isin(whole.labels, [o.id for o in kept]), whole.labels, 0), stack
    )
    assert linked.labels.max(initial=0) == len(kept)


@QUICK
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=9),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    st.data(),
)
def test_objects_are_cut_at_waists_and_all_waists_are_cut(areas, waist, data):
    n = len(areas) - 1
    ious = data.draw(st.lists(st.floats(0.1, 1), min_size=n, max_size=n))
    cuts = find_waists(areas, ious, waist)

    def is_waist(part: list[int], i: int) -> bool:
        return part[i] < waist * min(max(part[:i]), max(part[i + 1 :]))

    for cut in cuts:  # the slice before or after the cut is smaller than both sides
        assert any(0 < i < n and is_waist(areas, i) for i in (cut - 1, cut))
    for start, stop in itertools.pairwise([0, *cuts, len(areas)]):
        part = areas[start:stop]
        assert part
        assert not any(is_waist(part, i) for i in range(1, len(part) - 1))


def test_nuclei_on_top_of_each_other_are_cut_at_the_waist():
    rows, cols = np.ogrid[:21, :21]
    distance = np.hypot(rows - 10, cols - 10)
    radii = [3, 6, 7, 6, 3.5, 6, 7, 5]
    stack = np.stack([distance <= r for r in radii]).astype(np.uint8)
    labels = link(stack, min_iou=0.2, waist=0.5).labels
    assert labels.max() == 2
    assert labels[3, 10, 10] == 1
    assert labels[5, 10, 10] == 2
    assert link(stack, min_iou=0.2, split=False).labels.max() == 1
    # What moves and divides along time is not cut.
    assert link(stack, min_iou=0.2, time=True).labels.max() == 1


@QUICK
@given(stacks)
def test_ends_link_only_what_is_left_on_both_sides(stack):
    linked = link(stack, min_iou=0.5, split=False)
    plain = link(stack, min_iou=0.5, split=False, ends=False)
    for o in plain.objects:  # what overlap links stays linked
        ids = {int(linked.labels[z][stack[z] == s][0])
               for z, s in zip(o.slices, o.sources, strict=True)}  # fmt: skip
        assert len(ids) == 1
    for z in range(len(stack) - 1):
        here = {o.id: o for o in linked.objects if o.slices[-1] == z}
        there = [o for o in linked.objects if o.slices[0] == z + 1]
        for a, b in itertools.product(here.values(), there):
            below, above = linked.labels[z] == a.id, linked.labels[z + 1] == b.id
            assert 2 * (below & above).sum() < min(below.sum(), above.sum())


def test_a_tapering_end_belongs_to_its_object_and_swallows_nobody():
    stack = np.zeros((3, 10, 20), np.uint8)
    stack[0, 1:9, 1:9] = 1
    stack[1, 4:6, 4:6] = 3  # the tip
    stack[:, 4:6, 15:17] = 2
    stack[1:, 1:9, 14:19] = 2  # grows as fast
    assert link(stack).labels.max() == 2
    assert link(stack, ends=False).labels.max() == 4


def test_a_gap_is_closed_only_where_asked():
    stack = np.zeros((4, 6, 6), np.uint16)
    stack[[0, 2, 3], 1:4, 1:4] = 7
    assert link(stack).labels.max() == 2
    linked = link(stack, gap=1)
    assert linked.labels.max() == 1
    assert not linked.labels[1].any()
    assert linked.objects[0].slices.tolist() == [0, 2, 3]


def test_a_division_ends_the_mother_and_an_object_beside_her_does_not():
    stack = np.zeros((4, 12, 24), np.uint8)
    stack[:2, 3:9, 2:12] = 5
    stack[2:, 3:9, 2:7] = 1  # the larger daughter is matched by overlap
    stack[2:, 3:9, 8:12] = 2
    stack[:, 3:9, 14:18] = 9
    stack[2:, 3:9, 19:23] = 8  # a new object
    linked = link(stack, time=True)
    labels = linked.labels
    mother, *daughters = labels[1, 5, 5], labels[2, 5, 4], labels[2, 5, 10]
    assert linked.graph == {int(d): (int(mother),) for d in daughters}
    assert len({int(mother), *map(int, daughters)}) == 3
    assert labels[0, 5, 15] == labels[3, 5, 15]
    events = linked.tracks.events()
    assert [(e.kind, e.frame) for e in events] == [("division", 1), ("appearance", 2)]
    assert events[0].daughters == tuple(sorted(map(int, daughters)))
    assert link(stack, time=True, divisions=False).graph == {}
    data, graph = linked.tracks.to_napari()
    assert data.shape == (len(linked.tracks.ids), 4)
    assert graph == {int(d): [int(mother)] for d in daughters}


def test_volumes_are_linked_through_time():
    stack = np.zeros((3, 4, 6, 6), np.uint16)
    for t in range(3):
        stack[t, 1:3, 1:4, t : t + 3] = t + 4
    linked = link(stack, time=True)
    assert np.array_equal(linked.labels, (stack > 0).astype(np.uint16))
    assert linked.tracks.positions[0].tolist() == [1.5, 2, 1]


def test_objects_and_their_ends_come_weakest_first():
    stack = np.zeros((5, 10, 20), np.uint8)
    stack[1:4, 1:9, 1:9] = 1
    stack[:, 1:9, 11:19] = 2
    stack[1, 1:3] = 0
    linked = link(stack)
    assert [o.id for o in linked.weakest_first()] == [2, 1]
    ends = linked.ends()
    assert [(e.id, e.slice, e.step) for e in ends] == [(2, 3, 1), (2, 1, -1)]
    assert ends[0].share == 1
    assert ends[1].share == 0.75


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_large_labels_and_full_types(dtype):
    high = min(np.iinfo(dtype).max, np.iinfo(np.int64).max)
    stack = np.full((2, 3, 4), high, dtype)
    stack[:, 0] = 0
    assert np.array_equal(link(stack).labels, (stack > 0).astype(dtype))
    found = Foreground.of(stack[0])
    assert found.values.tolist() == [high]
    assert found.measured(3).areas.tolist() == [8]


def test_ids_beyond_the_type_of_the_labels_get_a_larger_one():
    checker = np.arange(1, 201, dtype=np.uint8).reshape(10, 20)
    stack = [checker, np.zeros_like(checker), checker]
    linked = link(stack)
    assert linked.labels.dtype == np.uint16
    assert linked.labels.max() == 400


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros((4, 4), int), "not a stack"),
        (np.zeros((2, 3, 4, 4), int), "not a stack"),
        (np.zeros((2, 4, 4)), "float64"),
        (np.zeros((2, 4, 4), bool), "bool"),
        (np.zeros((1, 4, 4), int), "1 slice;"),
        (np.zeros((2, 0, 4), int), "no pixels"),
        ([], "not a stack"),
        (np.zeros((0, 4, 4), int), "0 slices"),
        ([np.zeros((4, 4), int), np.zeros((4, 5), int)], "Slice 1"),
        ([np.zeros((4, 4), int), np.full((4, 4), -3)], "slice 1 go down to -3"),
        ("labels.tif", "str"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_stack_is_refused_in_a_sentence(labels, said):
    with pytest.raises(LabelsError, match=said) as caught:
        link_objects(labels)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_iou": 0},
        {"min_iou": 1.5},
        {"min_iou": "much"},
        {"gap": -1},
        {"gap": 0.5},
        {"min_extent": 0},
        {"waist": 2},
        {"waist": float("nan")},
        {"split": 1},
        {"time": "t"},
    ],
)
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        LinkSettings(**wrong)


def test_the_public_call_reads_slices_of_any_array_and_tells_its_progress():
    da = pytest.importorskip("dask.array")
    zarr = pytest.importorskip("zarr")
    stack = np.zeros((4, 6, 8), np.uint16)
    for z in range(4):
        stack[z, 1:5, z : z + 4] = 9 - z
    stack.flags.writeable = False
    steps: list[int] = []
    labels = ns.link(stack, progress=lambda step: steps.append(step.done))
    assert steps == list(range(1, 9))
    assert np.array_equal(labels, (stack > 0).astype(np.uint16))
    stored = zarr.array(stack, chunks=(1, 6, 8))
    for other in (da.from_array(stack, chunks=(1, 6, 8)), stored, list(stack)):
        assert np.array_equal(ns.link(other), labels)
    mixed = [stack[0].astype(np.int64), stack[1].astype(np.uint64), *stack[2:]]
    assert ns.link(mixed).dtype == np.uint64
    with pytest.raises(SettingsError, match="LinkSettings"):
        ns.link_objects(stack, 0.5)


def test_it_yields_after_every_slice():
    stack = np.ones((5, 4, 4), np.uint8)
    steps = list(iter_link(stack))
    assert [s.done for s in steps] == list(range(1, 11))
    assert {s.total for s in steps} == {10}
