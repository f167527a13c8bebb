"""The panel in which many proposals are chosen and decided together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import FloatSlider, Label, PushButton

from napari_sam.core.everything.triage import histogram, position_on
from napari_sam.viewer.view_state import TriageState
from napari_sam.widgets.histogram import BINS, Histogram, over
from napari_sam.widgets.panels import Panel, rest, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.view_state import ViewState


class TriagePanel(Panel[TriageState]):
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
        self.press(self.previous, review.previous_uncertain)
        self.press(self.next, review.next_uncertain)
        self.press(self.lasso, triage.toggle_lasso)
        self.press(self.like, triage.like_this_one)
        self.on(self.alike, triage.set_least)
        self.press(self.accept, triage.accept)
        self.press(self.reject, triage.reject)

    def part(self, state: ViewState) -> TriageState:
        """Return what is chosen to be decided together."""
        return state.triage

    def show(self, state: TriageState) -> None:
        """Show how many are chosen to be decided together, and by what."""
        none = state.why_not_choose
        rest(
            self.next, state.why_not_walk, "The closest to a threshold first (Shift+W)."
        )
        rest(self.previous, state.why_not_walk, "Back to the one before (Shift+Q).")
        rest(self.lasso, none, "Draw around proposals to choose them; Esc ends it.")
        self.lasso.native.setChecked(state.is_lasso)
        rest(
            self.like,
            none,
            "Chooses what looks like the one in review, clicked or under the cursor.",
        )
        likeness = state.likeness
        rest(
            self.alike,
            "" if likeness else "Ask first what is like a proposal (Shift+J).",
            "How much alike: cosine of the mean embeddings.",
        )
        low, high = self.alike.min, self.alike.max
        kept = float(position_on(state.least, low, high)), 1.0
        self.likeness.show_counts(histogram(list(likeness), low, high, BINS), kept)
        count = state.chosen
        what = f"{count} alike" if likeness else f"{count} chosen"
        self.accept.text = f"Accept {what} (N)" if count else "Accept chosen"
        self.reject.text = f"Reject {what} (K)" if count else "Reject chosen"
        none = "" if count else "Choose proposals first, with Lasso or Like this."
        rest(self.accept, none, "Writes them as one undo step.")
        rest(self.reject, none, "Drops them; Ctrl+Z takes them back.")
