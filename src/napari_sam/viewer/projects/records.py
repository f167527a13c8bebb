"""How the objects of a Labels layer were made, if that can be known.

Labels that were saved by any writer and read by any reader have lost their records.
Those are still in the file, if it is one of ours, or with the work that was kept on
the same image; pixels that are as they were written prove whose they are.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import find_objects

from napari_sam.core.annotation.project import SUFFIX
from napari_sam.core.annotation.records import ObjectRecords, digest_of
from napari_sam.errors import SamError
from napari_sam.io.label_files import read_records
from napari_sam.io.project import is_project, open_folder
from napari_sam.io.recent import recent_projects
from napari_sam.io.recovery import state_folder
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from napari_sam.core.annotation.records import ObjectRecord
    from napari_sam.types import Plane


def find_records(
    labels: Any, path: str | None, digest: str
) -> Generator[None, None, tuple[ObjectRecord, ...]]:
    """Return the records of objects whose pixels are as they were written.

    A job for the worker: it yields between planes and touches no layer.

    Parameters
    ----------
    labels : integer array
        Labels without records.
    path : str or None
        The file that they came from.
    digest : str
        Checksum of the image, to look among kept work; empty if not known yet.
    """
    for records in _known(labels.ndim, path, digest):
        found = yield from _with_pixels(labels, records)
        if found:
            return found
    return ()


def find_held(labels: Any, paths: Sequence[Path]) -> Generator[None, None, Path | None]:
    """Return which unsaved work is just these labels; None if it is none.

    Labels that were saved to a file and read again are the work that is offered: who
    has them has nothing to restore.  A job for the worker.

    Parameters
    ----------
    labels : integer array
        Of a layer; not looked at unless they are in memory.
    paths : sequence of Path
        Folders of unsaved work.
    """
    if not isinstance(labels, np.ndarray):
        return None
    for path in paths:
        yield
        with suppress(SamError):
            folder = open_folder(path)
            try:
                # napari's reader gives another type than was saved.
                if folder.file.labels.shape == labels.shape and np.array_equal(
                    folder.read().labels, labels
                ):
                    return path
            finally:
                folder.close(finished=False)
    return None


def _with_pixels(
    labels: Any, records: ObjectRecords
) -> Generator[None, None, tuple[ObjectRecord, ...]]:
    """Return the records whose objects have the same pixels on all their planes."""
    wanted: dict[Plane, list[tuple[int, str]]] = {}
    for record in records:
        for mask in record.masks:
            wanted.setdefault(mask.plane, []).append((record.label, mask.digest))
    changed: set[int] = set()
    for plane, masks in wanted.items():
        yield
        numbers = np.array(sorted({label for label, _ in masks}))
        try:
            pixels = np.asarray(labels[plane.slicer])
        except IndexError:
            changed |= set(numbers.tolist())
            continue
        pixels = pixels.T if plane.is_transposed else pixels
        # Numbers from 1 on, whatever the labels are, so that a list holds them.
        at = np.searchsorted(numbers, pixels).clip(max=numbers.size - 1)
        compact = np.where(numbers[at] == pixels, at + 1, 0)
        boxes = find_objects(compact, max_label=numbers.size)
        for label, digest in masks:
            number = int(np.searchsorted(numbers, label))
            box = boxes[number]
            if box is None or _digest(compact, number + 1, box) != digest:
                changed.add(label)
    return tuple(r for r in records if r.masks and r.label not in changed)


def _digest(compact: Any, number: int, box: tuple[slice, slice]) -> str:
    rows, columns = box
    region = Region(rows.start, columns.start, rows.stop, columns.stop)
    return digest_of(MaskCrop(compact[box] == number, region))


def _known(ndim: int, path: str | None, digest: str) -> Iterator[ObjectRecords]:
    if path:
        with suppress(SamError):
            yield ObjectRecords(read_records(Path(path)), ndim)
    if not digest:
        return
    try:
        folders = [p for p in state_folder().iterdir() if p.suffix == SUFFIX]
    except OSError:
        folders = []
    newest = sorted(folders, key=lambda p: -_modified(p))[:50]
    for folder in (*newest, *recent_projects()):
        if not is_project(folder):
            continue
        with suppress(SamError):
            # Also of a window that is still open: nothing is changed there.
            kept = open_folder(folder)
            try:
                if kept.file.image.digest == digest:
                    yield kept.read_records()
            finally:
                kept.close(finished=False)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
