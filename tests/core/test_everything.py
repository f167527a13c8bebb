"""Everything mode with the real model against the published algorithm."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from napari_sam.core.everything.decoding import measure
from napari_sam.core.everything.search import (
    EverythingSettings,
    iter_everything,
    iter_everything_stack,
    run,
)
from napari_sam.core.everything.search_plan import (
    crop_layers,
    is_whole,
    plan_searches,
    point_grid,
)
from napari_sam.errors import PromptError, SettingsError
from napari_sam.models.sam1.sam import SamModel
from napari_sam.types import Plane, Progress, Region

if TYPE_CHECKING:
    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.core.everything.search import Encode
    from napari_sam.core.model import EncodedPlane, Model
    from napari_sam.models.registry import ModelSpec
    from napari_sam.types import Frame, RGBArray

COARSE = EverythingSettings(
    points_per_side=6,
    pred_iou_thresh=0.7,
    stability_score_thresh=0.8,
    min_area=0,
    max_area_share=1,
)

FEW = EverythingSettings(points_per_side=3)


def no_encoding(rgb: RGBArray) -> EncodedPlane:
    raise AssertionError("nothing should be encoded")


@pytest.fixture(scope="module")
def model(mobile_sam: SamModel) -> SamModel:
    """Return the model that the published algorithm was written for."""
    return mobile_sam


@pytest.fixture(scope="module")
def quick(_small: tuple[ModelSpec, ...]) -> SamModel:
    """Return the same model with an input of 512 pixels."""
    path = next(spec.path for spec in _small if spec.name == "mobile-sam")
    return SamModel.from_file(path, name="quick", device="cpu")


@pytest.fixture(scope="module")
def coins() -> RGBArray:
    return np.repeat(data.coins()[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def plane(model: Model, coins: RGBArray) -> EncodedPlane:
    return model.encode_rgb(coins)


@pytest.fixture(scope="module")
def encode(quick: Model) -> Encode:
    """Return an encoder, which here never encodes anything twice."""
    known: dict[bytes, EncodedPlane] = {}

    def encode(rgb: RGBArray) -> EncodedPlane:
        key = rgb.tobytes()
        if key not in known:
            known[key] = quick.encode_rgb(rgb)
        return known[key]

    return encode


@pytest.fixture(scope="module")
def found(coins: RGBArray, plane: EncodedPlane) -> Proposals:
    return run(iter_everything(coins, no_encoding, COARSE, plane=plane))


# --- the algorithm ------------------------------------------------------------


def two_step(logits: np.ndarray, frame: Frame) -> np.ndarray:
    """Upscale as the reference does: to the model's input, cut, to the image."""
    x = torch.from_numpy(logits.astype(np.float32))[None, None]
    x = torch.nn.functional.interpolate(x, (frame.side,) * 2, mode="bilinear")
    x = x[..., : frame.input_size[0], : frame.input_size[1]]
    x = torch.nn.functional.interpolate(x, frame.image_size, mode="bilinear")
    return x[0, 0].numpy()


def slow_everything(plane: EncodedPlane, s: EverythingSettings) -> list[np.ndarray]:
    """Apply the published steps one mask at a time, best first."""
    found = []
    height, width = plane.frame.input_size
    n = s.points_per_side
    for i, j in product(range(n), range(n)):
        # In pixels of the model's input, taken by the reference for centers.
        y, x = (i + 0.5) / n * height, (j + 0.5) / n * width
        scale = plane.frame.scale
        point = ((y + 0.5) / scale[0] - 0.5, (x + 0.5) / scale[1] - 0.5)
        result = plane.predict(points=[point])
        for k in (1, 2, 3):
            values = two_step(result.logits[k], plane.frame)
            low = np.count_nonzero(values > -s.stability_score_offset)
            high = np.count_nonzero(values > s.stability_score_offset)
            score = float(result.predicted_iou[k])
            if (
                score > s.pred_iou_thresh
                and low
                and high / low >= s.stability_score_thresh
            ):
                found.append((score, values > 0))
    found.sort(key=lambda f: -f[0])
    kept: list[np.ndarray] = []
    for _, mask in found:
        if all(box_iou(mask, other) <= s.box_nms_thresh for other in kept):
            kept.append(mask)
    return kept


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    (r0, c0, r1, c1), (s0, d0, s1, d1) = ends(a), ends(b)
    shared = max(0, min(r1, s1) - max(r0, s0)) * max(0, min(c1, d1) - max(c0, d0))
    joint = (r1 - r0) * (c1 - c0) + (s1 - s0) * (d1 - d0) - shared
    return shared / joint if joint else 0.0


