"""How the window feels: click to preview, stalls of the GUI thread, first mask.

Needs a display (``xvfb-run -a -s "-screen 0 1600x1000x24" python
benchmarks/gui.py``).  Every stall is printed beside the longest gap that napari
alone shows in the same run, doing the same without this plugin's work: software
OpenGL on a small machine has gaps of its own.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

warnings.simplefilter("ignore")
os.environ["NAPARI_SAM_CACHE_DIR"] = tempfile.mkdtemp()

import napari
import torch
from qtpy.QtCore import QElapsedTimer, QEventLoop, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from skimage import data, measure

from napari_sam.core.steps import finish
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.image.binding import ImageBinding
from napari_sam.viewer.prompting.layer_sync import PromptLayerSync
from napari_sam.viewer.prompting.pointer import Pointer
from napari_sam.widgets.runner import _Courier

if TYPE_CHECKING:
    from collections.abc import Callable


HOLD = 0.08
"""How long a hand holds the button down in a click, in seconds."""
UNCHANGED = 0.3
"""After so many seconds without a frame, a known answer looks like the one shown."""


class Watchdog:
    """Records the longest gaps between turns of the event loop."""

    def __init__(self) -> None:
        self._clock = QElapsedTimer()
        self._timer = QTimer()
        self._timer.setInterval(1)
        self._timer.timeout.connect(self._tick)
        self.gaps: list[float] = []

    def _tick(self) -> None:
        self.gaps.append(self._clock.nsecsElapsed() / 1e6)
        self._clock.restart()

    def measure(self, act: Callable[[], None]) -> tuple[float, float]:
        """Run something that pumps events; 99th percentile and longest gap, ms."""
        self.gaps = []
        self._clock.start()
        self._timer.start()
        act()
        self._timer.stop()
        gaps = np.array(self.gaps[1:] or [0.0])
        return float(np.percentile(gaps, 99)), float(gaps.max())


def pump(seconds: float, until: Callable[[], bool] | None = None) -> bool:
    """Run the event loop; True as soon as the condition holds.

    As an application does, which sleeps while there is nothing to do: a loop that asks
    all the time takes a core from the model.
    """
    if until is not None and until():
        return True
    loop, end = QEventLoop(), QTimer()
    end.setSingleShot(True)
    end.timeout.connect(loop.quit)
    end.start(round(1000 * seconds))
    held = until is None
    looks = QTimer()
    if until is not None:

        def look() -> None:
            nonlocal held
            held = until()
            if held:
                loop.quit()

        looks.timeout.connect(look)
        looks.start(2)
    loop.exec()
    looks.stop()
    end.stop()
    return held


def cells(side: int, planes: int = 1) -> np.ndarray:
    """Return real texture at a given size: tiled coins, different per plane."""
    coins = data.coins()
    tiled = np.tile(coins, (side // 303 + 1, side // 384 + 1))[:side, :side]
    stack = [np.roll(tiled, 17 * i, axis=1) for i in range(planes)]
    return np.stack(stack) if planes > 1 else stack[0]


class Bare:
    """A napari window without the plugin, driven by real events."""

    def __init__(self, image: np.ndarray) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1400, 900)
        self.layer = self.viewer.add_image(image)
        self.canvas = self.viewer.window._qt_viewer.canvas
        pump(1.0)

    def at(self, row: float, column: float) -> QPoint:
        """Return where a pixel is on the canvas."""
        height, width = self.canvas.size
        camera = self.viewer.camera
        x = width / 2 + (column - camera.center[-1]) * camera.zoom
        y = height / 2 + (row - camera.center[-2]) * camera.zoom
        return QPoint(round(x), round(y))

    def click(self, row: float, column: float, hold: float = 0.0) -> float:
        """Press the left button over a pixel, for some seconds; when it came up."""
        at = self.at(row, column)
        what = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at
        QTest.mouseMove(self.canvas.native, at)
        QTest.mousePress(self.canvas.native, *what)
        pump(hold)
        released = time.perf_counter()
        QTest.mouseRelease(self.canvas.native, *what)
        return released

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()
        pump(0.3)


class Window(Bare):
    """The same with the plugin."""

    def __init__(self, image: np.ndarray) -> None:
        super().__init__(image)
        self.opened = time.perf_counter()
        _, self.widget = self.viewer.window.add_plugin_dock_widget(
            "napari-sam", "Segment Anything"
        )
        QApplication.processEvents()
        self.controller = self.widget.controller
        # When, and whether a preview was there and the final one.
        self.draws: list[tuple[float, bool, bool]] = []
        self.canvas._scene_canvas.events.draw.connect(self._drawn, position="last")

    def _drawn(self, event: Any) -> None:
        shown = self.controller.annotator.prediction
        is_final = shown is not None and shown.is_final
        self.draws.append((time.perf_counter(), shown is not None, is_final))

    def ready(self) -> bool:
        """Whether the plane on screen is encoded."""
        return bool(self.controller.prefetcher.is_shown_ready)

    def click_to_preview(
        self, row: float, column: float, *, rest: float = 0.0, hold: float = 0.0
    ) -> tuple[float, float]:
        """Milliseconds from the click to the first and the final preview on screen.

        The pointer rests there before for a number of seconds, and the button is held
        for a number of seconds; napari adds a point when it comes up.
        """
        annotator = self.controller.annotator
        annotator.discard()
        pump(0.5)
        if rest:
            QTest.mouseMove(self.canvas.native, self.at(row, column))
            pump(rest)
        self.draws = []
        start = self.click(row, column, hold)
        known: list[float] = []

        def is_settled() -> bool:
            shown = annotator.prediction
            if shown is not None and shown.is_final:
                known.append(time.perf_counter())
            # A final mask that looks like the first is not drawn again.
            is_same = bool(known) and known[-1] - known[0] > UNCHANGED
            return is_same or any(is_final for _, _, is_final in self.draws)

        pump(60.0, is_settled)
        first = min(at for at, is_shown, _ in self.draws if is_shown)
        finals = [at for at, _, is_final in self.draws if is_final]
        final = min(finals) if finals else known[0]
        return (first - start) * 1e3, (final - start) * 1e3

    def plain_decode(self) -> float:
        """Milliseconds that the model takes to decode one click, at the median."""
        controller = self.controller
        encoder, plane = controller.context.encoder, controller.context.plane
        encoded = finish(encoder.iter_get(plane))
        xy = torch.tensor([[[300.0, 300.0], [0.0, 0.0]]])
        labels = torch.tensor([[1, -1]])
        took = []
        for _ in range(9):
            start = time.perf_counter()
            encoded.decode_tokens(xy, labels)
            took.append((time.perf_counter() - start) * 1e3)
        return float(np.median(took))


def import_seconds() -> float:
    """Time that importing torch takes in a new interpreter."""
    code = "import time; s = time.time(); import torch; print(time.time() - s)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def first_mask() -> None:
    """Time from opening the widget to the first mask, beside what it needs at least.

    That is importing torch, in another interpreter before and after, and encoding one
    plane, which is timed once more at the end.
    """
    imports = [import_seconds()]
    image = cells(512)
    window = Window(image)
    drawn = time.perf_counter() - window.opened
    pump(120.0, window.ready)
    encoded = time.perf_counter() - window.opened
    window.click_to_preview(45, 50)
    total = time.perf_counter() - window.opened
    engine = window.controller.loader.engine
    assert engine is not None
    rgb = np.repeat(image[..., None], 3, -1)
    encodings = []
    for _ in range(3):
        start = time.perf_counter()
        engine.model.encode_rgb(rgb)
        encodings.append(time.perf_counter() - start)
    window.close()
    imports.append(import_seconds())
    least = float(np.mean(imports) + np.median(encodings))
    print(f"open widget -> dock is there   {drawn:6.2f} s")
    print(f"open widget -> plane encoded   {encoded:6.2f} s   {encoded / least:5.2f}")
    print(f"open widget -> first mask      {total:6.2f} s   {total / least:5.2f}")
    print(f"import torch + encode a plane  {least:6.2f} s    1.00")


def bare_clicks(image: np.ndarray, places: np.ndarray) -> list[float]:
    """Milliseconds until napari alone has drawn a point that was clicked."""
    bare = Bare(image)
    points = bare.viewer.add_points(ndim=image.ndim, size=image.shape[-1] / 100)
    points.mode = "add"
    drawn: list[tuple[float, int]] = []

    def note(event: Any) -> None:
        drawn.append((time.perf_counter(), len(points.data)))

    bare.canvas._scene_canvas.events.draw.connect(note, position="last")
    pump(0.5)
    took = []
    for place in places:
        pump(0.5)
        drawn.clear()
        count = len(points.data)
        start = bare.click(*place)
        pump(5.0, lambda count=count: any(n > count for _, n in drawn))
        took.append((min(at for at, n in drawn if n > count) - start) * 1e3)
    bare.close()
    return took


def latency(clicks: int, sides: list[int]) -> None:
    """Click to first and final preview, beside napari's click and one decoding."""
    print(f"\nclick -> preview on screen, ms, p50 / p95 of {clicks} clicks")
    print("bar: napari alone drawing a clicked point + one plain decoding (p50)")
    heads = ["bar"]
    for case in ("", "held: ", "rested: ", "busy: "):
        heads += [f"{case}first", "final"]
    print(
        "image   " + "".join(f"{head:>16}" for head in heads) + "   ratios to the bar"
    )
    rng = np.random.default_rng(0)
    for side in sides:
        image = cells(side, 40 if side <= 2048 else 4)
        places = rng.uniform(0.15, 0.85, (4 * clicks, 2)) * side
        alone = bare_clicks(image, places[:clicks])
        window = Window(image)
        window.controller.change_settings(prefetch=False)
        pump(60.0, window.ready)
        pump(1.0)
        decode = window.plain_decode()
        idle = [window.click_to_preview(*p) for p in places[:clicks]]
        rested = [
            window.click_to_preview(*p, rest=0.5) for p in places[clicks : 2 * clicks]
        ]
        held = [
            window.click_to_preview(*p, hold=HOLD)
            for p in places[2 * clicks : 3 * clicks]
        ]
        window.controller.encode_stack()
        pump(0.5)
        busy = [window.click_to_preview(*p) for p in places[3 * clicks :]]
        left = int((~window.controller.prefetcher.strip.ready).sum())
        bar = float(np.median(alone)) + decode
        cases = [t for case in (idle, held, rested, busy) for t in np.transpose(case)]
        columns = [np.percentile(times, [50, 95]) for times in cases]
        print(
            f"{side:5d}²  {bar:16.0f}"
            + "".join(f"{f'{p50:.0f} / {p95:.0f}':>16}" for p50, p95 in columns)
            + "   "
            + ", ".join(f"{p50 / bar:.2f} / {p95 / bar:.2f}" for p50, p95 in columns)
            + f"   (decoding {decode:.0f} ms, {left} planes still to encode)",
            flush=True,
        )
        window.close()


