"""Labels as OME-Zarr 0.5: chunks of a plane, of which only changed ones are written.

zarr does the format; the metadata of the image around it is a few lines, and so is
telling which chunks have changed: by their checksums, whoever changed them.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.journal import sync_folder
from napari_sam.errors import FileFormatError
from napari_sam.io.image_file import PIXEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

SUFFIXES = (".ome.zarr", ".zarr")
CHUNK = 512
"""Rows and columns of a chunk, which is one plane deep."""

_KEY = "napari_sam"
_NAMES = "tczyx"
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

Chunk = tuple[int, ...]


class LabelsArray:
    """Labels in a folder, in step with an array in memory chunk by chunk.

    Parameters
    ----------
    path : Path
        The ``.ome.zarr`` folder.
    shape : tuple of int
        Of the labels.
    dtype : dtype
        Of the labels.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        self.path = path
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype)
        lead = (1,) * (len(self.shape) - 2)
        self.chunk = lead + tuple(min(CHUNK, n) for n in self.shape[-2:])
        self._sums: dict[Chunk, bytes] = {}

    @property
    def exists(self) -> bool:
        """Whether the folder has been made."""
        return (self.path / "0" / "zarr.json").exists()

    def create(
        self,
        *,
        axes: Sequence[str] = (),
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: Sequence[str] = (),
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Make the folder with empty labels, in place of what is there."""
        import zarr

        group = zarr.open_group(self.path, mode="w", zarr_format=3)
        group.create_array(
            "0",
            shape=self.shape,
            dtype=self.dtype,
            chunks=self.chunk,
            fill_value=0,
            dimension_names=list(axis_names(len(self.shape), axes)),
        )
        group.attrs.update(
            {
                "ome": _multiscale(
                    self.path.name, len(self.shape), axes, scale, translate, units
                ),
                _KEY: extra or {},
            }
        )
        self._sums.clear()

    def read(self) -> npt.NDArray[Any]:
        """Return all labels; what cannot be read raises `FileFormatError`."""
        array = self._array("r")
        labels = np.zeros(self.shape, self.dtype)
        self._sums.clear()
        for chunk in self._stored():
            index = self._index(chunk)
            try:
                labels[index] = array[index]
            except Exception as error:
                raise FileFormatError(
                    f"{self._file(chunk)} is damaged ({error}); get it from a backup."
                ) from error
            self._sums[chunk] = _sum(labels[index])
        return labels

    def read_sound(self) -> tuple[npt.NDArray[Any], list[Path]]:
        """Return all labels that can be read, and the files that cannot."""
        array = self._array("r")
        labels = np.zeros(self.shape, self.dtype)
        damaged: list[Path] = []
        self._sums.clear()
        for chunk in self._stored():
            index = self._index(chunk)
            try:
                labels[index] = array[index]
            except Exception:  # noqa: BLE001 - codecs fail in ways of their own
                damaged.append(self._file(chunk))
                labels[index] = 0
                self._sums[chunk] = b""
                continue
            self._sums[chunk] = _sum(labels[index])
        return labels, damaged

    def changed(self, labels: Any) -> Iterator[tuple[Chunk, npt.NDArray[Any] | None]]:
        """Yield every chunk, with a copy of its labels if the folder has others.

        Only chunks in memory are compared, by checksums of what was read or written.
        """
        grid = [-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True)]
        for chunk in itertools.product(*map(range, grid)):
            block = np.array(labels[self._index(chunk)], self.dtype, order="C")
            known = self._sums.get(chunk)
            if known is None and not block.any():
                yield chunk, None
            else:
                yield chunk, None if known == _sum(block) else block

    def write(self, labels: Any) -> Iterator[int]:
        """Write the chunks that changed; yield 1 for each written, 0 for others.

        Each is on disk before the next is looked at.
        """
        array = self._array("r+")
        for chunk, block in self.changed(labels):
            if block is None:
                yield 0
                continue
            # An interrupted write leaves a chunk of which nothing is known.
            self._sums[chunk] = b""
            array[self._index(chunk)] = block
            self._sync(chunk)
            self._sums[chunk] = _sum(block)
            yield 1

    def start_of(self, chunk: Chunk) -> tuple[int, ...]:
        """Return the first array index of a chunk."""
        return tuple(i * c for i, c in zip(chunk, self.chunk, strict=True))

    @property
    def n_chunks(self) -> int:
        """Number of chunks, written or not."""
        return int(
            np.prod([-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True)])
        )

    def _array(self, mode: Any) -> Any:
        import zarr

        try:
            array = zarr.open_array(self.path / "0", mode=mode)
        except Exception as error:
            raise FileFormatError(
                f"{self.path} cannot be read as OME-Zarr ({_short(error)});"
                " get it from a backup."
            ) from error
        if array.shape != self.shape or array.dtype != self.dtype:
            raise FileFormatError(
                f"{self.path} holds labels of shape {array.shape} and type"
                f" {array.dtype} instead of {self.shape} and {self.dtype}."
            )
        return array

    def _index(self, chunk: Chunk) -> tuple[slice, ...]:
        return tuple(
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(chunk, self.chunk, self.shape, strict=True)
        )

    def _file(self, chunk: Chunk) -> Path:
        return self.path.joinpath("0", "c", *map(str, chunk))

    def _stored(self) -> Iterator[Chunk]:
        """Yield the chunks that have a file."""
        root = self.path / "0" / "c"
        n = len(self.shape)
        for folder, _, files in os.walk(root):
            for name in files:
                parts = Path(folder, name).relative_to(root).parts
                if len(parts) == n and all(p.isdecimal() for p in parts):
                    chunk = tuple(map(int, parts))
                    start = self.start_of(chunk)
                    if all(s < m for s, m in zip(start, self.shape, strict=True)):
                        yield chunk

    def _sync(self, chunk: Chunk) -> None:
        file = self._file(chunk)
        if not file.exists():
            return  # an empty chunk has none
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
        sync_folder(file.parent)


def read_ome_zarr(path: Path) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Return the labels of an OME-Zarr folder and what is known about them.

    The full resolution of a multiscale image is read, of this program or any other.

    Returns
    -------
    labels : array
    known : dict
        ``axes``, ``scale``, ``translate``, ``units`` and, of our own, ``records``.
    """
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        ome: Any = attributes.get("ome", attributes)
        image = ome["multiscales"][0]
        dataset = image["datasets"][0]
        labels = np.asarray(group[dataset["path"]])
    except Exception as error:
        raise FileFormatError(
            f"{path} cannot be read as OME-Zarr ({_short(error)}); choose a folder that"
            " holds an image."
        ) from error
    axes = [str(a["name"]) for a in image.get("axes", ())][-labels.ndim :]
    units = [str(a.get("unit", PIXEL)) for a in image.get("axes", ())][-labels.ndim :]
    known: dict[str, Any] = {"axes": axes, "units": units}
    for step in dataset.get("coordinateTransformations", ()):
        if step.get("type") == "scale":
            known["scale"] = [float(x) for x in step["scale"]]
        elif step.get("type") == "translation":
            known["translate"] = [float(x) for x in step["translation"]]
    ours: Any = attributes.get(_KEY)
    if isinstance(ours, dict) and ours:
        known["records"] = ours
    return labels, known


def write_ome_zarr(
    path: Path,
    labels: npt.NDArray[Any],
    *,
    axes: Sequence[str] = (),
    scale: Sequence[float] = (),
    translate: Sequence[float] = (),
    units: Sequence[str] = (),
    records: dict[str, Any] | None = None,
) -> None:
    """Write labels as a new OME-Zarr folder, with object records if there are any.

    Raises
    ------
    FileFormatError
        If the folder cannot be written.
    """
    if path.exists() and not (path / "zarr.json").exists():
        raise FileFormatError(f"{path} is there and no OME-Zarr; choose another name.")
    try:
        store = LabelsArray(path, labels.shape, labels.dtype)
        store.create(
            axes=axes, scale=scale, translate=translate, units=units, extra=records
        )
        for _ in store.write(labels):
            pass
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be written ({error.strerror or error}); free some space"
            " there or choose another place."
        ) from error


