"""The dock as a whole: what it shows, and that all of it can be read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import imageio.v3 as iio
import napari
import napari.viewer
import numpy as np
import pytest
from driver import COINS, spin, wait_until
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication, QLabel, QScrollArea

from napari_sam import cli
from napari_sam.core.everything.settings import EverythingSettings
from napari_sam.core.masks import OverlapPolicy, PostProcessing
from napari_sam.viewer.settings import AcceptWait, Normalization, ProposalColor
from napari_sam.widgets.help import HelpPopup

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driver import Driver, Pixels

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


def test_a_window_that_was_larger_fits_the_screen(
    make_viewer: Callable[[], napari.viewer.Viewer], coins: Pixels
) -> None:
    """napari restores the size that it had on another screen."""
    viewer = make_viewer()
    window = viewer.window._qt_window
    room = window.screen().availableGeometry()
    window.setGeometry(200, 100, room.width() + 300, room.height() + 200)
    spin(200)
    viewer.add_image(coins, name="coins")
    viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    wait_until(
        lambda: room.contains(window.frameGeometry()),
        lambda: f"{window.frameGeometry()} to lie in {room}",
        timeout=10_000,
    )


def what_is_chosen_elsewhere_is_shown(sam: Driver) -> None:
    """By a project that is opened, say: every control of every setting."""
    controller, panels = sam.controller, (sam.widget.options, sam.widget.everything)
    before = {id(w): w.value for panel in panels for w, _ in panel._shows}
    for panel in panels:
        shown = [widget for widget, _ in panel._shows]
        own = [w for w in vars(panel).values() if isinstance(w, ValueWidget)]
        assert {id(w) for w in own if w.widget_type != "PushButton"} == {
            id(w) for w in shown
        }
    controller.change_settings(
        policy=OverlapPolicy.OVERWRITE,
        cleaning=PostProcessing(
            fill_holes=not controller.settings.cleaning.fill_holes,
            largest_piece=not controller.settings.cleaning.largest_piece,
            smooth=1.5,
            min_area=9,
        ),
        live=True,
        accept_wait=AcceptWait.FINAL,
        hover=True,
        proposal_color=ProposalColor.SCORE,
        normalization=Normalization.DISPLAYED,
        everything=EverythingSettings(
            points_per_side=7, crop_n_layers=1, object_size=31
        ),
        min_area=55,
        min_score=0.71,
        min_stability=0.72,
        max_share=0.3,
    )
    settings = controller.settings
    spin(50)
    for panel in panels:
        for widget, read in panel._shows:
            assert widget.value == pytest.approx(read(settings)), widget.name
            assert widget.value != before[id(widget)], widget.name
    # Showing it has changed nothing, and no value is too large to be shown.
    assert controller.settings is settings
    many = replace(settings.everything, points_per_side=400)
    controller.change_settings(everything=many)
    spin(50)
    assert controller.settings.everything.points_per_side == 400


def what_is_said_is_in_sight_wherever_the_dock_is_scrolled(sam: Driver) -> None:
    sam.viewer.window.resize(1300, 620)
    spin(100)
    (area,) = sam.widget.findChildren(QScrollArea)
    bar = area.verticalScrollBar()
    for value in (bar.minimum(), bar.maximum()):
        bar.setValue(value)
        spin(20)
        status = sam.widget.status
        corner = status.mapTo(sam.widget, QPoint(0, status.height()))
        assert 0 < corner.y() <= sam.widget.height()
        assert not status.visibleRegion().isEmpty()
    assert bar.maximum() > 0
    # Nothing is cut at the right, and names stand in one column.
    body = area.widget()
    assert body is not None
    assert body.minimumSizeHint().width() <= area.viewport().width()
    everything = sam.widget.everything
    lefts = {
        w.native.mapTo(body, QPoint(0, 0)).x()
        for w in (everything.share, everything.size, everything.crops)
    }
    assert max(lefts) - min(lefts) <= 2


def every_key_can_be_read_in_the_popup(sam: Driver) -> None:
    sam.push(sam.widget.help)
    (popup,) = sam.widget.findChildren(HelpPopup)
    for label in popup.findChildren(QLabel):
        assert label.height() >= label.heightForWidth(label.width()), label.text()
    assert popup.height() <= 700
    assert popup.width() <= 1300
    popup.close()


def test_what_the_dock_shows(open_sam: OpenSam, coins: Pixels) -> None:
    sam = open_sam(coins, wait=False)
    for check in (
        every_key_can_be_read_in_the_popup,
        what_is_said_is_in_sight_wherever_the_dock_is_scrolled,
        what_is_chosen_elsewhere_is_shown,
    ):
        check(sam)


def test_a_project_is_opened_from_the_command_line(
    make_viewer: Callable[[], napari.viewer.Viewer],
    coins: Pixels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    iio.imwrite(tmp_path / "coins.png", coins)
    path = tmp_path / "mine.napari-sam"
    viewer = make_viewer()
    viewer.open(tmp_path / "coins.png")
    _, dock = viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    projects, annotator = dock.controller.projects, dock.controller.annotator
    wait_until(lambda: dock.controller.prefetcher.is_shown_ready)
    annotator.layer_sync.layers.points.add(COINS[4])
    wait_until(lambda: annotator.prediction is not None)
    dock.controller.accept()
    wait_until(lambda: not annotator.is_waiting)
    projects.save_as(path)
    wait_until(lambda: not projects.is_saving)
    viewer.close()
    opened: list[napari.viewer.Viewer] = []

    def open_viewer() -> napari.viewer.Viewer:
        opened.append(make_viewer())
        return opened[-1]

    monkeypatch.setattr(napari, "Viewer", open_viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    assert cli.main(["gui", str(path)]) == 0
    (again,) = opened
    assert "coins" in [layer.name for layer in again.layers]
    labels = next(layer for layer in again.layers if "labels" in layer.name)
    assert labels.data.any()
    (path / "project.json").write_text("{}")
    assert cli.main(["gui", str(path)]) == 2
    assert "project" in capsys.readouterr().err


MIXED = {
    "a picture in color": {"a.tif": (60, 80), "b.png": (60, 80, 3), "c.tif": (60, 80)},
    "a damaged file": {"a.tif": (60, 80), "b.npy": None, "c.tif": (60, 80)},
    "no image": {"b.npy": None},
}


@pytest.mark.parametrize("files", MIXED.values(), ids=MIXED)
def test_what_napari_cannot_show_is_refused_in_one_sentence(
    make_viewer: Callable[[], napari.viewer.Viewer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, tuple[int, ...] | None],
) -> None:
    """It fails while napari adds a layer, which it then cannot take out again."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, shape in files.items():
        if shape is None:
            (folder / name).write_text("no image")
        else:
            iio.imwrite(folder / name, np.zeros(shape, np.uint8))
    monkeypatch.setattr(napari, "Viewer", make_viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    assert cli.main(["gui", str(folder)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "mixed" in said
    assert "by name" in said
    assert not [w for w in QApplication.topLevelWidgets() if w.isVisible()]
