"""Images, engine and desks for tests without a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from desk import Desk, PumpedRunner
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import notification_manager
from skimage import data

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.viewer.background.worker import SyncRunner
from napari_sam.viewer.prompting import prompting
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.core.model import Model
    from napari_sam.viewer.background.worker import Runner


@pytest.fixture(autouse=True, scope="session")
def _events(quick_events: None) -> None:
    """Connect quickly."""


@pytest.fixture(autouse=True)
def _frames_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show what a click makes when it comes, however fast this machine is."""
    monkeypatch.setattr(prompting, "FRAME_SECONDS", 0.0)


@pytest.fixture(scope="session")
def engine(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return the real model behind a store that all tests here share."""
    return Engine(model, EmbeddingStore(tmp_path_factory.mktemp("embeddings")))


@pytest.fixture(scope="session")
def coins() -> np.ndarray:
    """Return six real coins, uint8 (124, 170)."""
    return np.ascontiguousarray(data.coins()[98:222, 15:185])


@pytest.fixture(scope="session")
def coin_stack(coins: np.ndarray) -> np.ndarray:
    """Return three planes of coins, uint8 (3, 124, 170), each mirrored."""
    return np.stack([coins, coins[:, ::-1], coins[::-1]])


@pytest.fixture
def open_desk(engine: Engine) -> Iterator[Callable[..., Desk]]:
    """Return a function that opens an image in a viewer and starts annotating.

    It takes an array or an Image layer, layer arguments as ``layer``, and
    settings by keyword.
    """
    desks = []

    def open_(
        image: Any,
        *,
        layer: dict[str, Any] | None = None,
        runner: Runner | None = None,
        engine: Engine | None = engine,
        viewer: ViewerModel | None = None,
        **settings: Any,
    ) -> Desk:
        viewer = viewer if viewer is not None else ViewerModel()
        if not isinstance(image, Image):
            image = Image(image, name="image", **(layer or {}))
        if image not in viewer.layers:
            viewer.add_layer(image)
        desk = Desk(viewer, runner or SyncRunner(), **settings)
        desks.append(desk)
        if engine is not None:
            desk.controller.loader.use(engine)
        desk.controller.choose_image(image)
        desk.controller.choose_tool(Tool.POINT)
        return desk

    yield open_
    for desk in desks:
        desk.controller.close()


@pytest.fixture
def pumped() -> Iterator[PumpedRunner]:
    """Return the real worker thread, with the GUI thread played by the test."""
    runner = PumpedRunner()
    yield runner
    runner.close()


@pytest.fixture
def notes() -> Iterator[Callable[[], list[str]]]:
    """Return a function that tells what napari has notified the user of."""
    before = len(notification_manager.records)

    def said() -> list[str]:
        return [n.message for n in list(notification_manager.records)[before:]]

    yield said
    del notification_manager.records[before:]


@pytest.fixture(scope="session")
def blob() -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return an ellipsoid in noise, uint8 (40, 52, 64), and its center."""
    shape, center = (40, 52, 64), (21, 24, 30)
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    distance = sum(
        ((g - c) / r) ** 2 for g, c, r in zip(grid, center, (11, 13, 16), strict=True)
    )
    noise = np.random.default_rng(0).normal(0, 6, shape)
    volume = np.where(distance <= 1, 190, 40) + noise
    return volume.clip(0, 255).astype(np.uint8), center
