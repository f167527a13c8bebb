"""Palette commands: they act on the dock widget of the viewer they are given."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info

if TYPE_CHECKING:
    import napari.viewer

    from napari_sam.viewer.controller import Controller


def find(viewer: napari.viewer.Viewer) -> Controller | None:
    """Return the open controller of a viewer, if it has one."""
    from napari_sam.widgets.dock import SamWidget

    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, SamWidget) and not widget.controller.is_closed:
            return widget.controller
    return None


def _controller(viewer: napari.viewer.Viewer) -> Controller | None:
    controller = find(viewer)
    if controller is None:
        show_info("Open Segment Anything from the Plugins menu first.")
    return controller


def _act(viewer: napari.viewer.Viewer, action: str) -> None:
    controller = _controller(viewer)
    if controller is not None:
        attrgetter(action)(controller)()


def accept(viewer: napari.viewer.Viewer) -> None:
    """Accept the previewed object."""
    _act(viewer, "accept")


def discard(viewer: napari.viewer.Viewer) -> None:
    """Drop the preview."""
    _act(viewer, "discard")


def cycle_level(viewer: napari.viewer.Viewer) -> None:
    """Show the next of subpart, part and whole."""
    _act(viewer, "cycle_level")


def pick_object(viewer: napari.viewer.Viewer) -> None:
    """Make the object under the cursor current again."""
    _act(viewer, "pick_under_cursor")


def prefill(viewer: napari.viewer.Viewer) -> None:
    """Propose what the model is sure of on the plane on screen."""
    _act(viewer, "prefill")


def reject(viewer: napari.viewer.Viewer) -> None:
    """Drop the proposal that is reviewed or under the cursor."""
    _act(viewer, "reject")


def skip(viewer: napari.viewer.Viewer) -> None:
    """Leave what is reviewed for later."""
    _act(viewer, "skip")


def toggle_review(viewer: napari.viewer.Viewer) -> None:
    """Begin or pause the review of what was found."""
    _act(viewer, "toggle_review")


def accept_plane(viewer: napari.viewer.Viewer) -> None:
    """Accept all proposals of the plane on screen."""
    _act(viewer, "accept_plane")


def segment_plane(viewer: napari.viewer.Viewer) -> None:
    """Find all objects of the plane on screen."""
    _act(viewer, "segment_plane")


def segment_view(viewer: napari.viewer.Viewer) -> None:
    """Segment everything that the view shows."""
    _act(viewer, "segment_view")


def segment_stack(viewer: napari.viewer.Viewer) -> None:
    """Find all objects of all planes."""
    _act(viewer, "segment_stack")


def learn(viewer: napari.viewer.Viewer) -> None:
    """Adapt the model to the accepted objects."""
    controller = _controller(viewer)
    if controller is not None:
        controller.learning.start()


def encode_stack(viewer: napari.viewer.Viewer) -> None:
    """Encode all planes of the stack."""
    _act(viewer, "encode_stack")


def follow(viewer: napari.viewer.Viewer) -> None:
    """Follow the object under way through the stack."""
    _act(viewer, "propagation.follow")


def follow_all(viewer: napari.viewer.Viewer) -> None:
    """Follow all labeled objects of this slice through the stack."""
    _act(viewer, "propagation.follow_all")


def link_slices(viewer: napari.viewer.Viewer) -> None:
    """Give objects of single slices one number through the stack or through time."""
    _act(viewer, "propagation.link")


def mark_division(viewer: napari.viewer.Viewer) -> None:
    """Mark the object under the cursor as a daughter of the one that was picked."""
    _act(viewer, "propagation.divisions.mark")


def next_event(viewer: napari.viewer.Viewer) -> None:
    """Go to the next event of the tracks, the least certain first."""
    _act(viewer, "propagation.next_event")


def follow_down(viewer: napari.viewer.Viewer) -> None:
    """Follow the object under way to lower slices."""
    _act(viewer, "propagation.follow_down")


def follow_up(viewer: napari.viewer.Viewer) -> None:
    """Follow the object under way to higher slices."""
    _act(viewer, "propagation.follow_up")


def least_sure(viewer: napari.viewer.Viewer) -> None:
    """Go to the slice on which the object is least sure."""
    _act(viewer, "propagation.go_to_least_sure")


def end_here(viewer: napari.viewer.Viewer) -> None:
    """Let the object end on the slice on screen."""
    _act(viewer, "propagation.end_here")


def remove_lower(viewer: napari.viewer.Viewer) -> None:
    """Drop what was found on lower slices."""
    _act(viewer, "propagation.remove_below")


def remove_higher(viewer: napari.viewer.Viewer) -> None:
    """Drop what was found on higher slices."""
    _act(viewer, "propagation.remove_above")


def redo_slices(viewer: napari.viewer.Viewer) -> None:
    """Look once more between the prompted slices around the one on screen."""
    _act(viewer, "propagation.redo")
