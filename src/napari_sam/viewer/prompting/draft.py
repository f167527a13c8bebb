"""An object that is not written yet: its prompts, and the answers to them by plane.

A question belongs to a plane, and an answer to the prompts it was given for, so what is
still to be asked is derived and never kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from napari_sam.core.annotation.prompts import (
    PromptItems,
    items_on,
    plane_prompts,
    same_items,
)
from napari_sam.core.planes import is_plane_of
from napari_sam.types import MaskLevel, PromptSet
from napari_sam.viewer.prompting.predictions import Prediction, same_prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.core.annotation.records import Source
    from napari_sam.core.annotation.review_items import ReviewItemKey
    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.core.volumes.followed import Followed
    from napari_sam.core.volumes.propagation import PropagatedSlice
    from napari_sam.types import MaskCrop, Plane


@dataclass(frozen=True, slots=True, eq=False)
class AdoptedProposal:
    """A proposal that became the current object.

    Parameters
    ----------
    key : ReviewItemKey
        What it was known by.
    source : Source
        Where it came from.
    stability : float
        Stability score of its mask.
    """

    key: ReviewItemKey
    source: Source
    stability: float


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedObject:
    """What an undo of an accept brings back, and what of the preview was not written.

    Parameters
    ----------
    draft : ObjectDraft
        As it was written.
    n_previewed : int
        Pixels of its masks.
    n_taken : dict of int to int
        How many of these belong to other objects and stayed theirs, by label.
    """

    draft: ObjectDraft
    n_previewed: int = 0
    n_taken: dict[int, int] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class ObjectDraft:
    """An object under way, on any planes; GUI thread only.

    Parameters
    ----------
    label : int, optional
        Its number, if it is in the labels already; a new one gets the next free number
        when it is written.
    items : PromptItems
        Its prompts on all planes.
    written : PromptItems
        The prompts that its pixels were made of.  Planes on which they are still the
        same stay as they are.
    level : MaskLevel
        Which of the model's answers is shown.
    seeds : dict of Plane to MaskCrop
        Rough masks that go with the prompts of a plane.
    answers : dict of Plane to Prediction
        The model's, by plane; not more than one per plane and its transposed view.
        A preliminary one is shown, but its question is still open.
    adopted : AdoptedProposal, optional
        The proposal that it began as.
    failed : dict of Plane to prompts
        What the model could not answer; not asked again before an accept.
    live : Transaction, optional
        What of it is in the labels, in "write while I click" mode.
    live_of : tuple
        The `content` that this was made of.
    taken_back : AcceptedObject, optional
        The accept that an undo took back, if that is how it came to be under way.
    waits_since : float, optional
        When it was accepted, in seconds of the monotonic clock, while it waits for
        answers.
    followed : Followed, optional
        What was found of it on other slices, to be written with it.
    is_growing : bool
        Whether more of that is on its way.
    kept : Followed, optional
        What was found before the object was left, until its prompts are answered again.
    drawn_of, drawn : PromptItems or None, dict
        The prompts of planes as they were asked for last, outlines filled, and of which
        items: every move of the mouse asks.
    """

    label: int | None = None
    items: PromptItems = field(default_factory=PromptItems)
    written: PromptItems = field(default_factory=PromptItems)
    level: MaskLevel = MaskLevel.AUTO
    seeds: dict[Plane, MaskCrop] = field(default_factory=dict)
    answers: dict[Plane, Prediction] = field(default_factory=dict)
    adopted: AdoptedProposal | None = None
    failed: dict[Plane, tuple[PromptSet, ...]] = field(default_factory=dict)
    live: Transaction | None = None
    live_of: tuple[object, ...] = ()
    taken_back: AcceptedObject | None = None
    waits_since: float | None = None
    followed: Followed | None = None
    is_growing: bool = False
    kept: Followed | None = None
    drawn_of: PromptItems | None = None
    drawn: dict[tuple[Plane, tuple[int, ...]], tuple[PromptSet, ...]] = field(
        default_factory=dict
    )

    @property
    def first_label(self) -> int | None:
        """Its number in the labels; that of the first object, of several boxes."""
        if self.label is None and self.live is not None:
            return self.live.next_label[0]
        return self.label

    @property
    def is_as_taken_back(self) -> bool:
        """Whether an undo brought it, and a redo would write just this again."""
        if self.taken_back is None:
            return False
        written = self.taken_back.draft
        return (
            self.level is written.level
            and self.followed is written.followed
            and same_items(self.items, written.items)
        )

    def copy(self) -> ObjectDraft:
        """Return a draft that goes its own way, in little memory: undo keeps many."""
        return replace(
            self,
            seeds=dict(self.seeds),
            answers={p: a.compact() for p, a in self.answers.items()},
            failed={},
            live=None,
            waits_since=None,
            is_growing=False,
        )

    @property
    def is_empty(self) -> bool:
        """Whether there are neither prompts nor answers, nor what was found by them."""
        return self.items.is_empty and not self.answers and self.followed is None

    @property
    def is_new(self) -> bool:
        """Whether nothing was done yet: what is prompted next makes a new object."""
        return self.is_empty and self.label is None

    @property
    def is_unchanged(self) -> bool:
        """Whether it is in the labels, was picked there, and nothing was done to it."""
        return (
            self.label is not None
            and self.followed is None
            and self.level is MaskLevel.AUTO
            and same_items(self.items, self.written)
        )

    @property
    def is_proposal(self) -> bool:
        """Whether it is a proposal that the user has not changed."""
        return self.adopted is not None and not any(
            p.is_asked for p in self.answers.values()
        )

    @property
    def object_count(self) -> int:
        """How many objects it is: one, or one per box of a plane."""
        return max([1, *(len(p.prompts) for p in self.answers.values())])

    # -- questions ----------------------------------------------------------

    def prompts_on(self, plane: Plane, shape: tuple[int, ...]) -> tuple[PromptSet, ...]:
        """Return the prompt sets of a plane, one per object.

        Parameters
        ----------
        plane : Plane
            Which plane.
        shape : tuple of int
            Of the image.
        """
        if self.drawn_of is not self.items:
            # Another dict, as a copy may have the same.
            self.drawn_of, self.drawn = self.items, {}
        prompts = self.drawn.get((plane, shape))
        if prompts is None:
            prompts = plane_prompts(self.items, plane, plane.shape(shape))
            self.drawn[plane, shape] = prompts
        seed = self.seeds.get(plane)
        if seed is not None and len(prompts) == 1 and prompts[0].mask is None:
            return (PromptSet(prompts[0].points, prompts[0].box, seed),)
        return prompts

    def question(
        self,
        plane: Plane,
        shape: tuple[int, ...],
        enough: Callable[[Prediction], bool] = attrgetter("is_final"),
    ) -> tuple[PromptSet, ...]:
        """Return what the model can be asked on a plane; empty if it is answered.

        Prompts of background alone ask nothing.

        Parameters
        ----------
        plane : Plane
            Which plane.
        shape : tuple of int
            Of the image.
        enough : callable
            Whether an answer will do; by default only the last one does.
        """
        usable = tuple(p for p in self.prompts_on(plane, shape) if not p.is_empty)
        answer = self.answers.get(plane)
        if (
            answer is not None
            and enough(answer)
            and answer.level == self.level
            and _ask_the_same(answer.prompts, usable)
        ):
            return ()
        failed = self.failed.get(plane)
        if failed is not None and _ask_the_same(failed, usable):
            return ()
        return usable

    def questions(
        self,
        shape: tuple[int, ...],
        enough: Callable[[Prediction], bool] = attrgetter("is_final"),
    ) -> dict[Plane, tuple[PromptSet, ...]]:
        """Return what is left to ask before it can be written, by plane.

        Parameters are those of `question`.
        """
        left = {}
        for plane in self.planes:
            if not is_plane_of(plane, shape):
                continue
            known = self.answer_on(plane)
            asked = plane if known is None else known.plane
            question = self.question(asked, shape, enough)
            if question:
                left[asked] = question
        return left

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Planes that have prompts which are not written yet, each once."""
        found: dict[tuple[int | None, ...], Plane] = {}
        for plane in self.items.planes():
            here = items_on(self.items, plane)
            if not (
                self.level is MaskLevel.AUTO
                and not here.is_empty
                and same_items(here, items_on(self.written, plane))
            ):
                found.setdefault(plane.index, plane)
        return tuple(found.values())

    # -- answers ------------------------------------------------------------

    def answer_on(self, plane: Plane) -> Prediction | None:
        """Return the answer on a plane, also if it was asked transposed."""
        return next(
            (a for p, a in self.answers.items() if p.index == plane.index), None
        )

    def take(self, answer: Prediction) -> None:
        """Keep an answer in place of the last one on its plane."""
        # The transposed view of a plane has the same pixels: one answer for both.
        self.drop(answer.plane)
        self.answers[answer.plane] = answer

    def drop(self, plane: Plane) -> None:
        """Forget the answer on a plane."""
        for other in [p for p in self.answers if p.index == plane.index]:
            del self.answers[other]

    def keep_prompted(self) -> None:
        """Forget the answers on planes that have no prompts any more."""
        indices = {plane.index for plane in self.items.planes()}
        for plane in [p for p in self.answers if p.index not in indices]:
            del self.answers[plane]

    # -- slices -------------------------------------------------------------

    def slice_on(self, plane: Plane) -> PropagatedSlice | None:
        """Return what was found on a plane by following it, if nothing is prompted."""
        if self.followed is None or self.answer_on(plane) is not None:
            return None
        return self.followed.on(plane)

    def seed_followed(self) -> None:
        """Let prompts on a slice that it was followed to correct what was found."""
        for plane in self.items.planes():
            found = self.slice_on(plane)
            if found is not None and plane not in self.seeds:
                self.seeds[plane] = found.mask

    @property
    def to_write(self) -> tuple[Prediction, ...]:
        """The answers that an accept writes: on every plane with new prompts."""
        found = (self.answer_on(plane) for plane in self.planes)
        return tuple(answer for answer in found if answer is not None)

    @property
    def content(self) -> tuple[object, ...]:
        """What an accept writes, to be compared by identity."""
        return (*self.to_write, self.followed)


def _ask_the_same(a: tuple[PromptSet, ...], b: tuple[PromptSet, ...]) -> bool:
    return len(a) == len(b) and all(map(same_prompts, a, b))
