"""Everything mode in the viewer: search, look, decide, write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.errors import PromptError, SamError
from napari_sam.types import MaskCrop, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.everything.proposed_planes import Decision, ProposedPlanes
from napari_sam.viewer.everything.search import Search, Searcher, parallel_planes
from napari_sam.viewer.labels.proposal_writer import (
    ProposalsAccepted,
    ProposalWriter,
)
from napari_sam.viewer.overlay import (
    HIGHLIGHT,
    MUTED,
    PlaneOverlay,
    ShownMask,
    bright,
    score_color,
)
from napari_sam.viewer.prompting.draft import AcceptedObject
from napari_sam.viewer.settings import POLICY_NAMES, ProposalColor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from napari_sam.core.annotation.review_items import ReviewItem, ReviewItemKey
    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.types import Plane, Progress
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything.proposed_planes import Prepared
    from napari_sam.viewer.overlay import Stamps


class EverythingMode:
    """Proposals of one viewer, from the search to the labels.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    make_target : callable
        Creates and binds a Labels layer when there is none yet.

    Attributes
    ----------
    changed : Signal()
        Proposals or progress have changed.
    status : Signal(str)
        What just happened and what to do next.
    written : Signal()
        New objects are in the labels.
    all_written : Signal(object)
        All proposals are, at once: the keys of the review items.
    reopened : Signal(object)
        An undo took back what was accepted: the keys of the review items.
    highlighter : callable
        Returns what is looked at, to be drawn in another color: a plane and a
        mask, or None.
    chosen : frozenset of ReviewItemKey
        Review items that are to be decided together; drawn as what is looked at.
    is_muted : bool
        Whether proposals are gray, so that what is looked at and what is
        labeled stand out.
    """

    changed = Signal()
    status = Signal(str)
    written = Signal()
    all_written = Signal(object)
    reopened = Signal(object)

    def __init__(self, context: Context, make_target: Callable[[], None]) -> None:
        self._context = context
        self._writer = ProposalWriter(context, make_target)
        self.overlay = PlaneOverlay(context.viewer, "SAM proposals", "proposals")
        self.proposed = ProposedPlanes(context)
        self.chosen: frozenset[ReviewItemKey] = frozenset()
        self.is_muted = False
        self.highlighter: Callable[[], tuple[Plane, MaskCrop] | None] = lambda: None
        self._held: ReviewItemKey | None = None
        # How each review item is drawn, by identity.
        self._drawn: dict[int, tuple[ReviewItem, ShownMask]] = {}
        self._drawn_way: tuple[object, ...] = ()
        # How each plane was searched, so that it need not be again.
        self._searched: dict[Plane, Search] = {}
        self._searcher = Searcher(
            context,
            on_progress=self._on_progress,
            on_found=self._on_found,
            on_error=self._on_error,
            on_end=self._on_end,
            prepare=self._prepare,
        )

    @property
    def progress(self) -> Progress | None:
        """How far the search is; None when none is under way."""
        return self._searcher.progress

    @property
    def is_running(self) -> bool:
        """Whether a search is under way."""
        return self.progress is not None

    @property
    def found(self) -> Mapping[Plane, Proposals]:
        """What was found on each plane and passes the live thresholds."""
        return self.proposed.found

    @property
    def shown(self) -> Proposals | None:
        """Proposals of the plane on screen that pass the live filters."""
        plane = self._context.plane
        return self.found.get(plane) if plane is not None else None

    @property
    def count(self) -> int:
        """Number of proposals on all planes that are not decided."""
        return len(self.proposed)

    @property
    def review_items(self) -> tuple[ReviewItem, ...]:
        """What can be accepted one by one on the plane on screen."""
        plane = self._context.plane
        if plane is None or not self.proposed.is_offered(plane):
            return ()
        return self.review_items_here

    @property
    def review_items_here(self) -> tuple[ReviewItem, ...]:
        """The proposals of the plane on screen, as they would be written."""
        plane = self._context.plane
        if plane is None:
            return ()
        return tuple(
            o for o in self.proposed.review_items(plane) if o.key != self._held
        )

    # -- searching ----------------------------------------------------------

    def run(self, *, all_planes: bool = False, region: Region | None = None) -> None:
        """Search the plane on screen, or all planes of the stack.

        Parameters
        ----------
        all_planes : bool
            Every plane parallel to the one on screen.
        region : Region, optional
            Search only inside this rectangle.

        Raises
        ------
        PromptError
            If no plane of an image is on screen.
        """
        self._start(all_planes=all_planes, region=region)

    def prefill(self) -> None:
        """Offer what the model is sure of on the plane on screen.

        What touches labeled objects is left out; see `make_review_items`.  A plane
        that was searched already is not searched again.

        Raises
        ------
        PromptError
            If no plane of an image is on screen.
        """
        plane, done = self._context.plane, None
        if plane is not None and not self.is_running:
            done = self._searched.get(plane)
        wanted = self._context.settings.everything
        if plane is None or done is None or done.settings != wanted or done.region:
            self._start(prefill=True)
            return
        self.proposed.open_for_review([plane], confident=True)
        self.proposed.labels_changed()
        self.draw()
        self._tell(stopped=False)

    def _start(
        self,
        *,
        all_planes: bool = False,
        region: Region | None = None,
        prefill: bool = False,
    ) -> None:
        context = self._context
        if context.encoder is None or context.plane is None or context.image is None:
            raise PromptError(
                "There is no 2-D image plane on screen to segment; choose an image, "
                "wait for the model, and switch the viewer to 2-D."
            )
        if self.is_running:
            self.status.emit("A search is under way: Cancel stops it.")
            return
        wanted = [context.plane]
        if all_planes:
            wanted = parallel_planes(context.plane, layer_shape(context.image))
        self._searcher.start(wanted, region, is_prefill=prefill)
        # Adding a layer takes napari long: not when there is something to draw as well.
        self.overlay.place(context.image, context.plane)

    def cancel(self) -> None:
        """Stop searching and keep what has been found."""
        self._searcher.cancel()

    def _on_progress(self) -> None:
        self.changed.emit()

    def _prepare(
        self, search: Search, plane: Plane, proposals: Proposals
    ) -> tuple[Prepared, Stamps] | None:
        """Make ready in the worker what is on screen, so that it is shown at once."""
        if plane != self._context.plane:
            return None
        ready = self.proposed.prepare(plane, proposals, confident=search.is_prefill)
        masks = [self._shown(review_item) for review_item in ready.table.review_items]
        return ready, self.overlay.prepared(masks, proposals.shape)

    def _on_found(
        self,
        search: Search,
        plane: Plane,
        proposals: Proposals,
        ready: tuple[Prepared, Stamps] | None,
    ) -> None:
        before = self.found.get(plane)
        if search.is_stopped and before is not None and len(proposals) < len(before):
            # Whoever stops it did not want to lose what was there.
            return
        prepared, stamps = ready or (None, None)
        if stamps is not None:
            self.overlay.take(stamps)
        self.proposed.put(
            plane, proposals, confident=search.is_prefill, prepared=prepared
        )
        if search.is_stopped:
            self._searched.pop(plane, None)
        else:
            self._searched[plane] = search
        self.draw()

    def _on_error(self, error: Exception) -> None:
        self.status.emit(self._context.report(error))

    def _on_end(self, search: Search) -> None:
        self._tell(stopped=search.is_stopped)
        self.changed.emit()

    def _tell(self, *, stopped: bool) -> None:
        plane = self._context.plane
        start = ("Stopped: " if stopped else "") + self._unread_text()
        if plane is not None and self.proposed.is_confident(plane):
            count = len(self.review_items)
            self.status.emit(
                f"{start}{count} proposed.  N or Shift-click accepts, K rejects, "
                "a click corrects the one under the cursor."
                if count
                else f"{start}Nothing more that the model is sure of: click the rest."
            )
        elif self.count:
            self.status.emit(
                f"{start}{self.count} objects proposed{self._left_out_text()}.  "
                "Move the thresholds, then write them into the labels."
            )
        elif plane is not None and self.proposed.left_out(plane):
            self.status.emit(f"{start}Nothing new{self._left_out_text()}.")
        else:
            self.status.emit(f"{start}Nothing found: {self._advice()}.")

    def _advice(self) -> str:
        """Say what may find more, of that which can be changed."""
        if any(map(self.proposed.unfiltered, self.found)):
            return "lower the thresholds"
        encoder, wanted = self._context.encoder, self._context.settings.everything
        sees = encoder is not None and encoder.engine.model.capabilities.object_maps
        if sees and wanted.prompts != "grid":
            return "click the objects"
        return "raise Points per side, or click the objects"

    def _unread_text(self) -> str:
        """Say which parts of the searched planes could not be read."""
        unread = [text for found in self.found.values() for text in found.unread]
        if not unread:
            return ""
        count = "1 part" if len(unread) == 1 else f"{len(unread)} parts"
        return f"{count} of the plane could not be read ({unread[0]}).  "

    def _left_out_text(self) -> str:
        """Say how many proposals of the searched planes are not offered, and why."""
        count = sum(self.proposed.left_out(plane) for plane in self.found)
        least = max((self.proposed.min_area(p) for p in self.found), default=0)
        return f", {count} left out (labeled already or below {least} px)" * (count > 0)

    # -- deciding -----------------------------------------------------------

    def accept(self, review_items: Sequence[ReviewItem]) -> int:
        """Write review items into the labels as one undo step.

        Never covers a labeled pixel, whatever the overlap policy.

        Returns
        -------
        int
            How many were written.
        """
        transaction = self._write(
            review_items,
            ProposalsAccepted(tuple(o.key for o in review_items)),
            "Something else is labeled there",
            confirmed=True,
        )
        if transaction is None:
            self.labels_changed()
            return 0
        return len(transaction.labels)

    def reject(self, *keys: ReviewItemKey) -> None:
        """Drop review items; what they kept others from is offered instead."""
        self.proposed.decide(keys, Decision.REJECTED)
        self.draw()

    def reopen(self, keys: Sequence[ReviewItemKey]) -> None:
        """Offer again what was dropped."""
        self.proposed.reopen(keys)
        self.draw()
        self.reopened.emit(tuple(keys))

    def choose(self, keys: Iterable[ReviewItemKey]) -> None:
        """Draw these review items as what is looked at."""
        self.chosen = frozenset(keys)
        self.draw()

    def hold(self, key: ReviewItemKey | None) -> None:
        """Note which review item is being corrected: the preview shows it instead."""
        if key != self._held:
            self._held = key
            self.draw()

    def refilter(self) -> None:
        """Apply the live filters again; no inference."""
        self.proposed.refilter()
        self.draw()

    def write(self) -> bool:
        """Write all proposals into the labels as one undo step.

        Returns
        -------
        bool
            Whether anything was written.
        """
        review_items = [
            o for plane in self.found for o in self.proposed.review_items(plane)
        ]
        left_out = self._left_out_text()
        if not review_items:
            self.status.emit(
                f"Nothing is left to write{left_out}."
                if self.found
                else "There are no proposals to write: run everything first."
            )
            return False
        policy = self._context.settings.policy
        before = frozenset(self.proposed.offered)
        transaction = self._write(
            review_items,
            ProposalsAccepted(tuple(o.key for o in review_items), before),
            f"No pixel is free there with the choice '{POLICY_NAMES[policy]}'",
            confirmed=False,
            policy=policy,
        )
        if transaction is None:
            return False
        self.all_written.emit(tuple(o.key for o in review_items))
        self.status.emit(
            f"{len(transaction.labels)} objects written{left_out}.  "
            "Ctrl+Z takes them back"
        )
        return True

    def _is_confident(self, review_item: ReviewItem) -> bool:
        return self.proposed.is_confident(review_item.plane)

    def _write(
        self,
        review_items: Sequence[ReviewItem],
        origin: ProposalsAccepted,
        why_not: str,
        **options: Any,
    ) -> Transaction | None:
        target = self._context.target
        if target is not None and not target.is_counted:
            self.status.emit("Still counting the labels; try again in a moment.")
            return None
        try:
            transaction = self._writer.write(
                review_items, origin, is_confident=self._is_confident, **options
            )
        except SamError as error:
            self.status.emit(self._context.report(error))
            return None
        if transaction is None:
            self.status.emit(f"{why_not}: nothing was written.")
            return None
        self._decide(origin)
        self.written.emit()
        return transaction

    def _decide(self, origin: ProposalsAccepted) -> None:
        """Note what was written; what is left of its planes is decided one by one."""
        self.proposed.decide(origin.keys, Decision.ACCEPTED)
        self.proposed.open_for_review({key[0] for key in origin.keys})
        self.labels_changed()

    # -- following ----------------------------------------------------------

    def on_undone(self, transaction: Transaction) -> None:
        """Napari's undo took back what was accepted: offer it again."""
        origin = transaction.origin
        keys = keys_of(origin)
        if keys:
            self.proposed.reopen(keys)
        if isinstance(origin, ProposalsAccepted) and origin.were_offered is not None:
            self.proposed.withhold({key[0] for key in keys} - origin.were_offered)
        self.labels_changed()
        if keys:
            self.reopened.emit(keys)

    def on_redone(self, transaction: Transaction) -> None:
        """Napari's redo wrote review items again."""
        origin = transaction.origin
        if isinstance(origin, ProposalsAccepted):
            self._decide(origin)
        else:
            self.proposed.decide(keys_of(origin), Decision.ACCEPTED)
            self.labels_changed()

    def on_written(self, transaction: Transaction) -> None:
        """Note an object that the user has finished; it may have been a review item."""
        self.proposed.decide(keys_of(transaction.origin), Decision.ACCEPTED)
        self.labels_changed()

    def restore(
        self,
        plane: Plane,
        proposals: Proposals,
        *,
        confident: bool,
        offered: bool,
        rejected: Sequence[ReviewItemKey] = (),
    ) -> None:
        """Show proposals that a project has kept.

        Parameters
        ----------
        plane : Plane
            Which plane.
        proposals : Proposals
            With the hidden ones.
        confident : bool
            Offer only what the model is sure of.
        offered : bool
            Let them be decided one by one.
        rejected : sequence of ReviewItemKey, optional
            Which of them were turned down.
        """
        self.proposed.put(plane, proposals, confident=confident)
        self.proposed.decide(rejected, Decision.REJECTED)
        if offered:
            self.proposed.open_for_review([plane])
        self.draw()
        self.changed.emit()

    def labels_changed(self) -> None:
        """Show what is left in free ground."""
        if self.found:
            self.proposed.labels_changed()
            self.draw()

    def discard(self) -> None:
        """Drop all proposals."""
        self.proposed.clear()
        self.chosen = frozenset()
        self._searched.clear()
        self.overlay.clear()
        self.changed.emit()

    def source_changed(self) -> None:
        """Another image or model: its proposals mean nothing now."""
        self._searcher.drop()
        self.discard()

    def draw(self) -> None:
        """Show the proposals of the plane on screen."""
        context, shown = self._context, self.shown
        plane, image = context.plane, context.image
        masks: list[ShownMask] = []
        is_apart = True
        if plane is not None and image is not None:
            highlight = self.highlighter()
            review_items = self.review_items_here
            chosen = self.chosen
            is_muted = self.is_muted or (
                bool(chosen) and any(o.key in chosen for o in review_items)
            )
            # Best on top, as they will be written.
            masks = self._drawn_as(review_items[::-1], is_muted)
            if highlight is not None and highlight[0].index == plane.index:
                masks.append(ShownMask(_seen_from(plane, *highlight)))
                is_apart = False
        if plane is None or image is None or not (masks or shown is not None):
            self.overlay.clear()
        else:
            self.overlay.show(image, plane, masks, apart=is_apart)
        self.changed.emit()

    def _drawn_as(
        self, review_items: Sequence[ReviewItem], is_muted: bool
    ) -> list[ShownMask]:
        """Return how items are drawn: as the same objects where nothing changed."""
        way = is_muted, self._context.settings.proposal_color
        before = self._drawn if way == self._drawn_way else {}
        chosen, drawn = self.chosen, {}
        for review_item in review_items:
            known = before.get(id(review_item))
            # Without a choice no key is hashed, which would take longer than the rest.
            is_chosen = bool(chosen) and review_item.key in chosen
            if known is None or is_chosen != (known[1].color == HIGHLIGHT):
                known = review_item, self._shown(review_item, is_muted)
            drawn[id(review_item)] = known
        self._drawn_way, self._drawn = way, drawn
        return [shown for _, shown in drawn.values()]

    def _shown(self, review_item: ReviewItem, is_muted: bool = False) -> ShownMask:
        """Return how an item is drawn, beside others that are looked at if muted."""
        if self.chosen and review_item.key in self.chosen:
            color = HIGHLIGHT
        elif is_muted:
            color = MUTED
        elif self._context.settings.proposal_color is ProposalColor.SCORE:
            color = score_color(review_item.score)
        else:
            # Its own, whatever a threshold hides before it.
            color = bright(hash(review_item.key[1:]))
        return ShownMask(review_item.mask, color, review_item.score)

    def close(self) -> None:
        """Stop and remove our layer."""
        self._searcher.drop()
        if not self._context.is_window_gone:
            self.overlay.remove()


def keys_of(origin: Any) -> tuple[ReviewItemKey, ...]:
    """Return the keys of the review items that a transaction wrote, by its origin."""
    if isinstance(origin, ProposalsAccepted):
        return origin.keys
    if isinstance(origin, AcceptedObject) and origin.draft.adopted is not None:
        return (origin.draft.adopted.key,)
    return ()


def _seen_from(plane: Plane, other: Plane, mask: MaskCrop) -> MaskCrop:
    """Return a mask of a plane as it lies in that plane or its transposed view."""
    if plane.displayed == other.displayed:
        return mask
    r = mask.region
    return MaskCrop(mask.mask.T, Region(r.col0, r.row0, r.col1, r.row1))
