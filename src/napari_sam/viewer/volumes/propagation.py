"""Following the object under way through the stack, in the background.

What is found belongs to the object's draft and is written with it, as one step.  A
correction on any slice is one more prompted slice: only the slices between it and its
neighbors are asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.core.volumes.followed import Followed
from napari_sam.core.volumes.linked import LinkSettings
from napari_sam.core.volumes.propagation import PropagationSettings
from napari_sam.errors import PromptError
from napari_sam.viewer.labels.renumbered import Renumbered
from napari_sam.viewer.volumes.divisions import Divisions
from napari_sam.viewer.volumes.events import TrackEvents
from napari_sam.viewer.volumes.linker import Linker
from napari_sam.viewer.volumes.picking import ObjectPicker
from napari_sam.viewer.volumes.runs import PropagationRuns, said_of
from napari_sam.viewer.volumes.several import SeveralObjects
from napari_sam.viewer.volumes.tracks_layer import TracksView

if TYPE_CHECKING:
    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.core.volumes.followed import FollowedState
    from napari_sam.core.volumes.propagation import PropagatedSlice
    from napari_sam.types import FloatArray, Progress
    from napari_sam.viewer.background.prefetcher import Prefetcher
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.navigation import Navigator
    from napari_sam.viewer.prompting.annotator import Annotator
    from napari_sam.viewer.prompting.draft import ObjectDraft
    from napari_sam.viewer.prompting.pointer import Pointer
    from napari_sam.viewer.volumes.linker import Relinked

TIME_NAMES = frozenset({"t", "time", "frame", "frames"})
"""Axis names, in lower case, along which objects are followed in time."""

_ELSEWHERE = (
    "The object is not marked on any slice along this axis: turn the view or move the "
    "slider back to where it is, or mark it here."
)
_DROPPED = "  What was found along the other axis is dropped."
_OTHER_STACK = (
    "The object is followed along other slices: turn the view or move the slider back "
    "to them."
)


class Direction(StrEnum):
    """Which way an object is followed from its prompted slices."""

    BOTH = "both"
    DOWN = "to lower slices"
    UP = "to higher slices"


@dataclass(frozen=True, slots=True)
class AxisChoice:
    """What the user chose for one axis of the stack.

    Parameters
    ----------
    first, last : int, optional
        The slices that an object is followed to at most; None for the whole stack.
    time : bool, optional
        Whether the axis is one of time; None if its name says so.
    """

    first: int | None = None
    last: int | None = None
    time: bool | None = None


class Propagation:
    """Follows objects under way through the stack.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    annotator : Annotator
        Has the objects.
    prefetcher : Prefetcher
        Knows along which axis the user scrolls.
    navigator : Navigator
        Brings slices to the screen.
    pointer : Pointer
        Knows what is under the cursor.

    Attributes
    ----------
    changed : Signal()
        Anything a panel shows has changed.
    status : Signal(str)
        What just happened and what to press next.
    unreviewed : Signal(LinkedPlaces or None)
        Objects were linked, or followed (None), that nobody has looked at.
    grow : bool
        Whether objects that are linked grow into slices in which they were not found.
    """

    changed = Signal()
    status = Signal(str)
    unreviewed = Signal(object)

    def __init__(
        self,
        context: Context,
        annotator: Annotator,
        prefetcher: Prefetcher,
        navigator: Navigator,
        pointer: Pointer,
    ) -> None:
        self._context = context
        self._annotator = annotator
        self._prefetcher = prefetcher
        self._navigator = navigator
        self._choices: dict[int, AxisChoice] = {}
        self.grow = False
        self._runs = PropagationRuns(context, annotator)
        self.several = SeveralObjects(context)
        self.linker = Linker(context)
        self.tracks = TracksView(context)
        self.several.written.connect(self._on_several)
        self.linker.linked.connect(self._on_linked)
        self.divisions = Divisions(context, annotator, pointer, self.tracks)
        self.events = TrackEvents(context, navigator)
        self._picker = ObjectPicker(context, annotator)
        for part in (self._runs, self.several, self.linker):
            part.changed.connect(self._on_part)
        for speaker in (
            self._runs,
            self.several,
            self.linker,
            self.divisions,
            self.events,
            self._picker,
        ):
            speaker.status.connect(self._on_said)
        # Slices that were shown as the least sure ones, of which draft.
        self._shown: tuple[ObjectDraft | None, set[int]] = (None, set())

    def close(self) -> None:
        """Stop."""
        self.reset()
        self._runs.close()
        self._picker.close()
        self.events.close()
        self.tracks.close()

    def reset(self) -> None:
        """Forget what is followed: other pixels, or another model."""
        self._runs.stop()
        self.several.reset()
        self.linker.cancel()
        for draft in self._runs.drafts:
            draft.followed, draft.is_growing = None, False

    def on_undone(self, transaction: Transaction) -> None:
        """Say which numbers or daughters an undo brought back."""
        if isinstance(transaction.origin, Renumbered):
            self.status.emit(transaction.origin.undone)

    def on_redone(self, transaction: Transaction) -> None:
        """Say which numbers or daughters a redo made again."""
        if isinstance(transaction.origin, Renumbered):
            self.status.emit(transaction.origin.redone)

    # -- state for panels ---------------------------------------------------

    @property
    def followed(self) -> Followed | None:
        """What is known of the current object through the stack."""
        return self._annotator.draft.followed

    @property
    def shown(self) -> PropagatedSlice | None:
        """What was found on the plane on screen, where there is no prompt."""
        plane = self._context.plane
        return None if plane is None else self._annotator.draft.slice_on(plane)

    @property
    def state(self) -> FollowedState | None:
        """What a strip of the stack shows; None if it shows another stack."""
        if self.followed is None or not self.is_on_strip:
            return None
        return self.followed.state(len(self._prefetcher.strip.ready))

    @property
    def is_on_strip(self) -> bool:
        """Whether the strip shows the slices that the object was followed through."""
        followed = self.followed
        return (
            followed is not None
            and followed.axis == self._prefetcher.strip.axis
            and self._is_in_view
        )

    @property
    def count(self) -> int:
        """How many slices the stack has along the axis; 0 without one."""
        strip = self._prefetcher.strip
        return 0 if strip.axis is None else len(strip.ready)

    @property
    def _choice(self) -> AxisChoice:
        axis = self._prefetcher.strip.axis
        return AxisChoice() if axis is None else self._choices.get(axis, AxisChoice())

    def choose(self, **changes: Any) -> None:
        """Change the `AxisChoice` of the axis that is scrolled."""
        axis = self._prefetcher.strip.axis
        if axis is not None:
            self._choices[axis] = replace(self._choice, **changes)
            self.changed.emit()

    @property
    def limits(self) -> tuple[int, int]:
        """The first and the last slice that an object is followed to."""
        choice, end = self._choice, max(self.count - 1, 0)
        last = end if choice.last is None else choice.last
        return min(choice.first or 0, end), min(last, end)

    @property
    def is_time(self) -> bool:
        """Whether objects are followed in time."""
        time = self._choice.time
        if time is not None:
            return time
        image, axis = self._context.image, self._prefetcher.strip.axis
        if image is None or axis is None:
            return False
        name = str(image.axis_labels[axis]).strip().lower()
        return name in TIME_NAMES

    @property
    def is_running(self) -> bool:
        """Whether slices or numbers are on their way."""
        return (
            self._runs.is_running or self.several.is_running or self.linker.is_running
        )

    @property
    def progress(self) -> Progress | None:
        """How far it is."""
        return self._runs.progress or self.several.progress or self.linker.progress

    @property
    def why_not(self) -> str:
        """Why the current object cannot be followed, in a sentence; empty if it can."""
        context, draft = self._context, self._annotator.draft
        if context.image is None or context.plane is None:
            return "Choose an image, and show it in 2-D."
        if self.count < 2:
            return "The image has one slice only, so there is nothing to follow."
        if draft.object_count > 1:
            return "Several boxes are several objects: follow one at a time."
        if draft.items.is_empty and draft.label is None:
            return "Mark an object on one slice first."
        if not self._is_marked_here:
            return _ELSEWHERE
        at = self._prefetcher.strip.position or 0
        first, last = self.limits
        if not first <= at <= last:
            return (
                f"Slice {at} is not in {first} to {last}: go to one of these, or "
                "choose others."
            )
        return ""

    @property
    def why_not_here(self) -> str:
        """Why what is followed cannot be changed on this slice; empty if it can."""
        if self.followed is None:
            return "Follow an object first."
        return "" if self._is_in_view else _OTHER_STACK

    @property
    def axis_name(self) -> str:
        """What the slices of the followed object are called.

        By their axis, if there are several sliders or the view shows another stack.
        """
        image, plane = self._context.image, self._context.plane
        followed = self.followed
        axis = self._prefetcher.strip.axis if followed is None else followed.axis
        if image is None or plane is None or axis is None:
            return "Slices"
        is_one_stack = sum(i is not None for i in plane.index) < 2
        if is_one_stack and (followed is None or self._is_in_view):
            return "Slices"
        return f"Along {image.axis_labels[axis]}:"

    @property
    def _is_in_view(self) -> bool:
        """Whether the object is followed in the slice on screen."""
        followed, plane = self.followed, self._context.plane
        return (
            followed is not None
            and plane is not None
            and followed.position(plane) is not None
        )

    @property
    def _is_marked_here(self) -> bool:
        """Whether the object is marked in the stack that is scrolled.

        One that is in the labels may be known by its pixels.
        """
        draft, plane = self._annotator.draft, self._context.plane
        axis = self._prefetcher.strip.axis
        if draft.label is not None:
            return True
        if plane is None or axis is None:
            return False
        stack = Followed(plane, axis, (0, self.count))
        return any(stack.position(p) is not None for p in draft.items.planes())

    # -- intents ------------------------------------------------------------

    def follow_between(self, limits: tuple[int, int] | None, time: bool | None) -> None:
        """Follow the current object between other limits than the panel's.

        Parameters
        ----------
        limits : tuple of int, optional
            First slice, and one past the last; the whole stack by default.
        time : bool, optional
            Whether the slices are frames; if the axis is named so by default.

        Raises
        ------
        PromptError
            If there is nothing to follow, or the limits are none.
        """
        count = self.count
        if limits is not None and count and not 0 <= limits[0] < limits[1] <= count:
            raise PromptError(
                f"limits are {limits}; choose a first slice and one past the last, from"
                f" 0 to {count}."
            )
        before = self._choices.copy()
        first, stop = limits or (0, count)
        self.choose(first=first, last=stop - 1, time=time)
        try:
            reason = self.why_not
            if reason:
                raise PromptError(reason)
            self.follow()
        finally:
            self._choices = before

    @property
    def confidence(self) -> FloatArray:
        """That of each slice, as `Session.propagate` returns it.

        Raises
        ------
        PromptError
            If no object is followed.
        """
        state = self.state
        if state is None:
            raise PromptError("Nothing was found to follow: add a point first.")
        return np.where(state.ghost, np.float32("nan"), state.confidence)

    def follow(self, direction: Direction = Direction.BOTH) -> None:
        """Follow the current object through the stack.

        It is written with all its slices when it is accepted.  Where it has been
        followed before, what is missing is looked for.
        """
        reason = self.why_not
        if reason:
            self.status.emit(reason)
            return
        draft, plane = self._annotator.draft, self._context.plane
        axis = self._prefetcher.strip.axis
        if plane is None or axis is None:
            return
        limits = self._limits(plane.index[axis] or 0, direction)
        settings = PropagationSettings(time=self.is_time)
        before = draft.followed
        if before is not None and before.goes_on(plane, axis, settings):
            # One way only leaves the other as it is.
            start, stop = limits
            if direction is Direction.UP:
                start = before.limits[0]
            elif direction is Direction.DOWN:
                stop = before.limits[1]
            draft.followed = before.with_limits((start, stop))
        else:
            draft.followed = Followed(plane, axis, limits, settings)
        replaced = before is not None and before.slices and before.axis != axis
        draft.is_growing = not draft.followed.is_finished
        self._shown = (draft, set())
        # Said once more when it is done: by then nobody has read it.
        self._runs.note = note = _DROPPED if replaced else ""
        self._runs.advance()
        if draft.followed is None:
            # What is in the labels has no pixels here either.
            draft.followed = before
            self._annotator.prompting.draw()
            self.status.emit(_ELSEWHERE)
        else:
            said = (
                "Following the object …  N writes it when that is done."
                if draft.is_growing
                else said_of(draft.followed)
            )
            self.status.emit(said + note)
        self.changed.emit()

    def follow_down(self) -> None:
        """Follow the current object to lower slices, or earlier frames."""
        self.follow(Direction.DOWN)

    def follow_up(self) -> None:
        """Follow the current object to higher slices, or later frames."""
        self.follow(Direction.UP)

    def follow_all(self) -> None:
        """Follow all labeled objects of the slice on screen, and write what is found.

        As one step, into pixels that nobody has.
        """
        plane, axis = self._context.plane, self._prefetcher.strip.axis
        if plane is None or axis is None or self.count < 2:
            self.status.emit(self.why_not)
            return
        limits = self._limits(plane.index[axis] or 0, Direction.BOTH)
        settings = PropagationSettings(time=self.is_time)
        self.several.start(axis, limits, settings)

    def link(self) -> None:
        """Give objects of single slices one number through the stack, or through time.

        All labels along the axis that is scrolled; as one step.  Along z they are then
        grown, if `grow` says so.
        """
        axis = self._prefetcher.strip.axis
        if axis is None or self.count < 2:
            self.status.emit("The image has one slice only: there is nothing to link.")
            return
        is_time = self.is_time
        grow = self.grow and not is_time
        self.linker.start(axis, LinkSettings(time=is_time), grow=grow)

    def next_event(self) -> None:
        """Show where a track ends, begins, divides or jumps, least certain first."""
        if self.is_time:
            self.events.go_to_next()
        else:
            self.status.emit(
                "Events are those of tracks, in time: choose Time if the slices are "
                "frames."
            )

    def go_to_least_sure(self) -> None:
        """Show the slice of the lowest confidence; the next one after that."""
        draft, followed = self._annotator.draft, self.followed
        if followed is None:
            self.status.emit("Follow an object through the stack first (Shift+T).")
            return
        owner, seen = self._shown
        if owner is not draft:
            seen = set()
        position = followed.least_sure(seen)
        if position is None:
            seen = set()
            position = followed.least_sure()
        if position is None:
            self.status.emit("No slice of the object is in doubt.")
            return
        self._shown = (draft, seen | {position})
        found = followed.slices[position]
        self._navigator.show(followed.plane(position), found.mask.region)
        self.status.emit(
            f"Slice {position}: confidence {found.confidence:.2f}.  Click to correct "
            "it · Shift+S next · N accepts"
        )

    def end_here(self) -> None:
        """Let the object end on the slice on screen: cut it there, or extend it."""
        self._end(after=None)

    def remove_above(self) -> None:
        """Drop what was found on higher slices than the one on screen."""
        self._end(after=True)

    def remove_below(self) -> None:
        """Drop what was found on lower slices than the one on screen."""
        self._end(after=False)

    def redo(self) -> None:
        """Look once more at the slices between the prompted ones around this one."""
        followed, position = self._here()
        if followed is None or position is None:
            return
        kept = followed.redoing(position)
        if kept is None:
            self.status.emit("This slice is prompted: there is nothing to redo.")
            return
        self._grow(kept)

    def _end(self, after: bool | None) -> None:
        followed, position = self._here()
        if followed is None or position is None:
            return
        if after is None:
            ended = followed.ended_at(position)
        else:
            start, stop = followed.limits
            ended = followed.with_limits(
                (start, position + 1) if after else (position, stop)
            )
        if ended is None:
            self.status.emit(_why_no_end(followed, position))
            return
        self._grow(ended)
        first, last = ended.extent
        if ended.left:
            self.status.emit(
                f"Extended to slice {position}, and followed on from there …  Shift+E "
                "on another slice ends it there."
            )
            return
        self.status.emit(
            f"The object is on slices {first} to {last}.  N accepts · Esc discards"
        )

    def _here(self) -> tuple[Followed | None, int | None]:
        """Return what is followed and where in it the user is; says why not."""
        followed, plane = self.followed, self._context.plane
        if followed is None or not followed.prompted:
            self.status.emit("Follow an object through the stack first (Shift+T).")
            return None, None
        position = None if plane is None else followed.position(plane)
        if position is None:
            self.status.emit(_OTHER_STACK)
        return followed, position

    def _grow(self, followed: Followed) -> None:
        draft = self._annotator.draft
        self._runs.stop(draft)
        draft.followed = followed
        draft.is_growing = not followed.is_finished
        self._annotator.prompting.draw()
        self._runs.advance()
        self.changed.emit()

    def bring_back(self) -> bool:
        """Undo that the last prompt was removed; False if other steps came after."""
        return self._runs.bring_back()

    def cancel(self) -> None:
        """Stop; what was found stays."""
        if self.several.is_running or self.linker.is_running:
            self.several.cancel()
            self.linker.cancel()
            return
        self.status.emit("Stopped.  What was found stays: N accepts · Esc discards")
        self._runs.give_up()
        self.changed.emit()

    def _limits(self, position: int, direction: Direction) -> tuple[int, int]:
        start, stop = self.limits[0], self.limits[1] + 1
        if direction is Direction.DOWN:
            stop = position + 1
        elif direction is Direction.UP:
            start = position
        return start, stop

    def _on_several(self) -> None:
        self.unreviewed.emit(None)

    def _on_linked(self, found: Relinked) -> None:
        self.tracks.show(found)
        self.unreviewed.emit(found.places)

    def _on_part(self) -> None:
        self.changed.emit()

    def _on_said(self, text: str) -> None:
        self.status.emit(text)


def _why_no_end(followed: Followed, position: int) -> str:
    """Say why an object cannot end on a slice."""
    low, high = min(followed.prompted), max(followed.prompted)
    if low == high == position:
        return (
            "This is the only prompted slice: Remove lower and Remove higher cut the "
            "object on one side of it."
        )
    if low < position < high:
        return (
            "The object is prompted on both sides of this slice; remove those prompts "
            "first."
        )
    return f"The object does not reach slice {position}: mark it here."
