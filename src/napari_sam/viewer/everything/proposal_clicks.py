"""What a press on a proposal does with the Point tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam.viewer.prompting.pointer import STILL, followed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.components import ViewerModel
    from napari.layers import Points

    from napari_sam.core.annotation.review_items import ReviewItem
    from napari_sam.viewer.everything.proposal_actions import ProposalActions
    from napari_sam.viewer.prompting.annotator import Annotator
    from napari_sam.viewer.prompting.pointer import Pointer

_LEFT = 1


class ProposalClicks:
    """Mouse callback of one viewer, before those that add a point.

    ======================  ====================================================
    click                   the proposal becomes the current object; with an
                            object under way it is a prompt, as elsewhere
    Ctrl-click              the same, and marks what does not belong to it
    Shift-click             accepts the proposal
    ======================  ====================================================

    Parameters
    ----------
    viewer : ViewerModel
        Whose mouse.
    annotator : Annotator
        Has the prompt layers and the object under way.
    proposal_actions : ProposalActions
        Finds and decides proposals.
    pointer : Pointer
        Knows pixels.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        annotator: Annotator,
        proposal_actions: ProposalActions,
        pointer: Pointer,
    ) -> None:
        self._viewer = viewer
        self._annotator = annotator
        self._proposal_actions = proposal_actions
        self._pointer = pointer
        # The pointer sets the polarity of the next prompt; a proposal that
        # becomes the object before would undo that.
        viewer.mouse_drag_callbacks.insert(0, self._on_press)

    def close(self) -> None:
        """Stop listening."""
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)

    def _on_press(self, viewer: object, event: Any) -> Generator[None, None, None]:
        points = self._armed_points()
        if points is None or event.button != _LEFT:
            return
        review_item = self._proposal_actions.at(self._pointer.pixel_at(event.position))
        if review_item is None:
            return
        modifiers = {str(getattr(m, "name", m)) for m in event.modifiers}
        if modifiers & {"Control", "Meta"}:
            if self._annotator.is_empty:
                # napari adds the point that marks background.
                self._proposal_actions.correct(review_item)
            return
        if "Shift" in modifiers:
            act: Callable[[ReviewItem], Any] = self._accept
        elif self._annotator.is_empty:
            act = self._proposal_actions.correct
        else:
            return
        # In this mode the press adds no point.
        points.mode = "pan_zoom"
        is_still = (yield from followed(event)) < STILL
        if points in self._viewer.layers:
            points.mode = "add"
        if is_still:
            act(review_item)

    def _accept(self, review_item: ReviewItem) -> None:
        self._proposal_actions.accept([review_item])

    def _armed_points(self) -> Points | None:
        """Return the prompt layer if a press would add a point to it."""
        layers = self._annotator.layer_sync.layers
        return layers.points if layers.takes_points else None
