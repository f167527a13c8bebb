"""The OpenGL context that is current while napari takes a layer out.

napari 0.9.2 has the shader programs of a removed layer deleted at once, in whatever
context happens to be current.  After a paint that is the one in which Qt puts the
window together, not the canvas's, in which the programs were made and may still be in
use.  With Mesa's software OpenGL that ends the process: the canvas goes on drawing
with what was freed, and `glDrawArrays` reads it, with the next paint or a later one.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtWidgets import QMainWindow, QOpenGLWidget, QWidget

from napari_sam.viewer.connections import ConnectionSet

if TYPE_CHECKING:
    from napari.components import ViewerModel


class CanvasContext:
    """Makes the canvas's context current whenever a layer is about to be removed.

    Whoever removes it: we, the user, or a script.

    Parameters
    ----------
    viewer : ViewerModel
        Its layers are watched.
    window : QWidget
        The main window with the canvas.
    """

    def __init__(self, viewer: ViewerModel, window: QWidget) -> None:
        # Whoever keeps the dock does not keep the window.
        self._window = weakref.ref(window)
        self._connections = ConnectionSet()
        self._connections.connect(viewer.layers.events.removing, self._make_current)

    def close(self) -> None:
        """Stop listening."""
        self._connections.clear()

    def _make_current(self) -> None:
        # A script may keep the viewer, and remove layers, when its window is gone.
        window = self._window()
        if window is None or not isalive(window):
            return
        for canvas in canvases_of(window):
            # Invalid until it is shown; nothing has been drawn then.
            if canvas.isValid():
                canvas.makeCurrent()


def canvases_of(window: QWidget) -> list[QOpenGLWidget]:
    """Return what napari draws on in a main window."""
    middle = window.centralWidget() if isinstance(window, QMainWindow) else None
    return middle.findChildren(QOpenGLWidget) if middle is not None else []
