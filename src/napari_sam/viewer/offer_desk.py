"""Accepting, rejecting and correcting one proposal: the one under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.core.annotation.records import Source
from napari_sam.types import PointPrompt, PromptSet
from napari_sam.viewer.draft import Adopted
from napari_sam.viewer.offers import counted
from napari_sam.viewer.predict import Start
from napari_sam.viewer.rejections import Rejections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.viewer.annotator import Annotator
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything import EverythingMode
    from napari_sam.viewer.offers import Offer, OfferKey
    from napari_sam.viewer.pointer import Pointer
    from napari_sam.viewer.rejections import Step


class OfferDesk:
    """Decides offers of one viewer, for the mouse, the keys and the review.

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
    accepted, rejected : Signal(tuple of OfferKey)
        These offers are in the labels, or dropped.
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

    def find(self, key: OfferKey) -> Offer | None:
        """Return an offer if it can still be decided."""
        offers = self._everything.proposed.offers(key[0])
        return next((o for o in offers if o.key == key), None)

    def at(self, pixel: tuple[int, int] | None) -> Offer | None:
        """Return the offer that is seen at a pixel of the plane on screen."""
        plane, shown = self._context.plane, self._everything.overlay.layer
        if plane is None or pixel is None or (shown is not None and not shown.visible):
            return None
        return self._everything.proposed.offer_at(plane, *pixel)

    def under_cursor(self) -> Offer | None:
        """Return the offer under the cursor."""
        return self.at(self._pointer.pixel_under_cursor())

    # -- what ---------------------------------------------------------------

    def accept(self, offers: Sequence[Offer]) -> int:
        """Write offers into the labels as one undo step; how many were written."""
        count = self._everything.accept(offers)
        if count:
            self.status.emit(
                f"{count} accepted.  Ctrl+Z takes {'it' if count == 1 else 'them'} back"
            )
            self.accepted.emit(tuple(o.key for o in offers))
        return count

    def reject(self, *keys: OfferKey) -> None:
        """Drop offers as one step; if one of them is being corrected, that ends."""
        self._reject(keys)
        self._rejections.add(keys, self._newest)
        them = "it" if len(keys) == 1 else "them"
        self.status.emit(f"{len(keys)} rejected.  Ctrl+Z takes {them} back")

    def _reject(self, keys: tuple[OfferKey, ...]) -> None:
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

    def correct(self, offer: Offer) -> None:
        """Make an offer the current object, so that prompts correct it."""
        is_prefill = self._everything.proposed.is_confident(offer.plane)
        self._annotator.adopt(
            offer.plane,
            Start(
                PromptSet((PointPrompt(*offer.point),)),
                offer.mask,
                min(1.0, offer.score),
            ),
            Adopted(
                offer.key,
                Source.PREFILL if is_prefill else Source.EVERYTHING,
                offer.stability,
            ),
        )

    def accept_under_cursor(self) -> bool:
        """Accept the offer under the cursor; False if there is none."""
        offer = self.under_cursor()
        if offer is None:
            return False
        self.accept([offer])
        return True

    def reject_under_cursor(self) -> None:
        """Reject the offer that is being corrected, or the one under the cursor."""
        adopted, offer = self._annotator.adopted, self.under_cursor()
        if adopted is not None:
            self.reject(adopted.key)
        elif offer is not None:
            self.reject(offer.key)
        else:
            self.status.emit("There is no proposal under the cursor.")

    def correct_under_cursor(self) -> bool:
        """Correct the offer under the cursor; False if there is none."""
        offer = self.under_cursor()
        if offer is None:
            return False
        self.correct(offer)
        return True
