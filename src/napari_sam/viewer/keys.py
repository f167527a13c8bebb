"""The keys, in one table: the binder, the help popup and docs/keys.md read it.

Every letter, and every letter with Shift that is used here, is free in all of napari's
layers, so nothing of napari's is taken away.  A letter acts on the object under way, or
else on the proposal that is reviewed or under the cursor.  Escape belongs to
napari while a shape is being drawn; it is passed on first and means "discard"
only if there was nothing to finish.  While a button is held it drops what is being
drawn.  Undo and redo are bound on the viewer, where
the Labels layers' own win, so that they work whatever layer is selected.

A key acts once a press.  While it is held, the system repeats it: marked as a
repeat, which napari 0.9 drops and napari 0.10 passes on to bindings without a
release; or, on X11, as releases and presses that nothing marks.  So every key is
bound with its release, and a press right after one is a repeat.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from app_model.types import KeyBinding, KeyCode, KeyMod

from napari_sam.viewer.plugin_layers import own_escape

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.components import ViewerModel
    from napari.layers import Shapes

    from napari_sam.viewer.controller import Controller


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it does, and the method of the controller or of a part of it."""

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
        "Propose what the model is sure of and nobody has labeled.",
    ),
    Key("K", "reject", "Reject", "Drop the proposal under the cursor or in review."),
    Key("Shift+N", "skip", "Skip", "In a review, leave this one for later."),
    Key(
        "Shift+T",
        "propagation.follow",
        "Follow through the stack",
        "Find the object under way on the slices around; N writes all of them.",
    ),
    Key(
        "Shift+S",
        "propagation.go_to_least_sure",
        "Least sure slice",
        "Go to the slice on which the object is least sure; a click corrects it.",
    ),
    Key(
        "Shift+E",
        "propagation.end_here",
        "End here",
        "Let the object end on this slice: cut it, or extend it to a gray one.",
    ),
    Key(
        "Shift+U",
        "propagation.divisions.mark",
        "Divide",
        "Time: the object under the cursor is a daughter of the one picked with J.",
    ),
    Key(
        "Shift+R",
        "propagation.next_event",
        "Next event",
        "Time: go to the least certain end, birth, division or jump of a track.",
    ),
    Key(
        "Shift+K",
        "triage.toggle_lasso",
        "Choose around",
        "Draw a lasso around proposals; N then accepts all of them, K rejects them.",
    ),
    Key(
        "Shift+J",
        "triage.like_this_one",
        "Like this one",
        "Choose the proposals that look like this one.",
    ),
    Key(
        "Shift+W",
        "review.next_uncertain",
        "Next uncertain",
        "Go to the next proposal in doubt, the closest to a threshold first.",
    ),
    Key(
        "Shift+Q",
        "review.previous_uncertain",
        "Previous uncertain",
        "Go back to the one before.",
    ),
)

UNDO_KEYS = (
    ("Ctrl+Z", KeyMod.CtrlCmd | KeyCode.KeyZ, "undo"),
    ("Ctrl+Shift+Z", KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ, "redo"),
)
"""napari's keys for it: as Qt writes them (Cmd on macOS), and the controller's
methods."""

REPEAT_SECONDS = 0.04
"""A key pressed sooner than this after its release was held all the time: the gap
in an unmarked repeat is a few milliseconds, and no finger is that fast."""

MOUSE: tuple[tuple[str, str], ...] = (
    ("Click", "Point on the object (with the Point tool)."),
    ("Ctrl-click (Cmd on macOS)", "Point on the background."),
    ("Click a proposal", "Make it the current object, to correct it."),
    ("Shift-click a proposal", "Accept it."),
    ("Ctrl+Z, Ctrl+Shift+Z", "napari's undo and redo, on the Labels layer."),
)


def key_names() -> list[str]:
    """Return all keys that are bound, as Qt writes them."""
    return [k.key for k in KEYS] + [name for name, *_ in UNDO_KEYS]


def help_rows() -> list[tuple[str, str]]:
    """Return all keys and mouse actions with their explanations."""
    return [(k.key, f"{k.title}: {k.explanation}") for k in KEYS] + list(MOUSE)


def markdown_table() -> str:
    """Return the key table as docs/keys.md shows it."""
    lines = ["| Key | What it does |", "|---|---|"]
    lines += [f"| {key} | {text} |" for key, text in help_rows()]
    return "\n".join(lines)


