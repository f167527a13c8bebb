"""The object under way: accept it, drop it, pick another, take it back.

What the prompts say and what the model answers is `Prompting`'s; the annotator
decides what becomes of it, and knows the object's number in the labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.annotation.prompts import PointItem, PromptItems, added_since
from napari_sam.errors import SamError
from napari_sam.types import MaskLevel
from napari_sam.viewer.numbering import Numbering
from napari_sam.viewer.predict import Prediction, Start
from napari_sam.viewer.prompting import Prompting
from napari_sam.viewer.writer import Accepted, Adopted, Draft, ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels import Commit


class Annotator:
    """The current object of one viewer.

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
    written : Signal(Accepted)
        The user has finished an object and it is in the labels.
    """

    changed = Signal()
    status = Signal(str)
    adoption_changed = Signal()
    written = Signal(object)

    def __init__(self, context: Context, make_target: Callable[[], None]) -> None:
        self._context = context
        self.prompting = Prompting(
            context, self._on_answer, self._on_settled, self._on_error
        )
        self.prompting.edited.connect(self._on_prompts)
        self.prompting.unprompted.connect(self._on_unprompted)
        self.prompting.changed.connect(self._on_changed)
        self.mirror = self.prompting.mirror
        self.preview = self.prompting.overlay
        self.adopted: Adopted | None = None
        self._numbering = Numbering(context)
        self._stash: PromptItems | None = None
        self._writer = ObjectWriter(context, make_target)
        # Set by an undo, so that live mode does not write the object right back.
        self._live_held = False
        # The prompts that N was pressed for before their answer was there.
        self._to_accept: PromptItems | None = None

    # -- state for panels ---------------------------------------------------

    @property
    def label(self) -> int:
        """The current object's number."""
        return self._numbering.label

    @property
    def items(self) -> PromptItems:
        """Prompts of the current object on all its planes."""
        return self.prompting.items

    @property
    def pending(self) -> dict[Plane, Prediction]:
        """What an accept would write, by plane."""
        return self.prompting.answers.pending

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
        return self.prompting.level

    @property
    def positive(self) -> bool:
        """Whether the next prompts mark the object."""
        return self.prompting.positive

    @property
    def object_count(self) -> int:
        """How many objects the prompts of this plane describe, at least one."""
        prediction = self.prediction
        return max(1, len(prediction.candidates)) if prediction is not None else 1

    @property
    def is_empty(self) -> bool:
        """Whether the current object has neither prompts nor preview."""
        return self.prompting.is_empty

    # -- prompts and answers ------------------------------------------------

    def _on_prompts(self) -> None:
        if self._to_accept is not None and self.prompting.answers.is_awaited:
            added = added_since(self.items, self._to_accept)
            if added is not None:
                # The user is ahead of us: these belong to the next object.
                ahead = self._stash or PromptItems()
                self._stash = PromptItems(
                    ahead.points + added.points, ahead.shapes + added.shapes
                )
                self.mirror.write(self._to_accept)
                return
            self._to_accept = None
        self._live_held = False
        # Planes that lost their last prompt lose their preview.
        self.prompting.answers.keep({plane.index for plane in self.items.planes()})
        if self.items.is_empty:
            self._set_adopted(None)
        self.prompting.request()

    def _on_unprompted(self, reason: str) -> None:
        # An accept that waits for an answer waits in vain.
        self._to_accept = None
        if reason:
            self.status.emit(reason)
        context = self._context
        if (
            not self.pending
            and context.plane is not None
            and context.planes is not None
        ):
            self._writer.retract_live()

    def _on_changed(self) -> None:
        self.changed.emit()

    def _on_settled(self) -> None:
        if self._to_accept is not None:
            self._to_accept = None
            self.accept()

    def _on_answer(self, prediction: Prediction) -> None:
        if all(c.mask.area == 0 for c in prediction.candidates):
            self.status.emit("Nothing found there: add a point or draw a box.")
            return
        if self._context.settings.live and not self._live_held:
            self._write_live()
        verb = "N next object" if self._context.settings.live else "N accept"
        self.status.emit(
            f"Score {self.score:.2f}.  {verb} · W other size · Esc discard"
        )

    def _on_error(self, error: Exception) -> None:
        self._to_accept = None
        self.status.emit(self._context.report(error))

    def source_changed(self) -> None:
        """Forget answers that another image or model gave."""
        self.pending.clear()
        self.prompting.seeds.clear()
        self._set_adopted(None)
        self.prompting.request()

    # -- intents ------------------------------------------------------------

    def set_items(self, items: PromptItems) -> None:
        """Replace the prompts of the current object and predict."""
        self.mirror.write(items)
        self._on_prompts()

    def remove_last_prompt(self) -> None:
        """Take back the newest prompt of the current object."""
        if not self.items.is_empty:
            self.set_items(self.mirror.without_newest())

    def accept(self) -> bool:
        """Write the previewed object into the labels and start the next.

        Returns
        -------
        bool
            Whether an object was written (or had been, in live mode).  False if
            its answer is still on its way; it is written as soon as that is there.
        """
        context = self._context
        if self.prompting.answers.is_awaited:
            self._to_accept = self.items
            self.status.emit("Writing the object as soon as its mask is there …")
            return False
        if context.settings.live and self._writer.live is not None:
            self.status.emit(f"Object {self.label} done.  Click the next one.")
            self._finish(self._writer.live.payload)
            return True
        if not self.pending:
            self.status.emit("Nothing to accept yet: click an object first.")
            return False
        if context.target is not None and context.target.known_max is None:
            self.status.emit("Still counting the labels; press N again in a moment.")
            return False
        try:
            commit = self._writer.write(self._draft())
        except SamError as error:
            self.status.emit(context.report(error))
            return False
        if commit is None and self._writer.has_pixels(self._draft()):
            self.status.emit(f"Object {self.label} is unchanged.  Click the next one.")
            self.start_next()
            return True
        if commit is None:
            self.status.emit(
                "No pixel is free there under the policy "
                f"'{context.settings.policy}': nothing was written."
            )
            return False
        count = len(commit.labels)
        what = f"Object {commit.labels[0]}" if count == 1 else f"{count} objects"
        self.status.emit(f"{what} written.  Click the next one · Ctrl+Z takes it back")
        self._finish(commit.payload)
        return True

    def _finish(self, accepted: Accepted) -> None:
        self.start_next()
        self.written.emit(accepted)

    def discard(self) -> None:
        """Drop the current object's prompts and preview."""
        self._writer.retract_live()
        self.start_next()
        self.status.emit("Discarded.  Click the next object.")

    def discard_silently(self) -> None:
        """Drop the current object because its image goes away."""
        self._stash = None
        self.start_next()

    def _leave_object(self) -> None:
        """Let go of the current object: its answers, also the one on its way."""
        self.prompting.forget()
        self._to_accept = None
        self._writer.live = None
        self._set_adopted(None)

    def _set_adopted(self, adopted: Adopted | None) -> None:
        if adopted is not self.adopted:
            self.adopted = adopted
            self.adoption_changed.emit()

    def start_next(self) -> None:
        """Begin a new object with the next free label."""
        self._leave_object()
        stash, self._stash = self._stash, None
        self.mirror.write(stash or PromptItems())
        self.prompting.level = MaskLevel.AUTO
        self._take_next_label()
        self.prompting.draw()
        if stash is not None:
            self.prompting.request()

    def select_object(self, label: int) -> None:
        """Make an object current again, with the prompts it was made from."""
        context = self._context
        if context.target is None or label <= 0 or label == self.label:
            return
        self._put_aside()
        self._leave_object()
        self._numbering.pick(label)
        record = context.book.get(label) if context.book is not None else None
        if record is not None and not record.items.is_empty:
            self.mirror.write(record.items)
            self.status.emit(f"Object {label}: change its prompts, then N.")
        else:
            self.mirror.write(PromptItems())
            if context.plane is not None:
                # Its pixels serve as a rough mask for refinement.
                mask = self._writer.mask_of(label, context.plane)
                if mask is not None:
                    self.prompting.seeds[context.plane] = mask
            self.status.emit(f"Object {label}: add points to change it, then N.")
        self.prompting.request()

    def adopt(self, plane: Plane, start: Start, adopted: Adopted) -> None:
        """Make a proposal the current object, so that prompts correct it.

        Parameters
        ----------
        plane : Plane
            The plane it is on.
        start : Start
            Its mask and the prompt that stands for it, one positive point.
        adopted : Adopted
            What becomes of it is known by this.
        """
        self._put_aside()
        self._leave_object()
        self._take_next_label()
        self.prompting.level = MaskLevel.AUTO
        (point,) = start.prompts.points
        position = plane.to_array_point(point.row, point.column)
        self.mirror.write(PromptItems((PointItem(position, True, plane.displayed),)))
        self.pending[plane] = Prediction.of_start(plane, start)
        self._set_adopted(adopted)
        self.prompting.draw()
        self.status.emit(
            "Proposal: N accepts it · click or Ctrl-click corrects it · Esc leaves it"
        )

    def _put_aside(self) -> None:
        """Keep prompts that are not written for after the object picked now.

        A proposal under way is among the proposals again, without corrections.
        """
        if (
            not self.is_empty
            and self._stash is None
            and self._writer.live is None
            and self.adopted is None
        ):
            self._stash = self.items

    def target_changed(self) -> None:
        """Another Labels layer was chosen, or its largest label became known."""
        self._writer.live = None
        self._take_next_label()
        self.changed.emit()

    def labels_taken(self) -> None:
        """Give a new object another number after somebody else has written objects."""
        if self._numbering.is_new and self._writer.live is None:
            self._take_next_label()

    # -- writing ------------------------------------------------------------

    def _take_next_label(self) -> None:
        problem = self._numbering.take_next()
        if problem:
            self.status.emit(problem)

    def _draft(self) -> Draft:
        return Draft(
            self.label,
            self.level,
            self.items,
            tuple(self.pending.values()),
            self.adopted,
        )

    def _write_live(self) -> None:
        try:
            self._writer.write_live(self._draft())
        except SamError as error:
            self.status.emit(self._context.report(error))

    # -- undo ---------------------------------------------------------------

    def on_undone(self, commit: Commit) -> None:
        """Napari's undo took back an accept: bring its prompts back."""
        accepted = commit.payload
        if not isinstance(accepted, Accepted):
            return
        self._writer.restore_book(accepted)
        self._live_held = True
        is_current = commit is self._writer.live
        if not is_current and not self.is_empty and self._stash is None:
            self._stash = self.items
        self._leave_object()
        self._numbering.pick(accepted.label)
        self.prompting.level = accepted.level
        self.mirror.write(accepted.items)
        self.pending.update({p.plane: p for p in accepted.predictions})
        self._set_adopted(accepted.adopted)
        if self.prediction is None:
            self.prompting.request()
        else:
            self.prompting.draw()
        self.status.emit(f"Object {accepted.label} taken back; its prompts are here.")

    def on_redone(self, commit: Commit) -> None:
        """Napari's redo wrote an object again: its prompts leave."""
        accepted = commit.payload
        if not isinstance(accepted, Accepted):
            return
        if self._context.book is not None:
            self._context.book.put(*accepted.records)
        if self.label == accepted.label:
            self.start_next()

    def close(self) -> None:
        """Remove our layers and stop listening."""
        self.prompting.close()
