"""The panel that shows what waits for a decision, and how far a review is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import Label, PushButton

from napari_sam.viewer.view_state import ReviewState
from napari_sam.widgets.panels import Panel, rest, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.view_state import ViewState


class ReviewPanel(Panel[ReviewState]):
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
        self.press(self.reject, controller.reject)
        self.press(self.correct, review.correct)
        self.press(self.skip, controller.skip)
        self.press(self.walk, controller.toggle_review)
        self.press(self.plane, controller.accept_plane)
        self.press(self.rest, review.accept_rest)

    def align_names(self) -> None:
        """Keep the room of a button's longer text, so that no button moves."""
        super().align_names()
        walk = self.walk.native
        walk.setMinimumWidth(walk.sizeHint().width())

    def part(self, state: ViewState) -> ReviewState:
        """Return what waits, and how far a review is."""
        return state.review

    def show(self, state: ReviewState) -> None:
        """Show what waits, or how far the review is."""
        is_walked = state.text is not None
        if is_walked:
            self.info.value = f"{state.text}  ·  certainty {state.certainty:.2f}"
        else:
            self.info.value = _waiting(state.proposals, state.objects)
        none = "" if is_walked else "No review is under way."
        rest(self.reject, none, "Drops a proposal, erases a written object.")
        rest(self.correct, none, "Then click or Ctrl-click, and N.")
        rest(self.skip, none, "For later.")
        rest(self.rest, none, "All that is left, on all planes.")
        rest(
            self.plane,
            "" if state.is_offered else "Nothing is proposed on this slice.",
            "All that is proposed on this slice.",
        )
        self.walk.text = "Pause review" if is_walked else "Review one by one"
        rest(
            self.walk,
            state.why_not,
            "Goes from the least to the most certain, slice by slice.",
        )


def _waiting(proposals: int, objects: int) -> str:
    """Say what waits: ``12 proposals, 57 written objects to look at``."""
    parts = []
    if proposals:
        parts.append(f"{proposals} proposal{'s' * (proposals != 1)}")
    if objects:
        parts.append(f"{objects} written object{'s' * (objects != 1)} to look at")
    return ", ".join(parts) or "Nothing waits for a review"
