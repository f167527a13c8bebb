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

from napari_sam.core.everything_settings import chosen
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.core.triage import histogram, position_on
from napari_sam.viewer.overlay import color_text, score_color
from napari_sam.viewer.settings import ProposalColor
from napari_sam.widgets.histogram import BINS, Histogram, over
from napari_sam.widgets.panels import Panel, rest, row

if TYPE_CHECKING:
    from magicgui.widgets import Widget

    from napari_sam.viewer.controller import Controller


def _histogram(controller: Controller, slider: Widget | None = None) -> Histogram:
    beside = None if slider is None else slider.native
    return Histogram(lambda: controller.viewer.theme, beside)


class EverythingPanel(Panel):
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
            shows=[
                (self.color, lambda s: s.proposal_color),
                (self.score, lambda s: chosen(s.min_score, usual.score)),
                (self.stability, lambda s: chosen(s.min_stability, usual.stability)),
                (self.area, lambda s: round(chosen(s.min_area, s.everything.min_area))),
                (
                    self.share,
                    lambda s: round(
                        100 * chosen(s.max_share, s.everything.max_area_share)
                    ),
                ),
                (self.size, lambda s: s.everything.object_size or 0),
                (self.side, lambda s: s.everything.points_per_side),
                (self.crops, lambda s: s.everything.crop_n_layers),
            ],
        )
        self.prefill.changed.connect(controller.prefill)
        self.plane.changed.connect(controller.segment_plane)
        self.view.changed.connect(controller.segment_view)
        self.box.changed.connect(controller.segment_box)
        self.stack.changed.connect(controller.segment_stack)
        self.side.changed.connect(self._grid)
        self.crops.changed.connect(self._grid)
        self.size.changed.connect(self._grid)
        self.score.changed.connect(lambda v: controller.change_settings(min_score=v))
        self.stability.changed.connect(
            lambda v: controller.change_settings(min_stability=v)
        )
        self.area.changed.connect(lambda v: controller.change_settings(min_area=v))
        self.share.changed.connect(
            lambda v: controller.change_settings(max_share=v / 100)
        )
        self.color.changed.connect(
            lambda color: controller.change_settings(proposal_color=color)
        )
        self.write.changed.connect(controller.everything.write)
        self.drop.changed.connect(controller.everything.discard)

    def _grid(self) -> None:
        everything = replace(
            self.controller.settings.everything,
            points_per_side=self.side.value,
            crop_n_layers=self.crops.value,
            object_size=self.size.value or None,
        )
        self.controller.change_settings(everything=everything)

    def refresh(self) -> None:
        """Show how many proposals there are."""
        super().refresh()
        controller, everything = self.controller, self.controller.everything
        reason = controller.rest_reason
        if not reason and controller.context.planes is None:
            reason = "The model is not there yet."
        if everything.is_running:
            reason = "A search is under way."
        no_box = "" if self._has_box() else "Draw a box with the Box tool first."
        rest(self.plane, reason, "Finds every object of this plane.")
        rest(self.view, reason, "Finds every object of what the view shows.")
        rest(self.box, reason or no_box, "Finds every object inside the drawn box.")
        rest(self.stack, reason, "Plane by plane; what is found can be cancelled.")
        rest(
            self.prefill,
            reason,
            "Proposes what the model is sure of and nobody has labelled.",
        )
        rest(self.side, self._why_no_grid(), "Time grows with its square.")
        rest(
            self.crops,
            self._why_no_crops(),
            "1 also looks at 4 enlarged crops, for small objects.",
        )
        rest(
            self.size,
            self._why_no_size(),
            "Diameter of an object: how far the plane is enlarged to be searched, in "
            "tiles. 0 lets the model look how large objects are.",
        )
        self._show_scale()
        count = everything.count
        self.write.text = f"Write {count} into labels" if count else "Write into labels"
        none = "" if count else "There are no proposals."
        if everything.is_running:
            none = "A search is under way."
        rest(self.write, none, "Writes them as one undo step.")
        rest(self.drop, none, "Forgets all proposals.")
        self._show_thresholds()
        self._show_histograms()

    def _has_box(self) -> bool:
        prompting = self.controller.annotator.prompting
        return any(p.box is not None for p in prompting.here())

    def _why_no_grid(self) -> str:
        """Return why the grid of points has no effect, empty if it has one."""
        engine = self.controller.loader.engine
        # What a model can do beyond the protocol is its own attribute.
        sees = engine is not None and getattr(engine.model, "has_prompt_head", False)
        if not sees or self.controller.settings.everything.prompts == "grid":
            return ""
        return "This model sees where objects are and asks there, not on a grid."

    def _why_no_size(self) -> str:
        """Return why the size of objects has no effect, empty if some was chosen."""
        if self.size.value:
            return ""
        if self.crops.value:
            return "The plane is searched in crops; set Crop layers to 0."
        if not self._why_no_grid():
            return "This model does not see objects by itself; it asks on a grid."
        return self._why_no_crops()

    def _show_scale(self) -> None:
        """Show beside "auto" the scale that was chosen."""
        shown = self.controller.everything.shown
        found = "" if shown is None or shown.scale is None else f": {shown.scale:.1f} ×"
        self.size.native.setSpecialValueText(f"auto{found}")

    def _why_no_crops(self) -> str:
        """Return why crops cannot be looked at, empty if they can or some are asked."""
        context = self.controller.context
        if context.planes is None or context.plane is None or self.crops.value:
            return ""
        if context.planes.source.is_reduced(context.plane):
            return (
                "The layers that are shown lie on different grids, so a coarser level "
                "is read, which has no more detail."
            )
        return ""

    def _show_histograms(self) -> None:
        """Show of all that was found here where it lies beside the thresholds."""
        controller = self.controller
        plane, proposed = controller.context.plane, controller.everything.proposed
        found = None if plane is None else proposed.unfiltered(plane)
        shown = controller.everything.shown
        if found is None or shown is None or not len(found):
            for empty in self.histograms.values():
                empty.show_counts(np.zeros(BINS, np.intp), (0.0, 1.0))
                empty.setToolTip("")
            return
        limits = shown.thresholds
        by_score = controller.settings.proposal_color is ProposalColor.SCORE
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

    def _show_thresholds(self) -> None:
        """Show what the model's proposals are held to till the user moves it."""
        everything, settings = self.controller.everything, self.controller.settings
        shown, plane = everything.shown, self.controller.context.plane
        if shown is None or plane is None or everything.proposed.is_confident(plane):
            return
        for slider, moved, own in (
            (self.score, settings.min_score, shown.thresholds.min_score),
            (self.stability, settings.min_stability, shown.thresholds.min_stability),
        ):
            if moved is None:
                with slider.changed.blocked():
                    slider.value = min(max(own, slider.min), slider.max)
