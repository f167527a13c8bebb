"""One budget for the planes that are kept ready to answer."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.steps import finish
from napari_sam.types import Plane
from napari_sam.viewer.image.encoder import PlaneEncoder
from napari_sam.viewer.image.source import ImageData, PlaneSource
from napari_sam.viewer.settings import Normalization

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.core.model import Model


def test_no_plane_outlives_the_budget(
    model: Model, tmp_path: Path, coin_stack: np.ndarray
) -> None:
    store = EmbeddingStore(tmp_path)
    engine = Engine(model, store, live=2)
    lut = np.ones((256, 4), np.float32)
    image = ImageData((coin_stack,), False, (0, 255), 1, 1, "translucent", lut)
    source = PlaneSource("coins", coin_stack.shape, (image,), Normalization.PERCENTILE)
    encoder = PlaneEncoder(engine, source)
    kept = [
        weakref.ref(finish(encoder.iter_get(Plane((1, 2), (z, None, None)))))
        for z in range(3)
    ]
    gc.collect()
    assert [plane() is not None for plane in kept] == [False, True, True]
    again = finish(encoder.iter_get(Plane((1, 2), (0, None, None))))
    assert again.frame.image_size == coin_stack.shape[1:]