def closing() -> None:
    """Time that closing the dock or the window blocks while the model works."""
    print("\nclosing while the model works, ms")
    labels = (cells(512) > 120).astype(np.uint8)
    for what, begin in (
        ("nothing", lambda _: None),
        ("everything mode", lambda c: c.segment_plane()),
        ("encoding the stack", lambda c: c.encode_stack()),
        ("learning", lambda c: c.learning.start("cells")),
    ):
        row = []
        for close_dock in (True, False):
            window = Window(cells(512, 8))
            pump(60.0, window.ready)
            if what == "learning":
                layer = window.viewer.add_labels(
                    np.repeat(measure.label(labels)[None], 8, 0)
                )
                window.controller.choose_labels(layer)
            begin(window.controller)
            pump(2.0)
            start = time.perf_counter()
            if close_dock:
                window.viewer.window.remove_dock_widget(window.widget)
                window.widget.deleteLater()
            else:
                window.viewer.close()
            QApplication.processEvents()
            row.append(1e3 * (time.perf_counter() - start))
            if close_dock:
                window.close()
            pump(1.0)
        print(f"{what:20s} dock {row[0]:7.0f}   window {row[1]:7.0f}")


class OwnCalls:
    """Times what the plugin itself does in the GUI thread, call by call."""

    def __init__(self) -> None:
        self.longest = 0.0
        for owner, names in (
            (_Courier, ("_run",)),
            (ImageBinding, ("follow",)),
            (Controller, ("segment_plane", "_on_layer_removed")),
            (PromptLayerSync, ("_on_data",)),
            (Pointer, ("_on_move",)),
        ):
            for name in names:
                setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(owner: Any, *arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(owner, *arguments)
            finally:
                spent = 1e3 * (time.perf_counter() - start)
                self.longest = max(self.longest, spent)

        return call


def stalls() -> None:
    """Longest gaps of the GUI thread, beside napari's own."""
    watchdog, own = Watchdog(), OwnCalls()
    print(
        "\nms                                    gaps: p99  longest   our longest call"
    )

    def show(name: str, act: Callable[[], None]) -> None:
        own.longest = 0.0
        p99, longest = watchdog.measure(act)
        print(f"  {name:36s} {p99:6.1f} {longest:8.1f} {own.longest:18.1f}")

    def scroll(viewer: napari.Viewer) -> None:
        for step in range(12):
            viewer.dims.set_point(0, 2 + step)
            pump(0.25)

    def click(window: Bare) -> None:
        for i in range(12):
            window.click(100 + 40 * i, 120 + 30 * i)
            pump(0.4)

    bare = Bare(cells(1024, 60))
    points = bare.viewer.add_points(np.empty((0, 3)), ndim=3, size=15)
    points.mode = "add"
    click(bare)
    show("napari alone: nothing happens", lambda: pump(3.0))
    show("napari alone: scrolling", lambda: scroll(bare.viewer))
    show("napari alone: clicking points", lambda: click(bare))

    def labels() -> None:
        # The first gap is not counted.
        pump(0.2)
        layer = bare.viewer.add_labels(np.zeros((1, 1024, 1024), np.uint8))
        pump(1.0)
        layer.data[0] = measure.label(cells(1024) > 120)
        layer.refresh(extent=False, thumbnail=False, highlight=False)
        pump(1.0)

    # What everything mode cannot do without.
    show("napari alone: a Labels layer", labels)
    bare.close()

    window = Window(cells(1024, 60))
    controller, dims = window.controller, window.viewer.dims
    controller.change_settings(prefetch=False)
    pump(60.0, window.ready)
    click(window)
    controller.discard()
    pump(1.0)
    show("scrolling, planes being encoded", lambda: scroll(window.viewer))
    pump(30.0, window.ready)
    show("clicking, masks being predicted", lambda: click(window))
    controller.discard()

    def encode() -> None:
        dims.set_point(0, 30)
        pump(20.0, window.ready)

    show("encoding one plane", encode)
    controller.encode_stack()
    show("encoding the stack, idle user", lambda: pump(6.0))
    show("encoding the stack, clicking", lambda: click(window))
    controller.discard()
    show("encoding the stack, scrolling", lambda: scroll(window.viewer))
    controller.prefetcher.request_whole_stack(False)
    pump(2.0)
    controller.change_settings(
        everything=replace(controller.settings.everything, points_per_side=16)
    )

    def everything() -> None:
        pump(0.2)
        controller.segment_plane()
        pump(120.0, lambda: not controller.everything.is_running)

    show("everything mode, 16 x 16 points", everything)
    window.close()


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048, 8192])
    parser.add_argument("--only", choices=["first", "latency", "stalls", "closing"])
    options = parser.parse_args()
    if options.only in (None, "first"):
        first_mask()
    if options.only in (None, "latency"):
        latency(options.clicks, options.sides)
    if options.only in (None, "stalls"):
        stalls()
    if options.only in (None, "closing"):
        closing()


if __name__ == "__main__":
    main()
