"""The panel for learning from the user's own labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Label, LineEdit, ProgressBar, PushButton
from qtpy.QtWidgets import QSizePolicy

from napari_sam.viewer.learning.learner import Stage
from napari_sam.viewer.view_state import LearnState
from napari_sam.widgets.panels import Panel, blocked, row, show_progress

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.view_state import ViewState


class LearnPanel(Panel[LearnState]):
    """Adapt the model to the accepted objects, and keep the result or not.

    Parameters
    ----------
    controller : Controller
        What it shows and steers.
    """

    def __init__(self, controller: Controller) -> None:
        self.name = LineEdit(
            label="Name", tooltip="What the adapted model will be called."
        )
        self.neck = CheckBox(
            text="Also the end of the image encoder",
            tooltip="May help on images unlike any other; the adapted model then has"
            " to encode every plane again.",
        )
        self.start = PushButton(
            text="Learn from my labels",
            tooltip="The model learns from your accepted objects (at least five) in the"
            " background; a fifth is kept aside to measure what it gains.",
        )
        self.progress = ProgressBar(visible=False)
        self.cancel = PushButton(text="Cancel", visible=False)
        self.info = Label(value="")
        self.keep = PushButton(text="Keep anyway", visible=False)
        self.drop = PushButton(text="Drop", visible=False)
        super().__init__(
            controller,
            [
                self.name,
                self.neck,
                self.start,
                row(self.progress, self.cancel),
                self.info,
                row(self.keep, self.drop),
            ],
        )
        self.info.native.setWordWrap(True)
        # Text that may wrap is as narrow as it can be unless it is told to expand.
        self.info.native.setSizePolicy(
            QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred
        )
        # A name that the user has typed is not replaced.
        self._suggested = ""
        learning = controller.learning
        self.press(self.start, self._start)
        self.press(self.cancel, learning.cancel)
        self.press(self.keep, learning.keep)
        self.press(self.drop, learning.drop)

    def _start(self) -> None:
        self.controller.learning.start(self.name.value, neck=self.neck.value)

    def part(self, state: ViewState) -> LearnState:
        """Return what learning does."""
        return state.learn

    def show(self, state: LearnState) -> None:
        """Show what learning does, or what came of it."""
        self.start.enabled = state.can_start
        for widget in (self.name, self.neck):
            widget.enabled = not state.is_running
        self._suggest(state.name)
        show_progress(self.progress, state.progress)
        self.cancel.visible = state.stage in (Stage.GATHERING, Stage.LEARNING)
        self.keep.visible = state.stage is Stage.UNDECIDED
        self.drop.visible = state.stage in (Stage.UNDECIDED, Stage.KEPT)
        self.info.value = state.text
        self.info.visible = bool(state.text)

    def _suggest(self, name: str) -> None:
        if name != self._suggested and self.name.value in ("", self._suggested):
            with blocked(self.name):
                self.name.value = name
            self._suggested = name
