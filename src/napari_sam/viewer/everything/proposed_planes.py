"""What everything mode found, plane by plane, and what the user made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.review_items import make_review_items
from napari_sam.core.everything.settings import SMALLEST_AREA, chosen
from napari_sam.types import Region
from napari_sam.viewer.everything.review_item_table import ReviewItemTable

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    from napari_sam.core.annotation.review_items import ReviewItem, ReviewItemKey
    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.core.everything.selection import Thresholds
    from napari_sam.core.model_thresholds import ModelThresholds
    from napari_sam.types import BoolArray, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget


_TABLES = 2
"""For how many planes it is kept how their review items were cut."""


class Decision(StrEnum):
    """What the user made of a review item."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What the worker has made of the proposals of a plane.

    Parameters
    ----------
    table : ReviewItemTable
        How review items are cut; nobody else has it.
    unfiltered : Proposals
        What no threshold hides.
    """

    table: ReviewItemTable
    unfiltered: Proposals


def _unfiltered(proposals: Proposals) -> Proposals:
    return proposals.filter(
        min_score=-math.inf, min_stability=-math.inf, min_area=0, max_area=math.inf
    )


class ProposedPlanes:
    """Proposals of one viewer until they are written or dropped; GUI thread only.

    A plane's proposals are either looked at together, with all thresholds live,
    or *offered*: decided one by one, so that they do not overlap each other.  Neither
    takes what is labeled (see `make_review_items`).

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.

    Attributes
    ----------
    found : dict of Plane to Proposals
        What passes the live thresholds.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.found: dict[Plane, Proposals] = {}
        # What each was found with: the thresholds that nobody has moved.
        self._own: dict[Plane, Thresholds] = {}
        # Pre-filled planes, and what the model says when it may be believed unseen.
        self._confident: dict[Plane, ModelThresholds] = {}
        self._offered: set[Plane] = set()
        self._decided: dict[ReviewItemKey, Decision] = {}
        self._review_items: dict[Plane, tuple[ReviewItem, ...]] = {}
        # Planes whose labels may have changed since their review items were made.
        self._stale: set[Plane] = set()
        # How the review items of a plane were made, and what was labeled then.
        self._tables: dict[Plane, ReviewItemTable] = {}
        self._unfiltered: dict[Plane, Proposals] = {}
        self._taken: dict[Plane, BoolArray] = {}

    def __len__(self) -> int:
        """Return how many proposals wait, on all planes."""
        return sum(
            len(self._known_review_items(p))
            if p in self._offered or p in self._review_items
            else len(found)
            for p, found in self.found.items()
        )

    def left_out(self, plane: Plane) -> int:
        """Return how many proposals are labeled already or too small after a cut.

        0 for a plane that nobody has looked at: cutting those of a stack takes seconds.
        """
        if plane not in self.found or plane not in self._review_items:
            return 0
        decided = sum(k[0] == plane for k in self._decided)
        return max(0, len(self.found[plane]) - decided - len(self.review_items(plane)))

    # -- what was found -----------------------------------------------------

    def prepare(
        self, plane: Plane, proposals: Proposals, *, confident: bool
    ) -> Prepared:
        """Make ready what was found on a plane; for the worker.

        Parameters
        ----------
        plane, proposals, confident
            See `put`, which takes what is returned.
        """
        own, table = proposals.thresholds, ReviewItemTable(plane)
        model = self._context.thresholds if confident else None
        table.make(
            self._filtered(proposals, own, model),
            self._read(plane, proposals.shape, self._context.target),
            min_area=self._least(own),
            apart=confident,
        )
        return Prepared(table, _unfiltered(proposals))

    def put(
        self,
        plane: Plane,
        proposals: Proposals,
        *,
        confident: bool,
        prepared: Prepared | None = None,
    ) -> None:
        """Keep what a search of a plane found, in place of an earlier search.

        Parameters
        ----------
        plane : Plane
            Which plane.
        proposals : Proposals
            Everything above the search's floor.
        confident : bool
            Offer only what the model is sure of.
        prepared : Prepared, optional
            What `prepare` made of them.
        """
        for other in [p for p in self.found if p.index == plane.index and p != plane]:
            # The same slice with its axes exchanged: each object would be there twice.
            self._drop(other)
        self.found[plane] = proposals
        self._own[plane] = proposals.thresholds
        self._tables.pop(plane, None)
        self._unfiltered.pop(plane, None)
        if prepared is not None:
            self._tables[plane] = prepared.table
            self._unfiltered[plane] = prepared.unfiltered
        self.open_for_review([plane], confident=confident)
        # What was rejected stays so in a pre-filled slice: filling it again
        # after some objects were labeled must not bring it back.
        gone = {
            k
            for k, decision in self._decided.items()
            if k[0] == plane and not (confident and decision is Decision.REJECTED)
        }
        self.reopen(gone)
        if not confident:
            self.withhold([plane])
        self.refilter([plane])

    def open_for_review(
        self, planes: Iterable[Plane], *, confident: bool | None = None
    ) -> None:
        """Let the proposals of these planes be decided one by one."""
        for plane in planes:
            if plane not in self.found:
                continue
            if plane not in self._offered:
                self._offered.add(plane)
                self._review_items.pop(plane, None)
            if confident is not None:
                if confident:
                    self._confident[plane] = self._context.thresholds
                else:
                    self._confident.pop(plane, None)
                self.refilter([plane])

    def unfiltered(self, plane: Plane) -> Proposals | None:
        """Return what was found on a plane, whatever thresholds hide of it."""
        found = self.found.get(plane)
        if found is not None and plane not in self._unfiltered:
            self._unfiltered[plane] = _unfiltered(found)
        return self._unfiltered.get(plane)

    def withhold(self, planes: Iterable[Plane]) -> None:
        """Let the proposals of these planes be looked at together again."""
        for plane in planes:
            self._offered.discard(plane)
            self._review_items.pop(plane, None)

    def refilter(self, planes: Iterable[Plane] | None = None) -> None:
        """Apply the live thresholds again; no inference."""
        for plane in tuple(self.found) if planes is None else planes:
            found = self.found[plane]
            own = self._own.get(plane, found.thresholds)
            self.found[plane] = self._filtered(found, own, self._confident.get(plane))
            self._review_items.pop(plane, None)

    def _drop(self, plane: Plane) -> None:
        """Forget the proposals of a plane and what was decided of them."""
        for part in (
            self.found,
            self._own,
            self._confident,
            self._review_items,
            self._tables,
            self._taken,
            self._unfiltered,
        ):
            part.pop(plane, None)
        self._offered.discard(plane)
        self._stale.discard(plane)
        for key in [k for k in self._decided if k[0] == plane]:
            del self._decided[key]

    def clear(self) -> None:
        """Forget all proposals and decisions."""
        for part in (
            self.found,
            self._own,
            self._confident,
            self._offered,
            self._decided,
            self._review_items,
            self._stale,
            self._tables,
            self._taken,
            self._unfiltered,
        ):
            part.clear()

    def _filtered(
        self, proposals: Proposals, own: Thresholds, model: ModelThresholds | None
    ) -> Proposals:
        """Apply the live thresholds; those of a model that may be believed unseen."""
        settings = self._context.settings
        height, width = proposals.shape
        score = chosen(settings.min_score, own.min_score)
        stability = chosen(settings.min_stability, own.min_stability)
        share = settings.max_share
        if model is not None:
            sure = chosen(settings.confident_score, model.confident_score)
            stable = chosen(settings.confident_stability, model.confident_stability)
            score, stability = max(score, sure), max(stability, stable)
        return proposals.filter(
            min_score=score,
            min_stability=stability,
            min_area=self._least(own),
            max_area=own.max_area if share is None else share * height * width,
        )

    def min_area(self, plane: Plane) -> int:
        """Return the smallest area of a proposal, in pixels."""
        return self._least(self._own.get(plane))

    def _least(self, own: Thresholds | None) -> int:
        known = SMALLEST_AREA if own is None else own.min_area
        return math.ceil(chosen(self._context.settings.min_area, known))

    # -- review items -------------------------------------------------------------

    def is_offered(self, plane: Plane) -> bool:
        """Whether the proposals of a plane are decided one by one."""
        return plane in self._offered

    def is_confident(self, plane: Plane) -> bool:
        """Whether a plane was pre-filled."""
        return plane in self._confident

    @property
    def offered(self) -> tuple[Plane, ...]:
        """The planes whose proposals are decided one by one."""
        return tuple(p for p in self.found if p in self._offered)

    def review_items(self, plane: Plane) -> tuple[ReviewItem, ...]:
        """Return what is still open on a plane, against its present labels."""
        if plane not in self.found:
            return ()
        if plane in self._stale or plane not in self._review_items:
            if plane in self._stale or plane not in self._taken:
                self._taken[plane] = self._read(
                    plane, self.found[plane].shape, self._context.target
                )
            self._stale.discard(plane)
            self._keep_few_tables(plane)
            self._review_items[plane] = self._tables[plane].make(
                self.found[plane],
                self._taken[plane],
                self._decided,
                self.min_area(plane),
                apart=plane in self._offered,
            )
        return self._review_items[plane]

    def _keep_few_tables(self, plane: Plane) -> None:
        """Let the planes that were looked at last be cut from what is known."""
        table = self._tables.pop(plane, None) or ReviewItemTable(plane)
        self._tables[plane] = table
        for old in tuple(self._tables)[:-_TABLES]:
            del self._tables[old]
        for old in tuple(self._taken):
            if old not in self._tables:
                del self._taken[old]

    def review_item_at(self, plane: Plane, row: int, column: int) -> ReviewItem | None:
        """Return the review item that covers a pixel."""
        for review_item in self.review_items(plane):
            r = review_item.mask.region
            if (
                r.row0 <= row < r.row1
                and r.col0 <= column < r.col1
                and review_item.mask.mask[row - r.row0, column - r.col0]
            ):
                return review_item
        return None

    def iter_review_items(
        self,
    ) -> Generator[None, None, dict[Plane, tuple[ReviewItem, ...]]]:
        """Make the items of all offered planes; for the worker, a plane a step."""
        target = self._context.target
        planes = [
            p for p in self.offered if p in self._stale or p not in self._review_items
        ]
        made = {}
        for plane in planes:
            made[plane] = make_review_items(
                self.found[plane],
                plane,
                self._read(plane, self.found[plane].shape, target),
                self._decided,
                self.min_area(plane),
            )
            yield
        return made

    def take(self, made: dict[Plane, tuple[ReviewItem, ...]]) -> None:
        """Keep the outcome of `iter_review_items`."""
        for plane, review_items in made.items():
            if plane in self.found:
                self._review_items[plane] = review_items
                self._stale.discard(plane)
                # They were made against labels that were read then.
                self._taken.pop(plane, None)

    def labels_changed(self) -> None:
        """Look at the labels again before a plane's review items are used."""
        self._stale.update(self._review_items)
        for plane in self._taken.keys() - self._review_items.keys():
            del self._taken[plane]

    def _known_review_items(self, plane: Plane) -> tuple[ReviewItem, ...]:
        """Return a plane's items, without looking at labels that changed since."""
        return (
            self._review_items[plane]
            if plane in self._review_items
            else self.review_items(plane)
        )

    @staticmethod
    def _read(
        plane: Plane, shape: tuple[int, int], target: LabelsTarget | None
    ) -> BoolArray:
        """Return which pixels of a plane are labeled."""
        if target is None:
            return np.zeros(shape, bool)
        # Negative values are nobody's.
        taken: BoolArray = target.read(plane, Region.whole(shape)) > 0
        return taken

    # -- decisions ----------------------------------------------------------

    def decide(self, keys: Collection[ReviewItemKey], decision: Decision) -> None:
        """Note what the user made of review items."""
        self._decided.update(dict.fromkeys(keys, decision))
        for plane in {key[0] for key in keys} & self._review_items.keys():
            # Made anew when they are next looked at; the count is right till then.
            self._stale.add(plane)
            self._review_items[plane] = tuple(
                o for o in self._review_items[plane] if o.key not in self._decided
            )

    def reopen(self, keys: Iterable[ReviewItemKey]) -> None:
        """Take decisions back."""
        for key in keys:
            self._decided.pop(key, None)
            self._review_items.pop(key[0], None)

    @property
    def rejected(self) -> tuple[ReviewItemKey, ...]:
        """What the user has turned down."""
        return tuple(k for k, d in self._decided.items() if d is Decision.REJECTED)
