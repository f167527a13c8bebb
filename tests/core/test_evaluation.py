"""The evaluation protocol: metrics against definitions, clicks on a real image."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from napari_sam.core.masks import crop_iou
from napari_sam.core.metrics import (
    average_precision,
    choose_objects,
    deepest_point,
    interactive_score,
    iou,
    next_click,
    object_mask,
    overlaps,
    split_of,
    tight_box,
)
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
    from napari_sam.core.model import Model

masks = hnp.arrays(bool, (9, 11))
label_images = hnp.arrays(np.uint16, (6, 7), elements=st.integers(0, 4))


def test_splits_are_fixed() -> None:
    # FIPS 180's own example for "abc".
    number = 0xA9993E364706816ABA3E25717850C26C9CD0D89D % 100
    assert split_of("abc") == ("train" if number < 80 else "val")
    stems = [f"image{i}" for i in range(2000)]
    share = np.mean([split_of(s) == "train" for s in stems])
    assert 0.77 < share < 0.83


def test_objects_are_chosen_once_and_for_all() -> None:
    labels = np.repeat(np.arange(41), 25).reshape(41, 25)
    labels[40, :10] = 0  # label 40 has 15 pixels
    chosen = choose_objects(labels)
    assert chosen == choose_objects(labels.copy())
    assert len(set(chosen)) == 15
    assert not {0, 40} & set(chosen)
    assert choose_objects(labels, seed=1) != chosen
    assert choose_objects(labels[:4]) == [1, 2, 3]
    assert choose_objects(labels[:4], min_area=25) == [1, 2, 3]
    assert choose_objects(labels[:4], min_area=26) == []


@given(masks, masks)
def test_iou_of_crops_is_iou(a: np.ndarray, b: np.ndarray) -> None:
    union = (a | b).sum()
    expected = (a & b).sum() / union if union else 1.0
    assert iou(a, b) == expected
    assert crop_iou(MaskCrop.from_full(a), MaskCrop.from_full(b)) == expected


def test_the_first_click_is_the_deepest_pixel() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:9, 4:11] = True
    assert deepest_point(MaskCrop.from_full(mask)) == (5, 7, 4.0)
    mask[:] = True  # the border of the plane is an edge too
    row, col, depth = deepest_point(MaskCrop.from_full(mask))
    assert depth == 10
    assert row in (9, 10)
    assert 9 <= col <= 20
    assert deepest_point(MaskCrop.from_full(~mask))[2] == 0


@given(masks, masks)
def test_the_next_click_is_the_deepest_error(p: np.ndarray, t: np.ndarray) -> None:
    click = next_click(MaskCrop.from_full(p), MaskCrop.from_full(t))
    if (p == t).all():
        assert click is None
        return
    assert click is not None
    depth = {
        kind: ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
        for kind, wrong in ((True, t & ~p), (False, p & ~t))
    }
    here = depth[click.positive][int(click.row), int(click.column)]
    assert here == max(depth[True].max(), depth[False].max()) > 0


def test_the_box_is_along_pixel_edges() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:9, 4:5] = True
    assert tight_box(MaskCrop.from_full(mask)) == (1.5, 3.5, 8.5, 4.5)


@settings(max_examples=50, deadline=None)
@given(label_images, label_images, st.sampled_from([0.2, 0.5, 0.75]))
def test_average_precision_is_the_best_matching(
    truth: np.ndarray, predicted: np.ndarray, threshold: float
) -> None:
    ts, ps = (np.unique(x[x > 0]).tolist() for x in (truth, predicted))
    table = overlaps(truth, predicted).toarray()
    assert table.shape == (len(ts), len(ps))
    for i, j in np.ndindex(table.shape):
        assert table[i, j] == pytest.approx(iou(truth == ts[i], predicted == ps[j]))
    wide, long = sorted((table, table.T), key=lambda x: x.shape[0])
    n = wide.shape[0]
    best = max(
        sum(wide[i, j] >= threshold for i, j in zip(range(n), chosen, strict=True))
        for chosen in permutations(range(long.shape[0]), n)
    )
    total = len(ts) + len(ps) - best
    got = average_precision(truth, predicted, [threshold])
    assert got == pytest.approx(best / total if total else 1.0)


def test_a_perfect_and_an_empty_result() -> None:
    truth = np.zeros((30, 30), int)
    truth[2:9, 2:9] = 5
    truth[12:20, 3:9] = 7
    assert average_precision(truth, truth).tolist() == [1] * 10
    assert average_precision(truth, truth * 0).tolist() == [0] * 10
    shifted = np.roll(truth, 1, axis=0)  # IoU 6/8 and 7/9
    assert average_precision(truth, shifted, [0.5, 0.75, 0.77, 0.8]).tolist() == (
        pytest.approx([1, 1, 1 / 3, 0])
    )
    with pytest.raises(ValueError, match="shapes differ"):
        overlaps(truth, truth[1:])
    with pytest.raises(ValueError, match="label 3"):
        object_mask(truth, 3)


def test_clicks_and_box_find_a_coin(model: Model) -> None:
    image = data.coins()
    coin = ndimage.binary_fill_holes(image[10:70, 190:250] > 110)
    pieces, _ = ndimage.label(coin)
    main = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    full = np.zeros(image.shape, bool)
    full[10:70, 190:250] = main
    truth = MaskCrop.from_full(full)
    plane = model.encode(image)
    score = interactive_score(plane, truth, n_clicks=3)
    assert score.clicks.shape == score.clicks_best.shape == (3,)
    assert score.clicks_best[0] >= score.clicks[0] > 0.8
    assert score.box > 0.8
    first = plane.predict(points=[deepest_point(truth)[:2]])
    assert score.clicks_predicted[0] == first.score
    assert score.clicks_predicted.shape == (3,)
    assert score.box_predicted == plane.predict(box=tight_box(truth)).score
    # The first click and the box do not depend on how clicks are combined.
    again = interactive_score(plane, truth, n_clicks=2, feed_logits=True)
    assert again.clicks[0] == score.clicks[0]
    assert again.box == score.box
