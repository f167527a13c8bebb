"""Prompts in, preview out, accept into the labels: the main job.

The annotator owns the current object: its prompts (mirrored in the prompt
layers), its predictions on every plane they are on, and its label number.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.errors import LabelsError, SamError
from napari_sam.types import MaskLevel, PromptSet
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.hover import Hover
from napari_sam.viewer.mirror import PromptMirror
from napari_sam.viewer.overlay import PlaneOverlay
from napari_sam.viewer.predict import Prediction, predict, relevel
from napari_sam.viewer.prompts import PromptItems, added_since, plane_prompts
from napari_sam.viewer.worker import Job, Priority
from napari_sam.viewer.writer import Accepted, Draft, ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    from napari_sam.types import MaskCrop, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels import Commit

PREDICT_SLOT = "predict"


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
    """

    changed = Signal()
    status = Signal(str)

    def __init__(self, context: Context, make_target: Callable[[], None]) -> None:
        self._context = context
        self.mirror = PromptMirror(context.viewer)
        self.mirror.changed.connect(self._on_prompts)
        self.preview = PlaneOverlay(context.viewer, "SAM preview", "preview", 0.55)
        self.positive = True
        self.level = MaskLevel.AUTO
        self.label = 1
        self.pending: dict[Plane, Prediction] = {}
        self.hover = Hover(context, self.preview)
        self.hover.changed.connect(self._on_hover)
        self._seeds: dict[Plane, MaskCrop] = {}
        self._stash: PromptItems | None = None
        self._writer = ObjectWriter(context, make_target)
        # Set by an undo, so that live mode does not write the object right back.
        self._live_held = False
        # Whether the label has been taken for an object that is not written yet.
        self._is_new = True
        self._is_awaiting = False
        # The prompts that N was pressed for before their answer was there.
        self._to_accept: PromptItems | None = None

    # -- state for panels ---------------------------------------------------

    @property
    def prediction(self) -> Prediction | None:
        """What is previewed on the plane on screen."""
        plane = self._context.plane
        return self.pending.get(plane) if plane is not None else None

    @property
    def score(self) -> float | None:
        """Score of the mask under the cursor, or the lowest of the previewed ones."""
        prediction = self.prediction
        if prediction is None or self.hover.score is not None:
            return self.hover.score
        return min(c.score for c in prediction.candidates)

    @property
    def object_count(self) -> int:
        """How many objects the prompts of this plane describe, at least one."""
        prediction = self.prediction
        return max(1, len(prediction.candidates)) if prediction is not None else 1

    @property
    def is_empty(self) -> bool:
        """Whether the current object has neither prompts nor preview."""
        return self.items.is_empty and not self.pending

    # -- prompts ------------------------------------------------------------

    @property
    def items(self) -> PromptItems:
        """Prompts of the current object on all its planes."""
        return self.mirror.items

    def arm(self, negative: bool = False) -> None:
        """Set what the next press in the canvas will make."""
        plane = self._context.plane
        if plane is not None:
            self.mirror.arm(self.positive != negative, plane.displayed)

    def layer_removed(self, layer: Layer) -> None:
        """Adapt to a removed layer of ours."""
        if self.preview.layer is not None and layer == self.preview.layer:
            self.preview.forget()
        self.mirror.layer_removed(layer)

    def _on_prompts(self) -> None:
        if self._to_accept is not None and self._is_awaiting:
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
        self._drop_orphans()
        self.request()

    def _drop_orphans(self) -> None:
        """Planes that lost their last prompt lose their preview."""
        kept = {plane.index for plane in self.items.planes()}
        self.pending = {p: v for p, v in self.pending.items() if p.index in kept}

    # -- predicting ---------------------------------------------------------

    def prompts_here(self) -> tuple[PromptSet, ...]:
        """Prompt sets of the plane on screen, one per object."""
        context = self._context
        if context.image is None or context.plane is None:
            return ()
        plane = context.plane
        prompts = plane_prompts(
            self.items, plane, plane.shape(layer_shape(context.image))
        )
        seed = self._seeds.get(plane)
        if seed is not None and len(prompts) == 1 and prompts[0].mask is None:
            return (PromptSet(prompts[0].points, prompts[0].box, seed),)
        return prompts

    def request(self) -> None:
        """Predict the plane on screen anew; the latest request wins."""
        context = self._context
        self.hover.stop()
        prompts = self.prompts_here()
        plane = context.plane
        if plane is None or context.planes is None:
            self._stop_waiting()
            self._draw()
            return
        if not prompts or all(p.is_empty for p in prompts):
            self._stop_waiting()
            self.pending.pop(plane, None)
            self._draw()
            if prompts:
                self.status.emit("Only background is marked: click the object too.")
            if not self.pending:
                self._writer.retract_live()
            return
        usable = [p for p in prompts if not p.is_empty]
        work = partial(
            predict,
            context.planes,
            plane,
            usable,
            self.level,
            context.settings.cleaning,
            self.pending.get(plane),
        )
        self._submit(work, self._on_prediction)

    def _submit(
        self, work: Callable[[], Any], on_result: Callable[[Any], None]
    ) -> None:
        def done(result: Any) -> None:
            self._is_awaiting = False
            on_result(result)
            if self._to_accept is not None:
                self._to_accept = None
                self.accept()

        self._is_awaiting = True
        self._context.runner.submit(
            Job(
                work,
                priority=Priority.PREDICT,
                slot=PREDICT_SLOT,
                on_result=done,
                on_error=self._on_error,
            )
        )

    def _stop_waiting(self) -> None:
        """Drop the answer on its way, and the accept that waits for it."""
        self._context.runner.cancel(PREDICT_SLOT)
        self._is_awaiting, self._to_accept = False, None

    def recompute(self) -> None:
        """Redo the previews for another level or other cleaning, without decoding."""
        if self._is_awaiting:
            # It would take the place of the answer on its way.
            self.request()
            return
        if not self.pending:
            return
        pending = tuple(self.pending.values())
        level, cleaning = self.level, self._context.settings.cleaning

        def work() -> list[Prediction]:
            return [relevel(p, level, cleaning) for p in pending]

        def done(predictions: list[Prediction]) -> None:
            for prediction in predictions:
                self._on_prediction(prediction)

        self._submit(work, done)

    def _on_prediction(self, prediction: Prediction) -> None:
        # The transposed view of a plane has the same pixels: one answer for both.
        index = prediction.plane.index
        self.pending = {p: v for p, v in self.pending.items() if p.index != index}
        self.pending[prediction.plane] = prediction
        self._draw()
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
        self._is_awaiting, self._to_accept = False, None
        text = self._context.report(error)
        self.status.emit(text)
        plane = self._context.plane
        if plane is not None:
            self.pending.pop(plane, None)
        self._draw()

    def _draw(self) -> None:
        context = self._context
        prediction = self.prediction
        if prediction is None or context.image is None:
            self.preview.clear()
        else:
            masks = [(1 + i % 255, c.mask) for i, c in enumerate(prediction.candidates)]
            self.preview.show(context.image, prediction.plane, masks)
        self.changed.emit()

    def prepare_preview(self) -> None:
        """Make the preview layer now: napari needs a moment for a new layer."""
        context = self._context
        if context.image is not None and context.plane is not None:
            self.preview.show(context.image, context.plane, [])
            self._draw()

    def plane_changed(self) -> None:
        """Show what belongs to the new plane; predict it if it has prompts."""
        self.arm()
        self.hover.stop()
        if self.prediction is None and self.prompts_here():
            self.preview.clear()
            self.request()
        else:
            self._draw()

    def source_changed(self) -> None:
        """Forget answers that another image or model gave."""
        self.pending.clear()
        self._seeds.clear()
        self.request()

    # -- hover --------------------------------------------------------------

    def hover_at(self, row: float, column: float) -> None:
        """Preview the mask that a click at this place of the plane would give."""
        if self._is_awaiting:
            return
        here = self.prompts_here()
        base = here[0] if len(here) == 1 else PromptSet()
        self.hover.at(row, column, base, self.positive, self.level, self.prediction)

    def _on_hover(self) -> None:
        self.changed.emit()

    def end_hover(self) -> None:
        """Show the preview of what was clicked again."""
        if self.hover.stop():
            self._draw()

    # -- intents ------------------------------------------------------------

    def cycle_level(self) -> None:
        """Show the next of: the model's choice, subpart, part, whole."""
        self.set_level(self.level.next())

    def set_level(self, level: MaskLevel) -> None:
        """Show one of the model's nested answers."""
        if level != self.level:
            self.level = level
            self.recompute()
            self.changed.emit()

    def flip_polarity(self) -> None:
        """Let the next prompts mark background instead of object, or back."""
        self.positive = not self.positive
        self.arm()
        self.changed.emit()

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
        if self._is_awaiting:
            self._to_accept = self.items
            self.status.emit("Writing the object as soon as its mask is there …")
            return False
        if context.settings.live and self._writer.live is not None:
            self.status.emit(f"Object {self.label} done.  Click the next one.")
            self.start_next()
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
        self.start_next()
        return True

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
        self._stop_waiting()
        self._writer.live = None
        self.pending.clear()
        self._seeds.clear()

    def start_next(self) -> None:
        """Begin a new object with the next free label."""
        self._leave_object()
        stash, self._stash = self._stash, None
        self.mirror.write(stash or PromptItems())
        self.level = MaskLevel.AUTO
        self._take_next_label()
        self._draw()
        if stash is not None:
            self.request()

    def select_object(self, label: int) -> None:
        """Make an object current again, with the prompts it was made from."""
        context = self._context
        if context.target is None or label <= 0 or label == self.label:
            return
        if not self.is_empty and self._stash is None and self._writer.live is None:
            self._stash = self.items
        self._leave_object()
        self.label, self._is_new = label, False
        self._show_label()
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
                    self._seeds[context.plane] = mask
            self.status.emit(f"Object {label}: add points to change it, then N.")
        self.request()

    def target_changed(self) -> None:
        """Another Labels layer was chosen, or its largest label became known."""
        self._writer.live = None
        self._take_next_label()
        self.changed.emit()

    def labels_taken(self) -> None:
        """Give a new object another number after somebody else has written objects."""
        if self._is_new and self._writer.live is None:
            self._take_next_label()

    # -- writing ------------------------------------------------------------

    def _take_next_label(self) -> None:
        self._is_new = True
        target = self._context.target
        if target is None or target.known_max is None:
            # Not counted yet; counting comes before the first prediction.
            self.label = 1
            return
        try:
            self.label = target.next_label()
        except LabelsError as error:
            # Said again, and refused, when the object is accepted.
            self.label = (target.known_max or 0) + 1
            self.status.emit(str(error))
        self._show_label()

    def _show_label(self) -> None:
        """Let napari's brush continue the same object."""
        target = self._context.target
        if target is None:
            return
        limit = np.iinfo(target.layer.data.dtype).max
        if target.layer.selected_label != self.label <= limit:
            with target.layer.events.selected_label.blocker():
                target.layer.selected_label = self.label

    def _draft(self) -> Draft:
        return Draft(self.label, self.level, self.items, tuple(self.pending.values()))

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
        self.label, self._is_new = accepted.label, False
        self.level = accepted.level
        self._show_label()
        self.mirror.write(accepted.items)
        self.pending = {p.plane: p for p in accepted.predictions}
        if self.prediction is None:
            self.request()
        else:
            self._draw()
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
        self.preview.remove()
        self.mirror.close()
