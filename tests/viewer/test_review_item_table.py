"""Offers made again where something has changed are those made from nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_review_items import PLANE, RECTANGLES, SHAPE, proposals_of, rectangle

from napari_sam.core.annotation.review_items import key_of, make_review_items
from napari_sam.types import MaskCrop, Region
from napari_sam.viewer.everything import review_item_table
from napari_sam.viewer.everything.review_item_table import ReviewItemTable
from napari_sam.viewer.overlay import (
    DOUBTFUL,
    ShownMask,
    Stamps,
    pixel_value,
    shades,
)
from napari_sam.viewer.settings import PreviewStyle


def same(made, expected) -> bool:
    return len(made) == len(expected) and all(
        a.key == b.key
        and a.score == b.score
        and a.stability == b.stability
        and a.mask.region == b.mask.region
        and np.array_equal(a.mask.mask, b.mask.mask)
        for a, b in zip(made, expected, strict=True)
    )


STEPS = st.lists(
    st.tuples(
        st.floats(0.4, 1.0),  # lowest score
        st.integers(1, 40),  # smallest area
        st.lists(RECTANGLES, max_size=2),  # labels
        st.booleans(),  # apart
        st.sets(st.integers(0, 9)),  # decided
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("budget", [1 << 20, 0])
@settings(deadline=None, max_examples=60)
@given(masks=st.lists(RECTANGLES, max_size=9), steps=STEPS, data=st.data())
def test_whatever_changes_in_any_order(budget, masks, steps, data):
    scores = data.draw(
        st.lists(st.floats(0.5, 1, width=32), min_size=len(masks), max_size=len(masks))
    )
    found = proposals_of(masks, scores)
    table = ReviewItemTable(PLANE)
    with pytest.MonkeyPatch.context() as patch:
        # Without a budget all that is hidden is forgotten at once.
        patch.setattr(review_item_table, "_BUDGET", budget)
        for least, area, labels, apart, decided in steps:
            shown = found.filter(min_score=least)
            taken = np.logical_or.reduce([np.zeros(SHAPE, bool), *labels])
            hidden = {key_of(PLANE, found[n]) for n in decided if n < len(found)}
            made = table.make(shown, taken, hidden, area, apart=apart)
            expected = make_review_items(shown, PLANE, taken, hidden, area, apart=apart)
            assert same(made, expected)


def test_what_has_not_changed_is_the_same_object():
    found = proposals_of(
        [rectangle(2, 2, 6, 6), rectangle(2, 7, 6, 6), rectangle(14, 14, 5, 5)],
        [0.9, 0.8, 0.7],
    )
    table, taken = ReviewItemTable(PLANE), np.zeros(SHAPE, bool)
    first = {o.key: o for o in table.make(found, taken)}
    second = {o.key: o for o in table.make(found.filter(min_score=0.85), taken)}
    assert second.items() <= first.items()
    again = {o.key: o for o in table.make(found, taken)}
    assert again == first
    # A label under one of them leaves the others as they are.
    third = {o.key: o for o in table.make(found, rectangle(18, 18, 3, 3))}
    changed = [key for key in first if third.get(key) is not first[key]]
    assert [key[1] for key in changed] == [(14, 14, 19, 19)]


def test_masks_of_hidden_proposals_are_bounded(monkeypatch):
    monkeypatch.setattr(review_item_table, "_BUDGET", 100)
    masks = [rectangle(row, col, 6, 6) for row in (0, 8, 16) for col in (0, 8, 16, 24)]
    found = proposals_of(masks, np.linspace(0.5, 1, len(masks)))
    table, taken = ReviewItemTable(PLANE), np.zeros(SHAPE, bool)
    assert len(table.make(found[:10], taken)) == 10
    # Others are cut, and what is hidden by then is forgotten.
    assert len(table.make(found[10:], taken)) == 2
    assert table.nbytes == 2 * 36


STYLES = st.sampled_from(list(PreviewStyle))


@settings(deadline=None, max_examples=60)
@given(
    masks=st.lists(RECTANGLES, max_size=6),
    picks=st.lists(st.lists(st.integers(0, 5)), max_size=4),
    style=STYLES,
    width=st.integers(1, 3),
    doubtful=st.booleans(),
)
def test_kept_stamps_draw_what_fresh_ones_draw(masks, picks, style, width, doubtful):
    crops = [MaskCrop.from_full(mask) for mask in masks]
    stamps = Stamps(style, width, (20, 24))
    score = DOUBTFUL - 0.1 if doubtful else 0.9
    for pick in picks:
        shown = [
            ShownMask(crops[n], n + len(pick) % 2, score)
            for n in pick
            if n < len(crops)
        ]
        view, expected = np.zeros((20, 24), np.uint8), np.zeros(SHAPE, np.uint8)
        changed = stamps.paint(view, shown)
        for one in shown:
            if style is PreviewStyle.OFF:
                break
            # The contour goes along the border of the plane, as it always did.
            region = one.mask.region.intersection(Region(0, 0, 20, 24))
            full = one.mask.full(SHAPE)[region.slices]
            drawn = shades(full, region, style=style, width=width, doubtful=doubtful)
            part = expected[region.slices]
            for shade in (1, 2, 3):
                part[drawn == shade] = pixel_value(one.color, shade)
        np.testing.assert_array_equal(view, expected[:20, :24])
        outside = np.ones(view.shape, bool)
        outside[changed.slices] = False
        assert not view[outside].any()
