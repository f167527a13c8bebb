"""Tracks and divisions in a real window: keys, what napari draws, layers deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import SHIFT, spin, wait_until
from napari.layers import Tracks

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


@pytest.fixture
def dividing() -> Pixels:
    """Return a cell 7 that goes on beside a new one, 9."""
    labels = np.zeros((5, 120, 160), np.uint8)
    labels[:3, 40:80, 30:130] = 7
    labels[3:, 10:40, 20:60] = 7
    labels[3:, 80:110, 100:140] = 9
    return labels


def tracks(sam: Driver) -> list[Tracks]:
    return [layer for layer in sam.viewer.layers if isinstance(layer, Tracks)]


def drawn(sam: Driver) -> int:
    """Return how many pixels the lines between mothers and daughters have."""
    for layer in sam.viewer.layers:
        layer.visible = isinstance(layer, Tracks)
        if isinstance(layer, Tracks):
            layer.display_tail = False
            layer.tail_length = 50
    sam.viewer.dims.set_point(0, 4)
    spin(100)
    picture = sam.viewer.screenshot(canvas_only=True, flash=False)
    sam.labels.visible = True
    return int((picture[..., :3].min(-1) > 60).sum())


def test_what_is_taken_back_is_drawn_no_more(
    open_sam: OpenSam, dividing: Pixels
) -> None:
    image = np.zeros(dividing.shape, np.uint8)
    sam = open_sam(image, axis_labels=("t", "y", "x"))
    layer = sam.viewer.add_labels(dividing.copy())
    sam.controller.choose_labels(layer)
    sam.controller.choose_tool(sam.controller.tool)
    sam.viewer.dims.set_point(0, 0)
    sam.wait_ready()
    sam.hover((0, 60, 60))
    sam.key("J")
    assert sam.annotator.draft.label == 7
    sam.viewer.dims.set_point(0, 3)

    def divide() -> None:
        sam.viewer.dims.set_point(0, 3)
        sam.hover((3, 95, 120))
        sam.key("Shift+U")

    divide()
    wait_until(lambda: len(tracks(sam)) == 1, "the Tracks layer")
    assert "divides into" in sam.controller.status
    shown = tracks(sam)[0]
    assert len(shown.graph) == 2
    assert drawn(sam) > 20
    sam.key("Ctrl+Z")
    wait_until(lambda: not shown.graph, "the undo")
    assert "Object 7 does not divide." in sam.controller.status
    assert drawn(sam) == 0
    sam.key("Ctrl+Z", SHIFT)
    wait_until(lambda: len(shown.graph) == 2, "the redo")
    assert drawn(sam) > 20
    divide()
    wait_until(lambda: not shown.graph, "the division to be taken back")
    assert "7 is whole again" in sam.controller.status
    assert np.array_equal(sam.labels.data, dividing)
    assert drawn(sam) == 0
    # Without any object there are no tracks, and with objects again the same layer.
    everything = np.nonzero(sam.labels.data)
    sam.labels.data_setitem(everything, 0)
    wait_until(lambda: not tracks(sam), "the layer to go")
    sam.controller.undo()
    wait_until(lambda: tracks(sam) == [shown], "the layer to come back")
    divide()
    wait_until(lambda: len(shown.graph) == 2, "the division")
    assert drawn(sam) > 20
