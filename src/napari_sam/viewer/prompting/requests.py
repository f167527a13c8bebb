"""What the model is asked in the background: prompts, and clicks that may be made.

`PredictionRequests` asks about objects under way, one question per plane.  `Hover`
asks what a click at the cursor would give: shown where the user wants it, otherwise
asked in idle time as soon as the pointer rests, and at once when the button goes down,
so that the answer, or at least what it takes, is there when the click is made: that is
when the button comes up again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.core.steps import mapped
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.overlay import ShownMask, bright
from napari_sam.viewer.prompting.predictions import (
    Answering,
    Prediction,
    predict,
    reselect_level,
    same_prompts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_sam.core.masks import PostProcessing
    from napari_sam.types import MaskLevel, Plane, PromptSet
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.image.encoder import PlaneEncoder
    from napari_sam.viewer.overlay import PlaneOverlay
    from napari_sam.viewer.prompting.draft import ObjectDraft

PREDICT_SLOT = "predict"
UNSEEN_SLOT = "predict unseen"
RELEVEL_SLOT = "reselect_level"
SLOTS = (PREDICT_SLOT, UNSEEN_SLOT, RELEVEL_SLOT)
"""What a script waits for."""

Question = tuple["ObjectDraft", "Plane", "tuple[PromptSet, ...]"]

HOVER_SLOT = "hover"
AHEAD_SLOT = "ahead"

REST_SECONDS = 0.15
"""How long the pointer stays where it is before it is taken to rest."""


class PredictionRequests:
    """Questions about objects under way, and their answers; GUI thread only.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    on_answer : callable
        Takes the draft and its new `Prediction`, after the draft has it.
    on_error : callable
        Takes the draft, the plane and the exception if the model could not answer.
    """

    def __init__(
        self,
        context: Context,
        on_answer: Callable[[ObjectDraft, Prediction], None],
        on_error: Callable[[ObjectDraft, Plane, Exception], None],
    ) -> None:
        self._context = context
        self._on_answer = on_answer
        self._on_error = on_error
        self._shown: Question | None = None
        self._unseen: list[Question] = []
        self._releveled: ObjectDraft | None = None

    def is_awaited(self, draft: ObjectDraft) -> bool:
        """Whether an answer of the draft, or another level of it, is on its way."""
        asked = [q[0] for q in self._unseen]
        if self._shown is not None:
            asked.append(self._shown[0])
        return self._releveled is draft or any(d is draft for d in asked)

    def is_releveled(self, draft: ObjectDraft) -> bool:
        """Whether another level of the draft's answers is on its way."""
        return self._releveled is draft

    @property
    def is_shown_awaited(self) -> bool:
        """Whether an answer on the plane on screen is on its way."""
        return self._shown is not None or self._releveled is not None

    def ask(
        self,
        draft: ObjectDraft,
        plane: Plane,
        prompts: tuple[PromptSet, ...],
        foreseen: Answering | None = None,
    ) -> None:
        """Ask about the plane on screen; the latest question wins.

        ``foreseen`` is the answer as far as it was looked for before.
        """
        work = self._work((draft, plane, prompts))
        if work is None:
            return
        if foreseen is not None:
            work = partial(foreseen.go_on, draft.answers.get(plane))
        question = self._shown = (draft, plane, prompts)

        def done(answer: Prediction) -> None:
            if self._shown is question:
                self._shown = None
            self._deliver(question, answer)

        def failed(error: Exception) -> None:
            if self._shown is question:
                self._shown = None
            self._deliver(question, error)

        self._context.runner.submit(
            Job(
                work,
                priority=Priority.PREDICT,
                slot=PREDICT_SLOT,
                on_yield=partial(self._deliver, question),
                on_result=done,
                on_error=failed,
            )
        )

    def ask_unseen(self, questions: Sequence[Question]) -> None:
        """Ask about planes that are not on screen, in place of what was asked so.

        Nothing is begun again if these questions are on their way already.
        """
        wanted = list(questions)
        if _same_questions(wanted, self._unseen):
            return
        self._context.runner.cancel(UNSEEN_SLOT)
        self._unseen = wanted
        if not wanted or self._context.encoder is None:
            self._unseen = []
            return
        jobs = [(q, self._work(q)) for q in wanted]

        def work() -> Generator[
            tuple[Question, Prediction | Exception] | None, None, None
        ]:
            for question, steps in jobs:
                if steps is None:
                    continue
                try:
                    answer: Prediction | Exception
                    answer = yield from _about(question, steps())
                except Exception as error:  # noqa: BLE001 - told with its question
                    answer = error
                yield question, answer

        self._context.runner.submit(
            Job(
                work,
                priority=Priority.UNSEEN,
                slot=UNSEEN_SLOT,
                on_yield=self._take_unseen,
                on_error=self._context.log_error,
            )
        )

    def reselect_level(self, draft: ObjectDraft) -> None:
        """Redo all masks at the draft's level and cleaning, without decoding."""
        answers = tuple(draft.answers.values())
        cleaning, level = self._context.settings.cleaning, draft.level

        def work() -> list[Prediction]:
            return [reselect_level(a, level, cleaning) for a in answers]

        def done(found: list[Prediction]) -> None:
            self._releveled = None
            for old, new in zip(answers, found, strict=True):
                if draft.answers.get(old.plane) is old:
                    draft.take(new)
                    self._on_answer(draft, new)

        def failed(error: Exception) -> None:
            self._releveled = None
            self._context.log_error(error)

        self._releveled = draft
        self._context.runner.submit(
            Job(
                work,
                priority=Priority.PREDICT,
                slot=RELEVEL_SLOT,
                on_result=done,
                on_error=failed,
            )
        )

    def stop(self) -> None:
        """Drop the question about the plane on screen."""
        self._context.runner.cancel(PREDICT_SLOT)
        self._shown = None

    def forget(self, draft: ObjectDraft) -> None:
        """Drop all questions about a draft."""
        if self._shown is not None and self._shown[0] is draft:
            self.stop()
        if self._releveled is draft:
            self._context.runner.cancel(RELEVEL_SLOT)
            self._releveled = None
        self.ask_unseen([q for q in self._unseen if q[0] is not draft])

    def _work(self, question: Question) -> Callable[[], Any] | None:
        context = self._context
        draft, plane, prompts = question
        if context.encoder is None:
            return None
        return partial(
            predict,
            context.encoder,
            plane,
            prompts,
            draft.level,
            context.settings.cleaning,
            draft.answers.get(plane),
        )

    def _take_unseen(self, told: tuple[Question, Prediction | Exception]) -> None:
        question, answer = told
        if isinstance(answer, Exception) or answer.is_final:
            self._unseen = [q for q in self._unseen if q is not question]
        self._deliver(question, answer)

    def _deliver(self, question: Question, answer: Prediction | Exception) -> None:
        draft, plane, _ = question
        if isinstance(answer, Exception):
            self._on_error(draft, plane, answer)
            return
        draft.take(answer)
        self._on_answer(draft, answer)


