"""Answers that arrive late, twice, after scrolling and after N, in a real window."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import Driver, spin, wait_until

from napari_sam.models.sam1.view_encoder import PlaneViews
from napari_sam.viewer.settings import AcceptWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from driver import Pixels

    from napari_sam.core.views import View

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui

COIN, OTHER = (367.0, 301.0), (367.0, 355.0)


@pytest.fixture(scope="module")
def many_coins(coins: Pixels) -> Pixels:
    """A plane in which a click is looked at in views of larger scales."""
    return np.tile(coins, (4, 3))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hold up who encodes a view until this is set, as a slow machine does."""
    gate, iter_encode = threading.Event(), PlaneViews.iter_encode

    def held_up(self: PlaneViews, view: View) -> Iterator[None]:
        while not (gate.is_set() or self.is_encoded(view)):
            time.sleep(0.001)
            yield
        yield from iter_encode(self, view)

    monkeypatch.setattr(PlaneViews, "iter_encode", held_up)
    yield gate
    gate.set()


def preliminary(sam: Driver) -> bool:
    prediction = sam.annotator.prediction
    return prediction is not None and not prediction.is_final


def final(sam: Driver) -> bool:
    prediction = sam.annotator.prediction
    return prediction is not None and prediction.is_final


def shown(sam: Driver) -> Pixels:
    layer = sam.annotator.preview.layer
    assert layer is not None
    return layer.data.copy()


def test_the_better_answer_takes_the_place_of_the_first(
    open_sam: OpenSam, many_coins: Pixels, gate: threading.Event
) -> None:
    sam = open_sam(many_coins)
    sam.click(COIN)
    wait_until(lambda: preliminary(sam), "the first answer")
    spin(100)
    first = shown(sam)
    assert first.any()
    assert "Looking closer" in sam.widget.status.text()
    gate.set()
    wait_until(lambda: final(sam), "the better answer")
    assert shown(sam).any()
    assert not np.array_equal(shown(sam), first)
    wait_until(lambda: "N accept" in sam.widget.status.text(), "what to press next")


def test_after_n_it_comes_too_late(
    open_sam: OpenSam, many_coins: Pixels, gate: threading.Event
) -> None:
    sam = open_sam(many_coins)
    sam.click(COIN)
    wait_until(lambda: preliminary(sam), "the first answer")
    sam.key("N")
    wait_until(lambda: sam.labeled == [1], "what there is to be written")
    written = sam.labels.data.copy()
    sam.click(OTHER)
    wait_until(lambda: preliminary(sam), "the first answer about the next object")
    gate.set()
    wait_until(lambda: final(sam), "the better one")
    sam.wait_idle()
    assert np.array_equal(sam.labels.data, written)
    assert sam.annotator.label == 2
    sam.key("Ctrl+Z")
    wait_until(lambda: sam.labeled == [], "the undo")


def test_after_scrolling_it_is_shown_on_its_own_plane_only(
    open_sam: OpenSam, many_coins: Pixels, gate: threading.Event
) -> None:
    sam = open_sam(np.stack([many_coins, many_coins[::-1]]))
    sam.viewer.dims.set_current_step(0, 0)
    sam.wait_ready()
    sam.click(COIN)
    wait_until(lambda: preliminary(sam), "the first answer")
    first = shown(sam)
    sam.viewer.dims.set_current_step(0, 1)
    sam.wait_ready()
    gate.set()
    sam.wait_idle()
    assert sam.annotator.prediction is None
    assert sam.preview_pixels == 0
    sam.viewer.dims.set_current_step(0, 0)
    wait_until(lambda: final(sam), "the better answer")
    assert not np.array_equal(shown(sam), first)


def test_the_choice_how_long_to_wait_is_in_the_dock(
    open_sam: OpenSam, many_coins: Pixels, gate: threading.Event
) -> None:
    sam = open_sam(many_coins)
    sam.widget.options.accept_wait.value = AcceptWait.FINAL
    assert sam.controller.settings.accept_wait is AcceptWait.FINAL
    sam.click(COIN)
    wait_until(lambda: preliminary(sam), "the first answer")
    sam.key("N")
    spin(round(2000 * AcceptWait.BRIEF.seconds))
    assert sam.labeled == []
    gate.set()
    wait_until(lambda: sam.labeled == [1], "the best mask to be written")


def test_where_the_pointer_rested_the_answer_is_there(
    open_sam: OpenSam, many_coins: Pixels, gate: threading.Event
) -> None:
    """To the very place: nothing is left to ask when the button goes down."""
    gate.set()
    sam = open_sam(many_coins)
    runner = sam.controller.context.runner
    sam.hover(COIN)
    assert runner.is_busy("ahead")
    wait_until(lambda: not runner.is_pending("ahead"), "the view under the pointer")
    assert sam.annotator.prediction is None
    gate.clear()
    sam.click(COIN)
    assert final(sam)
    assert sam.preview_pixels
