"""The mask under the cursor, before clicking."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.types import PointPrompt, PromptSet
from napari_sam.viewer.overlay import ShownMask, bright
from napari_sam.viewer.predict import Prediction, predict
from napari_sam.viewer.worker import Job, Priority

if TYPE_CHECKING:
    from napari_sam.types import MaskLevel
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.overlay import PlaneOverlay

HOVER_SLOT = "hover"


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

    def at(
        self,
        row: float,
        column: float,
        base: PromptSet,
        positive: bool,
        level: MaskLevel,
        last: Prediction | None = None,
    ) -> None:
        """Predict the prompts so far plus one at the cursor; the latest wins.

        ``last`` is the answer to the prompts so far.
        """
        context = self._context
        if context.plane is None or context.planes is None:
            return
        point = PointPrompt(row, column, positive)
        prompts = PromptSet((*base.points, point), base.box, base.mask)
        if prompts.is_empty:
            return
        context.runner.submit(
            Job(
                partial(
                    predict,
                    context.planes,
                    context.plane,
                    [prompts],
                    level,
                    context.settings.cleaning,
                    last,
                ),
                priority=Priority.HOVER,
                slot=HOVER_SLOT,
                on_result=self._show,
                on_error=context.log_error,
            )
        )

    def stop(self) -> bool:
        """Drop what is under way; True if a hover preview was on screen."""
        self._context.runner.cancel(HOVER_SLOT)
        was_shown, self.score = self.score is not None, None
        return was_shown

    def _show(self, prediction: Prediction) -> None:
        image = self._context.image
        if image is None or prediction.plane != self._context.plane:
            return
        candidate = prediction.candidates[0]
        shown = ShownMask(candidate.mask, bright(0), candidate.score)
        self._overlay.show(image, prediction.plane, [shown])
        self.score = candidate.score
        self.changed.emit()
