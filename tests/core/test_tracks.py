"""Tracks and their edits: labels and graph stay in step, whatever is done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam.core.volumes.tracks import Event, TrackEdit, Tracks
from napari_sam.errors import LabelsError, TracksError

FRAMES = 6
QUICK = settings(max_examples=80, deadline=None)

movies = arrays(np.uint16, (FRAMES, 2, 4), elements=st.integers(0, 4))


def same(a: Tracks, b: Tracks) -> bool:
    return (
        np.array_equal(a.ids, b.ids)
        and np.array_equal(a.frames, b.frames)
        and np.allclose(a.positions, b.positions)
        and a.graph == b.graph
    )


def is_sound(tracks: Tracks) -> bool:
    """Whether time goes on along every edge, so that there are no cycles."""
    spans = tracks.spans()
    return all(
        spans[parent][1] < spans[daughter][0]
        for daughter, parents in tracks.graph.items()
        for parent in parents
    )


def edits(tracks: Tracks, data: st.DataObject) -> TrackEdit:
    number = st.integers(1, 9)
    frame = st.integers(0, FRAMES)
    match data.draw(st.sampled_from(["split", "merge", "divide", "remove", "join"])):
        case "split":
            return tracks.split(data.draw(number), data.draw(frame))
        case "merge":
            return tracks.merge(data.draw(number), data.draw(number))
        case "divide":
            daughters = data.draw(st.sets(number, min_size=1, max_size=3))
            return tracks.with_division(
                data.draw(number), sorted(daughters), data.draw(frame)
            )
        case "remove":
            return tracks.without(data.draw(number))
        case _:
            return tracks.without_division(data.draw(number))


@QUICK
@given(movies, st.data())
def test_any_edits_keep_labels_and_tracks_in_step(labels, data):
    tracks = Tracks.from_labels(labels)
    for _ in range(8):
        before = tracks, labels.copy(), dict(tracks.graph)
        try:
            edit = edits(tracks, data)
        except TracksError:
            continue
        changed = edit.applied(labels)
        assert np.array_equal(labels, before[1])
        assert before[0].graph == before[2]
        assert same(edit.tracks, Tracks.from_labels(changed, edit.tracks.graph))
        assert is_sound(edit.tracks)
        tracks, labels = edit.tracks, changed


def movie() -> np.ndarray:
    """Return a track that goes on as one of its daughters, and two others."""
    labels = np.zeros((FRAMES, 4, 12), np.uint16)
    labels[:, :2, :4] = 1
    labels[3:, :2, 5:8] = 2
    labels[:3, 3, :4] = 3
    labels[4:, 3, :4] = 4
    return labels


def test_a_mother_that_goes_on_as_a_daughter_is_split():
    labels = movie()
    edit = Tracks.from_labels(labels).with_division(1, [1, 2], 3)
    assert edit.tracks.graph == {2: (1,), 5: (1,)}
    assert edit.tracks.spans()[1] == (0, 2)
    after = edit.applied(labels)
    assert np.unique(after[3:, :2]).tolist() == [0, 2, 5]
    assert edit.tracks.daughters(1) == (2, 5)
    events = edit.tracks.events()
    assert events == [
        Event("division", 1, 2, (2, 5)),
        Event("disappearance", 3, 2),
        Event("appearance", 4, 4),
    ]
    taken_back = edit.tracks.without_division(1).tracks.merge(1, 5)
    assert taken_back.tracks.graph == {}
    assert np.array_equal(taken_back.applied(after), labels)


def test_splitting_and_merging_are_inverse():
    labels = movie()
    tracks = Tracks.from_labels(labels, {2: [3]})
    split = tracks.split(1, 2)
    merged = split.tracks.merge(1, 5)
    assert same(merged.tracks, tracks)
    assert np.array_equal(merged.applied(split.applied(labels)), labels)
    # A gap of one frame is bridged.
    joined = Tracks.from_labels(labels).merge(3, 4)
    assert joined.tracks.spans()[3] == (0, 5)


def test_daughters_go_with_the_later_part_of_a_split_mother():
    labels = movie()
    tracks = Tracks.from_labels(labels, {2: [3], 4: [3]}).split(3, 1, 9).tracks
    assert tracks.graph == {2: (9,), 4: (9,)}
    assert tracks.without(9).tracks.graph == {}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t.split(1, 0), "frame 0 to 5 and cannot be split at 0"),
        (lambda t: t.split(7, 2), "no track 7"),
        (lambda t: t.split(1, 2, 4), "4 is taken"),
        (lambda t: t.merge(1, 2), "before track 1 ends in frame 5"),
        (lambda t: t.merge(3, 3), "before track 3 ends"),
        (lambda t: t.split(1, 2).tracks.merge(3, 5), "Track 5 begins in frame 2"),
        (lambda t: t.with_division(3, [2], 3), "needs two daughters"),
        (lambda t: t.with_division(1, [2, 4], 3), "goes on to frame 5"),
        (lambda t: t.with_division(2, [1, 4], 3), "not there before frame 3"),
        (lambda t: t.with_division(1, [1, 3], 3), "Track 3 is not in frame 3"),
        (
            lambda t: t.with_division(3, [2, 4], 3).tracks.with_division(3, [2, 1], 3),
            "divides already",
        ),
        (
            lambda t: t.with_division(3, [2, 4], 3).tracks.merge(3, 4),
            "divides after frame 2",
        ),
        (lambda t: t.without(8), "no track 8"),
        (lambda t: t._with_graph({2: (8,)}), "names the track 8"),
        (lambda t: t._with_graph({1: (3,)}), "after her mother has ended"),
        (lambda t: t._with_graph({4: (4,)}), "after her mother has ended"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(edit, said):
    with pytest.raises(TracksError, match=said) as caught:
        edit(Tracks.from_labels(movie()))
    assert str(caught.value).endswith(".")


def test_values_that_are_no_tracks_are_refused():
    position = np.zeros((2, 2))
    with pytest.raises(TracksError, match="twice in frame 4"):
        Tracks(np.array([3, 3]), np.array([4, 4]), position)
    with pytest.raises(TracksError, match="count ids from 1"):
        Tracks(np.array([0, 3]), np.array([4, 4]), position)
    with pytest.raises(TracksError, match="1 frames"):
        Tracks(np.array([1, 3]), np.array([4]), position)
    with pytest.raises(LabelsError, match="not a stack"):
        Tracks.from_labels(np.zeros((3, 3), int))
    edit = Tracks.from_labels(np.full((2, 1, 1), 255, np.uint8)).split(255, 1)
    with pytest.raises(TracksError, match="256 does not fit"):
        edit.applied(np.full((2, 1, 1), 255, np.uint8))


def test_napari_draws_them():
    layers = pytest.importorskip("napari.layers")
    edit = Tracks.from_labels(movie()).with_division(1, [1, 2], 3)
    data, graph = edit.tracks.to_napari()
    layer = layers.Tracks(data, graph=graph)
    assert layer.graph == {2: [1], 5: [1]}
    assert np.array_equal(layer.data, data)
