"""Palette commands, through napari's own registry and with its public proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, Driver, wait_until
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from app_model import Application
    from driver import Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def test_every_command_of_the_manifest_is_registered(
    open_sam: OpenSam, coins: Pixels, mock_app_model: Application
) -> None:
    open_sam(coins, wait=False)
    manifest = PluginManager.instance().get_manifest("napari-sam")
    commands = [c for c in manifest.contributions.commands or [] if c.python_name]
    acting = [c for c in commands if "widgets.commands:" in str(c.python_name)]
    assert len(acting) >= 7
    for command in acting:
        assert command.id in mock_app_model.commands


def test_commands_act_on_the_viewer(
    open_sam: OpenSam, stack: Pixels, mock_app_model: Application
) -> None:
    sam = open_sam(stack)

    def run(name: str) -> None:
        mock_app_model.commands.execute_command(f"napari-sam.{name}").result()

    sam.click(COINS[4])
    sam.wait_preview()
    run("cycle_level")
    assert sam.annotator.level.name == "SUBPART"
    sam.wait_idle()
    run("discard")
    assert sam.annotator.is_empty
    sam.click(COINS[4])
    sam.wait_preview()
    run("accept")
    assert sam.labeled == [1]
    sam.hover(COINS[4])
    run("pick_object")
    assert sam.annotator.label == 1
    run("discard")
    sam.widget.everything.side.value = 3
    run("segment_plane")
    everything = sam.controller.everything
    assert everything.is_running
    sam.controller.cancel()
    wait_until(lambda: not everything.is_running, "the search to end")
    run("segment_stack")
    assert everything.is_running
    sam.controller.cancel()
    run("encode_stack")
    assert sam.controller.prefetcher.is_whole_stack


def test_a_command_without_the_dock_says_so(
    make_viewer: Callable[[], napari.viewer.Viewer], mock_app_model: Application
) -> None:
    make_viewer()
    said = len(notification_manager.records)
    mock_app_model.commands.execute_command("napari-sam.accept").result()
    (record,) = notification_manager.records[said:]
    assert "Open Segment Anything" in record.message


def test_no_private_attribute_and_no_other_thread(
    make_napari_viewer_proxy: Callable[..., napari.viewer.Viewer], coins: Pixels
) -> None:
    from napari_sam.widgets.dock import SamWidget

    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(coins)
    widget = SamWidget(viewer)
    viewer.window.add_dock_widget(widget)
    controller = widget.controller
    wait_until(lambda: controller.prefetcher.is_shown_ready, "the plane")
    points = controller.annotator.layer_sync.layers.points
    assert points is not None
    points.add([COINS[4]])
    wait_until(lambda: controller.annotator.prediction is not None, "the preview")
    controller.accept()
    layer = controller.labels.layer
    assert layer is not None
    assert np.unique(layer.data).tolist() == [0, 1]
    layer.undo()
    assert not layer.data.any()
    wait_until(lambda: controller.annotator.prediction is not None, "the preview")
    controller.discard()
    viewer.layers.remove(viewer.layers[0])
    assert controller.context.image is None
