"""The panel that shows what waits for a decision, and how far a review is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import Label, PushButton

from napari_sam.widgets.panels import Panel, rest, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller


class ReviewPanel(Panel):
    """Reject, correct and skip; what is accepted, and how far the review is.

    Always there, so that nothing below it moves when something begins to wait.
    Accepting is the button of the object under way: N accepts one thing at a time.
    """

    def __init__(self, controller: Controller) -> None:
        review = controller.review
        self.info = Label(value="")
        self.reject = PushButton(text="Reject (K)")
        self.correct = PushButton(text="Correct (J)")
        self.skip = PushButton(text="Skip (Shift+N)")
        self.walk = PushButton(text="Review one by one")
        self.plane = PushButton(text="Accept slice")
        self.rest = PushButton(text="Accept rest")
        super().__init__(
            controller,
            [
                self.info,
                row(self.reject, self.correct, self.skip),
                row(self.walk, self.plane, self.rest),
            ],
            labels=False,
        )
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
        current = review.current
        if current is not None:
            self.info.value = f"{review.text}  ·  certainty {current.certainty:.2f}"
        else:
            self.info.value = _waiting(review.proposal_count, review.object_count)
        none = "" if current is not None else "No review is under way."
        rest(self.reject, none, "Drops a proposal, erases a written object.")
        rest(self.correct, none, "Then click or Ctrl-click, and N.")
        rest(self.skip, none, "For later.")
        rest(self.rest, none, "All that is left, on all planes.")
        offers = controller.everything.offers
        rest(
            self.plane,
            "" if offers else "Nothing is proposed on this slice.",
            "All that is proposed on this slice.",
        )
        self.walk.text = "Pause review" if current is not None else "Review one by one"
        rest(
            self.walk,
            self._why_not(),
            "Goes from the least to the most certain, slice by slice.",
        )

    def _why_not(self) -> str:
        if self.controller.everything.is_running:
            return "Objects are still being searched."
        return "" if self.is_needed else "There is nothing to review."


def _waiting(proposals: int, objects: int) -> str:
    """Say what waits: ``12 proposals, 57 written objects to look at``."""
    parts = []
    if proposals:
        parts.append(f"{proposals} proposal{'s' * (proposals != 1)}")
    if objects:
        parts.append(f"{objects} written object{'s' * (objects != 1)} to look at")
    return ", ".join(parts) or "Nothing waits for a review"
