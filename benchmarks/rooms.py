"""Which modules of the package one action passes, and how often it draws panels.

Needs a display::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/rooms.py

Every call in every thread is seen by a profiling hook, from the press of the button to
the last answer; calls of comprehensions and of generated methods count with the
function around them.  What only shows the state in the dock, which reads every part,
is counted apart ("to show").
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

warnings.simplefilter("ignore")
os.environ["NAPARI_SAM_CACHE_DIR"] = tempfile.mkdtemp()
os.environ["NAPARI_SAM_STATE_DIR"] = tempfile.mkdtemp()

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from skimage import data

import napari_sam
from napari_sam.widgets.dock import SamWidget
from napari_sam.widgets.panels import Panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = str(Path(napari_sam.__file__).parent)


SHOWING = {"resolve", "Controller._show", "SamWidget.show_state"}
"""Where the dock's state is read and drawn."""


class Calls:
    """Functions of the package that were called."""

    def __init__(self) -> None:
        self.functions: Counter[tuple[str, str]] = Counter()
        self.showing: Counter[tuple[str, str]] = Counter()
        self._is_seen = False
        self._shows = threading.local()
        # A thread keeps the hook that was set when it began.
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def _see(self, frame: Any, event: str, argument: object) -> None:
        del argument
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return
        name = frame.f_code.co_qualname
        shows = getattr(self._shows, "depth", 0)
        if name in SHOWING and event in ("call", "return"):
            self._shows.depth = shows + (1 if event == "call" else -1)
        if self._is_seen and event == "call":
            module = frame.f_code.co_filename[len(PACKAGE) + 1 : -3]
            if "<" not in name.replace("<locals>", ""):
                counter = self.showing if shows else self.functions
                counter[module, name] += 1

    @contextmanager
    def seen(self) -> Iterator[None]:
        """See the calls of all threads from nothing on."""
        self.functions.clear()
        self.showing.clear()
        self._is_seen = True
        try:
            yield
        finally:
            self._is_seen = False

    def by_folder(self) -> dict[str, set[str]]:
        """Return the modules by folder."""
        folders = defaultdict(set)
        for module, _ in self.functions:
            folders[module.partition("/")[0]].add(module)
        return dict(folders)


def refreshes() -> Counter[str]:
    """Count how often each panel is drawn anew, and what tells them to."""
    counts: Counter[str] = Counter()

    def count(owner: type, name: str) -> None:
        before = vars(owner)[name]

        def counted(self: Any, *args: Any) -> Any:
            counts[f"{owner.__name__}.{name}"] += 1
            return before(self, *args)

        setattr(owner, name, counted)

    for panel in Panel.__subclasses__():
        for name in ("refresh", "show"):
            if name in vars(panel):
                count(panel, name)
    return counts


def main() -> None:
    """Click, accept, scroll and search; print what each passes."""
    calls = Calls()
    counts = refreshes()
    changes: Counter[str] = Counter()
    image = np.ascontiguousarray(data.coins()[:160, :200])
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1300, 900)
    viewer.add_image(np.stack([image, image[::-1], image]))
    _, widget = viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    assert isinstance(widget, SamWidget)
    controller = widget.controller
    for name in ("changed", "state_changed"):
        if hasattr(controller, name):
            getattr(controller, name).connect(lambda *_, n=name: changes.update([n]))
    canvas = viewer.window._qt_viewer.canvas.native

    def wait(condition: Callable[[], Any], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("waited in vain")
            QTest.qWait(5)

    def rested() -> bool:
        return not controller.context.runner.is_busy()

    def at(row: float, col: float) -> QPoint:
        scene = viewer.window._qt_viewer.canvas
        view = scene.view
        transform = view.scene.transform
        x, y = transform.map([col, row])[:2]
        return QPoint(round(x), round(y))

    def settle() -> None:
        wait(rested)
        QTest.qWait(700)
        wait(rested)

    wait(lambda: controller.context.encoder is not None)
    settle()

    def click() -> None:
        QTest.mouseMove(canvas, at(46, 45))
        QTest.qWait(50)
        QTest.mouseClick(
            canvas,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            at(46, 45),
        )
        wait(lambda: controller.annotator.can_accept)

    actions: dict[str, Callable[[], None]] = {
        "click": click,
        "accept": controller.accept,
        "scroll": lambda: viewer.dims.set_current_step(0, 2),
        "everything": controller.segment_plane,
        "drop": controller.everything.discard,
    }
    print(
        f"{'action':12}{'modules':>8}{'viewer':>8}{'functions':>10}"
        f"{'to show':>9}{'changed':>9}{'drawn':>7}"
    )
    for name, act in actions.items():
        counts.clear()
        changes.clear()
        with calls.seen():
            act()
            settle()
        folders = calls.by_folder()
        print(
            f"{name:12}{sum(map(len, folders.values())):8}"
            f"{len(folders.get('viewer', ())):8}{len(calls.functions):10}"
            f"{len({m for m, _ in calls.showing} - {m for m, _ in calls.functions}):9}"
            f"{sum(changes.values()):9}{sum(counts.values()):7}"
        )
        if "-v" in sys.argv:
            for folder, modules in sorted(folders.items()):
                print("   ", folder, *sorted(m.split("/", 1)[-1] for m in modules))
    viewer.close()


if __name__ == "__main__":
    main()
