"""Divisions as records: undone, saved, restored, linked again, taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Labels, Tracks

from napari_sam.core.annotation.lineage import Descent, Lineage
from napari_sam.core.annotation.records import METADATA_KEY, ObjectRecords
from napari_sam.core.annotation.transaction import PixelChange, Transaction
from napari_sam.io.label_files import read_records
from napari_sam.io.napari_files import write_labels_layer
from napari_sam.viewer.labels.target import LabelsTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk import Desk, PumpedRunner

    OpenDesk = Callable[..., Desk]

MOTHER, OTHER, LATE = (12, 14), (12, 24), (25, 7)
TIME = {"axis_labels": ("t", "y", "x")}


@pytest.fixture
def dividing() -> np.ndarray:
    """Return a cell 7 that goes on beside a new one, 9, and an unconcerned one, 3."""
    labels = np.zeros((6, 30, 40), np.uint16)
    labels[:3, 10:18, 10:28] = 7
    labels[3:, 10:18, 10:18] = 7
    labels[3:, 10:18, 20:28] = 9
    labels[:, 22:28, 5:10] = 3
    return labels


def opened(open_desk: OpenDesk, labels: np.ndarray) -> Desk:
    desk = open_desk(np.zeros(labels.shape, np.uint8), layer=TIME)
    desk.controller.new_labels()
    where = np.nonzero(labels)
    desk.labels.data_setitem(where, labels[where])
    return desk


def mark(desk: Desk, frame: int, row: float, column: float) -> str:
    desk.viewer.dims.set_point(0, frame)
    desk.viewer.cursor.position = desk.world(row, column)
    desk.controller.propagation.divisions.mark()
    return desk.controller.status


def pick(desk: Desk, label: int) -> None:
    desk.annotator.select_object(label)


def pick_nothing(desk: Desk) -> None:
    desk.controller.discard()
    assert desk.annotator.draft.label is None


def layers(desk: Desk) -> list[Tracks]:
    return [layer for layer in desk.viewer.layers if isinstance(layer, Tracks)]


def graph(desk: Desk) -> dict[int, list[int]]:
    """Return that of the Tracks layer."""
    (layer,) = layers(desk)
    return {int(d): [int(m) for m in own] for d, own in layer.graph.items()}


def lineage(desk: Desk) -> Lineage:
    return desk.controller.context.records.lineage


# -- linking again -----------------------------------------------------------------


def test_linking_again_keeps_what_was_marked_and_an_undo_brings_all_back(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    # The daughters are so far off that no overlap would say so.
    dividing[3:] = 0
    dividing[3:, 2:6, 2:8] = 5
    dividing[3:, 24:28, 30:36] = 9
    dividing[3:, 10:18, 10:28] = 4
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    mark(desk, 3, 4, 4)
    assert "divides into 5 and 9" in mark(desk, 3, 26, 32)
    # 3 of them have other numbers in one of the frames.
    desk.labels.data_setitem(np.nonzero(desk.labels.data == 9), 20)
    desk.controller.undo()
    swapped = np.nonzero((desk.labels.data == 9) & (np.arange(6) > 3)[:, None, None])
    desk.labels.data_setitem(swapped, 21)
    before, known = desk.labels.data.copy(), lineage(desk)
    desk.controller.propagation.link()
    data = desk.labels.data
    assert (data[3:, 26, 32] == 9).all()
    # Who lies where she was is not she.
    assert data[2, 12, 12] == 7
    assert data[3, 12, 12] != 7
    assert graph(desk) == {5: [7], 9: [7]}
    assert lineage(desk).descents[9] == Descent(7, marked=True)
    desk.controller.undo()
    assert np.array_equal(data, before)
    assert lineage(desk) == known
    assert graph(desk) == {5: [7], 9: [7]}
    assert "before linking" in desk.controller.status
    desk.controller.redo()
    assert (data[3:, 26, 32] == 9).all()
    assert graph(desk) == {5: [7], 9: [7]}
    assert "linked objects again" in desk.controller.status


def test_a_proposal_that_was_taken_back_is_not_made_again(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    desk = opened(open_desk, dividing)
    desk.controller.propagation.link()
    daughters = graph(desk)
    assert len(daughters) == 2
    assert "does not divide" in mark(desk, 3, *OTHER)
    assert graph(desk) == {}
    desk.controller.propagation.link()
    assert graph(desk) == {}
    # She goes on as one of them.
    assert desk.labels.data[2, 12, 12] in desk.labels.data[3, 12, [14, 24]]
    desk.controller.undo()
    desk.controller.undo()
    assert graph(desk) == daughters


# -- undo, redo, journal, project --------------------------------------------------


def test_a_division_without_other_numbers_is_a_step_too(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    dividing[3:, 10:18, 10:18] = 5
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    mark(desk, 3, *MOTHER)
    assert "divides into 5 and 9 in frame 3" in mark(desk, 3, *OTHER)
    assert desk.controller.status.endswith("Ctrl+Z takes that back.")
    desk.controller.undo()
    assert np.array_equal(desk.labels.data, dividing)
    assert graph(desk) == {}
    assert desk.controller.status.startswith("Object 7 does not divide.")
    desk.controller.redo()
    assert graph(desk) == {5: [7], 9: [7]}
    assert "divides into 5 and 9" in desk.controller.status
    # napari's own undo knows of pixels only, and takes it back with those before it.
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert lineage(desk).graph == {}
    desk.labels.redo()
    desk.controller.redo()
    assert np.array_equal(desk.labels.data, dividing)
    assert graph(desk) == {5: [7], 9: [7]}


@pytest.mark.parametrize("way", ["killed", "saved", "saved, then killed"])
def test_tracks_and_divisions_are_there_tomorrow(
    open_desk: OpenDesk, dividing: np.ndarray, tmp_path: Path, way: str
) -> None:
    desk = opened(open_desk, dividing)
    session, path = desk.controller.projects, tmp_path / "cells.napari-sam"
    if way == "saved, then killed":
        session.save_as(path)
    pick(desk, 7)
    mark(desk, 3, *OTHER)
    if way == "saved":
        session.save_as(path)
    if way == "saved, then killed":
        session.save()
        mark(desk, 3, *OTHER)
        assert lineage(desk).graph == {}
        desk.controller.undo()
    known, data = lineage(desk), desk.labels.data.copy()
    assert known.graph == {9: (7,), 10: (7,)}
    if way == "saved":
        desk.controller.close()
    else:
        session._connections.clear()
        session.folder.close(finished=False)
        session.folder = None
    again = open_desk(np.zeros(dividing.shape, np.uint8), layer=TIME)
    if way != "killed":
        again.controller.projects.open(path)
    else:
        (kept,) = again.controller.projects.recoverable
        again.controller.projects.restore(kept)
    assert np.array_equal(again.labels.data, data)
    assert lineage(again) == known
    assert graph(again) == {9: [7], 10: [7]}
    # And it can be taken back as on the day before.
    assert "7 is whole again" in mark(again, 3, *OTHER)
    assert np.array_equal(again.labels.data, dividing)


def test_what_is_in_the_labels_alone_comes_with_them(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    mark(desk, 3, *OTHER)
    (shown,) = layers(desk)
    copied = Labels(desk.labels.data.copy(), metadata=dict(desk.labels.metadata))
    first = desk.labels
    desk.viewer.add_layer(copied)
    desk.controller.choose_labels(copied)
    assert lineage(desk).graph == {9: (7,), 10: (7,)}
    assert len(layers(desk)) == 2
    # Chosen again, labels have the layer that they had.
    desk.controller.choose_labels(first)
    assert len(layers(desk)) == 2
    assert desk.controller.propagation.tracks.layer is shown


@pytest.mark.parametrize("name", ["cells.tif", "cells.ome.zarr"])
def test_label_files_have_it(tmp_path: Path, name: str) -> None:
    known = Lineage(time=True, descents={2: Descent(1, marked=True)})
    records = ObjectRecords()
    records.lineage = known
    data = np.zeros((3, 8, 8), np.uint8)
    data[0, 2:5, 2:5], data[1:, 2:5, 2:5] = 1, 2
    meta = {"name": "cells", "metadata": {METADATA_KEY: records.to_json()}}
    (path,) = write_labels_layer(str(tmp_path / name), data, meta)
    stored = read_records(Path(path))
    assert ObjectRecords(stored).lineage == known


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_redo_that_takes_a_stroke_back_is_no_undo_of_the_stroke(
    by_hand: bool,
) -> None:
    layer = Labels(np.zeros((4, 8), np.uint8))
    target = LabelsTarget(layer)
    said: list[str] = []
    target.undone.connect(lambda _: said.append("undone"))
    target.redone.connect(lambda _: said.append("redone"))
    layer.data_setitem((np.array([0]), np.array([0])), 5)
    whole = np.ones((4, 8), bool)
    after = np.full(32, 7, np.uint8)
    after[0] = 0
    before = layer.data[whole]
    mask = before != after
    change = PixelChange((0, 0), mask.reshape(4, 8), before[mask], after[mask])
    target.apply(Transaction((change,), (), (6, 8)))
    target.undo()
    layer.redo() if by_hand else target.redo()
    assert said == ["undone", "redone"]
    target.undo()
    assert layer.data[0, 0] == 5
    target.close()


# -- taking back -------------------------------------------------------------------


@pytest.mark.parametrize("picked", ["nothing", "mother", "daughter"])
@pytest.mark.parametrize("at", [MOTHER, OTHER])
def test_marked_again_the_tracks_are_as_before(
    open_desk: OpenDesk, dividing: np.ndarray, picked: str, at: tuple[int, int]
) -> None:
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    mark(desk, 3, *OTHER)
    divided = desk.labels.data.copy()
    assert (divided[3:, 14, 14] == 10).all()
    pick_nothing(desk)
    if picked != "nothing":
        pick(desk, 7 if picked == "mother" else int(divided[3, *at]))
    said = mark(desk, 4, *at)
    assert "Object 7 does not divide: 7 is whole again." in said
    assert np.array_equal(desk.labels.data, dividing)
    assert lineage(desk).graph == {}
    assert graph(desk) == {}
    desk.controller.undo()
    assert np.array_equal(desk.labels.data, divided)
    assert graph(desk) == {9: [7], 10: [7]}
    assert "Object 7 divides again." in desk.controller.status


# -- what is refused or said -------------------------------------------------------


def test_the_mother_is_not_her_own_daughter(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    for frame in (0, 2, 4):
        assert "Object 7 is the mother" in mark(desk, frame, *MOTHER)
    assert lineage(desk) == Lineage()


def test_a_track_is_not_cut_without_a_word(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    said = mark(desk, 3, *LATE)
    assert "Object 3 is there since frame 0: press Shift+U again to cut it" in said
    assert np.array_equal(desk.labels.data, dividing)
    # Another press elsewhere means something else.
    assert "3 is there since frame 0" in mark(desk, 4, *LATE)
    said = mark(desk, 4, *LATE)
    assert "divides into 10 and 11 in frame 4; 3 ends in frame 3" in said
    assert (desk.labels.data[:4, 25, 7] == 3).all()
    assert (desk.labels.data[4:, 25, 7] == 10).all()
    # Taken back, both go on under their numbers.
    assert "3 and 7 are whole again" in mark(desk, 5, *LATE)
    assert np.array_equal(desk.labels.data, dividing)


def test_a_gap_between_mother_and_daughters_is_said(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    dividing[1:, 10:18, 10:18] = 0
    dividing[1:3, 10:18, 18:28] = 0
    dividing[3:, 10:18, 10:18] = 8
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    said = mark(desk, 3, *OTHER)
    assert "from frame 3 on, 2 frames after she is last seen" in said
    assert said.endswith("Shift+U on the other one.")
    said = mark(desk, 3, *MOTHER)
    assert "divides into 8 and 9 in frame 3, 2 frames after she is last seen" in said
    assert graph(desk) == {8: [7], 9: [7]}
    desk.controller.propagation.link()
    assert graph(desk) == {8: [7], 9: [7]}


def test_daughters_may_begin_in_different_frames(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    dividing[3:, 10:18, 10:18] = 8
    dividing[3, 10:18, 10:18] = 0
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    mark(desk, 3, *OTHER)
    assert "divides into 8 and 9 in frame 3" in mark(desk, 4, *MOTHER)
    assert graph(desk) == {8: [7], 9: [7]}


# -- the layer ---------------------------------------------------------------------


def test_a_fresh_link_makes_the_layer_that_the_user_has_deleted(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    desk = opened(open_desk, dividing)
    for seen_gone in (False, True):
        desk.controller.propagation.link()
        (layer,) = layers(desk)
        desk.viewer.layers.remove(layer)
        if seen_gone:
            desk.controller.undo()
            desk.controller.redo()
            assert layers(desk) == []
        desk.controller.propagation.link()
        assert len(layers(desk)) == 1
    desk.viewer.layers.remove(layers(desk)[0])
    pick_nothing(desk)
    mark(desk, 3, *OTHER)
    assert len(layers(desk)) == 1


def test_labels_without_objects_have_no_tracks(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    desk = opened(open_desk, dividing)
    desk.controller.propagation.link()
    (layer,) = layers(desk)
    layer.tail_width = 7
    shown = layer.data.copy(), graph(desk)
    active = desk.viewer.layers.selection.active
    desk.controller.undo()
    desk.controller.undo()
    assert not desk.labels.data.any()
    assert layers(desk) == []
    desk.controller.redo()
    desk.controller.redo()
    assert layers(desk) == [layer]
    assert layer.tail_width == 7
    assert np.array_equal(layer.data, shown[0])
    assert graph(desk) == shown[1]
    assert desk.viewer.layers.selection.active is active


def test_erased_daughters_are_none_until_they_come_back(
    open_desk: OpenDesk, dividing: np.ndarray
) -> None:
    desk = opened(open_desk, dividing)
    pick(desk, 7)
    mark(desk, 3, *OTHER)
    desk.labels.data_setitem(np.nonzero(desk.labels.data == 9), 0)
    # napari tells of a stroke before it writes it; the view looks at it later.
    desk.controller.propagation.tracks.show_of(desk.controller.context.target)
    assert graph(desk) == {10: [7]}
    desk.controller.undo()
    assert graph(desk) == {9: [7], 10: [7]}


# -- any order ---------------------------------------------------------------------

_ACTS = st.sampled_from(["pixels", "both", "daughter", "undo", "redo", "napari"])


@settings(deadline=None)
@given(st.lists(st.tuples(_ACTS, st.integers(1, 4)), max_size=14))
def test_labels_and_daughters_go_one_way_in_any_order(
    acts: list[tuple[str, int]],
) -> None:
    layer = Labels(np.zeros((2, 4), np.uint8))
    target = LabelsTarget(layer)
    told: list[Lineage] = []
    target.applied.connect(
        lambda t: None if t.lineage is None else told.append(t.lineage[1])
    )
    done, undone = [(layer.data.copy(), Lineage())], []

    def is_pixels(step: int) -> bool:
        return not np.array_equal(done[step][0], done[step - 1][0])

    for number, (act, which) in enumerate(acts, 1):
        if act in ("undo", "redo"):
            getattr(target, act)()
            start, stop = (done, undone) if act == "undo" else (undone, done)
            if len(start) > (act == "undo"):
                stop.append(start.pop())
        elif act == "napari":
            # The newest change of pixels, and all daughters since.
            layer.undo()
            pixels = [n for n in range(1, len(done)) if is_pixels(n)]
            left = pixels[-1] if pixels else len(done)
            undone += done[left:][::-1]
            del done[left:]
        else:
            pixels, lineages = (), None
            if act != "daughter":
                at = np.zeros((2, 4), bool)
                at[0, which - 1] = True
                before = layer.data[at]
                pixels = (PixelChange((0, 0), at, before, before + np.uint8(number)),)
            if act != "pixels":
                now = target.records.lineage
                own = {**now.descents, which: Descent(number, marked=True)}
                lineages = (now, Lineage(True, own))
            target.apply(Transaction(pixels, (), (1, 1), None, lineages))
            done.append((layer.data.copy(), target.records.lineage))
            if pixels or not undone:
                undone.clear()
            else:
                # What napari can still redo is another matter.
                return
        labels, known = done[-1]
        assert np.array_equal(layer.data, labels)
        assert target.records.lineage.descents == known.descents
        assert (told[-1] if told else Lineage()) == target.records.lineage
    target.close()


def test_why_nothing_divides(open_desk: OpenDesk, dividing: np.ndarray) -> None:
    volume = open_desk(np.zeros((2, *dividing.shape), np.uint8))
    volume.controller.new_labels()
    volume.controller.propagation.divisions.mark()
    assert "labels with the axes t, y, x" in volume.controller.status
    desk = opened(open_desk, dividing)
    pick(desk, 9)
    # Picked, and gone since.
    desk.labels.data_setitem(np.nonzero(dividing == 9), 0)
    before = desk.labels.data.copy()
    said = mark(desk, 3, *MOTHER)
    assert said == "Object 9, the mother, is in no frame: pick another with J."
    assert np.array_equal(desk.labels.data, before)
    assert not desk.controller.context.records.lineage.descents


def test_marked_in_labels_that_are_left_meanwhile_changes_none(
    open_desk: OpenDesk, dividing: np.ndarray, pumped: PumpedRunner
) -> None:
    desk = open_desk(np.zeros(dividing.shape, np.uint8), layer=TIME, runner=pumped)
    desk.controller.new_labels()
    where = np.nonzero(dividing)
    desk.labels.data_setitem(where, dividing[where])
    pumped.pump(lambda: not pumped.is_busy())
    labels = desk.labels
    pick(desk, 7)
    mark(desk, 3, *OTHER)
    desk.controller.new_labels()
    pumped.pump(lambda: not pumped.is_busy())
    pumped.drain()
    assert np.array_equal(labels.data, dividing)
    assert METADATA_KEY not in labels.metadata or not (
        ObjectRecords(labels.metadata[METADATA_KEY]).lineage.descents
    )
    assert not desk.labels.data.any()
