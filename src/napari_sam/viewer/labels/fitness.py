"""Whether a Labels layer can take masks of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import LabelsError, LabelsPlaceError
from napari_sam.viewer.coords import layer_shape, unit_factors

if TYPE_CHECKING:
    from napari.layers import Image, Labels


def check_labels(layer: Labels, image: Image) -> None:
    """Raise unless a Labels layer can take masks of an image.

    Raises
    ------
    LabelsError
        One sentence naming the layer, what is wrong and what to do.
    """
    name = layer.name
    if layer.multiscale:
        raise LabelsError(
            f"Labels layer '{name}' is a pyramid, which napari cannot edit; "
            "choose a single-scale Labels layer or press New."
        )
    if layer_shape(layer) != layer_shape(image):
        raise LabelsError(
            f"Labels layer '{name}' has shape {layer_shape(layer)} but image "
            f"'{image.name}' has {layer_shape(image)}; choose a Labels layer of "
            "the same shape or press New."
        )
    if not lie_alike(layer, image):
        raise LabelsPlaceError(
            f"Labels layer '{name}' has another scale or position than image "
            f"'{image.name}'; put it where the image is or press New."
        )
    check_editable(layer)
    problem = probe(layer.data)
    if problem:
        raise LabelsError(
            f"Labels layer '{name}' holds a {type(layer.data).__name__} that "
            f"{problem}; copy it into memory (a new Labels layer of its numpy array) "
            "or press New."
        )


def check_editable(layer: Labels) -> None:
    """Raise if the user has locked the layer.

    Raises
    ------
    LabelsError
        One sentence.
    """
    if not layer.editable:
        raise LabelsError(
            f"Labels layer '{layer.name}' is locked (editable is False); unlock it, "
            "choose another Labels layer or press New."
        )


def probe(data: Any) -> str:
    """Return why an array cannot be written the way napari writes; empty if it can.

    Two pixels at opposite corners are written, read back and restored.  Knowing types
    would not do: an xarray takes index arrays for an outer product, a dask array
    refuses them, and any of them may be read-only.
    """
    if 0 in data.shape:
        return ""
    corners = tuple(np.array([0, n - 1]) for n in data.shape)
    try:
        # A view reaches as far as the whole array; one that copies is found out.
        before = np.asarray(data[corners])
        if before.shape != (2,):
            return "indexes in another way than numpy arrays"
        trial = np.where(before == 1, 2, 1).astype(before.dtype)
        try:
            data[corners] = trial
            kept = np.array_equal(np.asarray(data[corners]), trial)
        finally:
            # Written one after the other: the two may be one pixel.
            data[corners] = before
        restored = np.array_equal(np.asarray(data[corners]), before)
    except Exception:  # noqa: BLE001 - any array library, any reason
        return "cannot be written to"
    return "" if kept and restored else "does not keep what is written"


def lie_alike(layer: Labels, image: Image) -> bool:
    """Whether both layers have each pixel at the same place of the world."""
    shape = layer_shape(image)
    tolerance = 1e-3 * float(np.min(np.abs(layer.scale)))
    # The origin and the far end of each axis settle an affine transform.
    corners = [np.zeros(image.ndim), *np.diag(np.asarray(shape, dtype=float))]
    return all(
        np.allclose(
            layer.data_to_world(corner),
            np.asarray(image.data_to_world(corner)) * unit_factors(image.units, layer),
            atol=tolerance,
        )
        for corner in corners
    )
