"""A viewer without a window, its controller, and what a user's hand does."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_sam.viewer.background.worker import ThreadRunner
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.settings import AnnotationSettings, Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_sam.viewer.background.worker import Runner

COINS = ((26, 30), (28, 87), (29, 139), (99, 29), (99, 87), (100, 139))
"""Centers of the six coins in the ``coins`` fixture, in rows and columns."""


class Desk:
    """A viewer, its controller, and the mouse."""

    def __init__(self, viewer: ViewerModel, runner: Runner, **settings: Any) -> None:
        self.viewer = viewer
        self.controller = Controller(
            viewer,
            runner,
            settings=AnnotationSettings(**{"prefetch": False} | settings),
        )

    @property
    def image(self) -> Image:
        assert self.controller.context.image is not None
        return self.controller.context.image

    @property
    def labels(self) -> Labels:
        assert self.controller.labels.layer is not None
        return self.controller.labels.layer

    @property
    def annotator(self):
        return self.controller.annotator

    @property
    def points(self):
        return self.annotator.layer_sync.layers.points

    @property
    def shapes(self):
        return self.annotator.layer_sync.layers.shapes

    @property
    def masks(self) -> list[np.ndarray]:
        """Full-plane masks of the preview, one per object."""
        prediction = self.annotator.prediction
        if prediction is None:
            return []
        shape = prediction.plane.shape(self.image.data.shape[: self.image.ndim])
        return [c.mask.full(shape) for c in prediction.candidates]

    @property
    def shown(self) -> np.ndarray | None:
        """What the preview layer holds; None without one or if it is empty."""
        layer = self.annotator.preview.layer
        if layer is None or not layer.data.any():
            return None
        return layer.data

    def world(self, row: float, column: float) -> tuple[float, ...]:
        """World point, one entry per viewer axis, of a place of the shown plane."""
        plane = self.controller.context.plane
        assert plane is not None
        point = list(self.viewer.dims.point)
        world = self.image.data_to_world(plane.to_array_point(row, column))
        point[-self.image.ndim :] = world
        return tuple(point)

    def click(self, row: float, column: float, *modifiers: str) -> None:
        """Press and release the mouse on the shown plane, with the Point tool."""
        if self.viewer.layers.selection.active != self.points:
            self.controller.choose_tool(Tool.POINT)
        self.click_world(self.world(row, column), *modifiers)

    def click_world(self, position: Sequence[float], *modifiers: str) -> None:
        """Press and release the mouse at a world point."""
        self.press_world(position, *modifiers)()

    def press(self, row: float, column: float, *modifiers: str) -> Callable[..., None]:
        """Press the mouse on the shown plane; see `press_world`."""
        return self.press_world(self.world(row, column), *modifiers)

    def press_world(
        self, position: Sequence[float], *modifiers: str
    ) -> Callable[..., None]:
        """Press the mouse at a world point.

        Returns
        -------
        callable
            Lets it go; given a distance in canvas pixels, after moving that far.
        """
        viewer = self.viewer
        viewer.cursor.position = tuple(position)
        event = SimpleNamespace(
            type="mouse_press",
            position=tuple(position),
            pos=np.zeros(2),
            modifiers=modifiers,
            button=1,
            is_dragging=False,
            handled=False,
            view_direction=None,
            up_direction=None,
            dims_displayed=list(viewer.dims.displayed),
            dims_point=list(viewer.dims.point),
        )
        layer = viewer.layers.selection.active

        def send(callbacks: Callable[..., None]) -> None:
            for target in (viewer, layer):
                callbacks(target, event)

        def let_go(moved: float = 0.0) -> None:
            if moved:
                event.type, event.is_dragging = "mouse_move", True
                event.pos = np.array([moved, 0.0])
                send(mouse_move_callbacks)
            event.type = "mouse_release"
            send(mouse_release_callbacks)

        send(mouse_press_callbacks)
        return let_go

    def move(self, row: float, column: float) -> None:
        """Move the mouse to a place of the shown plane."""
        position = self.world(row, column)
        self.viewer.cursor.position = position
        # Hovers are limited to one in 20 ms.
        self.controller.pointer._last_hover = float("-inf")
        mouse_move_callbacks(
            self.viewer,
            SimpleNamespace(type="mouse_move", position=position, is_dragging=False),
        )

    def box(self, row0: float, col0: float, row1: float, col1: float) -> None:
        """Draw a rectangle on the shown plane, with the Box tool."""
        self.controller.choose_tool(Tool.BOX)
        self.shape(
            "rectangle", [(row0, col0), (row0, col1), (row1, col1), (row1, col0)]
        )

    def shape(self, kind: str, corners: Sequence[tuple[float, float]]) -> None:
        """Add a shape to the shown plane, as drawing it does."""
        plane = self.controller.context.plane
        assert plane is not None
        self.annotator.prompting.arm()
        self.shapes.add(
            [np.array([plane.to_array_point(*c) for c in corners])], shape_type=[kind]
        )

    def accept(self) -> int:
        """Accept the preview; the label that was current."""
        label = self.annotator.label
        assert self.annotator.accept(), self.controller.status
        return label


class PumpedRunner(ThreadRunner):
    """The real worker thread; `pump` plays the GUI thread's event loop."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        super().__init__(self.waiting.put)

    def pump(self, until: Callable[[], bool], timeout: float = 60.0) -> None:
        """Run callbacks as they come until a condition holds."""
        while not until():
            self.waiting.get(timeout=timeout)()

    def drain(self) -> None:
        """Run the callbacks that are waiting, and no more."""
        while not self.waiting.empty():
            self.waiting.get()()
