"""Objects under way: accept, drop, pick another, take it back.

What the prompts say and what the model answers is `Prompting`'s; the annotator
decides what becomes of it.  One object is under way.  Others wait to be written until
their answers are there, or were put aside for one that the user picked.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.annotation.prompts import PointItem, PromptItems
from napari_sam.errors import SamError
from napari_sam.types import MaskLevel, Progress
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.labels.binding import BrushLabel
from napari_sam.viewer.prompting.draft import (
    AcceptedObject,
    AdoptedProposal,
    ObjectDraft,
)
from napari_sam.viewer.prompting.object_writer import (
    ObjectWriter,
    said_of,
    why_nothing,
)
from napari_sam.viewer.prompting.predictions import Prediction, PreviousLogits
from napari_sam.viewer.prompting.prompting import Prompting
from napari_sam.viewer.prompting.put_aside import (
    PutAside,
    corrections,
    kept_objects,
    own_labels,
    taken_back,
    written_again,
)
from napari_sam.viewer.settings import AcceptWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.core.annotation.under_way import KeptObject
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget

_SOON = 0.5
"""Seconds that an accept may take before it shows how far it is."""


class Annotator:
    """The objects under way of one viewer.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    make_target : callable
        Creates and binds a Labels layer when the user accepts without one.

    Attributes
    ----------
    changed : Signal()
        Anything a panel shows has changed.
    status : Signal(str)
        What just happened and what to press next.
    adoption_changed : Signal()
        Another proposal, or none, is the current object.
    written : Signal(Transaction)
        The user has finished an object and it is in the labels.
    """

    changed = Signal()
    status = Signal(str)
    adoption_changed = Signal()
    written = Signal(object)

    def __init__(self, context: Context, make_target: Callable[[], None]) -> None:
        self._context = context
        self.prompting = Prompting(context, self._on_answer, self._on_error)
        self.prompting.edited.connect(self._on_prompts)
        self.prompting.unprompted.connect(self._on_unprompted)
        self.prompting.changed.connect(self._on_changed)
        self.layer_sync = self.prompting.layer_sync
        self.preview = self.prompting.overlay
        self._writer = ObjectWriter(context, make_target)
        # First of all who listens, so that they find the brush with the object.
        self.brush = BrushLabel(context, lambda: self.label)
        self.changed.connect(self.brush.show)
        # Left for an object that was picked or taken back.
        self._aside = PutAside()
        # When the oldest object that waits was accepted, and how much it asks.
        self._waits_since = 0.0
        self._asked = 0
        self._target: LabelsTarget | None = None
        # Accepts that were taken back before they were written, newest last.
        self._taken_back: list[ObjectDraft] = []
        # Set by an undo, so that live mode does not write the object right back.
        self._live_held = False

    # -- state for panels ---------------------------------------------------

    @property
    def draft(self) -> ObjectDraft:
        """The object under way."""
        return self.prompting.draft

    @property
    def label(self) -> int:
        """The current object's number.

        A new one has the next free number, after those that wait to be written.
        """
        known = self.draft.first_label
        if known is not None:
            return known
        target = self._context.target
        # Not counted yet: counting comes before the first prediction.
        is_counted = target is not None and target.is_counted
        first = target.next_label if target is not None and is_counted else 1
        waiting = [d.object_count for d in self.prompting.waiting if d.label is None]
        return first + sum(waiting)

    @property
    def items(self) -> PromptItems:
        """Prompts of the current object on all its planes."""
        return self.draft.items

    @property
    def adopted(self) -> AdoptedProposal | None:
        """The proposal that the current object began as."""
        return self.draft.adopted

    @property
    def prediction(self) -> Prediction | None:
        """What is previewed on the plane on screen."""
        return self.prompting.prediction

    @property
    def score(self) -> float | None:
        """Score of what is previewed; see `Prompting.score`."""
        return self.prompting.score

    @property
    def level(self) -> MaskLevel:
        """Which of the model's nested answers is shown."""
        return self.draft.level

    @property
    def object_count(self) -> int:
        """How many objects the prompts of this plane describe, at least one."""
        prediction = self.prediction
        return max(1, len(prediction.candidates)) if prediction is not None else 1

    @property
    def is_empty(self) -> bool:
        """Whether the current object has neither prompts nor preview."""
        return self.draft.is_empty

    @property
    def can_accept(self) -> bool:
        """Whether there is anything that an accept would write or ask for."""
        return (
            bool(self.draft.answers)
            or self.draft.followed is not None
            or bool(self.prompting.questions(self.draft))
        )

    @property
    def objects(self) -> tuple[ObjectDraft, ...]:
        """All objects under way: the current one, those that wait, those put aside."""
        return (self.draft, *self.prompting.waiting, *self._aside)

    @property
    def aside_note(self) -> str:
        """That what was under way comes after the current object; empty if nothing."""
        return self._aside.note

    @property
    def _next_words(self) -> str:
        """What the next click does: an object that waited goes on, or a new one."""
        if self.draft.is_new:
            return "Click the next one"
        return f"Object {self.label} goes on"

    @property
    def is_waiting(self) -> bool:
        """Whether accepted objects wait for their answers."""
        return bool(self.prompting.waiting)

    @property
    def progress(self) -> Progress | None:
        """How far the accepted objects are, once it takes longer than a moment."""
        waiting = self.prompting.waiting
        if not waiting or time.monotonic() - self._waits_since < _SOON:
            return None
        left = sum(len(self.prompting.questions(d)) for d in waiting)
        total = max(self._asked, left)
        return Progress(total - left, total, "asking for masks to write")

    # -- prompts and answers ------------------------------------------------

    def _on_prompts(self) -> None:
        self._live_held = False
        if self.draft.items.is_empty:
            self._set_adopted(None)

    def _on_unprompted(self, reason: str) -> None:
        if reason:
            self.status.emit(reason)
        context = self._context
        if not (self.draft.answers or context.plane is None or context.encoder is None):
            self._retract_live(self.draft)

    def _on_changed(self) -> None:
        self.changed.emit()

    def _on_answer(self, draft: ObjectDraft, prediction: Prediction) -> None:
        try:
            if draft is self.draft:
                self._tell(prediction)
        finally:
            self.settle()

    def _tell(self, prediction: Prediction) -> None:
        """Say what was answered about the current object; write it in live mode."""
        if all(c.mask.area == 0 for c in prediction.candidates):
            self.status.emit("Nothing found there: add a point or draw a box.")
            return
        live = self._context.settings.live and not self._live_held
        if live and prediction.is_final:
            self._write_live()
        if prediction is self.prediction and not prediction.is_final:
            self.status.emit(f"Score {prediction.score:.2f}.  Looking closer …")
        elif prediction is self.prediction:
            # The line of the state says it, with all slices that were found.
            self.status.emit("")

    def _on_error(self, draft: ObjectDraft, error: Exception) -> None:
        text = self._context.report(error)
        if draft in self.prompting.waiting:
            self.give_back(draft)
        self.status.emit(text)
        self.settle()

    def forget_answers(self) -> None:
        """Forget what another image or model answered."""
        for draft in self.objects:
            draft.answers.clear()
            draft.seeds.clear()
            draft.failed.clear()
            draft.followed, draft.is_growing = None, False
        self._set_adopted(None)

    # -- intents ------------------------------------------------------------

    def set_items(self, items: PromptItems) -> None:
        """Replace the prompts of the current object and predict."""
        self.prompting.set_items(items)

    def remove_last_prompt(self) -> None:
        """Take back the newest prompt of the current object."""
        if not self.items.is_empty:
            self.set_items(self.layer_sync.without_newest())

    def accept(self) -> bool:
        """Write the current object on every plane it has prompts on; start the next.

        Returns
        -------
        bool
            Whether an object was written (or had been, in live mode).  False if
            answers are still on their way; it is written as soon as they are there.
        """
        draft = self.draft
        # What the model could not answer gets another chance.
        draft.failed.clear()
        if not self.can_accept:
            self.status.emit("Nothing to accept yet: click an object first.")
            return False
        if self.is_waiting or not self._is_ready(draft):
            self._wait_for(draft)
            return False
        return self._write(draft)

    def _is_ready(self, draft: ObjectDraft) -> bool:
        """Whether all that an accept writes is known, or as much as it waits for."""
        target, requests = self._context.target, self.prompting.requests
        if self._context.encoder is None or not (target is None or target.is_counted):
            return False
        if draft.is_growing or draft.kept is not None:
            return False
        since, now = draft.waits_since, time.monotonic()
        waited = 0.0 if since is None else now - since
        wait = self._context.settings.accept_wait
        is_over = waited >= wait.seconds

        def enough(answer: Prediction) -> bool:
            # Who waits a moment does so for a better mask, and in a large plane there
            # is nothing yet that anybody would accept.
            takes = wait is AcceptWait.NONE or not answer.is_coarse
            return answer.is_final or (is_over and takes)

        if self.prompting.questions(draft, enough):
            return False
        return not (
            requests.is_releveled(draft) if is_over else requests.is_awaited(draft)
        )

    def _wait_for(self, draft: ObjectDraft) -> None:
        """Let a draft be written when its answers are there; the next one begins."""
        if not self.is_waiting:
            self._waits_since = time.monotonic()
            self._asked = 0
        left = len(self.prompting.questions(draft))
        self._asked += left
        draft.waits_since = time.monotonic()
        self.prompting.waiting.append(draft)
        self.start_next()
        until = (
            "it is followed to its end"
            if draft.is_growing
            else "its mask is there"
            if left <= 1
            else f"{left} more slices are answered"
        )
        then = "" if self.draft.is_new else f"  {self._next_words}."
        self.status.emit(f"Writing the object as soon as {until} …{then}")
        # Its progress shows up although nothing may happen till then.
        self._context.runner.submit(
            Job(
                lambda: None,
                priority=Priority.PREDICT,
                slot="accept",
                delay=_SOON,
                on_end=self._on_changed,
            )
        )
        wait = self._context.settings.accept_wait.seconds
        if math.isfinite(wait):
            self._context.runner.later(wait, self.settle)
        self.settle()

    def settle(self) -> None:
        """Write what was accepted, in order, as far as all of it is there."""
        waiting = self.prompting.waiting
        while waiting and self._is_ready(waiting[0]):
            draft = waiting.pop(0)
            # What comes later than it is written changes nothing.
            self.prompting.requests.forget(draft)
            if not self._write(draft):
                self.give_back(draft)
        self.changed.emit()

    def _write(self, draft: ObjectDraft) -> bool:
        """Write a draft whose answers are all there; whether it is in the labels."""
        is_live = draft.live is not None
        try:
            if is_live and draft.live_of != draft.content:
                # Answers that came while it waited, or none better in time.
                self._writer.write_live(draft)
            transaction = draft.live or self._writer.write(draft)
        except SamError as error:
            self.status.emit(self._context.report(error))
            return False
        if transaction is None and not draft.to_write and draft.followed is None:
            self._leave(draft)
            self.status.emit(f"Nothing was changed.  {self._next_words}.")
            return True
        if transaction is None and self._writer.has_pixels(draft):
            self._leave(draft)
            self.status.emit(f"Object {draft.label} is unchanged.  {self._next_words}.")
            return True
        if transaction is None:
            self.status.emit(why_nothing(draft, self._context.settings.policy))
            return False
        # A correction may begin while its answers are on their way; it is over.
        draft.live = None
        self._leave(draft)
        said = said_of(transaction, draft, is_live=is_live, then=self._next_words)
        self.status.emit(said)
        self.written.emit(transaction)
        return True

    def _leave(self, draft: ObjectDraft) -> None:
        if draft is self.draft:
            self.start_next()

    def give_back(self, draft: ObjectDraft) -> None:
        """Let an accepted object that was not written be under way again."""
        self._remove(draft)
        if self.draft.is_new:
            self.prompting.begin(draft)
            self._after_change()
        else:
            self._aside.put(draft)

    def cancel_accept(self) -> None:
        """Do not write what waits for answers; its prompts come back."""
        waiting = list(self.prompting.waiting)
        if not waiting:
            return
        self.prompting.waiting.clear()
        for draft in reversed(waiting):
            if not self.draft.is_new:
                self._aside.put(self.draft)
                self.prompting.draft = ObjectDraft()
            self.give_back(draft)
        self.prompting.request()
        self.status.emit(f"Not written; the prompts are here.{self.aside_note}")

    def take_back_accept(self) -> bool:
        """Take back the newest accept that is not written yet; False without one."""
        waiting = self.prompting.waiting
        if not waiting:
            return False
        draft = waiting.pop()
        draft.waits_since = None
        self._taken_back.append(draft)
        self._begin_instead(draft, hold_live=True)
        self.status.emit(
            f"The object is not written yet; its prompts are here.{self.aside_note}"
        )
        return True

    def repeat_accept(self) -> bool:
        """Accept once more what `take_back_accept` took back last, if it is here."""
        while self._taken_back:
            draft = self._taken_back.pop()
            if draft is self.draft and self.can_accept:
                self.accept()
                return True
        return False

    def discard(self) -> str:
        """Drop the current object's prompts and preview.

        Returns
        -------
        str
            What became of it, one sentence; empty if there was nothing to drop.
        """
        draft = self.draft
        if draft.adopted is not None:
            text = "The proposal is as it was."
        elif draft.label is not None:
            text = f"Object {draft.label} is as it was."
        else:
            nothing = "There was nothing to discard." if self._aside else ""
            text = nothing if draft.is_empty else "Discarded."
        if draft.taken_back is not None:
            # What the undos before brought is gone with it; a redo writes all of it.
            self._aside.remove_taken_back()
        self._retract_live(draft)
        self.start_next()
        return text

    def discard_all(self) -> None:
        """Drop all objects that are not in the labels yet."""
        self.prompting.waiting.clear()
        self._aside.clear()
        self.discard()

    def under_way(self, *, while_growing: bool = False) -> tuple[KeptObject, ...]:
        """Return the objects that are not in the labels yet, the oldest first."""
        others = (*self._aside, self.draft)
        return kept_objects(self.prompting.waiting, others, while_growing=while_growing)

    def take_up(self, objects: Iterable[KeptObject]) -> None:
        """Go on with objects that were under way before, the last one first."""
        for kept in objects:
            records, label = self._context.records, kept.label
            if label is not None and records is not None and records.get(label):
                self.select_object(label)
            elif not self.draft.is_empty:
                self._begin_instead(ObjectDraft())
            self.draft.level = kept.level
            self.set_items(kept.items)
            self.draft.kept = kept.followed
            if kept.is_accepted:
                self.accept()
        self.changed.emit()

    def leave_image(self) -> tuple[KeptObject, ...]:
        """Let go of the objects under way because their image or labels go away.

        Of what was accepted, that which is answered is written.

        Returns
        -------
        tuple of KeptObject
            What is not written, for `take_up`.
        """
        waiting, context = self.prompting.waiting, self._context
        # Where neither is left, the viewer is being closed: no layer is made in it.
        if context.target is not None or context.image in context.viewer.layers:
            for draft in [draft for draft in waiting if draft.to_write]:
                waiting.remove(draft)
                self._write(draft)
        left = self.under_way(while_growing=True)
        waiting.clear()
        self._aside.clear()
        self.start_next()
        return left

    def start_next(self) -> None:
        """Begin a new object, or go on with one that was put aside."""
        if self.draft not in self.prompting.waiting:
            self.prompting.requests.forget(self.draft)
        self._live_held = False
        self.prompting.begin(self._aside.pop())
        self._after_change()

    def select_object(self, label: int) -> None:
        """Make an object current again, with the prompts it was made from."""
        target, plane = self._context.target, self._context.plane
        if target is None or label <= 0 or label == self.label:
            return
        if self._go_on_with(label):
            return
        record = target.records.get(label)
        draft = ObjectDraft(label)
        if record is not None and not record.items.is_empty:
            draft.items = draft.written = record.items
            text = f"Object {label}: change its prompts, then N."
        else:
            if plane is not None:
                # Its pixels serve as a rough mask for refinement.
                mask = target.mask_of(label, plane)
                if mask is not None:
                    draft.seeds[plane] = mask
            text = f"Object {label}: add points to change it, then N."
        self._begin_instead(draft)
        self.status.emit(f"{text}{self.aside_note}")

    def _go_on_with(self, label: int) -> bool:
        """Go on with the draft that corrects an object already; False without one."""
        draft = next((d for d in self.objects if d.label == label), None)
        if draft is None:
            return False
        is_accepted = draft in self.prompting.waiting
        self._remove(draft)
        self._begin_instead(draft)
        what = "is not written yet" if is_accepted else "goes on"
        self.status.emit(
            f"Object {label} {what}: change its prompts, then N.{self.aside_note}"
        )
        return True

    def adopt(
        self, plane: Plane, start: PreviousLogits, adopted: AdoptedProposal
    ) -> None:
        """Make a proposal the current object, so that prompts correct it.

        Parameters
        ----------
        plane : Plane
            The plane it is on.
        start : PreviousLogits
            Its mask and the prompt that stands for it, one positive point.
        adopted : AdoptedProposal
            What becomes of it is known by this.
        """
        (point,) = start.prompts.points
        position = plane.to_array_point(point.row, point.column)
        draft = ObjectDraft(
            items=PromptItems((PointItem(position, True, plane.displayed),)),
            adopted=adopted,
        )
        draft.take(Prediction.of_start(plane, start))
        self._begin_instead(draft)
        self.status.emit(
            "Proposal: N accepts it · click or Ctrl-click corrects it · Esc leaves it"
            f"{self.aside_note}"
        )

    def _begin_instead(self, draft: ObjectDraft, *, hold_live: bool = False) -> None:
        """Begin an object; what is under way goes on after it.

        A proposal under way is among the proposals again, without corrections, and what
        live mode has written is done.
        """
        current = self.draft
        if not current.is_empty and current.live is None and current.adopted is None:
            self._aside.put(current)
        # Its answer may come at once.
        self._live_held = hold_live
        self.prompting.begin(draft)
        self._after_change()

    def _set_adopted(self, adopted: AdoptedProposal | None) -> None:
        if adopted is not self.draft.adopted:
            self.draft.adopted = adopted
            self.adoption_changed.emit()

    def _after_change(self) -> None:
        """Tell what depends on which object is under way."""
        self.adoption_changed.emit()
        self.changed.emit()

    def target_changed(self) -> None:
        """Another Labels layer was chosen, or its largest label became known."""
        target = self._context.target
        if target is not self._target:
            self._target = target
            # Numbers of another layer mean other objects here.
            for draft in self.objects:
                draft.label = draft.live = draft.taken_back = None
                draft.written = PromptItems()
        if target is not None and target.is_counted:
            try:
                target.check_fits(self.label)
            except SamError as error:
                self.status.emit(str(error))
        self.settle()

    def labels_taken(self) -> None:
        """Show another number after somebody else has written objects."""
        self.changed.emit()

    # -- writing ------------------------------------------------------------

    def write_live(self) -> None:
        """Write the current object as far as it is answered; live mode began."""
        if self.draft.to_write and not self.prompting.questions(self.draft):
            self._write_live()

    def _write_live(self) -> None:
        try:
            self._writer.write_live(self.draft)
        except SamError as error:
            self.status.emit(self._context.report(error))

    def _retract_live(self, draft: ObjectDraft) -> None:
        try:
            self._writer.retract_live(draft)
        except SamError as error:
            self.status.emit(self._context.report(error))

    # -- undo ---------------------------------------------------------------

    def on_undone(self, transaction: Transaction) -> None:
        """Napari's undo took back an accept: bring its prompts back."""
        accepted = transaction.origin
        if not isinstance(accepted, AcceptedObject):
            self.brush.show()
            return
        current, numbers = self.draft, own_labels(transaction, accepted)
        if current.live is not None and current.live.origin is accepted:
            current.live = None
            current.taken_back = accepted
            self._live_held = True
            self._after_change()
        else:
            correction, others = corrections(self.objects, numbers)
            for draft in others:
                self._remove(draft)
            self._begin_instead(taken_back(accepted, correction), hold_live=True)
        what = f"Object {min(numbers, default=self.label)}"
        self.status.emit(f"{what} taken back; its prompts are here.{self.aside_note}")

    def on_redone(self, transaction: Transaction) -> None:
        """Napari's redo wrote an object again: its prompts leave.

        Prompts that were changed meanwhile now correct that object.
        """
        accepted = transaction.origin
        if not isinstance(accepted, AcceptedObject):
            self.brush.show()
            return
        numbers = own_labels(transaction, accepted)
        for draft in reversed(written_again(self.objects, accepted, numbers)):
            if draft is self.draft:
                self.start_next()
            else:
                self._remove(draft)
        self._after_change()

    def _remove(self, draft: ObjectDraft) -> None:
        """Let a draft be under way no longer."""
        self.prompting.requests.forget(draft)
        self._aside.remove(draft)
        if draft in self.prompting.waiting:
            self.prompting.waiting.remove(draft)
        draft.waits_since = None
        if draft is self.draft:
            self.prompting.draft = ObjectDraft()

    def close(self) -> None:
        """Remove our layers and stop listening."""
        self.prompting.close()
