"""The groups of the dock widget, built from magicgui widgets.

A panel sends the user's wishes to the controller and shows its state when told
to; while it does, its own signals are blocked.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSpinBox,
    Label,
    PushButton,
    SpinBox,
)
from napari.layers import Image, Labels
from qtpy.QtWidgets import QComboBox, QLabel

from napari_sam.errors import LabelsError
from napari_sam.types import MaskLevel
from napari_sam.viewer.layers import is_ours
from napari_sam.viewer.settings import POLICY_NAMES, AcceptWait, Normalisation, Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from magicgui.widgets import ProgressBar, Widget
    from napari.layers import Layer

    from napari_sam.models import ModelSpec
    from napari_sam.types import BoolArray, Progress
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.settings import AnnotationSettings

    Shows = tuple[Any, Callable[[AnnotationSettings], Any]]

_LEVELS = {
    MaskLevel.AUTO: "best",
    MaskLevel.SUBPART: "subpart",
    MaskLevel.PART: "part",
    MaskLevel.WHOLE: "whole",
}
_WAITS = {
    AcceptWait.NONE: "what is shown",
    AcceptWait.BRIEF: "what is there in 0.3 s",
    AcceptWait.FINAL: "the best only",
}
_TOOLS = {
    Tool.POINT: ("Point", "Click on objects; Ctrl-click marks background."),
    Tool.BOX: ("Box", "Drag a box around an object; several boxes, several objects."),
    Tool.OUTLINE: ("Outline", "Draw roughly around an object: a filled mask."),
    Tool.ELLIPSE: ("Ellipse", "Drag an ellipse over an object."),
    Tool.SCRIBBLE: ("Scribble", "Drag a line along an object."),
    Tool.EDIT: ("Edit points", "Select, move or delete points."),
}


_IMAGE_PURPOSE = "The image layer to segment."
_LABELS_PURPOSE = (
    "Accepted objects are written here. "
    "Left empty, a layer is made with the first object."
)
_MODEL_PURPOSE = "Labels stay when you switch."


def row(*widgets: Widget) -> Container[Widget]:
    """Return widgets side by side, without margins."""
    box = Container(widgets=list(widgets), layout="horizontal", labels=False)
    box.margins = (0, 0, 0, 0)
    return box


def keep_narrow(*boxes: ComboBox) -> None:
    """Have a long text cut in its box, not the box by the edge of the window."""
    for box in boxes:
        box.native.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        box.native.setMinimumContentsLength(12)


def rest(widget: Any, reason: str, purpose: str = "") -> None:
    """Let a control rest and say why, or work and say what it is for."""
    widget.enabled = not reason
    widget.tooltip = reason or purpose


def show_progress(bar: ProgressBar, progress: Progress | None) -> None:
    """Show how far work is; nothing if there is none."""
    bar.visible = progress is not None
    if progress is not None:
        # Never 0: a bar that moves by itself draws the window all the time.
        bar.max = max(progress.total, 1)
        bar.value = progress.done
        bar.tooltip = progress.text


@contextmanager
def blocked(*widgets: Any) -> Iterator[None]:
    """Set values without telling the controller what it just said.

    Nor does a number field take the focus: superqt's does when its text changes.
    """
    with ExitStack() as stack:
        for widget in widgets:
            stack.enter_context(widget.changed.blocked())
            if isinstance(widget, SpinBox):
                edit = widget.native.lineEdit()
                stack.callback(edit.blockSignals, edit.blockSignals(True))
        yield


class Panel:
    """A container that mirrors part of the controller's state.

    Parameters
    ----------
    controller : Controller
        Gets the user's wishes.
    widgets : list of Widget
        From top to bottom.
    labels : bool
        Whether names stand before them.  It is decided here, once: magicgui wraps a
        widget together with its name, and a container whose ``labels`` change later
        leaves the wrappers behind, which show up as windows of their own.
    shows : sequence of (widget, callable), optional
        Controls of settings, and how to read from these what they show.
    """

    def __init__(
        self,
        controller: Controller,
        widgets: list[Widget],
        *,
        labels: bool = True,
        shows: Sequence[Shows] = (),
    ) -> None:
        self.controller = controller
        self._shows = tuple(shows)
        self._shown: AnnotationSettings | None = None
        self._show_settings()
        self.container: Container[Widget] = Container(widgets=widgets, labels=labels)
        self.container.margins = (0, 0, 0, 0)
        self.container.native.layout().setSpacing(3)

    def refresh(self) -> None:
        """Show the controller's state."""
        self._show_settings()

    def _show_settings(self) -> None:
        """Show what was chosen, here or by whatever else changes settings."""
        settings = self.controller.settings
        if settings is self._shown:
            return
        self._shown = settings
        for widget, read in self._shows:
            value = read(settings)
            if hasattr(widget, "max"):
                value = min(max(value, widget.min), widget.max)
            if widget.value != value:
                with blocked(widget):
                    widget.value = value

    def align_names(self) -> None:
        """Give all names the room of the longest, as they are drawn."""
        names = {widget.label for widget in self.container} - {""}
        labels = [
            label
            for label in self.container.native.findChildren(QLabel)
            if label.text() in names
        ]
        width = max((label.sizeHint().width() for label in labels), default=0)
        for label in labels:
            label.setMinimumWidth(width)