def ends(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, cols = np.nonzero(mask)
    return rows.min(), cols.min(), rows.max(), cols.max()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_the_masks_are_those_of_the_published_algorithm(
    plane: EncodedPlane, found: Proposals
) -> None:
    expected = slow_everything(plane, COARSE)
    ours = [m.full(found.shape) for m in found.iter_masks()]
    assert len(expected) > 10
    best = [max(iou(e, o) for o in ours) for e in expected]
    back = [max(iou(e, o) for e in expected) for o in ours]
    # A mask at a threshold may fall on either side of it; no more than that.
    assert np.mean(np.array(best) > 0.95) >= 0.95
    assert np.mean(np.array(back) > 0.95) >= 0.95
    assert np.mean([b for b in best if b > 0.95]) > 0.99


def test_what_is_kept_agrees_with_itself(found: Proposals) -> None:
    c = found.candidates
    assert len(c) > len(found) > 0
    assert (c.score > found.floor[0]).all()
    assert (c.stability >= found.floor[1]).all()
    for i, runs in enumerate(c.masks):
        mask = runs.decode()
        assert mask.area == c.area[i]
        assert mask.tight().region == mask.region
        assert tuple(c.box[i]) == (
            mask.region.row0,
            mask.region.col0,
            mask.region.row1,
            mask.region.col1,
        )
    assert (c.point >= -0.5).all()
    assert (c.point < np.array(found.shape) - 0.5).all()


def test_stability_is_that_of_the_full_image(plane: EncodedPlane) -> None:
    logits = plane.predict(points=[(100, 200)]).logits[1]
    for factor in (1, 3, 8):
        size = (plane.frame.image_size[0] * factor, plane.frame.image_size[1] * factor)
        frame = replace(plane.frame, image_size=size)
        values = two_step(logits, frame)
        measured = measure(logits, frame, offset=2)
        assert measured is not None
        expected = np.count_nonzero(values > 2) / np.count_nonzero(values > -2)
        assert measured.stability == pytest.approx(expected, abs=2e-3)
        assert iou(measured.mask.full(size), values > 0) > 0.99
        assert measure(logits, frame, offset=2, min_stability=expected + 0.01) is None


def test_thresholds_can_be_lowered_afterwards(
    coins: RGBArray, plane: EncodedPlane, found: Proposals
) -> None:
    strict = EverythingSettings(points_per_side=6, min_area=0, max_area_share=1)
    later = run(iter_everything(coins, no_encoding, strict, plane=plane)).filter(
        min_score=COARSE.pred_iou_thresh, min_stability=COARSE.stability_score_thresh
    )
    np.testing.assert_array_equal(later.box, found.box)
    np.testing.assert_array_equal(later.to_labels(), found.to_labels())


# --- crops --------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 3), st.floats(0, 0.9))
def test_crops_are_those_of_the_reference(
    height: int, width: int, n_layers: int, ratio: float
) -> None:
    expected = [(0, (0, 0, height, width))]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(ratio * min(height, width) * (2 / n))
        crop_w = math.ceil((overlap * (n - 1) + width) / n)
        crop_h = math.ceil((overlap * (n - 1) + height) / n)
        x0s = [int((crop_w - overlap) * i) for i in range(n)]
        y0s = [int((crop_h - overlap) * i) for i in range(n)]
        for x0, y0 in product(x0s, y0s):
            box = (y0, x0, min(y0 + crop_h, height), min(x0 + crop_w, width))
            if box[0] < box[2] and box[1] < box[3]:
                expected.append((layer, box))
    got = [
        (layer, (r.row0, r.col0, r.row1, r.col1))
        for layer, r in crop_layers((height, width), n_layers, ratio)
    ]
    assert got == expected


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 20))
def test_the_grid_is_even_and_inside(height: int, width: int, n: int) -> None:
    region = Region(7, 9, 7 + height, 9 + width)
    points = point_grid(region, n)
    assert points.shape == (n * n, 2)
    relative = (points + 0.5 - (7, 9)) / (height, width)
    assert (relative > 0).all()
    assert (relative < 1).all()
    np.testing.assert_allclose(relative.mean(axis=0), 0.5, atol=1e-3)


