"""Lineage as a value: kept, changed and taken back, and brought through linking."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.annotation.journal import Journal, read_journal
from napari_sam.core.annotation.lineage import Descent, Lineage
from napari_sam.core.annotation.records import ObjectRecords
from napari_sam.core.annotation.transaction import Transaction
from napari_sam.core.steps import finish
from napari_sam.core.volumes.linked import Linked, LinkSettings
from napari_sam.core.volumes.linking import iter_link
from napari_sam.core.volumes.marked import MarkedDivisions
from napari_sam.core.volumes.tracks import Tracks

NUMBERS = st.integers(1, 6)
DESCENTS = st.builds(
    Descent, st.integers(0, 6), st.booleans(), st.none() | st.integers(1, 6)
)
LINEAGES = st.builds(
    Lineage, st.booleans(), st.dictionaries(NUMBERS, DESCENTS, max_size=5)
)


@settings(deadline=None)
@given(LINEAGES)
def test_plain_values_give_it_back(lineage: Lineage) -> None:
    plain = json.loads(json.dumps(lineage.to_json()))
    assert Lineage.from_json(plain) == lineage
    records = ObjectRecords({"objects": {}, "lineage": plain})
    assert records.lineage == lineage
    assert records.to_json().get("lineage", {}) == plain


@settings(deadline=None)
@given(LINEAGES, LINEAGES)
def test_a_change_and_its_inverse_are_nothing(one: Lineage, other: Lineage) -> None:
    assert one.changed(one, other) == other
    assert one.changed(one, other).changed(other, one) == one


def test_what_others_wrote_is_passed_over() -> None:
    for damaged in (
        None, [], {"daughters": []}, {"daughters": {"a": {"mother": 1}}},
        {"daughters": {"2": None, "3": {"mother": -1}, "4": {}, "5": {"mother": "x"}}},
    ):  # fmt: skip
        assert Lineage.from_json(damaged).descents == {}
    # Records of before know of none.
    assert ObjectRecords({"version": 3, "objects": {}}).lineage == Lineage()


def test_a_journal_has_it_and_journals_of_before_are_read(tmp_path) -> None:
    journal = Journal(tmp_path)
    known = Lineage(time=True, descents={9: Descent(7, marked=True, was=7)})
    journal.append(Transaction((), ()))
    journal.append(Transaction((), (), lineage=(Lineage(), known)))
    journal.append(Transaction((), (), lineage=(known, Lineage())))
    journal.close()
    without, marked, back = read_journal(tmp_path, 0)
    assert without.lineage is None
    assert Lineage.from_json(marked.lineage) == known
    assert Lineage.from_json(back.lineage) == Lineage()


def movie(*frames: list[int]) -> np.ndarray:
    """Return frames (T, 1, 8) of the labels in them."""
    return np.array(frames, np.uint8)[:, None]


def linked(labels: np.ndarray, marked: MarkedDivisions, **settings: object) -> Linked:
    return finish(iter_link(labels, LinkSettings(time=True, **settings), marked=marked))


APART = movie(
    [7, 7, 7, 0, 0, 0, 0, 0],
    [7, 7, 7, 0, 0, 0, 0, 0],
    [4, 4, 4, 0, 9, 0, 0, 5],
    [4, 4, 4, 0, 9, 0, 0, 5],
)


def test_marked_divisions_cut_and_bind_whatever_overlaps() -> None:
    marked = MarkedDivisions({(2, 9): (1, 7), (2, 5): (1, 7)})
    found = linked(APART, marked, divisions=False)
    labels = found.labels[:, 0]
    assert labels[1, 0] != labels[2, 0]
    assert labels[2, 4] == labels[3, 4]
    assert found.graph == {
        int(labels[2, 4]): (int(labels[0, 0]),),
        int(labels[2, 7]): (int(labels[0, 0]),),
    }
    # Nothing is there to be marked: the others are linked as ever.
    other = linked(APART, MarkedDivisions({(9, 9): (8, 7)}))
    assert other.graph == {}
    assert len({*other.labels[:, 0, 0]}) == 1


def test_marked_divisions_hold_over_gaps() -> None:
    labels = APART.copy()
    labels[2, 0, 4:] = 0
    marked = MarkedDivisions({(3, 9): (1, 7), (3, 5): (1, 7)})
    found = linked(labels, marked, gap=2)
    ids = found.labels[:, 0]
    assert ids[1, 0] != ids[2, 0]
    assert set(found.graph) == {int(ids[3, 4]), int(ids[3, 7])}


def test_nobodys_daughter_is_proposed_to_nobody() -> None:
    labels = movie([7, 7, 7, 7, 7, 0, 0, 0], [4, 4, 0, 9, 9, 0, 0, 0])
    assert len(linked(labels, MarkedDivisions()).graph) == 2
    for orphan in ((1, 4), (1, 9)):
        found = linked(labels, MarkedDivisions(orphans=frozenset([orphan])))
        assert found.graph == {}
        # She goes on all the same.
        assert found.labels[0, 0, 0] in found.labels[1, 0]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.integers(0, 4), min_size=8, max_size=8), min_size=2, max_size=5
    ),
    st.data(),
)
def test_what_was_marked_is_there_after_linking_again(
    frames: list[list[int]], data: st.DataObject
) -> None:
    labels = movie(*frames)
    spans = Tracks.from_labels(labels).spans()
    pairs = [
        (mother, daughter)
        for mother in spans
        for daughter in spans
        if spans[mother][1] < spans[daughter][0]
    ]
    chosen = data.draw(
        st.lists(st.sampled_from(pairs), max_size=3) if pairs else st.just([])
    )
    lineage = Lineage(True, {d: Descent(m, marked=True, was=m) for m, d in chosen})
    found = linked(labels, lineage.marked(spans))
    numbers = {
        (int(t), int(s)): one.id
        for one in found.objects
        for t, s in zip(one.slices, one.sources, strict=True)
    }
    again = lineage.relinked(spans, numbers, found.graph)
    assert again.graph == found.graph
    # The graph fits the labels, with the marked divisions among it.
    Tracks.from_labels(found.labels, again.graph)
    for daughter, own in lineage.descents.items():
        number = numbers[spans[daughter][0], daughter]
        mother = numbers[spans[own.mother][1], own.mother]
        assert again.descents[number] == Descent(mother, marked=True, was=mother)
    assert again.fitting(Tracks.from_labels(found.labels).spans()) == again