class LayersPanel(Panel):
    """Which image, labels, model and device."""

    def __init__(
        self,
        controller: Controller,
        models: Sequence[ModelSpec],
        preferred: str,
        device: str = "auto",
    ) -> None:
        self.controller = controller
        self._models = {spec.name: spec for spec in models}
        self.image = ComboBox(
            label="Image",
            choices=lambda _: self._layers(Image),
            nullable=True,
        )
        self.labels = ComboBox(
            label="Labels",
            choices=lambda _: self._layers(Labels),
            nullable=True,
        )
        self.new = PushButton(text="New")
        # Layer names are long; the combo box takes what the button leaves.
        self.new.max_width = 60
        self.model = ComboBox(
            label="Model",
            # A preferred path or a name that is gone is listed too, so that
            # another choice is a change.
            choices=list(dict.fromkeys([*self._models, preferred])),
        )
        self.advice = Label(value="")
        self.device = ComboBox(
            label="Device",
            choices=["auto", "cpu", "cuda", "mps"],
            value=device,
            tooltip="Where the model runs; auto takes a GPU if there is one.",
        )
        labels_row = row(self.labels, self.new)
        labels_row.label = "Labels"
        # The device is among the options: it is chosen once, a model more often.
        super().__init__(
            controller, [self.image, labels_row, self.model, row(self.advice)]
        )
        self.advice.native.setWordWrap(True)
        keep_narrow(self.image, self.labels, self.model)
        self.image.changed.connect(self._choose_image)
        self.labels.changed.connect(self._choose_labels)
        self.new.changed.connect(self._new_labels)
        self.model.changed.connect(self._load)
        self.device.changed.connect(self._load)

    def _layers(self, kind: type[Layer]) -> list[tuple[str, Any]]:
        layers = self.controller.viewer.layers
        return [(x.name, x) for x in layers if isinstance(x, kind) and not is_ours(x)]

    def reset_choices(self) -> None:
        """List the viewer's layers again; names and layers may have changed."""
        with blocked(self.image, self.labels):
            self.image.reset_choices()
            self.labels.reset_choices()
        self.refresh()

    def list_models(self, models: Sequence[ModelSpec]) -> None:
        """Offer these models; the one in use stays chosen."""
        self._models = {spec.name: spec for spec in models}
        chosen = self.controller.model_name or self.model.value
        with blocked(self.model):
            self.model.choices = list(dict.fromkeys([*self._models, chosen]))
        self.refresh()

    def refresh(self) -> None:
        """Show the controller's layers."""
        context = self.controller.context
        target = context.target.layer if context.target is not None else None
        with blocked(self.image, self.labels, self.model):
            for box, value in ((self.image, context.image), (self.labels, target)):
                if value is not None and value not in box.choices:
                    box.reset_choices()
                if value not in box.choices:
                    # It has just left the viewer.
                    value = None
                if box.value != value:
                    box.value = value
            name = self.controller.model_name
            if name is not None and name in self.model.choices:
                self.model.value = name
        self.advice.value = which_model(self.model.value, self._models)
        for box, purpose in (
            (self.image, _IMAGE_PURPOSE),
            (self.labels, _LABELS_PURPOSE),
            (self.model, _MODEL_PURPOSE),
        ):
            # Where a name does not fit, the whole of it is one hover away.
            box.tooltip = f"{box.native.currentText()}\n{purpose}".lstrip()
        image = "" if context.image is not None else "Choose an image first."
        rest(self.new, image, "Make an empty Labels layer.")

    def _choose_image(self, layer: Image | None) -> None:
        self.controller.choose_image(layer)
        # The next click is for this image, whatever layer was active.
        self.controller.choose_tool(self.controller.tool)

    def _choose_labels(self, layer: Labels | None) -> None:
        try:
            self.controller.choose_labels(layer)
        except LabelsError as error:
            self.controller.set_status(self.controller.context.report(error))
            self.refresh()

    def _new_labels(self) -> None:
        try:
            self.controller.new_labels()
        except LabelsError as error:
            self.controller.set_status(self.controller.context.report(error))

    def _load(self) -> None:
        self.controller.load_model(self.model.value, self.device.value)


