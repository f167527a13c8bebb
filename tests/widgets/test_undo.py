"""napari's own undo and redo: prompts come back in step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, CONTROL, SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def ctrl_z_brings_the_prompts_back(sam: Driver) -> None:
    sam.annotate(COINS[4])
    sam.annotate(COINS[1])
    written = np.count_nonzero(sam.labels.data == 2)
    sam.viewer.layers.selection.active = sam.labels
    sam.key("Z", CONTROL)
    assert sam.labeled == [1]
    assert sam.annotator.label == 2
    (point,) = sam.annotator.items.points
    assert np.allclose(point.position, COINS[1], atol=0.6)
    assert np.allclose(sam.points.data, [COINS[1]], atol=0.6)
    sam.wait_preview()
    assert sam.preview_pixels == written > 0
    sam.key("Z", CONTROL)
    assert sam.labeled == []
    assert sam.annotator.label == 1
    sam.key("Z", CONTROL | SHIFT)
    assert sam.labeled == [1]
    sam.key("Z", CONTROL | SHIFT)
    assert sam.labeled == [1, 2]
    assert sam.annotator.label == 3


def undo_after_the_brush_takes_the_stroke_first(sam: Driver) -> None:
    sam.annotate(COINS[4])
    written = sam.labels.data.copy()
    sam.viewer.layers.selection.active = sam.labels
    sam.labels.mode = "paint"
    sam.labels.selected_label = 9
    sam.drag([(10, 10), (10, 40)])
    assert 9 in sam.labeled
    sam.key("Z", CONTROL)
    assert np.array_equal(sam.labels.data, written)
    assert sam.annotator.is_empty
    sam.key("Z", CONTROL)
    assert sam.labeled == []
    assert len(sam.annotator.items.points) == 1


def test_undo_and_redo(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins)
    for check in (
        ctrl_z_brings_the_prompts_back,
        undo_after_the_brush_takes_the_stroke_first,
    ):
        sam.start_over()
        check(sam)
