"""What is proven about output files before the work that fills them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_sam.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def check_outputs(
    outputs: Iterable[Path | None],
    *,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Refuse before the work what could not, or should not, be written after it.

    Parameters
    ----------
    outputs : iterable of path or None
        The files to be written.
    inputs : iterable of path
        Files that are read and so never written.
    overwrite : bool
        Whether the user wants existing files replaced.

    Raises
    ------
    FileFormatError
        If a folder is missing or not writable, a name is not a file's, two are
        one file, or a file is there already.
    """
    from napari_sam.core.atomic import check_writable

    seen: list[str] = []
    for path in outputs:
        if path is None:
            continue
        if not os.path.isdir(path.absolute().parent):
            raise FileFormatError(f"There is no folder {path.parent}; make it first.")
        real = os.path.realpath(path)
        if real in seen:
            raise FileFormatError(
                f"{path} is given for two outputs; choose another name for one."
            )
        seen.append(real)
        for source in inputs:
            if os.path.exists(path) and _is_same(path, source):
                raise FileFormatError(
                    f"{path} is the image itself; choose another name."
                )
        if not overwrite and os.path.isfile(path):
            raise FileFormatError(
                f"{path} is there already; choose another name, or replace it with"
                " --overwrite."
            )
        check_writable(path)


def _is_same(path: Path, source: Path) -> bool:
    try:
        return os.path.samefile(path, source)
    except OSError:  # there is no such source, which reading it says
        return False
