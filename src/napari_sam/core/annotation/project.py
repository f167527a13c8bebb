"""What a project file says: which image, which labels, how far the saves have come."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_sam.errors import FileFormatError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam.core.planes import ArrayLike

SUFFIX = ".napari-sam"
VERSION = 1

_WHOLE = 32 << 20
"""Bytes of an image up to which all of it is hashed."""
_PLANES = 8
_BLOCKS = 4
_BLOCK = 128


class ImageIdentity(BaseModel):
    """Which image labels belong to, wherever its file may be.

    Attributes
    ----------
    name : str
        Of the layer.
    path, relative : str or None
        Where its file was, and the same from the project's folder.
    shape : tuple of int
        Of the array, with color channels if ``rgb``.
    dtype : str
        Of the array.
    rgb : bool
        Whether the last axis holds colors.
    digest : str
        Checksum of its pixels.
    sampled : bool
        Whether only parts were read for it, since the image is large.
    axes : tuple of str
        Names of the axes, without colors.
    scale, translate : tuple of float
        Size of a step and place of the first pixel, in ``units``.
    units : tuple of str
        One per axis.
    affine, rotate, shear : list or None
        The rest of the layer's transform, where it has one.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    path: str | None = None
    relative: str | None = None
    shape: tuple[int, ...]
    dtype: str
    rgb: bool = False
    digest: str
    sampled: bool = False
    axes: tuple[str, ...] = ()
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    affine: list[list[float]] | None = None
    rotate: list[list[float]] | None = None
    shear: list[float] | None = None


class LabelsInfo(BaseModel):
    """The labels array of a project."""

    model_config = ConfigDict(frozen=True)

    name: str = "labels"
    shape: tuple[int, ...]
    dtype: str


class ModelInfo(BaseModel):
    """The model that was in use."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    fingerprint: str = ""


class SavedProposals(BaseModel):
    """Proposals of one plane that wait to be decided, in a file of their own.

    ``offered`` says that they are decided one by one; ``confident`` that only those
    are shown which the model is sure of.
    """

    model_config = ConfigDict(frozen=True)

    file: str
    axes: tuple[int, int]
    index: tuple[int | None, ...]
    offered: bool = False
    confident: bool = False


class ProjectFile(BaseModel):
    """The content of ``project.json``.

    Attributes
    ----------
    sequence : int
        Number of the last transaction that labels and records on disk hold; later
        ones are in the journal.
    lineage : dict
        Plain values of which objects are daughters of which.
    has_base : bool
        Whether the labels as they were before the first transaction are on disk.
        False only where a session ended in its first seconds.
    saved : bool
        Whether the user saved it; False for what was kept for a crash.
    """

    format: Literal["napari-sam project"] = "napari-sam project"
    version: int = VERSION
    program: str = ""
    id: str
    created: str = ""
    modified: str = ""
    saved: bool = False
    image: ImageIdentity
    labels: LabelsInfo
    model: ModelInfo = Field(default_factory=ModelInfo)
    settings: dict[str, Any] = Field(default_factory=dict)
    proposals: tuple[SavedProposals, ...] = ()
    sequence: int = 0
    next_label: int = 1
    lineage: dict[str, Any] = Field(default_factory=dict)
    has_base: bool = True


def parse_project(text: str | bytes, path: Path) -> ProjectFile:
    """Return what a project file says.

    Raises
    ------
    FileFormatError
        If it is damaged, or of a version that is not known yet.
    """
    try:
        head = _Head.model_validate_json(text)
    except ValidationError as error:
        raise FileFormatError(
            f"{path} is damaged ({_first(error)}); get it from a backup."
        ) from error
    if head.version > VERSION:
        raise FileFormatError(
            f"{path} was written by a newer napari-sam (project version"
            f" {head.version}, known is {VERSION}); update napari-sam."
        )
    try:
        return ProjectFile.model_validate_json(text)
    except ValidationError as error:
        raise FileFormatError(
            f"{path} is damaged ({_first(error)}); get it from a backup."
        ) from error


class _Head(BaseModel):
    format: Literal["napari-sam project"]
    version: int


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(x) for x in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def image_digest(data: ArrayLike, *, rgb: bool = False) -> tuple[str, bool]:
    """Return a checksum of an image's pixels, and whether only parts were read.

    Above 32 MiB, blocks of 128 × 128 on a lattice of at most eight planes are
    read, so that images larger than memory can be told apart too.

    Parameters
    ----------
    data : array-like
        numpy, dask, zarr or an open TIFF stack.
    rgb : bool
        Whether the last axis holds colors.
    """
    shape = tuple(int(n) for n in data.shape)
    dtype = np.dtype(getattr(data, "dtype", np.uint8))
    hasher = hashlib.blake2b(digest_size=16)
    hasher.update(repr((shape, dtype.newbyteorder("<").str, bool(rgb))).encode())
    is_whole = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize <= _WHOLE
    n = len(shape) - 2 - bool(rgb)
    lead = shape[:n]
    count = int(np.prod(lead, dtype=np.int64))
    numbers = range(count) if is_whole else _spread(count, _PLANES)
    for number in numbers:
        index = tuple(int(i) for i in np.unravel_index(number, lead)) if lead else ()
        if is_whole:
            _update(hasher, data[index] if index else data[...], dtype)
            continue
        height, width = shape[n], shape[n + 1]
        for row in _spread(max(1, height - _BLOCK + 1), _BLOCKS):
            for column in _spread(max(1, width - _BLOCK + 1), _BLOCKS):
                block = (
                    slice(row, row + _BLOCK),
                    slice(column, column + _BLOCK),
                )
                _update(hasher, data[(*index, *block)], dtype)
    return hasher.hexdigest(), not is_whole


def _spread(n: int, most: int) -> list[int]:
    return sorted({int(x) for x in np.linspace(0, n - 1, min(n, most))})


def _update(hasher: Any, block: Any, dtype: np.dtype[Any]) -> None:
    pixels: npt.NDArray[Any] = np.asarray(block)
    hasher.update(
        np.ascontiguousarray(pixels.astype(dtype.newbyteorder("<"), copy=False)).data
    )
