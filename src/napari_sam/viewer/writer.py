"""From predictions to labels: what an accept writes and what an undo brings back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.core.annotation.prompts import PromptItems, split_by_object
from napari_sam.core.annotation.records import ObjectRecord, Source
from napari_sam.core.masks import OverlapPolicy
from napari_sam.types import Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels import Commit, ObjectMask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_sam.types import MaskCrop, MaskLevel, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.offers import OfferKey
    from napari_sam.viewer.predict import Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Adopted:
    """A proposal that became the current object.

    Parameters
    ----------
    key : OfferKey
        What it was known by.
    source : Source
        Where it came from.
    stability : float
        Stability score of its mask.
    """

    key: OfferKey
    source: Source
    stability: float


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What an undo brings back: prompts, preview, and what the book said before."""

    items: PromptItems
    label: int
    level: MaskLevel
    predictions: tuple[Prediction, ...]
    records: tuple[ObjectRecord, ...]
    before: tuple[ObjectRecord | None, ...]
    adopted: Adopted | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The current object, ready to be written.

    Parameters
    ----------
    label : int
        Its number; with several boxes, that of the first object.
    level : MaskLevel
        Which of the model's answers is shown.
    items : PromptItems
        Its prompts on all planes.
    predictions : tuple of Prediction
        One per plane.
    adopted : Adopted, optional
        The proposal that it began as.
    """

    label: int
    level: MaskLevel
    items: PromptItems
    predictions: tuple[Prediction, ...]
    adopted: Adopted | None = None

    @property
    def is_proposal(self) -> bool:
        """Whether it is a proposal that the user has not changed."""
        return self.adopted is not None and not any(
            p.is_asked for p in self.predictions
        )


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One object of a draft on one plane: mask, score, corrections there."""

    object: ObjectMask
    score: float
    corrections: int


class ObjectWriter:
    """Writes drafts into the chosen labels and keeps the book in step.

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
        self.live: Commit | None = None
        """The write of the object under way, in "write while I click" mode."""

    def write(self, draft: Draft) -> Commit | None:
        """Write a draft as one undo step; None if no pixel had to change.

        Raises
        ------
        LabelsError
            If the labels cannot hold it.
        """
        context = self._context
        if context.target is None:
            self._make_target()
        target, book, planes = context.target, context.book, context.planes
        if target is None or book is None or planes is None:
            return None
        drawn = list(self._objects(draft))
        groups: dict[int, list[Drawn]] = {}
        for one in drawn:
            groups.setdefault(one.object.label, []).append(one)
        before = tuple(book.get(label) for label in groups)
        records = tuple(
            self._record(draft, group, old, planes.engine.model.name)
            for group, old in zip(groups.values(), before, strict=True)
        )
        payload = Accepted(
            draft.items,
            draft.label,
            draft.level,
            draft.predictions,
            records,
            before,
            draft.adopted,
        )
        # What the user did not look at closely does not take others' pixels.
        policy = OverlapPolicy.KEEP if draft.is_proposal else context.settings.policy
        commit = target.write([d.object for d in drawn], policy, payload)
        if commit is not None:
            book.put(*records)
        return commit

    def write_live(self, draft: Draft) -> None:
        """Write a draft in place of the last one of the same object.

        If the user edited the labels in between, the earlier undo step stays
        and a second one is made.
        """
        target = self._context.target
        if self.live is not None and target is not None and target.take_back(self.live):
            self.restore_book(self.live.payload)
            self.live = None
        self.live = self.write(draft) or self.live

    def retract_live(self) -> None:
        """Take the object under way out of the labels again."""
        commit, self.live = self.live, None
        target = self._context.target
        if commit is not None and target is not None and target.take_back(commit):
            self.restore_book(commit.payload)

    def has_pixels(self, draft: Draft) -> bool:
        """Whether an object of the draft is in the labels already."""
        return any(d.object.previous is not None for d in self._objects(draft))

    def restore_book(self, accepted: Accepted) -> None:
        """Let the book say what it said before an accept."""
        if self._context.book is not None:
            self._context.book.restore(accepted.records, accepted.before)

    def mask_of(self, label: int, plane: Plane) -> MaskCrop | None:
        """Return an object's pixels on a plane, None if it has none there."""
        target = self._context.target
        if target is None:
            return None
        whole = Region.whole(plane.shape(layer_shape(target.layer)))
        mask = target.object_mask(plane, label, whole)
        return mask if mask.area else None

    @staticmethod
    def _items_of(draft: Draft, label: int) -> PromptItems:
        """Return one object's share of the prompts, so that it can be refined alone."""
        groups = split_by_object(draft.items)
        number = label - draft.label
        return groups[number] if number < len(groups) else draft.items

    def _record(
        self, draft: Draft, group: list[Drawn], old: ObjectRecord | None, model: str
    ) -> ObjectRecord:
        """Return what the book is to say about one object of the draft."""
        label = group[0].object.label
        planes = dict.fromkeys(d.object.plane for d in group)
        corrections = sum(d.corrections for d in group)
        adopted = draft.adopted
        source = adopted.source if adopted is not None else Source.PROMPTS
        if old is not None:
            source = old.source
            planes = dict.fromkeys(old.planes) | planes
            corrections += old.corrections
        if any(d.object.previous is not None for d in group) and (
            old is None or old.items.is_empty
        ):
            # It was there without prompts, so that its first one corrects it.
            corrections += 1
        return ObjectRecord(
            label,
            # The prompt that stands for a proposal is not the user's.
            PromptItems() if draft.is_proposal else self._items_of(draft, label),
            model,
            min(d.score for d in group),
            source,
            corrections,
            corrected=source is not Source.PROMPTS and not draft.is_proposal,
            planes=tuple(planes),
            stability=adopted.stability
            if adopted is not None and draft.is_proposal
            else float("nan"),
        )

    def _objects(self, draft: Draft) -> Iterable[Drawn]:
        """Yield what is to be written; labels count up over several boxes."""
        target = self._context.target
        known_max = (target.known_max or 0) if target is not None else 0
        for prediction in draft.predictions:
            for offset, (candidate, corrections) in enumerate(
                zip(prediction.candidates, prediction.corrections, strict=True)
            ):
                if candidate.mask.area == 0:
                    continue
                label = draft.label + offset
                # A label not in use yet has no old pixels to look for.
                previous = (
                    self.mask_of(label, prediction.plane)
                    if label <= known_max
                    else None
                )
                yield Drawn(
                    ObjectMask(label, prediction.plane, candidate.mask, previous),
                    candidate.score,
                    corrections,
                )
