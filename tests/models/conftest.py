"""Models in a known precision and planes encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from skimage import data

from napari_sam.models.sam1.sam import SamModel

if TYPE_CHECKING:
    import numpy as np

    from encoded_once import EncodedOnce
    from napari_sam.models.registry import ModelSpec
    from napari_sam.models.sam1.plane import SamPlane


ABOUT_ANSWERS = {
    "test_blending",
    "test_large_images",
    "test_plane_views",
    "test_prompt_head",
}
"""Files that may find an image encoded; the others are about encoding, too."""


@pytest.fixture(scope="module", autouse=True)
def _encoding_is_tested(
    request: pytest.FixtureRequest, encoded_once: EncodedOnce
) -> None:
    """Encode each time, where that is what is tested."""
    if request.path.stem not in ABOUT_ANSWERS:
        request.getfixturevalue("encodes_itself")


@pytest.fixture(scope="session")
def model32(_bundled: tuple[ModelSpec, ...]) -> SamModel:
    """Return the bundled model in float32, the precision of the reference.

    Whatever the file that asks first takes for the bundled models.
    """
    path = next(spec.path for spec in _bundled if spec.name == "mobile-sam")
    return SamModel.from_file(path, name="mobile-sam", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def small_model(_small: tuple[ModelSpec, ...]) -> SamModel:
    """Return the default model with an input of 512 pixels, in float32."""
    path = next(s.path for s in _small if s.name == "mobile-sam-microscopy")
    return SamModel.from_file(path, name="small", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def coins() -> np.ndarray:
    """Return a gray image of 303 × 384 pixels with 24 coins."""
    return data.coins()


@pytest.fixture(scope="session")
def plane32(model32: SamModel, coins: np.ndarray) -> SamPlane:
    """Return the coins, encoded in float32."""
    return model32.encode(coins)
