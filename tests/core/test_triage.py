"""Deciding about many: what the pure functions say, against the plainest way."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from napari_sam.core.everything.triage import (
    doubt,
    histogram,
    inside,
    mean_features,
    position_on,
    similarity,
)
from napari_sam.types import Embedding, Frame, MaskCrop, Region

SHAPE = (20, 26)
MASKS = st.builds(
    lambda row, col, height, width, seed: MaskCrop(
        np.random.default_rng(seed).random((height, width)) < 0.8,
        Region(row, col, row + height, col + width),
    ),
    st.integers(0, 12),
    st.integers(0, 16),
    st.integers(1, 8),
    st.integers(1, 10),
    st.integers(0, 1000),
).filter(lambda mask: mask.area > 0)


@given(
    values=st.lists(st.floats(-1, 3) | st.just(math.nan)),
    bins=st.integers(1, 12),
)
def test_a_histogram_counts_each_value_once(values, bins):
    low, high = 0.5, 2.0
    expected = [0] * bins
    for value in values:
        if math.isnan(value):
            continue
        share = min(max((value - low) / (high - low), 0), 1)
        expected[min(int(share * bins), bins - 1)] += 1
    assert histogram(values, low, high, bins).tolist() == expected


@given(values=st.lists(st.integers(1, 5000), min_size=1), bins=st.integers(1, 12))
def test_a_logarithmic_histogram_is_that_of_logarithms(values, bins):
    counts = histogram(values, 10, 1000, bins, log=True)
    logs = np.log(np.clip(values, 10, 1000))
    expected = histogram(logs, np.log(10), np.log(1000), bins)
    assert counts.tolist() == expected.tolist()
    assert counts.sum() == len(values)


def test_a_scale_of_no_length_has_one_place():
    assert position_on([1.0, 5.0], 3, 3).tolist() == [0, 0]
    assert histogram([3, 3], 3, 3, 4).tolist() == [2, 0, 0, 0]


@given(lasso=MASKS, masks=st.lists(MASKS, max_size=6))
def test_inside_is_by_the_larger_part(lasso, masks):
    drawn = lasso.full(SHAPE)
    expected = [
        np.count_nonzero(m.full(SHAPE) & drawn) * 2 > m.full(SHAPE).sum() for m in masks
    ]
    assert inside(lasso, masks).tolist() == expected


def test_half_of_it_is_not_the_larger_part():
    lasso = MaskCrop(np.ones((4, 4), bool), Region(0, 0, 4, 4))
    half = MaskCrop(np.ones((4, 2), bool), Region(0, 3, 4, 5))
    most = MaskCrop(np.ones((4, 3), bool), Region(0, 2, 4, 5))
    assert inside(lasso, [half, most]).tolist() == [False, True]


@st.composite
def embeddings(draw):
    """Draw an embedding of some plane, with more or less pixels than cells."""
    size = draw(st.sampled_from([SHAPE, (40, 26), (20, 64)]))
    side, cells = 32, draw(st.sampled_from([2, 8, 32]))
    features = np.random.default_rng(draw(st.integers(0, 99))).normal(
        size=(3, cells, cells)
    )
    frame = Frame.fit(size, side)
    return Embedding({"features": features.astype(np.float16)}, frame, "encoder")


@settings(deadline=None)
@given(embedding=embeddings(), masks=st.lists(MASKS, min_size=1, max_size=4))
def test_features_of_a_mask_are_those_of_its_pixels(embedding, masks):
    cells, frame = embedding.features.shape[1], embedding.frame
    found = mean_features(embedding, masks)
    for mask, mean in zip(masks, found, strict=True):
        rows, columns = np.nonzero(mask.mask)
        rows, columns = rows + mask.region.row0, columns + mask.region.col0
        scale = frame.scale
        seen = [
            embedding.features[
                :,
                min(int((r + 0.5) * scale[0] * cells / frame.side), cells - 1),
                min(int((c + 0.5) * scale[1] * cells / frame.side), cells - 1),
            ].astype(float)
            for r, c in zip(rows.tolist(), columns.tolist(), strict=True)
        ]
        np.testing.assert_allclose(mean, np.mean(seen, axis=0), atol=1e-3)


@given(seed=st.integers(0, 99), number=st.integers(0, 4))
def test_similarity_is_the_cosine(seed, number):
    vectors = np.random.default_rng(seed).normal(size=(5, 7))
    expected = [
        v @ vectors[number] / np.linalg.norm(v) / np.linalg.norm(vectors[number])
        for v in vectors
    ]
    found = similarity(vectors, number)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.argmax() == number


def test_what_has_no_features_is_like_nothing():
    assert similarity(np.array([[0.0, 0.0], [1.0, 0.0]]), 1).tolist() == [0, 1]


KNOWN = st.floats(0, 1) | st.just(math.nan)


@given(st.lists(st.tuples(KNOWN, KNOWN), max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_doubt_is_the_way_to_the_nearer_threshold(proposals, least, stable):
    assume(proposals)
    expected = []
    for score, stability in proposals:
        ways = [abs(score - least), abs(stability - stable)]
        known = [way for way in ways if not math.isnan(way)]
        expected.append(min(known) if known else 0.0)
    scores, stabilities = zip(*proposals, strict=True)
    assert doubt(scores, stabilities, least, stable).tolist() == expected
