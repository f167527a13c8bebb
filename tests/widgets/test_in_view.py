"""Everything mode of what the camera shows, in a real window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from driver import Driver, spin, wait_until
from napari.utils.transforms import Affine

from napari_sam.viewer.coords import visible_region

if TYPE_CHECKING:
    from collections.abc import Callable

    from driver import Pixels
    from napari.layers import Image

    from napari_sam.types import Region

    OpenSam = Callable[..., Driver]

pytestmark = pytest.mark.gui


@pytest.fixture(scope="module")
def many_coins(coins: Pixels) -> Pixels:
    return np.tile(coins, (4, 4))


def visible(sam: Driver) -> Region | None:
    context = sam.controller.context
    assert context.image is not None
    assert context.plane is not None
    return visible_region(sam.viewer, context.image, context.plane)


def look_at(sam: Driver, row: float, column: float, width: float) -> None:
    """Move the camera to a pixel of the plane, and show some pixels to either side."""
    image, plane = sam.controller.context.image, sam.controller.context.plane
    assert image is not None
    assert plane is not None
    camera, axes = sam.viewer.scene.camera, list(plane.displayed)

    def world(r: float, c: float) -> Any:
        return np.array(image.data_to_world(plane.to_array_point(r, c)))[axes]

    middle = world(row, column)
    span = np.abs(world(row, column + width) - middle).max()
    camera.center = (camera.center[0], *middle)
    camera.zoom = min(sam.viewer.canvas.size) / 2 / span
    spin(100)


PLACED: tuple[dict[str, Any], ...] = (
    {},
    {"scale": (0.5, 2.0), "translate": (30, -70)},
    {"affine": Affine(rotate=90, translate=(5, 5)).affine_matrix},
)


def test_the_region_is_what_the_canvas_shows(
    open_sam: OpenSam, many_coins: Pixels
) -> None:
    sam = open_sam(many_coins)
    for placed in PLACED:
        before = sam.controller.context.image
        image = sam.viewer.add_image(many_coins, **placed)
        sam.controller.choose_image(image)
        assert before is not None
        sam.viewer.layers.remove(before)
        sam.wait_ready()
        sam.viewer.reset_view()
        spin(100)
        region_is_what_the_canvas_shows(sam, image, max(placed.get("scale", (1,))))
    sam.viewer.scene.camera.center = (0, 90_000, 90_000)
    sam.controller.segment_view()
    assert not sam.controller.everything.is_running
    wait_until(
        lambda: "shows no part of the image" in sam.widget.status.text(), "the reason"
    )


def region_is_what_the_canvas_shows(sam: Driver, image: Image, scale: float) -> None:
    assert sam.controller.context.image == image
    height, width = image.data.shape
    shown = visible(sam)
    assert shown is not None
    assert (shown.row0, shown.col0, shown.row1, shown.col1) == (0, 0, height, width)
    look_at(sam, 300, 350, 40)
    shown = visible(sam)
    assert shown is not None
    # What is under the pixels at its corners is at the corners of the canvas.
    inside = [(shown.row0 + 1, shown.col0 + 1), (shown.row1 - 2, shown.col1 - 2)]
    size = sam.canvas.width(), sam.canvas.height()
    for at in inside:
        place = sam.at(at)
        assert 0 <= place.x() < size[0]
        assert 0 <= place.y() < size[1]
    corners = [sam.at((r, c)) for r in (shown.row0, shown.row1) for c in (
        shown.col0, shown.col1)]  # fmt: skip
    tolerance = 2 * sam.viewer.scene.camera.zoom * scale
    for values, end in zip(
        ([p.x() for p in corners], [p.y() for p in corners]), size, strict=True
    ):
        assert min(values) == pytest.approx(0, abs=tolerance)
        assert max(values) == pytest.approx(end, abs=tolerance)


def test_transposed_planes_and_pyramids(open_sam: OpenSam, many_coins: Pixels) -> None:
    stack = np.stack([many_coins, many_coins[::-1]])
    sam = open_sam([stack, stack[:, ::2, ::2]], multiscale=True)
    sam.viewer.dims.order = (0, 2, 1)
    sam.wait_ready()
    look_at(sam, 700, 200, 50)
    shown = visible(sam)
    assert shown is not None
    assert shown.row0 < 650 < 750 < shown.row1 <= 800
    assert 50 < shown.col0 < 160 < 240 < shown.col1 < 350


def test_the_button_finds_what_is_shown(open_sam: OpenSam, many_coins: Pixels) -> None:
    sam = open_sam(many_coins)
    look_at(sam, 320, 400, 110)
    shown = visible(sam)
    assert shown is not None
    sam.widget.everything_section.expand(animate=False)
    spin(100)
    look_at(sam, 320, 400, 110)
    shown = visible(sam)
    assert shown is not None
    sam.push(sam.widget.everything.view)
    everything = sam.controller.everything
    wait_until(lambda: not everything.is_running and everything.shown, "the objects")
    found = everything.shown.to_labels(many_coins.shape)
    rows, cols = np.nonzero(found)
    assert len(np.unique(found)) > 5
    assert shown.row0 <= rows.min() < rows.max() < shown.row1
    assert shown.col0 <= cols.min() < cols.max() < shown.col1
