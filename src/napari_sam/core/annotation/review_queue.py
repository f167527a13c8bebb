"""The order of a review and how far it is: no layers, no model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from napari_sam.core.annotation.review_items import ReviewItemKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from napari_sam.types import Plane

EntryKey = ReviewItemKey | int
"""A review item's key, or the label of a written object."""


class Outcome(StrEnum):
    """What became of an entry.

    Attributes
    ----------
    ACCEPTED, REJECTED
        The user said so.
    SKIPPED
        Left for later.
    GONE
        Nothing to decide any more: labeled, erased or changed by hand.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be looked at.

    Parameters
    ----------
    key : EntryKey
        A proposal's key, or a written object's label.
    plane : Plane
        Where it is.
    center : (float, float), optional
        Row and column of its middle, if it is known.
    certainty : float
        Predicted IoU × stability; of a linked object, that of its weakest place.
    why : str
        What is in doubt, in words; empty if only the mask is.
    """

    key: EntryKey
    plane: Plane
    center: tuple[float, float] | None
    certainty: float
    why: str = ""

    @property
    def is_proposal(self) -> bool:
        """Whether it is not in the labels yet."""
        return not isinstance(self.key, int)

    @property
    def rank(self) -> tuple[float, tuple[int, ...], tuple[float, float], int]:
        """Sorts entries: least certain first, ties by position."""
        index = tuple(-1 if i is None else i for i in self.plane.index)
        label = self.key if isinstance(self.key, int) else 0
        return self.certainty, index, self.center or (-1.0, -1.0), label


class ReviewQueue:
    """Entries from least to most certain, and what became of them.

    Attributes
    ----------
    current : Entry or None
        What is looked at; None before the start and after the end.
    """

    def __init__(self) -> None:
        self._entries: dict[EntryKey, Entry] = {}
        self._outcomes: dict[EntryKey, Outcome] = {}
        self._places: dict[EntryKey, float] = {}
        self.current: Entry | None = None

    def __len__(self) -> int:
        """Return how many there are to decide, decided ones included."""
        return len(self._entries) - self.count(Outcome.GONE)

    def count(self, outcome: Outcome) -> int:
        """Return how many entries ended so."""
        return sum(o is outcome for o in self._outcomes.values())

    @property
    def position(self) -> int:
        """Number of the current entry, from 1: decided and skipped ones before it."""
        seen = len(self._outcomes) - self.count(Outcome.GONE)
        return seen + (self.current is not None)

    def order_by(self, places: Mapping[EntryKey, float]) -> None:
        """Go through these entries first, the lowest first, and then the others."""
        self._places = dict(places)

    def open(self) -> tuple[Entry, ...]:
        """Return what is not decided, least certain first, or as `order_by` says."""
        left = (e for k, e in self._entries.items() if not self._is_decided(k))
        return tuple(
            sorted(left, key=lambda e: (self._places.get(e.key, math.inf), e.rank))
        )

    def step(self, by: int, is_open: Callable[[Entry], bool]) -> Entry | None:
        """Go on or back in the order without deciding anything, around its ends.

        Parameters
        ----------
        by : int
            1 for the next entry, -1 for the one before.
        is_open : callable
            Whether an entry can still be decided; others are passed over.
        """
        entries = self.open()
        at = [i for i, e in enumerate(entries) if e == self.current]
        here = at[0] if at else (-1 if by > 0 else 0)
        for distance in range(1, len(entries) + 1):
            entry = entries[(here + by * distance) % len(entries)]
            if is_open(entry):
                self.current = entry
                return entry
        return None

    def fill(self, entries: Iterable[Entry]) -> None:
        """Take what is open now; what was decided before still counts.

        Entries that are not among them any more are gone, and what was skipped
        comes up again.  Where all of them are new, it is another review.
        """
        new = {e.key: e for e in entries}
        if not self._entries.keys() & new.keys():
            self.clear()
        for key in self._entries.keys() - new.keys():
            if not self._is_decided(key):
                self._outcomes[key] = Outcome.GONE
        self._entries |= new
        for key in new:
            self._outcomes.pop(key, None)
        self.current = None

    def add(self, entries: Iterable[Entry]) -> None:
        """Take what came up during the review; known entries are left alone."""
        for entry in entries:
            self._entries.setdefault(entry.key, entry)

    def advance(self, is_open: Callable[[Entry], bool]) -> Entry | None:
        """Go to the least certain entry that was neither decided nor skipped.

        Parameters
        ----------
        is_open : callable
            Whether an entry can still be decided; those that cannot are gone.
        """
        for entry in self.open():
            if entry.key in self._outcomes:
                continue
            if is_open(entry):
                self.current = entry
                return entry
            self._outcomes[entry.key] = Outcome.GONE
        self.current = None
        return None

    def mark(self, key: EntryKey, outcome: Outcome) -> None:
        """Note what became of an entry; unknown ones are ignored."""
        if key in self._entries:
            self._outcomes[key] = outcome

    def reopen(self, key: EntryKey) -> Entry | None:
        """Take an outcome back and go to that entry; None if there is none such."""
        entry = self._entries.get(key)
        if entry is not None:
            self._outcomes.pop(key, None)
            self.current = entry
        return entry

    def drop(self, is_gone: Callable[[Entry], bool]) -> None:
        """Note that there is nothing to decide about some entries any more."""
        for key, entry in self._entries.items():
            if not self._is_decided(key) and is_gone(entry):
                self._outcomes[key] = Outcome.GONE

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._outcomes.clear()
        self._places.clear()
        self.current = None

    def _is_decided(self, key: EntryKey) -> bool:
        return self._outcomes.get(key, Outcome.SKIPPED) is not Outcome.SKIPPED
