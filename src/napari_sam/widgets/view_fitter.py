"""Keeping the window on its screen, and the whole image in view beside the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer

from napari_sam.viewer.connections import ConnectionSet

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_sam.viewer.controller import Controller

_SETTLED = 3000
"""Milliseconds after which the window has its sizes, with any window manager."""


def fit_to_screen(window: QWidget) -> None:
    """Let a window be no larger than its screen, and lie on it.

    napari restores the size that the window had last, perhaps on a larger screen.
    """
    screen = window.screen() if isalive(window) else None
    if screen is None or window.isMaximized() or window.isFullScreen():
        return
    room, frame, inside = (
        screen.availableGeometry(),
        window.frameGeometry(),
        window.geometry(),
    )
    if room.contains(frame):
        return
    border = frame.size() - inside.size()
    window.resize(inside.size().boundedTo(room.size() - border))
    size = window.size() + border
    window.move(
        max(room.left(), min(frame.left(), room.left() + room.width() - size.width())),
        max(room.top(), min(frame.top(), room.top() + room.height() - size.height())),
    )


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
