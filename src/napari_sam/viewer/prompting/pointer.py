"""What the mouse does: polarity of a press, hover, and picking objects."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.types import Region
from napari_sam.viewer.coords import layer_shape, world_to_data

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_sam.types import Plane
    from napari_sam.viewer.background.prefetcher import Prefetcher
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.prompting.draft import ObjectDraft
    from napari_sam.viewer.prompting.prompting import Prompting

STILL = 5.0
"""A press that moved further, in canvas pixels, was a drag; as in napari."""
_HOVER_SECONDS = 0.02
"""Shortest time between two hover predictions."""


def followed(
    event: Any, on_drag: Callable[[], None] = lambda: None
) -> Generator[None, None, float]:
    """Follow a press until it is let go; return how far it moved, in canvas pixels.

    ``on_drag`` is called once it has moved too far for a click.
    """
    start, farthest = np.asarray(event.pos, float), 0.0
    yield
    while event.type == "mouse_move":
        moved = float(np.linalg.norm(np.asarray(event.pos, float) - start))
        if farthest <= STILL < moved:
            on_drag()
        farthest = max(farthest, moved)
        yield
    return farthest


class Pointer:
    """Mouse callbacks of one viewer.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    prompting : Prompting
        Takes presses and hovers.
    prefetcher : Prefetcher
        Knows whether the plane on screen can answer.
    """

    def __init__(
        self, context: Context, prompting: Prompting, prefetcher: Prefetcher
    ) -> None:
        self._context = context
        self._prompting = prompting
        self._prefetcher = prefetcher
        self._held = False
        self._last_hover = 0.0
        # What the last press was about: the plane on screen, and the object.
        self._pressed: tuple[Plane | None, ObjectDraft] | None = None
        viewer = context.viewer
        # Viewer callbacks run before those of the active layer.
        viewer.mouse_drag_callbacks.append(self._on_press)
        viewer.mouse_move_callbacks.append(self._on_move)

    def close(self) -> None:
        """Stop listening."""
        viewer = self._context.viewer
        for callbacks, ours in (
            (viewer.mouse_drag_callbacks, self._on_press),
            (viewer.mouse_move_callbacks, self._on_move),
        ):
            if ours in callbacks:
                callbacks.remove(ours)

    @property
    def is_hovering(self) -> bool:
        """Whether the mask under the cursor is wanted."""
        return self._held or self._context.settings.hover

    @property
    def clicks_anew(self) -> bool:
        """Whether a click would add a point to what the last press was not about."""
        return self._prompting.layer_sync.layers.takes_points and (
            self._pressed != (self._context.plane, self._prompting.draft)
        )

    def hold_hover(self, held: bool) -> None:
        """Show the mask under the cursor while a key is held."""
        self._held = held
        if held:
            position = self._context.viewer.cursor.position
            self._ask(position, self._prompting.hover_at)
        elif not self._context.settings.hover:
            self._prompting.end_hover()

    def label_under_cursor(self) -> int:
        """Return the label of the target at the cursor, 0 for none."""
        target, plane = self._context.target, self._context.plane
        pixel = self.pixel_under_cursor()
        if target is None or plane is None or pixel is None:
            return 0
        here = Region(*pixel, pixel[0] + 1, pixel[1] + 1)
        return int(target.read(plane, here)[0, 0])

    def pixel_under_cursor(self) -> tuple[int, int] | None:
        """Return row and column of the plane on screen, None outside of it."""
        return self.pixel_at(self._context.viewer.cursor.position)

    def pixel_at(self, world: Any) -> tuple[int, int] | None:
        """Return the pixel of the plane on screen at a world point, or None."""
        image, plane = self._context.image, self._context.plane
        if image is None or plane is None:
            return None
        row, column = self._locate(world)
        height, width = plane.shape(layer_shape(image))
        if not (-0.5 <= row < height - 0.5 and -0.5 <= column < width - 0.5):
            return None
        return math.floor(row + 0.5), math.floor(column + 0.5)

    def _on_press(self, viewer: object, event: Any) -> Generator[None, None, None]:
        modifiers = [str(getattr(m, "name", m)) for m in event.modifiers]
        negative = "Control" in modifiers or "Meta" in modifiers
        layer_sync = self._prompting.layer_sync
        self._pressed = self._context.plane, self._prompting.draft
        self._prompting.end_hover()
        self._prompting.press(negative)
        if layer_sync.layers.takes_points:
            self._ask(
                event.position, partial(self._prompting.press_at, negative=negative)
            )
        yield from followed(event, self._prompting.end_hover)
        if layer_sync.is_due:
            # The layer's own callback, which ends what was drawn, comes after this one.
            self._context.runner.soon(layer_sync.let_go)
        else:
            layer_sync.let_go()

    def _on_move(self, viewer: object, event: Any) -> None:
        if not self.is_hovering:
            return
        now = time.monotonic()
        if now - self._last_hover >= _HOVER_SECONDS:
            self._last_hover = now
            self._ask(event.position, self._prompting.hover_at)

    def _locate(self, world: Any) -> tuple[float, float]:
        """Return row and column of the plane on screen, NaN without one."""
        context = self._context
        if context.image is None or context.plane is None:
            return float("nan"), float("nan")
        point = world_to_data(context.viewer.dims, context.image, world)
        return context.plane.to_plane_point(point)

    def rest(self, world: Any) -> None:
        """Prepare for a click at a world point, should the pointer stay there."""
        if not self.is_hovering:
            self._ask(world, self._prompting.rest_at)

    def _ask(self, world: Any, ask: Callable[[float, float], None]) -> None:
        """Ask about a place of the plane on screen, if that can answer."""
        if not self._prefetcher.is_shown_ready:
            return
        if self.pixel_at(world) is not None:
            ask(*self._locate(world))
        else:
            self._prompting.end_hover()
