"""The panels that follow an object through the stack or through time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Label, PushButton, SpinBox
from qtpy.QtCore import Qt

from napari_sam.viewer.view_state import FollowState
from napari_sam.widgets.panels import Panel, blocked, encoded_text, rest, row

if TYPE_CHECKING:
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.view_state import ViewState


class FollowPanel(Panel[FollowState]):
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
        self.press(self.both, follower.follow)
        self.press(self.least, follower.go_to_least_sure)
        self.press(self.end, follower.end_here)

    def part(self, state: ViewState) -> FollowState:
        """Return the object through the stack."""
        return state.follow

    def show(self, state: FollowState) -> None:
        """Show what is followed."""
        self.container.visible = state.count > 1
        self.info.value = _said(state)
        rest(
            self.both,
            state.why_not,
            "Finds the object on the slices around; N then writes all as one step.",
        )
        rest(
            self.least,
            "" if state.followed is not None else state.why_not_here,
            "Goes there, then to the next one (Shift+S); a click corrects the slice.",
        )
        rest(
            self.end,
            state.why_not_here,
            "Cuts the object after this slice, or extends it to a gray one (Shift+E).",
        )


def _said(state: FollowState) -> str:
    """Say where the object is, or how much of the stack is encoded."""
    followed = state.followed
    if followed is None or not followed.prompted:
        return encoded_text(state.strip.ready)
    first, last = followed.extent
    text = f"{state.axis_name} {first} to {last}"
    if not followed.is_finished:
        text += ", more to find"
    least = followed.least_sure()
    if least is not None:
        sure = followed.slices[least].confidence
        text += f"  ·  least sure: {least} ({sure:.2f})"
    return text


class VolumePanel(Panel[FollowState]):
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
            self.on(box, self._set_limits)
        self.press(self.down, follower.follow_down)
        self.press(self.up, follower.follow_up)
        self.press(self.all, follower.follow_all)
        self.press(self.link, follower.link)
        self.press(self.below, follower.remove_below)
        self.press(self.above, follower.remove_above)
        self.press(self.redo, follower.redo)
        self.press(self.event, follower.next_event)
        self.on(self.time, self._set_time)
        self.on(self.grow, self._set_grow)

    def part(self, state: ViewState) -> FollowState:
        """Return the object through the stack."""
        return state.follow

    def show(self, state: FollowState) -> None:
        """Show the limits, and what can be done on the slice on screen."""
        if state.count < 2:
            return
        with blocked(self.first, self.last, self.time):
            for box, value in zip((self.first, self.last), state.limits, strict=True):
                box.max = state.count - 1
                box.value = value
            self.time.value = state.is_time
        self.first.tooltip = self.last.tooltip = "An object is followed no farther."
        self.time.tooltip = (
            "The slices are frames: shapes do not go on changing as they did."
        )
        rest(self.down, state.why_not, "Or to earlier frames.")
        rest(self.up, state.why_not, "Or to later frames.")
        rest(
            self.all,
            state.why_not_all,
            "All labeled objects of this slice, written as one step; then review them.",
        )
        rest(
            self.link,
            state.why_not_all,
            "Labels of single slices that are one object get one number; then review"
            " them.",
        )
        rest(
            self.grow,
            "Along time tracks are not grown." if state.is_time else state.why_not_all,
            "Linked objects go on where the slices do not show them, into free pixels.",
        )
        frames = "" if state.is_time else "The slices are no frames: see Time."
        rest(
            self.event,
            state.why_not_all or frames,
            "Where a track ends, begins, divides or jumps, the least certain first"
            " (Shift+R).",
        )
        nothing = state.why_not_here
        rest(self.below, nothing, "What was found on lower slices than this one.")
        rest(self.above, nothing, "What was found on higher slices than this one.")
        rest(
            self.redo, nothing, "What lies between the prompted slices around this one."
        )

    def _set_time(self, is_time: bool) -> None:
        self.controller.propagation.choose(time=is_time)

    def _set_grow(self, grow: bool) -> None:
        self.controller.propagation.grow = grow

    def _set_limits(self, _: int) -> None:
        follower = self.controller.propagation
        first, last = sorted((self.first.value, self.last.value))
        end = follower.count - 1
        follower.choose(first=first or None, last=None if last == end else last)
