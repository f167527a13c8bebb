"""Opening and closing: docks, viewers, at any moment."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from driver import COINS, Driver, spin, wait_until
from napari.layers import Image, Labels
from napari.layers.utils import stack_utils
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QCoreApplication, Qt
from qtpy.QtGui import QOpenGLContext
from qtpy.QtTest import QTest

from napari_sam.core.everything.search import EverythingSettings
from napari_sam.models.sam1.sam import SamModel
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.keys import KEYS
from napari_sam.viewer.plugin_layers import is_ours
from napari_sam.widgets.dock import SamWidget
from napari_sam.widgets.runner import QtRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import napari.viewer
    from driver import Pixels
    from qtpy.QtGui import QAction
    from qtpy.QtWidgets import QMenu, QToolButton, QWidget

    MakeViewer = Callable[[], napari.viewer.Viewer]
    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def find_action(menu: QMenu, text: str) -> QAction | None:
    """Return the action of a menu or of its submenus with this text."""
    # Menus are filled when they open.
    menu.aboutToShow.emit()
    for action in menu.actions():
        inner = action.menu()
        found = action if inner is None else find_action(inner, text)
        if found is not None and found.text().replace("&", "").startswith(text):
            return found
    return None


def test_opens_from_the_menus(make_viewer: MakeViewer, coins: Pixels) -> None:
    viewer = make_viewer()
    viewer.add_image(coins)
    for menu in ("plugins_menu", "layers_menu"):
        action = find_action(getattr(viewer.window, menu), "Segment Anything")
        assert action is not None
        action.trigger()
        wait_until(lambda: viewer.window.dock_widgets, "the dock")
        (widget,) = viewer.window.dock_widgets.values()
        assert isinstance(widget, SamWidget)
        sam = Driver(viewer, widget)
        sam.wait_ready()
        sam.click(COINS[4])
        sam.wait_preview()
        QTest.mouseClick(close_button(widget), Qt.MouseButton.LeftButton)
        wait_until(lambda: not viewer.window.dock_widgets, "the dock to go")


def test_opens_from_a_script(make_viewer: MakeViewer, coins: Pixels) -> None:
    viewer = make_viewer()
    viewer.add_image(coins)
    widget = SamWidget(viewer)
    viewer.window.add_dock_widget(widget)
    sam = Driver(viewer, widget)
    sam.wait_ready()
    sam.annotate(COINS[4])
    assert sam.labeled == [1]


def test_an_image_opened_later_is_taken(make_viewer: MakeViewer, coins: Pixels) -> None:
    viewer = make_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    sam = Driver(viewer, widget)
    wait_until(lambda: not sam.controller.loader.is_loading, "the model")
    assert "Open an image" in widget.status.text()
    assert not any(b.enabled for b in widget.objects.tools.values())
    assert len(viewer.layers) == 0
    for key in KEYS:
        sam.key(key.key)
    sam.key("Q")
    viewer.add_image(coins, name="late")
    sam.wait_ready()
    assert widget.layers.image.value == viewer.layers["late"]
    sam.click(COINS[4])
    sam.wait_preview()


def close_button(widget: QWidget) -> QToolButton:
    """Return the X of the dock that a widget is in."""
    dock = widget.parent()
    while dock is not None and not hasattr(dock, "titleBarWidget"):
        dock = dock.parent()
    assert dock is not None
    return dock.titleBarWidget().close_button


def test_the_docks_x_ends_it_and_keeps_the_users_layers(
    open_sam: OpenSam, stack: Pixels
) -> None:
    sam = open_sam(stack)
    sam.annotate(COINS[4])
    sam.click(COINS[1])
    sam.wait_preview()
    labels, controller = sam.labels, sam.controller
    before = labels.data.copy()
    QTest.mouseClick(close_button(sam.widget), Qt.MouseButton.LeftButton)
    spin(100)
    assert controller.is_closed
    assert [x.name for x in sam.viewer.layers] == ["coins", "coins labels"]
    assert np.array_equal(labels.data, before)
    assert not sam.viewer.window.dock_widgets
    # napari goes on: nothing of ours answers to keys, clicks and sliders
    for key in KEYS:
        sam.key(key.key)
    sam.viewer.dims.set_current_step(0, 0)
    sam.viewer.layers.remove("coins")
    labels.undo()
    assert not labels.data.any()


def test_reopening_goes_on_with_the_same_labels(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    sam.annotate(COINS[4])
    labels = sam.labels
    QTest.mouseClick(close_button(sam.widget), Qt.MouseButton.LeftButton)
    spin(100)
    _, widget = sam.viewer.window.add_plugin_dock_widget(
        "napari-sam", "Segment Anything"
    )
    again = Driver(sam.viewer, widget)
    again.wait_ready()
    widget.layers.labels.value = labels
    wait_until(lambda: again.annotator.label == 2, "the labels to be counted")
    # the labels know what they were made of
    again.hover(COINS[4])
    again.key("J")
    assert again.annotator.label == 1
    assert len(again.annotator.items.points) == 1
    assert sum(is_ours(x) for x in sam.viewer.layers) == 3


def test_reopening_goes_on_with_the_same_image(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    other = sam.viewer.add_image(coins[::-1].copy(), name="other")
    sam.viewer.layers.selection.active = other
    for image in ("coins", "other"):
        sam.controller.choose_image(sam.viewer.layers[image])
        QTest.mouseClick(close_button(sam.widget), Qt.MouseButton.LeftButton)
        spin(100)
        _, widget = sam.viewer.window.add_plugin_dock_widget(
            "napari-sam", "Segment Anything"
        )
        sam = Driver(sam.viewer, widget)
        assert sam.controller.context.image is sam.viewer.layers[image]


CLOSE_AND_OPEN = """
import faulthandler
import napari, numpy as np
from PyQt6.sip import isdeleted
from napari_sam.widgets.focus import main_window
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
faulthandler.enable()
for labels in (False, True):
    viewer = napari.Viewer()
    viewer.add_image(np.zeros((64, 64), np.uint8))
    if labels:
        viewer.add_labels(np.ones((64, 64), np.uint8))
    for _ in range(2):
        viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
        QTest.qWait(300)
        (widget,) = viewer.window.dock_widgets.values()
        dock = widget.parent()
        while not hasattr(dock, "titleBarWidget"):
            dock = dock.parent()
        QTest.mouseClick(dock.titleBarWidget().close_button, Qt.MouseButton.LeftButton)
        for zoom in (1.1, 1.2, 1.3):
            # Painted again and again, with what the removed layers have left.
            viewer.scene.camera.zoom *= zoom
            QTest.qWait(50)
        print([layer.name for layer in viewer.layers], isdeleted(widget), flush=True)
    viewer.close()
    print("closed", flush=True)