def test_masks_cut_by_a_crop_are_left_out() -> None:
    searches = plan_searches(
        (300, 400), None, sides=[2, 2], overlap_ratio=0.3, can_crop=True
    )
    crop = next(s for s in searches if s.window.row0 == 0 and s.window.col0 > 0)
    w = crop.window
    assert w.row1 < 300
    boxes = np.array(
        [
            (0, w.col0 + 50, 30, 400),  # at the border of the image only
            (50, w.col0 + 5, 90, w.col0 + 60),  # cut on the left
            (50, w.col0 + 60, w.row1 - 3, w.col0 + 90),  # cut at the bottom
            (50, w.col0 + 60, 90, w.col0 + 90),
        ]
    )
    assert is_whole(boxes, crop, (300, 400)).tolist() == [True, False, False, True]
    assert is_whole(boxes, searches[0], (300, 400)).all()


def test_every_crop_is_searched(model: Model, coins: RGBArray) -> None:
    image = coins[:200, :200]
    encoded: list[tuple[int, int]] = []

    def encode(rgb: RGBArray) -> EncodedPlane:
        encoded.append(rgb.shape[:2])
        return model.encode_rgb(rgb)

    settings = EverythingSettings(
        points_per_side=4,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
        max_area_share=0.9,
    )
    assert settings.total_points == 16 + 4 * 4
    p = run(iter_everything(image, encode, settings))
    assert encoded == [r.shape for r in p.crops]
    assert encoded == [(200, 200)] + [(134, 134)] * 4
    assert max(p.crop) > 0
    for mask, crop in zip(p.iter_masks(), p.crop, strict=True):
        r = mask.region
        assert r.intersection(p.crops[crop]) == r


# --- regions ------------------------------------------------------------------


def test_a_small_rectangle_is_encoded_by_itself(
    model: Model, coins: RGBArray, plane: EncodedPlane
) -> None:
    settings = replace(COARSE, points_per_side=4)
    region = Region(90, 20, 170, 110)
    windows = []

    def encode(rgb: RGBArray) -> EncodedPlane:
        windows.append(rgb.shape)
        return model.encode_rgb(rgb)

    p = run(iter_everything(coins, encode, settings, region=region, plane=plane))
    assert windows == [(80 + 64, 90 + 20 + 32, 3)]  # 20: cut by the image
    assert len(p) > 0
    assert p.shape == coins.shape[:2]
    for runs in p.candidates.masks:
        assert runs.region.intersection(region) == runs.region
    assert (p.candidates.point >= (90, 20)).all()
    assert (p.candidates.point <= (170, 110)).all()


def test_a_large_rectangle_uses_the_plane(coins: RGBArray, plane: EncodedPlane) -> None:
    region = Region(20, 20, 290, 300)
    settings = replace(COARSE, points_per_side=4)
    p = run(iter_everything(coins, no_encoding, settings, region=region, plane=plane))
    assert len(p) > 0
    for runs in p.candidates.masks:
        assert runs.region.intersection(region) == runs.region


def test_a_rectangle_outside_the_image_is_refused(coins: RGBArray) -> None:
    steps = iter_everything(coins, no_encoding, region=Region(900, 0, 950, 10))
    with pytest.raises(PromptError, match="no pixel inside the image"):
        run(steps)


def test_a_coarse_level_gives_masks_at_full_size(
    model: Any, coins: RGBArray, plane: EncodedPlane
) -> None:
    size = (coins.shape[0] * 4, coins.shape[1] * 4)
    fine = model.encode_rgb(coins, image_size=size)
    p, q = (
        run(iter_everything(coins, no_encoding, FEW, plane=at)).filter(min_score=0.7)
        for at in (fine, plane)
    )
    assert p.shape == size
    assert len(p) == pytest.approx(len(q), abs=1)
    assert iou(p.to_labels()[2::4, 2::4] > 0, q.to_labels() > 0) > 0.95
    with pytest.raises(SettingsError, match="crop_n_layers is 1"):
        run(
            iter_everything(
                coins, no_encoding, EverythingSettings(crop_n_layers=1), plane=fine
            )
        )


