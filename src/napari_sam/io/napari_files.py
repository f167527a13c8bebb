"""Labels and projects for napari's File menu: npe2's readers and writers.

Plain values only: napari makes the layers, so nothing here imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.records import METADATA_KEY
from napari_sam.errors import FileFormatError
from napari_sam.io.image_file import PIXEL, ImageFile
from napari_sam.io.label_files import read_labels
from napari_sam.io.labels import write_labels
from napari_sam.io.ome_zarr import SUFFIXES, write_ome_zarr
from napari_sam.io.project import is_project, open_folder
from napari_sam.io.units import full_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.io.label_files import LabelFile

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader of label files and projects; None for other files."""
    first = Path(path[0] if isinstance(path, list) else path)
    if first.is_dir():
        is_ours = is_project(first) or (
            first.name.lower().endswith(SUFFIXES) and (first / "zarr.json").exists()
        )
        return _read if is_ours else None
    if first.name.lower().endswith((".tif", ".tiff")):
        return _read
    return None


def _read(path: str | list[str]) -> list[LayerData]:
    paths = path if isinstance(path, list) else [path]
    return [layer for one in paths for layer in _layers(Path(one))]


def _layers(path: Path) -> list[LayerData]:
    if not is_project(path):
        return [_labels_layer(read_labels(path))]
    folder = open_folder(path)
    try:
        state, image = folder.read(), folder.file.image
    finally:
        # The dock opens it to be written; here its labels are a copy.
        folder.close(finished=False)
    arguments: dict[str, Any] = {
        "name": folder.file.labels.name,
        "metadata": {METADATA_KEY: state.records.to_json()},
    }
    for name in ("scale", "translate", "units"):
        if len(getattr(image, name)) == state.labels.ndim:
            arguments[name] = getattr(image, name)
    return [(state.labels, arguments, "labels")]


def _labels_layer(file: LabelFile) -> LayerData:
    arguments: dict[str, Any] = {
        "name": file.name,
        "scale": file.scale,
        "translate": file.translate,
        "units": file.units,
    }
    if file.axes:
        arguments["axis_labels"] = file.axes
    if file.records:
        arguments["metadata"] = {METADATA_KEY: file.records}
    return file.data, arguments, "labels"


def write_labels_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer as TIFF or OME-Zarr, with scale, units and records.

    Parameters
    ----------
    path : str
        Ends in ``.tif``, ``.tiff``, ``.zarr`` or ``.ome.zarr``; without an ending, as
        napari's dialog proposes it, the last is added.
    data : integer array
        The labels.
    meta : dict
        Of the layer, as napari gives it.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    FileFormatError, LabelsError
        If it cannot be.
    """
    labels = np.asarray(data)
    n = labels.ndim
    scale = _values(meta.get("scale"), n, 1.0)
    units = tuple(full_name(str(u)) for u in meta.get("units") or (PIXEL,) * n)
    axes = tuple(str(a) for a in meta.get("axis_labels") or ())
    records = (meta.get("metadata") or {}).get(METADATA_KEY)
    target = _named(path)
    if target.name.lower().endswith(SUFFIXES):
        write_ome_zarr(
            target,
            labels,
            axes=axes,
            scale=scale,
            translate=_values(meta.get("translate"), n, 0.0),
            units=units,
            records=records,
        )
    else:
        names = _letters(axes, n)
        like = ImageFile(labels, names, scale, units, target.stem)
        write_labels(target, labels, like, records=records)
    return [str(target)]


def _named(path: str) -> Path:
    """Return the path with an ending: the first of the manifest, as npe2 gives it."""
    target = Path(path)
    if target.suffix:
        return target
    named = target.with_name(f"{target.name}.ome.zarr")
    if named.exists():
        # Nobody has been asked whether to replace this one.
        raise FileFormatError(f"{named} is there already; choose another name.")
    return named


def _letters(axes: tuple[str, ...], n: int) -> str:
    """Return a letter per axis: of their names where these have one."""
    letters = "".join(a.upper() for a in axes)
    if len(letters) == n == len(set(letters)) and set(letters) <= set("TZCYX"):
        return letters
    if n > 5:
        raise FileFormatError(
            f"Labels of {n} axes do not fit a TIFF; save them as .ome.zarr."
        )
    return "TCZYX"[-n:]


def _values(values: Any, n: int, default: float) -> tuple[float, ...]:
    if values is None or len(values) != n:
        return (default,) * n
    return tuple(float(v) for v in values)
