"""A click in 3-D display: which object it is, and how large."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_sam.core.volumes.measure import Measures
from napari_sam.viewer.volumes.picking import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk import Desk

    OpenDesk = Callable[..., Desk]


def open_cubes(open_desk: OpenDesk) -> Desk:
    desk = open_desk(
        np.zeros((10, 20, 20), np.uint8),
        layer={"scale": (2, 1, 1), "units": ("um", "um", "um")},
    )
    desk.controller.new_labels()
    labels = np.zeros((10, 20, 20), np.uint16)
    labels[2:5, 3:8, 3:8] = 4
    labels[6:9, 3:8, 3:8] = 5
    where = np.nonzero(labels)
    desk.labels.data_setitem(where, labels[where])
    return desk


def click_3d(
    desk: Desk, row: float, column: float, moved: float = 0.0, step: int = 1
) -> None:
    """Click along the axis of the slices, from the first to the last or back."""
    desk.viewer.dims.ndisplay = 3
    view = np.array([float(step), 0.0, 0.0])
    event = SimpleNamespace(
        type="mouse_press", position=(0.0, row, column), pos=np.zeros(2),
        modifiers=(), button=1, is_dragging=False, handled=False,
        view_direction=view, up_direction=np.array([0.0, 1.0, 0.0]),
        dims_displayed=[0, 1, 2], dims_point=list(desk.viewer.dims.point),
    )  # fmt: skip
    mouse_press_callbacks(desk.viewer, event)
    if moved:
        event.type, event.pos = "mouse_move", np.array([moved, 0.0])
        mouse_move_callbacks(desk.viewer, event)
    event.type = "mouse_release"
    mouse_release_callbacks(desk.viewer, event)


def test_the_first_object_along_the_ray_is_selected_and_measured(
    open_desk: OpenDesk,
) -> None:
    desk = open_cubes(open_desk)
    click_3d(desk, 5, 5)
    assert desk.annotator.label == 4
    status = desk.controller.status
    assert "slices 2 to 4, 75 voxels" in status
    assert "150 µm³" in status
    click_3d(desk, 5, 5, step=-1)
    assert desk.annotator.label == 5


def test_what_was_under_way_is_said_to_come_after_it(open_desk: OpenDesk) -> None:
    desk = open_cubes(open_desk)
    desk.click(15, 15)
    number = desk.annotator.label
    click_3d(desk, 5, 5)
    assert "75 voxels" in desk.controller.status
    assert desk.controller.status.endswith("What was under way comes after it.")
    desk.controller.discard()
    assert desk.annotator.label == number
    assert len(desk.annotator.items.points) == 1


def test_a_click_beside_it_and_a_drag_select_nothing(open_desk: OpenDesk) -> None:
    desk = open_cubes(open_desk)
    before = desk.annotator.label
    click_3d(desk, 5, 5, moved=30)
    assert desk.annotator.label == before
    click_3d(desk, 15, 15)
    assert desk.annotator.label == before
    assert "no object" in desk.controller.status


def test_sizes_in_words() -> None:
    thin = Measures(3, 2, 2, 1200, 300.0, float("nan"))
    assert said(thin, "") == (
        "Object 3: slice 2, 1,200 voxels.  Switch to 2-D to correct it"
    )
    assert "volume 300 µm³." in said(thin, "µm")
