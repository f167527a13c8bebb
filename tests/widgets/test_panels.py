"""The panel: what it sends to the controller, and that it shows its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, LEFT, spin, wait_until
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QProgressBar, QScrollArea

from napari_sam.core.masks import OverlapPolicy
from napari_sam.types import MaskLevel, Progress
from napari_sam.viewer.plugin_layers import is_ours
from napari_sam.viewer.settings import Normalization, Tool
from napari_sam.widgets.activity_bar import ActivityBar

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from driver import Driver, Pixels
    from napari.layers import Layer

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui

MODES = {
    Tool.POINT: ("SAM points", "add"),
    Tool.BOX: ("SAM shapes", "add_rectangle"),
    Tool.OUTLINE: ("SAM shapes", "add_polygon_lasso"),
    Tool.ELLIPSE: ("SAM shapes", "add_ellipse"),
    Tool.SCRIBBLE: ("SAM shapes", "add_path"),
    Tool.EDIT: ("SAM points", "select"),
}


def tools_activate_a_layer_and_a_mode(sam: Driver) -> None:
    for tool, (name, mode) in MODES.items():
        sam.choose_tool(tool)
        active = sam.viewer.layers.selection.active
        assert active is not None
        assert active.name == name
        assert str(active.mode) == mode
        buttons = sam.widget.objects.tools
        assert [t for t, b in buttons.items() if b.native.isChecked()] == [tool]


def buttons_do_what_keys_do(sam: Driver) -> None:
    panel = sam.widget.objects
    assert not panel.accept.enabled
    assert not panel.discard.enabled
    sam.click(COINS[4])
    sam.wait_preview()
    assert f"score {sam.annotator.score:.2f}" in panel.info.value
    panel.level.value = MaskLevel.WHOLE
    assert sam.annotator.level is MaskLevel.WHOLE
    sam.push(panel.polarity)
    assert not sam.annotator.prompting.positive
    assert panel.polarity.text == "Marks background"
    sam.wait_idle()
    sam.push(panel.accept)
    assert sam.labeled == [1]
    assert "Object 2" in panel.info.value
    sam.click(COINS[1])
    sam.push(panel.discard)
    assert sam.annotator.is_empty


def test_what_has_no_effect_with_a_model_rests(
    open_sam: OpenSam, coins: Pixels
) -> None:
    """And says why; what does not rest changes what is proposed or shown."""
    sam = open_sam(coins, wait=False)
    for name in ("mobile-sam", "mobile-sam-microscopy"):
        sam.controller.load_model(name)
        wait_until(lambda: not sam.controller.loader.is_loading, "the model")
        sam.wait_ready()
        what_has_no_effect_rests(sam, sees=name == "mobile-sam-microscopy")
        sam.key("Escape")
        sam.widget.objects.level.value = MaskLevel.AUTO


def what_has_no_effect_rests(sam: Driver, *, sees: bool) -> None:
    controller, panel = sam.controller, sam.widget.everything

    def found() -> list[object]:
        shown = controller.everything.shown
        assert shown is not None
        return [(p.box, p.area, p.score) for p in shown]

    def search() -> list[object]:
        controller.segment_plane()
        wait_until(lambda: not controller.everything.is_running, "the search")
        return found()

    panel.side.value = 10
    # Lower than usual, so that there is something to raise it over.
    panel.score.value = panel.stability.value = 0.5
    first = search()
    assert first
    for control, value in (
        (panel.score, 0.97),
        (panel.stability, 0.985),
        (panel.area, 1500),
        (panel.share, 1),
    ):
        assert control.enabled
        before, control.value = control.value, value
        assert found() != first, control.label
        control.value = before
    assert panel.side.enabled is not sees
    if sees:
        assert "This model" in panel.side.tooltip
    else:
        panel.side.value = 3
        assert search() != first
    assert panel.crops.enabled  # what they find: tests/core/test_everything.py
    assert panel.size.enabled is sees
    if sees:
        # As large as the coins, which the whole plane shows well enough.
        assert panel.size.native.text() == "auto"
        panel.size.value = 9
        assert search() != first
        assert controller.everything.shown is not None
        assert controller.everything.shown.scale == pytest.approx(4, rel=0.02)
        panel.size.value = 0
        spin()
        assert panel.size.native.text() == "auto: 4.0 ×"
    else:
        assert "does not see objects" in panel.size.tooltip

    controller.everything.discard()
    sam.click(COINS[4])
    sam.wait_preview()
    masks = set()
    for level in (MaskLevel.SUBPART, MaskLevel.PART, MaskLevel.WHOLE):
        sam.widget.objects.level.value = level
        sam.wait_idle()
        layer = sam.annotator.preview.layer
        assert layer is not None
        masks.add(np.asarray(layer.data).tobytes())
    assert len(masks) > 1


def test_crops_rest_only_where_a_coarser_level_is_read(open_sam: OpenSam) -> None:
    """As of a pyramid that is seen together with a layer on another grid."""
    fine = np.zeros((3000, 3000), np.uint8)
    sam = open_sam(fine, wait=False)
    crops, viewer = sam.widget.everything.crops, sam.viewer
    assert crops.enabled
    pyramid = viewer.add_image([fine, fine[::2, ::2]], multiscale=True, name="pyramid")
    sam.controller.choose_image(pyramid)
    spin(100)
    assert crops.enabled
    viewer.add_image(fine[:500, :500], name="other", translate=(0.4, 0.4))
    sam.controller.change_settings(normalization=Normalization.DISPLAYED)
    wait_until(lambda: not crops.enabled, "crops to rest")
    assert "different grids" in crops.tooltip


def options_reach_the_settings(sam: Driver) -> None:
    options, controller = sam.widget.options, sam.controller
    options.hover.value = True
    options.live.value = True
    options.policy.value = OverlapPolicy.OVERWRITE
    options.normalization.value = Normalization.DISPLAYED
    options.fill.value = not controller.settings.cleaning.fill_holes
    options.largest.value = not controller.settings.cleaning.largest_piece
    options.smooth.value = 2.5
    options.min_area.value = 7
    settings = controller.settings
    assert settings.hover
    assert settings.live
    assert settings.policy is OverlapPolicy.OVERWRITE
    assert settings.normalization is Normalization.DISPLAYED
    assert settings.cleaning.fill_holes == options.fill.value
    assert settings.cleaning.largest_piece == options.largest.value
    assert settings.cleaning.smooth == 2.5
    assert settings.cleaning.min_area == 7
    everything = sam.widget.everything
    everything.side.value = 5
    everything.crops.value = 1
    everything.size.value = 24
    everything.score.value = 0.7
    everything.stability.value = 0.75
    everything.area.value = 33
    settings = controller.settings
    assert settings.everything.points_per_side == 5
    assert settings.everything.crop_n_layers == 1
    assert settings.everything.object_size == 24
    assert settings.min_score == pytest.approx(0.7)
    assert settings.min_stability == pytest.approx(0.75)
    assert settings.min_area == 33


def cleaning_changes_the_preview(sam: Driver) -> None:
    sam.click(COINS[4])
    sam.wait_preview()
    sam.widget.options.min_area.value = 100_000
    sam.wait_idle()
    assert sam.preview_pixels == 0
    sam.widget.options.min_area.value = 0
    sam.wait_idle()
    assert sam.preview_pixels > 300


def combos_follow_renamed_and_removed_layers(sam: Driver) -> None:
    panel = sam.widget.layers
    sam.push(panel.new)
    assert panel.labels.value == sam.labels
    sam.viewer.layers["coins"].name = "money"
    sam.labels.name = "segmentation"
    assert panel.image.native.findChild(object) is not None
    shown = panel.image.native.currentText(), panel.labels.native.currentText()
    assert shown == ("money", "segmentation")
    assert sam.controller.context.image == sam.viewer.layers["money"]
    image = sam.controller.context.image
    other = sam.viewer.add_image(image.data[::-1], name="second")
    panel.image.value = other
    assert sam.controller.context.image == other
    sam.viewer.layers.remove("segmentation")
    assert panel.labels.value is None
    assert sam.controller.labels.layer is None


def labels_that_do_not_fit_are_refused_in_one_sentence(sam: Driver) -> None:
    sam.push(sam.widget.layers.new)
    kept = sam.labels
    small = sam.viewer.add_labels(np.zeros((5, 5), np.uint8), name="small")
    sam.widget.layers.labels.value = small
    assert "'small' has shape (5, 5)" in sam.controller.status
    assert sam.controller.labels.layer == kept
    spin()
    assert sam.widget.layers.labels.value == kept


def test_a_device_that_is_not_there_is_one_sentence(
    open_sam: OpenSam, coins: Pixels
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    sam = open_sam(coins)
    sam.annotate(COINS[4])
    said = len(notification_manager.records)
    sam.widget.layers.device.value = "cuda"
    wait_until(lambda: not sam.controller.loader.is_loading, "the refusal")
    assert "cuda" in sam.controller.status.lower()
    assert len(notification_manager.records) == said + 1
    assert sam.controller.loader.device == "cpu"
    sam.annotate(COINS[1])
    assert sam.labeled == [1, 2]


def switching_the_model_keeps_labels_and_prompts(sam: Driver) -> None:
    sam.annotate(COINS[4])
    sam.click(COINS[1])
    sam.wait_preview()
    shown = sam.preview_pixels
    sam.widget.layers.device.value = "cpu"
    assert sam.controller.loader.is_loading
    wait_until(lambda: not sam.controller.loader.is_loading, "the model")
    sam.wait_preview()
    assert sam.preview_pixels == shown
    assert sam.labeled == [1]


def test_the_strip_shows_and_moves_the_plane(open_sam: OpenSam, stack: Pixels) -> None:
    sam = open_sam(stack)
    strip = sam.widget.strip
    wait_until(lambda: sam.controller.prefetcher.strip.ready.all(), "all planes")
    assert sam.widget.follow.info.value == "3 of 3 planes encoded"
    assert not sam.widget.stack.whole.enabled
    QTest.mouseClick(strip, LEFT, pos=QPoint(strip.width() - 3, strip.height() // 2))
    assert sam.viewer.dims.current_step[0] == 2
    QTest.mouseClick(strip, LEFT, pos=QPoint(2, strip.height() // 2))
    assert sam.viewer.dims.current_step[0] == 0


def test_pause_and_encode_the_whole_stack(open_sam: OpenSam, coins: Pixels) -> None:
    planes = np.random.default_rng(1).integers(0, 255, (12, 40, 50), np.uint8)
    sam = open_sam(planes, wait=False)
    panel, prefetcher = sam.widget.stack, sam.controller.prefetcher
    sam.wait_ready()
    sam.widget.volume_section.expand(animate=False)
    spin(50)
    area = sam.widget.findChild(QScrollArea)
    assert area is not None
    area.ensureWidgetVisible(panel.pause.native)
    sam.push(panel.pause)
    assert prefetcher.is_paused
    assert panel.pause.text == "Go on"
    sam.push(panel.whole)
    assert prefetcher.is_whole_stack
    assert not prefetcher.is_paused
    assert panel.whole.text == "Stop encoding"
    done = prefetcher.strip.ready.sum()
    wait_until(lambda: prefetcher.strip.ready.sum() > done, "one more plane")
    assert sam.widget.progress.visible
    assert sam.widget.cancel.visible
    sam.push(sam.widget.cancel)
    assert not prefetcher.is_whole_stack
    spin(30)
    assert not sam.widget.cancel.visible


def test_cancelling_everything_keeps_finished_planes(
    open_sam: OpenSam, stack: Pixels
) -> None:
    sam = open_sam(stack)
    everything = sam.controller.everything
    sam.widget.everything.side.value = 5
    sam.push(sam.widget.everything.stack)
    wait_until(lambda: everything.count > 0, "the first plane")
    assert sam.widget.cancel.visible
    assert not sam.widget.everything.plane.enabled
    sam.push(sam.widget.cancel)
    wait_until(lambda: not everything.is_running, "the end")
    assert everything.count > 0
    assert sam.controller.status.startswith("Stopped")
    sam.push(sam.widget.everything.drop)
    assert everything.count == 0
    assert everything.overlay.layer is not None
    assert not everything.overlay.layer.data.any()


def long_work_is_shown_in_naparis_activity_dock(sam: Driver) -> None:
    state: list[Progress | None] = [Progress(3, 10, "encoding planes")]

    def bars() -> list[QProgressBar]:
        found = sam.widget.window().findChildren(QProgressBar)
        return [b for b in found if type(b.parent()).__name__ == "QtLabeledProgressBar"]

    bar = ActivityBar(lambda: state[0], sam.widget)
    bar.follow()
    wait_until(bars, "the bar")
    (shown,) = bars()
    assert (shown.value(), shown.maximum()) == (3, 10)
    state[0] = Progress(9, 10, "encoding planes")
    wait_until(lambda: shown.value() == 9, "its progress")
    state[0] = None
    wait_until(lambda: not bars(), "its end")


@pytest.mark.parametrize("is_zoomed", [False, True])
def test_opening_the_dock_crops_no_view_and_moves_none(
    is_zoomed: bool, make_viewer: Callable[[], napari.viewer.Viewer], coins: Pixels
) -> None:
    viewer = make_viewer()
    viewer.add_image(coins, name="coins")
    spin(100)
    if is_zoomed:
        viewer.scene.camera.zoom *= 4
        viewer.scene.camera.center = (40, 50)
    before, wide = viewer.scene.camera.zoom, viewer.canvas.size[1]
    _, widget = viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    wait_until(lambda: viewer.canvas.size[1] < wide - 100, "the dock to take its room")
    navigator = widget.controller.navigator
    if is_zoomed:
        spin(300)
        assert not navigator.shows_all
        assert viewer.scene.camera.zoom == before
    else:
        wait_until(lambda: navigator.shows_all, "the whole view")


def test_what_the_panel_changes_and_shows(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    tools_activate_a_layer_and_a_mode(sam)
    long_work_is_shown_in_naparis_activity_dock(sam)
    sam.choose_tool(Tool.POINT)
    buttons_do_what_keys_do(sam)
    sam.push(sam.widget.objects.polarity)
    assert sam.annotator.prompting.positive
    sam.labels.undo()
    for check in (
        cleaning_changes_the_preview,
        switching_the_model_keeps_labels_and_prompts,
        labels_that_do_not_fit_are_refused_in_one_sentence,
        options_reach_the_settings,
        combos_follow_renamed_and_removed_layers,
    ):
        sam.key("Escape")
        assert sam.annotator.is_empty
        for layer in [x for x in sam.viewer.layers if is_users_labels(x)]:
            sam.viewer.layers.remove(layer)
        check(sam)


def is_users_labels(layer: Layer) -> bool:
    return isinstance(layer, Labels) and not is_ours(layer)
