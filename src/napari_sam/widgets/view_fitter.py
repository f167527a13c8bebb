"""Keeping the whole image in view while the dock takes its room from the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_sam.viewer.connections import ConnectionSet

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller

_SETTLED = 3000
"""Milliseconds after which the window has its sizes, with any window manager."""


class ViewFitter(QObject):
    """Fits the view again as often as the canvas changes its size, for a moment.

    A window manager may resize the window some time after the dock was shown.  Once the
    user has moved the camera the view is theirs.

    Parameters
    ----------
    controller : Controller
        Of the viewer.
    parent : QObject
        Which it ends with.
    """

    def __init__(self, controller: Controller, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._connections = ConnectionSet()
        self._camera = self._look()
        self._connections.connect(controller.viewer.canvas.events.size, self.fit)
        QTimer.singleShot(0, self.fit)
        QTimer.singleShot(_SETTLED, self._end)

    def fit(self, event: object = None) -> None:
        """Show the whole image, if the camera is where we left it."""
        controller = self._controller
        if controller.is_closed or self._look() != self._camera:
            self._end()
        elif not controller.navigator.shows_all:
            controller.viewer.reset_view()
            self._camera = self._look()

    def _look(self) -> tuple[object, float]:
        camera = self._controller.viewer.scene.camera
        return tuple(camera.center), float(camera.zoom)

    def _end(self) -> None:
        self._connections.clear()
