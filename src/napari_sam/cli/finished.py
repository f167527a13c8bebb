"""The finished planes of a long run, kept until its output is written whole."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.atomic import check_writable, make_folder, replacing
from napari_sam.errors import FileFormatError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam.types import RGBArray

_SUFFIX = ".partial"
_LONGEST_NAME = 255
_PLANE = re.compile(r"[0-9a-f]{40}\.npz")


class FinishedPlanes:
    """Labels of single planes in a folder beside the output of a stack.

    A plane is known by its pixels and by all that decides what is found on it,
    so a run that was stopped goes on where it was, also after its image was
    renamed or repaired, and another image or other settings find nothing.

    Parameters
    ----------
    output : Path
        The file that the labels of all planes will be in.
    recipe : str
        Model and settings, in words that differ if anything does.

    Raises
    ------
    FileFormatError
        If there is a folder, and nothing can be written into it.
    """

    def __init__(self, output: Path, recipe: str) -> None:
        self.folder = _beside(output)
        self._recipe = recipe
        if os.path.lexists(self.folder):
            if not self.folder.is_dir():
                raise FileFormatError(
                    f"{self.folder} is in the place of the finished planes; move it"
                    " away."
                )
            check_writable(self._file("0" * 40))

    def key(self, rgb: RGBArray) -> str:
        """Return what a plane is known by."""
        digest = hashlib.blake2b(digest_size=20)
        digest.update(f"{self._recipe} {rgb.shape}\n".encode())
        digest.update(np.ascontiguousarray(rgb).data)
        return digest.hexdigest()

    def get(self, key: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint32] | None:
        """Return the labels of a plane, or None if it has to be done."""
        try:
            # Opened here, since numpy leaves files open that are no archives.
            with (
                self._file(key).open("rb") as file,
                np.load(file, allow_pickle=False) as content,
            ):
                labels = content["labels"]
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ):
            # Not there, or damaged: doing the plane again is always right.
            return None
        if labels.shape != shape or labels.dtype != np.uint32:
            return None
        return np.asarray(labels)

    def keep(self, key: str, labels: npt.NDArray[np.uint32]) -> None:
        """Keep the labels of a plane.

        Raises
        ------
        FileFormatError
            If they cannot be written.
        """
        make_folder(self.folder)
        with replacing(self._file(key)) as aside:
            np.savez_compressed(aside, labels=labels)

    def remove(self) -> None:
        """Remove the planes, once they are in the output; other files stay."""
        with suppress(OSError):
            for file in list(self.folder.iterdir()):
                if _PLANE.fullmatch(file.name):
                    file.unlink()
            self.folder.rmdir()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def _beside(output: Path) -> Path:
    """Return the folder for an output, also for one of the longest name."""
    name = output.name + _SUFFIX
    if len(os.fsencode(name)) > _LONGEST_NAME:
        digest = hashlib.blake2b(os.fsencode(output.name), digest_size=8).hexdigest()
        name = f"{digest}{_SUFFIX}"
    return output.with_name(name)
