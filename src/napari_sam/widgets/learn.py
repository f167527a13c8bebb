"""The panel for learning from the user's own labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Label, LineEdit, ProgressBar, PushButton
from qtpy.QtWidgets import QSizePolicy

from napari_sam.viewer.learning import Stage
from napari_sam.widgets.panels import Panel, blocked, row, show_progress

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller


class LearnPanel(Panel):
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
        self.start.changed.connect(self._start)
        self.cancel.changed.connect(learning.cancel)
        self.keep.changed.connect(learning.keep)
        self.drop.changed.connect(learning.drop)

    def _start(self) -> None:
        self.controller.learning.start(self.name.value, neck=self.neck.value)

    def refresh(self) -> None:
        """Show what learning does, or what came of it."""
        learning = self.controller.learning
        stage, progress = learning.stage, learning.progress
        self.start.enabled = (
            self.controller.context.planes is not None and not learning.is_running
        )
        for widget in (self.name, self.neck):
            widget.enabled = not learning.is_running
        self._suggest(learning.suggested_name)
        show_progress(self.progress, progress)
        self.cancel.visible = stage in (Stage.GATHERING, Stage.LEARNING)
        self.keep.visible = stage is Stage.UNDECIDED
        self.drop.visible = stage in (Stage.UNDECIDED, Stage.KEPT)
        self.info.value = self._text()
        self.info.visible = bool(self.info.value)

    def _suggest(self, name: str) -> None:
        if name != self._suggested and self.name.value in ("", self._suggested):
            with blocked(self.name):
                self.name.value = name
            self._suggested = name

    def _text(self) -> str:
        learning = self.controller.learning
        if learning.progress is not None:
            return learning.progress.text
        if learning.result is None:
            return ""
        if learning.stage is Stage.UNDECIDED:
            return f"Not better: {learning.result.summary}."
        if learning.saved is not None:
            return f"{learning.saved.stem}: {learning.result.summary}."
        return ""
