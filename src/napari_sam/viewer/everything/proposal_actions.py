"""Accepting, rejecting and correcting one proposal: under the cursor, or by a press."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.core.annotation.records import Source
from napari_sam.core.annotation.review_items import counted
from napari_sam.types import PointPrompt, PromptSet
from napari_sam.viewer.everything.rejections import Rejections
from napari_sam.viewer.prompting.draft import AdoptedProposal
from napari_sam.viewer.prompting.pointer import STILL, followed
from napari_sam.viewer.prompting.predictions import PreviousLogits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Points

    from napari_sam.core.annotation.review_items import ReviewItem, ReviewItemKey
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything.mode import EverythingMode
    from napari_sam.viewer.everything.rejections import Step
    from napari_sam.viewer.prompting.annotator import Annotator
    from napari_sam.viewer.prompting.pointer import Pointer


_LEFT = 1


class ProposalActions:
    """Decides review items of one viewer, for the mouse, the keys and the review.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    everything : EverythingMode
        Has the proposals.
    annotator : Annotator
        Takes what is to be corrected.
    pointer : Pointer
        Knows where the cursor is.

    Attributes
    ----------
    accepted, rejected : Signal(tuple of ReviewItemKey)
        These review items are in the labels, or dropped.
    status : Signal(str)
        What just happened and what to press next.
    """

    accepted = Signal(object)
    rejected = Signal(object)
    status = Signal(str)

    def __init__(
        self,
        context: Context,
        everything: EverythingMode,
        annotator: Annotator,
        pointer: Pointer,
    ) -> None:
        self._context = context
        self._everything = everything
        self._annotator = annotator
        self._pointer = pointer
        self._rejections = Rejections()
        for written in (everything.written, annotator.written):
            written.connect(self.labels_changed)

    # -- which --------------------------------------------------------------

    def find(self, key: ReviewItemKey) -> ReviewItem | None:
        """Return a review item if it can still be decided."""
        review_items = self._everything.proposed.review_items(key[0])
        return next((o for o in review_items if o.key == key), None)

    def at(self, pixel: tuple[int, int] | None) -> ReviewItem | None:
        """Return the review item that is seen at a pixel of the plane on screen."""
        plane, shown = self._context.plane, self._everything.overlay.layer
        if plane is None or pixel is None or (shown is not None and not shown.visible):
            return None
        return self._everything.proposed.review_item_at(plane, *pixel)

    def under_cursor(self) -> ReviewItem | None:
        """Return the review item under the cursor."""
        return self.at(self._pointer.pixel_under_cursor())

    # -- what ---------------------------------------------------------------

    def accept(self, review_items: Sequence[ReviewItem]) -> int:
        """Write items into the labels as one undo step; how many were written."""
        count = self._everything.accept(review_items)
        if count:
            self.status.emit(
                f"{count} accepted.  Ctrl+Z takes {'it' if count == 1 else 'them'} back"
            )
            self.accepted.emit(tuple(o.key for o in review_items))
        return count

    def reject(self, *keys: ReviewItemKey) -> None:
        """Drop items as one step; if one of them is being corrected, that ends."""
        self._reject(keys)
        self._rejections.add(keys, self._newest)
        them = "it" if len(keys) == 1 else "them"
        self.status.emit(f"{len(keys)} rejected.  Ctrl+Z takes {them} back")

    def _reject(self, keys: tuple[ReviewItemKey, ...]) -> None:
        adopted = self._annotator.adopted
        if adopted is not None and adopted.key in keys:
            self._annotator.discard()
        self._everything.reject(*keys)
        self.rejected.emit(keys)

    def undo_reject(self) -> bool:
        """Offer again what was rejected last; False if the labels changed since."""
        keys = self._rejections.undo(self._newest)
        if keys:
            self._everything.reopen(keys)
            self.status.emit(f"{counted(len(keys))} there again.")
        return bool(keys)

    def redo_reject(self) -> bool:
        """Drop again what `undo_reject` has brought back; False if nothing is due."""
        keys = self._rejections.redo(self._newest)
        if keys:
            self._reject(keys)
            self.status.emit(f"{counted(len(keys))} rejected again.")
        return bool(keys)

    def labels_changed(self) -> None:
        """Note a new step of the labels."""
        self._rejections.fork()

    def on_painted(self, is_new: bool) -> None:
        """Note a stroke; one that is undone or redone is no new step."""
        if is_new:
            self.labels_changed()

    def reset(self) -> None:
        """Forget everything: another image or model."""
        self._rejections.clear()

    @property
    def _newest(self) -> Step:
        target = self._context.target
        newest = target.newest if target is not None else None
        # A step that is undone and redone is another object, of the same pixels.
        return None if newest is None else newest.pixels or newest.lineage

    def correct(self, review_item: ReviewItem) -> None:
        """Make a review item the current object, so that prompts correct it."""
        is_prefill = self._everything.proposed.is_confident(review_item.plane)
        self._annotator.adopt(
            review_item.plane,
            PreviousLogits(
                PromptSet((PointPrompt(*review_item.point),)),
                review_item.mask,
                min(1.0, review_item.score),
            ),
            AdoptedProposal(
                review_item.key,
                Source.PREFILL if is_prefill else Source.EVERYTHING,
                review_item.stability,
            ),
        )

    def accept_under_cursor(self) -> bool:
        """Accept the review item under the cursor; False if there is none."""
        review_item = self.under_cursor()
        if review_item is None:
            return False
        self.accept([review_item])
        return True

    def reject_under_cursor(self) -> None:
        """Reject the item that is being corrected, or the one under the cursor."""
        adopted, review_item = self._annotator.adopted, self.under_cursor()
        if adopted is not None:
            self.reject(adopted.key)
        elif review_item is not None:
            self.reject(review_item.key)
        else:
            self.status.emit("There is no proposal under the cursor.")

    def correct_under_cursor(self) -> bool:
        """Correct the review item under the cursor; False if there is none."""
        review_item = self.under_cursor()
        if review_item is None:
            return False
        self.correct(review_item)
        return True


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
