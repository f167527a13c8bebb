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
from napari_sam.core.volumes.propagation import _Residual
from napari_sam.core.volumes.segment import Weights, residual_of, segment
from napari_sam.core.volumes.shapes import soft_logits
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
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
