"""What else is in an image's file is said once, and only if it is so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from desk import Desk


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    from napari.plugins import _initialize_plugins

    _initialize_plugins()


def test_further_images_of_the_file_are_said_once(
    open_desk: Callable[..., Desk],
    coins: np.ndarray,
    notes: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(coins)
        tif.write(coins[:50, :60])
    viewer = ViewerModel()
    (image,) = viewer.open(path, plugin="napari")
    desk = open_desk(image, viewer=viewer)
    (said,) = notes()
    assert str(path) in said
    assert "1 more image" in said
    other = viewer.add_image(coins, name="no file")
    desk.controller.choose_image(other)
    desk.controller.choose_image(image)
    assert len(notes()) == 1


def test_channels_are_said_where_they_are_planes_only(
    open_desk: Callable[..., Desk],
    coins: np.ndarray,
    notes: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    def opened(name: str, **options: object) -> ViewerModel:
        path = tmp_path / name
        two = np.stack([coins, coins[::-1]])
        tifffile.imwrite(path, two, imagej=True, metadata={"axes": "CYX"})
        viewer = ViewerModel()
        viewer.open(path, plugin="napari", **options)
        return viewer

    apart = opened("apart.tif", channel_axis=0)
    open_desk(apart.layers[0], viewer=apart)
    assert notes() == []
    together = opened("together.tif")
    open_desk(together.layers[0], viewer=together)
    (said,) = notes()
    assert "2 channels are taken for planes" in said