def _about(
    question: Question, steps: Generator[Prediction | None, None, Prediction]
) -> Generator[tuple[Question, Prediction] | None, None, Prediction]:
    """Pass on a generator, with its question to what it yields."""
    return mapped(steps, lambda step: None if step is None else (question, step))


def _same_questions(a: Sequence[Question], b: Sequence[Question]) -> bool:
    return len(a) == len(b) and all(
        p[0] is q[0]
        and p[1] == q[1]
        and len(p[2]) == len(q[2])
        and all(map(same_prompts, p[2], q[2]))
        for p, q in zip(a, b, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an answer depends on: equal ones have the same."""

    encoder: PlaneEncoder
    plane: Plane
    prompts: PromptSet = field(compare=False)  # see `same_prompts`
    level: MaskLevel
    cleaning: PostProcessing
    last: Prediction | None

    def is_asked_by(self, other: _Asked) -> bool:
        """Whether another asks the same."""
        return self == other and same_prompts(self.prompts, other.prompts)

    def answering(self) -> Answering:
        """Return the answer, which nobody has begun to look for."""
        return Answering(
            partial(
                predict,
                self.encoder,
                self.plane,
                [self.prompts],
                self.level,
                self.cleaning,
                self.last,
            )
        )


class Hover:
    """Previews what a click at the cursor would give.

    Attributes
    ----------
    changed : Signal()
        The score under the cursor has changed.
    """

    changed = Signal()

    def __init__(self, context: Context, overlay: PlaneOverlay) -> None:
        self._context = context
        self._overlay = overlay
        self.score: float | None = None
        self._foreseen: tuple[_Asked, Answering] | None = None

    def at(
        self, prompts: PromptSet, level: MaskLevel, last: Prediction | None = None
    ) -> None:
        """Show what the prompts so far plus one at the cursor give; the latest wins.

        ``last`` is the answer to the prompts so far.
        """
        answering = self._foresee(prompts, level, last)
        if answering is not None:
            self._context.runner.submit(
                Job(
                    answering.go_on,
                    priority=Priority.HOVER,
                    slot=HOVER_SLOT,
                    on_yield=self._show,
                    on_result=self._show,
                    on_error=self._context.log_error,
                )
            )

    def ahead(
        self,
        prompts: PromptSet,
        level: MaskLevel,
        last: Prediction | None = None,
        *,
        is_pressed: bool = False,
    ) -> None:
        """Ask the same without showing it, as soon as the pointer rests there.

        At once and before all else if the button is down: the click is being made.
        """
        answering = self._foresee(prompts, level, last)
        if answering is not None:
            self._context.runner.submit(
                Job(
                    answering.go_on,
                    priority=Priority.PREDICT if is_pressed else Priority.AHEAD,
                    slot=AHEAD_SLOT,
                    delay=0.0 if is_pressed else REST_SECONDS,
                    on_error=self._context.log_error,
                )
            )

    def foreseen(
        self,
        plane: Plane,
        prompts: Sequence[PromptSet],
        level: MaskLevel,
        last: Prediction | None,
    ) -> Answering | None:
        """Return the answer to these prompts as far as it was looked for ahead.

        Parameters
        ----------
        plane : Plane
            Where they are.
        prompts : sequence of PromptSet
            What is asked now.
        level : MaskLevel
            Which of the answers.
        last : Prediction, optional
            The answer to the prompts before.
        """
        if self._foreseen is None or len(prompts) != 1:
            return None
        asked, answering = self._foreseen
        now = self._asked(plane, prompts[0], level, last)
        return answering if now is not None and asked.is_asked_by(now) else None

    def stop(self) -> bool:
        """Drop what is under way; True if a hover preview was on screen."""
        self._context.runner.cancel(HOVER_SLOT)
        self._context.runner.cancel(AHEAD_SLOT)
        was_shown, self.score = self.score is not None, None
        return was_shown

    def _foresee(
        self, prompts: PromptSet, level: MaskLevel, last: Prediction | None
    ) -> Answering | None:
        """Return the answer to look for, perhaps one that is under way."""
        plane = self._context.plane
        if plane is None or prompts.is_empty:
            return None
        answering = self.foreseen(plane, [prompts], level, last)
        if answering is None:
            asked = self._asked(plane, prompts, level, last)
            if asked is None:
                return None
            answering = asked.answering()
            self._foreseen = asked, answering
        return answering

    def _asked(
        self,
        plane: Plane,
        prompts: PromptSet,
        level: MaskLevel,
        last: Prediction | None,
    ) -> _Asked | None:
        encoder, cleaning = self._context.encoder, self._context.settings.cleaning
        if encoder is None:
            return None
        return _Asked(encoder, plane, prompts, level, cleaning, last)

    def _show(self, prediction: Prediction) -> None:
        image = self._context.image
        if image is None or prediction.plane != self._context.plane:
            return
        candidate = prediction.candidates[0]
        shown = ShownMask(candidate.mask, bright(0), candidate.score)
        self._overlay.show(image, prediction.plane, [shown])
        self.score = candidate.score
        self.changed.emit()
