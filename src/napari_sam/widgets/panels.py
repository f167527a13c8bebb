"""The groups of the dock widget, built from magicgui widgets.

A panel sends the user's wishes to the controller and shows its state when told
to; while it does, its own signals are blocked.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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
from napari_sam.viewer.plugin_layers import is_ours
from napari_sam.viewer.settings import (
    POLICY_NAMES,
    AcceptWait,
    AnnotationSettings,
    Normalization,
    Tool,
)
from napari_sam.viewer.view_state import LayersState, ObjectState, StackState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from magicgui.widgets import ProgressBar, Widget
    from napari.layers import Layer

    from napari_sam.models import ModelSpec
    from napari_sam.types import BoolArray, Progress
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.view_state import ViewState

    Shows = tuple[Any, Callable[[AnnotationSettings], Any]]

S = TypeVar("S")

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


def show_settings(shows: Sequence[Shows], settings: AnnotationSettings) -> None:
    """Show what was chosen, here or by whatever else changes settings.

    Parameters
    ----------
    shows : sequence of (widget, callable)
        Controls of settings, and how to read from these what they show.
    settings : AnnotationSettings
        What was chosen.
    """
    for widget, read in shows:
        value = read(settings)
        if hasattr(widget, "max"):
            value = min(max(value, widget.min), widget.max)
        if widget.value != value:
            with blocked(widget):
                widget.value = value


class Panel(Generic[S]):
    """A container that shows part of the controller's state.

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
    """

    def __init__(
        self, controller: Controller, widgets: list[Widget], *, labels: bool = True
    ) -> None:
        self.controller = controller
        self._shown: S | None = None
        self.container: Container[Widget] = Container(widgets=widgets, labels=labels)
        self.container.margins = (0, 0, 0, 0)
        self.container.native.layout().setSpacing(3)

    def part(self, state: ViewState) -> S:
        """Return what this panel shows of the state."""
        raise NotImplementedError

    def show(self, state: S) -> None:
        """Show it; everything that is shown depends on it alone."""
        raise NotImplementedError

    def refresh(self, state: ViewState) -> None:
        """Show the state, if it is another one for this panel."""
        part = self.part(state)
        if part != self._shown:
            self._shown = part
            self.show(part)

    def on(self, widget: Any, act: Callable[..., object]) -> None:
        """Act when the user changes a widget, and show what came of it.

        A control that the user has moved may have to go back: what it shows is then
        another state than the panel's, though the panel's has not changed.
        """

        def acted(value: Any) -> None:
            act(value)
            if not self.controller.is_closed:
                self._shown = None
                self.refresh(self.controller.state)

        widget.changed.connect(acted)

    def press(self, button: PushButton, act: Callable[[], object]) -> None:
        """Act when the user presses a button."""
        self.on(button, lambda _: act())

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


class LayersPanel(Panel[LayersState]):
    """Which image, labels, model and device."""

    def __init__(
        self,
        controller: Controller,
        models: Sequence[ModelSpec],
        preferred: str,
        device: str = "auto",
    ) -> None:
        self._viewer = controller.viewer
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
        self.on(self.image, self._choose_image)
        self.on(self.labels, self._choose_labels)
        self.press(self.new, self._new_labels)
        for box in (self.model, self.device):
            self.on(box, self._load)

    def _layers(self, kind: type[Layer]) -> list[tuple[str, Any]]:
        layers = self._viewer.layers
        return [(x.name, x) for x in layers if isinstance(x, kind) and not is_ours(x)]

    def reset_choices(self) -> None:
        """List the viewer's layers again; names and layers may have changed."""
        with blocked(self.image, self.labels):
            self.image.reset_choices()
            self.labels.reset_choices()
        self.show(self.part(self.controller.state))

    def list_models(self, models: Sequence[ModelSpec]) -> None:
        """Offer these models; the one in use stays chosen."""
        self._models = {spec.name: spec for spec in models}
        chosen = self.controller.loader.name or self.model.value
        with blocked(self.model):
            self.model.choices = list(dict.fromkeys([*self._models, chosen]))
        self.show(self.part(self.controller.state))

    def part(self, state: ViewState) -> LayersState:
        """Return image, labels and model."""
        return state.layers

    def show(self, state: LayersState) -> None:
        """Show image, labels and model."""
        with blocked(self.image, self.labels, self.model):
            for box, value in (
                (self.image, state.image),
                (self.labels, state.labels),
            ):
                if value is not None and value not in box.choices:
                    box.reset_choices()
                if value not in box.choices:
                    # It has just left the viewer.
                    value = None
                if box.value != value:
                    box.value = value
            if state.model is not None and state.model in self.model.choices:
                self.model.value = state.model
        self.advice.value = which_model(self.model.value, self._models)
        for box, purpose in (
            (self.image, _IMAGE_PURPOSE),
            (self.labels, _LABELS_PURPOSE),
            (self.model, _MODEL_PURPOSE),
        ):
            # Where a name does not fit, the whole of it is one hover away.
            box.tooltip = f"{box.native.currentText()}\n{purpose}".lstrip()
        image = "" if state.image is not None else "Choose an image first."
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

    def _new_labels(self) -> None:
        try:
            self.controller.new_labels()
        except LabelsError as error:
            self.controller.set_status(self.controller.context.report(error))

    def _load(self, _: str) -> None:
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


