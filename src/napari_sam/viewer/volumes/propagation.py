"""Following the object under way through the stack, in the background.

What is found belongs to the object's draft and is written with it, as one step.  A
correction on any slice is one more prompted slice: only the slices between it and its
neighbors are asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.core.volumes.followed import Followed
from napari_sam.core.volumes.linked import LinkSettings
from napari_sam.core.volumes.propagation import PropagationSettings, iter_propagate
from napari_sam.errors import PromptError
from napari_sam.types import Progress, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.volumes.linker import Linker
from napari_sam.viewer.volumes.several import SeveralObjects
from napari_sam.viewer.volumes.tracks_layer import TracksView
from napari_sam.viewer.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.volumes.followed import FollowedState
    from napari_sam.core.volumes.propagation import BlockedAt, PropagatedSlice, Span
    from napari_sam.types import BoolArray, FloatArray, MaskCrop
    from napari_sam.viewer.annotator import Annotator
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.draft import ObjectDraft
    from napari_sam.viewer.navigation import Navigator
    from napari_sam.viewer.predict import PlaneEncoder
    from napari_sam.viewer.prefetcher import Prefetcher

PROPAGATION_SLOT = "propagation"
TIME_NAMES = frozenset({"t", "time", "frame", "frames"})
"""Axis names, in lower case, along which objects are followed in time."""


class Direction(StrEnum):
    """Which way an object is followed from its prompted slices."""

    BOTH = "both"
    DOWN = "to lower slices"
    UP = "to higher slices"


@dataclass(eq=False, slots=True)
class _Run:
    """What is asked about one draft."""

    draft: ObjectDraft
    asked: tuple[Span, ...]
    positions: frozenset[int]
    done: int = 0


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

    Attributes
    ----------
    changed : Signal()
        Anything a panel shows has changed.
    status : Signal(str)
        What just happened and what to press next.
    first, last : int or None
        The slices that an object is followed to at most; None for the whole stack.
    time : bool or None
        Whether the axis is one of time; None if its name says so.
    """

    changed = Signal()
    status = Signal(str)

    def __init__(
        self,
        context: Context,
        annotator: Annotator,
        prefetcher: Prefetcher,
        navigator: Navigator,
    ) -> None:
        self._context = context
        self._annotator = annotator
        self._prefetcher = prefetcher
        self._navigator = navigator
        self.first: int | None = None
        self.last: int | None = None
        self.time: bool | None = None
        self._run: _Run | None = None
        self._is_looking = False
        self._several = SeveralObjects(context)
        self.linker = Linker(context)
        self.tracks = TracksView(context)
        self.linker.linked.connect(self.tracks.show)
        for part in (self._several, self.linker):
            part.changed.connect(self._on_part)
            part.status.connect(self._on_said)
        # Slices that were shown as the least sure ones, of which draft.
        self._shown: tuple[ObjectDraft | None, set[int]] = (None, set())
        annotator.changed.connect(self._on_objects)

    def close(self) -> None:
        """Stop."""
        self._annotator.changed.disconnect(self._on_objects)
        self.reset()
        self.tracks.close()

    def reset(self) -> None:
        """Forget what is followed: other pixels, or another model."""
        self._stop_run()
        self._several.reset()
        self.linker.cancel()
        for draft in self._followed:
            draft.followed, draft.is_growing = None, False

    @property
    def _followed(self) -> list[ObjectDraft]:
        """The objects under way that are followed, the current one first."""
        return [d for d in self._annotator.objects if d.followed is not None]

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
        """What a strip of the stack shows; None if it shows another axis."""
        followed, strip = self.followed, self._prefetcher.strip
        if followed is None or strip.axis != followed.axis:
            return None
        return followed.state(len(strip.ready))

    @property
    def count(self) -> int:
        """How many slices the stack has along the axis; 0 without one."""
        strip = self._prefetcher.strip
        return 0 if strip.axis is None else len(strip.ready)

    @property
    def is_time(self) -> bool:
        """Whether objects are followed in time."""
        if self.time is not None:
            return self.time
        image, axis = self._context.image, self._prefetcher.strip.axis
        if image is None or axis is None:
            return False
        name = str(image.axis_labels[axis]).strip().lower()
        return name in TIME_NAMES

    @property
    def is_running(self) -> bool:
        """Whether slices are on their way."""
        return (
            self._run is not None
            or self._several.is_running
            or self.linker.is_running
            or any(d.is_growing for d in self._followed)
        )

    @property
    def progress(self) -> Progress | None:
        """How far it is."""
        run = self._run
        if run is None:
            return self._several.progress or self.linker.progress
        total = len(run.positions)
        others = sum(d.is_growing for d in self._followed) - 1
        more = f", {others} more objects wait" if others > 0 else ""
        return Progress(
            min(run.done, total), total, f"following the object, slice {run.done} of "
            f"{total} at most{more}"
        )  # fmt: skip

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
        return ""

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
        reason, count = self.why_not, self.count
        if limits is not None and not 0 <= limits[0] < limits[1] <= count:
            reason = reason or (
                f"limits are {limits}; choose a first slice and one past the last, from"
                f" 0 to {count}."
            )
        if reason:
            raise PromptError(reason)
        before = self.first, self.last, self.time
        first, stop = limits or (0, count)
        self.first, self.last, self.time = first, stop - 1, time
        try:
            self.follow()
        finally:
            self.first, self.last, self.time = before

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
        before = draft.followed
        settings = PropagationSettings(time=self.is_time)
        limits = self._limits(plane.index[axis] or 0, direction)
        is_same_way = (
            before is not None
            and before.position(plane) is not None
            and before.axis == axis
            and before.settings == settings
        )
        if before is not None and is_same_way and before.prompted:
            wider = (
                min(limits[0], before.limits[0]),
                max(limits[1], before.limits[1]),
            )
            draft.followed = before.with_limits(wider)
        else:
            draft.followed = Followed(plane, axis, limits, settings)
        draft.is_growing = not draft.followed.is_finished
        self._shown = (draft, set())
        self._advance()
        if draft.is_growing:
            self.status.emit("Following the object …  N writes it when that is done.")
        elif draft.followed is not None:
            self.status.emit(_said(draft.followed))
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
        self._several.start(axis, limits, settings)

    def link(self) -> None:
        """Give objects of single slices one number through the stack, or through time.

        All labels along the axis that is scrolled; as one step.
        """
        axis = self._prefetcher.strip.axis
        if axis is None or self.count < 2:
            self.status.emit("The image has one slice only: there is nothing to link.")
            return
        self.linker.start(axis, LinkSettings(time=self.is_time))

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
            inside = min(followed.prompted) < position < max(followed.prompted)
            self.status.emit(
                "The object is prompted on both sides of this slice; remove those "
                "prompts first."
                if inside
                else f"The object does not reach slice {position}: mark it here."
            )
            return
        self._grow(ended)
        first, last = ended.extent
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
            self.status.emit("The object is followed along another axis.")
        return followed, position

    def _grow(self, followed: Followed) -> None:
        draft = self._annotator.draft
        self._stop_run(draft)
        draft.followed = followed
        draft.is_growing = not followed.is_finished
        self._annotator.prompting.draw()
        self._advance()
        self.changed.emit()

    def cancel(self) -> None:
        """Stop; what was found stays."""
        if self._several.is_running or self.linker.is_running:
            self._several.cancel()
            self.linker.cancel()
            return
        self._stop_run()
        for draft in self._followed:
            draft.is_growing = False
        self.status.emit("Stopped.  What was found stays: N accepts · Esc discards")
        self._annotator.settle()
        self.changed.emit()

    def _limits(self, position: int, direction: Direction) -> tuple[int, int]:
        start = max(0, self.first or 0)
        last = self.count - 1 if self.last is None else self.last
        stop = min(self.count, last + 1)
        if direction is Direction.DOWN:
            stop = position + 1
        elif direction is Direction.UP:
            start = position
        return min(start, position), max(stop, position + 1)

    # -- the work -----------------------------------------------------------

    def _on_part(self) -> None:
        self.changed.emit()

    def _on_said(self, text: str) -> None:
        self.status.emit(text)

    def _on_objects(self) -> None:
        # Drawing, and writing what waits, tells of a change in turn.
        if not self._is_looking:
            self._advance()

    def _advance(self) -> None:
        """Look what changed in the objects that are followed, and go on with one."""
        if self._run is not None and self._run.draft not in self._annotator.objects:
            self._stop_run()
        self._is_looking = True
        try:
            for draft in self._followed:
                self._renew(draft)
        finally:
            self._is_looking = False
        if self._run is None:
            for draft in self._followed:
                followed = draft.followed
                if (
                    followed is not None
                    and draft.is_growing
                    and followed.left
                    and not self._is_open(draft, followed)
                ):
                    self._begin(draft, followed)
                    return

    def _renew(self, draft: ObjectDraft) -> None:
        """Take note of what is prompted now."""
        followed = draft.followed
        if followed is None or self._is_open(draft, followed):
            return
        answered = self._answered(draft, followed)
        if not answered and not followed.confirmed:
            draft.followed, draft.is_growing = None, False
            self._stop_run(draft)
            self._annotator.prompting.draw()
            return
        now = followed.with_prompted(answered)
        if now is not followed:
            self._stop_run(draft)
            draft.followed = now
            draft.is_growing = bool(now.left)
            self._annotator.prompting.draw()

    def _is_open(self, draft: ObjectDraft, followed: Followed) -> bool:
        """Whether an answer on a slice of the stack is still on its way."""
        questions = self._annotator.prompting.questions(draft)
        return any(followed.position(plane) is not None for plane in questions)

    def _answered(self, draft: ObjectDraft, followed: Followed) -> dict[int, MaskCrop]:
        """Return the slices of the stack in which the object is known."""
        found = {}
        for answer in draft.answers.values():
            position = followed.position(answer.plane)
            if position is not None and answer.is_final and answer.candidates:
                mask = answer.candidates[0].mask.tight()
                if mask.area:
                    found[position] = mask
        found.update(
            (p, m) for p, m in self._written(draft, followed).items() if p not in found
        )
        return found

    def _written(
        self, draft: ObjectDraft, followed: Followed
    ) -> Mapping[int, MaskCrop]:
        """Return what is in the labels of an object that is corrected.

        On the slices of its prompts; of an object without any on all its slices.
        """
        target = self._context.target
        if draft.label is None or target is None:
            return {}
        if not draft.written.is_empty:
            planes = [
                plane
                for plane in draft.written.planes()
                if followed.position(plane) is not None
            ]
        elif followed.prompted:
            return {p: m for p, m in followed.prompted.items()
                    if p not in followed.confirmed
                    and followed.plane(p) not in draft.answers}  # fmt: skip
        else:
            planes = [followed.plane(p) for p in range(self.count)]
        masks = ((plane, target.mask_of(draft.label, plane)) for plane in planes)
        return {
            position: mask
            for plane, mask in masks
            if mask is not None and (position := followed.position(plane)) is not None
        }

    def _begin(self, draft: ObjectDraft, followed: Followed) -> None:
        context = self._context
        image, encoder = context.image, context.planes
        if image is None or encoder is None:
            return
        run = _Run(draft, followed.left, frozenset(followed.positions_left))
        self._run = run
        shape = followed.base.shape(layer_shape(image))
        work = partial(
            iter_propagate,
            partial(_encoded, encoder, followed),
            dict(followed.prompted),
            followed.limits,
            shape,
            followed.settings,
            positions=run.positions,
            blocked=self._blocked(draft, followed, shape),
        )
        context.runner.submit(
            Job(
                work,
                priority=Priority.FOLLOW,
                slot=PROPAGATION_SLOT,
                on_yield=partial(self._take, run),
                on_result=lambda _: self._on_found(run),
                on_error=partial(self._on_error, run),
            )
        )
        self.changed.emit()

    def _blocked(
        self, draft: ObjectDraft, followed: Followed, shape: tuple[int, int]
    ) -> BlockedAt | None:
        """Return what tells which pixels belong to other objects; for the worker."""
        target = self._context.target
        if target is None:
            return None
        own, whole = draft.first_label or 0, Region.whole(shape)

        def blocked(position: int) -> BoolArray | None:
            labels = target.read(followed.plane(position), whole)
            others: BoolArray = (labels != 0) & (labels != own)
            return others if others.any() else None

        return blocked

    def _take(self, run: _Run, found: PropagatedSlice) -> None:
        draft = run.draft
        if self._run is not run or draft.followed is None:
            return
        run.done += 1
        draft.followed = draft.followed.with_slice(found)
        plane = self._context.plane
        if draft is self._annotator.draft:
            if plane is not None and draft.followed.position(plane) == found.position:
                self._annotator.prompting.draw()
            self.changed.emit()

    def _on_found(self, run: _Run) -> None:
        draft = run.draft
        if self._run is not run:
            return
        self._run = None
        if draft.followed is None:
            return
        draft.followed = draft.followed.with_finished(run.asked)
        draft.is_growing = bool(draft.followed.left)
        if draft is self._annotator.draft:
            self._annotator.prompting.draw()
            if self._context.settings.live:
                self._annotator.write_live()
            self.status.emit(_said(draft.followed))
        self._annotator.settle()
        self._advance()
        self.changed.emit()

    def _on_error(self, run: _Run, error: Exception) -> None:
        if self._run is not run:
            return
        self._run = None
        # What was found stays; the object is under way again, not written.
        run.draft.is_growing = False
        text = self._context.report(error)
        if run.draft in self._annotator.prompting.waiting:
            self._annotator.give_back(run.draft)
        self.status.emit(text)
        self._advance()
        self.changed.emit()

    def _stop_run(self, draft: ObjectDraft | None = None) -> None:
        """Stop what runs, if it is about a draft."""
        run = self._run
        if run is not None and (draft is None or run.draft is draft):
            self._context.runner.cancel(PROPAGATION_SLOT)
            self._run = None


def _encoded(
    encoder: PlaneEncoder, followed: Followed, position: int
) -> Generator[None, None, EncodedPlane]:
    """Encode the slice at a position, in short steps."""
    return encoder.iter_get(followed.plane(position))


def _said(followed: Followed) -> str:
    """Say how far the object reaches, and where to look."""
    first, last = followed.extent
    count = len({*followed.to_write, *followed.prompted})
    where = f"on {count} slices, {first} to {last}" if count > 1 else "on no more slice"
    least = followed.least_sure()
    if least is None:
        return f"The object is {where}.  N accepts · Esc discards"
    return (
        f"The object is {where}; least sure is slice {least} "
        f"({followed.slices[least].confidence:.2f}, Shift+S).  N accepts"
    )