def which_model(name: str | None, models: Mapping[str, ModelSpec]) -> str:
    """Return one line that says what a model is for, and which to take otherwise."""
    spec = models.get(name) if name is not None else None
    if spec is None or not spec.use_for:
        return ""
    others = [
        f"choose {other.name} for {other.use_for}"
        for other in models.values()
        if other.bundled and other.use_for and other.name != name
    ]
    return "; ".join([f"For {spec.use_for}", *others]) + "."


class ObjectPanel(Panel):
    """Tools, and the object under way."""

    def __init__(self, controller: Controller) -> None:
        self.tools = {
            tool: PushButton(text=text, tooltip=tip)
            for tool, (text, tip) in _TOOLS.items()
        }
        for tool, button in self.tools.items():
            button.native.setCheckable(True)
            button.changed.connect(lambda _, t=tool: controller.choose_tool(t))
        buttons = list(self.tools.values())
        self.polarity = PushButton(text="Marks object")
        self.level = ComboBox(
            choices=[(text, level) for level, text in _LEVELS.items()]
        )
        self.info = Label(value="")
        self.accept = PushButton(text="Accept  (N)")
        self.discard = PushButton(text="Discard  (Esc)")
        size = row(self.level, self.polarity)
        super().__init__(
            controller,
            [
                row(*buttons[:3]),
                row(*buttons[3:]),
                size,
                self.info,
                row(self.accept, self.discard),
            ],
            labels=False,
        )
        self.level.changed.connect(controller.set_level)
        self.polarity.changed.connect(controller.flip_polarity)
        self.accept.changed.connect(controller.accept)
        self.discard.changed.connect(controller.discard)

    def refresh(self) -> None:
        """Show the current object."""
        controller, annotator = self.controller, self.controller.annotator
        # What is clicked while the model loads is answered when it is there.
        reason = controller.rest_reason if controller.context.plane is None else ""
        for tool, button in self.tools.items():
            button.native.setChecked(tool == controller.toolbox.lit and not reason)
            rest(button, reason, _TOOLS[tool][1])
        rest(
            self.polarity,
            reason,
            "What the next prompts mark (Q). Ctrl-click marks the other.",
        )
        rest(self.level, reason, "Which of the model's answers to show (W).")
        with blocked(self.level):
            self.level.value = annotator.level
        self.polarity.text = (
            "Marks object" if annotator.positive else "Marks background"
        )
        first, count = annotator.label, annotator.object_count
        parts = [
            f"Object {first}"
            if count == 1
            else f"Objects {first} to {first + count - 1}"
        ]
        if controller.navigator.text:
            parts.append(controller.navigator.text)
        followed = controller.propagation.shown
        if annotator.score is not None:
            parts.append(f"score {annotator.score:.2f}")
        elif followed is not None:
            parts.append(f"confidence {followed.confidence:.2f}")
        self.info.value = "  ·  ".join(parts)
        # One button, whatever N accepts.
        can_accept = (
            annotator.can_accept
            or controller.review.current is not None
            or bool(controller.triage.chosen)
        )
        rest(
            self.accept,
            "" if can_accept else "Nothing to accept yet: click an object first.",
            "Write it into the labels and go on with the next.",
        )
        rest(
            self.discard,
            "There is nothing to discard." if annotator.is_empty else "",
            "Drop the prompts and the preview.",
        )


