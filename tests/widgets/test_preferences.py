"""The plugin's page in napari's preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from driver import Driver, wait_until
from napari.settings import get_plugin_settings
from npe2 import PluginManifest

from napari_sam.models import DEFAULT_MODEL
from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import napari.viewer
    from driver import Pixels
    from npe2._pytest_plugin import TestPluginManager

pytestmark = pytest.mark.gui


def open_with_preferences(viewer: napari.viewer.Viewer, image: Pixels) -> Driver:
    viewer.add_image(image)
    widget = SamWidget(viewer)
    viewer.window.add_dock_widget(widget)
    return Driver(viewer, widget)


@pytest.mark.parametrize(("memory", "disk"), [(0.0, 1.0), (1.0, 0.0)])
def test_preferences_reach_model_device_and_budgets(
    memory: float,
    disk: float,
    npe2pm: TestPluginManager,
    plugin_settings: None,
    make_viewer: Callable[[], napari.viewer.Viewer],
    coins: Pixels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path))
    npe2pm.register(PluginManifest.from_file(request.config.rootpath / "napari.yaml"))
    settings = get_plugin_settings("napari-sam")
    assert settings.model.name == DEFAULT_MODEL
    assert settings.model.device == "auto"
    assert settings.embeddings.memory_gib == 1.0
    assert settings.embeddings.disk_gib == 10.0
    settings.model.device = "cpu"
    settings.embeddings.memory_gib = memory
    settings.embeddings.disk_gib = disk
    sam = open_with_preferences(make_viewer(), coins)
    assert sam.widget.layers.device.value == "cpu"
    sam.wait_ready()
    assert sam.controller.loader.device == "cpu"
    planes = sam.controller.context.encoder
    assert planes is not None
    kept = planes.engine.store.info()
    assert (kept.ram_entries, kept.entries) == (int(memory > 0), int(disk > 0))


def test_a_model_that_is_not_there_is_one_sentence(
    npe2pm: TestPluginManager,
    plugin_settings: None,
    make_viewer: Callable[[], napari.viewer.Viewer],
    coins: Pixels,
    request: pytest.FixtureRequest,
) -> None:
    npe2pm.register(PluginManifest.from_file(request.config.rootpath / "napari.yaml"))
    get_plugin_settings("napari-sam").model.name = "no-such-model"
    sam = open_with_preferences(make_viewer(), coins)
    wait_until(lambda: not sam.controller.loader.is_loading, "the refusal")
    assert "no-such-model" in sam.controller.status
    # and choosing one that exists repairs it
    sam.widget.layers.model.value = "mobile-sam"
    sam.wait_ready()
