"""Which proposals of a plane can be accepted one by one: pure functions.

Everything mode's proposals overlap each other and what is labeled.  To be
decided one by one they must not: a review item is a proposal that lies in free
ground, cut so that no pixel belongs to two objects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.annotation.under_way import ProposalKey
from napari_sam.types import MaskCrop, Plane, Region

if TYPE_CHECKING:
    from collections.abc import Container

    from napari_sam.core.everything.proposals import Proposal, Proposals
    from napari_sam.types import BoolArray

MOST_COVERED = 0.1
"""Share of a proposal's pixels that may be taken by others; that is cut off.

Outlines of neighbors overlap by a few pixels; more means the same object, or
one that contains the other.
"""

ReviewItemKey = ProposalKey


@dataclass(frozen=True, slots=True, eq=False)
class ReviewItem:
    """A proposal that can be accepted, rejected or corrected.

    Parameters
    ----------
    key : ReviewItemKey
        What it is known by.
    plane : Plane
        Which plane.
    mask : MaskCrop
        What would be written: the proposal without the pixels of others.
    score, stability : float
        Predicted IoU and stability of the whole proposal.
    point : (float, float)
        Row and column of the prompt that found it.
    """

    key: ReviewItemKey
    plane: Plane
    mask: MaskCrop
    score: float
    stability: float
    point: tuple[float, float]

    @property
    def certainty(self) -> float:
        """Predicted IoU × stability."""
        return certainty(self.score, self.stability)

    @property
    def center(self) -> tuple[float, float]:
        """Row and column of the middle of its bounding box."""
        return center_of(self.mask.region)


def certainty(score: float, stability: float) -> float:
    """Return predicted IoU × stability; what is not known does not count.

    Nothing known at all is 0, so that it is looked at first.
    """
    known = [min(1.0, v) for v in (score, stability) if not math.isnan(v)]
    return math.prod(known) if known else 0.0


def center_of(region: Region) -> tuple[float, float]:
    """Return row and column of the middle of a region."""
    return (region.row0 + region.row1 - 1) / 2, (region.col0 + region.col1 - 1) / 2


def key_of(plane: Plane, proposal: Proposal) -> ReviewItemKey:
    """Return what a proposal is known by."""
    return plane, proposal.box, proposal.point, proposal.area


def make_review_items(
    proposals: Proposals,
    plane: Plane,
    taken: BoolArray,
    hidden: Container[ReviewItemKey] = (),
    min_area: int = 1,
    *,
    apart: bool = True,
) -> tuple[ReviewItem, ...]:
    """Return the proposals in free ground, best first, none overlapping another.

    What is labeled already is none, nor is the rim that a label leaves of it.

    Parameters
    ----------
    proposals : Proposals
        What was found on a plane.
    plane : Plane
        Which plane.
    taken : bool array (H, W)
        Pixels of labeled objects.
    hidden : container of keys
        Proposals that were decided already; they take no pixels.
    min_area : int
        Items of fewer pixels after the cut are left out.
    apart : bool
        Leave out what more than `MOST_COVERED` of is taken by better items; else it is
        only cut, as where parts lie on a whole.

    Returns
    -------
    tuple of ReviewItem
        By descending score.  A proposal of which more than `MOST_COVERED` is
        labeled is left out.
    """
    unlabeled = ~np.asarray(taken, dtype=bool)
    free = unlabeled.copy()
    whole = Region.whole(proposals.shape)
    review_items = []
    # Of parts and the whole that they lie on, the parts are on top.
    order = np.arange(len(proposals)) if apart else proposals.smallest_first()
    for number in order.tolist():
        proposal = proposals[number]
        key = key_of(plane, proposal)
        region = proposal.mask.region.intersection(whole)
        if key in hidden or region.is_empty:
            continue
        inner = region.shifted(-proposal.mask.region.row0, -proposal.mask.region.col0)
        mask = proposal.mask.mask[inner.slices]
        own = mask & free[region.slices]
        area, left = np.count_nonzero(mask), np.count_nonzero(own)
        open_to = free if apart else unlabeled
        covered = area - np.count_nonzero(mask & open_to[region.slices])
        if left < max(1, min_area) or covered > MOST_COVERED * area:
            continue
        free[region.slices] &= ~own
        review_items.append(
            ReviewItem(
                key,
                plane,
                MaskCrop(own, region).tight(),
                proposal.score,
                proposal.stability,
                proposal.point,
            )
        )
    return tuple(sorted(review_items, key=lambda review_item: -review_item.score))


def counted(count: int) -> str:
    """Return so many proposals in words."""
    return f"{count} proposal{'s' * (count != 1)}"
