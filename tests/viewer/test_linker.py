"""Labels of single slices that get one number: pixels, records, tracks, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Tracks

from napari_sam.core.volumes.linked import LinkedObject
from napari_sam.errors import LabelsError
from napari_sam.viewer.volumes.events import EVENTS_SLOT
from napari_sam.viewer.volumes.linker import numbered, said_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk import Desk, PumpedRunner

    OpenDesk = Callable[..., Desk]


@pytest.fixture
def sliced() -> np.ndarray:
    """Return labels of two objects in five slices, numbered in each for itself."""
    labels = np.zeros((5, 30, 40), np.uint16)
    for z in range(5):
        labels[z, 4:14, 4:14] = 2 * z + 1
        labels[z, 18:26, 20 + z : 32 + z] = 2 * z + 2
    return labels


def open_labels(open_desk: OpenDesk, labels: np.ndarray, **how: object) -> Desk:
    desk = open_desk(np.zeros(labels.shape, np.uint8), **how)
    desk.controller.new_labels()
    where = np.nonzero(labels)
    desk.labels.data_setitem(where, labels[where])
    return desk


def test_one_number_through_the_stack_as_one_step(
    open_desk: OpenDesk, sliced: np.ndarray
) -> None:
    desk = open_labels(open_desk, sliced)
    desk.controller.propagation.link()
    assert "2 objects, 2 of them on several slices" in desk.controller.status
    data = desk.labels.data
    assert np.array_equal(data > 0, sliced > 0)
    assert np.unique(data).tolist() == [0, 1, 2]
    assert (data[:, 8, 8] == 1).all()
    desk.controller.undo()
    assert np.array_equal(desk.labels.data, sliced)
    desk.controller.redo()
    assert np.unique(desk.labels.data).tolist() == [0, 1, 2]
    linked = desk.labels.data.copy()
    desk.controller.propagation.link()
    assert "linked already" in desk.controller.status
    assert np.array_equal(desk.labels.data, linked)
    # Nothing is given twice.
    assert desk.controller.context.target.next_label == 11


def test_records_and_their_prompts_come_with_the_masks(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(np.stack([coins, coins]))
    for z in (0, 1):
        desk.viewer.dims.set_point(0, z)
        desk.click(99, 87)
        desk.accept()
    records = desk.controller.context.records
    assert {record.label for record in records} == {1, 2}
    before = {label: records.get(label) for label in (1, 2)}
    desk.controller.propagation.link()
    assert np.unique(desk.labels.data).tolist() == [0, 1]
    one = records.get(1)
    assert {m.plane.index[0] for m in one.masks} == {0, 1}
    assert len(one.items.points) == 2
    assert records.get(2) is None
    desk.controller.undo()
    assert records.get(1) == before[1]
    assert records.get(2) == before[2]


def test_other_planes_keep_their_numbers(
    open_desk: OpenDesk, sliced: np.ndarray
) -> None:
    labels = np.stack([sliced, sliced])
    desk = open_labels(open_desk, labels)
    desk.viewer.dims.set_point(0, 1)
    desk.viewer.dims.last_used = 1
    desk.viewer.dims.set_point(1, 3)
    desk.controller.propagation.link()
    assert np.array_equal(desk.labels.data[0], sliced)
    assert np.unique(desk.labels.data[1]).tolist() == [0, 1, 2]


def test_in_time_there_are_tracks_and_they_keep_step(
    open_desk: OpenDesk, sliced: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_labels(
        open_desk, sliced, layer={"axis_labels": ("t", "y", "x"), "scale": (1, 2, 2)}
    )
    desk.controller.propagation.link()
    assert "2 tracks" in desk.controller.status
    (layer,) = (x for x in desk.viewer.layers if isinstance(x, Tracks))
    assert sorted(set(layer.data[:, 0])) == [1, 2]
    assert len(layer.data) == 10
    assert np.array_equal(layer.scale, (1, 2, 2))
    # The selection is the user's.
    assert desk.viewer.layers.selection.active is not layer
    desk.controller.undo()
    assert len(set(layer.data[:, 0])) == 10
    desk.controller.redo()
    assert len(set(layer.data[:, 0])) == 2
    desk.viewer.layers.remove(layer)
    desk.controller.undo()
    assert not any(isinstance(x, Tracks) for x in desk.viewer.layers)


def test_a_division_is_in_the_graph(open_desk: OpenDesk) -> None:
    labels = np.zeros((4, 30, 40), np.uint16)
    labels[:2, 10:18, 10:28] = 7
    labels[2:, 10:18, 10:18] = 7
    labels[2:, 10:18, 20:28] = 9
    desk = open_labels(open_desk, labels, layer={"axis_labels": ("t", "y", "x")})
    desk.controller.propagation.link()
    (layer,) = (x for x in desk.viewer.layers if isinstance(x, Tracks))
    (mother,) = {m for mothers in layer.graph.values() for m in mothers}
    assert len(layer.graph) == 2
    assert (desk.labels.data[:2, 12, 12] == mother).all()


def test_a_change_meanwhile_stops_it_and_cancel_changes_nothing(
    open_desk: OpenDesk, sliced: np.ndarray, pumped: PumpedRunner
) -> None:
    desk = open_labels(open_desk, sliced, runner=pumped)
    follower = desk.controller.propagation
    follower.link()
    assert desk.controller.task_status.can_cancel
    desk.labels.data_setitem((np.array([0]), np.array([0]), np.array([0])), 50)
    assert not follower.is_running
    assert "link them again" in desk.controller.status
    pumped.drain()
    assert desk.labels.data[4, 8, 8] == 9
    follower.link()
    desk.controller.cancel()
    pumped.drain()
    assert desk.labels.data[4, 8, 8] == 9
    follower.link()
    pumped.pump(lambda: not follower.is_running)
    assert desk.labels.data[4, 8, 8] == 1


def test_linked_objects_grow_as_one_step(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(np.stack([coins] * 4))
    for z in (1, 2):
        desk.viewer.dims.set_point(0, z)
        desk.click(99, 87)
        desk.accept()
    before = desk.labels.data.copy()
    follower = desk.controller.propagation
    follower.grow = True
    follower.link()
    assert "1 have grown into 2 more" in desk.controller.status
    data = desk.labels.data
    assert np.unique(data).tolist() == [0, 1]
    assert np.array_equal(data[1:3] > 0, before[1:3] > 0)
    for z in (0, 3):
        both = (data[z] > 0) & (data[1] > 0)
        assert both.sum() > 0.8 * ((data[z] > 0) | (data[1] > 0)).sum()
    record = desk.controller.context.records.get(1)
    seen = {m.plane.index[0]: m.confirmed for m in record.masks}
    assert seen == {0: False, 1: True, 2: True, 3: False}
    desk.controller.undo()
    assert np.array_equal(desk.labels.data, before)
    assert desk.controller.context.records.get(2) is not None
    desk.controller.redo()
    assert np.array_equal(desk.labels.data, data)
    # What nobody has accepted of it can be rejected.
    desk.controller.toggle_review()
    desk.controller.reject()
    assert np.array_equal(desk.labels.data > 0, before > 0)


def test_why_nothing_is_linked(open_desk: OpenDesk, coins: np.ndarray) -> None:
    desk = open_desk(np.stack([coins, coins]))
    desk.controller.propagation.link()
    assert "no labels" in desk.controller.status
    single = open_desk(coins)
    single.controller.propagation.link()
    assert "one slice only" in single.controller.status


SOURCES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), max_size=8)


def linked_of(sources: list[list[int]]) -> list[LinkedObject]:
    nothing = np.zeros(0)
    return [
        LinkedObject(i, np.arange(len(own)), np.array(own), nothing, nothing, nothing)
        for i, own in enumerate(sources, 1)
    ]


@given(SOURCES, st.frozensets(st.integers(1, 9)))
def test_numbers_that_a_person_accepted_are_kept(
    sources: list[list[int]], accepted: frozenset[int]
) -> None:
    numbers = numbered(linked_of(sources), 10, accepted)
    assert len(set(numbers.values())) == len(numbers) == len(sources)
    for i, own in enumerate(sources, 1):
        # It has an accepted number, or others that have more right to them do.
        if numbers[i] not in accepted:
            for number in accepted & set(own):
                other = next(j for j, n in numbers.items() if n == number)
                assert sources[other - 1].count(number) >= own.count(number)


def test_an_accepted_object_keeps_its_number(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = open_desk(np.stack([coins] * 3))
    desk.viewer.dims.set_point(0, 2)
    desk.click(99, 87)
    assert desk.accept() == 1
    found = desk.labels.data[2] == 1
    for frame, number in ((0, 14), (1, 15)):
        where = np.nonzero(found)
        desk.labels.data_setitem((np.full(len(where[0]), frame), *where), number)
    desk.controller.propagation.link()
    assert np.unique(desk.labels.data).tolist() == [0, 1]
    status = desk.controller.status
    assert status.startswith("1 object, on several slices.")
    assert status.endswith("Ctrl+Z takes the numbers back.")


def test_how_many_there_are_is_said_in_words() -> None:
    one, some = linked_of([[1]]), linked_of([[1], [2, 2], [3]])
    assert said_of(one, is_time=True) == "1 track, on one frame."
    assert said_of(one, is_time=False) == "1 object, on one slice."
    assert said_of(some[1:2], is_time=True) == "1 track, on several frames."
    assert said_of(some, is_time=True) == "3 tracks, 1 of them on several frames."
    assert said_of([], is_time=False) == "0 objects, none of them on several slices."


@given(SOURCES)
def test_numbers_are_unique_and_kept_where_they_can_be(sources: list[list[int]]):
    objects = linked_of(sources)
    numbers = numbered(objects, 10)
    assert len(set(numbers.values())) == len(numbers) == len(sources)
    for one in objects:
        number = numbers[one.id]
        before = {numbers[i] for i in range(1, one.id)}
        if number >= 10:
            assert set(one.sources.tolist()) <= before
        else:
            assert number in one.sources


class TestReview:
    """Linked objects are looked at as wholes, the least certain first."""

    @pytest.fixture
    def uneven(self, sliced: np.ndarray) -> np.ndarray:
        """Return two objects, one shifted, and a third in a single slice."""
        sliced[2, 18:26, 2:12] = 50
        return sliced

    def test_the_least_certain_first_each_where_it_is_in_doubt(
        self, open_desk: OpenDesk, uneven: np.ndarray
    ) -> None:
        desk = open_labels(open_desk, uneven)
        controller = desk.controller
        controller.propagation.link()
        assert "Review one by one" in controller.status
        review = controller.review
        assert review.object_count == 3
        controller.toggle_review()
        assert review.current.key == 50
        assert review.current.certainty == 0
        assert "begins here" in controller.status
        assert controller.context.plane.index[0] == 2
        _, mask = controller.everything.highlighter()
        assert mask.area == 80
        # K takes the whole object out, N keeps one, also without a record.
        controller.reject()
        assert 50 not in desk.labels.data
        assert review.current.key == 2
        assert "little overlap" in controller.status
        controller.accept()
        assert review.current.key == 1
        assert review.current.certainty == 1
        assert review.object_count == 1
        controller.undo()
        assert (desk.labels.data == 50).sum() == 80
        assert review.current.key == 50
        controller.redo()
        assert 50 not in desk.labels.data
        controller.accept()
        assert review.object_count == 0
        assert not review.is_active

    def test_an_undo_of_the_numbers_ends_it_and_a_redo_begins_it(
        self, open_desk: OpenDesk, uneven: np.ndarray
    ) -> None:
        desk = open_labels(open_desk, uneven)
        review = desk.controller.review
        desk.controller.propagation.link()
        desk.controller.toggle_review()
        desk.controller.undo()
        assert not review.is_active
        assert review.object_count == 0
        desk.controller.redo()
        assert review.object_count == 3
        desk.controller.new_labels()
        assert review.object_count == 0

    def test_a_rejected_object_leaves_all_its_slices_in_one_step(
        self, open_desk: OpenDesk, sliced: np.ndarray
    ) -> None:
        desk = open_labels(open_desk, sliced)
        desk.controller.propagation.link()
        linked = desk.labels.data.copy()
        desk.controller.toggle_review()
        first = desk.controller.review.current.key
        desk.controller.reject()
        assert first not in desk.labels.data
        assert np.array_equal(desk.labels.data == 1, linked == 1)
        desk.controller.undo()
        assert np.array_equal(desk.labels.data, linked)

    def test_what_a_person_accepted_slice_by_slice_is_not_erased(
        self, open_desk: OpenDesk, coins: np.ndarray
    ) -> None:
        desk = open_desk(np.stack([coins, coins]))
        for z in (0, 1):
            desk.viewer.dims.set_point(0, z)
            desk.click(99, 87)
            desk.accept()
        desk.controller.propagation.link()
        before = desk.labels.data.copy()
        desk.controller.toggle_review()
        desk.controller.reject()
        assert np.array_equal(desk.labels.data, before)
        assert desk.controller.review.object_count == 0

    def test_an_object_that_was_corrected_has_been_looked_at(
        self, open_desk: OpenDesk, coins: np.ndarray
    ) -> None:
        desk = open_desk(np.stack([coins, coins]))
        for z in (0, 1):
            desk.viewer.dims.set_point(0, z)
            desk.click(99, 87)
            desk.accept()
        desk.controller.propagation.link()
        desk.controller.toggle_review()
        desk.controller.pick_under_cursor()
        desk.click(99, 92)
        desk.accept()
        assert desk.controller.review.object_count == 0
        assert not desk.controller.review.is_active


class TestEvents:
    """Tracks are reviewed by their events."""

    @pytest.fixture
    def movie(self) -> np.ndarray:
        """Return a cell that divides, one that is lost, and one at the border."""
        labels = np.zeros((4, 40, 60), np.uint16)
        labels[:2, 10:18, 10:28] = 1
        labels[2:, 10:18, 10:18] = 2
        labels[2:, 10:18, 20:28] = 3
        labels[:2, 24:30, 40:46] = 4
        labels[:3, 34:40, 2:8] = 5
        return labels

    def test_least_certain_first_and_round_again(
        self, open_desk: OpenDesk, movie: np.ndarray
    ) -> None:
        desk = open_labels(open_desk, movie, layer={"axis_labels": ("t", "y", "x")})
        follower = desk.controller.propagation
        follower.link()
        said, frames = [], []
        for _ in range(4):
            follower.next_event()
            said.append(desk.controller.status)
            frames.append(desk.controller.context.plane.index[0])
        assert "Event 1 of 3" in said[0]
        assert "track 4 disappears after frame 1" in said[0]
        assert "Event 2 of 3" in said[1]
        assert "track 1 divides into 2 and 3 in frame 2" in said[1]
        assert "track 5 disappears after frame 2" in said[2]
        assert said[3].startswith("All were shown")
        assert frames == [1, 1, 2, 1]
        # Undone, no number is linked: what was one track is not any more.
        before = desk.labels.data.copy()
        desk.labels.data_setitem(np.nonzero(before == 4), 0)
        follower.next_event()
        assert "Event 1 of 2" in desk.controller.status

    def test_a_division_that_is_marked_is_one_event(
        self, open_desk: OpenDesk, movie: np.ndarray
    ) -> None:
        desk = open_labels(open_desk, movie, layer={"axis_labels": ("t", "y", "x")})
        follower = desk.controller.propagation
        follower.next_event()
        assert "of 5" in desk.controller.status
        desk.annotator.select_object(1)
        for column in (12, 24):
            desk.viewer.dims.set_point(0, 2)
            desk.viewer.cursor.position = desk.world(12, column)
            follower.divisions.mark()
        follower.next_event()
        assert "of 3" in desk.controller.status

    def test_why_there_are_none(
        self, open_desk: OpenDesk, movie: np.ndarray, coins: np.ndarray
    ) -> None:
        desk = open_labels(open_desk, movie)
        desk.controller.propagation.next_event()
        assert "choose Time" in desk.controller.status
        desk.controller.propagation.choose(time=True)
        desk.controller.propagation.next_event()
        assert "Event 1" in desk.controller.status
        whole = np.zeros((3, 20, 20), np.uint8)
        whole[:, 5:9, 5:9] = 1
        other = open_labels(open_desk, whole, layer={"axis_labels": ("t", "y", "x")})
        other.controller.propagation.next_event()
        assert "no events" in other.controller.status
        empty = open_desk(np.stack([coins] * 2), layer={"axis_labels": ("t", "y", "x")})
        empty.controller.propagation.next_event()
        assert "There are no labels" in empty.controller.status

    def test_what_appears_and_what_jumps(self, open_desk: OpenDesk) -> None:
        labels = np.zeros((4, 40, 60), np.uint16)
        labels[:, 4:14, 4:14] = 1
        labels[2:, 4:14, 4:14] = 0
        labels[2:, 26:36, 46:56] = 1
        labels[1:, 20:26, 20:26] = 2
        desk = open_labels(open_desk, labels, layer={"axis_labels": ("t", "y", "x")})
        said = []
        for _ in range(2):
            desk.controller.propagation.next_event()
            said.append(desk.controller.status)
        assert "Event 1 of 2" in said[0]
        assert any("track 1 jumps to frame 2." in text for text in said)
        assert any("track 2 appears in frame 1." in text for text in said)

    def test_what_was_read_before_a_change_is_not_kept(
        self, open_desk: OpenDesk, movie: np.ndarray, pumped: PumpedRunner
    ) -> None:
        desk = open_labels(
            open_desk, movie, runner=pumped, layer={"axis_labels": ("t", "y", "x")}
        )
        follower = desk.controller.propagation
        pumped.pump(lambda: not pumped.is_busy())
        pumped.drain()

        def told() -> str:
            said: list[str] = []
            follower.events.status.connect(said.append)
            follower.next_event()
            pumped.pump(lambda: bool(said))
            return said[0]

        follower.next_event()
        # Read, and on its way here.
        pumped.wait([EVENTS_SLOT])
        desk.labels.data_setitem(np.nonzero(movie == 4), 0)
        pumped.drain()
        assert " of 4 " in told()

    def test_other_axes_have_no_events(
        self, open_desk: OpenDesk, movie: np.ndarray
    ) -> None:
        labels = np.stack([movie, movie])
        desk = open_labels(open_desk, labels)
        desk.controller.propagation.choose(time=True)
        desk.controller.propagation.next_event()
        assert "labels with the axes t, y, x" in desk.controller.status


def test_labels_that_cannot_be_written_keep_their_numbers(
    open_desk: OpenDesk,
    sliced: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    notes: Callable[[], list[str]],
) -> None:
    desk = open_labels(open_desk, sliced)
    desk.labels.editable = False
    follower, linked = desk.controller.propagation, []
    follower.linker.linked.connect(linked.append)
    follower.link()
    (note,) = notes()
    assert "is locked" in note
    assert desk.controller.status == note
    assert np.array_equal(desk.labels.data, sliced)
    assert not follower.is_running
    assert linked == []
    desk.labels.editable = True
    follower.link()
    assert len(linked) == 1
    assert np.unique(desk.labels.data).tolist() == [0, 1, 2]


def test_labels_that_cannot_be_read_are_told_and_left(
    open_desk: OpenDesk,
    sliced: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    notes: Callable[[], list[str]],
) -> None:
    desk = open_labels(open_desk, sliced)
    follower, target = desk.controller.propagation, desk.controller.context.target
    follower.choose(time=True)

    def fails(*_: object) -> None:
        raise LabelsError("The labels could not be read.")

    with monkeypatch.context() as patch:
        patch.setattr(target, "read", fails)
        follower.link()
        patch.setattr("napari_sam.viewer.volumes.events.iter_objects", fails)
        follower.next_event()
    assert notes() == ["The labels could not be read."] * 2
    assert not follower.is_running
    assert np.array_equal(desk.labels.data, sliced)
    follower.link()
    assert np.unique(desk.labels.data).tolist() == [0, 1, 2]


def test_other_labels_are_not_given_the_numbers_of_those_before(
    open_desk: OpenDesk, sliced: np.ndarray, pumped: PumpedRunner
) -> None:
    desk = open_labels(open_desk, sliced, runner=pumped)
    labels, follower = desk.labels, desk.controller.propagation
    follower.link()
    desk.controller.labels.new()
    pumped.pump(lambda: not follower.is_running)
    assert np.array_equal(labels.data, sliced)
    assert not desk.labels.data.any()


def test_objects_do_not_grow_without_a_model(
    open_desk: OpenDesk, sliced: np.ndarray
) -> None:
    desk = open_labels(open_desk, sliced, engine=None)
    desk.controller.propagation.grow = True
    desk.controller.propagation.link()
    assert "wait for it" in desk.controller.status
    assert np.array_equal(desk.labels.data, sliced)


class TestDivisions:
    """The mother is picked, and the daughters are pointed at."""

    @pytest.fixture
    def dividing(self) -> np.ndarray:
        """Return a cell that divides in the third of four frames, beside another."""
        labels = np.zeros((4, 30, 40), np.uint16)
        labels[:2, 10:18, 10:28] = 7
        labels[2:, 10:18, 10:18] = 7
        labels[2:, 10:18, 20:28] = 9
        labels[:, 22:28, 5:10] = 3
        return labels

    def mark(self, desk: Desk, frame: int, row: float, column: float) -> None:
        desk.viewer.dims.set_point(0, frame)
        desk.viewer.cursor.position = desk.world(row, column)
        desk.controller.propagation.divisions.mark()

    def shown(self, desk: Desk) -> Tracks:
        (layer,) = (x for x in desk.viewer.layers if isinstance(x, Tracks))
        return layer

    def test_she_goes_on_as_one_daughter(
        self, open_desk: OpenDesk, dividing: np.ndarray
    ) -> None:
        desk = open_labels(open_desk, dividing)
        desk.annotator.select_object(7)
        self.mark(desk, 2, 12, 24)
        assert "Object 7 divides into 9 and 10" in desk.controller.status.replace(
            "10 and 9", "9 and 10"
        )
        data = desk.labels.data
        assert (data[:2, 12, 12] == 7).all()
        assert (data[2:, 12, 12] == 10).all()
        assert {d: list(m) for d, m in self.shown(desk).graph.items()} == {
            9: [7],
            10: [7],
        }
        desk.controller.undo()
        assert np.array_equal(desk.labels.data, dividing)
        assert self.shown(desk).graph == {}
        desk.controller.redo()
        assert len(self.shown(desk).graph) == 2
        # Marked again, it is taken back; the numbers stay.
        desk.annotator.select_object(7)
        self.mark(desk, 2, 12, 24)
        assert "does not divide" in desk.controller.status
        assert self.shown(desk).graph == {}

    def test_both_daughters_have_numbers_of_their_own(
        self, open_desk: OpenDesk, dividing: np.ndarray
    ) -> None:
        dividing[2:, 10:18, 10:18] = 5
        desk = open_labels(open_desk, dividing)
        desk.annotator.select_object(7)
        self.mark(desk, 2, 12, 24)
        assert "Shift+U on the other one" in desk.controller.status
        self.mark(desk, 2, 12, 12)
        assert "divides into 5 and 9" in desk.controller.status
        assert np.array_equal(desk.labels.data, dividing)
        assert len(self.shown(desk).graph) == 2

    def test_what_cannot_be_is_said_and_changes_nothing(
        self,
        open_desk: OpenDesk,
        dividing: np.ndarray,
        notes: Callable[[], list[str]],
    ) -> None:
        desk = open_labels(open_desk, dividing)
        self.mark(desk, 2, 12, 24)
        assert "Pick the mother first" in desk.controller.status
        desk.annotator.select_object(7)
        self.mark(desk, 2, 2, 2)
        assert "no object under" in desk.controller.status
        # She is not there before the first frame.
        self.mark(desk, 0, 24, 7)
        assert any("not there before frame 0" in note for note in notes())
        assert np.array_equal(desk.labels.data, dividing)


def test_what_is_rejected_in_locked_labels_stays_and_is_said(
    open_desk: OpenDesk, sliced: np.ndarray, notes: Callable[[], list[str]]
) -> None:
    desk = open_labels(open_desk, sliced)
    desk.controller.propagation.link()
    linked = desk.labels.data.copy()
    desk.controller.toggle_review()
    first = desk.controller.review.current
    desk.labels.editable = False
    desk.controller.reject()
    (note,) = notes()
    assert "is locked" in note
    assert np.array_equal(desk.labels.data, linked)
    assert desk.controller.review.current == first
    desk.labels.editable = True
    desk.controller.reject()
    assert first.key not in desk.labels.data
