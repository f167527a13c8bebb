"""Answers cut down to what refinement needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.core.imaging import to_rgb
from napari_sam.models import load_model
from napari_sam.types import MaskLevel

if TYPE_CHECKING:
    from napari_sam.models.sam1.plane import SamPlane
    from napari_sam.models.sam1.sam import SamModel


@pytest.fixture(scope="module")
def own_model() -> SamModel:
    return load_model(device="cpu")


@pytest.fixture(scope="module", params=["small", "large"])
def plane(request: pytest.FixtureRequest, own_model: SamModel, coins: np.ndarray):
    image = coins if request.param == "small" else np.tile(coins, (5, 4))
    return own_model.encode_rgb(to_rgb(image))


@pytest.mark.parametrize("level", [MaskLevel.AUTO, MaskLevel.PART])
def test_refining_a_compact_answer_gives_the_same(
    plane: SamPlane, level: MaskLevel
) -> None:
    full = plane.predict(points=[(124, 205)])
    compact = full.compact(level)
    assert compact.nbytes * 8 <= full.nbytes
    np.testing.assert_array_equal(compact.crop().mask, full.crop(level).mask)
    assert compact.crop().region == full.crop(level).region
    clicks = {"points": [(124, 205), (124, 222)], "labels": [1, 0]}
    expected = plane.predict(**clicks, logits=full.earlier(level)).best
    found = plane.predict(**clicks, logits=compact.earlier()).best
    assert (expected & found).sum() / (expected | found).sum() > 0.99
