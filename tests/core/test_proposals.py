"""Filtering, painting and saving proposals, on made masks of known overlap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.everything.nms import box_nms
from napari_sam.core.everything.proposals import Proposals
from napari_sam.core.everything.selection import (
    Candidates,
    Thresholds,
    as_box,
    remove_small_regions,
)
from napari_sam.core.rle import RunLengths
from napari_sam.errors import FileFormatError, LabelsError
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (80, 100)
OPEN = Thresholds(min_score=0, min_stability=0, max_overlap=1, max_crop_overlap=1)


def candidates_of(
    crops: list[MaskCrop],
    score: list[float] | np.ndarray,
    stability: list[float] | np.ndarray | None = None,
    crop: list[int] | None = None,
) -> Candidates:
    n = len(crops)
    return Candidates(
        score=np.asarray(score, np.float32),
        stability=np.asarray(
            np.ones(n) if stability is None else stability, np.float32
        ),
        area=np.array([c.area for c in crops], np.int64),
        box=np.array([as_box(c.region) for c in crops], np.int32).reshape(-1, 4),
        point=np.zeros((n, 2), np.float32),
        crop=np.array([0] * n if crop is None else crop, np.int32),
        masks=tuple(RunLengths.encode(c) for c in crops),
    )


def rectangle(row0: int, col0: int, row1: int, col1: int) -> MaskCrop:
    return MaskCrop(
        np.ones((row1 - row0, col1 - col0), bool), Region(row0, col0, row1, col1)
    )


def random_candidates(n: int, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    crops = []
    for _ in range(n):
        h, w = rng.integers(3, 25, 2)
        r, c = rng.integers(0, SHAPE[0] - h), rng.integers(0, SHAPE[1] - w)
        mask = rng.random((h, w)) < 0.7
        mask[0, 0] = mask[-1, -1] = True
        crops.append(MaskCrop(mask, Region(int(r), int(c), int(r + h), int(c + w))))
    return candidates_of(
        crops, rng.random(n), rng.random(n), rng.integers(0, 3, n).tolist()
    )


def proposals_of(candidates: Candidates, thresholds: Thresholds = OPEN) -> Proposals:
    return Proposals.from_candidates(candidates, thresholds, shape=SHAPE)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_runs_keep_the_mask(mask: np.ndarray) -> None:
    crop = MaskCrop(mask, Region(3, 4, 3 + mask.shape[0], 4 + mask.shape[1]))
    runs = RunLengths.encode(crop)
    assert runs.area == crop.area
    assert runs.decode().region == crop.region
    np.testing.assert_array_equal(runs.decode().mask, mask)


def slow_nms(boxes: np.ndarray, scores: np.ndarray, max_overlap: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        good = True
        for j in kept:
            a, b = boxes[i], boxes[j]
            h = min(a[2], b[2]) - 1 - max(a[0], b[0])
            w = min(a[3], b[3]) - 1 - max(a[1], b[1])
            shared = max(h, 0) * max(w, 0)
            joint = (
                (a[2] - 1 - a[0]) * (a[3] - 1 - a[1])
                + (b[2] - 1 - b[0]) * (b[3] - 1 - b[1])
                - shared
            )
            if shared > max_overlap * joint:
                good = False
        if good:
            kept.append(i)
    return kept


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.integers(0, 9), st.integers(2, 9), st.integers(2, 9)
        ),
        max_size=20,
    ),
    st.sampled_from([0.0, 0.3, 0.7, 0.95]),
    st.integers(0, 5),
)
def test_nms_agrees_with_the_definition(
    corners: list[tuple[int, int, int, int]], max_overlap: float, seed: int
) -> None:
    boxes = np.array([(r, c, r + h, c + w) for r, c, h, w in corners], int)
    boxes = boxes.reshape(-1, 4)
    scores = np.random.default_rng(seed).random(len(boxes)).round(1)
    assert box_nms(boxes, scores, max_overlap).tolist() == slow_nms(
        boxes, scores, max_overlap
    )


def test_nms_of_boxes_one_pixel_thin() -> None:
    boxes = np.array([(0, 5, 10, 6), (0, 5, 9, 6), (20, 5, 30, 6), (0, 7, 10, 8)])
    assert box_nms(boxes, [0.9, 0.8, 0.7, 0.6], 0.7).tolist() == [0, 2, 3]


def test_thresholds_move_both_ways() -> None:
    everything = proposals_of(random_candidates(200))
    assert len(everything) == 200
    strict = everything.filter(min_score=0.6, min_stability=0.5, max_overlap=0.5)
    assert 0 < len(strict) < 80
    assert (strict.score > 0.6).all()
    assert (strict.stability >= 0.5).all()
    assert (np.diff(strict.score) <= 0).all()
    back = strict.filter(min_score=0, min_stability=0, max_overlap=1)
    np.testing.assert_array_equal(back.score, everything.score)
    # What is not given stays.
    assert strict.filter(min_area=30).thresholds.min_score == 0.6


def test_the_order_of_filters_does_not_matter() -> None:
    p = proposals_of(random_candidates(150, seed=3))
    one = p.filter(min_score=0.4).filter(max_overlap=0.4).filter(min_area=50)
    two = p.filter(min_area=50, max_overlap=0.4, min_score=0.4)
    np.testing.assert_array_equal(one.box, two.box)


def test_area_and_border_filters() -> None:
    inner, edge = rectangle(10, 10, 20, 20), rectangle(70, 30, 80, 35)
    p = proposals_of(candidates_of([inner, edge], [0.9, 0.8]))
    assert p.filter(touching_border=False).area.tolist() == [100]
    assert p.filter(max_area=50).area.tolist() == [50]
    assert p.filter(min_area=51).area.tolist() == [100]
    assert p.filter(max_area=50).filter(max_area=math.inf).area.size == 2
    assert len(p.filter(min_area=1000)) == 0


def test_of_two_crops_the_smaller_wins() -> None:
    a, b = rectangle(10, 10, 30, 30), rectangle(10, 10, 30, 31)
    crops = [Region(0, 0, 80, 100), Region(0, 0, 50, 60)]
    found = Proposals.from_candidates(
        candidates_of([a, b], [0.99, 0.9], crop=[0, 1]),
        Thresholds(),
        shape=SHAPE,
        crops=crops,
    )
    assert found.crop.tolist() == [1]
    assert len(found.filter(max_crop_overlap=1)) == 2


def test_small_regions_are_removed_and_can_come_back() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10:30, 10:30] = True
    mask[15:17, 15:17] = False  # hole of 4
    mask[40:42, 40:42] = True  # island of 4
    twin = rectangle(10, 10, 30, 31)
    p = proposals_of(candidates_of([MaskCrop.from_full(mask), twin], [0.9, 0.8]))
    cleaned = p.filter(min_region_area=5, max_overlap=0.7, max_crop_overlap=0.7)
    # The cleaned mask now overlaps its twin, which needed no cleaning and wins.
    assert cleaned.area.tolist() == [420]
    alone = p.filter(min_region_area=5, max_area=410)
    assert alone.area.tolist() == [400]
    assert alone.box.tolist() == [[10, 10, 30, 30]]
    assert alone.filter(min_region_area=0, max_area=math.inf).area.tolist() == [
        400,
        420,
    ]


def slow_small_regions(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Apply the published rule to a full plane, by flood fill."""

    def regions(of: np.ndarray) -> list[np.ndarray]:
        left, found = of.copy(), []
        while left.any():
            grown = np.zeros_like(of)
            grown[tuple(np.argwhere(left)[0])] = True
            while True:
                p = np.pad(grown, 1)
                wider = of & np.max(
                    [
                        p[r : r + of.shape[0], c : c + of.shape[1]]
                        for r in range(3)
                        for c in range(3)
                    ],
                    axis=0,
                )
                if (wider == grown).all():
                    break
                grown = wider
            found.append(grown)
            left &= ~grown
        return found

    mask = mask.copy()
    for hole in regions(~mask):
        if hole.sum() < min_area:
            mask |= hole
    pieces = regions(mask)
    kept = [p for p in pieces if p.sum() >= min_area]
    if not kept:
        kept = [max(pieces, key=lambda p: int(p.sum()))]
    return np.any(kept, axis=0)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(bool, (9, 10)), st.integers(1, 6))
