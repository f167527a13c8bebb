"""A picture of a label image over its plane, to look at the result."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam.core.atomic import replacing
from napari_sam.errors import FileFormatError, LabelsError

if TYPE_CHECKING:
    import os

    from napari_sam.types import RGBArray

_SUFFIXES = (".png", ".jpg", ".jpeg")
_GOLDEN = 0.6180339887498949
_OPACITY = 0.35


def write_preview(
    path: str | os.PathLike[str], rgb: RGBArray, labels: npt.ArrayLike
) -> None:
    """Write a picture of labels over their image, tinted and outlined.

    Parameters
    ----------
    path : path
        Where to; ends in ``.png`` or ``.jpg``.
    rgb : uint8 array (H, W, 3)
        The image.
    labels : int array (H, W)
        0 is background.

    Raises
    ------
    LabelsError
        If the labels are not integers or do not fit the image.
    FileFormatError
        If the name is of another type, or the file cannot be written.
    """
    import imageio.v3 as iio

    target = Path(path)
    check_preview_name(target)
    array = np.asarray(labels)
    if array.shape != np.shape(rgb)[:2] or array.dtype.kind not in "biu":
        raise LabelsError(
            f"Labels of shape {array.shape} and type {array.dtype} do not fit a picture"
            f" of shape {np.shape(rgb)}; pass whole numbers of its rows and columns."
        )
    picture = overlay(rgb, array)
    with replacing(target) as aside:
        iio.imwrite(aside, picture)


def check_preview_name(path: Path) -> None:
    """Raise `FileFormatError` unless a path can name a picture."""
    if path.suffix.lower() not in _SUFFIXES:
        raise FileFormatError(
            f"A preview is written as PNG or JPEG, not as"
            f" {path.suffix or 'a nameless type'!r}; choose a name such as"
            f" {path.stem or 'preview'}.png."
        )


def overlay(rgb: RGBArray, labels: npt.NDArray[Any]) -> RGBArray:
    """Return the image with every object tinted in a color and outlined in it.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3)
        The image.
    labels : int array (H, W)
        0 is background.

    Returns
    -------
    uint8 array (H, W, 3)
        Neighboring ids differ in hue; pixels of background are unchanged.
    """
    ids, inverse = np.unique(labels, return_inverse=True)
    # The golden ratio spreads any number of hues evenly.
    colors = np.array(
        [colorsys.hsv_to_rgb(int(i) * _GOLDEN % 1.0, 0.9, 1.0) for i in ids]
    ) * np.float32(255)
    tint = colors.astype(np.float32)[inverse.reshape(labels.shape)]
    weight = np.full(labels.shape, _OPACITY, np.float32)
    weight[_is_outline(labels)] = 1.0
    weight[labels == 0] = 0.0
    mixed = rgb + (tint - rgb) * weight[..., None]
    return (mixed + np.float32(0.5)).astype(np.uint8)


def _is_outline(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where a pixel has a 4-neighbor of another label."""
    outline = np.zeros(labels.shape, bool)
    rows = labels[1:] != labels[:-1]
    columns = labels[:, 1:] != labels[:, :-1]
    outline[1:] |= rows
    outline[:-1] |= rows
    outline[:, 1:] |= columns
    outline[:, :-1] |= columns
    return outline
