"""Objects that were left: for another one, or with the image they are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.under_way import KeptObject
from napari_sam.viewer.prompting.draft import ObjectDraft

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from napari.layers import Layer

    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.viewer.prompting.draft import AcceptedObject

COMES_AFTER = "What was under way comes after it."
"""Said of a new object under way while others are put aside."""

_KEY = "napari_sam_under_way"


class PutAside:
    """Drafts that come back when the one under way is done, the newest first."""

    def __init__(self) -> None:
        self._drafts: list[ObjectDraft] = []

    def __iter__(self) -> Iterator[ObjectDraft]:
        return iter(tuple(self._drafts))

    def __len__(self) -> int:
        return len(self._drafts)

    @property
    def note(self) -> str:
        """What is said of the drafts along with the object that is under way now."""
        return f"  {COMES_AFTER}" if self._drafts else ""

    def put(self, draft: ObjectDraft) -> None:
        """Keep a draft, if anything of it would be lost."""
        if not draft.is_empty and not draft.is_unchanged:
            self._drafts.append(draft)

    def pop(self) -> ObjectDraft:
        """Return the draft that comes back now; a new one if there is none."""
        return self._drafts.pop() if self._drafts else ObjectDraft()

    def remove(self, draft: ObjectDraft) -> None:
        """Keep a draft no longer, if it is here."""
        self._drafts = [d for d in self._drafts if d is not draft]

    def remove_taken_back(self) -> None:
        """Keep no drafts that undos brought and nobody has changed since."""
        self._drafts = [d for d in self._drafts if not d.is_as_taken_back]

    def clear(self) -> None:
        """Keep none."""
        self._drafts.clear()


def kept_objects(
    waiting: Collection[ObjectDraft],
    others: Iterable[ObjectDraft],
    *,
    while_growing: bool,
) -> tuple[KeptObject, ...]:
    """Return what is not in the labels yet of drafts that wait, and of others.

    Parameters
    ----------
    waiting, others : collection of ObjectDraft
        The drafts.
    while_growing : bool
        Whether slices are kept of which more are on their way.
    """
    left = [
        d
        for d in others
        if not (d.items.is_empty or d.is_proposal or d.is_unchanged)
        and d.live is None
        and d not in waiting
    ]
    return tuple(
        KeptObject(
            d.items,
            d.label,
            d.level,
            # What was followed is accepted again by the user, who sees how far it is.
            d in waiting and d.followed is None,
            d.kept if d.is_growing and not while_growing else d.followed or d.kept,
        )
        for d in (*waiting, *left)
    )


def own_labels(transaction: Transaction, accepted: AcceptedObject) -> tuple[int, ...]:
    """Return the numbers of the objects that an accept has written.

    Others lose pixels by it, and their records change with it.
    """
    label = accepted.draft.label
    if label is not None:
        return (label,)
    return tuple(n for n in transaction.labels if n in range(*transaction.next_label))


def taken_back(accepted: AcceptedObject, correction: ObjectDraft | None) -> ObjectDraft:
    """Return what is under way once an undo has taken an accept back.

    Parameters
    ----------
    accepted : AcceptedObject
        What was written.
    correction : ObjectDraft, optional
        Prompts that the user has added to the object since; they stay.
    """
    before = accepted.draft.copy()
    draft = before if correction is None else correction
    if correction is not None:
        # The planes it was made on are to be written again, too.
        correction.label, correction.written = before.label, before.written
        for plane, seed in before.seeds.items():
            correction.seeds.setdefault(plane, seed)
        for answer in before.answers.values():
            if correction.answer_on(answer.plane) is None:
                correction.take(answer)
        correction.keep_prompted()
        if correction.followed is None:
            correction.followed = before.followed
    draft.taken_back = accepted
    return draft


def corrections(
    drafts: Iterable[ObjectDraft], numbers: tuple[int, ...]
) -> tuple[ObjectDraft | None, list[ObjectDraft]]:
    """Return which drafts give way to an accept that an undo has taken back.

    Of several boxes that were one step, what was changed of one becomes an object of
    its own.

    Parameters
    ----------
    drafts : iterable of ObjectDraft
        All objects under way.
    numbers : tuple of int
        The objects that the accept had written.

    Returns
    -------
    correction : ObjectDraft or None
        What the user has changed of the object: under way instead of what was written.
    others : list of ObjectDraft
        All that give way, the correction among them.
    """
    correction, others = None, []
    for draft in drafts:
        if draft.label not in numbers:
            continue
        can_be_had = draft.is_unchanged or draft.is_as_taken_back
        if not can_be_had and len(numbers) > 1:
            draft.label, draft.written = None, PromptItems()
            continue
        others.append(draft)
        if not can_be_had:
            correction = draft
    return correction, others


def written_again(
    drafts: Iterable[ObjectDraft], accepted: AcceptedObject, numbers: tuple[int, ...]
) -> list[ObjectDraft]:
    """Return the drafts that are in the labels once a redo has written an accept again.

    Others that were made from it correct the object now.  Parameters are those of
    `taken_back` and `corrections`.
    """
    done = []
    for draft in drafts:
        is_back = draft.taken_back is accepted
        if not is_back and draft.label not in numbers:
            continue
        if draft.is_unchanged or (is_back and draft.is_as_taken_back):
            done.append(draft)
            continue
        draft.written = accepted.draft.items
        if is_back:
            draft.label = min(numbers, default=draft.label)
            draft.taken_back = None
    return done


def keep(image: Image, objects: Sequence[KeptObject]) -> None:
    """Keep objects with the image, for who annotates it next."""
    if objects:
        image.metadata[_KEY] = tuple(objects)


def take(image: Image) -> tuple[KeptObject, ...]:
    """Return what is kept for an image, once."""
    objects: tuple[KeptObject, ...] = image.metadata.pop(_KEY, ())
    return objects


def left_with(layers: Iterable[Layer], but: Image | None) -> list[tuple[Image, int]]:
    """Return the images with which objects are kept, and how many; not of one."""
    return [
        (layer, len(layer.metadata[_KEY]))
        for layer in layers
        if isinstance(layer, Image) and layer != but and layer.metadata.get(_KEY)
    ]
