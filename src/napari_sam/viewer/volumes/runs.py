"""Runs that follow objects under way: what is left to find, one object at a time.

What has to be found is derived from what is prompted now, so a run begins and ends with
the objects, whatever has been done to them meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from napari_sam.core.annotation.records import digest_of
from napari_sam.types import Progress
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.volumes.background import BackgroundWork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.core.volumes.followed import Followed
    from napari_sam.core.volumes.propagation import BlockedAt, PropagatedSlice, Span
    from napari_sam.types import MaskCrop
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.prompting.annotator import Annotator
    from napari_sam.viewer.prompting.draft import ObjectDraft


@dataclass(frozen=True, eq=False, slots=True)
class _Kept:
    """An object as it was while it had prompts, and what an undo took back then."""

    draft: ObjectDraft
    before: ObjectDraft
    newest: Transaction | None = None


@dataclass(eq=False, slots=True)
class _Run:
    """What is asked about one draft."""

    draft: ObjectDraft
    asked: tuple[Span, ...]
    total: int
    done: int = 0


class PropagationRuns(BackgroundWork[_Run]):
    """Follows the objects under way that are to be followed.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    annotator : Annotator
        Has the objects.

    Attributes
    ----------
    note : str
        Said along with the end of the run that begins next.
    """

    slot = "propagation"

    def __init__(self, context: Context, annotator: Annotator) -> None:
        super().__init__(context)
        self._annotator = annotator
        self.note = ""
        self._is_looking = False
        self._known: _Kept | None = None
        self._dropped: _Kept | None = None
        annotator.changed.connect(self._on_objects)

    def close(self) -> None:
        """Stop, and listen no more."""
        self._annotator.changed.disconnect(self._on_objects)
        self.stop()

    @property
    def drafts(self) -> list[ObjectDraft]:
        """The objects under way that are followed, the current one first."""
        return [d for d in self._annotator.objects if d.followed is not None]

    @property
    def is_running(self) -> bool:
        """Whether slices are on their way."""
        return self._run is not None or any(d.is_growing for d in self.drafts)

    @property
    def progress(self) -> Progress | None:
        """How far the run is."""
        run = self._run
        if run is None:
            return None
        total = run.total
        others = sum(d.is_growing for d in self.drafts) - 1
        more = f", {others} more objects wait" if others > 0 else ""
        text = f"following the object, slice {run.done} of {total} at most{more}"
        return Progress(min(run.done, total), total, text)

    def give_up(self) -> None:
        """Stop all; what was found stays, and what was accepted is written."""
        self.stop()
        for draft in self.drafts:
            draft.is_growing = False
        self._annotator.settle()

    def _on_objects(self) -> None:
        # Drawing, and writing what waits, tells of a change in turn.
        if not self._is_looking:
            self.advance()

    def advance(self) -> None:
        """Look what changed in the objects that are followed, and go on with one."""
        if self._run is not None and self._run.draft not in self._annotator.objects:
            self.stop()
        self._is_looking = True
        try:
            are_back = [self._take_up(draft) for draft in self._annotator.objects]
            for draft in self.drafts:
                self._renew(draft)
        finally:
            self._is_looking = False
        if any(are_back):
            # One that was accepted at once waited for it.
            self._annotator.settle()
        if self._run is None:
            for draft in self.drafts:
                followed = draft.followed
                if (
                    followed is not None
                    and draft.is_growing
                    and followed.left
                    and not self._is_open(draft, followed)
                ):
                    self._follow(draft, followed)
                    return

    def _take_up(self, draft: ObjectDraft) -> bool:
        """Go on with what was found before an object was left, once it is answered.

        Returns
        -------
        bool
            Whether it was waited for until now.
        """
        kept, image = draft.kept, self._context.image
        if kept is None or image is None or self._is_open(draft, kept):
            return False
        draft.kept, answered = None, self._answered(draft, kept)
        is_new = draft.followed is None
        if answered and is_new and kept.fits(layer_shape(image)):
            draft.followed = kept.asked_again(answered)
            self._annotator.prompting.draw()
        return True

    def _renew(self, draft: ObjectDraft) -> None:
        """Take note of what is prompted now."""
        followed = draft.followed
        if followed is None or self._is_open(draft, followed):
            return
        answered = self._answered(draft, followed)
        if not answered and not followed.confirmed:
            draft.followed, draft.is_growing = None, False
            self.stop(draft)
            self._annotator.prompting.draw()
            self._say_dropped(draft, followed)
            return
        if draft is self._annotator.draft and not draft.items.is_empty:
            before = replace(draft, answers=dict(draft.answers), is_growing=False)
            self._known = _Kept(draft, before)
        now = followed.with_prompted(answered)
        if now is not followed:
            self.stop(draft)
            draft.followed = now
            draft.is_growing = bool(now.left)
            self._annotator.prompting.draw()

    def _say_dropped(self, draft: ObjectDraft, followed: Followed) -> None:
        """Say what went with the last prompt, and keep it for an undo."""
        known = self._known
        if known is None or known.draft is not draft or not draft.items.is_empty:
            return
        before = replace(known.before, followed=followed)
        self._dropped = _Kept(draft, before, self._newest)
        self.status.emit(
            "That was the last prompt: the slices that were found are gone with it.  "
            "Ctrl+Z brings all back"
        )

    @property
    def _newest(self) -> Transaction | None:
        target = self._context.target
        return None if target is None else target.newest

    def bring_back(self) -> bool:
        """Bring back the object whose last prompt was removed, if that came last."""
        dropped, annotator = self._dropped, self._annotator
        if (
            dropped is None
            or annotator.draft is not dropped.draft
            or not annotator.is_empty
            or self._newest is not dropped.newest
        ):
            return False
        self._dropped = None
        annotator.prompting.begin(dropped.before)
        self.status.emit("The prompt is there again, and the slices found by it.")
        return True

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

        On the slices of its prompts, and on those that somebody has painted since they
        were written; of an object without prompts on all its slices.
        """
        target, label = self._context.target, draft.label
        if label is None or target is None:
            return {}
        written = [followed.position(plane) for plane in draft.written.planes()]
        if followed.prompted:
            # Read once: what is prompted anew is answered, and what no more is is none.
            left = [followed.position(plane) for plane in draft.items.planes()]
            return {
                p: mask
                for p, mask in followed.prompted.items()
                if p not in followed.confirmed
                and followed.plane(p) not in draft.answers
                and (p in left or p not in written)
            }
        record, found = target.records.get(label), {}
        for position in range(layer_shape(target.layer)[followed.axis]):
            plane = followed.plane(position)
            mask = target.mask_of(label, plane)
            if mask is None:
                continue
            known = None if record is None else record.mask_on(plane)
            is_followed = (
                bool(written)
                and position not in written
                and known is not None
                and known.digest == digest_of(mask)
            )
            if not is_followed:
                found[position] = mask
        return found

    def _follow(self, draft: ObjectDraft, followed: Followed) -> None:
        context = self._context
        image, encoder = context.image, context.encoder
        if image is None or encoder is None:
            return
        run = _Run(draft, followed.left, len(followed.positions_left))
        shape = followed.base.shape(layer_shape(image))
        work = partial(
            encoder.propagation.iter_left,
            followed,
            shape,
            blocked=self._blocked(draft, followed),
        )
        self._begin(run, work)

    def _blocked(self, draft: ObjectDraft, followed: Followed) -> BlockedAt | None:
        """Return what tells which pixels belong to other objects; for the worker."""
        target, own = self._context.target, draft.first_label or 0
        if target is None:
            return None
        return lambda position: target.others(followed.plane(position), own)

    def _take(self, run: _Run, step: PropagatedSlice) -> None:
        draft = run.draft
        if draft.followed is None:
            return
        run.done += 1
        draft.followed = draft.followed.with_slice(step)
        plane = self._context.plane
        if draft is self._annotator.draft:
            if plane is not None and draft.followed.position(plane) == step.position:
                self._annotator.prompting.draw()
            self.changed.emit()

    def _finish(self, run: _Run, found: None) -> None:
        draft = run.draft
        self._run = None
        if draft.followed is None:
            return
        draft.followed = draft.followed.with_finished(run.asked)
        draft.is_growing = bool(draft.followed.left)
        if draft is self._annotator.draft:
            self._annotator.prompting.draw()
            if self._context.settings.live:
                self._annotator.write_live()
            self.status.emit(said_of(draft.followed) + self.note)
            self.note = ""
        self._annotator.settle()
        self.advance()
        self.changed.emit()

    def _fail(self, run: _Run, error: Exception) -> None:
        self._run = None
        # What was found stays; the object is under way again, not written.
        run.draft.is_growing = False
        text = self._context.report(error)
        if run.draft in self._annotator.prompting.waiting:
            self._annotator.give_back(run.draft)
        self.status.emit(text)
        self.advance()
        self.changed.emit()

    def stop(self, draft: ObjectDraft | None = None) -> None:
        """Stop what runs, if it is about a draft."""
        run = self._run
        if run is not None and (draft is None or run.draft is draft):
            self._stop()


def said_of(followed: Followed) -> str:
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
