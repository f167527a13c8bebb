"""At which scale everything mode looks, with planes whose truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.everything.object_scale import (
    BEST,
    CLEARER,
    LARGE,
    Sight,
    in_one_view,
    iter_scale,
    known_scale,
)
from napari_sam.core.everything.search import EverythingSettings, iter_everything, run
from napari_sam.core.model import Capabilities, ObjectMaps, PointMasks
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.core.views import MAX_SCALE, OVERLAP, SIDE, STEP, plan_tiles
from napari_sam.errors import SettingsError
from napari_sam.types import Frame, Progress, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_sam.core.views import View
    from napari_sam.types import RGBArray

MASK_STRIDE = 4


def discs(shape: tuple[int, int], diameter: float, pitch: float) -> np.ndarray:
    """Return labels of discs on a grid."""
    row, col = np.indices(shape)
    at = [(x / pitch) % 1 * pitch - pitch / 2 for x in (row, col)]
    number = (row // pitch).astype(int) * int(shape[1] // pitch + 1)
    number = number + (col // pitch).astype(int) + 1
    return np.where(np.hypot(*at) <= diameter / 2, number, 0)


def drawn(labels: np.ndarray) -> RGBArray:
    """Return an image that holds the labels themselves."""
    return np.stack(
        [labels % 256, labels // 256 % 256, labels // 65536], axis=-1
    ).astype(np.uint8)


@dataclass
class KnownPlane:
    """A view of such an image, that answers with the truth in it."""

    labels: np.ndarray
    frame: Frame
    capabilities: Capabilities = Capabilities(object_maps=True, views=True)  # noqa: RUF009
    thresholds: ModelThresholds = ModelThresholds()  # noqa: RUF009

    def _cells(self, values: np.ndarray) -> np.ndarray:
        n = self.frame.side // MASK_STRIDE
        out = np.zeros((n, n), values.dtype)
        at = [
            (np.arange(n) * MASK_STRIDE + MASK_STRIDE / 2) / s for s in self.frame.scale
        ]
        rows, cols = (
            a[a < size].astype(int)
            for a, size in zip(at, self.frame.image_size, strict=True)
        )
        out[: len(rows), : len(cols)] = values[np.ix_(rows, cols)]
        return out

    def objects(self) -> ObjectMaps:
        labels = self.labels
        area = np.maximum(np.bincount(labels.ravel()), 1)
        far = np.zeros(labels.shape)
        for at in np.indices(labels.shape):
            middle = np.bincount(labels.ravel(), at.ravel()) / area
            far += (at - middle[labels]) ** 2
        near = np.exp(-far / np.maximum(area[labels] / math.pi, 1))
        center = np.where(labels > 0, 0.9 * near, 0).astype(np.float32)
        foreground = (labels > 0).astype(np.float32)
        return ObjectMaps(self._cells(foreground), self._cells(center), self.frame)

    def iter_points(
        self, points: np.ndarray, *, min_iou: float = 0.0, best_only: bool = False
    ) -> Iterator[PointMasks]:
        cells = self._cells(self.labels)
        for i, (row, col) in enumerate(np.round(points).astype(int)):
            label = self.labels[row, col]
            inside = (cells == label) & (label > 0)
            logits = np.where(inside, 8.0, -8.0).astype(np.float32)[None]
            score = np.array([0.95 if label else 0.0], np.float32)
            yield PointMasks(logits, score, np.array([i]), np.array([0]))


def encode(rgb: RGBArray, *, frame: Frame | None = None) -> KnownPlane:
    labels = rgb.astype(int) @ np.array([1, 256, 65536])
    return KnownPlane(labels, frame or Frame.fit(rgb.shape[:2]))


def searched(labels: np.ndarray, **changes: object):
    chosen = replace(EverythingSettings(min_area=0), **changes)  # type: ignore[arg-type]
    return run(iter_everything(drawn(labels), encode, chosen))  # type: ignore[arg-type]


def test_sight_measures_what_is_there() -> None:
    labels = discs((512, 512), 24, 32)
    sight = Sight.of([encode(drawn(labels)).objects()], 0.2)
    # Twice as large in the input.
    assert sight.size == pytest.approx(2 * 24 * math.sqrt(math.pi) / 2, rel=0.05)
    assert sight.clarity > 0.8
    assert Sight.of([encode(np.zeros((64, 64, 3), np.uint8)).objects()], 0.2) == Sight(
        math.inf, 0.0
    )


@dataclass
class Seen:
    """What is seen of a view: objects of a size in its pixels, at a clarity."""

    frame: Frame
    size: float
    clarity: float

    def objects(self) -> ObjectMaps:
        """Return one object; everything else is nothing."""
        n = self.frame.side // MASK_STRIDE
        foreground, center = np.zeros((2, n, n), np.float32)
        foreground.flat[: round((self.size / MASK_STRIDE) ** 2)] = 1
        center[n // 4, n // 4] = self.clarity
        return ObjectMaps(foreground, center, self.frame)


def chosen_scale(
    shape: tuple[int, int], size: float, clarity: Callable[[float], float]
) -> float | None:
    """Return the scale for objects of a size, as clear as a function of it says."""
    frame = Frame.fit(shape)

    def look(view: View) -> Generator[Progress, None, Seen]:
        yield Progress(0, 1)
        scale = max(view.frame.scale)
        return Seen(view.frame, size * scale, clarity(size * scale))

    fit = max(frame.scale)
    plane = Seen(frame, size * fit, clarity(size * fit))
    steps = iter_scale(plane, look, Region.whole(shape), min_center=0.05)  # type: ignore[arg-type]
    return run(steps)


def grows(seen: float) -> float:
    """Return a clarity that is better the larger objects are, up to 64 pixels."""
    return 0.2 + 0.1 * math.log2(min(max(seen, 1), 64))


@pytest.mark.parametrize("size", [5, 8, 12, 20, 40])
@pytest.mark.parametrize("shape", [(300, 300), (1000, 700), (3000, 2000)])
def test_small_objects_are_enlarged_and_no_more_than_needed(
    shape: tuple[int, int], size: float
) -> None:
    fit = 1024 / max(shape)
    scale = chosen_scale(shape, size, grows)
    if size * fit >= BEST:
        assert scale is None
    else:
        assert scale is not None
        reached = size * scale
        assert reached >= 0.97 * BEST or scale * STEP > 0.97 * MAX_SCALE
        # The step to full resolution may be a larger one.
        assert reached < 1.05 * STEP * BEST or scale == 1


def test_what_becomes_no_clearer_is_not_enlarged() -> None:
    assert chosen_scale((1000, 1000), 8, lambda seen: 0.5) is None
    assert chosen_scale((1000, 1000), 8, lambda seen: 0.9 - seen / 100) is None
    # Only as far as it does.
    scale = chosen_scale((1024, 1024), 8, lambda s: 0.9 - abs(s - 16) / 40)
    assert scale == pytest.approx(2, rel=0.03)
    # A large plane is not searched in full resolution for nothing.
    assert chosen_scale((3000, 2000), 30, lambda s: 0.8 - s / 1000) is None


@pytest.mark.parametrize("shape", [(100, 75), (300, 300), (1000, 700)])
@pytest.mark.parametrize("gain", [-0.1, 0.0, CLEARER / 2, 1.1 * CLEARER, 0.3])
@pytest.mark.parametrize("seen", [LARGE / 1.1, LARGE * 1.3, 300])
def test_large_objects_are_seen_in_one_view_if_that_is_clearer(
    shape: tuple[int, int], gain: float, seen: float
) -> None:
    fit = 1024 / max(shape)

    def clarity(size: float) -> float:
        return 0.5 + gain * (size < 0.9 * seen)

    scale = chosen_scale(shape, seen / fit, clarity)
    if seen > LARGE and gain > CLEARER:
        assert scale == SIDE / max(shape)
    else:
        assert scale is None


def test_in_one_view_what_is_whole_in_the_plane_is_found_once() -> None:
    labels = discs((90, 70), 20, 30)
    found = searched(labels, object_size=20.0)
    assert found.scale == pytest.approx(in_one_view(Region.whole((90, 70))))
    # Those at the border, cut by the image alone, are found too.
    assert len(found) == len(np.unique(labels)) - 1


def test_nothing_to_be_seen_is_not_enlarged() -> None:
    found = searched(np.zeros((700, 1000), int))
    assert found.scale is None
    assert len(found) == 0


@settings(max_examples=8, deadline=None)
@given(
    st.integers(100, 700),
    st.integers(100, 700),
    st.floats(9, 70),
    st.floats(1.3, 3),
    st.booleans(),
)
def test_no_seam_is_to_be_seen(height, width, diameter, spread, has_region):
    """In tiles each object is found once and whole, wherever it lies.

    One that reaches farther beyond a tile's core than it sees may be missing.
    """
    labels = discs((height, width), diameter, spread * diameter)
    region = None
    if has_region:
        region = Region(height // 8, width // 9, height, width - width // 7)
    steps = iter_everything(
        drawn(labels),
        encode,  # type: ignore[arg-type]
        EverythingSettings(min_area=0, object_size=9.0, min_center=0.05),
        region=region,
    )
    found = run(steps)
    wanted = set(np.unique(labels)) - {0}
    seen = []
    for runs in found.shown.masks:
        crop = runs.decode()
        own, counts = np.unique(
            labels[crop.region.slices][crop.mask], return_counts=True
        )
        label = own[counts.argmax()]
        truth = labels == label
        both = counts.max()
        assert both / (truth.sum() + crop.area - both) > 0.7
        seen.append(label)
    assert len(seen) == len(set(seen))
    room = OVERLAP / 2 / found.scale if found.scale else math.inf
    if region is None and diameter / 2 + 1 < room:
        # Specks at the border are too small for a cell.
        large = {n for n in wanted if (labels == n).sum() > diameter**2 / 2}
        assert large <= set(seen)


def test_a_known_size_decides_the_scale() -> None:
    whole = Region.whole((1024, 900))
    assert known_scale(BEST, 1.0, whole) == pytest.approx(2 / math.sqrt(math.pi))
    assert known_scale(1, 1.0, whole) == MAX_SCALE
    assert known_scale(60, 1.0, whole) is None
    assert known_scale(500, 1.0, whole) == SIDE / 1024
    assert known_scale(1024, 1.0, whole) is None
    labels = discs((300, 400), 20, 40)
    assert searched(labels, object_size=400.0).scale is None
    scale = searched(labels, object_size=6.0).scale
    assert scale == pytest.approx(BEST / (6 * math.sqrt(math.pi) / 2), rel=0.02)


def test_a_cancelled_search_keeps_the_tiles_that_are_done() -> None:
    labels = discs((700, 700), 10, 20)
    stop = False
    steps = iter_everything(
        drawn(labels),
        encode,  # type: ignore[arg-type]
        EverythingSettings(min_area=0, object_size=10.0),
        should_stop=lambda: stop,
    )
    count = 0
    while True:
        try:
            count += next(steps).text == "encoding"
        except StopIteration as end:
            found = end.value
            break
        stop = count > 4
    assert 0 < len(found) < len(np.unique(labels)) - 1
    assert len(found) >= 2 * (SIDE / found.scale / 40) ** 2


def encodings(labels: np.ndarray, stop_at: str = "never") -> list[tuple[int, ...]]:
    """Return the sizes of what is encoded, with the number of tiles found last."""
    encoded: list[tuple[int, ...]] = []
    stop: list[bool] = []

    def counted(rgb: RGBArray, *, frame: Frame | None = None) -> Faint:
        encoded.append((*rgb.shape[:2], frame is not None))
        plane = encode(rgb, frame=frame)
        return Faint(plane.labels, plane.frame)

    steps = iter_everything(
        drawn(labels),
        counted,  # type: ignore[arg-type]
        EverythingSettings(min_area=0, min_center=0.05),
        should_stop=lambda: bool(stop),
    )
    try:
        while True:
            if stop_at in next(steps).text:
                stop.append(True)
    except StopIteration as end:
        encoded.append((len(end.value), round(end.value.scale or 0)))
    return encoded


class Faint(KnownPlane):
    """Sees objects the more clearly the larger they are."""

    def objects(self) -> ObjectMaps:
        maps = super().objects()
        clarity = grows(max(self.frame.scale) * 8) / 0.9
        return replace(maps, center=maps.center * np.float32(clarity))


def test_what_was_looked_at_is_not_encoded_again() -> None:
    labels = discs((700, 1000), 8, 20)
    *encoded, (found, scale) = encodings(labels)
    assert scale == 6
    assert found == pytest.approx(len(np.unique(labels)) - 1, rel=0.05)
    tiles = plan_tiles(Region.whole(labels.shape), 1.024 * STEP**5)
    smallest = min(e[:2] for e in encoded)
    assert sum(e[:2] == smallest for e in encoded) == len(tiles)


def test_cancel_while_it_looks_encodes_nothing_more() -> None:
    encoded = encodings(discs((700, 1000), 8, 20), stop_at="looking")
    assert encoded == [(700, 1000, False), (0, 0)]


@pytest.mark.parametrize("wrong", [0, -3.0, float("nan"), True, "5"])
def test_a_size_that_is_none(wrong: object) -> None:
    with pytest.raises(SettingsError, match="object_size"):
        EverythingSettings(object_size=wrong)  # type: ignore[arg-type]


def test_objects_larger_than_the_image() -> None:
    with pytest.raises(
        SettingsError, match="object_size is 900, larger than the image"
    ):
        searched(discs((300, 400), 20, 40), object_size=900.0)


def test_a_model_that_sees_no_objects_takes_no_size() -> None:
    class Blind(KnownPlane):
        def objects(self) -> None:  # type: ignore[override]
            return None

    def blind(rgb: RGBArray) -> KnownPlane:
        frame = Frame.fit((rgb.shape[0], rgb.shape[1]))
        return Blind(rgb[..., 0], frame, Capabilities(views=True))

    with pytest.raises(SettingsError, match="does not see objects"):
        run(
            iter_everything(
                np.zeros((40, 50, 3), np.uint8),
                blind,  # type: ignore[arg-type]
                EverythingSettings(object_size=5.0),
            )
        )
