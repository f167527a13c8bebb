"""The row for projects, in a real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from driver import COINS, spin, wait_until
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog

import napari_sam as ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def test_save_open_recent_and_script(
    open_sam: OpenSam, coins: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = open_sam(coins)
    panel, session = sam.widget.project, sam.widget.controller.projects
    sam.click(COINS[4])
    sam.wait_preview()
    sam.push(sam.widget.objects.accept)
    assert sam.labeled == [1]
    path = tmp_path / "coins.napari-sam"
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), "")
    )
    sam.push(panel.save)
    wait_until(lambda: not session.is_saving)
    assert session.path == path
    assert panel.save.text == "Save"
    with ns.open_project(path) as stored:
        assert stored.read_only  # the window has it
        assert np.unique(stored.labels).tolist() == [0, 1]
    menu = panel.menu()
    (recent,) = [a.menu() for a in menu.actions() if a.menu() is not None]
    assert [a.text() for a in recent.actions()] == ["coins"]
    menu.deleteLater()
    panel.copy_script()
    clipboard = QGuiApplication.clipboard()
    assert clipboard is not None
    assert "session.accept()" in clipboard.text()
    monkeypatch.setattr(
        QFileDialog, "getExistingDirectory", lambda *_, **__: str(tmp_path)
    )
    panel.open_()
    assert "no project that can be read" in sam.widget.controller.status


def test_labels_elsewhere_are_put_where_the_image_is(
    open_sam: OpenSam, coins: Pixels
) -> None:
    sam = open_sam(coins, wait=False)
    panel = sam.widget.project
    wait_until(lambda: panel.save.visible)
    layer = sam.viewer.add_labels(np.zeros(coins.shape, int), scale=(0.5, 0.5))
    assert not panel.place.visible
    sam.widget.layers.labels.value = layer
    spin()
    assert panel.place.visible
    sam.push(panel.place)
    assert tuple(layer.scale) == (1, 1)
    assert sam.widget.controller.labels.layer == layer
    assert not panel.place.visible


def test_save_without_anything_asks_for_no_name(
    open_sam: OpenSam, coins: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = open_sam(coins)
    sam.controller.choose_image(None)
    assert "Choose an image" in sam.controller.status
    asked: list[object] = []
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_, **__: asked.append(1) or ("", "")
    )
    sam.push(sam.widget.project.save)
    assert "no labels to save" in sam.controller.status
    assert not asked
