"""Reviewing what was found, from the least certain on, whatever the user does."""

from __future__ import annotations

import numpy as np
import pytest
from desk import COINS, Desk

from napari_sam.core.annotation.records import METADATA_KEY, ObjectRecords, Source
from napari_sam.core.everything.search import EverythingSettings
from napari_sam.viewer.overlay import HIGHLIGHT, pixel_value

FEW = EverythingSettings(points_per_side=5, prompts="grid")


@pytest.fixture
def searched(open_desk, coin_stack):
    """Return a function that opens the stack with two planes searched."""

    def search(**options):
        desk = open_desk(coin_stack, everything=FEW, min_score=0.7, **options)
        for position in (0, 2):
            desk.viewer.dims.set_current_step(0, position)
            desk.controller.segment_plane()
        assert len(desk.controller.everything.found) == 2
        return desk

    return search


def review_of(desk: Desk):
    return desk.controller.review


def mask_of(desk: Desk):
    """Return the pixels of the current entry in its plane."""
    plane, mask = desk.controller.everything.highlighter()
    return plane, mask.full(desk.image.data.shape[1:])


def plane_of_labels(desk: Desk, plane):
    return desk.labels.data[plane.slicer]


def test_from_least_to_most_certain_with_the_viewer_in_tow(searched):
    desk = searched()
    review = review_of(desk)
    # So near that the edges of the image do not matter.
    desk.viewer.scene.camera.zoom = 200
    certainties, planes = [], set()
    desk.controller.toggle_review()
    total = int(review.text.split(" of ")[1].split(" ")[0])
    while review.current is not None:
        entry = review.current
        certainties.append(entry.certainty)
        planes.add(entry.plane)
        plane, mask = mask_of(desk)
        assert desk.controller.context.plane == entry.plane == plane
        # in the middle of the canvas
        rows, cols = np.nonzero(mask)
        center = desk.viewer.scene.camera.center[-2:]
        assert center == pytest.approx(
            ((rows.min() + rows.max()) / 2, (cols.min() + cols.max()) / 2)
        )
        assert review.text.startswith(f"{len(certainties)} of {total} · ")
        desk.controller.skip()
    assert certainties == sorted(certainties)
    assert len(certainties) == total >= 5
    assert len(planes) == 2
    assert f"{total} left for later" in desk.controller.status
    assert desk.controller.labels.layer is None


