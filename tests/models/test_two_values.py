"""Clicks in images without texture: masks given as images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage import data
from skimage.measure import label, regionprops

from napari_sam.models import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.models.sam1.sam import SamModel


@pytest.fixture(scope="module")
def own_model() -> SamModel:
    return load_model(device="cpu")


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def test_a_click_gives_the_white_blob(own_model: SamModel, shared_data: Path) -> None:
    """236 white pixels of a thresholded image, of which 7 were found."""
    image = tifffile.imread(shared_data / "stardist_2d/images/img2d.tif")[:256, :256]
    gray = (image - image.min()) / (np.percentile(image, 99.8) - image.min()) * 255
    binary = gray.clip(0, 255).astype(np.uint8) > 60
    components = label(binary)
    blob = components == components[54, 32]
    assert blob.sum() == 236
    found = own_model.encode(binary).predict(points=[(54, 32)]).best
    # Noise has holed the blob like a sieve; the model takes it without the holes.
    assert (found & blob).sum() > 0.95 * blob.sum()
    whole = ndimage.binary_fill_holes(ndimage.binary_closing(blob))
    assert iou(found, whole) > 0.75


@pytest.mark.parametrize("source", ["nuclei", "coins", "blobs"])
def test_blobs_of_other_masks(
    own_model: SamModel, shared_data: Path, source: str
) -> None:
    if source == "nuclei":
        path = sorted((shared_data / "dsb2018/masks").iterdir())[5]
        binary = iio.imread(path)[:256, :256] > 0
    elif source == "coins":
        binary = data.coins() > 130
    else:
        binary = data.binary_blobs(200, 0.12, volume_fraction=0.3, rng=1)
    components = label(binary)
    solid = [
        region
        for region in regionprops(components)
        if 100 <= region.area <= 0.2 * binary.size and region.solidity > 0.9
    ]
    solid = sorted(solid, key=lambda region: region.area)[:: max(1, len(solid) // 4)]
    assert len(solid) >= 3
    plane = own_model.encode(binary)
    for region in solid:
        blob = components == region.label
        depth = ndimage.distance_transform_edt(blob)
        middle = np.unravel_index(np.argmax(depth), depth.shape)
        assert iou(plane.predict(points=[middle]).best, blob) > 0.8, region.bbox