class _HasKeymap(Protocol):
    keymap: dict[Any, Any]
    class_keymap: dict[Any, Any]

    def bind_key(self, key: Any, func: Any, *, overwrite: bool = ...) -> Any:
        """Bind a key of this instance."""


class HeldKey:
    """One key from its press to its release, however the system repeats it.

    Parameters
    ----------
    press : callable
        Called once a press.
    release : callable, optional
        Called when the key is let go, `REPEAT_SECONDS` later if ``later`` is given:
        only then it is known that no repeat follows.
    later : callable
        Calls a function after so many seconds.
    clock : callable
        Tells when what is being handled was done, in seconds.
    """

    def __init__(
        self,
        press: Callable[[], None],
        release: Callable[[], None] | None,
        later: Callable[[float, Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        self._press = press
        self._release = release
        self._later = later
        self._clock = clock
        self._released_at = float("-inf")
        self._presses = 0

    def press(self) -> None:
        """Note a press or a repeat of it."""
        self._presses += 1
        if self._clock() - self._released_at >= REPEAT_SECONDS:
            self._press()

    def release(self) -> None:
        """Note a release, which a repeat may follow."""
        self._released_at = self._clock()
        if self._release is not None:
            presses, release = self._presses, self._release

            def let_go() -> None:
                if self._presses == presses:
                    release()

            self._later(REPEAT_SECONDS, let_go)


class KeyBinder:
    """Binds the table on a viewer and on our prompt layers, and unbinds it.

    Parameters
    ----------
    controller : Controller
        Has, with its parts, one method per action.

    Attributes
    ----------
    clock : callable
        Tells when the key that is being handled was pressed or let go, in seconds.  A
        window that was busy hears of both at once, so who has a window sets it.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.clock: Callable[[], float] = time.monotonic
        self._bound: list[tuple[_HasKeymap, KeyBinding, Any]] = []

    def bind_viewer(self, viewer: ViewerModel) -> None:
        """Bind all keys at viewer level, where layers' own keys win."""
        for key in KEYS:
            action = attrgetter(key.action)(self._controller)
            if key.hold:
                held = self._held(partial(action, True), partial(action, False))
            else:
                held = self._held(action)
            self._bind(viewer, KeyBinding.from_str(key.key), held)
        for _, combination, action in UNDO_KEYS:
            held = self._held(getattr(self._controller, action))
            self._bind(viewer, KeyBinding.from_int(combination), held)

    def bind_shapes(self, layer: Shapes) -> None:
        """Bind Escape on the SAM shapes layer, after napari's own use of it."""
        own = own_escape(layer)
        controller = self._controller

        def finish_or_discard() -> None:
            # napari's own fails while a button is held.
            if controller.give_up_drawing():
                return
            finished: list[object] = []

            def note(event: object) -> None:
                finished.append(event)

            layer.events.data.connect(note)
            try:
                own(layer)
            finally:
                layer.events.data.disconnect(note)
            if not finished:
                controller.escape_shapes()

        self._bind(layer, KeyBinding.from_str("Escape"), self._held(finish_or_discard))

    def bind_lasso(self, layer: Shapes) -> None:
        """Bind Escape on the lasso's layer instead of napari's own use of it."""
        controller = self._controller

        def drop_or_discard() -> None:
            if not controller.triage.lasso.escape():
                controller.discard()

        held = self._held(drop_or_discard)
        self._bind(layer, KeyBinding.from_str("Escape"), held)

    def unbind(self) -> None:
        """Give every key back to what had it before."""
        bound, self._bound = self._bound, []
        for owner, key, previous in reversed(bound):
            owner.bind_key(key, None, overwrite=True)
            if previous is not None:
                owner.bind_key(key, previous, overwrite=True)

    def _held(
        self, press: Callable[[], None], release: Callable[[], None] | None = None
    ) -> HeldKey:
        later = self._controller.context.runner.later
        return HeldKey(press, release, later, lambda: self.clock())

    def _bind(self, owner: Any, key: KeyBinding, held: HeldKey) -> None:
        def press_and_release(owner: object) -> Generator[None, None, None]:
            held.press()
            yield
            held.release()

        previous = owner.keymap.get(key)
        owner.bind_key(key, press_and_release, overwrite=True)
        self._bound.append((owner, key, previous))
