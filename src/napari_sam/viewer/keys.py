"""The keys, in one table: the binder, the help popup and the README read it.

Every letter, and every letter with Shift, is free in all of napari's layers, so
nothing of napari's is taken away.  A letter acts on the object under way, or
else on the proposal that is reviewed or under the cursor.  Escape belongs to
napari while a shape is being drawn; it is passed on first and means "discard"
only if there was nothing to finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam.viewer.controller import Controller


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it does and the controller method behind it."""

    key: str
    action: str
    title: str
    explanation: str
    hold: bool = False


KEYS: tuple[Key, ...] = (
    Key(
        "N",
        "accept",
        "Accept",
        "Write the preview, or the proposal under the cursor, into the labels.",
    ),
    Key(
        "W",
        "cycle_level",
        "Other size",
        "Cycle the preview: best, subpart, part, whole.",
    ),
    Key("Escape", "discard", "Discard", "Drop the prompts and the preview."),
    Key(
        "Q",
        "flip_polarity",
        "Object / background",
        "Let the next prompts mark background, or objects again.",
    ),
    Key("U", "remove_last_prompt", "Remove prompt", "Take back the newest prompt."),
    Key(
        "H",
        "hold_hover",
        "Hover preview (hold)",
        "Show the mask under the cursor before clicking.",
        hold=True,
    ),
    Key(
        "J",
        "pick_under_cursor",
        "Pick object",
        "Correct the object or proposal under the cursor.",
    ),
    Key(
        "Shift+H",
        "cycle_preview",
        "Preview",
        "Draw masks as contour and fill, as contour, or not at all.",
    ),
    Key("G", "segment_plane", "Segment everything", "Find all objects of this plane."),
    Key(
        "Shift+G",
        "prefill",
        "Pre-fill slice",
        "Propose what the model is sure of and nobody has labelled.",
    ),
    Key("K", "reject", "Reject", "Drop the proposal under the cursor or in review."),
    Key("Shift+N", "skip", "Skip", "In a review, leave this one for later."),
)

MOUSE: tuple[tuple[str, str], ...] = (
    ("Click", "Point on the object (with the Point tool)."),
    ("Ctrl-click (Cmd on macOS)", "Point on the background."),
    ("Click a proposal", "Make it the current object, to correct it."),
    ("Shift-click a proposal", "Accept it."),
    ("Ctrl+Z, Ctrl+Shift+Z", "napari's undo and redo, on the Labels layer."),
)


def help_rows() -> list[tuple[str, str]]:
    """Return all keys and mouse actions with their explanations."""
    return [(k.key, f"{k.title}: {k.explanation}") for k in KEYS] + list(MOUSE)


def markdown_table() -> str:
    """Return the key table as the README shows it."""
    lines = ["| Key | What it does |", "|---|---|"]
    lines += [f"| {key} | {text} |" for key, text in help_rows()]
    return "\n".join(lines)


class _HasKeymap(Protocol):
    keymap: dict[Any, Any]
    class_keymap: dict[Any, Any]

    def bind_key(self, key: str, func: Any, *, overwrite: bool = ...) -> Any:
        """Bind a key of this instance."""


class KeyBinder:
    """Binds the table on a viewer and on our prompt layers, and unbinds it.

    Parameters
    ----------
    controller : Controller
        Has one method per action.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._bound: list[tuple[_HasKeymap, str, Any]] = []

    def bind_viewer(self, viewer: ViewerModel) -> None:
        """Bind all keys at viewer level, where layers' own keys win."""
        for key in KEYS:
            self._bind(viewer, key.key, self._function(key))

    def bind_shapes(self, layer: Layer) -> None:
        """Bind Escape on the SAM shapes layer, after napari's own use of it."""
        own = next(
            (f for k, f in layer.class_keymap.items() if str(k) == "Escape"), None
        )
        controller = self._controller

        def finish_or_discard(shapes: Layer) -> None:
            finished: list[object] = []

            def note(event: object) -> None:
                finished.append(event)

            shapes.events.data.connect(note)
            try:
                if own is not None:
                    own(shapes)
            finally:
                shapes.events.data.disconnect(note)
            if not finished:
                controller.discard()

        self._bind(layer, "Escape", finish_or_discard)

    def unbind(self) -> None:
        """Give every key back to what had it before."""
        bound, self._bound = self._bound, []
        for owner, key, previous in reversed(bound):
            owner.bind_key(key, None, overwrite=True)
            if previous is not None:
                owner.bind_key(key, previous, overwrite=True)

    def _bind(self, owner: Any, key: str, function: Callable[..., Any]) -> None:
        previous = next((f for k, f in owner.keymap.items() if str(k) == key), None)
        owner.bind_key(key, function, overwrite=True)
        self._bound.append((owner, key, previous))

    def _function(self, key: Key) -> Callable[..., Any]:
        action = getattr(self._controller, key.action)
        if not key.hold:

            def press(viewer: object) -> None:
                action()

            return press

        def press_and_release(viewer: object) -> Generator[None, None, None]:
            action(True)
            yield
            action(False)

        return press_and_release
