"""Prompts in, preview out, accept into the labels: the main job.

The annotator owns the current object: its prompts (mirrored in the prompt
layers), its predictions on every plane they are on, and its label number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.errors import LabelsError, SamError
from napari_sam.types import MaskLevel, PointPrompt, PromptSet, Region
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels import Commit, ObjectMask
from napari_sam.viewer.layers import (
    PlaneOverlay,
    PromptLayers,
    colour_shapes,
    sync_recoloured_points,
)
from napari_sam.viewer.objects import ObjectRecord
from napari_sam.viewer.predict import Prediction, predict, relevel
from napari_sam.viewer.prompts import PromptItems, plane_prompts
from napari_sam.viewer.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from napari.utils.events import Event

    from napari_sam.types import MaskCrop, Plane
    from napari_sam.viewer.context import Context

PREDICT_SLOT = "predict"
HOVER_SLOT = "hover"


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What an undo brings back: the prompts and what the book said before."""

    items: PromptItems
    label: int
    level: MaskLevel
    records: tuple[ObjectRecord, ...]
    before: tuple[ObjectRecord | None, ...]


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
        self._make_target = make_target
        self.layers = PromptLayers(context.viewer)
        self.preview = PlaneOverlay(context.viewer, "SAM preview", "preview", 0.55)
        self.items = PromptItems()
        self.positive = True
        self.level = MaskLevel.AUTO
        self.label = 1
        self.pending: dict[Plane, Prediction] = {}
        self.hover_score: float | None = None
        self._seeds: dict[Plane, MaskCrop] = {}
        self._stash: PromptItems | None = None
        self._live_commit: Commit | None = None
        # Set by an undo, so that live mode does not write the object right back.
        self._live_held = False
        self._syncing = False
        self._connections = ConnectionSet()

    # -- state for panels ---------------------------------------------------

    @property
    def prediction(self) -> Prediction | None:
        """What is previewed on the plane on screen."""
        plane = self._context.plane
        return self.pending.get(plane) if plane is not None else None

    @property
    def score(self) -> float | None:
        """Lowest score of the previewed objects, or that under the cursor."""
        prediction = self.prediction
        if prediction is None:
            return self.hover_score
        return min(c.score for c in prediction.candidates)

    @property
    def is_empty(self) -> bool:
        """Whether the current object has neither prompts nor preview."""
        return self.items.is_empty and not self.pending

    # -- prompt layers ------------------------------------------------------

    def ensure_layers(self) -> None:
        """Make the prompt layers that are missing and listen to them."""
        image = self._context.image
        if image is None or not self.layers.ensure(image):
            return
        self._connections.clear()
        points, shapes = self.layers.points, self.layers.shapes
        if points is not None:
            self._connections.connect(points.events.data, self._on_layer_data)
            self._connections.connect(points.events.features, self._on_layer_features)
            self._connections.connect(
                points.events.current_face_color, self._on_recoloured
            )
        if shapes is not None:
            self._connections.connect(shapes.events.data, self._on_layer_data)
            self._connections.connect(shapes.events.features, self._on_layer_features)
        if not self.items.is_empty:
            self._write_layers(self.items)

    def arm(self, negative: bool = False) -> None:
        """Set what the next press in the canvas will make."""
        plane = self._context.plane
        if plane is not None and not self._syncing:
            self.layers.set_defaults(self.positive != negative, plane.displayed)

    def layer_removed(self, layer: Layer) -> None:
        """Adapt to a removed layer of ours: its prompts go with it."""
        if self.preview.layer is not None and layer == self.preview.layer:
            self.preview.forget()
        if self.layers.forget(layer):
            self._refresh_items()

    def _on_layer_data(self, event: Event) -> None:
        # Present participles announce a change that has not happened yet.
        if self._syncing or str(getattr(event, "action", "")).endswith("ing"):
            return
        shapes = self.layers.shapes
        if shapes is not None and event.source == shapes:
            self._syncing = True
            try:
                colour_shapes(shapes)
            finally:
                self._syncing = False
        self._refresh_items()

    def _on_layer_features(self) -> None:
        if not self._syncing:
            self._refresh_items()

    def _on_recoloured(self) -> None:
        points = self.layers.points
        if self._syncing or points is None:
            return
        self._syncing = True
        try:
            changed = sync_recoloured_points(points)
        finally:
            self._syncing = False
        if changed:
            self._refresh_items()

    def _refresh_items(self) -> None:
        items = self.layers.read()
        if _same_items(items, self.items):
            return
        self.items = items
        self._live_held = False
        # Planes that lost their last prompt lose their preview.
        kept = set(items.planes())
        self.pending = {p: v for p, v in self.pending.items() if p in kept}
        self.request()

    def _write_layers(self, items: PromptItems) -> None:
        self._syncing = True
        try:
            self.layers.write(items)
        finally:
            self._syncing = False
        self.items = items

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
        context.runner.cancel(HOVER_SLOT)
        self.hover_score = None
        prompts = self.prompts_here()
        plane = context.plane
        if plane is None or context.planes is None:
            self._draw()
            return
        if not prompts or all(p.is_empty for p in prompts):
            context.runner.cancel(PREDICT_SLOT)
            self.pending.pop(plane, None)
            self._draw()
            if prompts:
                self.status.emit("Only background is marked: click the object too.")
            if not self.pending:
                self._retract_live()
            return
        usable = [p for p in prompts if not p.is_empty]
        work = partial(
            predict,
            context.planes,
            plane,
            usable,
            self.level,
            context.settings.cleaning,
        )
        context.runner.submit(
            Job(
                work,
                priority=Priority.PREDICT,
                slot=PREDICT_SLOT,
                on_result=self._on_prediction,
                on_error=self._on_error,
            )
        )

    def recompute(self) -> None:
        """Redo the previews for another level or other cleaning, without decoding."""
        if not self.pending:
            return
        pending = tuple(self.pending.values())
        level, cleaning = self.level, self._context.settings.cleaning

        def work() -> list[Prediction]:
            return [relevel(p, level, cleaning) for p in pending]

        def done(predictions: list[Prediction]) -> None:
            for prediction in predictions:
                self._on_prediction(prediction)

        self._context.runner.submit(
            Job(
                work,
                priority=Priority.PREDICT,
                slot=PREDICT_SLOT,
                on_result=done,
                on_error=self._on_error,
            )
        )

    def _on_prediction(self, prediction: Prediction) -> None:
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

    def plane_changed(self) -> None:
        """Show what belongs to the new plane; predict it if it has prompts."""
        self.arm()
        self.hover_score = None
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

    def hover(self, row: float, column: float) -> None:
        """Preview the mask that a click at this place of the plane would give."""
        context = self._context
        plane, planes = context.plane, context.planes
        if plane is None or planes is None or context.runner.is_busy(PREDICT_SLOT):
            return
        here = self.prompts_here()
        base = here[0] if len(here) == 1 else PromptSet()
        point = PointPrompt(row, column, self.positive)
        prompts = PromptSet((*base.points, point), base.box, base.mask)
        if prompts.is_empty:
            return
        work = partial(
            predict, planes, plane, [prompts], self.level, context.settings.cleaning
        )
        context.runner.submit(
            Job(
                work,
                priority=Priority.HOVER,
                slot=HOVER_SLOT,
                on_result=self._on_hover,
                # A cursor outside the image is no mistake worth a message.
                on_error=lambda error: None,
            )
        )

    def _on_hover(self, prediction: Prediction) -> None:
        image = self._context.image
        if image is None or prediction.plane != self._context.plane:
            return
        candidate = prediction.candidates[0]
        self.preview.show(image, prediction.plane, [(2, candidate.mask)])
        self.hover_score = candidate.score
        self.changed.emit()

    def end_hover(self) -> None:
        """Show the accepted-to-be preview again."""
        self._context.runner.cancel(HOVER_SLOT)
        if self.hover_score is not None:
            self.hover_score = None
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

    def remove_last_prompt(self) -> None:
        """Take back the newest prompt of the current object."""
        if self.items.points:
            items = PromptItems(self.items.points[:-1], self.items.shapes)
        elif self.items.shapes:
            items = PromptItems((), self.items.shapes[:-1])
        else:
            return
        self._write_layers(items)
        kept = set(items.planes())
        self.pending = {p: v for p, v in self.pending.items() if p in kept}
        self.request()

    def accept(self) -> bool:
        """Write the previewed object into the labels and start the next.

        Returns
        -------
        bool
            Whether an object was written (or had been, in live mode).
        """
        context = self._context
        if context.settings.live and self._live_commit is not None:
            self.status.emit(f"Object {self.label} done.  Click the next one.")
            self.start_next()
            return True
        if not self.pending:
            self.status.emit("Nothing to accept yet: click an object first.")
            return False
        try:
            if context.target is None:
                self._make_target()
            commit = self._write()
        except SamError as error:
            self.status.emit(context.report(error))
            return False
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
        self._context.runner.cancel(PREDICT_SLOT)
        self._retract_live()
        self.start_next()
        self.status.emit("Discarded.  Click the next object.")

    def discard_silently(self) -> None:
        """Drop the current object because its image goes away."""
        self._context.runner.cancel(PREDICT_SLOT)
        self._live_commit = None
        self._stash = None
        self.start_next()

    def start_next(self) -> None:
        """Begin a new object with the next free label."""
        self._live_commit = None
        self.pending.clear()
        self._seeds.clear()
        stash, self._stash = self._stash, None
        self._write_layers(stash or PromptItems())
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
        if not self.is_empty and self._stash is None and self._live_commit is None:
            self._stash = self.items
        self._live_commit = None
        self.pending.clear()
        self._seeds.clear()
        self.label = label
        self._show_label()
        record = context.book.get(label) if context.book is not None else None
        if record is not None and not record.items.is_empty:
            self._write_layers(record.items)
            self.status.emit(f"Object {label}: change its prompts, then N.")
        else:
            self._write_layers(PromptItems())
            self._seed_from_labels(label)
            self.status.emit(f"Object {label}: add points to change it, then N.")
        self.request()

    def target_changed(self) -> None:
        """Another Labels layer was chosen."""
        self._live_commit = None
        self._take_next_label()
        self.changed.emit()

    # -- writing ------------------------------------------------------------

    def _take_next_label(self) -> None:
        target = self._context.target
        if target is None:
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

    def _objects(self, *, replacing: bool) -> list[tuple[ObjectMask, float]]:
        """Masks to write, and their scores; labels count up over several boxes."""
        target = self._context.target
        if target is None:
            return []
        shape = layer_shape(target.layer)
        objects = []
        for plane, prediction in self.pending.items():
            whole = Region.whole(plane.shape(shape))
            for offset, candidate in enumerate(prediction.candidates):
                if candidate.mask.area == 0:
                    continue
                label = self.label + offset
                old = (
                    target.object_mask(plane, label, whole)
                    if replacing and label <= (target.known_max or 0)
                    else None
                )
                objects.append(
                    (ObjectMask(label, plane, candidate.mask, old), candidate.score)
                )
        return objects

    def _write(self) -> Commit | None:
        context = self._context
        target, book, planes = context.target, context.book, context.planes
        if target is None or book is None or planes is None:
            return None
        if target.known_max is None:
            target.next_label()
        scored = self._objects(replacing=True)
        labels = list(dict.fromkeys(o.label for o, _ in scored))
        worst = {n: min(s for o, s in scored if o.label == n) for n in labels}
        model = planes.engine.model.name
        records = tuple(ObjectRecord(n, self.items, model, worst[n]) for n in labels)
        payload = Accepted(
            self.items,
            self.label,
            self.level,
            records,
            tuple(book.get(n) for n in labels),
        )
        commit = target.write([o for o, _ in scored], context.settings.policy, payload)
        if commit is not None:
            book.put(*records)
        return commit

    def _write_live(self) -> None:
        context = self._context
        try:
            if context.target is None:
                self._make_target()
            if self._live_commit is not None and context.target is not None:
                # One undo step per object: replace our last write by this one.
                context.target.take_back(self._live_commit)
            commit = self._write()
        except SamError as error:
            self.status.emit(context.report(error))
            return
        self._live_commit = commit or self._live_commit

    def _retract_live(self) -> None:
        commit, self._live_commit = self._live_commit, None
        context = self._context
        if commit is None or context.target is None:
            return
        if context.target.take_back(commit) and context.book is not None:
            self._restore_book(commit.payload)

    def _seed_from_labels(self, label: int) -> None:
        """Use the object's pixels on this plane as a rough mask for refinement."""
        context = self._context
        plane, target = context.plane, context.target
        if plane is None or target is None:
            return
        whole = Region.whole(plane.shape(layer_shape(target.layer)))
        mask = target.object_mask(plane, label, whole)
        if mask.area:
            self._seeds[plane] = mask

    # -- undo ---------------------------------------------------------------

    def on_undone(self, commit: Commit) -> None:
        """Napari's undo took back an accept: bring its prompts back."""
        accepted = commit.payload
        if not isinstance(accepted, Accepted):
            return
        self._restore_book(accepted)
        self._live_held = True
        if commit is self._live_commit:
            self._live_commit = None
        elif not self.is_empty and self._stash is None:
            self._stash = self.items
        self.pending.clear()
        self.label = accepted.label
        self.level = accepted.level
        self._show_label()
        self._write_layers(accepted.items)
        self.request()
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

    def _restore_book(self, accepted: Accepted) -> None:
        book = self._context.book
        if book is None:
            return
        for record, before in zip(accepted.records, accepted.before, strict=True):
            if before is None:
                book.drop(record.label)
            else:
                book.put(before)

    def close(self) -> None:
        """Remove our layers and stop listening."""
        self._connections.clear()
        self.preview.remove()
        self.layers.remove()


def _same_items(a: PromptItems, b: PromptItems) -> bool:
    """Whether two readings of the layers say the same.

    Selecting a prompt or changing a colour also fires events; predicting again
    for those would make the preview flicker.
    """
    return (
        len(a.points) == len(b.points)
        and len(a.shapes) == len(b.shapes)
        and all(
            p.position == q.position and p.positive == q.positive and p.axes == q.axes
            for p, q in zip(a.points, b.points, strict=True)
        )
        and all(
            s.kind == t.kind
            and s.positive == t.positive
            and s.axes == t.axes
            and np.array_equal(s.vertices, t.vertices)
            for s, t in zip(a.shapes, b.shapes, strict=True)
        )
    )
