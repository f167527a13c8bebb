"""The panel in which many proposals are chosen and decided together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import FloatSlider, Label, PushButton

from napari_sam.core.triage import histogram, position_on
from napari_sam.widgets.histogram import BINS, Histogram, over
from napari_sam.widgets.panels import Panel, rest, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller


class TriagePanel(Panel):
    """Go to what is in doubt, choose many, and accept or reject what is chosen."""

    def __init__(self, controller: Controller) -> None:
        review, triage = controller.review, controller.triage
        self.previous = PushButton(text="◀ Uncertain")
        self.next = PushButton(text="Uncertain ▶")
        self.lasso = PushButton(text="Choose around (Shift+K)")
        self.lasso.native.setCheckable(True)
        self.like = PushButton(text="Like this (Shift+J)")
        self.alike = FloatSlider(value=triage.least, min=0.0, max=1.0)
        self.accept = PushButton(text="Accept chosen")
        self.reject = PushButton(text="Reject chosen")
        self.likeness = Histogram(lambda: controller.viewer.theme, self.alike.native)
        super().__init__(
            controller,
            [
                row(self.previous, self.next),
                row(self.lasso, self.like),
                over(row(Label(value="Alike"), self.alike), self.likeness),
                row(self.accept, self.reject),
            ],
            labels=False,
        )
        self.previous.changed.connect(review.previous_uncertain)
        self.next.changed.connect(review.next_uncertain)
        self.lasso.changed.connect(triage.toggle_lasso)
        self.like.changed.connect(triage.like_this_one)
        self.alike.changed.connect(triage.set_least)
        self.accept.changed.connect(triage.accept)
        self.reject.changed.connect(triage.reject)

    def refresh(self) -> None:
        """Show how many are chosen to be decided together, and by what."""
        controller, triage = self.controller, self.controller.triage
        here = bool(controller.everything.offers_here)
        none = "" if here else "Nothing is proposed on this slice."
        waits = controller.review.proposal_count + controller.review.object_count
        why_not = "" if waits else "There is nothing to review."
        if controller.everything.is_running:
            why_not = "Objects are still being searched."
        rest(self.next, why_not, "The closest to a threshold first (Shift+W).")
        rest(self.previous, why_not, "Back to the one before (Shift+Q).")
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
        self.accept.text = f"Accept {what} (N)" if count else "Accept chosen"
        self.reject.text = f"Reject {what} (K)" if count else "Reject chosen"
        none = "" if count else "Choose proposals first, with Lasso or Like this."
        rest(self.accept, none, "Writes them as one undo step.")
        rest(self.reject, none, "Drops them; Ctrl+Z takes them back.")
