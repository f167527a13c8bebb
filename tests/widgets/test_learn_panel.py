"""The panel for learning from labels, in a real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, wait_until
from skimage.draw import disk

from napari_sam.training.adapt.settings import AdaptSettings
from napari_sam.viewer.learning.learner import Stage
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driver import Driver, Pixels

pytestmark = pytest.mark.gui

NOTHING = AdaptSettings(steps=1, objects=2, side=16, learning_rate=1e-12)
"""Learns so slowly that the result is the base."""

LONG_MS = 200_000
"""The thread that learns comes after everything else on the machine."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep models out of the user's folder."""
    monkeypatch.setenv("NAPARI_SAM_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def sam(open_sam: Callable[..., Driver], coins: Pixels) -> Driver:
    """Return a window with six coins, labeled by hand."""
    sam = open_sam(coins)
    labels = np.zeros(coins.shape, np.uint16)
    for number, center in enumerate(COINS, start=1):
        labels[disk(center, 20, shape=labels.shape)] = number
    layer = sam.viewer.add_labels(labels, name="painted")
    sam.controller.choose_labels(layer)
    # So that its buttons can be pushed.
    sam.widget.learn_section.expand(animate=False)
    wait_until(lambda: sam.widget.learn.start.native.height() > 0, "the section")
    return sam


def test_start_and_cancel(sam: Driver):
    """The button starts, the bar moves, Cancel ends it and nothing has changed."""
    panel, learning = sam.widget.learn, sam.controller.learning
    assert panel.name.value == f"{sam.controller.loader.name}-coins"
    assert not panel.progress.visible
    sam.push(panel.start)
    wait_until(
        lambda: learning.progress is not None and "step" in learning.progress.text,
        "the first step",
        timeout=LONG_MS,
    )
    assert panel.progress.visible
    assert panel.progress.max > 100
    assert "step" in panel.info.value
    assert not panel.start.enabled
    sam.push(panel.cancel)
    assert not panel.progress.visible
    assert panel.start.enabled
    assert "cancelled" in sam.widget.status.text()
    assert learning.stage is Stage.IDLE


def test_keep_anyway_and_drop(sam: Driver, folder: Path):
    """A result that is no better is kept if the user says so, and listed at once."""
    panel, learning = sam.widget.learn, sam.controller.learning
    base, menu = sam.controller.loader.name, sam.widget.layers.model
    panel.name.value = "coins"
    learning.start(panel.name.value, settings=NOTHING)
    wait_until(lambda: learning.stage is Stage.UNDECIDED, "the result", timeout=LONG_MS)
    assert panel.info.value.startswith("Not better: 1 click")
    assert "coins" not in menu.choices
    sam.push(panel.keep)
    wait_until(lambda: learning.stage is Stage.KEPT, "the file")
    wait_until(lambda: not sam.controller.loader.is_loading, "the new model")
    assert (folder / "coins.safetensors").is_file()
    assert sam.controller.loader.engine.model.name == "coins"
    assert menu.value == "coins"
    sam.wait_ready()
    sam.choose_tool(Tool.POINT)
    sam.click(COINS[0])
    sam.wait_preview()
    sam.push(panel.drop)
    wait_until(lambda: not sam.controller.loader.is_loading, "the model before")
    assert menu.value == base
    assert "coins" not in menu.choices
    assert not (folder / "coins.safetensors").exists()
