"""The panel that shows what waits for a decision, and how far a review is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import FloatSlider, Label, PushButton

from napari_sam.core.triage import histogram, position_on
from napari_sam.widgets.histogram import BINS, Histogram, over
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
        self.previous = PushButton(text="◀ Uncertain")
        self.next = PushButton(text="Uncertain ▶")
        self.lasso = PushButton(text="Lasso (Shift+K)")
        self.lasso.native.setCheckable(True)
        self.like = PushButton(text="Like this (Shift+J)")
        self.alike = FloatSlider(value=controller.triage.least, min=0.0, max=1.0)
        self.accept_chosen = PushButton(text="Accept chosen")
        self.reject_chosen = PushButton(text="Reject chosen")
        self.likeness = Histogram(lambda: controller.viewer.theme, self.alike.native)
        super().__init__(
            controller,
            [
                self.info,
                row(self.reject, self.correct, self.skip),
                row(self.walk, self.plane, self.rest),
                row(self.previous, self.next),
                row(self.lasso, self.like),
                over(row(Label(value="Alike"), self.alike), self.likeness),
                row(self.accept_chosen, self.reject_chosen),
            ],
            labels=False,
        )
        self.reject.changed.connect(controller.reject)
        self.correct.changed.connect(review.correct)
        self.skip.changed.connect(controller.skip)
        self.walk.changed.connect(controller.toggle_review)
        self.plane.changed.connect(controller.accept_plane)
        self.rest.changed.connect(review.accept_rest)
        triage = controller.triage
        self.previous.changed.connect(review.previous_uncertain)
        self.next.changed.connect(review.next_uncertain)
        self.lasso.changed.connect(triage.toggle_lasso)
        self.like.changed.connect(triage.like_this_one)
        self.alike.changed.connect(triage.set_least)
        self.accept_chosen.changed.connect(triage.accept)
        self.reject_chosen.changed.connect(triage.reject)

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
        self._refresh_chosen()
        self.walk.text = "Pause review" if current is not None else "Review one by one"
        rest(
            self.walk,
            self._why_not(),
            "Goes from the least to the most certain, slice by slice.",
        )

    def _refresh_chosen(self) -> None:
        """Show how many are chosen to be decided together, and by what."""
        controller, triage = self.controller, self.controller.triage
        why_not, here = self._why_not(), bool(controller.everything.offers_here)
        rest(self.next, why_not, "The closest to a threshold first (Shift+W).")
        rest(self.previous, why_not, "Back to the one before (Shift+Q).")
        none = "" if here else "Nothing is proposed on this slice."
        rest(self.lasso, none, "Draw around proposals to choose them; Esc ends it.")
        self.lasso.native.setChecked(triage.lasso.is_armed)
        rest(
            self.like,
            none,
            "Chooses what looks like the one in review, clicked or under the cursor.",
        )
        likeness = triage.likeness_here
        rest(
            self.alike,
            "" if likeness else "Ask first what is like a proposal (Shift+J).",
            "How much alike: cosine of the mean embeddings.",
        )
        low, high = self.alike.min, self.alike.max
        kept = float(position_on(triage.least, low, high)), 1.0
        self.likeness.show_counts(histogram(likeness, low, high, BINS), kept)
        count = len(triage.chosen)
        what = f"{count} alike" if likeness else f"{count} chosen"
        self.accept_chosen.text = f"Accept {what} (N)" if count else "Accept chosen"
        self.reject_chosen.text = f"Reject {what} (K)" if count else "Reject chosen"
        none = "" if count else "Choose proposals first, with Lasso or Like this."
        rest(self.accept_chosen, none, "Writes them as one undo step.")
        rest(self.reject_chosen, none, "Drops them; Ctrl+Z takes them back.")

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
