"""Ends and confidence, and what is learnt from slices, without a model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.volumes.judge import EndRule, confidence
from napari_sam.core.volumes.memory import Memory, appearance
from napari_sam.core.volumes.segment import Evidence
from napari_sam.types import Embedding, Frame, MaskCrop

RULE = EndRule(score=0.9, contrast=0.6)
GOOD = Evidence(score=0.8, contrast=1.4, overlap=0.9, area=500)


@pytest.mark.parametrize(
    ("now", "is_end"),
    [
        (GOOD, False),
        (replace(GOOD, score=0.5), False),
        (replace(GOOD, contrast=0.4), False),
        (replace(GOOD, contrast=0.2), True),
        (replace(GOOD, score=0.7, contrast=0.8), True),
        (replace(GOOD, score=0.73, contrast=0.8), False),
        (replace(GOOD, score=0.7, contrast=0.9), False),
        (replace(GOOD, area=5), True),
    ],
)
def test_an_end_is_where_both_have_fallen(now: Evidence, is_end: bool) -> None:
    worse = replace(GOOD, score=0.75, contrast=1.0)
    assert RULE.is_met(now, [GOOD, worse], 500) is is_end
    # In any order: what counts is the best.
    assert RULE.is_met(now, [worse, GOOD], 500) is is_end


def test_the_first_slice_is_no_end_unless_it_is_tiny() -> None:
    assert not RULE.is_met(replace(GOOD, score=0.1, contrast=-0.5), [], 500)
    assert RULE.is_met(replace(GOOD, area=9), [], 500)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1), st.floats(-2, 2), st.floats(0, 1), st.integers(1, 500),
    st.booleans(),
)  # fmt: skip
def test_confidence_is_a_share_and_falls(
    score: float, contrast: float, overlap: float, distance: int, is_between: bool
) -> None:
    one = Evidence(score, contrast, overlap, 10)

    def sure(evidence: Evidence, far: int) -> float:
        return confidence(evidence, far, is_between=is_between)

    assert 0 <= sure(one, distance) <= 1
    assert sure(one, distance + 1) <= sure(one, distance)
    assert sure(replace(one, score=score + 0.1), distance) >= sure(one, distance)
    assert sure(replace(one, contrast=contrast + 0.1), distance) >= sure(one, distance)
    assert sure(replace(one, area=0), distance) == 0


@dataclass
class KnownPlane:
    """An embedding of which one channel is bright inside an object."""

    embedding: Embedding
    frame: Frame


def plane_of(mask: np.ndarray, seed: int) -> KnownPlane:
    """Return a plane of 64 pixels, an input of 256 and an embedding of 16 cells."""
    frame = Frame.fit((64, 64), 256)
    features = np.random.default_rng(seed).normal(size=(8, 16, 16))
    features[3] += 6 * mask.reshape(16, 4, 16, 4).mean(axis=(1, 3))
    return KnownPlane(
        Embedding({"features": features.astype(np.float16)}, frame, "known"), frame
    )


def square(row: int, col: int) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[row : row + 20, col : col + 20] = True
    return mask


def test_what_is_learnt_in_one_slice_is_found_in_another() -> None:
    here, there = square(12, 16), square(28, 32)
    learnt = appearance(plane_of(here, 0), MaskCrop.from_full(here))  # type: ignore[arg-type]
    assert learnt is not None
    memory = Memory.learnt([(learnt, 1.0)])
    assert memory is not None
    likeness = memory.likeness(plane_of(there, 1))  # type: ignore[arg-type]
    assert likeness.shape == (64, 64)
    assert likeness.dtype == np.float32
    assert np.abs(likeness).max() <= 1
    assert likeness[there].mean() > 0.3
    assert likeness[~there].mean() < -0.3


def test_slices_are_averaged_by_their_weights() -> None:
    masks = [square(12, 16), square(20, 20)]
    both = [
        appearance(plane_of(m, i), MaskCrop.from_full(m))  # type: ignore[arg-type]
        for i, m in enumerate(masks)
    ]
    assert both[0] is not None
    assert both[1] is not None
    one = Memory.learnt([(both[0], 1.0)])
    same = Memory.learnt([(both[0], 0.5), (both[0], 3.0), (both[1], 0.0)])
    mixed = Memory.learnt([(both[0], 1.0), (both[1], 1.0)])
    assert one is not None
    assert same is not None
    assert mixed is not None
    np.testing.assert_allclose(one.weights, same.weights, rtol=1e-4)
    assert not np.allclose(one.weights, mixed.weights, rtol=1e-2)


def test_nothing_is_learnt_from_nothing() -> None:
    nothing = MaskCrop.from_full(np.zeros((64, 64), bool))
    everything = MaskCrop.from_full(np.ones((64, 64), bool))
    for mask in (nothing, everything):
        assert appearance(plane_of(square(1, 1), 0), mask) is None  # type: ignore[arg-type]
    assert Memory.learnt([]) is None
