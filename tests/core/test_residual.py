"""What a prompted slice teaches of the outline that a person draws."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data, draw

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.imaging import to_rgb
from napari_sam.core.masks import crop_iou
from napari_sam.core.steps import finish
from napari_sam.core.volumes.place import Place
from napari_sam.core.volumes.propagation import _Residual
from napari_sam.core.volumes.segment import Weights, residual_of, segment
from napari_sam.core.volumes.shapes import soft_logits
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.core.model import EncodedPlane
    from napari_sam.models.sam1.sam import SamModel

WEIGHTS = Weights(prior=0.5, memory=3.0, likeness=0.3, room=0.03)
COIN = (46, 45)


@pytest.fixture(scope="module")
def plane(model: SamModel) -> EncodedPlane:
    """Return a photograph of coins, encoded."""
    image = np.ascontiguousarray(data.coins()[:160, :200])
    return Engine(model, EmbeddingStore(disk_bytes=0)).encode(to_rgb(image))


def part_of_a_coin(shape: tuple[int, int]) -> MaskCrop:
    """Return what no model outlines by itself: two thirds of a coin."""
    mask = np.zeros(shape, bool)
    mask[draw.disk(COIN, 20, shape=shape)] = True
    mask[:, 52:] = False
    return MaskCrop.from_full(mask)


def test_the_slice_itself_gets_its_own_mask(plane: EncodedPlane) -> None:
    mask = part_of_a_coin(plane.frame.image_size)
    without, _ = segment(plane, mask, None, WEIGHTS)
    residual = residual_of(plane, mask, None, WEIGHTS)
    found, _ = segment(plane, mask, None, WEIGHTS, residual=residual)
    assert crop_iou(without, mask) < 0.7
    # Where the model is right on one side of the outline, half a cell is lost.
    assert crop_iou(found, mask) > 0.9


def test_where_the_model_agrees_nothing_is_added(plane: EncodedPlane) -> None:
    mask = part_of_a_coin(plane.frame.image_size)
    wanted = soft_logits(mask, plane.frame)
    agreeing = SimpleNamespace(
        frame=plane.frame,
        predict=lambda **_: SimpleNamespace(
            logits=2 * wanted[None], default=0, score=1.0
        ),
    )
    assert not residual_of(agreeing, mask, None, WEIGHTS).any()  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-80, 80), st.integers(-80, 80), st.sampled_from([0.5, 1.0, 2.0, 4.0])
)
def test_it_stays_at_its_pixels_when_the_view_moves(
    rows: int, cols: int, scale: float
) -> None:
    cells = 24
    logits = np.random.default_rng(0).normal(size=(cells, cells)).astype(np.float32)
    frame = SimpleNamespace(scale=(scale, scale))
    seen = SimpleNamespace(
        row=10 + rows, col=10 + cols, plane=SimpleNamespace(frame=frame)
    )
    moved = _Residual(logits, 10, 10).seen_in(seen)  # type: ignore[arg-type]
    down, right = (round(-by * scale / 4) for by in (rows, cols))
    for row in range(cells):
        for col in range(cells):
            inside = 0 <= row - down < cells and 0 <= col - right < cells
            wanted = logits[row - down, col - right] if inside else 0
            assert moved[row, col] == wanted


SIZES = st.integers(200, 3000)


@settings(max_examples=60, deadline=None)
@given(st.tuples(SIZES, SIZES), st.data())
def test_an_object_is_seen_at_one_scale_wherever_it_goes(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    """In its view, in one beside it, or in the slice if it is too large for any."""

    def somewhere() -> MaskCrop:
        rows, cols = (data.draw(st.integers(4, 90)) for _ in range(2))
        row, col = (
            data.draw(st.integers(0, whole - own))
            for whole, own in zip(shape, (rows, cols), strict=True)
        )
        region = Region(row, col, row + rows, col + cols)
        return MaskCrop(np.ones((rows, cols), bool), region)

    mask = somewhere()
    place = Place.of([mask], shape, 1024 / max(shape))
    if place.view is None:
        assert place.holding(mask.region) is None
        return
    assert place.holding(mask.region) == place.view
    other = somewhere()
    view = place.holding(other.region)
    if view is None:
        # It is longer than what is seen at that scale, or all but.
        longest = max(np.divide(other.region.shape, place.view.region.shape))
        assert longest > 0.5
        return
    assert view.frame.scale == pytest.approx(place.view.frame.scale, rel=0.02)
    assert view.region.intersection(other.region) == other.region
    assert view.region.intersection(Region.whole(shape)) == view.region


@pytest.mark.parametrize("sees", ["view", "slice", "neither"])
def test_a_view_is_asked_in_its_own_pixels(sees: str) -> None:
    """A model without views gives the slice."""
    mask = MaskCrop(np.ones((20, 30), bool), Region(900, 700, 920, 730))
    place = Place.of([mask], (1500, 1500), 1024 / 1500)
    assert place.view is not None
    view, whole = SimpleNamespace(name="view"), SimpleNamespace(name="slice")

    def iter_view(which: object) -> Generator[None, None, object]:
        yield
        if sees == "neither":
            return None
        if which is None:
            return whole
        return view if sees == "view" else None

    plane = SimpleNamespace(name="neither", iter_view=iter_view)
    seen = finish(place.iter_look(plane, mask))
    assert seen.plane.name == sees
    first = (
        (place.view.region.row0, place.view.region.col0) if sees == "view" else (0, 0)
    )
    assert (seen.row, seen.col) == first
    moved = seen.moved(mask)
    assert (moved.region.row0 + first[0], moved.region.col0 + first[1]) == (900, 700)
    assert seen.moved_back(moved).region == mask.region
