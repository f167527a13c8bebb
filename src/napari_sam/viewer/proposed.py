"""What everything mode found, plane by plane, and what the user made of it."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.everything_settings import SMALLEST_AREA, chosen
from napari_sam.types import Region
from napari_sam.viewer.offers import make_offers

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    from napari_sam.core.model_thresholds import ModelThresholds
    from napari_sam.core.proposals import Proposals
    from napari_sam.core.selection import Thresholds
    from napari_sam.types import BoolArray, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.offers import Offer, OfferKey


class Decision(StrEnum):
    """What the user made of an offer."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class ProposedPlanes:
    """Proposals of one viewer until they are written or dropped; GUI thread only.

    A plane's proposals are either looked at together, with all thresholds live,
    or *offered*: decided one by one, so that they do not overlap each other.  Neither
    takes what is labelled (see `make_offers`).

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
        self._decided: dict[OfferKey, Decision] = {}
        self._offers: dict[Plane, tuple[Offer, ...]] = {}
        # Planes whose labels may have changed since their offers were made.
        self._stale: set[Plane] = set()

    def __len__(self) -> int:
        """Return how many proposals wait, on all planes."""
        return sum(
            len(self._known_offers(p))
            if p in self._offered or p in self._offers
            else len(found)
            for p, found in self.found.items()
        )

    def left_out(self, plane: Plane) -> int:
        """Return how many proposals are labelled already or too small after a cut."""
        if plane not in self.found:
            return 0
        decided = sum(k[0] == plane for k in self._decided)
        return max(0, len(self.found[plane]) - decided - len(self.offers(plane)))

    # -- what was found -----------------------------------------------------

    def put(self, plane: Plane, proposals: Proposals, *, confident: bool) -> None:
        """Keep what a search of a plane found, in place of an earlier search.

        Parameters
        ----------
        plane : Plane
            Which plane.
        proposals : Proposals
            Everything above the search's floor.
        confident : bool
            Offer only what the model is sure of.
        """
        for other in [p for p in self.found if p.index == plane.index and p != plane]:
            # The same slice with its axes exchanged: each object would be there twice.
            self._drop(other)
        self.found[plane] = proposals
        self._own[plane] = proposals.thresholds
        self.offer([plane], confident=confident)
        # What was rejected stays so in a pre-filled slice: filling it again
        # after some objects were labelled must not bring it back.
        gone = {
            k
            for k, decision in self._decided.items()
            if k[0] == plane and not (confident and decision is Decision.REJECTED)
        }
        self.reopen(gone)
        if not confident:
            self.withhold([plane])
        self.refilter([plane])

    def offer(self, planes: Iterable[Plane], *, confident: bool | None = None) -> None:
        """Let the proposals of these planes be decided one by one."""
        for plane in planes:
            if plane not in self.found:
                continue
            if plane not in self._offered:
                self._offered.add(plane)
                self._offers.pop(plane, None)
            if confident is not None:
                if confident:
                    self._confident[plane] = self._context.thresholds
                else:
                    self._confident.pop(plane, None)
                self.refilter([plane])

    def withhold(self, planes: Iterable[Plane]) -> None:
        """Let the proposals of these planes be looked at together again."""
        for plane in planes:
            self._offered.discard(plane)
            self._offers.pop(plane, None)

    def refilter(self, planes: Iterable[Plane] | None = None) -> None:
        """Apply the live thresholds again; no inference."""
        for plane in tuple(self.found) if planes is None else planes:
            self.found[plane] = self._filtered(self.found[plane], plane)
            self._offers.pop(plane, None)

    def _drop(self, plane: Plane) -> None:
        """Forget the proposals of a plane and what was decided of them."""
        for part in (self.found, self._own, self._confident, self._offers):
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
            self._offers,
            self._stale,
        ):
            part.clear()

    def _filtered(self, proposals: Proposals, plane: Plane) -> Proposals:
        settings = self._context.settings
        own = self._own.get(plane, proposals.thresholds)
        height, width = proposals.shape
        score = chosen(settings.min_score, own.min_score)
        stability = chosen(settings.min_stability, own.min_stability)
        share = settings.max_share
        if (model := self._confident.get(plane)) is not None:
            sure = chosen(settings.confident_score, model.confident_score)
            stable = chosen(settings.confident_stability, model.confident_stability)
            score, stability = max(score, sure), max(stability, stable)
        return proposals.filter(
            min_score=score,
            min_stability=stability,
            min_area=self.min_area(plane),
            max_area=own.max_area if share is None else share * height * width,
        )

    def min_area(self, plane: Plane) -> int:
        """Return the smallest area of a proposal, in pixels."""
        own = self._own.get(plane)
        known = SMALLEST_AREA if own is None else own.min_area
        return math.ceil(chosen(self._context.settings.min_area, known))

    # -- offers -------------------------------------------------------------

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

    def offers(self, plane: Plane) -> tuple[Offer, ...]:
        """Return what is still open on a plane, against its present labels."""
        if plane not in self.found:
            return ()
        if plane in self._stale or plane not in self._offers:
            self._stale.discard(plane)
            self._offers[plane] = self._make(plane, self._context.target)
        return self._offers[plane]

    def offer_at(self, plane: Plane, row: int, column: int) -> Offer | None:
        """Return the offer that covers a pixel."""
        for offer in self.offers(plane):
            r = offer.mask.region
            if (
                r.row0 <= row < r.row1
                and r.col0 <= column < r.col1
                and offer.mask.mask[row - r.row0, column - r.col0]
            ):
                return offer
        return None

    def iter_offers(self) -> Generator[None, None, dict[Plane, tuple[Offer, ...]]]:
        """Make the offers of all offered planes; for the worker, a plane a step."""
        target = self._context.target
        planes = [p for p in self.offered if p in self._stale or p not in self._offers]
        made = {}
        for plane in planes:
            made[plane] = self._make(plane, target)
            yield
        return made

    def take(self, made: dict[Plane, tuple[Offer, ...]]) -> None:
        """Keep the outcome of `iter_offers`."""
        for plane, offers in made.items():
            if plane in self.found:
                self._offers[plane] = offers
                self._stale.discard(plane)

    def labels_changed(self) -> None:
        """Look at the labels again before a plane's offers are used."""
        self._stale.update(self._offers)

    def _known_offers(self, plane: Plane) -> tuple[Offer, ...]:
        """Return a plane's offers, without looking at labels that changed since."""
        return self._offers[plane] if plane in self._offers else self.offers(plane)

    def _make(self, plane: Plane, target: LabelsTarget | None) -> tuple[Offer, ...]:
        proposals = self.found[plane]
        taken: BoolArray = np.zeros(proposals.shape, bool)
        if target is not None:
            # Negative values are nobody's.
            taken = target.read(plane, Region.whole(proposals.shape)) > 0
        return make_offers(
            proposals,
            plane,
            taken,
            self._decided,
            self.min_area(plane),
            apart=plane in self._offered,
        )

    # -- decisions ----------------------------------------------------------

    def decide(self, keys: Collection[OfferKey], decision: Decision) -> None:
        """Note what the user made of offers."""
        self._decided.update(dict.fromkeys(keys, decision))
        for plane in {key[0] for key in keys} & self._offers.keys():
            # Made anew when they are next looked at; the count is right till then.
            self._stale.add(plane)
            self._offers[plane] = tuple(
                o for o in self._offers[plane] if o.key not in self._decided
            )

    def reopen(self, keys: Iterable[OfferKey]) -> None:
        """Take decisions back."""
        for key in keys:
            self._decided.pop(key, None)
            self._offers.pop(key[0], None)

    @property
    def rejected(self) -> tuple[OfferKey, ...]:
        """What the user has turned down."""
        return tuple(k for k, d in self._decided.items() if d is Decision.REJECTED)

    def count(self, decision: Decision) -> int:
        """Return how many offers were decided so."""
        return sum(d is decision for d in self._decided.values())
