"""Prompts in, preview out: what the model makes of the object under way."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.types import MaskLevel, PointPrompt, PromptSet
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.overlay import MUTED, PlaneOverlay, ShownMask, preview_color
from napari_sam.viewer.prompting.draft import ObjectDraft
from napari_sam.viewer.prompting.layer_sync import PromptLayerSync
from napari_sam.viewer.prompting.requests import Hover, PredictionRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    from napari_sam.core.annotation.prompts import PromptItems
    from napari_sam.core.volumes.propagation import PropagatedSlice
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.prompting.predictions import Answering, Prediction

FRAME_SECONDS = 0.06
"""Longest that the frame which shows a click is held back for its mask."""


class Prompting:
    """The prompts of one viewer, the answers to them, and their preview.

    Knows nothing of labels: what is done with an answer is the caller's.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    on_answer : callable
        Takes a draft and its new `Prediction`.
    on_error : callable
        Takes a draft and the exception if the model could not answer.

    Attributes
    ----------
    changed : Signal()
        Anything a panel shows has changed.
    edited : Signal()
        The user has changed prompts.
    unprompted : Signal(str)
        The plane on screen was left without an answer, because nothing on it
        can be asked; the reason if it is worth telling.
    draft : ObjectDraft
        The object under way.
    waiting : list of ObjectDraft
        Objects to be written as soon as their answers are there, oldest first.
    positive : bool
        What the next prompts mark.
    """

    changed = Signal()
    edited = Signal()
    unprompted = Signal(str)

    def __init__(
        self,
        context: Context,
        on_answer: Callable[[ObjectDraft, Prediction], None],
        on_error: Callable[[ObjectDraft, Exception], None],
    ) -> None:
        self._context = context
        self._on_error = on_error
        self._on_answer = on_answer
        self.draft = ObjectDraft()
        self.waiting: list[ObjectDraft] = []
        self.layer_sync = PromptLayerSync(context.viewer)
        self.layer_sync.changed.connect(self._on_edited)
        self.overlay = PlaneOverlay(context.viewer, "SAM preview", "preview")
        self.hover = Hover(context, self.overlay)
        self.hover.changed.connect(self._on_hover)
        self.requests = PredictionRequests(context, self._take, self._failed)
        self.positive = True

    # -- state --------------------------------------------------------------

    @property
    def level(self) -> MaskLevel:
        """Which of the nested answers is shown."""
        return self.draft.level

    @property
    def prediction(self) -> Prediction | None:
        """What is previewed on the plane on screen."""
        plane = self._context.plane
        return self.draft.answers.get(plane) if plane is not None else None

    @property
    def score(self) -> float | None:
        """Score of the mask under the cursor, or the lowest of the previewed ones."""
        prediction = self.prediction
        if prediction is None or self.hover.score is not None:
            return self.hover.score
        return prediction.score

    @property
    def followed(self) -> PropagatedSlice | None:
        """What was found on the plane on screen by following the object there."""
        plane = self._context.plane
        return None if plane is None else self.draft.slice_on(plane)

    def here(self) -> tuple[PromptSet, ...]:
        """Prompt sets of the plane on screen, one per object."""
        context = self._context
        if context.image is None or context.plane is None:
            return ()
        return self.draft.prompts_on(context.plane, layer_shape(context.image))

    def questions(
        self,
        draft: ObjectDraft,
        enough: Callable[[Prediction], bool] = attrgetter("is_final"),
    ) -> dict[Plane, tuple[PromptSet, ...]]:
        """Return what is left to ask about a draft before it can be written.

        Not where there is an answer that is ``enough``.
        """
        image = self._context.image
        if image is None:
            return {}
        return draft.questions(layer_shape(image), enough)

    # -- prompts ------------------------------------------------------------

    def begin(self, draft: ObjectDraft) -> None:
        """Make another object the one under way, with its prompts in the layers."""
        self.requests.stop()
        self.hover.stop()
        self.draft = draft
        self.layer_sync.write(draft.items)
        self.request()

    def arm(self, negative: bool = False) -> None:
        """Set what the next press in the canvas will make."""
        plane = self._context.plane
        if plane is not None:
            self.layer_sync.arm(self.positive != negative, plane.displayed)

    def press(self, negative: bool = False) -> None:
        """Note a press in the canvas; see `PromptLayerSync.hold`."""
        self.layer_sync.hold()
        self.arm(negative)

    def flip_polarity(self) -> None:
        """Let the next prompts mark background instead of object, or back."""
        self.positive = not self.positive
        self.arm()
        self.changed.emit()

    def set_items(self, items: PromptItems) -> None:
        """Replace the prompts of the current object."""
        self.layer_sync.write(items)
        self._on_edited()

    def set_level(self, level: MaskLevel) -> None:
        """Show one of the model's nested answers."""
        if level != self.draft.level:
            self.draft.level = level
            self.recompute()
            self.changed.emit()

    def layer_removed(self, layer: Layer) -> bool:
        """Adapt to a removed layer of ours; True if it held prompts."""
        if self.overlay.layer is not None and layer == self.overlay.layer:
            self.overlay.forget()
            # napari may be about to remove more.
            self._context.runner.soon(self.draw)
        return self.layer_sync.layer_removed(layer)

    def _on_edited(self) -> None:
        self.draft.items = self.layer_sync.items
        # Planes that lost their last prompt lose their preview.
        self.draft.keep_prompted()
        self.draft.seed_followed()
        self.edited.emit()
        self.request()

    # -- answers ------------------------------------------------------------

    def request(self) -> None:
        """Ask what is not answered yet: the plane on screen, then the others."""
        foreseen = self._foreseen()
        self.hover.stop()
        self._ask_shown(foreseen)
        self._ask_unseen()

    def _foreseen(self) -> Answering | None:
        """Return the answer to a click that was looked for while it was made.

        A frame drawn without the mask costs more than to wait for it: where napari
        draws with the processor, drawing and decoding would hold each other up.
        """
        context, draft = self._context, self.draft
        plane, image = context.plane, context.image
        if plane is None or image is None or context.encoder is None:
            return None
        question = draft.question(plane, layer_shape(image))
        last = draft.answers.get(plane)
        foreseen = self.hover.foreseen(plane, question, draft.level, last)
        if foreseen is not None and plane in context.encoder.ready:
            foreseen.wait(FRAME_SECONDS)
        return foreseen

    def _ask_shown(self, foreseen: Answering | None) -> None:
        context, draft = self._context, self.draft
        plane, image = context.plane, context.image
        if plane is None or image is None or context.encoder is None:
            self.requests.stop()
            self.draw()
            self.unprompted.emit("")
            return
        prompts = self.here()
        if all(p.is_empty for p in prompts):
            self.requests.stop()
            draft.drop(plane)
            self.draw()
            self.unprompted.emit(
                "Only background is marked: click the object too." if prompts else ""
            )
            return
        question = draft.question(plane, layer_shape(image))
        known = foreseen.latest if foreseen is not None else None
        if known is not None:
            draft.take(known)
        if draft.question(plane, layer_shape(image)):
            self.requests.ask(draft, plane, question, foreseen)
        else:
            self.requests.stop()
        if known is not None:
            self._take(draft, known)
        else:
            self.draw()

    def _ask_unseen(self) -> None:
        shown = self._context.plane
        index = None if shown is None else shown.index
        self.requests.ask_unseen(
            [
                (draft, plane, prompts)
                for draft in (*self.waiting, self.draft)
                for plane, prompts in self.questions(draft).items()
                if draft is not self.draft or plane.index != index
            ]
        )

    def recompute(self) -> None:
        """Redo the previews for another level or other cleaning, without decoding."""
        draft = self.draft
        # What is on its way would be replaced, and a proposal has one level.
        can_relevel = not self.requests.is_awaited(draft) and all(
            answer.is_asked and (answer.level is draft.level or not answer.is_compact)
            for answer in draft.answers.values()
        )
        if not can_relevel:
            self.request()
        elif draft.answers:
            self.requests.reselect_level(draft)

    def _take(self, draft: ObjectDraft, prediction: Prediction) -> None:
        if draft is self.draft:
            self.draw()
        self._on_answer(draft, prediction)

    def _failed(self, draft: ObjectDraft, plane: Plane, error: Exception) -> None:
        image = self._context.image
        if image is not None:
            draft.failed[plane] = draft.question(plane, layer_shape(image))
        draft.drop(plane)
        if draft is self.draft:
            self.draw()
        self._on_error(draft, error)

    # -- what is seen -------------------------------------------------------

    def draw(self) -> None:
        """Show the preview of the plane on screen."""
        context = self._context
        prediction, followed = self.prediction, self.followed
        if context.image is None or context.plane is None:
            self.overlay.clear()
        elif prediction is not None:
            masks = [
                ShownMask(c.mask, preview_color(i), c.score)
                for i, c in enumerate(prediction.candidates)
            ]
            self.overlay.show(context.image, prediction.plane, masks)
        elif followed is not None:
            # A confidence is no predicted IoU: the strip has its colors.
            color = MUTED if followed.is_ghost else preview_color(0)
            mask = ShownMask(followed.mask, color)
            self.overlay.show(context.image, context.plane, [mask])
        else:
            self.overlay.clear()
        self.changed.emit()

    def prepare(self) -> None:
        """Make the preview layer now: napari needs a moment for a new layer."""
        context = self._context
        if context.image is not None and context.plane is not None:
            self.overlay.show(context.image, context.plane, [])
            self.draw()

    def plane_changed(self) -> None:
        """Show what belongs to the new plane; predict it if it has prompts."""
        plane, layers = self._context.plane, self.layer_sync.layers
        # Setting them takes napari longer than all else that scrolling does here.
        if plane is not None and not layers.has_defaults(
            self.positive, plane.displayed
        ):
            self.arm()
        self.request()

    def hover_at(self, row: float, column: float) -> None:
        """Preview the mask that a click at this place of the plane would give."""
        if not self.requests.is_shown_awaited:
            self.hover.at(*self._click_at(row, column))

    def rest_at(self, row: float, column: float) -> None:
        """Prepare for a click at this place of the plane, should the pointer rest."""
        if not self.requests.is_shown_awaited:
            self.hover.ahead(*self._click_at(row, column))

    def press_at(self, row: float, column: float, negative: bool = False) -> None:
        """Begin with the answer to the click that this press may become."""
        self.hover.ahead(*self._click_at(row, column, negative), is_pressed=True)

    def _click_at(
        self, row: float, column: float, negative: bool = False
    ) -> tuple[PromptSet, MaskLevel, Prediction | None]:
        """Return the prompts that there would be, the level, and the answer so far."""
        here = self.here()
        base = here[0] if len(here) == 1 else PromptSet()
        point = PointPrompt(row, column, self.positive != negative)
        prompts = PromptSet((*base.points, point), base.box, base.mask)
        return prompts, self.level, self.prediction

    def end_hover(self) -> None:
        """Show the preview of what was clicked again."""
        if self.hover.stop():
            self.draw()

    def _on_hover(self) -> None:
        self.changed.emit()

    def close(self) -> None:
        """Remove our layers and stop listening."""
        self.layer_sync.close()
        if not self._context.is_window_gone:
            self.overlay.remove()
            self.layer_sync.layers.remove()
