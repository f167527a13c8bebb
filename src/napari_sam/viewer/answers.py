"""The model's answers to the current object's prompts, and those on their way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_sam.viewer.predict import Prediction, predict, relevel
from napari_sam.viewer.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam.types import MaskLevel, Plane, PromptSet
    from napari_sam.viewer.context import Context

PREDICT_SLOT = "predict"


class Answers:
    """Predictions of one object, one per plane; GUI thread only.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    on_answer : callable
        Takes each `Prediction` as it arrives.
    on_settled : callable
        Called when all that was asked for has arrived.
    on_error : callable
        Takes the exception if the model could not answer.

    Attributes
    ----------
    pending : dict of Plane to Prediction
        What would be written.
    is_awaited : bool
        Whether an answer is on its way.
    """

    def __init__(
        self,
        context: Context,
        on_answer: Callable[[Prediction], None],
        on_settled: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._context = context
        self._on_answer = on_answer
        self._on_settled = on_settled
        self._on_error = on_error
        self.pending: dict[Plane, Prediction] = {}
        self.is_awaited = False

    @property
    def can_relevel(self) -> bool:
        """Whether another level needs no question to the model."""
        # What is on its way would be replaced, and a proposal has one level.
        return not self.is_awaited and all(p.is_asked for p in self.pending.values())

    def ask(self, plane: Plane, prompts: Sequence[PromptSet], level: MaskLevel) -> None:
        """Ask the model about a plane; the latest question wins."""
        context = self._context
        if context.planes is None:
            return
        work = partial(
            predict,
            context.planes,
            plane,
            prompts,
            level,
            context.settings.cleaning,
            self.pending.get(plane),
        )
        self._submit(work, self._take)

    def relevel(self, level: MaskLevel) -> None:
        """Redo all masks at another level or with other cleaning, without decoding."""
        pending = tuple(self.pending.values())
        cleaning = self._context.settings.cleaning

        def work() -> list[Prediction]:
            return [relevel(p, level, cleaning) for p in pending]

        def done(predictions: list[Prediction]) -> None:
            for prediction in predictions:
                self._take(prediction)

        self._submit(work, done)

    def stop(self) -> None:
        """Drop the answer that is on its way."""
        self._context.runner.cancel(PREDICT_SLOT)
        self.is_awaited = False

    def keep(self, indices: set[tuple[int | None, ...]]) -> None:
        """Forget the answers on all planes but those with these indices."""
        self.pending = {p: v for p, v in self.pending.items() if p.index in indices}

    def _take(self, prediction: Prediction) -> None:
        # The transposed view of a plane has the same pixels: one answer for both.
        index = prediction.plane.index
        self.pending = {p: v for p, v in self.pending.items() if p.index != index}
        self.pending[prediction.plane] = prediction
        self._on_answer(prediction)

    def _submit(
        self, work: Callable[[], Any], on_result: Callable[[Any], None]
    ) -> None:
        def done(result: Any) -> None:
            self.is_awaited = False
            on_result(result)
            self._on_settled()

        def failed(error: Exception) -> None:
            self.is_awaited = False
            self._on_error(error)

        self.is_awaited = True
        self._context.runner.submit(
            Job(
                work,
                priority=Priority.PREDICT,
                slot=PREDICT_SLOT,
                on_result=done,
                on_error=failed,
            )
        )
