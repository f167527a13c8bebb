"""The projects that were open last, for a menu."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from napari_sam.core.atomic import write_text
from napari_sam.errors import SamError
from napari_sam.io.project import is_project
from napari_sam.io.recovery import state_folder

_MOST = 10


def recent_projects() -> list[Path]:
    """Return the projects that are still there, the last one first."""
    try:
        stored = json.loads(_file().read_text(encoding="utf-8"))
        paths = [Path(str(x)) for x in stored]
    except (OSError, ValueError, TypeError):
        return []
    return [p for p in paths if is_project(p)]


def remember_project(path: Path) -> None:
    """Put a project at the head of the list; a disk that refuses is no matter."""
    path = path.resolve()
    paths = [path, *(p for p in recent_projects() if p != path)][:_MOST]
    with suppress(OSError, SamError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_text(_file(), json.dumps([str(p) for p in paths]))


def _file() -> Path:
    return state_folder().parent / "recent.json"
