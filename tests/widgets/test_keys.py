"""The key table against napari's own keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from driver import COINS, wait_until
from napari.layers import Image, Labels, Points, Shapes, Surface, Tracks, Vectors
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel

from napari_sam.viewer.keys import KEYS, help_rows
from napari_sam.widgets.help import HelpPopup

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui

LAYERS: tuple[Callable[[], Any], ...] = (
    lambda: Image(np.zeros((8, 8))),
    lambda: Labels(np.zeros((8, 8), int)),
    lambda: Points(np.zeros((1, 2))),
    lambda: Shapes(np.array([[[0, 0], [0, 4], [4, 4], [4, 0]]], float)),
    lambda: Surface((np.eye(3)[:, :2] * 4, np.array([[0, 1, 2]]))),
    lambda: Tracks(np.array([[0, 0, 1, 1], [0, 1, 2, 2]], float)),
    lambda: Vectors(np.zeros((1, 2, 2))),
)


def keymaps(owner: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is bound on an instance and on its class."""
    own = {str(k): f for k, f in owner.keymap.items()}
    return own, {str(k): f for k, f in owner.class_keymap.items()}


def test_no_key_of_napari_is_taken_away(
    make_viewer: Callable[[], napari.viewer.Viewer],
) -> None:
    viewer = make_viewer()
    layers = [viewer.add_layer(make()) for make in LAYERS]
    owners = [viewer, *layers]
    before = [keymaps(owner) for owner in owners]
    dock, widget = viewer.window.add_plugin_dock_widget(
        "napari-sam", "Segment Anything"
    )
    own = {str(k): f for k, f in viewer.keymap.items()}
    assert {key.key for key in KEYS} <= set(own)
    for layer, maps in zip(layers, before[1:], strict=True):
        assert keymaps(layer) == maps
    # Only Escape means something to napari; `test_shapes` shows that it still does.
    for key in KEYS:
        taken = [
            owner
            for owner, (_, cls) in zip(owners, before, strict=True)
            if key.key in cls
        ]
        assert not taken or key.key == "Escape"
    assert keymaps(viewer)[1] == before[0][1]
    viewer.window.remove_dock_widget(dock)
    assert widget.controller.is_closed
    assert [keymaps(owner) for owner in owners] == before


def test_keys_of_somebody_else_come_back(
    make_viewer: Callable[[], napari.viewer.Viewer],
) -> None:
    viewer = make_viewer()

    def theirs(viewer: object) -> None:
        pass

    viewer.bind_key("N", theirs)
    dock, _ = viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    viewer.window.remove_dock_widget(dock)
    own, _ = keymaps(viewer)
    assert own["N"] is theirs


def test_every_key_arrives_whatever_layer_is_active(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    sam.wait_idle()
    statuses: list[str] = []
    sam.controller.said.connect(statuses.append)
    everything = sam.controller.everything
    for make in LAYERS:
        layer = make()
        layer.name = "another"
        sam.viewer.add_layer(layer)
        sam.viewer.layers.selection.active = layer
        sam.key("N")
        assert "click an object first" in statuses[-1], make
        sam.key("Q")
        assert not sam.annotator.prompting.positive, make
        sam.key("Q")
        before = sam.annotator.level
        sam.key("W")
        assert sam.annotator.level is not before, make
        sam.press("H")
        assert sam.controller.pointer.is_hovering, make
        sam.release("H")
        wait_until(lambda: not sam.controller.pointer.is_hovering, "the key let go")
        sam.key("J")
        assert "no object under the cursor" in statuses[-1], make
        sam.key("G")
        assert everything.is_running, make
        sam.controller.cancel()
        wait_until(lambda: not everything.is_running, "the search to end")
        sam.points.add([COINS[4]])
        sam.key("U")
        assert sam.annotator.is_empty, make
        if "Escape" not in keymaps(layer)[1]:
            sam.points.add([COINS[4]])
            sam.key("Escape")
            assert sam.annotator.is_empty, make
            assert "Discarded" in sam.controller.status, make
        sam.viewer.layers.remove(layer)


def test_the_help_popup_lists_every_key(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins, wait=False)
    sam.push(sam.widget.help)
    (popup,) = sam.widget.findChildren(HelpPopup)
    assert popup.isVisible()
    texts = " ".join(label.text() for label in popup.findChildren(QLabel))
    for key, explanation in help_rows():
        assert key in texts
        assert explanation in texts
    QTest.keyClick(popup, Qt.Key.Key_Escape)
    assert not popup.isVisible()
