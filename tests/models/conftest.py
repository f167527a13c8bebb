"""Models in a known precision and planes encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from skimage import data

from napari_sam.models import load_model

if TYPE_CHECKING:
    import numpy as np

    from napari_sam.models.plane import SamPlane
    from napari_sam.models.sam import SamModel


@pytest.fixture(scope="session")
def model32() -> SamModel:
    """Return the bundled model in float32, the precision of the reference."""
    return load_model("mobile-sam", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def coins() -> np.ndarray:
    """Return a grey image of 303 × 384 pixels with 24 coins."""
    return data.coins()


@pytest.fixture(scope="session")
def plane32(model32: SamModel, coins: np.ndarray) -> SamPlane:
    """Return the coins, encoded in float32."""
    return model32.encode(coins)
