"""Projects in a viewer: everything is there tomorrow, whatever happened today."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from desk import COINS
from napari.components import ViewerModel
from napari.layers import Image, Labels
from npe2 import PluginManager

import napari_sam as ns
from napari_sam.core.annotation.records import METADATA_KEY
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.everything.settings import EverythingSettings
from napari_sam.core.masks import OverlapPolicy, PostProcessing
from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io.recovery import recoveries
from napari_sam.types import MaskLevel
from napari_sam.viewer.projects.settings import settings_from_json, settings_to_json
from napari_sam.viewer.settings import (
    AcceptWait,
    AnnotationSettings,
    Normalization,
    PreviewStyle,
    ProposalColor,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from desk import Desk, PumpedRunner

    from napari_sam.models.sam1.sam import SamModel


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    """Let napari know its own readers and ours, as a window does."""
    from napari.plugins import _initialize_plugins

    _initialize_plugins()


@pytest.fixture
def coins_file(coins: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "coins.tif"
    tifffile.imwrite(path, coins)
    return path


@pytest.fixture
def write(open_desk: Callable[..., Desk], coins_file: Path) -> Callable[..., Desk]:
    """Return a function that opens the coins from a file and writes some."""

    def write_(count: int = 2, **settings: object) -> Desk:
        viewer = ViewerModel()
        (image,) = viewer.open(coins_file, plugin="napari")
        image.scale, image.units = (0.3, 0.3), ("um", "um")
        desk = open_desk(image, viewer=viewer, **settings)
        for row, column in COINS[:count]:
            desk.click(row, column)
            desk.accept()
        return desk

    return write_


def kill(desk: Desk) -> None:
    """Let go of the files as a killed process does: nothing is written any more."""
    session = desk.controller.projects
    session._connections.clear()
    folder, session.folder = session.folder, None
    if folder is not None:
        folder.close(finished=False)


def test_a_project_brings_all_back(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    desk = write(policy=OverlapPolicy.OVERWRITE)
    few = EverythingSettings(points_per_side=4)
    desk.controller.change_settings(everything=few)
    desk.controller.segment_plane()
    found = len(desk.controller.everything.proposed.found)
    count = desk.controller.everything.count
    desk.controller.projects.save_as(tmp_path / "coins")
    path = tmp_path / "coins.napari-sam"
    assert desk.controller.projects.path == path
    assert desk.controller.status.startswith("Saved 2 objects")
    desk.click(*COINS[2])  # after the save: in the journal
    desk.accept()
    labels, records = desk.labels.data.copy(), desk.controller.context.records
    assert records is not None
    desk.controller.close()

    again = open_desk(np.zeros((9, 9), np.uint8))
    again.controller.projects.open(path)
    assert np.array_equal(again.labels.data, labels)
    assert again.labels.data.dtype == labels.dtype
    assert tuple(again.image.scale) == tuple(again.labels.scale) == (0.3, 0.3)
    assert [str(u) for u in again.image.units] == ["micrometer"] * 2
    now = again.controller.context.records
    assert now is not None
    assert now.to_json() == records.to_json()
    assert again.controller.context.target.next_label == 4
    assert again.controller.settings.policy is OverlapPolicy.OVERWRITE
    assert again.controller.settings.everything == few
    assert len(again.controller.everything.proposed.found) == found == 1
    assert again.controller.everything.count <= count
    assert "the last change not saved before" in again.controller.status
    again.annotator.select_object(1)
    assert len(again.points.data) == 1


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_is_under_way_is_there_tomorrow(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    tmp_path: Path,
    is_killed: bool,
) -> None:
    """Prompts, the chosen size, and what was turned down; closed or killed."""
    desk = write(1)
    few = EverythingSettings(points_per_side=5, prompts="grid")
    desk.controller.change_settings(
        everything=few, confident_score=0.5, confident_stability=0.5
    )
    desk.controller.prefill()
    desk.controller.projects.save_as(tmp_path / "coins")
    everything = desk.controller.everything
    plane = desk.controller.context.plane
    assert plane is not None
    before = everything.proposed.review_items(plane)
    desk.controller.proposal_actions.reject(before[0].key)
    left = {review_item.key for review_item in everything.proposed.review_items(plane)}
    assert left
    assert before[0].key not in left
    desk.click(*COINS[3])
    desk.annotator.prompting.set_level(MaskLevel.PART)
    desk.click(COINS[3][0] + 3, COINS[3][1])
    shown = desk.masks
    if is_killed:
        kill(desk)
    else:
        desk.controller.close()

    again = open_desk(np.zeros((9, 9), np.uint8))
    again.controller.projects.open(tmp_path / "coins.napari-sam")
    assert len(again.points.data) == 2
    assert again.annotator.level is MaskLevel.PART
    np.testing.assert_array_equal(again.masks, shown)
    now = again.controller.everything.proposed.review_items(plane)
    assert {review_item.key for review_item in now} == left
    assert again.annotator.accept()
    kill(again)

    third = open_desk(np.zeros((9, 9), np.uint8))
    third.controller.projects.open(tmp_path / "coins.napari-sam")
    assert third.annotator.is_empty
    assert third.labels.data.max() == 2


@pytest.mark.parametrize("is_same_image", [False, True])
def test_another_project_takes_nothing_of_what_is_under_way(
    write: Callable[..., Desk], tmp_path: Path, is_same_image: bool
) -> None:
    """Opened over prompts, it neither gets them nor takes them from the first."""
    desk = write(1)
    if not is_same_image:
        image = desk.viewer.add_image(np.flipud(desk.image.data), name="other")
        desk.controller.choose_image(image)
        desk.click(*COINS[4])
        desk.accept()
    session = desk.controller.projects
    session.save_as(tmp_path / "second")
    first = desk.viewer.layers["coins"]
    desk.controller.choose_image(first)
    desk.controller.new_labels()
    desk.click(*COINS[0])
    desk.accept()
    session.save_as(tmp_path / "first")
    desk.click(*COINS[3])
    desk.annotator.select_object(1)  # the new object waits
    desk.click(COINS[0][0] + 3, COINS[0][1])

    desk.controller.change_settings(
        everything=EverythingSettings(points_per_side=4, prompts="grid")
    )
    desk.controller.segment_plane()
    assert desk.controller.everything.found
    session.save()
    session.open(tmp_path / "second.napari-sam")
    assert desk.annotator.is_empty
    assert not desk.controller.everything.found
    assert desk.annotator.under_way() == ()
    session.open(tmp_path / "first.napari-sam")
    assert desk.controller.everything.found
    new, correction = desk.annotator.under_way()
    assert (new.label, len(new.items.points)) == (None, 1)
    assert (correction.label, len(correction.items.points)) == (1, 2)
    assert desk.accept() == 1
    assert desk.accept() == 2


def proposals_of(desk: Desk) -> tuple[object, ...]:
    """Return what is proposed and what was turned down."""
    everything = desk.controller.everything
    return (
        {plane: len(found) for plane, found in everything.proposed.found.items()},
        everything.count,
        set(everything.proposed.rejected),
        len(everything.review_items),
    )


def propose(open_desk: Callable[..., Desk], image: np.ndarray) -> Desk:
    """Search an image without labels, and turn one proposal down."""
    few = EverythingSettings(points_per_side=4, prompts="grid")
    desk = open_desk(image, everything=few)
    desk.controller.segment_plane()
    desk.controller.review.toggle()
    desk.controller.reject()
    desk.controller.review.toggle()
    assert desk.controller.everything.proposed.rejected
    return desk


def test_proposals_are_there_again_when_their_image_is(
    open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    desk = propose(open_desk, coins)
    before, first = proposals_of(desk), desk.image
    other = desk.viewer.add_image(coins[::-1].copy(), name="other")
    desk.controller.choose_image(other)
    assert not desk.controller.everything.found
    desk.controller.segment_plane()
    of_other = proposals_of(desk)
    desk.controller.choose_image(first)
    assert proposals_of(desk) == before
    desk.controller.choose_image(other)
    assert proposals_of(desk) == of_other
    # With other pixels they mean nothing.
    desk.controller.choose_image(first)
    desk.controller.choose_image(None)
    first.data = coins[:60, :60].copy()
    desk.controller.choose_image(first)
    assert not desk.controller.everything.found


@pytest.mark.parametrize("is_late", [False, True])
def test_proposals_are_there_again_when_the_dock_is(
    open_desk: Callable[..., Desk], engine: Engine, coins: np.ndarray, is_late: bool
) -> None:
    desk = propose(open_desk, coins)
    before = proposals_of(desk)
    desk.controller.put_aside()
    desk.controller.close()
    again = open_desk(
        desk.viewer.layers[0], viewer=desk.viewer, engine=None if is_late else engine
    )
    again.controller.resume()
    if is_late:
        again.controller.loader.use(engine)
    assert proposals_of(again) == before


def test_opening_a_project_leaves_the_proposals_on_other_planes(
    open_desk: Callable[..., Desk], coins: np.ndarray, tmp_path: Path
) -> None:
    """Those of a window in which nothing was written; restoring opens, too."""
    stack = np.stack([coins, coins[::-1]])
    desk = propose(open_desk, stack)
    desk.click(*COINS[0])
    desk.accept()
    desk.controller.projects.save_as(tmp_path / "coins")
    saved = proposals_of(desk)[0]
    desk.controller.close()

    again = open_desk(stack, everything=desk.controller.settings.everything)
    again.viewer.dims.set_point(0, 1 - again.controller.context.plane.index[0])
    again.controller.segment_plane()
    own = proposals_of(again)[0]
    assert own.keys().isdisjoint(saved)
    again.controller.projects.open(tmp_path / "coins.napari-sam", again.image)
    assert proposals_of(again)[0] == {**own, **saved}


@pytest.mark.parametrize("is_late", [False, True])
def test_slices_that_were_found_are_there_tomorrow(
    open_desk: Callable[..., Desk],
    engine: Engine,
    coins: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_late: bool,
) -> None:
    """Also if the model is loaded after the project was opened."""
    stack = np.stack([coins] * 4)
    desk = open_desk(stack)
    desk.click(*COINS[0])
    desk.accept()
    desk.controller.projects.save_as(tmp_path / "coins")
    desk.click(*COINS[4])
    desk.controller.propagation.follow()
    found = desk.controller.propagation.followed
    assert found is not None
    assert len(found.to_write) == 3
    desk.controller.close()

    monkeypatch.setattr(
        "napari_sam.core.volumes.engine.iter_propagate",
        lambda *_, **__: pytest.fail("what is known was asked for again"),
    )
    again = open_desk(stack, engine=None if is_late else engine)
    again.controller.projects.open(tmp_path / "coins.napari-sam", again.image)
    if is_late:
        again.controller.loader.use(engine)
    now = again.controller.propagation.followed
    assert now is not None
    assert now.is_finished
    for position, (mask, confidence) in found.to_write.items():
        after, sure = now.to_write[position]
        assert np.array_equal(after.mask, mask.mask)
        assert after.region == mask.region
        assert sure == confidence
    assert again.accept() == 2
    assert all((plane[COINS[4]] == 2).all() for plane in again.labels.data)


def test_prompts_of_no_project_outlive_the_opening_of_one(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    desk = write(1)
    desk.controller.projects.save_as(tmp_path / "coins")
    desk.click(*COINS[1])
    image = desk.image.data
    desk.controller.close()

    again = open_desk(image)
    again.click(*COINS[3])
    again.controller.projects.open(tmp_path / "coins.napari-sam", again.image)
    # What the project had under way first, then what was in the window.
    assert len(again.annotator.under_way()) == 2
    assert again.accept() == 2
    assert again.labels.data[COINS[1]] == 2
    assert again.accept() == 3
    assert again.labels.data[COINS[3]] == 3


def test_every_setting_is_kept_and_a_damaged_one_passed_over() -> None:
    """Whatever it is by default: a moved slider is there tomorrow, and None is."""
    changed = AnnotationSettings(
        policy=OverlapPolicy.UNLABELED,
        cleaning=PostProcessing(fill_holes=False, min_area=7),
        live=True,
        accept_wait=AcceptWait.FINAL,
        hover=True,
        preview=PreviewStyle.CONTOUR,
        proposal_color=ProposalColor.SCORE,
        normalization=Normalization.DISPLAYED,
        prefetch=False,
        everything=EverythingSettings(points_per_side=7, min_center=0.3),
        min_area=5,
        min_score=0.9,
        min_stability=0.8,
        max_share=0.5,
        confident_score=0.7,
        confident_stability=0.6,
    )
    usual = AnnotationSettings()
    for field in fields(usual):
        assert getattr(usual, field.name) != getattr(changed, field.name)
    for start, end in ((usual, changed), (changed, usual)):
        stored = json.loads(json.dumps(settings_to_json(end)))
        assert replace(start, **settings_from_json(stored, start)) == end
    damaged = {
        "policy": "eat them", "cleaning": [1], "live": "yes", "preview": None,
        "everything": {"points_per_side": -4}, "min_score": "x", "min_area": [],
        "max_share": 7, "hover": True, "unknown": 1,
    }  # fmt: skip
    assert settings_from_json(damaged, usual) == {"hover": True}


def test_what_was_undone_while_hidden_is_not_saved(
    write: Callable[..., Desk], tmp_path: Path
) -> None:
    """Napari tells nobody, and a record without pixels would come back tomorrow."""
    desk = write(2)
    desk.labels.visible = False
    desk.labels.undo()
    desk.controller.projects.save_as(tmp_path / "coins")
    records = desk.controller.context.records
    assert records is not None
    assert [r.label for r in records] == [1]
    desk.controller.close()
    with ns.open_project(tmp_path / "coins.napari-sam") as project:
        assert [r.label for r in project.records] == [1]
        assert np.asarray(project.labels).max() == 1


def leave_and_come_back(desk: Desk, how: str, open_desk: Callable[..., Desk]) -> Desk:
    """Annotate something else for a while, or close the dock, and go on."""
    labels, image, controller = desk.labels, desk.image, desk.controller
    if how == "labels":
        controller.labels.new()
        controller.choose_labels(labels)
    elif how == "image":
        controller.choose_image(desk.viewer.add_image(np.zeros((40, 60))))
        controller.choose_image(image)
        controller.choose_labels(labels)
    else:
        controller.close()
        desk = open_desk(image, viewer=desk.viewer)
        desk.controller.choose_labels(labels)
    return desk


@pytest.mark.parametrize("how", ["labels", "image", "dock"])
def test_what_was_written_before_leaving_is_undone_whole_afterwards(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], tmp_path: Path, how: str
) -> None:
    """Pixels, record, number, prompts and the journal, and all of them redone."""
    desk = write(3)
    desk.controller.projects.save_as(tmp_path / "coins")
    desk = leave_and_come_back(desk, how, open_desk)
    desk.controller.undo()
    assert np.unique(desk.labels.data).tolist() == [0, 1, 2]
    records = desk.controller.context.records
    assert records is not None
    assert [r.label for r in records] == [1, 2]
    assert desk.annotator.label == 3
    assert [p.position for p in desk.annotator.items.points] == [COINS[2]]
    desk.controller.redo()
    assert [r.label for r in records] == [1, 2, 3]
    desk.controller.undo()
    desk.controller.discard()
    desk.controller.undo()
    assert [r.label for r in records] == [1]
    kill(desk)
    with ns.open_project(tmp_path / "coins.napari-sam") as project:
        assert [r.label for r in project.records] == [1]
        assert np.unique(project.labels).tolist() == [0, 1]


def test_what_was_undone_while_others_were_annotated_is_noticed(
    write: Callable[..., Desk], tmp_path: Path
) -> None:
    desk = write(3)
    desk.controller.projects.save_as(tmp_path / "coins")
    labels = desk.labels
    desk.controller.labels.new()
    labels.undo()
    labels.undo()
    labels.redo()
    desk.controller.choose_labels(labels)
    records = desk.controller.context.records
    assert records is not None
    assert [r.label for r in records] == [1, 2]
    assert desk.annotator.label == 3
    assert desk.annotator.is_empty, "who goes on is given no old prompts"
    kill(desk)
    with ns.open_project(tmp_path / "coins.napari-sam") as project:
        assert [r.label for r in project.records] == [1, 2]
        assert np.unique(project.labels).tolist() == [0, 1, 2]


def test_a_save_before_the_model_is_there_keeps_the_proposals(
    write: Callable[..., Desk], tmp_path: Path
) -> None:
    """They are shown when there is a model; until then they are the project's."""
    desk = write(1)
    few = EverythingSettings(points_per_side=5, prompts="grid")
    desk.controller.change_settings(
        everything=few, confident_score=0.5, confident_stability=0.5
    )
    desk.controller.prefill()
    session, proposed = desk.controller.projects, desk.controller.everything.proposed
    plane = desk.controller.context.plane
    assert plane is not None
    session.save_as(tmp_path / "coins")
    desk.controller.proposal_actions.reject(proposed.review_items(plane)[0].key)
    left = {review_item.key for review_item in proposed.review_items(plane)}
    engine, loader = desk.controller.loader.engine, desk.controller.loader
    loader.engine = None
    session.open(tmp_path / "coins.napari-sam")
    desk.controller.images.renew()
    session.open(tmp_path / "coins.napari-sam")
    assert not proposed.found
    session.save()
    assert engine is not None
    desk.controller.loader.use(engine)
    session.open(tmp_path / "coins.napari-sam")
    assert {review_item.key for review_item in proposed.review_items(plane)} == left


