"""The panel that shows what waits for a decision, and how far a review is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import Label, PushButton

from napari_sam.widgets.panels import Panel, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller


class ReviewPanel(Panel):
    """Accept, reject, correct and skip; there only if something waits."""

    def __init__(self, controller: Controller) -> None:
        review = controller.review
        self.info = Label(value="")
        self.accept = PushButton(text="Accept  (N)")
        self.reject = PushButton(
            text="Reject  (K)", tooltip="Drops a proposal, erases a written object."
        )
        self.correct = PushButton(
            text="Correct  (J)", tooltip="Then click or Ctrl-click, and N."
        )
        self.skip = PushButton(text="Skip  (Shift+N)", tooltip="For later.")
        self.walk = PushButton(
            tooltip="Goes from the least to the most certain, slice by slice."
        )
        self.plane = PushButton(text="Accept slice")
        self.rest = PushButton(
            text="Accept the rest", tooltip="All that is left, on all planes."
        )
        self._decide = row(self.accept, self.reject)
        self._postpone = row(self.correct, self.skip)
        super().__init__(
            controller,
            [
                self.info,
                self._decide,
                self._postpone,
                row(self.walk, self.plane, self.rest),
            ],
        )
        self.container.labels = False
        self.accept.changed.connect(controller.accept)
        self.reject.changed.connect(controller.reject)
        self.correct.changed.connect(review.correct)
        self.skip.changed.connect(controller.skip)
        self.walk.changed.connect(controller.toggle_review)
        self.plane.changed.connect(controller.accept_plane)
        self.rest.changed.connect(review.accept_rest)

    @property
    def is_needed(self) -> bool:
        """Whether anything waits for a decision."""
        review = self.controller.review
        return review.is_active or review.proposal_count + review.object_count > 0

    def refresh(self) -> None:
        """Show what waits, or how far the review is."""
        controller, review = self.controller, self.controller.review
        self.container.visible = self.is_needed
        current = review.current
        if current is not None:
            self.info.value = f"{review.text}  ·  certainty {current.certainty:.2f}"
        else:
            self.info.value = _waiting(review.proposal_count, review.object_count)
        self._decide.visible = self._postpone.visible = current is not None
        self.rest.visible = current is not None
        self.plane.visible = bool(controller.everything.offers)
        self.walk.text = "Pause review" if current is not None else "Review one by one"
        self.walk.enabled = not controller.everything.is_running


def _waiting(proposals: int, objects: int) -> str:
    """Say what waits: ``12 proposals, 57 written objects to look at``."""
    parts = []
    if proposals:
        parts.append(f"{proposals} proposal{'s' * (proposals != 1)}")
    if objects:
        parts.append(f"{objects} written object{'s' * (objects != 1)} to look at")
    return ", ".join(parts)
