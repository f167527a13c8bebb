"""A line drawn around proposals, in a layer of ours that makes no prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.keys import finish_drawing
from napari_sam.viewer.overlay import PREVIEW_COLOR
from napari_sam.viewer.plugin_layers import (
    IDLE_MODE,
    LASSO_ROLE,
    ROLE,
    copy_transform,
    fade_shapes,
    selection_kept,
    transform_of,
    uncover,
)
from napari_sam.viewer.prompting.pointer import STILL, followed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy.typing as npt
    from napari.layers import Layer

    from napari_sam.viewer.context import Context

_MODE = "add_polygon_lasso"


class Lasso:
    """Draws one outline at a time and hands it over.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    on_drawn : callable
        Takes the vertices, float array (N, D), in array coordinates of the image.
    on_made : callable
        Takes a layer that was made, to bind its keys.

    Attributes
    ----------
    layer : Shapes or None
        Made when it is first used, and hidden while it is not.
    """

    def __init__(
        self,
        context: Context,
        on_drawn: Callable[[npt.NDArray[np.float64]], None],
        on_made: Callable[[Shapes], None],
    ) -> None:
        self._context = context
        self._on_drawn = on_drawn
        self._on_made = on_made
        self.layer: Shapes | None = None
        self._is_held = self._is_given_up = False
        self._drawn = ConnectionSet()
        self._selection = ConnectionSet()
        self._selection.connect(
            context.viewer.layers.selection.events.active, self._on_active
        )

    @property
    def is_armed(self) -> bool:
        """Whether the next press begins a line."""
        active = self._context.viewer.layers.selection.active
        return self.layer is not None and active is not None and active == self.layer

    def arm(self) -> None:
        """Have the next press in the canvas begin a line."""
        image, viewer = self._context.image, self._context.viewer
        if image is None:
            return
        if self.layer is not None and self.layer.ndim != image.ndim:
            self.remove()
        if self.layer is None:
            self.layer = self._make()
            with selection_kept(viewer):
                viewer.add_layer(self.layer)
            self._on_made(self.layer)
        copy_transform(image, self.layer)
        self._clear()
        viewer.layers.selection.active = self.layer
        uncover(self.layer)
        self.layer.mode = _MODE

    def escape(self) -> bool:
        """Drop the line that is being drawn; False if there is none."""
        if self.layer is None or not self.layer.nshapes:
            return False
        self._is_given_up = True
        if self._is_held:
            # napari's own end of it fails while a button is held.
            fade_shapes(self.layer, 0)
        else:
            self._end()
        return True

    def forget(self, layer: Layer) -> None:
        """Note that a layer was removed."""
        if self.layer is not None and layer == self.layer:
            self._drawn.clear()
            self.layer = None
            self._is_held = self._is_given_up = False

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        layer, layers = self.layer, self._context.viewer.layers
        if layer is not None:
            self.forget(layer)
            if layer in layers:
                layers.remove(layer)

    def close(self) -> None:
        """Stop listening and remove the layer."""
        self._selection.clear()
        self._drawn.clear()
        if not self._context.is_window_gone:
            self.remove()

    def _make(self) -> Shapes:
        image = self._context.image
        layer = Shapes(
            ndim=2 if image is None else image.ndim,
            name="SAM lasso",
            edge_color=PREVIEW_COLOR,
            face_color="transparent",
            metadata={ROLE: LASSO_ROLE},
            **({} if image is None else transform_of(image)),
        )
        self._drawn.connect(layer.events.data, self._on_data)
        layer.mouse_drag_callbacks.append(self._on_press)
        return layer

    def _on_active(self) -> None:
        layer = self.layer
        if layer is not None and not self.is_armed and layer.visible:
            layer.mode = IDLE_MODE
            layer.visible = False

    def _on_press(self, layer: Shapes, event: Any) -> Generator[None, None, None]:
        self._is_held = True
        has_moved = (yield from followed(event)) > STILL
        self._is_held = False
        if has_moved or self._is_given_up:
            # napari's own callback, which may finish the line, may come after this.
            self._context.runner.soon(self._end)

    def _on_data(self, event: Any) -> None:
        # Present participles announce a change that has not happened yet.
        if str(getattr(event, "action", "")) == "added":
            # napari is not done with the shape.
            self._context.runner.soon(self.hand_over)

    def _end(self) -> None:
        """Finish what napari has left unfinished: a line of two or three points."""
        layer = self.layer
        if layer is not None and layer.nshapes and not self._is_held:
            finish_drawing(layer)
            self.hand_over()

    def hand_over(self) -> None:
        """Hand over what was drawn, and make room for the next line."""
        layer = self.layer
        if layer is None or self._is_held:
            return
        given_up, self._is_given_up = self._is_given_up, False
        drawn = [np.asarray(vertices, float) for vertices in layer.data]
        self._clear()
        if drawn and not given_up:
            self._on_drawn(drawn[-1])

    def _clear(self) -> None:
        if self.layer is not None and self.layer.nshapes:
            self.layer.selected_data = set()
            self.layer.data = []
