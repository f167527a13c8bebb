"""Registration of upscaled masks, on shapes whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.results import (
    HighResLogits,
    MaskResult,
    inside_frame,
    upscale,
    upscale_mask,
)
from napari_sam.core.views import View
from napari_sam.types import Frame, MaskLevel, Region

SIZES = [(256, 256), (303, 384), (513, 1025), (97, 31), (1, 200), (200, 1), (2048, 777)]


def plane_logits(frame: Frame, row: float, column: float, bias: float) -> np.ndarray:
    """Return logits linear in image pixels: ``row · r + column · c + bias``."""
    cells = frame.side // 4
    center = (np.arange(cells) + 0.5) * 4
    r = center / frame.scale[0] - 0.5
    c = center / frame.scale[1] - 0.5
    return (row * r[:, None] + column * c + bias).astype(np.float32)


def disc_logits(frame: Frame, center: tuple[float, float], radius: float) -> np.ndarray:
    """Return the signed distance to a disc, in image pixels."""
    cells = frame.side // 4
    middle = (np.arange(cells) + 0.5) * 4
    r = middle / frame.scale[0] - 0.5 - center[0]
    c = middle / frame.scale[1] - 0.5 - center[1]
    return (radius - np.hypot(r[:, None], c)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_linear_logits_are_reproduced_without_offset(size: tuple[int, int]) -> None:
    frame = Frame.fit(size)
    found = upscale(plane_logits(frame, 1.0, -2.0, 3.0), frame)
    rows, cols = np.indices(size)
    # Within half a cell of the square's border values are held, not linear.
    reach = [int(np.ceil(2 / s)) for s in frame.scale]
    inner = tuple(
        slice(r, n - r if i == frame.side else n)
        for r, n, i in zip(reach, size, frame.input_size, strict=True)
    )
    if found[inner].size:
        expected = rows - 2.0 * cols + 3.0
        np.testing.assert_allclose(found[inner], expected[inner], atol=2e-2)


@pytest.mark.parametrize("size", [(256, 256), (303, 384), (511, 1023), (1600, 901)])
def test_a_disc_lands_where_it_is(size: tuple[int, int]) -> None:
    frame = Frame.fit(size)
    center = (size[0] * 0.41 + 0.3, size[1] * 0.57 - 0.2)
    radius = min(size) * 0.21
    mask = upscale_mask(disc_logits(frame, center, radius), frame).full(size)
    rows, cols = np.nonzero(mask)
    assert rows.mean() == pytest.approx(center[0], abs=0.05)
    assert cols.mean() == pytest.approx(center[1], abs=0.05)
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    edge=st.floats(0.05, 0.95),
    axis=st.sampled_from([0, 1]),
)
def test_a_straight_edge_lands_within_half_a_pixel(
    height: int, width: int, edge: float, axis: int
) -> None:
    frame = Frame.fit((height, width))
    size = frame.image_size[axis]
    at = edge * size - 0.5
    slope = (1.0, 0.0) if axis == 0 else (0.0, 1.0)
    mask = upscale_mask(plane_logits(frame, *slope, -at), frame).full((height, width))
    inside = np.arange(size) > at
    # Edge values are held beyond the center of the last cell.
    certain = np.abs(np.arange(size) - at) > max(0.5, 2.001 / frame.scale[axis])
    line = mask.all(axis=1 - axis)
    np.testing.assert_array_equal(line, mask.any(axis=1 - axis))
    np.testing.assert_array_equal(line[certain], inside[certain])


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    seed=st.integers(0, 2**32 - 1),
    threshold=st.sampled_from([0.0, 0.7, -0.7]),
)
def test_the_crop_is_the_full_mask(
    size: tuple[int, int], seed: int, threshold: float
) -> None:
    frame = Frame.fit(size, side=64)
    logits = np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32)
    logits[np.abs(logits) < 1.2] = -1.5  # leave a few islands
    crop = upscale_mask(logits, frame, threshold)
    full = upscale(logits, frame) > threshold
    # The two blend in the same order, but the threshold is taken off first.
    assert np.count_nonzero(crop.full(size) != full) <= full.size * 1e-3
    if crop.area:
        edges = [crop.mask[0], crop.mask[-1], crop.mask[:, 0], crop.mask[:, -1]]
        assert all(edge.any() for edge in edges)
    else:
        assert crop.region.is_empty


def test_a_region_is_a_cut_of_the_whole() -> None:
    frame = Frame.fit((303, 384))
    logits = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    region = Region(17, 101, 220, 311)
    np.testing.assert_allclose(
        upscale(logits, frame, region), upscale(logits, frame)[region.slices], atol=1e-6
    )


def test_a_region_outside_the_image_is_refused() -> None:
    frame = Frame.fit((10, 10))
    with pytest.raises(ValueError, match="not inside"):
        upscale(np.zeros((256, 256), np.float32), frame, Region(0, 0, 11, 10))


def test_one_step_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    frame = Frame.fit((2048, 2048))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None, None], (2048, 2048), mode="bilinear"
    )[0, 0].numpy()
    np.testing.assert_allclose(upscale(logits, frame), expected, atol=1e-4)


def result(default: int = 2) -> MaskResult:
    frame = Frame.fit((300, 200))
    radii = (50.0, 20.0, 40.0, 60.0)
    logits = np.stack([disc_logits(frame, (150, 100), r) for r in radii])
    iou = np.array([0.5, 0.6, 0.9, 0.7], np.float32)
    return MaskResult(logits, iou, frame, default)


def test_levels_and_scores() -> None:
    r = result()
    assert [r.index_of(level) for level in MaskLevel] == [2, 1, 2, 3]
    assert r.masks.shape == (3, 300, 200)
    assert r.masks.dtype == bool
    areas = r.masks.sum(axis=(1, 2))
    assert areas[0] < areas[1] < areas[2]
    np.testing.assert_array_equal(r.best, r.masks[1])
    assert r.score == pytest.approx(0.9)
    np.testing.assert_allclose(r.scores, [0.6, 0.9, 0.7])
    np.testing.assert_array_equal(r.crop(MaskLevel.WHOLE).full((300, 200)), r.masks[2])


def test_stability_of_a_disc_is_the_ratio_of_its_areas() -> None:
    expected = ((40 - 1) / (40 + 1)) ** 2
    assert result().stability(offset=1.0) == pytest.approx(expected, abs=0.01)


def test_the_answer_in_finer_cells_is_what_is_shown() -> None:
    """Of the answer; subpart, part and whole stay as they are."""
    r = result(default=0)
    region = Region(60, 40, 172, 152)
    view = View(region, Frame(region.shape, (448, 448), 448))
    cells = np.hypot(*(np.mgrid[:112, :112] + 0.5 - 56))  # each a pixel of the image
    detail = HighResLogits((30 - cells).astype(np.float32)[None], view)
    closer = replace(r, detail=detail)
    crop = closer.crop()
    assert crop.area == pytest.approx(np.pi * 30**2, rel=0.01)
    rows, cols = np.nonzero(closer.best)
    assert (rows.mean(), cols.mean()) == pytest.approx((115.5, 95.5), abs=0.1)
    assert closer.stability() == pytest.approx((29 / 31) ** 2, abs=0.02)
    for level in (MaskLevel.SUBPART, MaskLevel.PART, MaskLevel.WHOLE):
        np.testing.assert_array_equal(
            closer.crop(level).full((300, 200)), r.crop(level).full((300, 200))
        )
        assert closer.stability(level) == r.stability(level)
    # One of the three chosen, and those put in another order: not that answer.
    other = replace(closer, default=2)
    np.testing.assert_array_equal(other.best, other.masks[1])
    assert closer.reordered([2, 0, 1]).crop().area == crop.area


def test_all_answers_in_finer_cells() -> None:
    """What is refined, reordered and measured is the finer one, of each."""
    r = result(default=0)
    region = Region(60, 40, 172, 152)
    view = View(region, Frame(region.shape, (448, 448), 448))
    cells = np.hypot(*(np.mgrid[:112, :112] + 0.5 - 56))
    radii = (30, 10, 20, 40)
    logits = np.stack([radius - cells for radius in radii]).astype(np.float32)
    found = replace(r, detail=HighResLogits(logits, view))
    for index, radius in enumerate(radii):
        area = found.crop_of(index).area
        assert area == pytest.approx(np.pi * radius**2, rel=0.02)
    turned = found.reordered([2, 0, 1])
    assert turned.crop(MaskLevel.SUBPART).area == found.crop(MaskLevel.WHOLE).area
    assert turned.crop().area == found.crop().area
    earlier = found.earlier(MaskLevel.PART)
    np.testing.assert_array_equal(earlier.logits, found.logits[2])
    assert earlier.detail is not None
    np.testing.assert_array_equal(earlier.detail.logits, logits[2:3])
    assert earlier.detail.view == view
    # An answer of both looks is refined as it is in the whole image.
    assert replace(r, detail=HighResLogits(logits[:1], view)).earlier().detail is None
    assert r.earlier().detail is None
    with pytest.raises(ValueError, match="1, h, w"):
        HighResLogits(logits[0], view)


def test_an_empty_mask() -> None:
    r = result()
    empty = MaskResult(np.full_like(r.logits, -9), r.predicted_iou, r.frame, 0)
    assert empty.crop().region.is_empty
    assert not empty.best.any()
    assert empty.stability() == 0.0


def test_padding_does_not_count() -> None:
    frame = Frame.fit((512, 1024))
    assert inside_frame(np.zeros((3, 256, 256), np.float32), frame).shape == (
        3,
        128,
        256,
    )


@pytest.mark.parametrize(
    ("logits", "iou", "default"),
    [((3, 8, 8), (4,), 0), ((4, 8, 8), (3,), 0), ((4, 8, 8), (4,), 4)],
)
def test_malformed_results_are_refused(
    logits: tuple[int, ...], iou: tuple[int, ...], default: int
) -> None:
    with pytest.raises(ValueError, match="not"):
        MaskResult(
            np.zeros(logits, np.float32),
            np.zeros(iou, np.float32),
            Frame.fit((8, 8)),
            default,
        )


def test_reordered_takes_scores_and_the_choice_along() -> None:
    frame = Frame.fit((64, 64))
    logits = np.stack([np.full((256, 256), n, np.float32) for n in range(4)])
    result = MaskResult(logits, np.arange(4, dtype=np.float32), frame, default=3)
    other = result.reordered([2, 0, 1])
    assert other.logits[:, 0, 0].tolist() == [0, 3, 1, 2]
    assert other.predicted_iou.tolist() == [0, 3, 1, 2]
    assert other.default == 1
    single = MaskResult(logits, result.predicted_iou, frame, default=0)
    assert single.reordered([2, 0, 1]).default == 0


def leveled(*levels: str) -> MaskResult:
    """Return discs that grow with the level, of any number of levels."""
    frame = Frame.fit((300, 200))
    radii = [30.0, *(20.0 + 10 * n for n in range(len(levels)))]
    logits = np.stack([disc_logits(frame, (150, 100), r) for r in radii])
    iou = np.linspace(0.5, 0.9, len(radii), dtype=np.float32)
    detail = HighResLogits(logits.copy(), View(Region(0, 0, 300, 200), frame))
    return MaskResult(logits, iou, frame, 0, detail, levels)


@pytest.mark.parametrize("levels", [(), ("whole",), ("a", "b", "c", "d", "e")])
def test_a_model_may_have_any_number_of_levels(levels: tuple[str, ...]) -> None:
    r = leveled(*levels)
    assert r.masks.shape == (len(levels), 300, 200)
    assert r.masks.dtype == bool
    assert r.scores.shape == (len(levels),)
    assert r.best.any()
    for number, level in enumerate(levels):
        assert np.array_equal(r.crop(level).full((300, 200)), r.masks[number])
        assert len(r.compact(level).logits) == 1 + len(levels)
        assert np.array_equal(r.earlier(level).logits, r.logits[1 + number])
    # What a model does not distinguish is what it would choose itself.
    assert np.array_equal(r.crop(MaskLevel.SUBPART).mask, r.crop().mask)
    turned = r.reordered(range(len(levels))[::-1])
    assert np.array_equal(turned.masks, r.masks[::-1])
    with pytest.raises(ValueError, match="permutation"):
        r.reordered(range(len(levels) + 1))


@pytest.mark.parametrize("shown", [2, 4])
def test_a_detail_shows_the_first_or_all(shown: int) -> None:
    r = leveled("a", "b")
    assert r.detail is not None
    logits = np.repeat(r.detail.logits[:1], shown, axis=0)
    with pytest.raises(ValueError, match="detail shows 1 or 3"):
        replace(r, detail=replace(r.detail, logits=logits))


@pytest.mark.parametrize("order", [(0, 1), (0, 1, 1), (1, 2, 3)])
def test_reordered_refuses_what_is_no_order(order: tuple[int, ...]) -> None:
    frame = Frame.fit((64, 64))
    result = MaskResult(
        np.zeros((4, 256, 256), np.float32), np.zeros(4, np.float32), frame, default=0
    )
    with pytest.raises(ValueError, match="permutation"):
        result.reordered(order)
