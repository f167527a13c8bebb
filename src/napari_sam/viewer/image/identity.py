"""Which image a project belongs to, as a layer of the viewer and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_sam.core.annotation.project import ImageIdentity, image_digest
from napari_sam.errors import ImageError
from napari_sam.io.image_file import PIXEL
from napari_sam.io.project_image import find_image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer

    from napari_sam.io.project import ProjectFolder


def describe(layer: Image) -> ImageIdentity:
    """Return what is known about an image layer, but for its pixels."""
    data = pixels_of(layer)
    n = layer.ndim
    path = layer.source.path
    affine = np.asarray(layer.affine.affine_matrix)
    rotate, shear = np.asarray(layer.rotate), np.asarray(layer.shear)
    return ImageIdentity(
        name=layer.name,
        path=str(Path(path).resolve()) if path and Path(path).exists() else None,
        shape=tuple(int(x) for x in data.shape),
        dtype=np.dtype(data.dtype).str,
        rgb=bool(layer.rgb),
        digest="",
        axes=tuple(str(a) for a in layer.axis_labels),
        scale=tuple(float(x) for x in layer.scale),
        translate=tuple(float(x) for x in layer.translate),
        units=tuple(str(u) for u in layer.units),
        affine=None if np.allclose(affine, np.eye(n + 1)) else affine.tolist(),
        rotate=None if np.allclose(rotate, np.eye(n)) else rotate.tolist(),
        shear=shear.tolist() if shear.any() else None,
    )


def image_of(
    folder: ProjectFolder, image: str | Path | Image | None, layers: Iterable[Layer]
) -> Image:
    """Return a layer with the project's image, from a viewer's layers or a file.

    Raises
    ------
    ImageError
        If it is not there, or the one given is another one.
    """
    identity = folder.file.image
    if isinstance(image, Image):
        _check(identity, image)
        return image
    if image is None:
        for layer in layers:
            if isinstance(layer, Image) and _is_image(identity, layer):
                return layer
    moved = (
        identity
        if image is None
        else identity.model_copy(update={"path": str(image), "relative": None})
    )
    data = find_image(moved, folder.path)
    return Image(
        data,
        name=identity.name,
        rgb=identity.rgb,
        **_transform(identity),
    )


def _transform(identity: ImageIdentity) -> dict[str, Any]:
    """Return the arguments that put a layer where the project's image was."""
    found: dict[str, Any] = {
        "scale": identity.scale,
        "translate": identity.translate,
        "units": identity.units or (PIXEL,) * len(identity.scale),
        "axis_labels": identity.axes,
    }
    for name in ("affine", "rotate", "shear"):
        value = getattr(identity, name)
        if value is not None:
            found[name] = np.asarray(value)
    return {k: v for k, v in found.items() if len(v)}


def pixels_of(layer: Image) -> Any:
    """Return an image layer's array, of a pyramid the finest."""
    return layer.data[0] if layer.multiscale else layer.data


def _is_image(identity: ImageIdentity, layer: Image) -> bool:
    data = pixels_of(layer)
    return (
        tuple(data.shape) == identity.shape
        and bool(layer.rgb) == identity.rgb
        and image_digest(data, rgb=identity.rgb)[0] == identity.digest
    )


def _check(identity: ImageIdentity, layer: Image) -> None:
    if identity.digest and not _is_image(identity, layer):
        raise ImageError(
            f"Image '{layer.name}' has other pixels than the project's image"
            f" '{identity.name}'; choose the right one."
        )
