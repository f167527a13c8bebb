"""What a click at the cursor would give, before clicking.

Shown where the user wants it.  Otherwise asked in idle time as soon as the pointer
rests, and at once when the button goes down, so that the answer, or at least what it
takes, is there when the click is made: that is when the button comes up again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.overlay import ShownMask, bright
from napari_sam.viewer.prompting.predictions import (
    Answering,
    Prediction,
    predict,
    same_prompts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.core.masks import PostProcessing
    from napari_sam.types import MaskLevel, Plane, PromptSet
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.image.encoder import PlaneEncoder
    from napari_sam.viewer.overlay import PlaneOverlay

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

    def is_asked_by(self, other: _Asked) -> bool:
        """Whether another asks the same."""
        return self == other and same_prompts(self.prompts, other.prompts)

    def answering(self) -> Answering:
        """Return the answer, which nobody has begun to look for."""
        return Answering(
            partial(
                predict,
                self.planes,
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
        planes, cleaning = self._context.encoder, self._context.settings.cleaning
        if planes is None:
            return None
        return _Asked(planes, plane, prompts, level, cleaning, last)

    def _show(self, prediction: Prediction) -> None:
        image = self._context.image
        if image is None or prediction.plane != self._context.plane:
            return
        candidate = prediction.candidates[0]
        shown = ShownMask(candidate.mask, bright(0), candidate.score)
        self._overlay.show(image, prediction.plane, [shown])
        self.score = candidate.score
        self.changed.emit()