class OptionsPanel(Panel):
    """How results are shown, cleaned and written.

    Parameters
    ----------
    controller : Controller
        Gets the user's wishes.
    device : Widget
        Where the model runs.
    """

    def __init__(self, controller: Controller, device: Widget) -> None:
        self.hover = CheckBox(text="Preview under the cursor (hold H)")
        self.live = CheckBox(text="Write while I click")
        self.accept_wait = ComboBox(
            label="Accept",
            choices=[(text, wait) for wait, text in _WAITS.items()],
            tooltip="A mask is shown at once, and a better one as soon as it is there.",
        )
        self.policy = ComboBox(
            label="Overlaps",
            choices=[(text, policy) for policy, text in POLICY_NAMES.items()],
        )
        self.normalisation = ComboBox(
            label="Model sees",
            choices=[
                ("the image (percentiles)", Normalisation.PERCENTILE),
                ("what is displayed", Normalisation.DISPLAYED),
            ],
        )
        keep_narrow(self.accept_wait, self.policy, self.normalisation)
        self.fill = CheckBox(text="Fill holes")
        self.largest = CheckBox(text="Keep largest piece")
        self.smooth = FloatSpinBox(label="Smooth outline (px)", min=0, max=20, step=0.5)
        self.min_area = SpinBox(label="Smallest piece (px)", min=0, max=1_000_000)
        super().__init__(
            controller,
            [
                self.hover,
                self.live,
                self.accept_wait,
                self.policy,
                self.normalisation,
                row(self.fill, self.largest),
                self.smooth,
                self.min_area,
                device,
            ],
            shows=[
                (self.hover, lambda s: s.hover),
                (self.live, lambda s: s.live),
                (self.accept_wait, lambda s: s.accept_wait),
                (self.policy, lambda s: s.policy),
                (self.normalisation, lambda s: s.normalisation),
                (self.fill, lambda s: s.cleaning.fill_holes),
                (self.largest, lambda s: s.cleaning.largest_piece),
                (self.smooth, lambda s: s.cleaning.smooth),
                (self.min_area, lambda s: s.cleaning.min_area),
            ],
        )
        self.hover.changed.connect(lambda on: controller.change_settings(hover=on))
        self.live.changed.connect(lambda on: controller.change_settings(live=on))
        self.accept_wait.changed.connect(
            lambda w: controller.change_settings(accept_wait=w)
        )
        self.policy.changed.connect(lambda p: controller.change_settings(policy=p))
        self.normalisation.changed.connect(
            lambda n: controller.change_settings(normalisation=n)
        )
        for widget in (self.fill, self.largest, self.smooth, self.min_area):
            widget.changed.connect(self._clean)

    def _clean(self) -> None:
        cleaning = replace(
            self.controller.settings.cleaning,
            fill_holes=self.fill.value,
            largest_piece=self.largest.value,
            smooth=self.smooth.value,
            min_area=self.min_area.value,
        )
        self.controller.change_settings(cleaning=cleaning)


def encoded_text(ready: BoolArray) -> str:
    """Return how many planes are encoded, in words."""
    return f"{int(ready.sum())} of {len(ready)} planes encoded"


class StackPanel(Panel):
    """Which planes are encoded, and encoding them all."""

    def __init__(self, controller: Controller) -> None:
        self.info = Label(value="")
        self.whole = PushButton(
            text="Encode whole stack",
        )
        self.pause = PushButton(text="Pause")
        super().__init__(
            controller, [self.info, row(self.whole, self.pause)], labels=False
        )
        self.whole.changed.connect(self._toggle_whole)
        self.pause.changed.connect(self._toggle_pause)

    def _toggle_whole(self) -> None:
        prefetcher = self.controller.prefetcher
        prefetcher.request_whole_stack(not prefetcher.is_whole_stack)

    def _toggle_pause(self) -> None:
        prefetcher = self.controller.prefetcher
        prefetcher.set_paused(not prefetcher.is_paused)

    def refresh(self) -> None:
        """Show progress and the time left."""
        prefetcher = self.controller.prefetcher
        ready = prefetcher.strip.ready
        # A single image has no stack to speak of.
        self.container.visible = prefetcher.strip.axis is not None
        whole, done = prefetcher.is_whole_stack, bool(ready.all())
        text = encoded_text(ready)
        if whole and not done:
            text = prefetcher.progress.text
        if prefetcher.is_paused and not done:
            text = f"Paused: {text}.  Only planes you go to are encoded."
        self.info.value = text
        self.whole.text = (
            "Stop encoding" if whole and not done else "Encode whole stack"
        )
        reason = "Every plane is encoded." if done else ""
        rest(
            self.whole,
            reason,
            "Every plane then answers at once, now and in later sessions.",
        )
        rest(
            self.pause,
            reason,
            "Encode neighbouring planes again."
            if prefetcher.is_paused
            else "Encode no planes in advance.",
        )
        self.pause.text = "Go on" if prefetcher.is_paused else "Pause"