# --- progress, cancelling, odd input ------------------------------------------


def test_progress_counts_to_the_end(coins: RGBArray, plane: EncodedPlane) -> None:
    seen: list[Progress] = []
    settings = EverythingSettings(points_per_side=4)
    run(iter_everything(coins, no_encoding, settings, plane=plane), seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 16, 16)


def test_stopping_returns_what_was_found(
    coins: RGBArray, plane: EncodedPlane, found: Proposals
) -> None:
    stop: list[bool] = []

    def progress(p: Progress) -> None:
        if p.done >= 16:
            stop.append(True)

    part = run(
        iter_everything(
            coins, no_encoding, COARSE, plane=plane, should_stop=lambda: bool(stop)
        ),
        progress,
    )
    n = len(part.candidates)
    assert 0 < n < len(found.candidates)
    np.testing.assert_array_equal(part.candidates.box, found.candidates.box[:n])


def test_stopped_at_once_nothing_is_encoded(coins: RGBArray) -> None:
    assert len(run(iter_everything(coins, no_encoding, should_stop=lambda: True))) == 0


def test_a_closed_run_stops(coins: RGBArray, plane: EncodedPlane) -> None:
    steps = iter_everything(coins, no_encoding, plane=plane)
    next(steps)
    next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_a_cancelled_stack_keeps_the_finished_planes(
    encode: Encode, coins: RGBArray
) -> None:
    read: list[int] = []

    def reader(z: int) -> RGBArray:
        read.append(z)
        return coins[z * 50 : z * 50 + 128, :128]

    planes = [(Plane((1, 2), (z, None, None)), lambda z=z: reader(z)) for z in range(4)]
    finished, progress, stop = [], [], []
    for step in iter_everything_stack(
        planes, encode, FEW, should_stop=lambda: bool(stop)
    ):
        if isinstance(step, Progress):
            progress.append(step)
            if step.done > 9:
                stop.append(True)  # in the middle of the second plane
        else:
            finished.append(step)
    assert [plane.index[0] for plane, _ in finished] == [0]
    assert read == [0, 1]
    assert progress[-1].total == 36
    assert progress[-1].text.startswith("plane 2 of 4")
    alone = run(iter_everything(reader(0), encode, FEW))
    np.testing.assert_array_equal(finished[0][1].box, alone.box)


def test_a_whole_stack(encode: Encode, coins: RGBArray) -> None:
    settings = EverythingSettings(points_per_side=1)
    planes = ((Plane((1, 2), (z, None, None)), lambda: coins) for z in range(2))
    steps = list(iter_everything_stack(planes, encode, settings))
    assert sum(not isinstance(s, Progress) for s in steps) == 2
    progress = [s for s in steps if isinstance(s, Progress)]
    assert all(p.total == 0 for p in progress)  # no length
    assert progress[0].text.startswith("plane 1: ")


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1), (64, 64)])
def test_images_without_objects_do_no_harm(
    quick: Model, shape: tuple[int, int]
) -> None:
    image = np.full((*shape, 3), 120, np.uint8)
    settings = EverythingSettings(
        points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0
    )
    p = run(iter_everything(image, quick.encode_rgb, settings))
    assert p.to_labels().shape == shape


def test_the_mask_of_the_whole_plane_is_hidden_at_first(
    encode: Encode,
) -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    settings = EverythingSettings(
        points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0
    )
    p = run(iter_everything(image, encode, settings))
    assert p.candidates.area.max() > 0.9 * 64 * 64
    assert (p.area <= 0.9 * 64 * 64).all()
    assert p.filter(max_area=math.inf).area.max() > 0.9 * 64 * 64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points_per_side", 0),
        ("pred_iou_thresh", 1.5),
        ("stability_score_thresh", math.nan),
        ("crop_n_layers", -1),
        ("crop_overlap_ratio", 1),
        ("min_mask_region_area", -1),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} is {value}; choose"):
        EverythingSettings(**{name: value})  # type: ignore[arg-type]
