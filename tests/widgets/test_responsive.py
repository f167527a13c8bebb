"""The event loop keeps running whatever the model does.

No time is asserted: a job that ran in the GUI thread would leave no tick at all
between its beginning and its end.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, spin, wait_until
from qtpy.QtCore import QEvent, QObject
from watchdog import Watchdog

from napari_sam.core.everything.search import EverythingSettings
from napari_sam.viewer.background.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = [
    pytest.mark.gui,
    pytest.mark.usefixtures("encodes_itself", "draws_at_once"),
]

ENOUGH = 3
"""Ticks that prove a running event loop; an idle one makes 200 a second, one beside
other programs far fewer."""


def test_the_watchdog_notices_a_blocked_event_loop(qapp: object) -> None:
    with Watchdog() as watchdog:
        wait_until(lambda: len(watchdog.ticks) > ENOUGH)
        start = time.perf_counter()
        time.sleep(0.2)
        stop = time.perf_counter()
        wait_until(lambda: watchdog.ticks[-1] > stop)
    assert watchdog.between(start, stop) == 0
    assert max(watchdog.gaps()) > 0.15


def test_encoding_leaves_the_window_alive(open_sam: OpenSam) -> None:
    """Several planes: a fast processor needs less than a tenth of a second for one."""
    sam = open_sam(np.zeros((8, 8), np.uint8))
    rng = np.random.default_rng(5)
    ticks = 0
    for number in range(3):
        noise = rng.integers(0, 255, (300, 300), np.uint8)
        layer = sam.viewer.add_image(noise, name=f"noise {number}")
        with Watchdog() as watchdog:
            sam.widget.layers.image.value = layer
            start = time.perf_counter()
            sam.wait_ready()
            ticks += watchdog.between(start, time.perf_counter())
    assert ticks > ENOUGH


class Paintings(QObject):
    """Counts how often a window is drawn."""

    def __init__(self, window: QObject) -> None:
        super().__init__(window)
        self.count = 0
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        self.count += event is not None and event.type() == QEvent.Type.UpdateRequest
        return False


def test_waiting_does_not_draw_the_window_all_the_time(open_sam: OpenSam) -> None:
    """With software OpenGL each picture of a moving bar draws all of the window.

    At 40 a second that took more of the processor than the encoder.
    """
    sam = open_sam(np.zeros((8, 8), np.uint8))
    sam.wait_idle()
    noise = np.random.default_rng(6).integers(0, 255, (300, 300), np.uint8)
    sam.viewer.add_image(noise, name="noise")
    sam.widget.layers.image.value = sam.viewer.layers["noise"]
    paintings = Paintings(sam.widget.window())
    start = time.perf_counter()
    shown: list[tuple[int, int]] = []
    while not sam.controller.prefetcher.is_shown_ready:
        spin(5)
        shown.append((sam.widget.progress.value, sam.widget.progress.max))
    seconds = time.perf_counter() - start
    assert paintings.count < 20 + 8 * seconds
    assert sorted(shown) == shown  # it moves because the encoder does
    assert all(most > 0 for _, most in shown)


def test_everything_leaves_the_window_alive_and_answers_clicks(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    everything = sam.controller.everything
    # A grid takes long enough to click meanwhile.
    grid = EverythingSettings(prompts="grid", points_per_side=6)
    sam.controller.change_settings(everything=grid)
    with Watchdog() as watchdog:
        sam.key("G")
        start = time.perf_counter()
        wait_until(lambda: everything.progress and everything.progress.done > 0)
        sam.click(COINS[4])
        sam.wait_preview()
        was_running = everything.is_running
        wait_until(lambda: not everything.is_running, "the search to end")
        stop = time.perf_counter()
    assert was_running, "the click had to wait for the search"
    assert watchdog.between(start, stop) > ENOUGH


def test_predictions_are_made_off_the_gui_thread(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    runner = sam.controller.context.runner
    threads: list[tuple[str, int]] = []

    def work() -> int:
        return threading.get_ident()

    def deliver(worker: int) -> None:
        threads.append(("work", worker))
        threads.append(("result", threading.get_ident()))

    runner.submit(Job(work, priority=Priority.PREDICT, on_result=deliver))
    wait_until(lambda: threads)
    seen = dict(threads)
    assert seen["result"] == threading.get_ident()
    assert seen["work"] != threading.get_ident()
    with Watchdog() as watchdog:
        start = time.perf_counter()
        for _ in range(3):
            for coin in COINS:
                sam.points.add([coin])
                wait_until(lambda: not runner.is_pending("predict"))
        stop = time.perf_counter()
    assert watchdog.between(start, stop) > ENOUGH