class ObjectPanel(Panel[ObjectState]):
    """Tools, and the object under way."""

    def __init__(self, controller: Controller) -> None:
        self.tools = {
            tool: PushButton(text=text, tooltip=tip)
            for tool, (text, tip) in _TOOLS.items()
        }
        for tool, button in self.tools.items():
            button.native.setCheckable(True)
            self.press(button, partial(controller.choose_tool, tool))
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
        self.on(self.level, controller.set_level)
        self.press(self.polarity, controller.flip_polarity)
        self.press(self.accept, controller.accept)
        self.press(self.discard, controller.discard)

    def part(self, state: ViewState) -> ObjectState:
        """Return the object under way."""
        return state.object

    def show(self, state: ObjectState) -> None:
        """Show the object under way."""
        for tool, button in self.tools.items():
            button.native.setChecked(tool == state.tool and not state.why_not)
            rest(button, state.why_not, _TOOLS[tool][1])
        rest(
            self.polarity,
            state.why_not,
            "What the next prompts mark (Q). Ctrl-click marks the other.",
        )
        rest(self.level, state.why_not, "Which of the model's answers to show (W).")
        with blocked(self.level):
            self.level.value = state.level
        self.polarity.text = (
            "Marks object" if state.marks_objects else "Marks background"
        )
        first, count = state.label, state.count
        parts = [
            f"Object {first}"
            if count == 1
            else f"Objects {first} to {first + count - 1}"
        ]
        if state.place:
            parts.append(state.place)
        if state.score is not None:
            parts.append(f"score {state.score:.2f}")
        elif state.confidence is not None:
            parts.append(f"confidence {state.confidence:.2f}")
        self.info.value = "  ·  ".join(parts)
        rest(
            self.accept,
            "" if state.can_accept else "Nothing to accept yet: click an object first.",
            "Write it into the labels and go on with the next.",
        )
        rest(
            self.discard,
            "There is nothing to discard." if state.is_empty else "",
            "Drop the prompts and the preview.",
        )


class OptionsPanel(Panel[AnnotationSettings]):
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
        self.normalization = ComboBox(
            label="Model sees",
            choices=[
                ("the image (percentiles)", Normalization.PERCENTILE),
                ("what is displayed", Normalization.DISPLAYED),
            ],
        )
        keep_narrow(self.accept_wait, self.policy, self.normalization)
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
                self.normalization,
                row(self.fill, self.largest),
                self.smooth,
                self.min_area,
                device,
            ],
        )
        self._shows: Sequence[Shows] = (
            (self.hover, lambda s: s.hover),
            (self.live, lambda s: s.live),
            (self.accept_wait, lambda s: s.accept_wait),
            (self.policy, lambda s: s.policy),
            (self.normalization, lambda s: s.normalization),
            (self.fill, lambda s: s.cleaning.fill_holes),
            (self.largest, lambda s: s.cleaning.largest_piece),
            (self.smooth, lambda s: s.cleaning.smooth),
            (self.min_area, lambda s: s.cleaning.min_area),
        )
        change = controller.change_settings
        self.on(self.hover, lambda on: change(hover=on))
        self.on(self.live, lambda on: change(live=on))
        self.on(self.accept_wait, lambda wait: change(accept_wait=wait))
        self.on(self.policy, lambda policy: change(policy=policy))
        self.on(self.normalization, lambda n: change(normalization=n))
        for widget in (self.fill, self.largest, self.smooth, self.min_area):
            self.on(widget, self._clean)

    def part(self, state: ViewState) -> AnnotationSettings:
        """Return what was chosen."""
        return state.settings

    def show(self, state: AnnotationSettings) -> None:
        """Show what was chosen."""
        show_settings(self._shows, state)

    def _clean(self, _: object) -> None:
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


class StackPanel(Panel[StackState]):
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
        self.press(self.whole, self._toggle_whole)
        self.press(self.pause, self._toggle_pause)

    def _toggle_whole(self) -> None:
        prefetcher = self.controller.prefetcher
        prefetcher.request_whole_stack(not prefetcher.is_whole_stack)

    def _toggle_pause(self) -> None:
        prefetcher = self.controller.prefetcher
        prefetcher.set_paused(not prefetcher.is_paused)

    def part(self, state: ViewState) -> StackState:
        """Return which planes are encoded."""
        return state.stack

    def show(self, state: StackState) -> None:
        """Show which planes are encoded, and the time left."""
        ready = state.strip.ready
        # A single image has no stack to speak of.
        self.container.visible = state.strip.axis is not None
        done = bool(ready.all())
        text = state.progress or encoded_text(ready)
        if state.is_paused and not done:
            text = f"Paused: {text}.  Only planes you go to are encoded."
        self.info.value = text
        self.whole.text = "Stop encoding" if state.is_whole else "Encode whole stack"
        reason = "Every plane is encoded." if done else ""
        rest(
            self.whole,
            reason,
            "Every plane then answers at once, now and in later sessions.",
        )
        rest(
            self.pause,
            reason,
            "Encode neighboring planes again."
            if state.is_paused
            else "Encode no planes in advance.",
        )
        self.pause.text = "Go on" if state.is_paused else "Pause"
