"""What bad input gets: one clear sentence, labels as they were, and on it goes."""

from __future__ import annotations

import os
import re

import dask.array as da
import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.everything.search import EverythingSettings
from napari_sam.core.masks import PostProcessing
from napari_sam.viewer.background.worker import SyncRunner
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.prompting import requests
from napari_sam.viewer.settings import Tool

COIN = (28, 87)


def is_one_sentence(text: str) -> bool:
    """Whether a message is one sentence that ends like one, with no traceback."""
    return (
        "\n" not in text
        and "Traceback" not in text
        and not text.startswith("Unexpected")
        and re.search(r"[.!?]\s+[A-Z]", text) is None
        and text.endswith(".")
    )


def assert_works(desk) -> None:
    """Check that the controller still annotates."""
    before = desk.labels.data.copy() if desk.controller.labels.layer else None
    coin = COIN
    if before is not None and before[..., coin[0], coin[1]].any():
        coin = (100, 139)
    desk.click(*coin)
    assert desk.masks[0][coin]
    desk.accept()
    if before is not None:
        np.testing.assert_array_equal(desk.labels.data[before > 0], before[before > 0])


def test_no_layer_at_all(engine, notes):
    controller = Controller(ViewerModel(), SyncRunner())
    controller.loader.use(engine)
    for action in (
        controller.accept,
        controller.discard,
        controller.cycle_level,
        controller.flip_polarity,
        controller.remove_last_prompt,
        controller.pick_under_cursor,
        controller.segment_plane,
        controller.segment_stack,
        controller.segment_box,
        controller.encode_stack,
        controller.cancel,
        lambda: controller.go_to(3),
        lambda: controller.hold_hover(True),
        lambda: controller.hold_hover(False),
        lambda: controller.choose_tool(Tool.BOX),
        lambda: controller.choose_image(None),
        lambda: controller.choose_labels(None),
        controller.undo,
        controller.redo,
        controller.accept_plane,
        controller.segment_view,
        controller.show_model_input,
        controller.toggle_review,
    ):
        action()
        assert is_one_sentence(controller.status) or "  " in controller.status
    assert controller.navigator.text == ""
    assert controller.task_status.progress is None
    assert all(is_one_sentence(n) for n in notes())
    controller.close()
    assert len(controller.viewer.layers) == 0


def test_napari_itself_refuses_images_without_pixels_and_complex_ones():
    # If this fails, such layers can exist and the controller must be tested on them.
    with pytest.raises((ValueError, RuntimeWarning)):
        Image(np.zeros((0, 20), np.uint8))
    with pytest.raises((NotImplementedError, np.exceptions.ComplexWarning)):
        Image(np.ones((20, 30), np.complex64))


def test_prompt_outside_the_image(open_desk, coins, notes):
    desk = open_desk(coins)
    assert_works(desk)
    before = desk.labels.data.copy()
    desk.click(-40, 30)
    assert len(desk.points.data) == 0
    assert "outside the image" in desk.controller.status
    # A script's hand goes where the mouse does not.
    desk.points.add([[-40, 30]])
    (note,) = notes()
    assert is_one_sentence(note)
    assert "-40" in note
    assert not desk.annotator.accept()
    np.testing.assert_array_equal(desk.labels.data, before)
    desk.controller.discard()
    assert_works(desk)


@pytest.mark.parametrize(
    "corners", [(-60, -60, -20, -20), (300, 300, 400, 400)], ids=["before", "after"]
)
def test_box_outside_the_image(open_desk, coins, notes, corners):
    desk = open_desk(coins)
    desk.box(*corners)
    assert not desk.annotator.accept()
    # Accepting asks again, and is told again.
    assert len(set(notes())) == 1
    assert is_one_sentence(notes()[0])
    asked = len(notes())
    desk.controller.segment_box()
    assert len(notes()) == asked + 1
    assert not desk.controller.everything.is_running
    assert desk.controller.everything.count == 0
    desk.controller.discard()
    assert_works(desk)


