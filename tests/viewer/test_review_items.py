"""Proposals that are decided one by one: nothing overlaps, nothing is covered."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.annotation.review_items import (
    MOST_COVERED,
    certainty,
    key_of,
    make_review_items,
)
from napari_sam.core.everything.proposals import Proposals
from napari_sam.core.everything.selection import Candidates, Thresholds
from napari_sam.core.rle import RunLengths
from napari_sam.types import MaskCrop, Plane, Region

SHAPE = (24, 30)
PLANE = Plane((0, 1), (None, None))


def proposals_of(masks, scores):
    """Return proposals with these masks, all shown."""
    crops = [MaskCrop.from_full(mask) for mask in masks]
    n = len(crops)
    return Proposals.from_candidates(
        Candidates(
            score=np.array(scores, np.float32),
            stability=np.full(n, 0.99, np.float32),
            area=np.array([c.area for c in crops], np.int64),
            box=np.array(
                [
                    (c.region.row0, c.region.col0, c.region.row1, c.region.col1)
                    for c in crops
                ],
                np.int32,
            ).reshape(-1, 4),
            point=np.array(
                [(c.region.row0, c.region.col0) for c in crops], np.float32
            ).reshape(-1, 2),
            crop=np.zeros(n, np.int32),
            masks=tuple(RunLengths.encode(c) for c in crops),
        ),
        Thresholds(min_score=0, min_stability=0, max_overlap=1, max_crop_overlap=1),
        shape=SHAPE,
    )


def rectangle(row, col, height, width):
    mask = np.zeros(SHAPE, bool)
    mask[row : row + height, col : col + width] = True
    return mask


RECTANGLES = st.builds(
    rectangle,
    st.integers(0, 20),
    st.integers(0, 26),
    st.integers(1, 12),
    st.integers(1, 12),
)


@settings(deadline=None, max_examples=60)
@given(
    masks=st.lists(RECTANGLES, max_size=8),
    labeled=st.lists(RECTANGLES, max_size=3),
    data=st.data(),
)
def test_review_items_share_no_pixel_with_anything(masks, labeled, data):
    scores = data.draw(
        st.lists(st.floats(0.5, 1, width=32), min_size=len(masks), max_size=len(masks))
    )
    taken = np.logical_or.reduce([np.zeros(SHAPE, bool), *labeled])
    found = proposals_of(masks, scores)
    review_items = make_review_items(found, PLANE, taken)
    covered = taken.astype(int) + sum(
        o.mask.full(SHAPE).astype(int) for o in review_items
    )
    assert covered.max(initial=0) <= 1
    whole = {key_of(PLANE, p): p for p in map(found.__getitem__, range(len(found)))}
    for review_item in review_items:
        proposal = whole[review_item.key]
        inside = proposal.mask.full(SHAPE)
        assert not (review_item.mask.full(SHAPE) & ~inside).any()
        assert review_item.mask.area >= (1 - MOST_COVERED) * inside.sum()
    assert [o.score for o in review_items] == sorted(
        (o.score for o in review_items), reverse=True
    )


def test_what_touches_a_label_is_left_out_and_a_brush_of_it_is_cut():
    found = proposals_of([rectangle(2, 2, 10, 10), rectangle(2, 16, 10, 10)], [1, 0.9])
    taken = rectangle(0, 0, 24, 3) | rectangle(0, 20, 24, 3)
    (review_item,) = make_review_items(found, PLANE, taken)
    assert review_item.score == 1
    assert review_item.mask.region == Region(2, 3, 12, 12)


def test_a_rejected_clump_makes_room_for_its_parts():
    parts = [rectangle(4, 2, 8, 8), rectangle(4, 12, 8, 8)]
    found = proposals_of([rectangle(4, 2, 8, 18), *parts], [0.99, 0.9, 0.95])
    (clump,) = make_review_items(found, PLANE, np.zeros(SHAPE, bool))
    assert clump.mask.area == 8 * 18
    review_items = make_review_items(
        found, PLANE, np.zeros(SHAPE, bool), hidden={clump.key}
    )
    assert [o.mask.area for o in review_items] == [64, 64]


def test_small_rests_are_left_out():
    found = proposals_of([rectangle(2, 2, 5, 5)], [1])
    assert make_review_items(found, PLANE, np.zeros(SHAPE, bool), min_area=25)
    assert not make_review_items(found, PLANE, np.zeros(SHAPE, bool), min_area=26)


def test_what_is_not_known_does_not_make_certain():
    assert certainty(0.8, 0.5) == 0.4
    assert certainty(0.8, math.nan) == 0.8
    assert certainty(math.nan, math.nan) == 0
    assert certainty(1.2, 1.0) == 1
