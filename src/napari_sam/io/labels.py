"""Write label images as TIFF, with the axes and the scale of their image."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam.core.atomic import replacing
from napari_sam.errors import FileFormatError, LabelsError
from napari_sam.io.image_file import PIXEL, ImageFile
from napari_sam.io.units import (
    converted,
    full_name,
    is_known,
    ome_symbol,
    usual_length,
)

if TYPE_CHECKING:
    import os

RECORDS_TAG = 65306
"""Number of the private TIFF tag with object records, JSON packed by zlib."""

_SUFFIXES = (".tif", ".tiff")
_DEFAULT_AXES = "TCZYX"
_IMAGEJ_ORDER = "TZCYX"
# Pixel sizes that a fraction of two 32-bit numbers holds with six digits.
_SMALLEST, _LARGEST = 1e-4, 1e5
_Size = dict[str, tuple[float, str]]


def write_labels(
    path: str | os.PathLike[str],
    labels: npt.ArrayLike,
    like: ImageFile | None = None,
    *,
    records: dict[str, Any] | None = None,
) -> None:
    """Write a label image as a compressed TIFF.

    An ImageJ hyperstack where that can say everything, as Fiji and napari open
    it with axes and scale; OME-TIFF where it cannot (more than 65,535 labels,
    other axes or mixed units) or if the name ends in ``.ome.tif``.  Readers drop
    axes of length one.

    The file is complete or is not there: it is written aside and renamed.

    Parameters
    ----------
    path : path
        Where to; ends in ``.tif`` or ``.tiff``.
    labels : int array (..., H, W)
        0 is background.  Written as uint16, or as uint32 if an id needs it.
    like : ImageFile, optional
        The image they belong to, whose axes, scale and units are taken over;
        lengths such as 2e-10 m in a unit in which they are usual numbers.
        Labels of fewer axes are a plane or a sub-stack of its last ones.
    records : dict, optional
        How the objects were made, as ``ObjectRecords.to_json`` gives it; kept in a
        private tag of the file, which other programs pass over.

    Raises
    ------
    LabelsError
        If the labels are not integers, negative, too large for uint32, of fewer
        than two axes, or do not fit ``like``; if its scale is not positive or
        its unit cannot be expressed.
    FileFormatError
        If the name is not a TIFF's, or the file cannot be written.
    """
    if like is not None and not isinstance(like, ImageFile):
        raise TypeError(
            f"labels are written like an ImageFile, not like {type(like).__name__}"
        )
    target = Path(path)
    check_tiff_name(target)
    array = _checked(np.asarray(labels))
    axes, sizes = _axes(array, like)
    is_imagej = (
        not target.name.lower().endswith((".ome.tif", ".ome.tiff"))
        and array.dtype == np.uint16
        and array.shape[-1] > 1  # tifffile 2026.3 cannot read those back
        and _fits_imagej(axes, sizes)
    )
    arguments = _imagej(axes, sizes) if is_imagej else _ome(axes, sizes)
    if records and (records.get("objects") or records.get("lineage")):
        kept = zlib.compress(json.dumps(records).encode())
        arguments["extratags"] = [(RECORDS_TAG, 7, len(kept), kept, True)]
    import tifffile

    with replacing(target) as aside:
        tifffile.imwrite(
            aside,
            array,
            photometric="minisblack",
            compression="zlib",
            maxworkers=1,
            **arguments,
        )


def check_tiff_name(path: Path) -> None:
    """Raise `FileFormatError` unless a path can name a TIFF file."""
    if path.suffix.lower() not in _SUFFIXES:
        raise FileFormatError(
            f"Labels are written as TIFF, not as {path.suffix or 'a nameless type'!r};"
            f" choose a name such as {path.stem or 'labels'}.tif."
        )


def _checked(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise LabelsError(
            f"Labels of type {labels.dtype} are not integers; convert them first."
        )
    if labels.ndim < 2 or labels.size == 0:
        raise LabelsError(
            f"Labels of shape {labels.shape} are not an image; pass (rows, columns)"
            " or a stack of such."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise LabelsError(
            f"Labels from {low} to {high} do not fit uint32; renumber them from 0."
        )
    fits = high <= np.iinfo(np.uint16).max
    return labels.astype(np.uint16 if fits else np.uint32, copy=False)


def _axes(labels: npt.NDArray[Any], like: ImageFile | None) -> tuple[str, _Size]:
    n = labels.ndim
    if like is None:
        if n > len(_DEFAULT_AXES):
            raise LabelsError(
                f"Labels of shape {labels.shape} have {n} axes, of which TIFF can name"
                f" {len(_DEFAULT_AXES)}; write sub-stacks."
            )
        return _named(_DEFAULT_AXES[-n:]), {}
    if n > len(like.shape) or labels.shape != like.shape[-n:]:
        raise LabelsError(
            f"Labels of shape {labels.shape} do not fit the image {like.name!r} of"
            f" shape {like.shape}; write them without it."
        )
    axes = like.label_axes[-n:]
    for step, unit in zip(like.scale, like.units, strict=True):
        if not (math.isfinite(step) and step > 0):
            raise LabelsError(
                f"The image {like.name!r} has the scale {like.scale}, of which {step}"
                " is no size of a pixel; correct it, or write the labels without it."
            )
        if not is_known(unit):
            raise LabelsError(
                f"The image {like.name!r} is measured in {unit!r}, which TIFF cannot"
                " express; convert it to micrometer, or write the labels without it."
            )
    named = _named(axes)
    known = zip(named, like.scale[-n:], like.units[-n:], strict=True)
    sizes = {a: (s, full_name(u)) for a, s, u in known if (s, u) != (1.0, PIXEL)}
    return named, _in_usual_units(sizes)


def _in_usual_units(sizes: _Size) -> _Size:
    """Return sizes with lengths beyond what ImageJ's fractions hold converted."""
    lengths = {a: size for a, size in sizes.items() if a in "XYZ"}
    if all(_SMALLEST <= step <= _LARGEST for step, _ in lengths.values()):
        return sizes
    is_one_unit = len({unit for _, unit in lengths.values()}) == 1
    finest = usual_length(*min(lengths.values()))
    for axis, (step, unit) in lengths.items():
        to = finest if is_one_unit else usual_length(step, unit)
        if to != unit:
            sizes[axis] = (converted(step, unit, to), to)
    return sizes


