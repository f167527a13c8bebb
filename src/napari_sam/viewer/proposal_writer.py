"""From proposals to labels: many objects as one undo step, with their records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.records import ObjectRecord, Source, digest_of
from napari_sam.core.masks import OverlapPolicy
from napari_sam.viewer.labels import Commit, ObjectMask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam.types import MaskCrop, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels import LabelsTarget
    from napari_sam.viewer.offers import OfferKey


@dataclass(frozen=True, slots=True, eq=False)
class ToWrite:
    """One proposal to be written.

    ``is_confident`` says that it pre-filled a slice.
    """

    plane: Plane
    mask: MaskCrop
    score: float
    stability: float
    is_confident: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class OffersAccepted:
    """What a commit wrote: the offers and their records."""

    keys: tuple[OfferKey, ...]
    records: tuple[ObjectRecord, ...]


class ProposalWriter:
    """Writes proposals into the chosen labels and keeps the book in step.

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
        objects: Sequence[ToWrite],
        *,
        keys: tuple[OfferKey, ...] = (),
        policy: OverlapPolicy = OverlapPolicy.KEEP,
    ) -> Commit | None:
        """Write proposals as one undo step; None if no pixel had to change.

        Parameters
        ----------
        objects : sequence of ToWrite
            Under ``KEEP`` the first to write a pixel keeps it.
        keys : tuple of OfferKey
            What the user knows them by who accepted them one by one, or looking
            at all of them; empty for what nobody has looked at.
        policy : OverlapPolicy
            What happens to labelled pixels.

        Raises
        ------
        LabelsError
            If the labels cannot hold them.
        """
        context = self._context
        if context.target is None:
            self._make_target()
        target, book, planes = context.target, context.book, context.planes
        if target is None or book is None or planes is None or not objects:
            return None
        first = target.next_label(reserve=len(objects))
        records = tuple(
            ObjectRecord(
                first + i,
                PromptItems(),
                planes.engine.model.name,
                o.score,
                Source.PREFILL if o.is_confident else Source.EVERYTHING,
                confirmed=bool(keys),
                planes=(o.plane,),
                stability=o.stability,
            )
            for i, o in enumerate(objects)
        )
        masks = [ObjectMask(first + i, o.plane, o.mask) for i, o in enumerate(objects)]
        commit = target.write(masks, policy, OffersAccepted(keys, records))
        if commit is None:
            return None
        # Only now is known which pixels each of them got.
        records = tuple(
            replace(record, digest=_digest(target, mask))
            for record, mask in zip(records, masks, strict=True)
        )
        records = tuple(r for r in records if r.digest)
        commit.payload = OffersAccepted(keys, records)
        commit.labels = tuple(r.label for r in records)
        book.put(*records)
        return commit

    def restore_book(self, accepted: OffersAccepted) -> None:
        """Forget the records of objects that an undo took back."""
        if self._context.book is not None:
            self._context.book.drop(*(r.label for r in accepted.records))


def _digest(target: LabelsTarget, obj: ObjectMask) -> str:
    return digest_of(target.object_mask(obj.plane, obj.label, obj.mask.region))
