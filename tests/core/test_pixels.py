"""Parts of planes: in memory, of pyramids, and overviews of what is too large."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core import planes as planes_module
from napari_sam.core.imaging import to_rgb, to_rgb_with_tones
from napari_sam.core.pixels import ArrayPixels, PyramidPixels
from napari_sam.core.planes import read_overview, read_plane
from napari_sam.core.views import view_at
from napari_sam.types import Frame, Plane, Region

RNG = np.random.default_rng(0)


class Reads:
    """An array that notes what is read of it."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.sizes: list[tuple[int, ...]] = []

    def __getitem__(self, key: Any) -> np.ndarray:
        part = self.data[key]
        self.sizes.append(part.shape)
        return part


def pyramid(data: np.ndarray, levels: int) -> tuple[np.ndarray, ...]:
    """Return levels of half the size each, rows and columns being the last axes."""
    found = [data]
    for _ in range(levels - 1):
        a = found[-1].astype(float)
        rows, cols = (n // 2 * 2 for n in a.shape[-2:])
        a = a[..., :rows, :cols]
        half = (
            a[..., ::2, ::2]
            + a[..., 1::2, ::2]
            + a[..., ::2, 1::2]
            + a[..., 1::2, 1::2]
        )
        found.append(np.rint(half / 4).astype(data.dtype))
    return tuple(found)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_part_is_that_of_the_whole_plane(transposed: bool) -> None:
    volume = RNG.integers(0, 4000, (3, 50, 70)).astype(np.uint16)
    plane = Plane((2, 1) if transposed else (1, 2), (1, None, None))
    whole, tones = to_rgb_with_tones(read_plane(volume, plane))
    region = Region(3, 5, 41, 46)
    pixels = PyramidPixels((volume,), plane, False, tones)
    assert pixels.size == whole.shape[:2]
    found = pixels.read(region, Frame(region.shape, (448, 448), 448))
    assert np.array_equal(found, whole[region.slices])
    assert np.array_equal(ArrayPixels(whole).read(region, Frame.fit((1, 1))), found)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
def test_all_parts_have_the_tones_of_the_whole(channels: int, dtype: Any) -> None:
    image = RNG.integers(0, 200, (60, 80, channels))
    image[:, 40:] //= 8
    image = (image > 20) if dtype is bool else image.astype(dtype)
    whole, tones = to_rgb_with_tones(image)
    for part in (np.s_[:, :40], np.s_[:, 40:], np.s_[50:, 70:]):
        expected, found = whole[part], to_rgb(image[part], tones=tones)
        if tones.is_two_valued:  # the grain begins anew with each part
            assert np.abs(found.astype(int) - expected).max() <= 6 * 8
        else:
            assert np.array_equal(found, expected)


def test_a_part_of_one_value_is_as_dark_as_in_its_plane() -> None:
    image = np.full((50, 50), 7, np.uint16)
    image[:, 25:] = RNG.integers(0, 1000, (50, 25))
    whole, tones = to_rgb_with_tones(image)
    assert np.array_equal(to_rgb(image[:, :25], tones=tones), whole[:, :25])


@given(st.floats(0.3, 900), st.floats(0.3, 1100), st.sampled_from([0.25, 0.5, 1, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_no_coarser_level_than_a_view_shows(
    row: float, col: float, scale: float
) -> None:
    levels = tuple(Reads(level) for level in pyramid(SMOOTH, 4))
    pixels = PyramidPixels(levels, Plane((0, 1), (None, None)), False, TONES)
    view = view_at((row, col), scale, SMOOTH.shape)
    found = pixels.read(view.region, view.frame)
    read = [k for k, level in enumerate(levels) if level.sizes]
    assert read == [max(0, round(-np.log2(scale)))]
    # Within half a pixel of the level, it is the part that was asked for.
    k = 2 ** read[0]
    middle = view.region.row0 + view.region.shape[0] / 2
    expected = SMOOTH[int(middle), (view.region.col0 + view.region.col1) // 2]
    shown = found[found.shape[0] // 2, found.shape[1] // 2, 0]
    assert abs(int(shown) - int(expected)) <= 2 + k
    assert all(
        abs(n * k - m) <= 2 * k
        for n, m in zip(found.shape, view.region.shape, strict=False)
    )


ROWS, COLS = np.ogrid[:904, :1100]
SMOOTH = ((ROWS + COLS) / 8).astype(np.uint8)
TONES = to_rgb_with_tones(np.array([[0, 100, 255]], np.uint8))[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(201, 90), (90, 201), (150, 64, 3)])
def test_an_overview_is_means_of_what_each_pixel_covers(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(planes_module, "OVERVIEW", 32)
    monkeypatch.setattr(planes_module, "_AT_ONCE", 3000)
    data = RNG.integers(0, 200, shape)
    data = (data > 90) if dtype is bool else data.astype(dtype)
    lazy = Reads(data)
    plane = Plane((0, 1), (None, None))
    overview = read_overview(lazy, plane, rgb=len(shape) == 3)
    assert max(overview.shape[:2]) == 32
    assert max(np.prod(size[:2]) for size in lazy.sizes) <= 3000 + 2 * max(shape)
    for i, j in ((0, 0), (5, 3), (overview.shape[0] - 1, overview.shape[1] - 1)):
        part = [
            slice(k * n // m, (k + 1) * n // m)
            for k, n, m in zip((i, j), shape, overview.shape, strict=False)
        ]
        mean = data[tuple(part)].mean(axis=(0, 1))
        tolerance = 0.51 if np.issubdtype(dtype, np.integer) else 1e-3
        assert np.allclose(overview[i, j], mean, atol=tolerance)


def test_an_overview_of_a_plane_of_a_stack_transposed() -> None:
    volume = RNG.integers(0, 255, (5000, 2, 120)).astype(np.uint8)
    plane = Plane((2, 0), (None, 1, None))
    overview = read_overview(volume, plane)
    assert overview.shape == (49, 2048)
    assert overview.dtype == np.uint8
