"""Which tool is lit: what a press in the canvas makes.

The tool is what the mouse does, whoever chose it: our buttons, or the mode buttons
that napari shows for our layers.  With another layer selected it is a matter of
that layer's mode.  Where a press would only move the view, the tool stays lit and
the press selects our layer first; where it would paint, draw or select, no tool is
lit, and the press is the other layer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.plugin_layers import (
    IDLE_MODE,
    LASSO_ROLE,
    ROLE,
    finish_drawing,
    is_ours,
)
from napari_sam.viewer.prompting.pointer import STILL, followed
from napari_sam.viewer.prompting.prompt_layers import MODES
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.layers import Layer

    from napari_sam.viewer.context import Context
    from napari_sam.viewer.prompting.layer_sync import PromptLayerSync
    from napari_sam.viewer.prompting.pointer import Pointer

_LINES = (Tool.SCRIBBLE, Tool.OUTLINE)


class Toolbox:
    """The tool of one viewer, and what becomes of a press with it.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    layer_sync : PromptLayerSync
        Has the layers that the tools draw in.
    pointer : Pointer
        Knows pixels.
    choose : callable
        Takes a tool and makes it what the next press makes.

    Attributes
    ----------
    changed : Signal()
        Another tool, or none, may be lit.
    status : Signal(str)
        Why a press places nothing.
    """

    changed = Signal()
    status = Signal(str)

    def __init__(
        self,
        context: Context,
        layer_sync: PromptLayerSync,
        pointer: Pointer,
        choose: Callable[[Tool], None],
    ) -> None:
        self._context = context
        self._layer_sync = layer_sync
        self._layers = layer_sync.layers
        self._pointer = pointer
        self._choose = choose
        # A press may change a layer's mode for its own time.
        self._pressed: Tool | None = None
        self._has_drawn_line = False
        self._modes = ConnectionSet()
        self._viewer_events = ConnectionSet()
        viewer = context.viewer
        self._viewer_events.connect(viewer.layers.selection.events.active, self.follow)
        # Under a pointer that stays where it is, the image moves.
        camera = viewer.scene.camera.events
        for moved in (camera.zoom, camera.center):
            self._viewer_events.connect(moved, self._on_camera)
        # Before all others, which go by the layer that is selected and its mode.
        viewer.mouse_drag_callbacks.insert(0, self._on_press)
        viewer.mouse_move_callbacks.append(self._on_move)

    def close(self) -> None:
        """Stop listening."""
        self._modes.clear()
        self._viewer_events.clear()
        viewer = self._context.viewer
        for callbacks, ours in (
            (viewer.mouse_drag_callbacks, self._on_press),
            (viewer.mouse_move_callbacks, self._on_move),
        ):
            if ours in callbacks:
                callbacks.remove(ours)

    @property
    def tool(self) -> Tool:
        """The one that was lit last."""
        return self._layers.tool

    @property
    def lit(self) -> Tool | None:
        """What the next press makes; None if it is another layer's."""
        if self._pressed is not None:
            return self._pressed
        active = self._context.viewer.layers.selection.active
        kind = self._kind(active)
        if active is not None and active.metadata.get(ROLE) == LASSO_ROLE:
            return None
        if active is None or (kind is None and is_ours(active)):
            return self.tool
        if self._layers.hidden is not None:
            # napari has ended its mode; a press shows it and begins it again.
            return self.tool
        mode = str(active.mode)
        if kind is not None:
            return next((t for t, m in MODES.items() if m == (kind, mode)), None)
        return self.tool if mode == IDLE_MODE else None

    def activate(self, tool: Tool) -> None:
        """Select the layer of a tool, in its mode."""
        self._layers.activate(tool)
        self.follow()

    def follow(self) -> None:
        """Take over a tool that was chosen with napari's own buttons."""
        self._modes.clear()
        active = self._context.viewer.layers.selection.active
        if active is not None:
            self._modes.connect(active.events.mode, self._on_mode)
            self._modes.connect(active.events.visible, self._on_visible)
        self._on_mode()

    def take_drawn_line(self) -> bool:
        """Whether a drag has just finished a line; asked once.

        napari's Escape ends a line; who presses it after a drag, which has ended the
        line already, does not mean to discard it.
        """
        shapes, drawn = self._layers.shapes, self._has_drawn_line
        self._has_drawn_line = False
        return drawn and shapes is not None and shapes.nshapes > 0

    def _on_mode(self) -> None:
        self._layers.tool = self.lit or self.tool
        self.changed.emit()

    def _on_visible(self) -> None:
        """Light the tool again whose layer was hidden and is shown."""
        active = self._context.viewer.layers.selection.active
        if active is not None and active == self._layers.of_tool and active.visible:
            self._layers.rearm()
        self.changed.emit()

    def _kind(self, layer: Layer | None) -> str | None:
        """Return which of our prompt layers this is, None for any other."""
        ours = {"points": self._layers.points, "shapes": self._layers.shapes}
        for kind, prompts in ours.items():
            if layer is not None and prompts is not None and layer == prompts:
                return kind
        return None

    # -- the mouse ----------------------------------------------------------

    def _on_press(self, viewer: object, event: Any) -> Generator[None, None, None]:
        self._has_drawn_line = False
        # A layer that is hidden takes no press.
        self._layers.wake()
        tool = self.lit
        if self._context.image is None or (tool is None and not self._rests):
            return
        active = self._context.viewer.layers.selection.active
        is_inside = self._pointer.pixel_at(event.position) is not None
        if tool is not None and is_inside and self._kind(active) is None:
            self._choose(tool)
        # A box may begin beside the image, and around nothing nobody edits.
        is_refused = not is_inside and tool in (None, Tool.POINT)
        mode = self._refuse() if is_refused else None
        self._pressed = tool
        has_moved = (yield from followed(event)) > STILL
        self._pressed = None
        if mode is not None and active in self._context.viewer.layers:
            active.mode = mode
        if is_refused and not has_moved:
            self._tell_why_not()
        elif tool in _LINES and has_moved:
            # napari's own callback, which may finish the line, comes after this one.
            self._context.runner.soon(self._finish_line)

    def _on_move(self, viewer: object, event: Any) -> None:
        self._rest_at(event.position)

    def _on_camera(self) -> None:
        self._rest_at(self._context.viewer.cursor.position)

    def _rest_at(self, world: Any) -> None:
        if self.lit is Tool.POINT:
            self._pointer.rest(world)

    @property
    def _rests(self) -> bool:
        """Whether a prompt layer is selected that takes nothing now."""
        active = self._context.viewer.layers.selection.active
        return self._kind(active) is not None and not active.editable

    def _refuse(self) -> str | None:
        """Have the press place nothing; returns the mode to restore after it."""
        active = self._context.viewer.layers.selection.active
        if active is None or self._kind(active) is None or not active.editable:
            return None
        mode = str(active.mode)
        # Moves the view, as a drag with the Point tool does anyway.
        active.mode = IDLE_MODE
        return mode

    def _tell_why_not(self) -> None:
        if self._context.plane is not None:
            self.status.emit("That is outside the image: click inside it.")
        elif self._context.viewer.dims.ndisplay != 2:
            self.status.emit("Switch the viewer to 2-D to place prompts.")
        else:
            self.status.emit("The sliders are outside the image.")

    def _finish_line(self) -> None:
        shapes = self._layers.shapes
        if shapes is None or self.lit not in _LINES or self._layer_sync.is_given_up:
            return
        before = shapes.nshapes
        finish_drawing(shapes)
        if shapes.nshapes < before:
            self.status.emit("That line was too short: drag further, or click.")
        else:
            self._has_drawn_line = self.lit is Tool.SCRIBBLE and before > 0