def test_prompts_that_were_written_since_are_not_under_way(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """The kill came between the transaction and the next note of what is under way."""
    desk = write(1)
    desk.controller.projects.save_as(tmp_path / "coins")
    desk.click(*COINS[3])
    note = tmp_path / "coins.napari-sam" / "under_way.json"
    text = note.read_text()
    desk.accept()
    kill(desk)
    endless = text.replace('"sequence": ', '"sequence": 1e999')
    for damaged in (text, "[" * 9999, text[:-9], endless):
        note.write_text(damaged)
        again = open_desk(np.zeros((9, 9), np.uint8))
        again.controller.projects.open(tmp_path / "coins.napari-sam")
        assert again.annotator.is_empty
        assert again.labels.data.max() == 2
        kill(again)


def test_what_was_written_before_a_crash_is_offered(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    desk = write()
    desk.labels.undo()
    desk.click(*COINS[3])
    desk.accept()
    labels = desk.labels.data.copy()
    kill(desk)
    again = open_desk(coins)
    session = again.controller.projects
    (recovery,) = session.recoverable
    session.restore(recovery)
    assert np.array_equal(again.labels.data, labels)
    assert set(np.unique(labels)) == {0, 1, 2}
    again.click(*COINS[4])
    assert again.accept() == 3
    assert session.path is None
    labels = again.labels.data.copy()
    kill(again)
    third = open_desk(coins)
    (recovery,) = third.controller.projects.recoverable
    third.controller.projects.restore(recovery)
    assert np.array_equal(third.labels.data, labels)


def test_unsaved_work_that_is_not_wanted_goes(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    kill(write())
    again = open_desk(coins)
    (recovery,) = again.controller.projects.recoverable
    again.controller.projects.discard(recovery)
    assert again.controller.projects.recoverable == ()
    assert not recovery.path.exists()


def test_labels_that_were_there_before_come_back_after_a_crash(
    open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    before = np.zeros(coins.shape, np.uint16)
    before[60:64, 60:64] = 7
    desk = open_desk(coins)
    layer = desk.viewer.add_labels(before.copy())
    desk.controller.choose_labels(layer)
    desk.click(*COINS[0])
    desk.accept()
    labels = layer.data.copy()
    kill(desk)
    again = open_desk(coins)
    (recovery,) = again.controller.projects.recoverable
    again.controller.projects.restore(recovery)
    assert np.array_equal(again.labels.data, labels)
    assert (again.labels.data == 7).sum() == 16
    assert again.controller.context.target.next_label == 9


def test_strokes_of_the_brush_and_erasures_are_kept_too(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    desk = write(1)
    desk.labels.selected_label = 9
    desk.labels.paint((60, 60), 9)
    desk.labels.undo()
    desk.labels.redo()
    labels = desk.labels.data.copy()
    assert 9 in labels
    kill(desk)
    again = open_desk(coins)
    session = again.controller.projects
    session.restore(session.recoverable[0])
    assert np.array_equal(again.labels.data, labels)


def test_nothing_is_kept_of_a_session_that_wrote_nothing(
    open_desk: Callable[..., Desk], coins: np.ndarray, state_folder: Path
) -> None:
    desk = open_desk(coins)
    desk.controller.new_labels()
    desk.controller.close()
    assert not state_folder.exists()


def test_work_in_no_project_is_offered_after_closing_as_usual(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    desk = write()
    labels = desk.labels.data.copy()
    desk.controller.close()
    again = open_desk(coins)
    session = again.controller.projects
    (kept,) = session.recoverable
    assert kept.is_finished
    session.restore(kept)
    assert np.array_equal(again.labels.data, labels)
    assert session.recoverable == ()
    again.controller.close()
    third = open_desk(coins)
    session = third.controller.projects
    session.discard(session.recoverable[0])
    third.controller.close()
    assert recoveries() == []


def test_nothing_is_offered_of_work_that_was_saved_or_taken_back(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    coins: np.ndarray,
    tmp_path: Path,
) -> None:
    desk = write(1)
    desk.controller.undo()
    assert not desk.labels.data.any()
    desk.controller.close()
    desk = write(2)
    desk.controller.projects.save_as(tmp_path / "coins")
    desk.controller.close()
    assert open_desk(coins).controller.projects.recoverable == ()


def test_the_work_of_a_script_that_ended_is_not_offered(
    open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    viewer = ViewerModel()
    viewer.add_image(coins)
    with ns.annotate(viewer) as session:
        session.add_point(COINS[0])
        session.accept()
    assert len(recoveries()) == 1
    assert open_desk(coins).controller.projects.recoverable == ()


@pytest.mark.parametrize("leave", ["image", "labels", "dock"])
def test_labels_in_the_viewer_count_as_unsaved(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    coins: np.ndarray,
    state_folder: Path,
    leave: str,
) -> None:
    """Whatever else is annotated meanwhile, and whether the dock is open."""
    desk = write(2)
    first, viewer, labels = desk.image, desk.viewer, desk.labels
    desk.click(*COINS[3])  # and one under way
    if leave == "image":
        other = viewer.add_image(np.flipud(coins)[:90], name="other")
        desk.controller.choose_image(other)
        desk.click(70, 30)
        desk.accept()
        # Another window is not offered what this one has.
        assert open_desk(coins).controller.projects.recoverable == ()
    elif leave == "labels":
        desk.controller.new_labels()
    else:
        desk.controller.put_aside()
        desk.controller.close()
    assert not list(state_folder.glob("*/closed"))
    labels.paint((60, 60), 9)  # nobody looks
    if leave == "dock":
        (found,) = recoveries()
        assert not found.is_finished
        desk = open_desk(first, viewer=viewer)
        desk.controller.resume()
    else:
        desk.controller.choose_image(first)
        desk.controller.choose_labels(labels)
    session = desk.controller.projects
    assert session.recoverable == ()
    assert desk.labels is labels
    desk.controller.discard()
    desk.click(*COINS[4])
    desk.accept()
    now = labels.data.copy()
    assert set(np.unique(now)) == {0, 1, 2, 9, 10}
    kill(desk)
    session._aside.close(finished=False, offered=True)
    again = open_desk(coins).controller.projects
    (found,) = again.recoverable
    again.restore(found)
    assert np.array_equal(again._layer.data, now)


def test_killed_after_another_image_was_chosen_all_is_offered(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], coins: np.ndarray
) -> None:
    desk = write(3)
    labels = desk.labels.data.copy()
    desk.click(*COINS[4])
    other = desk.viewer.add_image(np.flipud(coins)[:90], name="other")
    desk.controller.choose_image(other)
    desk.click(70, 30)
    desk.accept()
    others = desk.labels.data.copy()
    kill(desk)
    desk.controller.projects._aside.close(finished=False, offered=True)
    for image, wanted in ((coins, labels), (other.data, others)):
        again = open_desk(image)
        session = again.controller.projects
        (recovery,) = session.recoverable
        session.restore(recovery)
        assert np.array_equal(again.labels.data, wanted)
        assert len(again.annotator.under_way()) == (image is coins)
        kill(again)


def test_a_project_goes_on_when_its_image_is_chosen_again(
    write: Callable[..., Desk], coins: np.ndarray, tmp_path: Path
) -> None:
    desk = write(1)
    desk.controller.change_settings(
        everything=EverythingSettings(points_per_side=4, prompts="grid")
    )
    desk.controller.segment_plane()
    session = desk.controller.projects
    session.save_as(tmp_path / "coins")
    path, first = session.path, desk.image
    found = desk.controller.everything.count
    assert found
    other = desk.viewer.add_image(np.flipud(coins)[:90], name="other")
    desk.controller.choose_image(other)
    assert session.path is None
    desk.controller.choose_image(first)
    assert session.path == path
    assert desk.controller.everything.count == found
    desk.click(*COINS[1])
    desk.accept()
    kill(desk)
    with ns.open_project(tmp_path / "coins.napari-sam") as stored:
        assert [r.label for r in stored.records] == [1, 2]


def test_labels_that_were_deleted_are_offered_at_once(
    write: Callable[..., Desk], coins: np.ndarray
) -> None:
    desk = write(2)
    labels, data = desk.labels, desk.labels.data.copy()
    desk.viewer.layers.remove(labels)
    session = desk.controller.projects
    (recovery,) = session.recoverable
    session.restore(recovery)
    assert np.array_equal(desk.labels.data, data)
    # and when another image is annotated meanwhile
    other = desk.viewer.add_image(np.flipud(coins)[:90], name="other")
    first, labels = desk.image, desk.labels
    desk.controller.choose_image(other)
    desk.viewer.layers.remove(labels)
    desk.controller.choose_image(first)
    (recovery,) = session.recoverable
    session.restore(recovery)
    assert np.array_equal(desk.labels.data, data)


def test_work_that_was_saved_to_a_file_is_not_offered_to_who_opens_the_file(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    coins: np.ndarray,
    tmp_path: Path,
) -> None:
    """Also if napari's own reader has made another type of it."""
    desk = write(2)
    path = str(tmp_path / "coins.tif")
    desk.labels.save(path)
    desk.controller.close()
    for day, place in enumerate(COINS[2:4]):
        again = open_desk(coins)
        session = again.controller.projects
        (kept,) = session.recoverable
        (layer,) = again.viewer.open(path, plugin="napari", layer_type="labels")
        again.controller.choose_labels(layer)
        assert session.recoverable == ()
        assert [r.is_offered for r in recoveries() if r.path == kept.path] == [False]
        again.click(*place)
        assert again.accept() == 3 + day
        layer.save(path)
        again.controller.close()
    # An older file holds less than the work that is offered.
    tifffile.imwrite(path, np.where(layer.data == 1, layer.data, 0))
    again = open_desk(coins)
    (layer,) = again.viewer.open(path, plugin="napari", layer_type="labels")
    again.controller.choose_labels(layer)
    assert len(again.controller.projects.recoverable) == 1


def test_a_copy_of_the_labels_does_not_take_their_place(
    write: Callable[..., Desk],
) -> None:
    desk = write(1)
    path, labels = desk.controller.projects.folder.path, desk.labels
    copy = Labels.create(*labels.as_layer_data_tuple())
    copy.metadata = dict(labels.metadata)
    desk.viewer.add_layer(copy)
    desk.controller.choose_labels(copy)
    assert desk.controller.projects.folder is None
    desk.controller.choose_labels(labels)
    assert desk.controller.projects.folder.path == path


def test_a_second_window_opens_for_reading_and_says_so(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    desk = write()
    desk.controller.projects.save_as(tmp_path / "coins")
    second = open_desk(np.zeros((9, 9), np.uint8))
    session = second.controller.projects
    session.open(tmp_path / "coins.napari-sam")
    assert session.is_read_only
    assert "for reading only, since another viewer" in second.controller.status
    second.click(*COINS[4])
    second.accept()
    with pytest.raises(FileFormatError, match="can only be read, since another viewer"):
        session.save()
    with ns.open_project(tmp_path / "coins.napari-sam") as stored:
        assert set(np.unique(stored.labels)) == {0, 1, 2}
    session.save_as(tmp_path / "mine")
    assert not session.is_read_only
    assert np.array_equal(
        ns.open_project(tmp_path / "mine.napari-sam").labels, second.labels.data
    )


def test_an_image_that_moved_is_asked_for(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    coins_file: Path,
    tmp_path: Path,
) -> None:
    desk = write()
    desk.controller.projects.save_as(tmp_path / "coins")
    labels = desk.labels.data.copy()
    desk.controller.close()
    moved = tmp_path / "elsewhere.tif"
    coins_file.rename(moved)
    again = open_desk(np.zeros((9, 9), np.uint8))
    session = again.controller.projects
    before = list(again.viewer.layers)
    with pytest.raises(ImageError, match=r"is not at .*coins\.tif; choose it"):
        session.open(tmp_path / "coins.napari-sam")
    tifffile.imwrite(coins_file, np.zeros(labels.shape, np.uint8))
    with pytest.raises(ImageError, match="has other pixels than"):
        session.open(tmp_path / "coins.napari-sam")
    assert list(again.viewer.layers) == before
    session.open(tmp_path / "coins.napari-sam", moved)
    assert np.array_equal(again.labels.data, labels)


def test_a_folder_that_goes_away_is_told_once_and_costs_nothing(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    tmp_path: Path,
    notes: Callable[[], list[str]],
) -> None:
    import shutil

    desk = write()
    session = desk.controller.projects
    session.save_as(tmp_path / "coins")
    shutil.rmtree(tmp_path / "coins.napari-sam")
    for place in COINS[2:5]:
        desk.click(*place)
        desk.accept()
    told = [n for n in notes() if "cannot be kept safe" in n]
    assert len(told) == 1
    session.save()
    labels = desk.labels.data.copy()
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4, 5}
    desk.controller.close()
    with ns.open_project(tmp_path / "coins.napari-sam") as stored:
        assert np.array_equal(stored.labels, labels)
        assert [r.label for r in stored.records] == [1, 2, 3, 4, 5]


def test_a_disk_that_takes_nothing_is_told_once(
    write: Callable[..., Desk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notes: Callable[[], list[str]],
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NAPARI_SAM_STATE_DIR", str(tmp_path / "file"))
    desk = write(3)
    assert len([n for n in notes() if "cannot be written" in n]) == 1
    assert set(np.unique(desk.labels.data)) == {0, 1, 2, 3}
    desk.controller.projects.save_as(tmp_path / "coins")
    with ns.open_project(tmp_path / "coins.napari-sam") as stored:
        assert np.array_equal(stored.labels, desk.labels.data)


def test_assigned_data_are_saved_as_well(
    write: Callable[..., Desk], tmp_path: Path
) -> None:
    desk = write()
    desk.controller.projects.save_as(tmp_path / "coins")
    data = desk.labels.data.copy()
    data[60:63, 60:63] = 11
    desk.labels.data = data
    assert desk.controller.projects.path is not None
    with ns.open_project(tmp_path / "coins.napari-sam") as stored:
        assert np.array_equal(stored.labels, data)


def test_labels_saved_by_napari_find_their_objects_again(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """Written by napari's own writer, which keeps no metadata, and read again."""
    from napari_builtins.io import napari_write_labels

    desk = write(3)
    path = str(tmp_path / "plain.tif")
    assert napari_write_labels(path, desk.labels.data, {})
    labels = tifffile.imread(path).astype(np.uint16)
    labels[labels == 2] = 0  # erased since
    again = open_desk(desk.image.data.copy())
    layer = again.viewer.add_labels(labels)
    again.controller.choose_labels(layer)
    assert [r.label for r in again.controller.context.records or ()] == [1, 3]
    again.annotator.select_object(3)
    assert len(again.points.data) == 1


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("x.labels.tif", True), ("x.ome.tif", True), ("x.ome.tiff", True),
        ("x.zarr", True), ("x.ome.zarr", True), ("x.tif", False), ("x", False),
    ],
)  # fmt: skip
def test_whose_writer_napari_takes(tmp_path: Path, name: str, ours: bool) -> None:
    """In scripts it goes by the name, in the dialog by the type: docs/projects.md."""
    manager = PluginManager.instance()
    writer, _ = manager.get_writer(str(tmp_path / name), ["labels"])
    assert writer is not None
    assert (writer.plugin_name == "napari-sam") is ours
    first, second, *_ = manager.iter_compatible_writers(["labels"])
    assert (first.plugin_name, second.plugin_name) == ("napari", "napari-sam")


def test_a_name_without_an_ending_gets_one(
    write: Callable[..., Desk], tmp_path: Path
) -> None:
    """napari's dialog proposes the name of the layer, and adds nothing to it."""
    desk = write(1)
    (writer,) = (
        w
        for w in PluginManager.instance().iter_compatible_writers(["labels"])
        if w.plugin_name == "napari-sam"
    )
    data, meta, _ = desk.labels.as_layer_data_tuple()
    path = str(tmp_path / "coins labels")
    assert writer.exec(args=(path, data, meta)) == [f"{path}.ome.zarr"]
    with pytest.raises(FileFormatError, match="is there already"):
        writer.exec(args=(path, data, meta))


@pytest.mark.parametrize("name", ["x.labels.tif", "x.ome.tif", "x.ome.zarr"])
def test_our_writer_and_reader_keep_scale_units_and_objects(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    tmp_path: Path,
    name: str,
) -> None:
    desk = write()
    path = tmp_path / name
    assert desk.labels.save(str(path), plugin="napari-sam") == [str(path)]
    from napari_sam.io.napari_files import get_reader

    reader = get_reader(str(path))
    assert reader is not None
    ((data, arguments, kind),) = reader(str(path))
    assert kind == "labels"
    assert np.array_equal(data, desk.labels.data)
    layer = Labels(data, **arguments)
    assert tuple(layer.scale) == pytest.approx((0.3, 0.3))
    assert [str(u) for u in layer.units] == ["micrometer"] * 2
    assert layer.metadata[METADATA_KEY] == desk.labels.metadata[METADATA_KEY]
    image = Image(desk.image.data, scale=(0.3, 0.3), units=("um", "um"))
    again = open_desk(image)
    again.viewer.add_layer(layer)
    again.controller.choose_labels(layer)
    again.annotator.select_object(1)
    assert len(again.points.data) == 1


def test_a_script_makes_the_same_labels(
    write: Callable[..., Desk], tmp_path: Path, mobile_sam: SamModel
) -> None:
    desk = write(2, engine=Engine(mobile_sam, EmbeddingStore(tmp_path / "store")))
    desk.box(5, 120, 50, 160)
    desk.accept()
    desk.controller.projects.save_as(tmp_path / "coins")
    labels = desk.labels.data.copy()
    desk.controller.close()
    with ns.open_project(tmp_path / "coins.napari-sam") as project:
        script = project.script()
    made: dict[str, object] = {}
    exec(compile(script, "script.py", "exec"), made)
    assert np.array_equal(made["labels"], labels)


def test_the_work_of_a_script_is_there_tomorrow(
    coins: np.ndarray, tmp_path: Path
) -> None:
    """As a day of a script goes, with labels that napari's own writer has saved."""
    viewer = ViewerModel()
    viewer.add_image(coins, name="coins", scale=(0.3, 0.3))
    with ns.annotate(viewer, "coins") as session:
        session.add_point(COINS[0])
        session.accept()
        saved = str(tmp_path / "reopen.tif")
        assert session.labels is not None
        session.labels.save(saved)
        assert session.save_project(tmp_path / "a") == tmp_path / "a.napari-sam"
        session.add_point(COINS[1])
        session.accept()
        assert session.save_project() == tmp_path / "a.napari-sam"
    with ns.open_project(tmp_path / "a.napari-sam", image=coins) as project:
        assert [r.label for r in project.records] == [1, 2]
    tomorrow = ViewerModel()
    tomorrow.add_image(coins, name="coins", scale=(0.3, 0.3))
    (labels,) = tomorrow.open(saved, layer_type="labels")
    with pytest.raises(ns.LabelsError, match="put it where the image is"):
        ns.annotate(tomorrow, "coins", labels=labels)
    labels.scale = (0.3, 0.3)
    with ns.annotate(tomorrow, "coins", labels=labels) as session:
        session.select_object(1)
        assert len(tomorrow.layers["SAM points"].data) == 1


def test_a_replay_asks_the_same_prompts(
    write: Callable[..., Desk], tmp_path: Path, model: ns.models.Model
) -> None:
    desk = write(3)
    desk.controller.projects.save_as(tmp_path / "coins")
    desk.controller.close()
    with ns.open_project(tmp_path / "coins.napari-sam") as project:
        replay = project.replay(model)
        assert [row.label for row in replay.rows] == [1, 2, 3]
        assert min(row.iou for row in replay.rows) > 0.95
        blank = project.replay(model, image=np.zeros(project.labels.shape, np.uint8))
        assert blank.mean_iou < replay.mean_iou
        assert f"mean IoU {replay.mean_iou:.3f} of 3 masks" in str(replay)
        with pytest.raises(ImageError, match="give one of the same shape"):
            project.replay(model, image=np.zeros((4, 4), np.uint8))


# -- what happens to places meanwhile -----------------------------------------------


@pytest.mark.parametrize("is_other", [True, False])
def test_labels_of_another_form_go_on_in_another_place(
    write: Callable[..., Desk], is_other: bool
) -> None:
    """A folder takes only labels of the form that it was made for."""
    desk = write(1)
    labels, session = desk.labels, desk.controller.projects
    first = session.folder.path
    desk.controller.labels.new()
    if is_other:
        labels.data = labels.data.astype(np.uint8)
    desk.controller.choose_labels(labels)
    desk.click(*COINS[3])
    assert desk.accept() == 2
    assert (session.folder.path == first) is not is_other
    assert np.dtype(session.folder.file.labels.dtype) == labels.data.dtype
    written = labels.data.copy()
    path = session.folder.path
    kill(desk)
    with ns.open_project(path) as project:
        np.testing.assert_array_equal(project.labels, written)
        assert project.labels.dtype == written.dtype
    assert first in [one.path for one in recoveries()]


@pytest.mark.parametrize("what", ["gone", "damaged", "open elsewhere", "as it was"])
def test_the_place_of_labels_is_looked_at_again(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    tmp_path: Path,
    notes: Callable[[], list[str]],
    what: str,
) -> None:
    """The dock is closed and opened again, and something has happened to the project.

    What is written then is kept, in a place of its own if need be.
    """
    desk = write(1)
    path, image, labels = tmp_path / "coins.napari-sam", desk.image, desk.labels
    desk.controller.projects.save_as(path)
    desk.controller.put_aside()
    desk.controller.close()
    elsewhere = None
    if what == "gone":
        shutil.rmtree(path)
    elif what == "damaged":
        (path / "project.json").write_text("{")
    elif what == "open elsewhere":
        elsewhere = ns.open_project(path)
        assert not elsewhere.read_only
    before = sorted(p.name for p in path.rglob("*")) if path.exists() else []
    again = open_desk(image, viewer=desk.viewer)
    again.controller.choose_labels(labels)
    session = again.controller.projects
    again.click(*COINS[3])
    assert again.accept() == 2
    assert notes() == []
    assert session.path == (path if what == "as it was" else None)
    kept = session.folder.path
    kill(again)
    with ns.open_project(kept) as project:
        np.testing.assert_array_equal(project.labels, labels.data)
        assert [r.label for r in project.records] == [1, 2]
    if what != "as it was":
        assert before == (
            sorted(p.name for p in path.rglob("*")) if path.exists() else []
        )
    if elsewhere is not None:
        elsewhere.close()


def test_an_accept_does_not_fail_for_what_keeps_it(
    write: Callable[..., Desk],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = write(1)

    def fails(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(desk.controller.projects.folder, "append", fails)
    desk.click(*COINS[3])
    assert desk.accept() == 2
    assert (desk.labels.data == 2).any()
    assert "a bug" in caplog.text


def test_the_number_of_what_was_erased_is_not_given_again(
    write: Callable[..., Desk], open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    desk = write(2)
    desk.labels.fill(COINS[1], 0)
    assert desk.labels.data.max() == 1
    desk.controller.projects.save_as(tmp_path / "coins")
    desk.controller.close()
    again = open_desk(np.zeros((9, 9), np.uint8))
    again.controller.projects.open(tmp_path / "coins.napari-sam")
    again.click(*COINS[3])
    assert again.accept() == 3


def test_damage_is_told_and_what_is_whole_is_there(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    tmp_path: Path,
    notes: Callable[[], list[str]],
) -> None:
    desk = write(1)
    path = tmp_path / "coins.napari-sam"
    desk.controller.projects.save_as(path)
    for coin in COINS[1:3]:
        desk.click(*coin)
        desk.accept()
    kill(desk)
    (segment,) = (path / "journal").glob("*.journal")
    data = bytearray(segment.read_bytes())
    data[60] ^= 255
    segment.write_bytes(bytes(data))
    again = open_desk(np.zeros((9, 9), np.uint8))
    again.controller.projects.open(path)
    (note,) = notes()
    assert "is damaged" in note
    assert note.endswith("look the labels through.")
    assert np.unique(again.labels.data).tolist() == [0, 1, 3]
    again.click(*COINS[3])
    assert again.accept() == 4


def test_other_pixels_in_the_place_of_the_image_change_nothing(
    write: Callable[..., Desk], tmp_path: Path
) -> None:
    desk = write(1)
    desk.controller.projects.save_as(tmp_path / "coins")
    other = desk.viewer.add_image(np.flipud(desk.image.data), name="other")
    labels, before = desk.labels, list(desk.viewer.layers)
    with pytest.raises(ImageError, match=r"'other' has other pixels.*right one\."):
        desk.controller.projects.open(tmp_path / "coins.napari-sam", other)
    assert list(desk.viewer.layers) == before
    assert desk.labels is labels
    desk.click(*COINS[3])
    assert desk.accept() == 2


def test_saved_before_the_image_is_known(
    open_desk: Callable[..., Desk],
    coins_file: Path,
    tmp_path: Path,
    pumped: PumpedRunner,
) -> None:
    """Its checksum is made in the background, and takes long for a large one."""
    viewer = ViewerModel()
    (image,) = viewer.open(coins_file, plugin="napari")
    desk = open_desk(image, viewer=viewer, runner=pumped)
    desk.controller.new_labels()
    desk.labels.data_setitem((np.array([3]), np.array([4])), 5)
    session = desk.controller.projects
    session.save_as(tmp_path / "coins")
    pumped.pump(lambda: not session.is_saving)
    desk.controller.close()
    with ns.open_project(tmp_path / "coins.napari-sam") as project:
        assert project.labels[3, 4] == 5
    again = open_desk(np.zeros((9, 9), np.uint8))
    again.controller.projects.open(tmp_path / "coins.napari-sam", coins_file)
    assert again.labels.data[3, 4] == 5


def test_closed_while_it_is_saved_elsewhere_both_places_have_it(
    open_desk: Callable[..., Desk],
    coins_file: Path,
    tmp_path: Path,
    pumped: PumpedRunner,
) -> None:
    viewer = ViewerModel()
    (image,) = viewer.open(coins_file, plugin="napari")
    desk = open_desk(image, viewer=viewer, runner=pumped)
    desk.controller.new_labels()
    session = desk.controller.projects
    for number, name in enumerate(("one", "two"), 1):
        desk.labels.data_setitem((np.array([3]), np.array([number])), number)
        session.save_as(tmp_path / name)
        if name == "one":
            pumped.pump(lambda: not session.is_saving)
    desk.labels.data_setitem((np.array([3]), np.array([3])), 3)
    labels = desk.labels.data.copy()
    desk.controller.close()
    with ns.open_project(tmp_path / "one.napari-sam") as project:
        np.testing.assert_array_equal(project.labels, labels)


@pytest.mark.parametrize(("count", "said"), [(1, "1 object in"), (2, "2 objects in")])
def test_how_many_objects_were_saved(
    write: Callable[..., Desk], tmp_path: Path, count: int, said: str
) -> None:
    desk = write(count)
    desk.controller.projects.save_as(tmp_path / "coins")
    assert desk.controller.status.startswith(f"Saved {said} ")


def test_without_labels_it_is_said_what_is_missing(
    open_desk: Callable[..., Desk], coins: np.ndarray, tmp_path: Path
) -> None:
    session = open_desk(coins).controller.projects
    for act, error, said in (
        (session.save, FileFormatError, "no project yet; choose Save as"),
        (session.check_savable, ImageError, "save yet; accept an object or choose"),
        (lambda: session.save_as(tmp_path / "a"), ImageError, "no labels to save"),
        (session.script, ImageError, "no objects to make a script of"),
    ):
        with pytest.raises(error, match=said):
            act()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["open elsewhere", "gone"])
def test_labels_that_somebody_replaces_raise_nothing_where_they_cannot_be_saved(
    write: Callable[..., Desk],
    open_desk: Callable[..., Desk],
    tmp_path: Path,
    notes: Callable[[], list[str]],
    what: str,
) -> None:
    """As another plugin does that smooths or renumbers them."""
    desk = write(1)
    path = tmp_path / "coins.napari-sam"
    desk.controller.projects.save_as(path)
    desk.controller.close()
    elsewhere = ns.open_project(path) if what == "open elsewhere" else None
    again = open_desk(np.zeros((9, 9), np.uint8))
    session = again.controller.projects
    session.open(path)
    assert session.is_read_only is (elsewhere is not None)
    if what == "gone":
        shutil.rmtree(path)
        path.write_text("a file where the folder was")
    before = len(notes())
    again.labels.data = again.labels.data * 2
    said = notes()[before:]
    assert len(said) == (what == "gone")
    assert all(note.startswith(str(path)) or str(path) in note for note in said)
    again.click(*COINS[3])
    assert again.accept() == 3
    assert np.unique(again.labels.data).tolist() == [0, 2, 3]
    if elsewhere is not None:
        elsewhere.close()
        with ns.open_project(path) as project:
            assert np.unique(project.labels).tolist() == [0, 1]