viewer = napari.Viewer()
viewer.add_image(np.zeros((64, 64), np.uint8))
_, widget = viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
controller = widget.controller
# When all of it has been drawn: less is left to be told that it is gone before.
QTimer.singleShot(3000, main_window(widget).close)
del widget
napari.run()
print(controller.is_closed)
"""


def test_the_canvas_survives_that_dock_and_window_come_and_go() -> None:
    """In a process of its own: what goes wrong there ends it, or is logged by vispy."""
    outcome = subprocess.run(
        [sys.executable, "-c", CLOSE_AND_OPEN],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    # A dock that is closed is gone: one that is left is destroyed as Python ends, in
    # an order that PyQt does not survive at times.
    one, both = (f"{names} True" for names in (["Image"], ["Image", "Labels"]))
    expected = [one, one, "closed", both, both, "closed", "True"]
    assert outcome.stdout.splitlines() == expected, outcome.stderr
    assert outcome.returncode == 0
    # A closed window leaves layers that nothing draws alone.
    assert "deleted" not in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_layer_is_taken_out_in_the_context_of_the_canvas(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    current: list[QOpenGLContext | None] = []
    sam.viewer.layers.events.removed.connect(
        lambda: current.append(QOpenGLContext.currentContext())
    )
    for layer in ("SAM shapes", "coins"):
        current.clear()
        sam.viewer.layers.remove(layer)
        assert set(current) == {sam.canvas.context()}


def test_closing_the_viewer_while_encoding(
    open_sam: OpenSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = SamModel.iter_encode_rgb

    def slowly(
        self: SamModel, *given: Any, **options: Any
    ) -> Generator[None, None, Any]:
        steps = encode(self, *given, **options)
        while True:
            time.sleep(0.2)
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            yield

    monkeypatch.setattr(SamModel, "iter_encode_rgb", slowly)
    noise = np.random.default_rng(0).integers(0, 255, (4, 90, 110), np.uint8)
    sam = open_sam(noise, wait=False)
    runner = sam.controller.context.runner
    wait_until(lambda: runner.is_busy("shown"), "encoding to begin")
    spin(150)
    controller = sam.controller
    sam.viewer.close()
    spin(50)
    assert controller.is_closed
    assert not runner.is_busy()


def test_closing_the_viewer_while_everything_runs(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    # A grid takes long enough to close the viewer meanwhile.
    grid = EverythingSettings(prompts="grid")
    sam.controller.change_settings(everything=grid)
    sam.key("G")
    everything = sam.controller.everything
    wait_until(
        lambda: everything.progress is not None and everything.progress.done > 0,
        "the search to be under way",
    )
    controller = sam.controller
    sam.viewer.close()
    spin(50)
    assert controller.is_closed


def test_nothing_keeps_a_closed_controller_alive(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    sam.annotate(COINS[4])
    sam.click(COINS[1])
    sam.wait_preview()
    controller = weakref.ref(sam.controller)
    runner = weakref.ref(sam.controller.context.runner)
    QTest.mouseClick(close_button(sam.widget), Qt.MouseButton.LeftButton)
    del sam

    def are_gone() -> bool:
        # A job that was under way keeps them until its step is done.
        gc.collect()
        return controller() is None and runner() is None

    wait_until(are_gone, "the controller and its runner to be gone")


def test_two_viewers_do_not_know_of_each_other(
    open_sam: OpenSam, coins: Pixels, stack: Pixels
) -> None:
    one, two = open_sam(coins), open_sam(stack)
    one.click(COINS[4])
    two.click(COINS[0])
    two.click(COINS[1])
    one.wait_preview()
    two.wait_preview()
    assert len(one.annotator.items.points) == 1
    assert len(two.annotator.items.points) == 2
    two.key("Q")
    assert one.annotator.prompting.positive
    assert not two.annotator.prompting.positive
    one.key("N")
    assert one.labeled == [1]
    assert two.controller.labels.layer is None
    assert not two.annotator.is_empty
    QTest.mouseClick(close_button(one.widget), Qt.MouseButton.LeftButton)
    spin(50)
    assert one.controller.is_closed
    two.key("N")
    assert two.labeled == [1]


def test_a_result_that_arrives_after_closing_is_dropped(qapp: QCoreApplication) -> None:
    runner = QtRunner()
    arrived: list[object] = []
    job = Job(
        lambda: 1,
        priority=Priority.PREDICT,
        slot="any",
        on_result=arrived.append,
        on_end=lambda: arrived.append("end"),
    )
    runner.submit(job)
    # Without the event loop: the result waits in Qt's queue.
    while runner.is_busy():
        time.sleep(0.001)
    runner.close()
    qapp.processEvents()
    assert not arrived


LEAVE_WHILE_BUSY = """
import time, torch
from napari_sam.viewer.background.worker import Job, Priority, ThreadRunner
def work():
    matrix, start = torch.randn(500, 500), time.monotonic()
    while time.monotonic() < start + 2:
        matrix = torch.nn.functional.normalize(matrix @ matrix)
