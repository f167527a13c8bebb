"""Hearing of changes to the image and to the picture it is part of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.plugin_layers import is_ours

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.utils.events import Event

_PLACE = ("data", "scale", "translate", "rotate", "shear", "affine", "units")
_APPEARANCE = (
    "visible",
    "contrast_limits",
    "gamma",
    "colormap",
    "opacity",
    "blending",
)
"""Layer properties that the displayed composition depends on."""


class ImageWatch:
    """Listens to one image, and on demand to the displayed composition.

    Attributes
    ----------
    edited : Signal()
        The image has other data or another place.
    restyled : Signal()
        The displayed composition looks different.
    """

    edited = Signal()
    restyled = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._image_connections = ConnectionSet()
        self._appearance_connections = ConnectionSet()

    def watch(self, image: Image | None) -> None:
        """Listen to this image instead of the last one."""
        self._image_connections.clear()
        if image is not None:
            for name in _PLACE:
                self._image_connections.connect(
                    getattr(image.events, name), self._on_edited
                )

    def watch_composition(self, wanted: bool) -> None:
        """Listen to all that the displayed composition is made of, or stop."""
        self._appearance_connections.clear()
        if not wanted:
            return
        connect = self._appearance_connections.connect
        for name in ("inserted", "removed", "reordered"):
            connect(getattr(self._viewer.layers.events, name), self._on_layers)
        for layer in self._viewer.layers:
            if isinstance(layer, Image) and not is_ours(layer):
                for name in (*_APPEARANCE, *_PLACE):
                    connect(getattr(layer.events, name), self._on_restyled)

    def close(self) -> None:
        """Stop listening."""
        self._image_connections.clear()
        self._appearance_connections.clear()

    def _on_edited(self) -> None:
        self.edited.emit()

    def _on_restyled(self) -> None:
        self.restyled.emit()

    def _on_layers(self, event: Event) -> None:
        # Our own layers come and go without changing the picture.
        layer = getattr(event, "value", None)
        if layer is None or (isinstance(layer, Image) and not is_ours(layer)):
            self.restyled.emit()
