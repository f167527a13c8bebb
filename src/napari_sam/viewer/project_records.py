"""How the objects of a Labels layer were made, if that can be known.

Labels that were saved by any writer and read by any reader have lost their records.
Those are still in the file, if it is one of ours, or with the work that was kept on
the same image; pixels that are as they were written prove whose they are.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.core.annotation.project import SUFFIX
from napari_sam.core.annotation.records import ObjectRecords, digest_of
from napari_sam.core.annotation.transaction import RecordChange
from napari_sam.errors import SamError
from napari_sam.io.label_files import read_records
from napari_sam.io.project import is_project, open_folder
from napari_sam.io.recovery import state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.core.annotation.records import ObjectRecord
    from napari_sam.viewer.labels.target import LabelsTarget


def records_of_layer(target: LabelsTarget, digest: str) -> tuple[RecordChange, ...]:
    """Return the records of objects whose pixels are as they were written.

    Parameters
    ----------
    target : LabelsTarget
        Labels without records.
    digest : str
        Checksum of the image, to look among kept work; empty if not known yet.
    """
    for records in _known(target, digest):
        found = tuple(
            RecordChange(record.label, None, record)
            for record in records
            if _has_pixels(target, record)
        )
        if found:
            return found
    return ()


def _known(target: LabelsTarget, digest: str) -> Iterator[ObjectRecords]:
    ndim = target.layer.ndim
    path = target.layer.source.path
    if path:
        with suppress(SamError):
            yield ObjectRecords(read_records(Path(path)), ndim)
    if not digest:
        return
    try:
        folders = [p for p in state_folder().iterdir() if p.suffix == SUFFIX]
    except OSError:
        return
    newest = sorted(folders, key=lambda p: -_modified(p))[:50]
    for folder in newest:
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


def _has_pixels(target: LabelsTarget, record: ObjectRecord) -> bool:
    """Whether an object has the same pixels on each plane as when it was written."""
    if not record.masks:
        return False
    for mask in record.masks:
        try:
            found = target.mask_of(record.label, mask.plane)
        except IndexError:
            return False
        if found is None or digest_of(found) != mask.digest:
            return False
    return True


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
