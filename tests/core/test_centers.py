"""Points on objects from maps of foreground and centers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.everything.foreground import Foreground
from napari_sam.core.everything.object_points import (
    MAX_POINTS,
    deepest_points,
    find_peaks,
    object_points,
    to_image,
    uncovered,
)
from napari_sam.core.model import ObjectMaps
from napari_sam.core.results import upscale
from napari_sam.types import Frame, MaskCrop, Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE, CELLS = 256, 64


def gaussians(
    at: NDArray[np.float64], sigma: float, heights: NDArray[np.float64] | float = 0.9
) -> NDArray[np.float64]:
    """Return the highest of several Gaussians over a map, cell by cell."""
    rows, cols = np.indices((CELLS, CELLS))
    squares = (rows - at[:, 0, None, None]) ** 2 + (cols - at[:, 1, None, None]) ** 2
    high = np.broadcast_to(heights, len(at))[:, None, None]
    bumps = high * np.exp(-squares / (2 * sigma**2))
    return np.asarray(bumps.max(axis=0, initial=0))


def on_a_grid(seed: int, spacing: int, jitter: float) -> NDArray[np.float64]:
    """Return places at least ``spacing - 2 jitter`` apart, not at the border."""
    rng = np.random.default_rng(seed)
    line = np.arange(spacing // 2, CELLS - spacing // 2, spacing)
    at = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    at = at[rng.random(len(at)) < 0.6]
    return at + rng.uniform(-jitter, jitter, at.shape)


def matched(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Return the largest distance of a true place to the nearest found one."""
    distance = np.linalg.norm(found[:, None] - true[None], axis=-1)
    return float(distance.min(axis=0).max()) if len(true) else 0.0


def disc(center: tuple[float, float], radius: float, shape: tuple[int, int]):
    rows, cols = np.indices(shape)
    return (rows - center[0]) ** 2 + (cols - center[1]) ** 2 <= radius**2


# --- peaks --------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0.8, 2.0), st.floats(0.3, 1.0))
@settings(max_examples=60, deadline=None)
def test_each_object_gives_one_peak_to_a_part_of_a_cell(
    seed: int, sigma: float, height: float
) -> None:
    true = on_a_grid(seed, spacing=8, jitter=1.0)
    found, heights = find_peaks(gaussians(true, sigma, height), min_height=0.2)
    assert len(found) == len(true)
    assert matched(found, true) < 0.05
    assert (np.diff(heights) <= 0).all()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_noise_on_a_broad_summit_makes_no_second_peak(seed: int) -> None:
    true = on_a_grid(seed, spacing=20, jitter=2.0)
    noise = np.random.default_rng(seed).uniform(0.96, 1, (CELLS, CELLS))
    found, _ = find_peaks(gaussians(true, 4.0) * noise, min_height=0.2)
    assert len(found) == len(true)
    assert matched(found, true) < 3


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
@settings(max_examples=30, deadline=None)
def test_what_is_found_are_maxima_above_the_threshold(
    seed: int, threshold: float
) -> None:
    values = np.random.default_rng(seed).random((20, 30)) ** 3
    found, heights = find_peaks(values, min_height=threshold, max_saddle=1.0)
    cells = found.round().astype(int)
    assert (heights >= threshold * (1 - 1e-6)).all()
    assert (np.abs(found - cells) <= 0.5).all()
    for row, col in cells:
        near = values[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2]
        assert values[row, col] == near.max()
    if len(found) > 1:
        distance = np.linalg.norm(cells[:, None] - cells[None], axis=-1)
        distance += np.eye(len(cells)) * 99
        assert distance.min() > 1


def test_a_saddle_divides_two_objects_by_its_relative_depth() -> None:
    both = np.array([[30.0, 28.0], [30.0, 34.0]])
    for height in (0.9, 0.3):
        one, _ = find_peaks(gaussians(both, 5.5, height), min_height=0.1)
        two, _ = find_peaks(gaussians(both, 3.0, height), min_height=0.1)
        assert (len(one), len(two)) == (1, 2)
    every, _ = find_peaks(gaussians(both, 5.5), min_height=0.1, max_saddle=1.0)
    assert len(every) == 2


def test_of_near_peaks_the_higher_stays() -> None:
    at = np.array([[10.0, 10.0], [10.0, 13.0], [10.0, 40.0]])
    values = gaussians(at, 0.7, np.array([0.5, 0.8, 0.6]))
    found, _ = find_peaks(values, min_height=0.2, min_distance=4)
    np.testing.assert_allclose(found, at[[1, 2]], atol=0.01)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_map_has_one_summit_at_most(value: float) -> None:
    found, _ = find_peaks(np.full((9, 7), value), min_height=0.2)
    assert len(found) == (value > 0.2)
    assert len(find_peaks(np.zeros((0, 5)), min_height=0.2)[0]) == 0


# --- foreground ---------------------------------------------------------------


def test_foreground_without_a_peak_is_asked_for_too() -> None:
    covered = disc((16, 16), 6, (CELLS, CELLS))
    missed = disc((40, 44), 5, (CELLS, CELLS))
    rim = np.zeros((CELLS, CELLS), bool)
    rim[60, 5:50] = True  # thinner than an object can be
    foreground = np.where(covered | missed | rim, 0.9, 0.1).astype(np.float32)
    center = gaussians(np.array([[16.0, 16.0]]), 2).astype(np.float32)
    frame = Frame((SIDE, SIDE), (SIDE, SIDE), SIDE)
    points = object_points(ObjectMaps(foreground, center, frame))
    np.testing.assert_allclose(points, [(65.5, 65.5), (161.5, 177.5)], atol=0.1)


