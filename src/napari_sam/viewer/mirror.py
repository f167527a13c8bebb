"""The prompt layers, listened to: what the user drew, as prompt items."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.annotation.prompts import PromptItems, same_items
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.layers import (
    PromptLayers,
    colour_shapes,
    sync_recoloured,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from napari.utils.events import Event


class PromptMirror:
    """Keeps prompt items and the two prompt layers the same.

    Attributes
    ----------
    changed : Signal()
        The user added, moved, deleted or recoloured a prompt.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.layers = PromptLayers(viewer)
        self.items = PromptItems()
        self._writing = False
        # Which layer each item came to, oldest first.
        self._order: list[str] = []
        self._connections = ConnectionSet()

    def ensure(self, image: Image) -> bool:
        """Make the layers that are missing and listen to them; True if any was."""
        if not self.layers.ensure(image):
            return False
        self._connections.clear()
        connect = self._connections.connect
        points, shapes = self.layers.points, self.layers.shapes
        if points is not None:
            connect(points.events.data, self._on_data)
            connect(points.events.features, self._on_features)
            connect(points.events.current_face_color, self._on_recoloured)
        if shapes is not None:
            connect(shapes.events.data, self._on_data)
            connect(shapes.events.features, self._on_features)
            connect(shapes.events.current_edge_color, self._on_recoloured)
        connect(self._viewer.scene.camera.events.zoom, self.layers.zoomed)
        if not self.items.is_empty:
            self.write(self.items)
        return True

    def arm(self, positive: bool, axes: tuple[int, int]) -> None:
        """Set what the next press in the canvas will make."""
        if not self._writing:
            self.layers.set_defaults(positive, axes)

    def write(self, items: PromptItems) -> None:
        """Show these items in the layers."""
        with self._quietly():
            self.layers.write(items)
        self._take(items)

    def without_newest(self) -> PromptItems:
        """Return the items without the one that was added last."""
        points, shapes = self.items.points, self.items.shapes
        if self._order and self._order[-1] == "points":
            return PromptItems(points[:-1], shapes)
        return PromptItems(points, shapes[:-1])

    def layer_removed(self, layer: Layer) -> None:
        """Adapt to a removed layer: its prompts go with it."""
        if self.layers.forget(layer):
            self._read()

    def close(self) -> None:
        """Stop listening and remove the layers."""
        self._connections.clear()
        self.layers.remove()

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    def _on_data(self, event: Event) -> None:
        # Present participles announce a change that has not happened yet.
        if self._writing or str(getattr(event, "action", "")).endswith("ing"):
            return
        if self.layers.shapes is not None and event.source == self.layers.shapes:
            with self._quietly():
                colour_shapes(self.layers.shapes)
        self._read()

    def _on_features(self) -> None:
        if not self._writing:
            self._read()

    def _on_recoloured(self, event: Event) -> None:
        if self._writing:
            return
        with self._quietly():
            changed = sync_recoloured(event.source)
        if changed:
            self._read()

    def _read(self) -> None:
        items = self.layers.read()
        if same_items(items, self.items):
            return
        self._take(items)
        self.changed.emit()

    def _take(self, items: PromptItems) -> None:
        for name in ("shapes", "points"):
            gained = len(getattr(items, name)) - len(getattr(self.items, name))
            self._order += [name] * gained
            for _ in range(-gained):
                newest = len(self._order) - 1 - self._order[::-1].index(name)
                del self._order[newest]
        self.items = items
