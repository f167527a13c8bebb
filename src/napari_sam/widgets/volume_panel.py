"""The panel that follows an object through the stack or through time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Label, PushButton, SpinBox
from qtpy.QtCore import Qt

from napari_sam.widgets.panels import Panel, blocked, rest, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller


class VolumePanel(Panel):
    """Follow the object under way, see how sure that is, and set where it ends."""

    def __init__(self, controller: Controller) -> None:
        follower = controller.propagation
        self.info = Label(value="")
        self.down = PushButton(text="◀ Lower")
        self.both = PushButton(text="Follow (Shift+T)")
        self.up = PushButton(text="Higher ▶")
        self.first = SpinBox(label="Slices", min=0, max=0)
        self.last = SpinBox(label="to", min=0, max=0)
        self.time = CheckBox(text="Time")
        self.all = PushButton(text="Follow all of slice")
        self.link = PushButton(text="Link all slices")
        self.least = PushButton(text="Least sure (Shift+S)")
        self.end = PushButton(text="End here (Shift+E)")
        self.below = PushButton(text="Remove lower")
        self.redo = PushButton(text="Redo here")
        self.above = PushButton(text="Remove higher")
        super().__init__(
            controller,
            [
                self.info,
                row(self.down, self.both, self.up),
                row(Label(value="From slice"), self.first, Label(value="to"), self.last,
                    self.time),
                row(self.all, self.link),
                row(self.least, self.end),
                row(self.below, self.redo, self.above),
            ],
            labels=False,
        )  # fmt: skip
        for box in (self.first, self.last):
            # Letters are keys until somebody clicks here.
            box.native.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.down.changed.connect(follower.follow_down)
        self.both.changed.connect(lambda: follower.follow())
        self.up.changed.connect(follower.follow_up)
        self.all.changed.connect(follower.follow_all)
        self.link.changed.connect(follower.link)
        self.least.changed.connect(follower.go_to_least_sure)
        self.end.changed.connect(follower.end_here)
        self.below.changed.connect(follower.remove_below)
        self.above.changed.connect(follower.remove_above)
        self.redo.changed.connect(follower.redo)
        self.time.changed.connect(self._set_time)
        self.first.changed.connect(self._set_limits)
        self.last.changed.connect(self._set_limits)

    @property
    def is_needed(self) -> bool:
        """Whether there is a stack."""
        return self.controller.propagation.count > 1

    def refresh(self) -> None:
        """Show what is followed."""
        follower = self.controller.propagation
        count = follower.count
        self.container.visible = self.is_needed
        if not self.is_needed:
            return
        with blocked(self.first, self.last, self.time):
            for box, value in (
                (self.first, follower.first or 0),
                (self.last, count - 1 if follower.last is None else follower.last),
            ):
                box.max = count - 1
                box.value = min(max(value, 0), count - 1)
            self.time.value = follower.is_time
        self.first.tooltip = self.last.tooltip = "An object is followed no farther."
        self.time.tooltip = (
            "The slices are frames: shapes do not go on changing as they did."
        )
        self.info.value = self._said()
        reason = follower.why_not
        for button, purpose in (
            (self.down, "Only to lower slices, or earlier frames."),
            (self.both, "To both sides. N then writes all slices as one step."),
            (self.up, "Only to higher slices, or later frames."),
        ):
            rest(button, reason, purpose)
        labels = ""
        if self.controller.labels.layer is None:
            labels = "There are no labels."
        elif self.controller.context.plane is None:
            labels = "Show the image in 2-D."
        rest(
            self.all,
            labels,
            "All labeled objects of this slice, written as one step; then review them.",
        )
        rest(
            self.link,
            labels,
            "Labels of single slices that are one object get one number.",
        )
        nothing = follower.why_not_here
        rest(
            self.least,
            "" if follower.followed is not None else nothing,
            "Then the next one; a click corrects the slice.",
        )
        rest(
            self.end, nothing, "Cuts it after this slice, or extends it to a gray one."
        )
        rest(self.below, nothing, "What was found on lower slices than this one.")
        rest(self.above, nothing, "What was found on higher slices than this one.")
        rest(
            self.redo, nothing, "What lies between the prompted slices around this one."
        )

    def _said(self) -> str:
        followed = self.controller.propagation.followed
        if followed is None or not followed.prompted:
            return "Mark an object, then follow it through the stack."
        first, last = followed.extent
        text = f"{self.controller.propagation.axis_name} {first} to {last}"
        least = followed.least_sure()
        if least is not None:
            sure = followed.slices[least].confidence
            text += f"  ·  least sure: {least} ({sure:.2f})"
        return text

    def _set_time(self, is_time: bool) -> None:
        self.controller.propagation.time = is_time

    def _set_limits(self) -> None:
        follower = self.controller.propagation
        first, last = sorted((self.first.value, self.last.value))
        follower.first = first or None
        follower.last = None if last == follower.count - 1 else last