def test_box_partly_outside_the_image_is_cut(open_desk, coins, notes):
    desk = open_desk(coins)
    desk.box(-30, 66, 50, 108)
    assert desk.masks[0][COIN]
    assert notes() == []


def test_prompt_on_another_plane_waits_there(open_desk, coin_stack, notes):
    desk = open_desk(coin_stack)
    desk.viewer.dims.set_current_step(0, 1)
    desk.points.add([[0, *COIN]])
    assert desk.masks == []
    assert notes() == []
    # On no plane of the image at all
    desk.points.add([[17, *COIN]])
    assert desk.masks == []
    desk.viewer.dims.set_current_step(0, 0)
    assert desk.masks[0][COIN]
    desk.viewer.dims.set_current_step(0, 2)
    desk.accept()
    assert desk.labels.data[(0, *COIN)] == 1
    assert not desk.labels.data[1:].any()


def test_box_of_no_area(open_desk, coins, notes):
    desk = open_desk(coins)
    desk.box(*COIN, *COIN)
    (note,) = notes()
    assert is_one_sentence(note)
    assert not desk.annotator.accept()
    assert desk.controller.labels.layer is None
    desk.controller.discard()
    assert_works(desk)


def test_hundred_points(open_desk, coins, notes):
    desk = open_desk(coins)
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ring = np.column_stack([28 + 8 * np.cos(angle), 87 + 8 * np.sin(angle)])
    desk.points.data = ring
    assert desk.masks[0][COIN]
    assert notes() == []
    desk.accept()