def test_small_regions_as_published(mask: np.ndarray, min_area: int) -> None:
    mask[4, 4] = True
    got = remove_small_regions(MaskCrop.from_full(mask), min_area, mask.shape)
    expected = slow_small_regions(mask, min_area)
    # Outer background smaller than min_area cannot be seen from the crop.
    np.testing.assert_array_equal(got.full(mask.shape), expected)


def test_labels_show_the_higher_score_on_top() -> None:
    big, small = rectangle(10, 10, 40, 40), rectangle(20, 20, 30, 30)
    p = proposals_of(candidates_of([small, big], [0.8, 0.9]))
    assert p.score.tolist() == pytest.approx([0.9, 0.8])
    labels = p.to_labels(overlap="score")
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == [0, 1]  # the small one is covered
    by_area = p.to_labels(overlap="area")
    assert np.count_nonzero(by_area == 2) == 100
    assert np.count_nonzero(by_area == 1) == 800


def test_labels_are_the_union_of_the_masks() -> None:
    p = proposals_of(random_candidates(60))
    labels = p.to_labels(dtype=np.uint16, overlap="score")
    union = np.zeros(SHAPE, bool)
    for i, mask in enumerate(p.iter_masks()):
        union |= mask.full(SHAPE)
        assert (labels[mask.full(SHAPE)] <= i + 1).all()
    np.testing.assert_array_equal(labels > 0, union)
    assert p.to_labels(shape=(20, 30)).shape == (20, 30)
    with pytest.raises(LabelsError, match="int8 and cannot hold label"):
        proposals_of(random_candidates(200)).to_labels(dtype=np.int8)
    with pytest.raises(ValueError, match="overlap"):
        p.to_labels(overlap="random")  # type: ignore[arg-type]