def _named(axes: str) -> str:
    """Give axes without a meaning one that files can express."""
    free = [a for a in "ZTC" if a not in axes]
    named = ""
    for a in axes:
        if a not in _IMAGEJ_ORDER or a in named:
            if not free:
                raise LabelsError(
                    f"TIFF cannot express the axes {axes} of labels; write sub-stacks."
                )
            a = free.pop(0)
        named += a
    return named


def _fits_imagej(axes: str, sizes: _Size) -> bool:
    in_order = [_IMAGEJ_ORDER.index(a) for a in axes]
    if in_order != sorted(in_order) or sizes.get("T", (1, "second"))[1] != "second":
        return False
    lengths = [step for a, (step, _) in sizes.items() if a in "XY"]
    if not all(_SMALLEST <= step <= _LARGEST for step in lengths):
        return False
    spatial = {a: u for a, (_, u) in sizes.items() if a in "XYZ"}
    if not spatial:
        return True
    # One unit for all, and no file with a spacing along z but no pixel size.
    is_complete = {"X", "Y"} <= spatial.keys() and ("Z" in spatial or "Z" not in axes)
    return is_complete and len(set(spatial.values())) == 1


def _imagej(axes: str, sizes: _Size) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": axes, "mode": "grayscale"}
    arguments: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if "X" in sizes and "Y" in sizes:
        arguments["resolution"] = (1 / sizes["X"][0], 1 / sizes["Y"][0])
        metadata["unit"] = {"micrometer": "um"}.get(sizes["X"][1], sizes["X"][1])
    if "Z" in sizes:
        metadata["spacing"] = sizes["Z"][0]
    if "T" in sizes:
        metadata["finterval"] = sizes["T"][0]
    return arguments


def _ome(axes: str, sizes: _Size) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": axes}
    for a, (step, unit) in sizes.items():
        name = "TimeIncrement" if a == "T" else f"PhysicalSize{a}"
        if a in "XYZT":
            metadata[name] = step
            metadata[f"{name}Unit"] = ome_symbol(unit) or PIXEL
    return {"ome": True, "metadata": metadata}
