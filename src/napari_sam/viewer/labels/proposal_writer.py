"""From proposals to labels: many objects as one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.records import ObjectRecord, PlaneMask, Source
from napari_sam.core.annotation.transaction import ObjectMask, RecordChange
from napari_sam.core.masks import OverlapPolicy
from napari_sam.viewer.labels.object_changes import write_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam.core.annotation.review_items import ReviewItem, ReviewItemKey
    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.types import Plane
    from napari_sam.viewer.context import Context


@dataclass(frozen=True, slots=True, eq=False)
class ProposalsAccepted:
    """What an undo offers again.

    Parameters
    ----------
    keys : tuple of ReviewItemKey
        Of what was written.
    were_offered : frozenset of Plane, optional
        The planes whose proposals were decided one by one before; all if None.
    """

    keys: tuple[ReviewItemKey, ...]
    were_offered: frozenset[Plane] | None = None


class ProposalWriter:
    """Writes proposals into the chosen labels.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    make_target : callable
        Creates and binds a Labels layer when there is none yet.
    """

    def __init__(self, context: Context, make_target: Callable[[], None]) -> None:
        self._context = context
        self._make_target = make_target

    def write(
        self,
        review_items: Sequence[ReviewItem],
        origin: ProposalsAccepted,
        *,
        confirmed: bool,
        is_confident: Callable[[ReviewItem], bool],
        policy: OverlapPolicy = OverlapPolicy.KEEP,
    ) -> Transaction | None:
        """Write proposals as one undo step; None if no pixel had to change.

        Parameters
        ----------
        review_items : sequence of ReviewItem
            Under ``KEEP`` the first to write a pixel keeps it.
        origin : ProposalsAccepted
            What an undo offers again.
        confirmed : bool
            Whether a person has looked at them.
        is_confident : callable
            Whether a review item pre-filled a slice.
        policy : OverlapPolicy
            What happens to labeled pixels.

        Raises
        ------
        LabelsError
            If the labels cannot hold them.
        """
        context = self._context
        if context.target is None:
            self._make_target()
        target, encoder = context.target, context.encoder
        if target is None or encoder is None or not review_items:
            return None
        target.catch_up()
        first = target.next_label
        masks = [
            ObjectMask(first + i, o.plane, o.mask) for i, o in enumerate(review_items)
        ]
        plan = target.plan(masks, policy)
        if not plan.changes:
            return None
        model = encoder.engine.model
        changes = []
        for mask, review_item in zip(masks, review_items, strict=True):
            # What got no pixel is not an object.
            digest = plan.digests[mask.label, mask.plane]
            if not digest:
                continue
            record = ObjectRecord(
                mask.label,
                PromptItems(),
                model.name,
                review_item.score,
                Source.PREFILL if is_confident(review_item) else Source.EVERYTHING,
                masks=(PlaneMask(mask.plane, digest, confirmed, review_item.score),),
                stability=review_item.stability,
                fingerprint=model.fingerprint,
            )
            changes.append(RecordChange(mask.label, None, record))
        return write_objects(target, plan, changes, origin)
