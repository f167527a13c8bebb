"""A real window with the dock widget in it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from display import DISPLAY
from driver import Driver
from napari._qt.qt_main_window import _QtMainWindow
from npe2 import PluginManager
from skimage import data
from vispy.gloo.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari.viewer
    from driver import Pixels

    from napari_sam.models.sam1.sam import SamModel


@pytest.fixture(autouse=True, scope="session")
def _events(quick_events: None) -> None:
    """Connect quickly."""


@pytest.fixture(autouse=True)
def _no_search_for_garbage_among_tests() -> None:
    """Have napari's fixture look for garbage only in what this test makes."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _plugins_are_looked_for_once() -> Iterator[None]:
    """Have each further window skip the search, in which nothing new is found.

    It reads what every installed distribution says about itself: half a second.
    """
    search, searched = PluginManager.discover, set[int]()

    def once(self: PluginManager, *args: Any, **kwargs: Any) -> int:
        if id(self) in searched:
            return 0
        searched.add(id(self))
        return search(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManager, "discover", once)
        yield


@pytest.fixture(autouse=True, scope="session")
def _shaders_are_read_once() -> Iterator[None]:
    """Have vispy look for the variables of a shader once, not in each window.

    The shaders of all windows are the same, and searching them takes as long as half
    of what is drawn.
    """
    read = Program._parse_variables_from_code
    known: dict[tuple[str, ...], dict[str, Any]] = {}

    def read_once(self: Program, update_variables: bool = True) -> None:
        code = tuple(shader.code for shader in self._shaders)
        if code not in known:
            read(self, update_variables=False)
            known[code] = self._code_variables
        self._code_variables = known[code].copy()
        if update_variables:
            self._process_pending_variables()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "_parse_variables_from_code", read_once)
        yield


@pytest.fixture(autouse=True, scope="session")
def _display() -> Iterator[None]:
    """Draw windows when a slow screen would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_QtMainWindow, "event", lambda w, e: DISPLAY.event(w, e))
        yield


@pytest.fixture(scope="module")
def draws_at_once() -> Iterator[None]:
    """Have the windows of a file draw at once: its tests are about drawing."""
    DISPLAY.is_slow = False
    yield
    DISPLAY.is_slow = True


@pytest.fixture(scope="session")
def _loaded() -> dict[tuple[str, str], SamModel]:
    """Keep the models that windows of this process have loaded."""
    return {}


@pytest.fixture(scope="module", autouse=True)
def _models_are_loaded_once(
    small_models: None, _loaded: dict[tuple[str, str], SamModel]
) -> Iterator[None]:
    """Give every window the default model, with a small input.

    How a model is read from its file is not what these tests are about.
    """
    import napari_sam.models

    load = napari_sam.models.load_model

    def once(name: str, *, device: str = "auto") -> SamModel:
        if (name, device) not in _loaded:
            _loaded[name, device] = load(name, device=device)
        return _loaded[name, device]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(napari_sam.models, "load_model", once)
        yield


@pytest.fixture(scope="session")
def coins() -> Pixels:
    """A part of a photograph with coins; encoded once for all tests."""
    return np.ascontiguousarray(data.coins()[:160, :200])


@pytest.fixture(scope="session")
def stack(coins: Pixels) -> Pixels:
    """Three planes, the middle one upside down."""
    return np.stack([coins, coins[::-1], coins])


@pytest.fixture
def make_viewer(
    make_napari_viewer: Callable[..., napari.viewer.Viewer],
) -> Callable[[], napari.viewer.Viewer]:
    """Make a shown viewer of a size that leaves room for the dock."""

    def make() -> napari.viewer.Viewer:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1300, 900)
        return viewer

    return make


@pytest.fixture
def open_sam(make_viewer: Callable[[], napari.viewer.Viewer]) -> Callable[..., Driver]:
    """Open a viewer with an image and the dock widget, ready for a click."""

    def open_with(image: Pixels, *, wait: bool = True, **options: Any) -> Driver:
        viewer = make_viewer()
        viewer.add_image(image, **{"name": "coins", **options})
        _, widget = viewer.window.add_plugin_dock_widget(
            "napari-sam", "Segment Anything"
        )
        sam = Driver(viewer, widget)
        if wait:
            sam.wait_ready()
        return sam

    return open_with
