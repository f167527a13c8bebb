"""Going through proposals one by one, from the least certain on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.core.annotation.review_queue import (
    Entry,
    EntryKey,
    Outcome,
    ReviewQueue,
)
from napari_sam.core.everything.triage import doubt
from napari_sam.errors import SamError
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.everything.mode import keys_of
from napari_sam.viewer.labels.renumbered import Renumbered
from napari_sam.viewer.labels.unreviewed import ErasedObject, UnreviewedObjects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_sam.core.annotation.review_items import ReviewItem, ReviewItemKey
    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.types import MaskCrop, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything.mode import EverythingMode
    from napari_sam.viewer.everything.proposal_actions import ProposalActions
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.labels.unreviewed import LinkedPlaces
    from napari_sam.viewer.navigation import Navigator
    from napari_sam.viewer.prompting.annotator import Annotator

REVIEW_SLOT = "review"
_KEYS = "N accepts · K rejects · J corrects · Shift+N skips"


class Review:
    """Walks through proposals and through objects that nobody has looked at.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    everything : EverythingMode
        Has the proposals.
    annotator : Annotator
        Takes what is to be corrected.
    proposal_actions : ProposalActions
        Decides proposals.
    navigator : Navigator
        Moves the viewer.

    Attributes
    ----------
    changed : Signal()
        What the panel shows has changed.
    status : Signal(str)
        What just happened and what to press next.
    """

    changed = Signal()
    status = Signal(str)

    def __init__(
        self,
        context: Context,
        everything: EverythingMode,
        annotator: Annotator,
        proposal_actions: ProposalActions,
        navigator: Navigator,
    ) -> None:
        self._context = context
        self._everything = everything
        self._annotator = annotator
        self._proposal_actions = proposal_actions
        self._navigator = navigator
        self._queue = ReviewQueue()
        self._objects = UnreviewedObjects(context)
        self._target: LabelsTarget | None = None
        self._is_correcting = False
        everything.highlighter = self._highlight
        everything.changed.connect(self._on_proposals)
        everything.reopened.connect(self._reopen)
        everything.all_written.connect(self._on_accepted)
        annotator.changed.connect(self._on_annotator)
        annotator.written.connect(self._on_written)
        proposal_actions.accepted.connect(self._on_accepted)
        proposal_actions.rejected.connect(self._on_rejected)

    # -- state --------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether a review is under way."""
        return self._everything.is_muted

    def _set_active(self, active: bool) -> None:
        self._everything.is_muted = active

    @property
    def proposal_count(self) -> int:
        """How many proposals wait on all planes."""
        return self._everything.count

    @property
    def object_count(self) -> int:
        """How many written objects nobody has looked at."""
        return self._objects.count

    @property
    def current(self) -> Entry | None:
        """What is looked at; None without a review."""
        return self._queue.current if self.is_active else None

    @property
    def text(self) -> str:
        """How far the review is: ``3 of 57 · 2 accepted``."""
        queue = self._queue
        return (
            f"{queue.position} of {len(queue)} · "
            f"{queue.count(Outcome.ACCEPTED)} accepted"
        )

    @property
    def text_now(self) -> str:
        """What is looked at and what to press; empty without a review."""
        entry = self.current
        if entry is None:
            return ""
        why = f": {entry.why}" if entry.why else ""
        return f"Certainty {entry.certainty:.2f}{why}.  {_KEYS}"

    # -- walking ------------------------------------------------------------

    def toggle(self) -> None:
        """Begin to review, or pause."""
        if self.is_active:
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Begin with the least certain, or go on where it was stopped."""
        self._start(by_doubt=False)

    def next_uncertain(self) -> None:
        """Look at the next one, without deciding this one.

        Without a review, begin one with the proposal that is closest to a threshold.
        """
        self._go(1)

    def previous_uncertain(self) -> None:
        """Look at the one before; see `next_uncertain`."""
        self._go(-1)

    def _go(self, by: int) -> None:
        if not self.is_active:
            self._start(by_doubt=True)
            return
        self._leave_correction()
        entry = self._queue.step(by, self._is_open)
        if entry is not None:
            self._show(entry)
        self.changed.emit()

    def order_by(self, places: Mapping[EntryKey, float]) -> None:
        """Go on with these entries, the lowest first."""
        self._queue.order_by(places)

    def _start(self, *, by_doubt: bool) -> None:
        proposed = self._everything.proposed
        if not len(proposed) and not self._objects.count:
            self.status.emit("There is nothing to review: find objects first.")
            return
        proposed.open_for_review(proposed.found)
        # Masks and labels of many planes take more than a moment.
        self._context.runner.submit(
            Job(
                proposed.iter_review_items,
                priority=Priority.PREDICT,
                slot=REVIEW_SLOT,
                on_result=partial(self._begin, by_doubt),
                on_error=self._on_error,
            )
        )

    def _begin(self, by_doubt: bool, made: dict[Plane, tuple[ReviewItem, ...]]) -> None:
        proposed = self._everything.proposed
        proposed.take(made)
        review_items = [
            o for plane in proposed.offered for o in proposed.review_items(plane)
        ]
        self._target = self._context.target
        self._queue.fill([*map(_entry, review_items), *self._objects.entries()])
        self._queue.order_by(self._doubts(review_items) if by_doubt else {})
        self._set_active(True)
        self._next()

    def _doubts(self, review_items: Sequence[ReviewItem]) -> dict[EntryKey, float]:
        """Return how close each proposal is to a threshold that would hide it."""
        found = self._everything.found
        limits = np.array(
            [
                (t.min_score, t.min_stability)
                for t in (
                    found[review_item.plane].thresholds for review_item in review_items
                )
            ]
        ).reshape(-1, 2)
        doubts = doubt(
            [o.score for o in review_items],
            [o.stability for o in review_items],
            *limits.T,
        )
        return {o.key: x for o, x in zip(review_items, doubts.tolist(), strict=True)}

    def _on_error(self, error: Exception) -> None:
        self.status.emit(self._context.report(error))

    def stop(self) -> None:
        """Pause; what was decided stays, and `start` goes on from there."""
        self._context.runner.cancel(REVIEW_SLOT)
        if self.is_active:
            self._set_active(False)
            self._everything.draw()
            self.status.emit(f"Review paused: {len(self._queue.open())} left.")
            self.changed.emit()

    def reset(self) -> None:
        """Forget the review: another image or model."""
        self._context.runner.cancel(REVIEW_SLOT)
        self._set_active(False)
        self._queue.clear()
        self.changed.emit()

    def skip(self) -> None:
        """Leave the current one for later and go to the next."""
        entry = self.current
        if entry is None:
            self.status.emit("No review is under way: press Review in the panel.")
            return
        self._leave_correction()
        self._settle([entry.key], Outcome.SKIPPED)

    def _settle(self, keys: Iterable[EntryKey], outcome: Outcome) -> None:
        """Note what became of entries; go on if the current one is among them."""
        done = set(keys)
        for key in done:
            self._queue.mark(key, outcome)
        if self.current is not None and self.current.key in done:
            self._next()
        else:
            self.changed.emit()

    def _next(self) -> None:
        entry = self._queue.advance(self._is_open)
        if entry is None:
            self._set_active(False)
            self._everything.draw()
            later = self._queue.count(Outcome.SKIPPED)
            self.status.emit(
                f"Review done: {self._queue.count(Outcome.ACCEPTED)} accepted, "
                f"{self._queue.count(Outcome.REJECTED)} rejected"
                + (f", {later} left for later." if later else ".")
            )
        else:
            self._show(entry)
        self.changed.emit()

    def _show(self, entry: Entry) -> None:
        found = self._find(entry)
        if found is not None:
            plane, mask = found
            self._navigator.show(plane, mask.region)
            self._everything.draw()
            self.status.emit(self.text_now)

    def _comes_back(self, entry: Entry) -> bool:
        """Go back to what is looked at, if the user has moved away meanwhile."""
        if self._is_on_screen(entry):
            return False
        self._show(entry)
        return True

    def _is_on_screen(self, entry: Entry) -> bool:
        plane = self._context.plane
        return plane is not None and plane.index == entry.plane.index

    def _is_open(self, entry: Entry) -> bool:
        return self._find(entry) is not None

    def _find(self, entry: Entry) -> tuple[Plane, MaskCrop] | None:
        """Return what an entry would write or has written, None if it is gone."""
        if isinstance(entry.key, int):
            return self._objects.find(entry.key)
        review_item = self._proposal_actions.find(entry.key)
        return None if review_item is None else (review_item.plane, review_item.mask)

    def _highlight(self) -> tuple[Plane, MaskCrop] | None:
        """Return what is to be drawn in another color."""
        entry = self.current
        if entry is None or self._is_correcting or not self._is_on_screen(entry):
            return None
        return self._find(entry)

    # -- deciding -----------------------------------------------------------

    def accept(self) -> bool:
        """Accept the current one; False without a review."""
        entry = self.current
        if entry is None:
            return False
        if self._comes_back(entry):
            return True
        if isinstance(entry.key, int):
            self._objects.confirm(entry.key)
            self._settle([entry.key], Outcome.ACCEPTED)
            return True
        review_item = self._proposal_actions.find(entry.key)
        if review_item is None or not self._proposal_actions.accept([review_item]):
            self._settle([entry.key], Outcome.GONE)
        return True

    def reject(self) -> bool:
        """Reject the current one; False without a review.

        A proposal is dropped, and an object that was written is erased.
        """
        entry = self.current
        if entry is None:
            return False
        if self._comes_back(entry):
            return True
        self._leave_correction()
        if not isinstance(entry.key, int):
            self._proposal_actions.reject(entry.key)
            return True
        try:
            is_erased = self._objects.erase(entry.key)
        except SamError as error:
            self._on_error(error)
            return True
        if is_erased:
            self._settle([entry.key], Outcome.REJECTED)
        else:
            if self._is_open(entry):
                self.status.emit(
                    f"Object {entry.key} stays: you accepted it slice by slice.  Erase "
                    "it with napari's tools."
                )
                self._objects.confirm(entry.key)
            self._settle([entry.key], Outcome.GONE)
        return True

    def correct(self) -> bool:
        """Make the current one the object that prompts change.

        Returns
        -------
        bool
            False without a review, or if it is that object already.
        """
        entry = self.current
        if entry is None or self._is_correcting:
            return False
        if self._comes_back(entry):
            return True
        if isinstance(entry.key, int):
            self._annotator.select_object(entry.key)
            return True
        review_item = self._proposal_actions.find(entry.key)
        if review_item is not None:
            self._proposal_actions.correct(review_item)
        return True

    def accept_plane(self) -> None:
        """Accept all that is proposed on the plane on screen."""
        objects = [e for e in self._objects.entries() if self._is_on_screen(e)]
        self._accept_all(self._everything.review_items, objects)

    def accept_rest(self) -> None:
        """Accept all that is left of the review, on all planes."""
        entries = [e for e in self._queue.open() if self._is_open(e)]
        review_items = [
            self._proposal_actions.find(e.key)
            for e in entries
            if not isinstance(e.key, int)
        ]
        self._accept_all([o for o in review_items if o is not None], entries)

    def _accept_all(
        self, review_items: Iterable[ReviewItem], entries: Iterable[Entry]
    ) -> None:
        labels = [e.key for e in entries if isinstance(e.key, int)]
        chosen = list(review_items)
        self._objects.confirm(*labels)
        if chosen:
            self._proposal_actions.accept(chosen)
        elif labels:
            self.status.emit(f"{len(labels)} accepted.")
        else:
            self.status.emit("Nothing is proposed here.")
        self._settle(labels, Outcome.ACCEPTED)

    def _leave_correction(self) -> None:
        if self._is_correcting:
            self._annotator.discard()

    # -- following ----------------------------------------------------------

    def _on_accepted(self, keys: tuple[EntryKey, ...]) -> None:
        self._settle(keys, Outcome.ACCEPTED)

    def _on_rejected(self, keys: tuple[ReviewItemKey, ...]) -> None:
        if self.is_active:
            # What a rejected clump kept hidden comes up: its parts.
            proposed = self._everything.proposed
            for plane in {key[0] for key in keys}:
                self._queue.add(map(_entry, proposed.review_items(plane)))
        self._settle(keys, Outcome.REJECTED)

    def renew(self, linked: LinkedPlaces | None) -> None:
        """Objects were followed, or linked: there is another review.

        Those that were linked are looked at as wholes.
        """
        if linked is not None:
            self._objects.take(linked)
        self.reset()

    def _on_written(self, transaction: Transaction) -> None:
        self._objects.look_at(*transaction.labels)
        self._settle(keys_of(transaction.origin), Outcome.ACCEPTED)
        self._settle(transaction.labels, Outcome.ACCEPTED)

    def _on_proposals(self) -> None:
        entry = self.current
        if (
            entry is not None
            and entry.is_proposal
            and entry.plane not in self._everything.found
        ):
            # All proposals were dropped.
            self._next()
        self.changed.emit()

    def _on_annotator(self) -> None:
        entry, annotator = self.current, self._annotator
        correcting = False
        if entry is not None and isinstance(entry.key, int):
            correcting = annotator.label == entry.key
        elif entry is not None and annotator.adopted is not None:
            correcting = annotator.adopted.key == entry.key
        if correcting != self._is_correcting:
            self._is_correcting = correcting
            self._everything.draw()

    def labels_changed(self) -> None:
        """Another Labels layer was chosen: the objects of the last one are gone."""
        if self.is_active and self._context.target is not self._target:
            self._target = self._context.target
            self._queue.drop(lambda entry: not entry.is_proposal)
            if self.current is not None and not self.current.is_proposal:
                self._next()
        self.changed.emit()

    def on_undone(self, transaction: Transaction) -> None:
        """Napari's undo brought an erased object back."""
        if isinstance(transaction.origin, ErasedObject):
            self._objects.reopen(transaction.origin.label)
            self._reopen((transaction.origin.label,))
        elif isinstance(transaction.origin, Renumbered) and transaction.origin.places:
            self._objects.take(None)
            self.reset()

    def on_redone(self, transaction: Transaction) -> None:
        """Napari's redo wrote or erased again."""
        origin = transaction.origin
        self._settle(keys_of(origin), Outcome.ACCEPTED)
        if isinstance(origin, ErasedObject):
            self._objects.look_at(origin.label)
            self._settle([origin.label], Outcome.REJECTED)
        elif isinstance(origin, Renumbered) and origin.places:
            self.renew(origin.places)

    def _reopen(self, keys: tuple[EntryKey, ...]) -> None:
        """Look again at what an undo took back."""
        entries = [e for e in map(self._queue.reopen, keys) if e is not None]
        if self.is_active and entries:
            # Of an undo that took many back, the least certain.
            self._next()
        self.changed.emit()


def _entry(review_item: ReviewItem) -> Entry:
    return Entry(
        review_item.key, review_item.plane, review_item.center, review_item.certainty
    )
