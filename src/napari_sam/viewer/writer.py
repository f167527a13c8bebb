"""From predictions to labels: what an accept writes and what an undo brings back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.types import Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels import Commit, ObjectMask
from napari_sam.viewer.objects import ObjectRecord
from napari_sam.viewer.prompts import split_by_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_sam.types import MaskCrop, MaskLevel, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.predict import Prediction
    from napari_sam.viewer.prompts import PromptItems


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What an undo brings back: prompts, preview, and what the book said before."""

    items: PromptItems
    label: int
    level: MaskLevel
    predictions: tuple[Prediction, ...]
    records: tuple[ObjectRecord, ...]
    before: tuple[ObjectRecord | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The current object, ready to be written."""

    label: int
    level: MaskLevel
    items: PromptItems
    predictions: tuple[Prediction, ...]


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
        scored = list(self._objects(draft))
        worst: dict[int, float] = {}
        for obj, score in scored:
            worst[obj.label] = min(score, worst.get(obj.label, score))
        model = planes.engine.model.name
        records = tuple(
            ObjectRecord(label, self._items_of(draft, label), model, score)
            for label, score in worst.items()
        )
        payload = Accepted(
            draft.items,
            draft.label,
            draft.level,
            draft.predictions,
            records,
            tuple(book.get(label) for label in worst),
        )
        commit = target.write([o for o, _ in scored], context.settings.policy, payload)
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
        return any(obj.previous is not None for obj, _ in self._objects(draft))

    def restore_book(self, accepted: Accepted) -> None:
        """Let the book say what it said before an accept."""
        book = self._context.book
        if book is None:
            return
        for record, before in zip(accepted.records, accepted.before, strict=True):
            if before is None:
                book.drop(record.label)
            else:
                book.put(before)

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

    def _objects(self, draft: Draft) -> Iterable[tuple[ObjectMask, float]]:
        """Yield masks and scores; labels count up over several boxes."""
        target = self._context.target
        known_max = (target.known_max or 0) if target is not None else 0
        for prediction in draft.predictions:
            for offset, candidate in enumerate(prediction.candidates):
                if candidate.mask.area == 0:
                    continue
                label = draft.label + offset
                # A label not in use yet has no old pixels to look for.
                previous = (
                    self.mask_of(label, prediction.plane)
                    if label <= known_max
                    else None
                )
                yield (
                    ObjectMask(label, prediction.plane, candidate.mask, previous),
                    candidate.score,
                )
