"""The panels that follow an object through the stack or through time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Label, PushButton, SpinBox
from qtpy.QtCore import Qt

from napari_sam.widgets.panels import Panel, blocked, encoded_text, rest, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller


class FollowPanel(Panel):
    """Follow the object under way, see how sure that is, and set where it ends.

    While none is followed, say how much of the stack is encoded.
    """

    def __init__(self, controller: Controller) -> None:
        follower = controller.propagation
        self.info = Label(value="")
        self.both = PushButton(text="Follow (Shift+T)")
        self.least = PushButton(text="Least sure")
        self.end = PushButton(text="End here")
        super().__init__(
            controller,
            [self.info, row(self.both, self.least, self.end)],
            labels=False,
        )
        self.both.changed.connect(lambda: follower.follow())
        self.least.changed.connect(follower.go_to_least_sure)
        self.end.changed.connect(follower.end_here)

    def refresh(self) -> None:
        """Show what is followed."""
        follower = self.controller.propagation
        self.container.visible = follower.count > 1
        self.info.value = self._said()
        rest(
            self.both,
            follower.why_not,
            "Finds the object on the slices around; N then writes all as one step.",
        )
        nothing = follower.why_not_here
        rest(
            self.least,
            "" if follower.followed is not None else nothing,
            "Goes there, then to the next one (Shift+S); a click corrects the slice.",
        )
        rest(
            self.end,
            nothing,
            "Cuts the object after this slice, or extends it to a gray one (Shift+E).",
        )

    def _said(self) -> str:
        follower = self.controller.propagation
        followed = follower.followed
        if followed is None or not followed.prompted:
            return encoded_text(self.controller.prefetcher.strip.ready)
        first, last = followed.extent
        text = f"{follower.axis_name} {first} to {last}"
        least = followed.least_sure()
        if least is not None:
            sure = followed.slices[least].confidence
            text += f"  ·  least sure: {least} ({sure:.2f})"
        return text


class VolumePanel(Panel):
    """How far an object is followed, its parts, all objects, and their numbers."""

    def __init__(self, controller: Controller) -> None:
        follower = controller.propagation
        self.first = SpinBox(label="Slices", min=0, max=0)
        self.last = SpinBox(label="to", min=0, max=0)
        self.time = CheckBox(text="Time")
        self.down = PushButton(text="◀ Follow to lower")
        self.up = PushButton(text="Follow to higher ▶")
        self.all = PushButton(text="Follow all of slice")
        self.link = PushButton(text="Link all slices")
        self.grow = CheckBox(text="Grow")
        self.event = PushButton(text="Next event")
        self.below = PushButton(text="Remove lower")
        self.redo = PushButton(text="Redo here")
        self.above = PushButton(text="Remove higher")
        limits = (Label(value="From slice"), self.first, Label(value="to"), self.last)
        super().__init__(
            controller,
            [
                row(*limits, self.time),
                row(self.down, self.up),
                row(self.below, self.redo, self.above),
                row(self.all, self.event),
                row(self.link, self.grow),
            ],
            labels=False,
        )
        for box in (self.first, self.last):
            # Letters are keys until somebody clicks here.
            box.native.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
            box.changed.connect(self._set_limits)
        self.down.changed.connect(follower.follow_down)
        self.up.changed.connect(follower.follow_up)
        self.all.changed.connect(follower.follow_all)
        self.link.changed.connect(follower.link)
        self.event.changed.connect(follower.next_event)
        self.below.changed.connect(follower.remove_below)
        self.above.changed.connect(follower.remove_above)
        self.redo.changed.connect(follower.redo)
        self.time.changed.connect(self._set_time)
        self.grow.changed.connect(self._set_grow)

    def refresh(self) -> None:
        """Show the limits, and what can be done on the slice on screen."""
        follower = self.controller.propagation
        count = follower.count
        if count < 2:
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
        rest(self.down, follower.why_not, "Or to earlier frames.")
        rest(self.up, follower.why_not, "Or to later frames.")
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
            "Labels of single slices that are one object get one number; then review"
            " them.",
        )
        rest(
            self.grow,
            "Along time tracks are not grown." if follower.is_time else labels,
            "Linked objects go on where the slices do not show them, into free pixels.",
        )
        frames = "" if follower.is_time else "The slices are no frames: see Time."
        rest(
            self.event,
            labels or frames,
            "Where a track ends, begins, divides or jumps, the least certain first"
            " (Shift+R).",
        )
        nothing = follower.why_not_here
        rest(self.below, nothing, "What was found on lower slices than this one.")
        rest(self.above, nothing, "What was found on higher slices than this one.")
        rest(
            self.redo, nothing, "What lies between the prompted slices around this one."
        )

    def _set_time(self, is_time: bool) -> None:
        self.controller.propagation.time = is_time

    def _set_grow(self, grow: bool) -> None:
        self.controller.propagation.grow = grow

    def _set_limits(self) -> None:
        follower = self.controller.propagation
        first, last = sorted((self.first.value, self.last.value))
        follower.first = first or None
        follower.last = None if last == follower.count - 1 else last
        self.controller.changed.emit()
