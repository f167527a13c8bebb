"""An object through the stack, in a real window: keys, strip, panel, closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import SHIFT, wait_until
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.closing import CloseGuard

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

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
    wait_until(
        lambda: (
            sam.controller.propagation.followed is not None
            and not sam.controller.propagation.is_running
        ),
        "the object to be followed",
    )


def slices(sam: Driver) -> list[int]:
    return np.flatnonzero(sam.labels.data.any((1, 2))).tolist()


def test_three_actions_then_undo_redo_and_a_correction(
    open_sam: OpenSam, column: Pixels
) -> None:
    sam = open_sam(column)
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
    wait_until(lambda: sam.labelled == [1], "the object in the labels")
    written = slices(sam)
    assert len(written) >= 4
    sam.key("Ctrl+Z")
    wait_until(lambda: sam.labelled == [], "the undo")
    assert sam.controller.propagation.followed is not None
    sam.key("Ctrl+Z", SHIFT)
    wait_until(lambda: slices(sam) == written, "the redo")


def test_the_end_is_cut_and_nothing_beyond_is_written(
    open_sam: OpenSam, column: Pixels
) -> None:
    sam = open_sam(column)
    follow(sam)
    sam.viewer.dims.set_point(0, 3)
    sam.key("Shift+E")
    sam.key("N")
    wait_until(lambda: sam.labelled == [1], "the object in the labels")
    assert 4 not in slices(sam)
    assert {2, 3} <= set(slices(sam))


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
    assert sam.labelled == [1]
    assert not sam.controller.propagation.is_running


def test_single_images_have_no_such_section(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    assert not sam.widget.volume_section.isVisible()
    assert not sam.widget.object_strip.isVisible()
