"""The image of a project: where its file is, and whether it is the right one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.core.annotation.project import image_digest
from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io.images import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.core.annotation.project import ImageIdentity
    from napari_sam.core.planes import ArrayLike


def find_image(identity: ImageIdentity, folder: Path) -> ArrayLike:
    """Return the pixels of an image from its file, checked.

    Raises
    ------
    ImageError
        If the file is not where it was, or holds other pixels.
    """
    for path in _places(identity, folder):
        if path.is_file():
            try:
                data = read_image(path).data
            except FileFormatError as error:
                raise ImageError(str(error)) from error
            check_image(identity, data, path)
            return data
    why = f"is not at {identity.path}" if identity.path else "came from no file"
    raise ImageError(
        f"The image '{identity.name}' of the project {why}; choose it where it is now."
    )


def check_image(
    identity: ImageIdentity, data: ArrayLike, path: Path | None = None
) -> None:
    """Raise `ImageError` unless an array has the pixels of a project's image."""
    name = str(path) if path is not None else "The image given"
    if tuple(data.shape) != identity.shape:
        raise ImageError(
            f"{name} has shape {tuple(data.shape)} but the project's image"
            f" '{identity.name}' has {identity.shape}; choose the right one."
        )
    if image_digest(data, rgb=identity.rgb)[0] != identity.digest:
        raise ImageError(
            f"{name} has other pixels than the project's image '{identity.name}';"
            " choose the right one."
        )


def _places(identity: ImageIdentity, folder: Path) -> Iterator[Path]:
    if identity.relative is not None:
        yield folder / identity.relative
    if identity.path is not None:
        yield Path(identity.path)
