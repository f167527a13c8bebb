"""Label files as they come back: with scale, units and how each object was made."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import FileFormatError, LabelsError
from napari_sam.io.image_file import PIXEL
from napari_sam.io.labels import RECORDS_TAG
from napari_sam.io.ome_zarr import read_ome_zarr
from napari_sam.io.units import full_name

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class LabelFile:
    """Labels read from a file.

    Parameters
    ----------
    data : integer array
        In memory, to be edited.
    axes : tuple of str
        Names of its axes; empty where unknown.
    scale, translate : tuple of float
        Size of a step and place of the first pixel, in ``units``.
    units : tuple of str
        One per axis.
    name : str
        File name without its suffix.
    records : dict
        Plain values of the object records; empty for other programs' files.
    """

    data: npt.NDArray[Any]
    axes: tuple[str, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]
    name: str
    records: dict[str, Any] = field(default_factory=dict)


def read_labels(path: Path) -> LabelFile:
    """Read labels from a TIFF or an OME-Zarr folder.

    Raises
    ------
    FileFormatError
        If it cannot be read.
    LabelsError
        If it holds no integers.
    """
    if path.is_dir():
        return _from_zarr(path)
    from napari_sam.io.images import read_image

    image = read_image(path)
    data = np.array(image.data)
    _check(data, path)
    n = data.ndim
    return LabelFile(
        data,
        tuple(image.axes.lower()) if "Q" not in image.axes else (),
        image.scale[:n],
        (0.0,) * n,
        image.units[:n],
        image.name,
        read_records(path),
    )


def read_records(path: Path) -> dict[str, Any]:
    """Return the object records in a label file; empty if it has none.

    Raises
    ------
    FileFormatError
        If the file cannot be read.
    """
    if path.is_dir():
        _, known = read_ome_zarr(path)
        return dict(known.get("records", {}))
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            kept = tif.pages[0].tags.valueof(RECORDS_TAG)
        if not isinstance(kept, bytes):
            return {}
        records = json.loads(zlib.decompress(kept))
    except Exception as error:
        raise FileFormatError(
            f"{path} holds no object records that can be read; the labels may be sound."
        ) from error
    return records if isinstance(records, dict) else {}


def has_records(path: Path) -> bool:
    """Whether a file is labels that this program wrote, without reading them."""
    try:
        return bool(read_records(path))
    except FileFormatError:
        return False


def _from_zarr(path: Path) -> LabelFile:
    data, known = read_ome_zarr(path)
    _check(data, path)
    n = data.ndim
    return LabelFile(
        data,
        tuple(known["axes"]) if len(known["axes"]) == n else (),
        _fitting(known.get("scale"), n, 1.0),
        _fitting(known.get("translate"), n, 0.0),
        tuple(full_name(u) for u in known["units"])
        if len(known["units"]) == n
        else (PIXEL,) * n,
        path.name.removesuffix(".zarr").removesuffix(".ome"),
        known.get("records", {}),
    )


def _fitting(values: Any, n: int, default: float) -> tuple[float, ...]:
    if values is None or len(values) != n:
        return (default,) * n
    return tuple(float(v) for v in values)


def _check(data: npt.NDArray[Any], path: Path) -> None:
    if data.dtype.kind not in "iu":
        raise LabelsError(
            f"{path} holds pixels of type {data.dtype}, which are no labels; open it as"
            " an image."
        )
