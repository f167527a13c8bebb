"""Drives a real napari window as a hand would: mouse, keys, and patience.

The only private attribute of napari in use is the canvas widget that Qt sends
mouse and key events to; there is no public way to it.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from display import DISPLAY
from napari.layers import Labels
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMainWindow

from napari_sam.viewer.keys import REPEAT_SECONDS
from napari_sam.viewer.plugin_layers import is_ours
from napari_sam.viewer.prompting.requests import SLOTS
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import napari.viewer
    from napari.layers import Points, Shapes
    from qtpy.QtWidgets import QWidget

    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.prompting.annotator import Annotator
    from napari_sam.widgets.dock import SamWidget

Pixels = npt.NDArray[np.uint8]

COINS = ((46, 45), (47, 101), (43, 155), (114, 45), (113, 101), (116, 154))
"""Row and column inside six coins of the fixture `coins`, also of its upside-down
plane in `stack`."""
BACKGROUND = (80, 80)

PATIENCE_MS = 60_000
"""How long to wait for what must come; a slow machine is not a failure."""

RELEASED: dict[Any, float] = {}
"""When each key was let go last."""

NO_MODIFIER = Qt.KeyboardModifier.NoModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
LEFT = Qt.MouseButton.LeftButton


class Timeout(AssertionError):
    """What was waited for did not come."""


def wait_until(
    condition: Callable[[], Any],
    what: str | Callable[[], str] = "a condition",
    *,
    timeout: int = PATIENCE_MS,
) -> None:
    """Let the event loop run until a condition holds."""
    end = time.monotonic() + timeout / 1000
    while not condition():
        if time.monotonic() > end:
            what = what if isinstance(what, str) else what()
            raise Timeout(f"waited {timeout} ms in vain for: {what}")
        QTest.qWait(5)
    # Panels show what has changed with the next turn of the loop.
    QApplication.processEvents()


def spin(milliseconds: int = 50) -> None:
    """Let the event loop run for a while."""
    QTest.qWait(milliseconds)


def press_key(widget: QWidget, key: Any, modifier: Any = NO_MODIFIER) -> None:
    """Press and release a key, no sooner than a finger could do it again."""
    # A press right after the release would be a repeat of the system's, not a press.
    again = RELEASED.get(key, 0.0) + REPEAT_SECONDS + 0.01
    if (left := again - time.monotonic()) > 0:
        spin(round(1000 * left) + 1)
    QTest.keyClick(widget, key, modifier)
    RELEASED[key] = time.monotonic()


def stray_windows() -> list[str]:
    """Return visible windows that are neither a main window nor a menu or a tip."""
    passing = Qt.WindowType.Popup, Qt.WindowType.ToolTip
    return [
        type(widget).__name__
        for widget in QApplication.topLevelWidgets()
        if widget.isVisible()
        and not isinstance(widget, QMainWindow)
        and widget.windowType() not in passing
    ]


class Driver:
    """A viewer with the dock widget, and hands to use it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        A shown viewer.
    widget : SamWidget
        The dock widget in it.
    """

    def __init__(self, viewer: napari.viewer.Viewer, widget: SamWidget) -> None:
        self.viewer = viewer
        self.widget = widget

    # -- what is there ------------------------------------------------------

    @property
    def controller(self) -> Controller:
        """The controller under the widget."""
        return self.widget.controller

    @property
    def annotator(self) -> Annotator:
        """The object under way."""
        return self.controller.annotator

    @property
    def points(self) -> Points:
        """The SAM points layer."""
        layer = self.annotator.layer_sync.layers.points
        assert layer is not None
        return layer

    @property
    def shapes(self) -> Shapes:
        """The SAM shapes layer."""
        layer = self.annotator.layer_sync.layers.shapes
        assert layer is not None
        return layer

    @property
    def labels(self) -> Labels:
        """The Labels layer that is written to."""
        layer = self.controller.labels.layer
        assert layer is not None
        return layer

    @property
    def canvas(self) -> QWidget:
        """The widget that napari draws in."""
        return self.viewer.window._qt_viewer.canvas.native

    @property
    def preview_pixels(self) -> int:
        """Number of previewed pixels on the plane on screen."""
        layer = self.annotator.preview.layer
        return 0 if layer is None else int(np.count_nonzero(layer.data))

    @property
    def labeled(self) -> list[int]:
        """Labels that have pixels."""
        if self.controller.labels.layer is None:
            return []
        return [int(n) for n in np.unique(self.labels.data) if n]

    # -- patience -----------------------------------------------------------

    def wait_ready(self) -> None:
        """Wait until the plane on screen can answer."""
        wait_until(
            lambda: self.controller.prefetcher.is_shown_ready,
            lambda: (
                "the plane on screen to be encoded; the dock says "
                f"{self.controller.status!r}"
            ),
        )

    def wait_idle(self) -> None:
        """Wait until the worker has nothing to do and has said so."""
        runner = self.controller.context.runner
        wait_until(
            lambda: not runner.is_busy() and not any(map(runner.is_pending, SLOTS)),
            "an idle worker",
        )

    def wait_preview(self) -> None:
        """Wait for a preview of the current prompts."""
        wait_until(
            lambda: (
                not self.controller.context.runner.is_pending("predict")
                and self.annotator.prediction is not None
            ),
            "a preview",
        )

    def _done(self) -> None:
        """Let an action take effect; it must not leave a window of its own behind."""
        spin(10)
        assert stray_windows() == []

    # -- mouse --------------------------------------------------------------

    def at(self, position: Sequence[float]) -> QPoint:
        """Return where on the canvas a data position of the image is drawn.

        Parameters
        ----------
        position : sequence of float
            Image indices; of the displayed axes only, or of all.
        """
        DISPLAY.catch_up(self.viewer.window._qt_window)
        image = self.controller.context.image
        if image is None:
            image = self.viewer.layers[0]
        dims, camera = self.viewer.dims, self.viewer.scene.camera
        shown = list(dims.displayed)
        full = np.array(image.world_to_data(dims.point[-image.ndim :]), float)
        if len(position) == image.ndim:
            full[:] = position
        else:
            offset = dims.ndim - image.ndim
            full[[axis - offset for axis in shown]] = position
        world = np.asarray(image.data_to_world(tuple(full)))
        here = world[[axis - dims.ndim for axis in shown]]
        height, width = self.canvas.height(), self.canvas.width()
        y, x = (here - np.asarray(camera.center)[-2:]) * camera.zoom
        return QPoint(round(width / 2 + x), round(height / 2 + y))

    def hover(self, position: Sequence[float]) -> None:
        """Move the mouse to a data position."""
        self._move(self.at(position))

    def click(self, position: Sequence[float], modifier: Any = NO_MODIFIER) -> None:
        """Move to a data position and click there."""
        where = self.at(position)
        self._move(where)
        QTest.mouseClick(self.canvas, LEFT, modifier, where)
        self._done()

    def drag(
        self,
        path: Sequence[Sequence[float]],
        modifier: Any = NO_MODIFIER,
        steps: int = 6,
        midway: Callable[[], None] | None = None,
    ) -> None:
        """Press at the first position, pass the others, release at the last.

        ``midway`` is called on the way, while the button is held.
        """
        stops = [self.at(p) for p in path]
        self._move(stops[0])
        QTest.mousePress(self.canvas, LEFT, modifier, stops[0])
        spin(5)
        ways = list(pairwise(stops))
        for number, (start, stop) in enumerate(ways):
            if midway is not None and number == len(ways) // 2:
                midway()
            for k in range(1, steps + 1):
                t = k / steps
                x = start.x() + t * (stop.x() - start.x())
                y = start.y() + t * (stop.y() - start.y())
                self._move(QPoint(round(x), round(y)), held=True)
        QTest.mouseRelease(self.canvas, LEFT, modifier, stops[-1])
        self._done()

    def _move(self, where: QPoint, held: bool = False) -> None:
        # QTest's own mouseMove warps the pointer of the whole display; several
        # windows would fight over it.  It also tells no button that is held.
        local = QPointF(where)
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            local,
            QPointF(self.canvas.mapToGlobal(where)),
            Qt.MouseButton.NoButton,
            LEFT if held else Qt.MouseButton.NoButton,
            NO_MODIFIER,
        )
        QApplication.sendEvent(self.canvas, event)
        # napari passes a move on within 5 ms, or when a longer picture is drawn.
        spin(10)
        QApplication.processEvents()

    # -- keys ---------------------------------------------------------------

    def key(self, key: str, modifier: Any = NO_MODIFIER) -> None:
        """Press and release a key over the canvas: a letter or Qt's name of it.

        ``Shift+G`` is understood too.
        """
        held, _, name = key.rpartition("+")
        if held:
            modifier = modifier | {"Shift": SHIFT, "Ctrl": CONTROL}[held]
        press_key(self.canvas, _key(name), modifier)
        self._done()

    def press(self, key: str) -> None:
        """Hold a key down."""
        QTest.keyPress(self.canvas, _key(key))
        spin(10)

    def release(self, key: str) -> None:
        """Let a held key go."""
        QTest.keyRelease(self.canvas, _key(key))
        spin(10)

    # -- the panel ----------------------------------------------------------

    def push(self, button: Any) -> None:
        """Click a button of the panel with the mouse."""
        native = button.native
        assert native.isEnabled(), f"'{button.text}' is disabled"
        QTest.mouseClick(native, LEFT)
        self._done()

    def choose_tool(self, tool: Tool) -> None:
        """Press a tool's button."""
        self.push(self.widget.objects.tools[tool])

    # -- whole gestures -----------------------------------------------------

    def annotate(self, position: Sequence[float]) -> None:
        """Click, wait for the preview, accept."""
        self.click(position)
        self.wait_preview()
        self.key("N")
        wait_until(
            lambda: self.annotator.is_empty,
            lambda: f"the accept; the status says: {self.controller.status}",
        )

    def start_over(self) -> None:
        """Drop what is under way and all that was written, for the next check."""
        self.viewer.dims.ndisplay = 2
        self.wait_idle()
        # The first may only finish a shape.
        self.key("Escape")
        self.key("Escape")
        for layer in list(self.viewer.layers):
            if isinstance(layer, Labels) and not is_ours(layer):
                self.viewer.layers.remove(layer)
        self.choose_tool(Tool.POINT)
        assert self.annotator.is_empty
        assert self.annotator.label == 1

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        spin(200)
        self.viewer.window.screenshot(str(path), flash=False)


def _key(name: str) -> Any:
    return getattr(Qt.Key, f"Key_{name}")
