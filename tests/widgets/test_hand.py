"""Where the hand is: focus, keys, tools, and a small screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from driver import (
    BACKGROUND,
    COINS,
    CONTROL,
    LEFT,
    NO_MODIFIER,
    Driver,
    press_key,
    spin,
    wait_until,
)
from napari.settings import get_settings
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QKeyEvent, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox, QScrollArea

from napari_sam.core.annotation.prompts import same_items
from napari_sam.io.project import open_folder
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driver import Pixels
    from qtpy.QtWidgets import QWidget

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui

PRESS, RELEASE = QEvent.Type.KeyPress, QEvent.Type.KeyRelease


def type_in(widget: QWidget, key: Any) -> None:
    """Press a key while a widget has the focus."""
    widget.setFocus()
    assert QApplication.focusWidget() is widget
    press_key(widget, key)


def hold(sam: Driver, key: Any, *, marked: bool) -> None:
    """Hold a key as long as it takes to repeat ten times, and let it go."""

    def send(kind: Any, repeats: bool) -> None:
        event = QKeyEvent(kind, key, NO_MODIFIER, chr(key).lower(), repeats)
        QApplication.sendEvent(sam.canvas, event)

    send(PRESS, False)
    for _ in range(10):
        # X11 releases and presses for each repeat, and may mark neither.
        send(RELEASE, marked)
        send(PRESS, marked)
    send(RELEASE, False)
    spin(100)


def keys_work_wherever_the_focus_is_in_the_dock(sam: Driver) -> None:
    panels = sam.widget
    fields = [
        panels.layers.model.native,
        panels.objects.level.native,
        panels.everything.area.native,
        panels.everything.score.native,
        panels.objects.polarity.native,
    ]
    model = sam.controller.loader.name
    for count, widget in enumerate(fields, 1):
        type_in(widget, Qt.Key.Key_Q)
        assert sam.annotator.prompting.positive == (count % 2 == 0), widget
    assert sam.controller.loader.name == model
    # Enter takes the number and gives the focus back.
    number = panels.everything.area.native
    number.setFocus()
    number.selectAll()
    QTest.keyClicks(number, "77")
    QTest.keyClick(number, Qt.Key.Key_Return)
    wait_until(lambda: QApplication.focusWidget() is not number, "the focus back")
    assert sam.controller.settings.min_area == 77
    # Letters in a name are text.
    panels.learn_section.expand(animate=False)
    before = sam.annotator.prompting.positive
    type_in(panels.learn.name.native, Qt.Key.Key_Q)
    assert sam.annotator.prompting.positive == before
    assert panels.learn.name.value.endswith("q")


def presses_that_a_busy_window_hears_of_at_once_all_count(sam: Driver) -> None:
    """They are told from the repeats of a held key by when they were made."""
    before = sam.annotator.prompting.positive

    class Timed(QKeyEvent):
        """An event with a time, which Qt for Python gives nobody to set."""

        at = 0

        def timestamp(self) -> int:
            return self.at

    def send(kind: Any, at: int) -> None:
        event = Timed(kind, Qt.Key.Key_Q, NO_MODIFIER, "q", False)
        event.at = at
        QApplication.sendEvent(sam.canvas, event)

    for number in range(5):
        send(PRESS, 1000 + 100 * number)
        send(RELEASE, 1050 + 100 * number)
    assert sam.annotator.prompting.positive != before
    send(PRESS, 2000)
    for number in range(10):
        # As X11 repeats: both at one time, which may come late and unmarked.
        send(RELEASE, 2500 + 30 * number)
        spin(100 if number == 5 else 0)
        send(PRESS, 2500 + 30 * number)
    send(RELEASE, 3000)
    assert sam.annotator.prompting.positive == before


def test_quick_clicks_at_one_place_of_other_slices_all_count(
    open_sam: OpenSam, stack: Pixels
) -> None:
    """Qt calls every second of them a double click."""
    sam = open_sam(stack)
    where = sam.at(COINS[0])

    def click(kind: Any) -> None:
        at = QPointF(where)
        world = QPointF(sam.canvas.mapToGlobal(where))
        press = QMouseEvent(kind, at, at, world, LEFT, LEFT, NO_MODIFIER)
        QApplication.sendEvent(sam.canvas, press)
        QTest.mouseRelease(sam.canvas, LEFT, NO_MODIFIER, where)

    for z in range(len(stack)):
        sam.viewer.dims.set_current_step(0, z)
        click(QEvent.Type.MouseButtonDblClick if z else QEvent.Type.MouseButtonPress)
    assert [int(p[0]) for p in sam.points.data] == [0, 1, 2]
    # On the same slice it is a double click.
    click(QEvent.Type.MouseButtonDblClick)
    assert len(sam.points.data) == 3


def a_held_key_acts_once_and_a_button_leaves_the_focus(sam: Driver) -> None:
    if not sam.annotator.prompting.positive:
        sam.key("Q")
    said: list[str] = []
    for number, marked in enumerate((True, False)):
        sam.click(COINS[number])
        sam.wait_preview()
        sam.controller.said.connect(said.append)
        hold(sam, Qt.Key.Key_N, marked=marked)
        wait_until(lambda n=number: len(sam.labeled) == n + 1, "the accept")
        sam.controller.said.disconnect(said.append)
    assert not [text for text in said if "Nothing to accept" in text]
    # While H is held the mask under the cursor stays, however it repeats.
    sam.hover(COINS[4])
    QApplication.sendEvent(
        sam.canvas, QKeyEvent(PRESS, Qt.Key.Key_H, NO_MODIFIER, "h", False)
    )
    for _ in range(5):
        for kind in (RELEASE, PRESS):
            QApplication.sendEvent(
                sam.canvas, QKeyEvent(kind, Qt.Key.Key_H, NO_MODIFIER, "h", False)
            )
        spin(60)
        assert sam.controller.pointer.is_hovering
    sam.release("H")
    wait_until(lambda: not sam.controller.pointer.is_hovering, "the key let go")
    # The prompt layer is selected, and undo is where the hand is.
    assert sam.viewer.layers.selection.active == sam.points
    sam.key("Ctrl+Z")
    assert sam.labeled == [1]
    assert sam.annotator.label == 2
    QTest.keyClick(
        sam.canvas,
        Qt.Key.Key_Z,
        Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier,
    )
    spin(20)
    assert sam.labeled == [1, 2]
    assert sam.annotator.is_empty
    assert "Ctrl+Z" not in sam.controller.status
    # A button that rests after its press hands the focus to nobody.
    sam.viewer.window.activate()
    sam.canvas.setFocus()
    sam.click(COINS[4])
    sam.wait_preview()
    sam.push(sam.widget.objects.discard)
    assert not sam.widget.objects.discard.enabled
    focused = QApplication.focusWidget()
    assert focused is None or not sam.widget.isAncestorOf(focused)


def the_lit_tool_is_the_tool(sam: Driver) -> None:
    tools = sam.widget.objects.tools

    def lit() -> list[Tool]:
        return [t for t, b in tools.items() if b.native.isChecked()]

    # Another layer is selected, and the press is for the tool all the same.
    sam.viewer.layers.selection.active = sam.viewer.layers["coins"]
    spin(20)
    assert lit() == [Tool.POINT]
    sam.click(COINS[4])
    assert len(sam.annotator.items.points) == 1
    assert sam.viewer.layers.selection.active == sam.points
    sam.wait_preview()
    sam.key("Escape")
    # New labels keep it armed; while one paints, no tool is lit.
    sam.push(sam.widget.layers.new)
    assert sam.viewer.layers.selection.active == sam.points
    sam.viewer.layers.selection.active = sam.labels
    sam.labels.mode = "paint"
    spin(20)
    assert lit() == []
    assert sam.labels.name in sam.controller.status
    sam.choose_tool(Tool.POINT)
    # Outside the image nothing is placed, and it is said.
    sam.click((-12, 40))
    assert sam.annotator.is_empty
    assert "outside the image" in sam.controller.status
    # A dragged line is done with the drag, and Escape after it discards nothing.
    sam.choose_tool(Tool.SCRIBBLE)
    sam.drag([(40, 35), (46, 45), (50, 55)])
    spin(50)
    assert not sam.shapes._is_creating
    # The answer has a word to say as well.
    sam.wait_preview()
    sam.key("Escape")
    assert len(sam.annotator.items.shapes) == 1
    assert "finished" in sam.controller.status
    sam.key("Escape")
    assert sam.annotator.is_empty
    # In 3-D everything rests and says why.
    sam.viewer.dims.ndisplay = 3
    spin(20)
    for button in (*tools.values(), sam.widget.everything.plane):
        assert not button.enabled
        assert "2-D" in button.tooltip


def test_the_keys_the_focus_and_the_tools(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    for check in (
        presses_that_a_busy_window_hears_of_at_once_all_count,
        a_held_key_acts_once_and_a_button_leaves_the_focus,
        the_lit_tool_is_the_tool,
        keys_work_wherever_the_focus_is_in_the_dock,
    ):
        sam.start_over()
        check(sam)


def test_a_small_screen_shows_what_annotating_needs(
    open_sam: OpenSam, stack: Pixels
) -> None:
    sam = open_sam(stack, name="an image with a name longer than the box is wide")
    sam.viewer.window.resize(1366, 768 - 24)
    spin(200)
    widget = sam.widget
    area = widget.findChild(QScrollArea)
    assert area is not None
    needed = [
        widget.layers.image.native,
        widget.layers.model.native,
        *(b.native for b in widget.objects.tools.values()),
        widget.objects.accept.native,
        widget.strip,
        widget.review.reject.native,
        widget.review.rest.native,
        widget.everything.plane.native,
        widget.everything.prefill.native,
    ]

    def places() -> list[tuple[QPoint, int]]:
        return [(w.mapTo(area, QPoint(0, 0)), w.height()) for w in needed]

    at_rest = places()
    seen = area.viewport()
    assert seen is not None
    for shown, (corner, height) in zip(needed, at_rest, strict=True):
        assert corner.y() >= 0
        assert corner.y() + height <= seen.height(), shown
        assert corner.x() + shown.width() <= seen.width(), shown
    assert "longer than the box" in widget.layers.image.tooltip
    sam.key("G")
    wait_until(lambda: sam.controller.everything.is_running, "the search")
    assert places() == at_rest
    wait_until(lambda: not sam.controller.everything.is_running, "its end")
    sam.push(widget.review.walk)
    wait_until(lambda: sam.controller.review.current is not None, "the review")
    spin(50)  # A layout is made with a later turn of the loop.
    assert places() == at_rest
    accepts = [
        b
        for b in (widget.objects.accept, widget.review.reject, widget.review.walk)
        if "(N)" in b.text and b.native.isVisible()
    ]
    assert len(accepts) == 1


def answer_box(text: str, *others: str) -> list[str]:
    """Press a button of the question that comes; return what it says, when it has."""
    said: list[str] = []

    def answer() -> None:
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        said.extend((box.text(), box.informativeText()))
        buttons = {b.text(): b for b in box.buttons()}
        assert set(buttons) == {*(others or ("Write", "Keep")), "Cancel", "Discard"}
        buttons[text].click()

    QTimer.singleShot(200, answer)
    return said


def test_closing_asks_about_what_waits_on_another_image(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    guard, first = sam.widget._guard, sam.controller.context.image
    assert guard is not None
    sam.click(COINS[1])
    sam.wait_preview()
    sam.controller.choose_image(sam.viewer.add_image(coins[::-1], name="other"))
    assert not sam.controller.is_under_way
    said = answer_box("Cancel", "Go there")
    assert not guard.may_close()
    assert said[0].startswith("An object has prompts on the image 'coins' and is not")
    answer_box("Go there", "Go there")
    assert not guard.may_close()
    assert sam.controller.context.image == first
    assert len(sam.annotator.items.points) == 1
    # Now it is the object under way; nothing of this image is on disk.
    answer_box("Discard", "Write")
    assert guard.may_close()


@pytest.mark.parametrize("way", ["Write", "Keep", "Discard"])
def test_closing_over_an_object_does_what_its_buttons_say(
    open_sam: OpenSam, coins: Pixels, tmp_path: Path, way: str
) -> None:
    """Discard means the object under way; what is in the labels is there tomorrow."""
    sam = open_sam(coins)
    sam.annotate(COINS[4])
    sam.click(COINS[1])
    sam.wait_preview()
    guard, session = sam.widget._guard, sam.controller.projects
    assert guard is not None
    said = answer_box("Cancel")
    assert not guard.may_close()
    assert said[0].startswith("Object 2 has prompts and is not in the labels yet.")
    assert "in no project yet" in said[1]
    session.save_as(tmp_path / "coins")
    wait_until(lambda: not session.is_saving)
    said = answer_box(way)
    assert guard.may_close()
    assert "The labels are in the project coins.napari-sam" in said[1]
    assert sam.controller.is_under_way is (way == "Keep")
    # It asks no more.
    assert guard.may_close()
    sam.viewer.close()
    spin(50)
    folder = open_folder(tmp_path / "coins.napari-sam")
    state = folder.read()
    folder.close()
    assert [len(kept.items.points) for kept in state.under_way] == [1] * (way == "Keep")
    assert len(state.records) == (2 if way == "Write" else 1)


def test_what_was_written_is_offered_after_the_window_was_closed(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    sam.annotate(COINS[4])
    sam.click(COINS[1])
    sam.wait_preview()
    guard = sam.widget._guard
    assert guard is not None
    answer_box("Write")
    assert guard.may_close()
    labels = sam.labels.data.copy()
    sam.viewer.close()
    spin(50)
    again = open_sam(coins)
    panel = again.widget.project
    wait_until(lambda: panel.found.visible, "the offer")
    assert "work on this image that is in no project" in panel.found.value
    again.push(panel.restore)
    assert not panel.found.visible
    assert np.array_equal(again.labels.data, labels)
    assert again.labeled == [1, 2]


def test_what_is_under_way_is_there_after_reopening(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    sam.annotate(COINS[4])
    labels = sam.labels
    sam.click(COINS[1])
    sam.wait_preview()
    guard = sam.widget._guard
    assert guard is not None

    # Closing the window would lose it, so it asks.
    answer_box("Cancel")
    assert not guard.may_close()
    # Closing the dock does not.
    sam.viewer.window.remove_dock_widget(sam.widget)
    spin(50)
    _, widget = sam.viewer.window.add_plugin_dock_widget(
        "napari-sam", "Segment Anything"
    )
    again = Driver(sam.viewer, widget)
    again.wait_ready()
    assert again.controller.labels.layer == labels
    again.wait_preview()
    assert len(again.annotator.items.points) == 1
    wait_until(lambda: again.annotator.label == 2, "the labels to be counted")
    again.key("N")
    wait_until(lambda: again.labeled == [1, 2], "the accept")


@pytest.mark.parametrize("way", ["menu", "key"])
def test_the_menu_and_its_keys_ask_too_and_a_script_is_not_asked(
    way: str, open_sam: OpenSam, coins: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = open_sam(coins)
    get_settings().application.confirm_close_window = False
    asked: list[str] = []

    def leave(box: QMessageBox) -> int:
        asked.append(box.windowTitle())
        return 0

    monkeypatch.setattr(QMessageBox, "exec", leave)
    window = sam.widget.window()
    assert isinstance(window, QMainWindow)
    sam.click(COINS[1])
    sam.wait_preview()
    if way == "key":
        QTest.keyClick(window, Qt.Key.Key_W, CONTROL)
    else:
        (action,) = (
            action
            for action in sam.viewer.window.file_menu.actions()
            if action.text().replace("&", "") == "Close Window"
        )
        action.trigger()
    spin(50)
    assert len(asked) == 1
    assert window.isVisible()
    sam.wait_preview()  # the prompts are still there
    sam.viewer.close()
    assert len(asked) == 1


def test_the_tool_is_lit_again_after_a_look_in_3d(
    open_sam: OpenSam, stack: Pixels
) -> None:
    sam = open_sam(stack)
    button = sam.viewer.window._qt_viewer.viewerButtons.ndisplayButton
    for count, tool in enumerate((Tool.POINT, Tool.BOX, Tool.EDIT), 1):
        sam.choose_tool(Tool.POINT)
        sam.click(COINS[count])
        sam.wait_preview()
        sam.choose_tool(tool)
        QTest.mouseClick(button, LEFT)
        wait_until(lambda: sam.viewer.dims.ndisplay == 3, "the view in 3D")
        wait_until(lambda: "2-D" in sam.controller.status, "what cannot be done in it")
        QTest.mouseClick(button, LEFT)
        wait_until(lambda: sam.viewer.dims.ndisplay == 2, "the plane")
        sam.wait_idle()
        spin(50)
        assert sam.controller.toolbox.lit is tool
        assert sam.widget.objects.tools[tool].native.isChecked()
        assert len(sam.points.data) == count, tool
    sam.choose_tool(Tool.POINT)
    sam.click(COINS[0])
    assert len(sam.points.data) == 4


def test_a_tool_chosen_with_naparis_buttons_is_lit_again_after_3d(
    open_sam: OpenSam, stack: Pixels
) -> None:
    sam = open_sam(stack)
    sam.viewer.layers.selection.active = sam.shapes
    sam.shapes.mode = "add_ellipse"
    assert sam.controller.toolbox.lit is Tool.ELLIPSE
    sam.viewer.dims.ndisplay = 3
    spin(100)
    sam.viewer.dims.ndisplay = 2
    spin(100)
    assert sam.controller.toolbox.lit is Tool.ELLIPSE


def hidden_prompt_layers_take_the_next_press(sam: Driver) -> None:
    sam.points.visible = False
    spin(50)
    assert sam.controller.toolbox.lit is Tool.POINT
    assert sam.controller.status.startswith("Click an object.")
    sam.click(COINS[0])
    assert sam.points.visible
    assert len(sam.points.data) == 1
    # Shown again by hand, it takes the press as well.
    sam.points.visible = False
    sam.points.visible = True
    spin(50)
    assert sam.controller.toolbox.lit is Tool.POINT
    sam.click(COINS[1])
    assert len(sam.points.data) == 2
    # Outside the image a press shows it no less, and places nothing.
    sam.points.visible = False
    sam.click((-5, -5))
    assert len(sam.points.data) == 2
    assert sam.controller.toolbox.lit is Tool.POINT


def a_deleted_prompt_layer_is_made_anew_with_its_prompts(
    sam: Driver, tool: Tool
) -> None:
    sam.click(COINS[0])
    sam.click(BACKGROUND, CONTROL)
    sam.choose_tool(Tool.BOX)
    r, c = COINS[4]
    sam.drag([(r - 24, c - 24), (r + 24, c + 24)])
    sam.wait_preview()
    sam.choose_tool(tool)
    before, items = sam.preview_pixels, sam.annotator.items
    gone = sam.points if tool is Tool.POINT else sam.shapes
    sam.viewer.layers.selection = {gone}
    sam.viewer.layers.remove_selected()
    spin(100)
    assert gone not in sam.viewer.layers
    assert same_items(sam.annotator.items, items)
    assert same_items(sam.annotator.layer_sync.layers.read(), items)
    assert sam.preview_pixels == before
    assert sam.controller.toolbox.lit is tool
    sam.choose_tool(Tool.POINT)
    sam.click(COINS[1])
    assert len(sam.points.data) == 3
    sam.key("N")
    wait_until(lambda: sam.labeled, "the object to be written")


def deleted_points_come_back(sam: Driver) -> None:
    a_deleted_prompt_layer_is_made_anew_with_its_prompts(sam, Tool.POINT)


def deleted_shapes_come_back(sam: Driver) -> None:
    a_deleted_prompt_layer_is_made_anew_with_its_prompts(sam, Tool.BOX)


def a_deleted_preview_comes_back(sam: Driver) -> None:
    sam.click(COINS[0])
    sam.wait_preview()
    pixels = sam.preview_pixels
    preview = sam.annotator.preview.layer
    assert preview is not None
    sam.viewer.layers.remove(preview)
    wait_until(lambda: sam.annotator.preview.layer is not None, "another preview")
    assert sam.annotator.preview.layer is not preview
    assert sam.preview_pixels == pixels > 0


def test_prompt_layers_that_are_hidden_and_deleted(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    for check in (
        hidden_prompt_layers_take_the_next_press,
        deleted_points_come_back,
        deleted_shapes_come_back,
        a_deleted_preview_comes_back,
    ):
        sam.start_over()
        check(sam)


def test_layers_that_go_with_the_image_stay_away(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    sam.click(COINS[0])
    sam.viewer.layers.clear()
    spin(100)
    assert list(sam.viewer.layers) == []
    image = sam.viewer.add_image(coins)
    wait_until(lambda: sam.controller.context.image == image, "the image to be chosen")
    sam.wait_ready()
    sam.choose_tool(Tool.POINT)
    sam.click(COINS[0])
    assert len(sam.points.data) == 1
