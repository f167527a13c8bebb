"""Whatever happens to layers, at any moment, annotating goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from driver import COINS, spin, wait_until
from napari.utils.notifications import notification_manager

from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels
    from napari.layers import Layer

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def rename(sam: Driver, layer: Layer) -> None:
    layer.name = "something else"


def delete(sam: Driver, layer: Layer) -> None:
    sam.viewer.layers.remove(layer)


def hide(sam: Driver, layer: Layer) -> None:
    layer.visible = False


def reorder(sam: Driver, layer: Layer) -> None:
    layers = sam.viewer.layers
    layers.move(layers.index(layer), 0 if layers.index(layer) else len(layers))


def replace(sam: Driver, layer: Layer) -> None:
    """Assign other data of the same shape, as a script would."""
    data: Any = layer.data
    layer.data = data.copy() if isinstance(data, np.ndarray) else list(data)


WHAT = (rename, delete, hide, replace, reorder)
WHICH = ("coins", "coins labels", "SAM points", "SAM shapes", "SAM preview")
WHEN = ("idle", "predicting", "previewing")


def test_any_layer_at_any_moment(open_sam: OpenSam, coins: Pixels) -> None:
    """Every two of what, which and when meet; all three take three times as long."""
    sam = open_sam(coins)
    sam.annotate(COINS[4])
    for n, what in enumerate(WHAT):
        for i, which in enumerate(WHICH):
            if which in sam.viewer.layers:
                happens(sam, what, which, WHEN[(i + n) % len(WHEN)])
                goes_on(sam)
        if not sam.labeled:
            sam.annotate(COINS[4])
    bad = [r for r in notification_manager.records if str(r.severity) == "error"]
    assert not bad


def happens(
    sam: Driver, what: Callable[[Driver, Layer], None], which: str, moment: str
) -> None:
    """Do something to a layer at a moment, and bring back what the user needs."""
    image = sam.controller.context.image
    assert image is not None
    sam.choose_tool(Tool.POINT)
    if moment != "idle":
        sam.click(COINS[1])
    if moment == "previewing":
        sam.wait_preview()
    layer = sam.viewer.layers[which]
    what(sam, layer)
    spin(10)
    if layer in sam.viewer.layers:
        layer.name = which
        layer.visible = True
    elif layer == image:
        assert sam.controller.context.image is None
        sam.viewer.add_image(image.data, name="coins")
    wait_until(lambda: sam.controller.context.image is not None)
    sam.wait_ready()
    sam.wait_idle()
    sam.key("Escape")


def goes_on(sam: Driver) -> None:
    """A click gives an object in the labels."""
    sam.choose_tool(Tool.POINT)
    sam.viewer.layers.selection.active = sam.points
    sam.click(COINS[0])
    sam.wait_preview()
    sam.key("N")
    assert sam.annotator.is_empty, sam.controller.status
    assert sam.labels.data[COINS[0]] > 0
    sam.labels.undo()
    sam.key("Escape")
    assert sam.labels.data[COINS[0]] == 0


def switching_the_image_while_predicting(sam: Driver) -> None:
    coins = sam.viewer.layers["coins"].data
    sam.annotate(COINS[4])
    other = sam.viewer.add_image(coins[::-1].copy(), name="other")
    sam.choose_tool(Tool.POINT)
    sam.click(COINS[1])
    sam.widget.layers.image.value = other
    sam.wait_ready()
    sam.wait_idle()
    assert sam.controller.context.image == other
    assert sam.annotator.prediction is None
    assert sam.preview_pixels == 0
    assert sam.labeled == [1]
    sam.annotate((159 - COINS[1][0], COINS[1][1]))
    assert sam.labeled == [1, 2]


def a_hundred_points(sam: Driver) -> None:
    grid = np.stack(np.meshgrid(np.arange(10) * 3, np.arange(10) * 3), -1)
    sam.points.add(grid.reshape(-1, 2) + np.array((100, 82)))
    assert len(sam.annotator.items.points) == 100
    sam.wait_preview()
    sam.key("N")
    assert sam.labeled == [1]


def a_point_outside_the_image_is_refused(sam: Driver) -> None:
    sam.annotate(COINS[4])
    sam.points.add([(-30, 10)])
    sam.wait_idle()
    spin(20)
    assert "outside" in sam.controller.status
    assert sam.preview_pixels == 0
    sam.key("Escape")
    sam.annotate(COINS[1])
    assert sam.labeled == [1, 2]


def test_many_points_strange_points_and_another_image(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins)
    for check in (
        a_hundred_points,
        a_point_outside_the_image_is_refused,
        switching_the_image_while_predicting,
    ):
        sam.start_over()
        check(sam)


def test_3d_view_and_back(open_sam: OpenSam, stack: Pixels) -> None:
    sam = open_sam(stack)
    sam.click(COINS[4])
    sam.wait_preview()
    sam.viewer.dims.ndisplay = 3
    spin(50)
    assert "2-D" in sam.controller.status
    sam.key("G")
    assert not sam.controller.everything.is_running
    sam.viewer.dims.ndisplay = 2
    sam.wait_ready()
    assert sam.annotator.prediction is not None
    sam.key("N")
    assert sam.labeled == [1]


def test_orthogonal_view(open_sam: OpenSam) -> None:
    volume = np.zeros((60, 70, 80), np.uint8)
    volume[20:40, 25:50, 30:60] = 200
    sam = open_sam(volume)
    sam.viewer.dims.order = (1, 0, 2)
    sam.wait_ready()
    sam.click((30, 45))
    point = sam.annotator.items.points[0]
    assert point.axes == (0, 2)
    sam.wait_preview()
    sam.key("N")
    y = sam.viewer.dims.current_step[1]
    assert sam.labels.data[30, y, 45] == 1
    assert not sam.labels.data[:, [i for i in range(70) if i != y]].any()