def test_chunk_that_cannot_be_read(open_desk, coin_stack, notes):
    def load(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 2:
            raise OSError("disk on fire")
        return block

    lazy = da.from_array(coin_stack, chunks=(1, 124, 170)).map_blocks(
        load, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    image = Image(lazy, contrast_limits=(0, 255), name="lazy")
    desk = open_desk(image)
    assert_works(desk)
    before = desk.labels.data.copy()
    # napari itself cannot show this plane either.
    with pytest.raises(OSError, match="disk on fire"):
        desk.viewer.dims.set_current_step(0, 2)
    image.visible = False
    desk.viewer.dims.set_current_step(0, 1)
    desk.viewer.dims.set_current_step(0, 2)
    assert desk.controller.context.plane.index[0] == 2
    desk.click(*COIN)
    assert not desk.annotator.accept()
    said = notes()
    assert said
    assert all("disk on fire" in n and is_one_sentence(n) for n in said)
    np.testing.assert_array_equal(desk.labels.data, before)
    desk.controller.discard()
    desk.viewer.dims.set_current_step(0, 1)
    image.visible = True
    desk.click(100, 139)
    assert desk.accept() == 2


def test_background_encoding_of_an_unreadable_plane_is_not_said_aloud(
    open_desk, coin_stack, notes
):
    def load(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 2:
            raise OSError("disk on fire")
        return block

    lazy = da.from_array(coin_stack, chunks=(1, 124, 170)).map_blocks(
        load, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    desk = open_desk(Image(lazy, contrast_limits=(0, 255)))
    desk.controller.encode_stack()
    assert notes() == []
    assert desk.controller.prefetcher.strip.ready.tolist() == [True, True, False]


@pytest.fixture
def starving(model, tmp_path, encodes_itself):
    """Return an engine whose encoder finds no memory, and how to feed it."""
    engine = Engine(model, EmbeddingStore(tmp_path / "store"))

    def starve(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    hooks = [
        module.register_forward_pre_hook(starve) for module in model._encoder.modules()
    ]

    def feed() -> None:
        for hook in hooks:
            hook.remove()

    yield engine, feed
    feed()


def test_out_of_memory(open_desk, coins, notes, starving):
    engine, feed = starving
    desk = open_desk(coins, engine=engine)
    desk.click(*COIN)
    assert not desk.annotator.accept()
    said = notes()
    assert said
    assert all(is_one_sentence(n) for n in said), said
    assert all("no memory left" in n for n in said)
    assert desk.controller.labels.layer is None
    desk.controller.discard()
    feed()
    assert_works(desk)


def test_bug_in_the_worker_is_logged_and_shown(
    open_desk, coins, notes, monkeypatch, caplog
):
    desk = open_desk(coins)
    planes = desk.controller.context.encoder
    monkeypatch.setattr(planes, "iter_get", lambda plane: 1 / 0)
    desk.click(*COIN)
    assert any("Unexpected ZeroDivisionError" in n and "log" in n for n in notes()), (
        notes()
    )
    assert "Traceback" in caplog.text
    monkeypatch.undo()
    desk.controller.discard()
    assert_works(desk)


def test_labels_full(open_desk, coins, notes):
    desk = open_desk(coins)
    labels = desk.viewer.add_labels(np.zeros(coins.shape, np.uint8), name="cells")
    labels.data[0, :2] = 254, 255
    desk.controller.choose_labels(labels)
    before = labels.data.copy()
    desk.click(*COIN)
    assert not desk.annotator.accept()
    (note,) = notes()
    assert is_one_sentence(note)
    assert "'cells'" in note
    assert "255" in note
    np.testing.assert_array_equal(labels.data, before)
    # The prompts are still there for another layer.
    desk.controller.new_labels()
    assert desk.accept() == 1
    np.testing.assert_array_equal(labels.data, before)


def test_everything_into_full_labels_writes_nothing(open_desk, coins, notes):
    desk = open_desk(coins, everything=EverythingSettings(points_per_side=4))
    labels = desk.viewer.add_labels(np.zeros(coins.shape, np.uint8))
    labels.data[0, 0] = 254
    desk.controller.choose_labels(labels)
    before = labels.data.copy()
    desk.controller.segment_plane()
    assert desk.controller.everything.count > 1
    assert not desk.controller.everything.write()
    assert len(notes()) == 1
    assert is_one_sentence(notes()[0])
    np.testing.assert_array_equal(labels.data, before)
    assert desk.controller.everything.count > 1


def test_labels_changed_to_another_transform_are_let_go(open_desk, coins):
    desk = open_desk(coins)
    assert_works(desk)
    labels, before = desk.labels, desk.labels.data.copy()
    desk.image.scale = (2, 2)
    assert desk.controller.labels.layer is None
    desk.click(100, 139)
    desk.accept()
    assert desk.labels is not labels
    np.testing.assert_array_equal(labels.data, before)


def test_three_dimensional_display_asks_for_two(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    desk.click(*COIN)
    desk.viewer.dims.ndisplay = 3
    assert "2-D" in desk.controller.status
    assert desk.masks == []
    desk.controller.segment_plane()
    desk.viewer.dims.ndisplay = 2
    assert desk.masks[0][COIN]


def test_sliders_outside_the_image(open_desk, coins, coin_stack):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((9, 124, 170), np.uint8))
    desk = open_desk(coin_stack, viewer=viewer)
    viewer.dims.set_current_step(0, 7)
    assert "outside the image" in desk.controller.status
    assert desk.controller.context.plane is None
    desk.controller.accept()
    viewer.dims.set_current_step(0, 1)
    desk.click(*COIN)
    desk.accept()
    assert desk.labels.data.shape == coin_stack.shape


@pytest.mark.skipif(os.name != "posix", reason="a file in the folder's place")
def test_cache_folder_that_cannot_be_written(open_desk, model, coins, notes, tmp_path):
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file where the folder should be")
    store = EmbeddingStore(in_the_way / "embeddings")
    desk = open_desk(coins, engine=Engine(model, store))
    desk.click(*COIN)
    desk.accept()
    assert store.problem is not None
    assert is_one_sentence(store.problem)
    # From memory
    desk.click(100, 139)
    assert desk.accept() == 2
    assert in_the_way.read_text() == "a file where the folder should be"


def test_missing_model_file(open_desk, coins, notes, tmp_path):
    desk = open_desk(coins)
    assert_works(desk)
    desk.controller.load_model(str(tmp_path / "absent.pth"), "cpu")
    (note,) = notes()
    assert is_one_sentence(note)
    assert "absent.pth" in note
    assert not desk.controller.loader.is_loading
    assert desk.controller.loader.name == "small"
    desk.click(100, 139)
    desk.accept()


def test_weights_cut_short(open_desk, coins, notes, tmp_path):
    desk = open_desk(coins)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    desk.controller.load_model(str(broken), "cpu")
    (note,) = notes()
    assert is_one_sentence(note)
    assert "broken.safetensors" in note
    assert_works(desk)


@pytest.fixture
def slow_full(open_desk, coins, pumped, monkeypatch):
    """Return a desk that waits for its answers, and whose labels are full."""
    desk = open_desk(coins, runner=pumped)
    monkeypatch.setattr(desk.annotator.prompting, "_foreseen", lambda: None)
    labels = desk.viewer.add_labels(np.zeros(coins.shape, np.uint8), name="cells")
    labels.data[0, :2] = 254, 255
    desk.controller.choose_labels(labels)
    pumped.pump(lambda: not pumped.is_busy())
    pumped.drain()
    return desk


@pytest.mark.parametrize("is_next_begun", [False, True])
def test_what_does_not_fit_when_its_answer_comes_is_under_way_again(
    slow_full, pumped, notes, is_next_begun
):
    desk, before = slow_full, slow_full.labels.data.copy()
    desk.click(*COIN)
    assert not desk.annotator.accept()
    assert desk.annotator.is_waiting
    if is_next_begun:
        desk.click(100, 139)
    pumped.pump(lambda: not desk.annotator.is_waiting)
    pumped.drain()
    assert any("uses 255 already" in note for note in notes())
    np.testing.assert_array_equal(desk.labels.data, before)
    places = [
        [p.position for p in kept.items.points] for kept in desk.annotator.under_way()
    ]
    assert places == [[COIN], [(100, 139)]][: 1 + is_next_begun]
    if is_next_begun:
        desk.controller.discard()
    assert [p.position for p in desk.annotator.items.points] == [COIN]
    desk.controller.new_labels()
    pumped.pump(lambda: bool(desk.annotator.draft.answers) and not pumped.is_busy())
    pumped.drain()
    assert desk.accept() == 1
    assert desk.labels.data[COIN] == 1


def test_an_accepted_object_is_written_when_its_image_is_back(slow_full, pumped):
    """It was left before there was an answer."""
    desk, image = slow_full, slow_full.image
    desk.controller.new_labels()
    labels = desk.labels
    pumped.drain()
    desk.click(*COIN)
    assert not desk.annotator.accept()
    other = desk.viewer.add_image(np.zeros((40, 60), np.uint8))
    desk.controller.choose_image(other)
    assert not desk.annotator.is_waiting
    desk.controller.choose_image(image)
    desk.controller.choose_labels(labels)
    assert desk.annotator.is_waiting
    pumped.pump(lambda: not desk.annotator.is_waiting)
    pumped.drain()
    assert labels.data[COIN] == 1


def test_live_writing_into_full_labels_is_told_once_and_changes_nothing(
    open_desk, coins, notes
):
    desk = open_desk(coins, live=True)
    labels = desk.viewer.add_labels(np.zeros(coins.shape, np.uint8), name="cells")
    labels.data[0, :2] = 254, 255
    desk.controller.choose_labels(labels)
    before = labels.data.copy()
    desk.click(*COIN)
    (note,) = notes()
    assert is_one_sentence(note)
    assert "uses 255 already" in note
    np.testing.assert_array_equal(labels.data, before)
    assert desk.masks[0][COIN]
    desk.controller.new_labels()
    desk.accept()
    assert desk.labels.data[COIN] == 1


def test_where_all_is_cleaned_away_nothing_is_written(open_desk, coins, notes):
    desk = open_desk(coins, cleaning=PostProcessing(min_area=10**6))
    desk.click(*COIN)
    assert desk.shown is None
    assert desk.controller.status.startswith("Nothing found there: add a point")
    assert not desk.annotator.accept()
    assert "Nothing was found there, so nothing was written" in desk.controller.status
    assert len(desk.annotator.items.points) == 1
    assert not desk.labels.data.any()
    desk.controller.change_settings(cleaning=PostProcessing())
    assert desk.masks[0][COIN]
    desk.accept()
    assert desk.labels.data[COIN] == 1


def test_a_correction_that_the_brush_has_made_already(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COIN)
    desk.accept()
    desk.annotator.select_object(1)
    desk.click(COIN[0], COIN[1] + 12, "Control")
    (mask,) = desk.masks
    changed = np.nonzero(mask != (desk.labels.data == 1))
    assert changed[0].size
    desk.labels.data_setitem(changed, mask[changed].astype(np.uint8))
    painted = desk.labels.data.copy()
    assert desk.annotator.accept()
    assert "Object 1 is unchanged" in desk.controller.status
    np.testing.assert_array_equal(desk.labels.data, painted)
    assert desk.annotator.is_empty
    assert desk.annotator.label == 2
    desk.controller.undo()
    assert (desk.labels.data != painted).sum() == changed[0].size


def test_another_level_that_fails_leaves_what_was_there(
    open_desk, coins, monkeypatch, caplog
):
    desk = open_desk(coins)
    desk.click(*COIN)
    (mask,) = desk.masks

    def fails(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(requests, "reselect_level", fails)
    desk.controller.cycle_level()
    assert "a bug" in caplog.text
    np.testing.assert_array_equal(desk.masks[0], mask)
    # Nothing waits for it: the level is asked for instead.
    desk.annotator.accept()
    assert not desk.annotator.is_waiting
    assert desk.labels.data[COIN] == 1


def test_another_level_of_what_is_discarded_is_not_shown(open_desk, coins, pumped):
    desk = open_desk(coins, runner=pumped)
    desk.click(*COIN)
    pumped.pump(lambda: bool(desk.annotator.draft.answers) and not pumped.is_busy())
    pumped.drain()
    desk.controller.cycle_level()
    assert desk.annotator.prompting.requests.is_releveled(desk.annotator.draft)
    desk.controller.discard()
    pumped.pump(lambda: not pumped.is_busy())
    pumped.drain()
    assert desk.annotator.is_empty
    assert desk.masks == []
    assert desk.shown is None


class FullDisk(np.ndarray):
    """An array that cannot be written to while its disk is full."""

    is_full = False

    def __setitem__(self, key, value):
        if FullDisk.is_full:
            raise OSError("no space left on device")
        super().__setitem__(key, value)


@pytest.mark.parametrize("how", ["discard", "remove", "click"])
def test_what_live_mode_wrote_stays_while_the_disk_is_full(
    open_desk, coins, notes, monkeypatch, how
):
    desk = open_desk(coins, live=True)
    labels = desk.viewer.add_labels(np.zeros(coins.shape, np.uint8).view(FullDisk))
    desk.controller.choose_labels(labels)
    desk.click(*COIN)
    written = np.array(labels.data)
    assert written[COIN] == 1
    monkeypatch.setattr(FullDisk, "is_full", True)
    if how == "discard":
        desk.controller.discard()
    elif how == "remove":
        desk.controller.remove_last_prompt()
    else:
        desk.click(COIN[0], COIN[1] + 8, "Control")
    said = notes()
    assert said
    assert all(is_one_sentence(n) and "no space left" in n for n in said)
    np.testing.assert_array_equal(labels.data, written)
    monkeypatch.setattr(FullDisk, "is_full", False)
    if how == "click":
        assert desk.annotator.accept()
        assert labels.data[COIN] == 1
    desk.controller.undo()
    assert not labels.data.any()
    assert len(desk.controller.context.records) == 0