def test_indexing() -> None:
    p = proposals_of(random_candidates(30))
    assert p[-1].score == pytest.approx(float(p.score.min()))
    assert p[3].mask.area == p[3].area == p.area[3]
    assert p[3].box == tuple(p.box[3].tolist())
    assert len(p[:5]) == 5
    chosen = p[p.area > 100]
    assert (chosen.area > 100).all()
    assert len(chosen.filter(min_area=0)) == len(chosen)
    assert len(p[[4, 2]]) == 2
    assert len(p[[]]) == 0
    with pytest.raises(IndexError):
        p[30]


def test_saved_proposals_come_back(tmp_path: Path) -> None:
    p = proposals_of(random_candidates(50)).filter(
        min_score=0.5, min_region_area=3, max_area=300, touching_border=False
    )
    path = tmp_path / "cells.npz"
    p.save(path)
    q = Proposals.load(path)
    assert [f.name for f in tmp_path.iterdir()] == ["cells.npz"]
    assert q.thresholds == p.thresholds
    assert (q.shape, q.crops, q.floor) == (p.shape, p.crops, p.floor)
    np.testing.assert_array_equal(q.to_labels(), p.to_labels())
    np.testing.assert_array_equal(q.candidates.score, p.candidates.score)


def test_no_proposals_are_fine(tmp_path: Path) -> None:
    p = proposals_of(Candidates.empty())
    assert len(p) == 0
    assert not p.to_labels().any()
    p.save(tmp_path / "none.npz")
    assert len(Proposals.load(tmp_path / "none.npz").filter(min_region_area=9)) == 0


def test_files_that_are_no_proposals_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    proposals_of(random_candidates(20)).save(good)
    whole = good.read_bytes()
    bad = tmp_path / "bad.npz"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"", b"hello", whole[: len(whole) // 2], bytes(flipped)):
        bad.write_bytes(content)
        with pytest.raises(FileFormatError, match="cannot be read as proposals"):
            Proposals.load(bad)
    np.savez(bad, version=np.array(99))
    with pytest.raises(FileFormatError, match="version 99"):
        Proposals.load(bad)
    with pytest.raises(FileFormatError):
        Proposals.load(tmp_path / "missing.npz")
    with pytest.raises(FileFormatError, match="choose another place"):
        proposals_of(Candidates.empty()).save(tmp_path / "no" / "such.npz")
