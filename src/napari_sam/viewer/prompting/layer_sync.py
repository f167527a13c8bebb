"""The prompt layers, listened to: what the user drew, as prompt items."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.annotation.prompts import PromptItems, same_items
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.plugin_layers import fade_shapes, finish_drawing
from napari_sam.viewer.prompting.prompt_layers import (
    PromptLayers,
    color_shapes,
    read_shapes,
    sync_recolored,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from napari.utils.events import Event

    from napari_sam.core.annotation.prompts import ShapeItem


@dataclass(slots=True)
class HeldPress:
    """A mouse button that is held in a prompt layer.

    Parameters
    ----------
    before : int
        How many shapes there were when it was pressed.
    is_given_up : bool
        Whether what is drawn with it is to be dropped.
    is_behind : bool
        Whether the layers still show what was there before a `PromptLayerSync.write`.
    """

    before: int
    is_given_up: bool = False
    is_behind: bool = False

    @property
    def is_due(self) -> bool:
        """Whether something waits for the button to be let go."""
        return self.is_given_up or self.is_behind


class PromptLayerSync:
    """Keeps prompt items and the two prompt layers the same.

    While a button is held in a layer, napari works on its rows by their numbers and
    fails if they change.  So what is written meanwhile reaches the layers when the
    button is let go, and joins what was drawn with it.

    Attributes
    ----------
    changed : Signal()
        The user added, moved, deleted or recolored a prompt.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.layers = PromptLayers(viewer)
        self.items = PromptItems()
        self._writing = False
        self._press: HeldPress | None = None
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
            connect(points.events.current_face_color, self._on_recolored)
        if shapes is not None:
            connect(shapes.events.data, self._on_data)
            connect(shapes.events.features, self._on_features)
            connect(shapes.events.current_edge_color, self._on_recolored)
        connect(self._viewer.scene.camera.events.zoom, self.layers.zoomed)
        if self.items.ndim not in (None, image.ndim):
            # They mean nothing on other axes.
            self._take(PromptItems())
            self.changed.emit()
        elif not self.items.is_empty:
            self.write(self.items)
        return True

    def arm(self, positive: bool, axes: tuple[int, int]) -> None:
        """Set what the next press in the canvas will make."""
        if not self._writing:
            self.layers.set_defaults(positive, axes)

    def write(self, items: PromptItems) -> None:
        """Show these items in the layers."""
        if self._press is not None:
            self._press.is_behind = True
        else:
            with self._quietly():
                self.layers.write(items)
        self._take(items)

    # -- a button that is held ------------------------------------------------

    def hold(self) -> None:
        """Note that a button was pressed, until `let_go`."""
        self.let_go()
        with self._quietly():
            self.layers.realign()
        if self.layers.is_worked_on:
            shapes = self.layers.shapes
            self._press = HeldPress(0 if shapes is None else shapes.nshapes)

    @property
    def is_due(self) -> bool:
        """Whether `let_go` will change the layers."""
        return self._press is not None and self._press.is_due

    @property
    def is_given_up(self) -> bool:
        """Whether what is being drawn will be dropped."""
        return self._press is not None and self._press.is_given_up

    def give_up(self) -> bool:
        """Drop the shape that is being drawn with the button held.

        Returns
        -------
        bool
            Whether a button is held in a prompt layer at all.
        """
        press, shapes = self._press, self.layers.shapes
        if press is None:
            return False
        if shapes is not None and shapes.nshapes > press.before:
            press.is_given_up = True
            with self._quietly():
                fade_shapes(shapes, press.before)
        return True

    def let_go(self) -> None:
        """Note that the button was let go and napari is done with the press."""
        press, shapes = self._press, self.layers.shapes
        if press is None or not press.is_due:
            self._press = None
            return
        drawn: tuple[ShapeItem, ...] = ()
        if shapes is not None:
            with self._quietly():
                finish_drawing(shapes)
            if not press.is_given_up:
                drawn = read_shapes(shapes)[press.before :]
        self._press = None
        self.write(PromptItems(self.items.points, (*self.items.shapes, *drawn)))
        if drawn:
            self.changed.emit()

    # -- layers that go -------------------------------------------------------

    def without_newest(self) -> PromptItems:
        """Return the items without the one that was added last."""
        points, shapes = self.items.points, self.items.shapes
        if self._order and self._order[-1] == "points":
            return PromptItems(points[:-1], shapes)
        return PromptItems(points, shapes[:-1])

    def layer_removed(self, layer: Layer) -> bool:
        """Note that the user removed a layer; its prompts stay for the next one.

        Returns
        -------
        bool
            Whether it was one of the two, so that the caller calls `ensure`.
        """
        if not self.layers.forget(layer):
            return False
        self._press = None
        return True

    def close(self) -> None:
        """Stop listening."""
        self._connections.clear()

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    @property
    def _is_deaf(self) -> bool:
        """Whether the layers say something else than what the user means."""
        return self._writing or self.is_due

    def _on_data(self, event: Event) -> None:
        # Present participles announce a change that has not happened yet.
        if self._is_deaf or str(getattr(event, "action", "")).endswith("ing"):
            return
        if self.layers.shapes is not None and event.source == self.layers.shapes:
            with self._quietly():
                color_shapes(self.layers.shapes)
        self._read()

    def _on_features(self) -> None:
        if not self._is_deaf:
            self._read()

    def _on_recolored(self, event: Event) -> None:
        if self._is_deaf:
            return
        with self._quietly():
            changed = sync_recolored(event.source)
        if changed:
            self._read()

    def _read(self) -> None:
        items = self.layers.read(self.items)
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
