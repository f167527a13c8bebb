"""The panel of everything mode."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import (
    ComboBox,
    FloatSlider,
    FloatSpinBox,
    PushButton,
    Slider,
    SpinBox,
)

from napari_sam.core.everything.settings import chosen
from napari_sam.core.everything.triage import histogram, position_on
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.viewer.overlay import color_text, score_color
from napari_sam.viewer.settings import ProposalColor
from napari_sam.viewer.view_state import SearchState
from napari_sam.widgets.histogram import BINS, Histogram, over
from napari_sam.widgets.panels import Panel, blocked, rest, row, show_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from magicgui.widgets import Widget

    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.view_state import ViewState
    from napari_sam.widgets.panels import Shows


def _histogram(controller: Controller, slider: Widget | None = None) -> Histogram:
    beside = None if slider is None else slider.native
    return Histogram(lambda: controller.viewer.theme, beside)


class EverythingPanel(Panel[SearchState]):
    """Run everything mode, move its thresholds, write its proposals."""

    def __init__(self, controller: Controller) -> None:
        usual = ModelThresholds()
        self.plane = PushButton(text="This plane  (G)")
        self.view = PushButton(text="In view")
        self.box = PushButton(text="In the box")
        self.stack = PushButton(text="All planes")
        self.prefill = PushButton(text="Pre-fill slice  (Shift+G)")
        self.side = SpinBox(label="Points per side", min=1, max=128)
        self.crops = SpinBox(label="Crop layers", min=0, max=2)
        # Of magicgui's boxes that for fractions can say "auto" instead of 0.
        self.size = FloatSpinBox(label="Object size (px)", min=0, max=10_000, step=1)
        self.size.native.setDecimals(0)
        self.score = FloatSlider(label="Lowest score", min=0.5, max=1.0)
        self.stability = FloatSlider(label="Lowest stability", min=0.5, max=1.0)
        self.area = SpinBox(label="Smallest area (px)", min=0, max=10_000_000)
        self.share = Slider(
            label="Largest area (%)",
            min=1,
            max=100,
            tooltip="Larger proposals are mostly background.",
        )
        self.color = ComboBox(
            label="Color by",
            choices=[(str(color), color) for color in ProposalColor],
            tooltip="Each proposal has a color of its own, or that of its score.",
        )
        self.histograms = {
            "score": _histogram(controller, self.score),
            "stability": _histogram(controller, self.stability),
            "area": _histogram(controller),
        }
        self.write = PushButton(text="Write into labels")
        self.drop = PushButton(text="Drop")
        super().__init__(
            controller,
            [
                row(self.plane, self.view, self.box, self.stack),
                row(self.prefill),
                row(self.write, self.drop),
                self.color,
                over(self.score, self.histograms["score"]),
                over(self.stability, self.histograms["stability"]),
                over(self.area, self.histograms["area"]),
                self.share,
                self.size,
                self.side,
                self.crops,
            ],
        )
        self._shows: Sequence[Shows] = (
            (self.color, lambda s: s.proposal_color),
            (self.score, lambda s: chosen(s.min_score, usual.score)),
            (self.stability, lambda s: chosen(s.min_stability, usual.stability)),
            (self.area, lambda s: round(chosen(s.min_area, s.everything.min_area))),
            (
                self.share,
                lambda s: round(100 * chosen(s.max_share, s.everything.max_area_share)),
            ),
            (self.size, lambda s: s.everything.object_size or 0),
            (self.side, lambda s: s.everything.points_per_side),
            (self.crops, lambda s: s.everything.crop_n_layers),
        )
        self.press(self.prefill, controller.prefill)
        self.press(self.plane, controller.segment_plane)
        self.press(self.view, controller.segment_view)
        self.press(self.box, controller.segment_box)
        self.press(self.stack, controller.segment_stack)
        for widget in (self.side, self.crops, self.size):
            self.on(widget, self._grid)
        change = controller.change_settings
        self.on(self.score, lambda v: change(min_score=v))
        self.on(self.stability, lambda v: change(min_stability=v))
        self.on(self.area, lambda v: change(min_area=v))
        self.on(self.share, lambda v: change(max_share=v / 100))
        self.on(self.color, lambda color: change(proposal_color=color))
        self.press(self.write, controller.everything.write)
        self.press(self.drop, controller.everything.discard)

    def _grid(self, _: object) -> None:
        everything = replace(
            self.controller.settings.everything,
            points_per_side=self.side.value,
            crop_n_layers=self.crops.value,
            object_size=self.size.value or None,
        )
        self.controller.change_settings(everything=everything)

    def part(self, state: ViewState) -> SearchState:
        """Return what can be searched, and what was found."""
        return state.search

    def show(self, state: SearchState) -> None:
        """Show what can be searched, and what was found."""
        show_settings(self._shows, state.settings)
        self._show_searches(state)
        self._show_how(state)
        count = state.count
        self.write.text = f"Write {count} into labels" if count else "Write into labels"
        none = "" if count else "There are no proposals."
        if state.is_running:
            none = "A search is under way."
        rest(self.write, none, "Writes them as one undo step.")
        rest(self.drop, none, "Forgets all proposals.")
        self._show_thresholds(state)
        self._show_histograms(state)

    def _show_searches(self, state: SearchState) -> None:
        why_not = state.why_not
        no_box = "" if state.has_box else "Draw a box with the Box tool first."
        rest(self.plane, why_not, "Finds every object of this plane.")
        rest(self.view, why_not, "Finds every object of what the view shows.")
        rest(self.box, why_not or no_box, "Finds every object inside the drawn box.")
        rest(self.stack, why_not, "Plane by plane; what is found can be cancelled.")
        rest(
            self.prefill,
            why_not,
            "Proposes what the model is sure of and nobody has labeled.",
        )

    def _show_how(self, state: SearchState) -> None:
        no_grid = no_crops = ""
        if state.sees_objects:
            no_grid = "This model sees where objects are and asks there, not on a grid."
        if state.is_reduced and not self.crops.value:
            no_crops = (
                "The layers that are shown lie on different grids, so a coarser level "
                "is read, which has no more detail."
            )
        no_size = ""
        if not self.size.value and self.crops.value:
            no_size = "The plane is searched in crops; set Crop layers to 0."
        elif not self.size.value and not state.sees_objects:
            no_size = "This model does not see objects by itself; it asks on a grid."
        elif not self.size.value:
            no_size = no_crops
        rest(self.side, no_grid, "Time grows with its square.")
        rest(
            self.crops,
            no_crops,
            "1 also looks at 4 enlarged crops, for small objects.",
        )
        rest(
            self.size,
            no_size,
            "Diameter of an object: how far the plane is enlarged to be searched, in "
            "tiles. 0 lets the model look how large objects are.",
        )
        # Beside "auto", the scale that was chosen.
        scale = None if state.shown is None else state.shown.scale
        found = "" if scale is None else f": {scale:.1f} ×"
        self.size.native.setSpecialValueText(f"auto{found}")

    def _show_histograms(self, state: SearchState) -> None:
        """Show of all that was found here where it lies beside the thresholds."""
        found, shown = state.found, state.shown
        if found is None or shown is None or not len(found):
            for empty in self.histograms.values():
                empty.show_counts(np.zeros(BINS, np.intp), (0.0, 1.0))
                empty.setToolTip("")
            return
        limits = shown.thresholds
        by_score = state.settings.proposal_color is ProposalColor.SCORE
        for name, slider, values, least in (
            ("score", self.score, found.score, limits.min_score),
            ("stability", self.stability, found.stability, limits.min_stability),
        ):
            low, high = slider.min, slider.max
            kept = float(position_on(least, low, high)), 1.0
            middles = low + (np.arange(BINS) + 0.5) / BINS * (high - low)
            colors = [color_text(score_color(x)) for x in middles.tolist()]
            self.histograms[name].show_counts(
                histogram(values, low, high, BINS),
                kept,
                colors if by_score and name == "score" else (),
            )
        low, high = float(max(1, found.area.min())), float(found.area.max() + 1)
        ends = position_on((limits.min_area, limits.max_area), low, high, log=True)
        first, last = ends.tolist()
        self.histograms["area"].show_counts(
            histogram(found.area, low, high, BINS, log=True),
            # What is at the limit is kept; beyond the largest there is none to hide.
            (first, 1.0 if limits.max_area >= high else last),
        )
        about = f"of the {len(found)} proposals found here; gray ones are hidden."
        for name, what in (
            ("score", "Scores "),
            ("stability", "Stability "),
            ("area", f"Areas, {low:.0f} to {high - 1:.0f} px on a log scale, "),
        ):
            self.histograms[name].setToolTip(what + about)

    def _show_thresholds(self, state: SearchState) -> None:
        """Show what the model's proposals are held to till the user moves it."""
        shown = state.shown
        if shown is None or state.is_confident:
            return
        for slider, moved, own in (
            (self.score, state.settings.min_score, shown.thresholds.min_score),
            (
                self.stability,
                state.settings.min_stability,
                shown.thresholds.min_stability,
            ),
        ):
            if moved is None:
                with blocked(slider):
                    slider.value = min(max(own, slider.min), slider.max)
