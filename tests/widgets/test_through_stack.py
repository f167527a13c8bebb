"""An object through the stack, in a real window: keys, strip, panel, closing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from driver import SHIFT, spin, wait_until
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.closing import CloseGuard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driver import Driver, Pixels

    from gate import Gate

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui

COIN = (46, 45)


@pytest.fixture(scope="session")
def column(coins: Pixels) -> Pixels:
    """Return five slices of the same coins: what is followed is in all of them."""
    return np.stack([coins] * 5)


def follow(sam: Driver) -> None:
    """Click a coin in the middle and follow it."""
    sam.viewer.dims.set_point(0, 2)
    sam.wait_ready()
    sam.click((2, *COIN))
    sam.wait_preview()
    sam.key("Shift+T")
    wait_followed(sam)


def wait_followed(sam: Driver) -> None:
    wait_until(
        lambda: (
            sam.controller.propagation.followed is not None
            and not sam.controller.propagation.is_running
        ),
        "the object to be followed",
    )


def begin(sam: Driver, found: int = 3) -> None:
    """Follow a coin from the middle, and wait for the slices that a gate lets by."""
    sam.viewer.dims.set_point(0, 2)
    sam.wait_ready()
    sam.click((2, *COIN))
    sam.wait_preview()
    sam.key("Shift+T")
    followed = sam.controller.propagation
    wait_until(
        lambda: (
            followed.followed is not None and len(followed.followed.slices) == found
        ),
        "the first slices",
    )


def errors() -> list[str]:
    records = notification_manager.records
    return [r.message for r in records if str(r.severity) == "error"]


def slices(sam: Driver) -> list[int]:
    return np.flatnonzero(sam.labels.data.any((1, 2))).tolist()


def three_actions_then_undo_redo_and_a_correction(sam: Driver) -> None:
    # Nobody types into the fields of the panel by accident.
    focus = QApplication.focusWidget()
    assert focus is None or not sam.widget.volume.container.native.isAncestorOf(focus)
    assert sam.widget.object_strip.isVisible()
    follow(sam)
    strip = sam.widget.object_strip
    assert len(strip.runs()) >= 3
    assert "least sure" in sam.widget.follow.info.value
    sam.key("Shift+S")
    least = sam.viewer.dims.current_step[0]
    assert least != 2
    wait_until(lambda: sam.preview_pixels > 0, "what was found there")
    assert "confidence" in sam.widget.objects.info.value
    sam.wait_ready()
    sam.click((least, *COIN))
    wait_until(
        lambda: (
            sam.annotator.prediction is not None
            and not sam.controller.propagation.is_running
        ),
        "the correction",
    )
    assert least in sam.controller.propagation.followed.prompted
    sam.key("N")
    wait_until(lambda: sam.labeled == [1], "the object in the labels")
    written = slices(sam)
    assert len(written) >= 4
    sam.key("Ctrl+Z")
    wait_until(lambda: sam.labeled == [], "the undo")
    assert sam.controller.propagation.followed is not None
    sam.key("Ctrl+Z", SHIFT)
    wait_until(lambda: slices(sam) == written, "the redo")


def the_end_is_cut_and_nothing_beyond_is_written(sam: Driver) -> None:
    follow(sam)
    sam.viewer.dims.set_point(0, 3)
    sam.key("Shift+E")
    sam.key("N")
    wait_until(lambda: sam.labeled == [1], "the object in the labels")
    assert 4 not in slices(sam)
    assert {2, 3} <= set(slices(sam))


def test_followed_cut_corrected_written_and_taken_back(
    open_sam: OpenSam, column: Pixels
) -> None:
    sam = open_sam(column)
    for check in (
        three_actions_then_undo_redo_and_a_correction,
        the_end_is_cut_and_nothing_beyond_is_written,
    ):
        sam.start_over()
        check(sam)


def test_the_window_closes_over_what_is_followed(
    open_sam: OpenSam, column: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = open_sam(column)
    sam.click((2, *COIN))
    sam.wait_preview()
    sam.key("Shift+T")
    sam.key("N")
    asked: list[str] = []

    def write(self: CloseGuard, question: str, *_: object) -> str:
        asked.append(question)
        return "Write"

    monkeypatch.setattr(CloseGuard, "_ask", write)
    guard = sam.widget._guard
    assert guard is not None
    if sam.controller.is_under_way:
        assert guard.may_close()
        (question,) = asked
        assert "Object 2" not in question
    assert sam.labeled == [1]
    assert not sam.controller.propagation.is_running


def test_single_images_have_no_such_section(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    assert not sam.widget.volume_section.isVisible()
    assert not sam.widget.object_strip.isVisible()


@pytest.fixture(scope="session")
def ball() -> Pixels:
    """Return an ellipsoid in noise, uint8 (36, 40, 44), its center (17, 21, 20)."""
    grid = np.ogrid[:36, :40, :44]
    distance = sum(
        ((g - c) / r) ** 2
        for g, c, r in zip(grid, (17, 21, 20), (9, 11, 13), strict=True)
    )
    noise = np.random.default_rng(0).normal(0, 6, (36, 40, 44))
    return (np.where(distance <= 1, 190, 40) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("order", "name"), [((1, 0, 2), "XZ"), ((2, 0, 1), "YZ"), ((2, 1, 0), "ZY")]
)
def test_along_any_axis_it_is_followed_corrected_written_and_taken_back(
    open_sam: OpenSam, ball: Pixels, order: tuple[int, int, int], name: str
) -> None:
    sam = open_sam(ball, wait=False, scale=(2.0, 1.0, 1.0))
    axis, center = order[0], np.array((17, 21, 20))
    sam.viewer.dims.order = order
    sam.viewer.dims.set_point(axis, center[axis] * (2.0 if axis == 0 else 1.0))
    sam.viewer.reset_view()
    sam.wait_ready()
    follower = sam.controller.propagation
    # Far enough to be seen, near enough to be quick.
    follower.choose(first=int(center[axis]) - 3, last=int(center[axis]) + 3)
    sam.click(center)
    sam.wait_preview()
    sam.key("Shift+T")
    wait_followed(sam)
    assert follower.followed.axis == axis
    assert len(sam.widget.object_strip.runs()) >= 3
    sam.key("Shift+S")
    at = sam.viewer.dims.current_step[axis]
    assert at != center[axis]
    sam.wait_ready()
    where = center.copy()
    where[axis] = at
    sam.click(where)
    wait_until(
        lambda: sam.annotator.prediction is not None and not follower.is_running,
        "the correction",
    )
    assert set(follower.followed.prompted) == {center[axis], at}
    sam.key("N")
    wait_until(lambda: sam.labeled == [1], "the object in the labels")
    written = sam.labels.data.copy()
    others = tuple(a for a in range(3) if a != axis)
    reached = np.flatnonzero(written.any(others))
    assert reached.tolist() == list(range(reached[0], reached[-1] + 1))
    assert len(reached) >= 6
    assert center[axis] - 3 <= reached[0] < reached[-1] <= center[axis] + 3
    bright = ball > 115
    bright[tuple(slice(None) if a != axis else slice(reached[0]) for a in range(3))] = 0
    bright[
        tuple(
            slice(None) if a != axis else slice(reached[-1] + 1, None) for a in range(3)
        )
    ] = 0
    assert (bright & (written > 0)).sum() / (bright | (written > 0)).sum() > 0.8
    sam.key("Ctrl+Z")
    wait_until(lambda: sam.labeled == [], "the undo")
    assert follower.followed.axis == axis
    sam.key("Ctrl+Z", SHIFT)
    wait_until(lambda: np.array_equal(sam.labels.data, written), "the redo")
    assert not errors()


def test_cancel_in_the_middle_keeps_what_is_there_and_it_goes_on(
    open_sam: OpenSam, column: Pixels, gate: Gate
) -> None:
    sam = open_sam(column)
    begin(sam)
    assert sam.widget.cancel.visible
    sam.push(sam.widget.cancel)
    assert not sam.controller.propagation.is_running
    wait_until(lambda: not sam.widget.cancel.visible, "the button to go")
    assert "What was found stays" in sam.widget.status.text()
    assert len(sam.controller.propagation.followed.slices) == 3
    gate.open.set()
    sam.key("Shift+T")
    wait_followed(sam)
    assert sam.controller.propagation.followed.is_finished
    sam.key("N")
    wait_until(lambda: len(slices(sam)) >= 4, "the object in the labels")


def test_scrolling_and_clicking_while_it_runs(
    open_sam: OpenSam, column: Pixels, gate: Gate
) -> None:
    sam = open_sam(column)
    begin(sam)
    shown = []
    for position in (1, 3, 0, 4, 2):
        sam.viewer.dims.set_point(0, position)
        spin(30)
        shown.append(sam.preview_pixels > 0)
    # Three were found, and the prompted one.
    assert sum(shown) == 4
    sam.key("N")
    assert sam.annotator.is_empty
    assert sam.labeled == []
    gate.open.set()
    wait_until(lambda: sam.labeled == [1], "the object that was accepted")


@pytest.mark.parametrize("is_accepted", [False, True])
def test_another_image_while_it_runs(
    open_sam: OpenSam, column: Pixels, gate: Gate, is_accepted: bool
) -> None:
    sam = open_sam(column)
    begin(sam)
    if is_accepted:
        sam.key("N")
    said: list[str] = []
    sam.controller.said.connect(said.append)
    first = sam.controller.context.image
    other = sam.viewer.add_image(255 - column, name="other")
    sam.widget.layers.image.value = other
    gate.open.set()
    sam.wait_ready()
    sam.wait_idle()
    follower = sam.controller.propagation
    assert not follower.is_running
    assert follower.followed is None
    assert sam.preview_pixels == 0
    assert not sam.widget.object_strip.runs()
    # What was accepted is written as far as it was found, and this is said.
    if is_accepted:
        assert any("following it was stopped" in text for text in said)
    written = [x for x in sam.viewer.layers if x.name == "coins labels"]
    reached = [int(n) for x in written for n in np.flatnonzero(x.data.any((1, 2)))]
    assert len(reached) == (4 if is_accepted else 0)
    # And back: what was not accepted is under way again, and followed anew.
    sam.widget.layers.image.value = first
    sam.wait_ready()
    sam.wait_idle()
    assert sam.annotator.is_empty == is_accepted
    if not is_accepted:
        sam.key("Shift+T")
        wait_followed(sam)
    assert not errors()


@pytest.mark.parametrize("is_accepted", [False, True])
def test_the_viewer_is_closed_while_it_runs(
    open_sam: OpenSam, column: Pixels, gate: Gate, is_accepted: bool
) -> None:
    sam = open_sam(column)
    sam.viewer.dims.set_point(0, 4)
    sam.wait_ready()
    sam.annotate((4, 114, 45))
    begin(sam)
    if is_accepted:
        sam.key("N")
    controller, runner = sam.controller, sam.controller.context.runner
    sam.viewer.close()
    spin(50)
    assert controller.is_closed
    assert not runner.is_busy()
    gate.open.set()
    # The next window has what was written, whole objects only, and offers the rest.
    again = open_sam(column)
    again.push(again.widget.project.restore)
    wait_until(lambda: 1 in again.labeled, "the labels")
    assert 2 not in again.labeled or (again.labels.data == 2).any((1, 2)).sum() >= 4
    if 2 not in again.labeled:
        again.wait_idle()
        assert not again.annotator.is_empty
    assert not errors()


@pytest.mark.parametrize("small_disk", [512], indirect=True)
def test_a_full_disk_costs_nothing(
    small_disk: Path,
    open_sam: OpenSam,
    column: Pixels,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CACHE", "STATE"):
        monkeypatch.setenv(f"NAPARI_SAM_{name}_DIR", str(small_disk / name))
    pixels = zarr.create_array(
        str(small_disk / "labels.zarr"),
        shape=column.shape,
        chunks=(1, 160, 200),
        dtype="uint16",
    )
    pixels[4, :4, :4] = 9
    before = pixels[:]
    sam = open_sam(column)
    sam.widget.layers.labels.value = sam.viewer.add_labels(pixels, name="on disk")
    begin(sam)
    filler = small_disk / "big"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            for _ in range(512):
                file.write(bytes(1024))

    def wait_said(text: str) -> None:
        wait_until(lambda: text in sam.widget.status.text(), f"'{text}' to be said")

    fill()
    gate.open.set()
    wait_followed(sam)
    found = len(sam.controller.propagation.followed.to_write)
    sam.key("N")
    wait_said("nothing was changed")
    assert np.array_equal(pixels[:], before)
    # It is under way as it was, with its slices.
    assert len(sam.controller.propagation.followed.to_write) == found >= 3
    assert sam.annotator.draft.answers
    filler.unlink()
    sam.key("N")
    wait_until(lambda: sam.annotator.is_empty, "the object in the labels")
    after = pixels[:]
    assert (after == 10).any((1, 2)).sum() == found + 1
    assert np.array_equal(after == 9, before == 9)
    fill()
    sam.key("Ctrl+Z")
    wait_said("make room")
    assert np.array_equal(pixels[:], after)
    filler.unlink()
    sam.key("Ctrl+Z")
    wait_until(lambda: np.array_equal(pixels[:], before), "the undo")
    sam.key("Ctrl+Z", SHIFT)
    wait_until(lambda: np.array_equal(pixels[:], after), "the redo")
    assert not errors()


def test_linked_objects_are_reviewed_as_wholes(
    open_sam: OpenSam, column: Pixels
) -> None:
    sam = open_sam(column)
    sam.controller.new_labels()
    labels = np.zeros(column.shape, np.uint16)
    for z in range(5):
        labels[z, 30:60, 30:60] = 2 * z + 1  # a coin, numbered slice by slice
        labels[z, 30:60, 85 + z : 115 + z] = 2 * z + 2
    labels[1, 100:110, 10:20] = 30  # in one slice only
    where = np.nonzero(labels)
    sam.labels.data_setitem(where, labels[where])
    spin()
    # Wherever the panel has scrolled to.
    sam.widget.volume.link.native.click()
    wait_until(
        lambda: sam.labeled == [1, 2, 30],
        lambda: f"the numbers: {sam.labeled}, {sam.controller.status}",
    )
    review = sam.controller.review
    assert "3 written objects" in sam.widget.review.info.value
    sam.widget.review.walk.native.click()
    wait_until(lambda: review.is_active, "the review")
    # The least certain first, on its own slice.
    assert review.current is not None
    assert review.current.key == 30
    assert sam.viewer.dims.current_step[0] == 1
    assert "begins here" in sam.controller.status
    sam.key("K")
    assert sam.labeled == [1, 2]
    assert review.current.key == 2
    sam.key("N")
    assert review.current.key == 1
    sam.key("Ctrl+Z")
    wait_until(lambda: sam.labeled == [1, 2, 30], "the undo")
    assert review.current.key == 30
    sam.key("K")
    sam.key("N")
    assert not review.is_active
    assert "nothing waits" in sam.widget.review.info.value.lower()
    sam.key("Ctrl+Z")
    sam.key("Ctrl+Z")
    wait_until(lambda: len(sam.labeled) == 11, "the numbers before")
    assert review.object_count == 0


def test_tracks_are_reviewed_by_their_events(open_sam: OpenSam, column: Pixels) -> None:
    sam = open_sam(column, axis_labels=("t", "y", "x"))
    sam.controller.new_labels()
    labels = np.zeros(column.shape, np.uint16)
    labels[:, 30:60, 30:60] = 1
    labels[:3, 100:110, 60:70] = 2
    where = np.nonzero(labels)
    sam.labels.data_setitem(where, labels[where])
    spin()
    assert sam.widget.volume.event.enabled
    sam.key("R", SHIFT)
    wait_until(
        lambda: "track 2 disappears after frame 2" in sam.controller.status,
        lambda: sam.controller.status,
    )
    assert sam.viewer.dims.current_step[0] == 2