runner = ThreadRunner(lambda callback: callback())
runner.submit(Job(work, priority=Priority.PREDICT))
time.sleep(0.3)
{close}
"""


@pytest.mark.parametrize("close", ["runner.close(timeout=0.1)", ""])
def test_leaving_while_the_model_works_ends_cleanly(close: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", LEAVE_WHILE_BUSY.format(close=close)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")


def replace_layers(sam: Driver, old: list[Image], new: list[Image]) -> None:
    """Do what napari's Split and Merge do with the layer list."""
    layers = sam.viewer.layers
    for layer in old:
        layers.remove(layer)
    layers.extend(new)
    layers.selection = set(new)
    spin(100)


def test_splitting_and_merging_goes_on_with_the_same_labels(
    open_sam: OpenSam, coins: Pixels
) -> None:
    """The image changes with a word, the labels go on."""
    sam = open_sam(np.stack([coins, coins, coins], axis=-1), rgb=True)
    sam.annotate(COINS[4])
    labels = sam.labels
    assert sam.labeled == [1]

    def goes_on(coin: tuple[int, int], expected: list[int]) -> None:
        wait_until(lambda: sam.controller.context.image is not None, "an image")
        image = sam.controller.context.image
        assert image in sam.viewer.layers
        said = [r.message for r in notification_manager.records]
        assert f"'{image.name}' is the image that is segmented now." in said
        sam.wait_ready()
        assert sam.controller.labels.layer is labels
        assert len([x for x in sam.viewer.layers if isinstance(x, Labels)]) <= 2
        assert is_ours(sam.viewer.layers[-1])
        sam.annotate(coin)
        assert sam.labeled == expected

    image = sam.controller.context.image
    channels = stack_utils.split_rgb(image)
    replace_layers(sam, [image], channels)
    goes_on(COINS[1], [1, 2])
    merged = stack_utils.merge_rgb(channels)
    replace_layers(sam, channels, [merged])
    goes_on(COINS[0], [1, 2, 3])
