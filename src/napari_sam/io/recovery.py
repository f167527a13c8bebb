"""Work that was not saved: projects in the user's state folder."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_sam.core.annotation.journal import segments
from napari_sam.core.annotation.project import SUFFIX
from napari_sam.errors import FileFormatError
from napari_sam.io.file_lock import FileLock
from napari_sam.io.project import CLOSED, NOT_OFFERED, is_project, open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.io.project import ProjectFolder

BUDGET = 2 << 30
"""Bytes of finished work that are kept; what ended in a crash is never swept."""
KEPT_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """Unsaved work of a session that has ended.

    Parameters
    ----------
    path : Path
        Its project folder.
    image : str
        Name of the image.
    digest : str
        Checksum of the image's pixels.
    modified : float
        When it was last written, in seconds since 1970.
    is_finished : bool
        Whether its session ended as usual, rather than in a crash.
    is_offered : bool
        Whether who opens the image again is to be asked about it.
    """

    path: Path
    image: str
    digest: str
    modified: float
    is_finished: bool
    is_offered: bool


def state_folder() -> Path:
    """Return where unsaved work is kept.

    ``journals`` in the folder that ``NAPARI_SAM_STATE_DIR`` names, else in the
    user's state folder.
    """
    root = os.environ.get("NAPARI_SAM_STATE_DIR")
    if root:
        return Path(root) / "journals"
    return platformdirs.user_state_path("napari-sam", appauthor=False) / "journals"


def new_recovery_path() -> Path:
    """Return a folder for the unsaved work of a session; it is not made."""
    return state_folder() / f"{uuid.uuid4().hex[:16]}{SUFFIX}"


def recoveries(digest: str | None = None) -> list[Recovery]:
    """Return the unsaved work of sessions that have ended, the newest first.

    Parameters
    ----------
    digest : str, optional
        Only of the image with this checksum.
    """
    found = [one for one in _dead() if digest is None or one.digest == digest]
    return sorted(found, key=lambda one: -one.modified)


def discard(path: Path) -> None:
    """Delete unsaved work, unless a running session has it."""
    lock = FileLock(path / "lock")
    with suppress(OSError):
        if lock.acquire():
            lock.release()
            shutil.rmtree(path, ignore_errors=True)


def settle(path: Path) -> None:
    """Offer unsaved work no more, since it is saved elsewhere; it is kept a while."""
    with suppress(FileFormatError):
        open_folder(path).close(finished=True, offered=False)


def sweep(budget: int = BUDGET, kept_s: float = KEPT_S) -> None:
    """Delete finished work that is old or too much; never that of a crash."""
    now, total = time.time(), 0
    for one in recoveries():
        if not one.is_finished:
            continue
        total += _size(one.path)
        if total > budget or now - one.modified > kept_s:
            discard(one.path)


def let_go(folder: ProjectFolder, *, finished: bool, offered: bool) -> None:
    """Close a folder; of what is kept for a limited time, remove what is too old.

    Parameters are those of `ProjectFolder.close`.
    """
    is_unsaved = not folder.file.saved
    folder.close(finished=finished, offered=offered)
    if is_unsaved:
        with suppress(OSError):
            sweep()


def _dead() -> Iterator[Recovery]:
    try:
        paths = [p for p in state_folder().iterdir() if p.suffix == SUFFIX]
    except OSError:
        return
    for path in paths:
        if not is_project(path):
            continue
        try:
            folder = open_folder(path)
        except FileFormatError:
            continue
        try:
            if folder.is_read_only:
                continue
            image = folder.file.image
            yield Recovery(
                path,
                image.name,
                image.digest,
                _modified(path),
                *_ending(path),
            )
        finally:
            folder.close(finished=False)


def _ending(path: Path) -> tuple[bool, bool]:
    """Return whether the session ended as usual, and whether the work is offered."""
    try:
        text = (path / CLOSED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False, True
    except (OSError, ValueError):
        return True, True
    return True, text.strip() != NOT_OFFERED


def _modified(path: Path) -> float:
    files = [path / "project.json", *(p for _, p in segments(path / "journal"))]
    times = [0.0]
    for file in files:
        with suppress(OSError):
            times.append(file.stat().st_mtime)
    return max(times)


def _size(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total
