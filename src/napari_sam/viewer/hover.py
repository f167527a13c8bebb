"""What a click at the cursor would give, before clicking.

Shown where the user wants it.  Otherwise asked in idle time as soon as the pointer
rests, so that the answer, or at least what it takes, is there when the click comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.viewer.overlay import ShownMask, bright
from napari_sam.viewer.predict import Prediction, predict, same_prompts
from napari_sam.viewer.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.core.masks import PostProcessing
    from napari_sam.types import MaskLevel, Plane, PromptSet
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.overlay import PlaneOverlay
    from napari_sam.viewer.predict import PlaneEncoder

HOVER_SLOT = "hover"
AHEAD_SLOT = "ahead"
REST_SECONDS = 0.15
"""How long the pointer stays where it is before it is taken to rest."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an answer depends on: equal ones have the same."""

    planes: PlaneEncoder
    plane: Plane
    prompts: PromptSet = field(compare=False)  # see `same_prompts`
    level: MaskLevel
    cleaning: PostProcessing
    last: Prediction | None

    def work(self) -> Generator[Prediction | None, None, Prediction]:
        """Ask; for the worker."""
        return predict(
            self.planes,
            self.plane,
            [self.prompts],
            self.level,
            self.cleaning,
            self.last,
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
        self._foreseen: tuple[_Asked, Prediction] | None = None

    def at(
        self, prompts: PromptSet, level: MaskLevel, last: Prediction | None = None
    ) -> None:
        """Show what the prompts so far plus one at the cursor give; the latest wins.

        ``last`` is the answer to the prompts so far.
        """
        asked = self._asked(prompts, level, last)
        if asked is not None:
            self._context.runner.submit(
                Job(
                    asked.work,
                    priority=Priority.HOVER,
                    slot=HOVER_SLOT,
                    on_yield=self._show,
                    on_result=self._show,
                    on_error=self._context.log_error,
                )
            )

    def ahead(
        self, prompts: PromptSet, level: MaskLevel, last: Prediction | None = None
    ) -> None:
        """Ask the same without showing it, as soon as the pointer rests there."""
        asked = self._asked(prompts, level, last)
        if asked is None:
            return

        def done(answer: Prediction) -> None:
            self._foreseen = asked, answer

        self._context.runner.submit(
            Job(
                asked.work,
                priority=Priority.AHEAD,
                slot=AHEAD_SLOT,
                delay=REST_SECONDS,
                on_yield=done,
                on_result=done,
                on_error=self._context.log_error,
            )
        )

    def foreseen(
        self,
        plane: Plane,
        prompts: Sequence[PromptSet],
        level: MaskLevel,
        last: Prediction | None,
    ) -> Prediction | None:
        """Return the answer to these prompts, perhaps a preliminary one, if there is.

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
        planes, cleaning = self._context.planes, self._context.settings.cleaning
        if self._foreseen is None or planes is None or len(prompts) != 1:
            return None
        asked, answer = self._foreseen
        now = _Asked(planes, plane, prompts[0], level, cleaning, last)
        return (
            answer if now == asked and same_prompts(prompts[0], asked.prompts) else None
        )

    def stop(self) -> bool:
        """Drop what is under way; True if a hover preview was on screen."""
        self._context.runner.cancel(HOVER_SLOT)
        self._context.runner.cancel(AHEAD_SLOT)
        was_shown, self.score = self.score is not None, None
        return was_shown

    def _asked(
        self, prompts: PromptSet, level: MaskLevel, last: Prediction | None
    ) -> _Asked | None:
        context = self._context
        if context.plane is None or context.planes is None or prompts.is_empty:
            return None
        cleaning = context.settings.cleaning
        return _Asked(context.planes, context.plane, prompts, level, cleaning, last)

    def _show(self, prediction: Prediction) -> None:
        image = self._context.image
        if image is None or prediction.plane != self._context.plane:
            return
        candidate = prediction.candidates[0]
        shown = ShownMask(candidate.mask, bright(0), candidate.score)
        self._overlay.show(image, prediction.plane, [shown])
        self.score = candidate.score
        self.changed.emit()