def axis_names(ndim: int, axes: Sequence[str] = ()) -> tuple[str, ...]:
    """Return distinct names of axes that OME-Zarr knows, given ones where they are."""
    given = [str(a).lower() for a in axes][-ndim:] if len(axes) >= ndim else []
    if len(set(given)) == ndim and all(a in _TYPES for a in given):
        return tuple(given)
    if ndim <= 3:
        return tuple("zyx"[-ndim:])
    if ndim <= len(_NAMES):
        return ("t", *(["c"] if ndim == 5 else []), "z", "y", "x")
    return (*(f"axis{i}" for i in range(ndim - 3)), "z", "y", "x")


def _multiscale(
    name: str,
    ndim: int,
    axes: Sequence[str],
    scale: Sequence[float],
    translate: Sequence[float],
    units: Sequence[str],
) -> dict[str, Any]:
    names = axis_names(ndim, axes)
    described = []
    for i, axis in enumerate(names):
        entry = {"name": axis}
        if axis in _TYPES:
            entry["type"] = _TYPES[axis]
        if len(units) == ndim and units[i] != PIXEL:
            entry["unit"] = str(units[i])
        described.append(entry)
    steps: list[dict[str, Any]] = [
        {"type": "scale", "scale": [float(x) for x in scale] or [1.0] * ndim}
    ]
    if len(translate) == ndim and any(translate):
        steps.append(
            {"type": "translation", "translation": [float(x) for x in translate]}
        )
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": described,
                "datasets": [{"path": "0", "coordinateTransformations": steps}],
            }
        ],
        "image-label": {"version": "0.5"},
    }


def _sum(block: npt.NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(block).data, digest_size=12).digest()


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return (text[:97] + "..." if len(text) > 100 else text).rstrip(".")
