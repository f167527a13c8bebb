"""Write files so that a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file to write to, which takes the place of ``path`` at the end.

    It lies in the same folder and has the same suffixes.  If the block raises
    it is removed; if the process is killed it stays, hidden, and ``path`` is as
    it was.

    Raises
    ------
    FileFormatError
        If the folder is missing, is not writable or is full.
    """
    target = Path(path)
    if target.is_dir():
        raise FileFormatError(f"{target} is a folder; give the name of a file.")
    try:
        handle, name = tempfile.mkstemp(
            prefix=".", suffix=f"-{target.name}", dir=target.parent
        )
        os.close(handle)
    except OSError as error:
        raise _unwritable(target, error) from error
    aside = Path(name)
    try:
        yield aside
        _with_usual_permissions(aside)
        os.replace(aside, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        aside.unlink(missing_ok=True)


def _with_usual_permissions(file: Path) -> None:
    """Undo the privacy of a temporary file, as the user's umask has it."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod(0o666 & ~mask)


def _unwritable(target: Path, error: OSError) -> FileFormatError:
    return FileFormatError(
        f"{target} cannot be written ({error.strerror or error});"
        " free some space there or choose another place."
    )
