"""Prompts in, preview out: what the model makes of the prompts on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.annotation.prompts import plane_prompts
from napari_sam.types import MaskLevel, PromptSet
from napari_sam.viewer.answers import Answers
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.hover import Hover
from napari_sam.viewer.mirror import PromptMirror
from napari_sam.viewer.overlay import PlaneOverlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    from napari_sam.core.annotation.prompts import PromptItems
    from napari_sam.types import MaskCrop, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.predict import Prediction


class Prompting:
    """The prompts of one viewer, the answers to them, and their preview.

    Knows nothing of labels: what is done with an answer is the caller's.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    on_answer : callable
        Takes each `Prediction` after it was drawn.
    on_settled : callable
        Called when all that was asked for has arrived.
    on_error : callable
        Takes the exception if the model could not answer.

    Attributes
    ----------
    changed : Signal()
        Anything a panel shows has changed.
    edited : Signal()
        The user has changed prompts.
    unprompted : Signal(str)
        The plane on screen was left without an answer, because nothing on it
        can be asked; the reason if it is worth telling.
    level : MaskLevel
        Which of the nested answers is shown.
    positive : bool
        What the next prompts mark.
    seeds : dict of Plane to MaskCrop
        Rough masks that go with the prompts of a plane.
    """

    changed = Signal()
    edited = Signal()
    unprompted = Signal(str)

    def __init__(
        self,
        context: Context,
        on_answer: Callable[[Prediction], None],
        on_settled: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._context = context
        self._on_answer = on_answer
        self._on_error = on_error
        self.mirror = PromptMirror(context.viewer)
        self.mirror.changed.connect(self._on_edited)
        self.overlay = PlaneOverlay(context.viewer, "SAM preview", "preview", 0.55)
        self.hover = Hover(context, self.overlay)
        self.hover.changed.connect(self._on_hover)
        self.answers = Answers(context, self._take, on_settled, self._failed)
        self.level = MaskLevel.AUTO
        self.positive = True
        self.seeds: dict[Plane, MaskCrop] = {}

    # -- state --------------------------------------------------------------

    @property
    def items(self) -> PromptItems:
        """Prompts of the current object on all its planes."""
        return self.mirror.items

    @property
    def prediction(self) -> Prediction | None:
        """What is previewed on the plane on screen."""
        plane = self._context.plane
        return self.answers.pending.get(plane) if plane is not None else None

    @property
    def score(self) -> float | None:
        """Score of the mask under the cursor, or the lowest of the previewed ones."""
        prediction = self.prediction
        if prediction is None or self.hover.score is not None:
            return self.hover.score
        return min(c.score for c in prediction.candidates)

    @property
    def is_empty(self) -> bool:
        """Whether there are neither prompts nor answers."""
        return self.items.is_empty and not self.answers.pending

    def here(self) -> tuple[PromptSet, ...]:
        """Prompt sets of the plane on screen, one per object."""
        context = self._context
        if context.image is None or context.plane is None:
            return ()
        plane = context.plane
        prompts = plane_prompts(
            self.items, plane, plane.shape(layer_shape(context.image))
        )
        seed = self.seeds.get(plane)
        if seed is not None and len(prompts) == 1 and prompts[0].mask is None:
            return (PromptSet(prompts[0].points, prompts[0].box, seed),)
        return prompts

    # -- prompts ------------------------------------------------------------

    def arm(self, negative: bool = False) -> None:
        """Set what the next press in the canvas will make."""
        plane = self._context.plane
        if plane is not None:
            self.mirror.arm(self.positive != negative, plane.displayed)

    def flip_polarity(self) -> None:
        """Let the next prompts mark background instead of object, or back."""
        self.positive = not self.positive
        self.arm()
        self.changed.emit()

    def set_level(self, level: MaskLevel) -> None:
        """Show one of the model's nested answers."""
        if level != self.level:
            self.level = level
            self.recompute()
            self.changed.emit()

    def layer_removed(self, layer: Layer) -> None:
        """Adapt to a removed layer of ours."""
        if self.overlay.layer is not None and layer == self.overlay.layer:
            self.overlay.forget()
        self.mirror.layer_removed(layer)

    # psygnal calls a connected ``emit`` once to learn its signature, so signals
    # are passed on by methods.
    def _on_edited(self) -> None:
        self.edited.emit()

    # -- answers ------------------------------------------------------------

    def request(self) -> None:
        """Ask about the plane on screen; the latest request wins."""
        context = self._context
        self.hover.stop()
        prompts, plane = self.here(), context.plane
        if plane is None or context.planes is None:
            self.answers.stop()
            self.draw()
            self.unprompted.emit("")
            return
        usable = [p for p in prompts if not p.is_empty]
        if usable:
            self.answers.ask(plane, usable, self.level)
            return
        self.answers.stop()
        self.answers.pending.pop(plane, None)
        self.draw()
        self.unprompted.emit(
            "Only background is marked: click the object too." if prompts else ""
        )

    def recompute(self) -> None:
        """Redo the previews for another level or other cleaning, without decoding."""
        if not self.answers.can_relevel:
            self.request()
        elif self.answers.pending:
            self.answers.relevel(self.level)

    def forget(self) -> None:
        """Forget all answers, also the one on its way."""
        self.answers.stop()
        self.answers.pending.clear()
        self.seeds.clear()

    def _take(self, prediction: Prediction) -> None:
        self.draw()
        self._on_answer(prediction)

    def _failed(self, error: Exception) -> None:
        plane = self._context.plane
        if plane is not None:
            self.answers.pending.pop(plane, None)
        self._on_error(error)
        self.draw()

    # -- what is seen -------------------------------------------------------

    def draw(self) -> None:
        """Show the preview of the plane on screen."""
        context = self._context
        prediction = self.prediction
        if prediction is None or context.image is None:
            self.overlay.clear()
        else:
            masks = [(1 + i % 255, c.mask) for i, c in enumerate(prediction.candidates)]
            self.overlay.show(context.image, prediction.plane, masks)
        self.changed.emit()

    def prepare(self) -> None:
        """Make the preview layer now: napari needs a moment for a new layer."""
        context = self._context
        if context.image is not None and context.plane is not None:
            self.overlay.show(context.image, context.plane, [])
            self.draw()

    def plane_changed(self) -> None:
        """Show what belongs to the new plane; predict it if it has prompts."""
        self.arm()
        self.hover.stop()
        if self.prediction is None and self.here():
            self.overlay.clear()
            self.request()
        else:
            self.draw()

    def hover_at(self, row: float, column: float) -> None:
        """Preview the mask that a click at this place of the plane would give."""
        if self.answers.is_awaited:
            return
        here = self.here()
        base = here[0] if len(here) == 1 else PromptSet()
        self.hover.at(row, column, base, self.positive, self.level, self.prediction)

    def end_hover(self) -> None:
        """Show the preview of what was clicked again."""
        if self.hover.stop():
            self.draw()

    def _on_hover(self) -> None:
        self.changed.emit()

    def close(self) -> None:
        """Remove our layers and stop listening."""
        self.overlay.remove()
        self.mirror.close()