def test_regions_and_their_deepest_points() -> None:
    mask = disc((10, 10), 4, (40, 40)) | disc((25, 30), 7, (40, 40))
    np.testing.assert_array_equal(deepest_points(mask), [(25, 30), (10, 10)])
    left = uncovered(mask, np.array([[24.6, 33.0]]))
    np.testing.assert_array_equal(left, disc((10, 10), 4, (40, 40)))
    assert deepest_points(np.zeros((5, 5), bool)).shape == (0, 2)
    # The border of the map counts as outside.
    assert len(deepest_points(np.ones((2, 9), bool))) == 0
    assert len(deepest_points(np.ones((3, 9), bool))) == 1


@given(
    st.integers(1, 500), st.integers(1, 500), st.integers(0, 10_000), st.integers(1, 9)
)
@settings(max_examples=60, deadline=None)
def test_masks_take_their_cells_away(
    height: int, width: int, seed: int, n: int
) -> None:
    """What is left are the cells whose own pixel no mask covers."""
    frame = Frame.fit((height, width), SIDE)
    maps = ObjectMaps(
        np.ones((CELLS, CELLS), np.float32), np.zeros((CELLS, CELLS), np.float32), frame
    )
    rng = np.random.default_rng(seed)
    covered = np.zeros((height, width), bool)
    masks = []
    for _ in range(n):
        rows, cols = (np.sort(rng.integers(0, s + 1, 2)) for s in (height, width))
        region = Region(int(rows[0]), int(cols[0]), int(rows[1]), int(cols[1]))
        masks.append(MaskCrop(rng.random(region.shape) < 0.9, region))
        covered |= masks[-1].full((height, width))
    points = Foreground(maps).missed(masks)
    at = points.round().astype(int)
    assert not covered[at[:, 0], at[:, 1]].any()
    whole = MaskCrop(np.ones((height, width), bool), Region(0, 0, height, width))
    assert len(Foreground(maps).missed([*masks, whole])) == 0


@given(st.integers(32, 400), st.integers(32, 400), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_foreground_of_a_mask_is_that_of_its_pixels(
    height: int, width: int, seed: int
) -> None:
    """The mean over a mask's cells, against the map blown up to the image."""
    frame = Frame.fit((height, width), SIDE)
    rng = np.random.default_rng(seed)
    # Smooth, as what a model sees is.
    rows, cols = np.indices((CELLS, CELLS)) / CELLS
    wave = np.sin(rows * rng.uniform(0, 6) + cols * rng.uniform(0, 6)) / 2 + 0.5
    maps = ObjectMaps(wave.astype(np.float32), wave.astype(np.float32), frame)
    corner = rng.integers(0, (height, width))
    size = rng.integers(1, np.array([height, width]) - corner + 1)
    region = Region(*corner.tolist(), *(corner + size).tolist())
    mask = MaskCrop(np.ones(region.shape, bool), region)
    fine = upscale(maps.foreground, frame)[region.slices].mean()
    assert Foreground(maps).inside(mask) == pytest.approx(fine, abs=0.1)


# --- coordinates --------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_cells_map_to_the_pixels_they_saw(height: int, width: int) -> None:
    frame = Frame.fit((height, width), 1024)
    cells = np.array([[0, 0], [3, 5], [200, 250]])
    points = to_image(cells, frame, (256, 256))
    # The cell's center in the model's input, and back by the frame's scale.
    expected = (cells * 4 + 2.0) / np.array(frame.scale) - 0.5
    inside = np.clip(expected, 0, np.array([height, width]) - 1)
    np.testing.assert_allclose(points, inside, rtol=1e-5, atol=1e-3)


@given(st.integers(8, 400), st.integers(8, 400), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_points_are_inside_the_image_whatever_the_padding_shows(
    height: int, width: int, seed: int
) -> None:
    frame = Frame.fit((height, width), SIDE)
    rng = np.random.default_rng(seed)
    maps = ObjectMaps(
        rng.random((CELLS, CELLS), np.float32),
        rng.random((CELLS, CELLS), np.float32),
        frame,
    )
    for points in (object_points(maps), Foreground(maps).missed([])):
        assert points.dtype == np.float32
        assert (points >= 0).all()
        assert (points <= np.array([height, width]) - 1).all()
    assert len(object_points(maps, limit=3)) <= 3
    assert len(object_points(maps)) <= MAX_POINTS


def test_the_most_certain_come_first() -> None:
    true = np.array([[8.0, 8.0], [30.0, 40.0], [50.0, 12.0]])
    center = gaussians(true, 1.5, np.array([0.4, 0.9, 0.6])).astype(np.float32)
    frame = Frame((SIDE, SIDE), (SIDE, SIDE), SIDE)
    maps = ObjectMaps(np.zeros_like(center), center, frame)
    order = true[[1, 2, 0]] * 4 + 1.5
    np.testing.assert_allclose(object_points(maps), order, atol=0.1)
    np.testing.assert_allclose(object_points(maps, limit=2), order[:2], atol=0.1)
    np.testing.assert_allclose(object_points(maps, min_center=0.7), order[:1], atol=0.1)


def test_no_lowest_height_takes_every_summit() -> None:
    center = np.zeros((9, 9))
    center[2, 2], center[6, 6] = 0.9, 1e-3
    peaks, _ = find_peaks(center, min_height=0)
    assert {(2, 2), (6, 6)} <= {tuple(p.round().astype(int).tolist()) for p in peaks}