def test_accept_reject_correct(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    plane, mask = mask_of(desk)
    desk.controller.accept()
    np.testing.assert_array_equal(plane_of_labels(desk, plane) == 1, mask)
    assert desk.controller.context.records.get(1).confirmed
    assert "1 accepted" in review.text

    plane, mask = mask_of(desk)
    rejected = review.current
    desk.controller.reject()
    assert not plane_of_labels(desk, plane)[mask].any()
    assert review.current != rejected
    assert review.text.startswith("3 of ")

    # J, a click, N: accepted as corrected, and on it goes
    entry = review.current
    plane, mask = mask_of(desk)
    desk.controller.pick_under_cursor()
    assert desk.annotator.adopted.key == entry.key
    assert review.current == entry
    assert desk.controller.everything.highlighter() is None
    rows, cols = np.nonzero(mask)
    desk.click(rows.mean(), cols.mean())
    desk.controller.accept()
    assert desk.controller.context.records.get(2).corrected
    assert review.current != entry
    assert "2 accepted" in review.text


def test_escape_leaves_the_correction_not_the_review(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    entry = review.current
    desk.controller.pick_under_cursor()
    desk.controller.discard()
    assert review.current == entry
    said = desk.controller.status
    assert said.startswith("The proposal is as it was.  Certainty ")
    assert "N accepts · K rejects · J corrects" in said
    assert desk.controller.everything.highlighter() is not None
    desk.controller.pick_under_cursor()
    desk.controller.skip()
    assert desk.annotator.is_empty
    assert review.current != entry


def test_undo_looks_again_at_what_was_accepted(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    entry = review.current
    desk.controller.accept()
    assert review.current != entry
    desk.labels.undo()
    assert review.current == entry
    assert "0 accepted" in review.text
    desk.labels.redo()
    assert review.current != entry
    assert "1 accepted" in review.text


def test_stopped_it_goes_on_where_it_was(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    desk.controller.accept()
    desk.controller.reject()
    entry, text = review.current, review.text
    desk.controller.toggle_review()
    assert review.current is None
    # Something else in between.
    desk.viewer.dims.set_current_step(0, 1)
    desk.click(COINS[0][0], 169 - COINS[0][1])
    desk.accept()
    desk.controller.toggle_review()
    assert review.current == entry
    assert review.text == text


def test_on_another_slice_the_first_press_only_goes_back(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    entry = review.current
    for press in (
        desk.controller.accept,
        desk.controller.reject,
        desk.controller.pick_under_cursor,
    ):
        desk.viewer.dims.set_current_step(0, 1)
        press()
        assert review.current == entry
        assert desk.controller.context.plane == entry.plane
        assert desk.annotator.is_empty
    assert desk.controller.labels.layer is None


def test_an_object_clicked_in_between_does_not_disturb(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    entry = review.current
    desk.viewer.dims.set_current_step(0, 1)
    desk.click(COINS[0][0], 169 - COINS[0][1])
    desk.accept()
    assert review.current == entry
    assert "0 accepted" in review.text


def test_what_the_user_labels_meanwhile_is_not_overwritten(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.new_labels()
    desk.controller.toggle_review()
    entry = review.current
    plane, mask = mask_of(desk)
    rows, cols = np.nonzero(mask)
    z = np.full(rows.shape, plane.index[0])
    desk.labels.data_setitem((z, rows, cols), 9)
    desk.controller.accept()
    assert (plane_of_labels(desk, plane)[mask] == 9).all()
    assert review.current != entry
    assert np.unique(desk.labels.data).tolist() == [0, 9]


def test_accept_the_rest_is_one_undo_step(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    desk.controller.reject()
    left = review.proposal_count
    assert left == int(review.text.split(" of ")[1].split(" ")[0]) - 1
    review.accept_rest()
    assert not review.is_active
    assert review.proposal_count == 0
    assert len(np.unique(desk.labels.data)) == left + 1
    assert f"{left} accepted, 1 rejected" in desk.controller.status
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert review.proposal_count == left


def test_layers_may_be_deleted(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    desk.controller.accept()
    count = review.proposal_count
    desk.viewer.layers.remove(desk.labels)
    desk.viewer.layers.remove(desk.controller.everything.overlay.layer)
    assert review.is_active
    desk.controller.accept()
    # Into a new Labels layer.
    assert np.unique(desk.labels.data).tolist() == [0, 1]
    assert review.proposal_count == count - 1
    desk.viewer.layers.remove(desk.image)
    assert not review.is_active
    assert review.proposal_count == 0
    desk.controller.accept()
    desk.controller.reject()
    desk.controller.skip()


def test_writing_all_proposals_at_once_ends_it(searched):
    desk = searched()
    review = review_of(desk)
    desk.controller.toggle_review()
    desk.controller.accept()
    count = desk.controller.everything.count
    desk.controller.everything.write()
    assert not review.is_active
    assert review.text.endswith(f"{count + 1} accepted")
    assert "objects written" in desk.controller.status
    desk.controller.undo()
    assert desk.controller.everything.count == count


def test_dropping_the_proposals_ends_it(searched):
    desk = searched()
    desk.controller.toggle_review()
    desk.controller.everything.discard()
    assert not review_of(desk).is_active
    desk.controller.toggle_review()
    assert "nothing to review" in desk.controller.status


# -- objects that were written in one go ----------------------------------------------


@pytest.fixture
def written(searched):
    """Return a function that writes all proposals unseen."""

    def write(**options):
        desk = searched(**options)
        assert desk.controller.everything.write()
        return desk

    return write


def test_written_objects_are_reviewed_too(written):
    desk = written()
    review, book = review_of(desk), desk.controller.context.records
    labels = np.unique(desk.labels.data).tolist()[1:]
    assert review.object_count == len(labels) == len(book)
    assert all(r.source is Source.EVERYTHING and not r.confirmed for r in book)
    desk.controller.toggle_review()
    before = desk.labels.data.copy()

    accepted = review.current.key
    desk.controller.accept()
    assert book.get(accepted).confirmed
    np.testing.assert_array_equal(desk.labels.data, before)

    rejected = review.current.key
    desk.controller.reject()
    assert rejected not in desk.labels.data
    assert book.get(rejected) is None
    desk.labels.undo()
    np.testing.assert_array_equal(desk.labels.data, before)
    assert book.get(rejected) is not None
    assert review.current.key == rejected

    corrected = review.current.key
    _, mask = mask_of(desk)
    desk.controller.pick_under_cursor()
    assert desk.annotator.label == corrected
    rows, cols = np.nonzero(mask)
    desk.click(rows.mean(), cols.mean())
    desk.controller.accept()
    assert review.current is None or review.current.key != corrected
    assert review.object_count == len(labels) - 2


def test_the_review_goes_on_in_another_session(written, open_desk, coin_stack):
    desk = written()
    review = review_of(desk)
    desk.controller.toggle_review()
    desk.controller.accept()
    left = review.object_count
    data, metadata = desk.labels.data.copy(), desk.labels.metadata.copy()
    desk.controller.close()

    again = open_desk(coin_stack)
    layer = again.viewer.add_labels(data, metadata=metadata)
    again.controller.choose_labels(layer)
    assert review_of(again).object_count == left
    again.controller.toggle_review()
    assert review_of(again).current is not None
    assert again.controller.everything.highlighter() is not None


def test_an_object_changed_by_hand_counts_as_seen(written):
    desk = written()
    review, book = review_of(desk), desk.controller.context.records
    desk.controller.toggle_review()
    label = review.current.key
    plane, mask = mask_of(desk)
    row, col = np.argwhere(mask)[0]
    pixel = (np.array([plane.index[0]]), np.array([row]), np.array([col]))
    desk.labels.data_setitem(pixel, 0)
    before = desk.labels.data.copy()
    desk.controller.reject()
    np.testing.assert_array_equal(desk.labels.data, before)
    assert label in desk.labels.data
    assert book.get(label).confirmed
    assert review.current is None or review.current.key != label


def test_accept_all_of_a_slice(written):
    desk = written()
    review, book = review_of(desk), desk.controller.context.records
    review.accept_plane()
    here = desk.controller.context.plane
    assert all(r.confirmed == (here in r.planes) for r in book)
    assert review.object_count < len(book)


def test_other_labels_end_the_review_of_these(written):
    desk = written()
    review = review_of(desk)
    desk.controller.toggle_review()
    desk.controller.new_labels()
    assert not review.is_active
    assert review.object_count == 0


def test_records_of_planes_that_are_not_there_are_left_out(written):
    desk = written()
    stored = desk.labels.metadata[METADATA_KEY]
    for value in stored["objects"].values():
        value["masks"][0]["index"][0] = 99
    layer = desk.viewer.add_labels(
        desk.labels.data.copy(), metadata={METADATA_KEY: stored}
    )
    assert len(ObjectRecords(layer.metadata.get(METADATA_KEY)))
    desk.controller.choose_labels(layer)
    assert review_of(desk).object_count == 0


def test_the_brush_follows_an_undo_of_many(searched):
    desk = searched()
    desk.controller.toggle_review()
    desk.controller.review.accept_rest()
    count = desk.annotator.label - 1
    assert count > 1
    assert desk.labels.selected_label == count + 1
    desk.labels.undo()
    assert desk.annotator.label == desk.labels.selected_label == 1
    desk.labels.redo()
    assert desk.annotator.label == desk.labels.selected_label == count + 1


def test_what_is_reviewed_is_seen_from_the_other_side_too(searched):
    """The transposed view of a plane has the same pixels."""
    desk = searched()
    desk.controller.toggle_review()
    overlay = desk.controller.everything.overlay.layer

    def highlighted():
        return np.isin(overlay.data, [pixel_value(HIGHLIGHT, n) for n in (1, 2, 3)])

    before = highlighted()
    plane, mask = mask_of(desk)
    assert before[0][mask].any()
    desk.viewer.dims.order = (0, 2, 1)
    assert desk.controller.context.plane.displayed == plane.displayed[::-1]
    np.testing.assert_array_equal(highlighted(), before)
    desk.controller.accept()
    np.testing.assert_array_equal(plane_of_labels(desk, plane) == 1, mask)
