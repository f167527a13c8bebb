"""Write files so that a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = re.sub(r"[^\w-]", "-", socket.gethostname(), flags=re.ASCII)[:64]
"""The name of this machine in the names of temporary files."""

# Host and process say who writes.  The name does not hold the target's, which may
# be as long as the file system allows, but for the keys of a folder of entries.
_TEMPORARY = re.compile(
    r"\.(?:napari-sam|[0-9a-f]{40})\.(?P<host>[\w-]*)\.(?P<pid>\d+)\.[0-9a-f]{8}"
    r"(\.[^/]*)?",
    re.ASCII,
)
_LONGEST_SUFFIX = 16
_ABANDONED_S = 86_400.0


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file to write to, which takes the place of ``path`` at the end.

    It lies in the same folder and has the same suffix.  If the block raises it
    is removed; if the process is killed it stays, hidden, until this function
    writes in that folder again, and ``path`` is as it was.  A symbolic link is
    written through, and a file that is replaced keeps its permissions.

    Raises
    ------
    FileFormatError
        If the folder is missing, is not writable or is full, or ``path`` is
        there and no file that may be written.
    """
    target = Path(path)
    try:
        place, mode = _examined(target)
    except (OSError, ValueError) as error:
        raise _unwritable(target, error) from error
    sweep(place.parent)
    suffix = target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ""
    try:
        with beside(place, suffix=suffix) as aside:
            yield aside
            _flush(aside)
            if mode is not None:
                aside.chmod(mode)
    except OSError as error:
        raise _unwritable(target, error) from error


@contextmanager
def beside(
    place: Path, *, mark: str = "napari-sam", suffix: str = ""
) -> Iterator[Path]:
    """Give a new file in the same folder that is renamed to ``place`` at the end.

    That is all of what `replacing` does that a file needs which can be made again:
    nothing waits for the device, and errors are the system's.

    Parameters
    ----------
    place : Path
        Where the file is to be.
    mark, suffix : str
        Start and end of the name that it has until then.

    Raises
    ------
    OSError
        If it cannot be made or renamed; nothing is left of it then.
    """
    name = f".{mark}.{HOST}.{os.getpid()}.{secrets.token_hex(4)}{suffix}"
    aside = place.parent / name
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield aside
        os.replace(aside, place)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder that files are to be put in, if it is not there.

    Raises
    ------
    FileFormatError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileFormatError(
            f"The folder {path} cannot be made ({error.strerror or error}); free some"
            " space there or choose another one."
        ) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file as `replacing` does.

    Raises
    ------
    FileFormatError
        As there.
    """
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


@contextmanager
def replacing_folder(
    path: str | os.PathLike[str], is_ours: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of ``path`` at the end.

    If the block raises it is removed, and ``path`` is as it was; if the process is
    killed it stays, hidden.  A folder that is replaced is called ``NAME.before`` for
    the moment in between.

    Parameters
    ----------
    path : path
        A folder that is not there, or empty.
    is_ours : callable, optional
        Given a file or folder in one that is there: whether it may be replaced.
        Without, nothing is.

    Raises
    ------
    FileFormatError
        If the folder holds what may not be replaced, is a file, or cannot be written.
    """
    target = Path(path)
    check_folder(target, is_ours)
    place = Path(os.path.realpath(target))
    name = f".napari-sam.{HOST}.{os.getpid()}.{secrets.token_hex(4)}"
    aside, before = place.parent / name, place.with_name(place.name + ".before")
    try:
        aside.mkdir()
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                _flush(file)
        if place.exists():
            # Not swept by anyone if the process is killed here.
            os.replace(place, before)
            try:
                os.replace(aside, place)
            except OSError:
                os.replace(before, place)
                raise
            shutil.rmtree(before, ignore_errors=True)
        else:
            os.replace(aside, place)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_folder(path: Path, is_ours: Callable[[Path], bool] | None = None) -> None:
    """Refuse, before long work, a folder that `replacing_folder` would refuse.

    Raises
    ------
    FileFormatError
        As `replacing_folder`.
    """
    if not path.absolute().parent.is_dir():
        raise FileFormatError(f"There is no folder {path.parent}; make it first.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise FileFormatError(
            f"{path.parent} is write-protected; choose another place."
        )
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise FileFormatError(f"{path} is a file; give the name of a folder.")
    for item in path.iterdir():
        if is_ours is None:
            raise FileFormatError(
                f"{path} is there already; choose another name, or replace it with"
                " --overwrite."
            )
        if not is_ours(item):
            raise FileFormatError(
                f"{path} holds {item.name}, which would be lost; choose an empty"
                " folder."
            )


def check_writable(path: str | os.PathLike[str]) -> None:
    """Prove, before long work, that `replacing` will be able to write a file.

    Raises
    ------
    FileFormatError
        As `replacing` would; nothing is left behind.
    """
    with suppress(_Proven), replacing(path):
        raise _Proven


class _Proven(Exception):
    """Ends the writing of a file that only was to be possible."""


def sweep(folder: Path, abandoned_s: float = _ABANDONED_S) -> None:
    """Remove temporary files of `beside` whose writer is no more.

    Parameters
    ----------
    folder : Path
        Where they are.
    abandoned_s : float
        Age in seconds beyond which those of other computers go, too.
    """
    with suppress(OSError), os.scandir(folder) as items:
        for item in items:
            match = _TEMPORARY.fullmatch(item.name)
            if match is None:
                continue
            with suppress(OSError):
                age = time.time() - item.stat(follow_symlinks=False).st_mtime
                is_ours = match["host"] == HOST
                if age > abandoned_s or (is_ours and is_dead(int(match["pid"]))):
                    os.unlink(item.path)


def is_dead(pid: int) -> bool:
    """Whether a process of this machine has certainly ended."""
    if os.name != "posix":
        # There, signal 0 is Ctrl-C; files are left to grow old instead.
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        # It belongs to another user, or the name was made up.
        return False
    return False


def _examined(target: Path) -> tuple[Path, int | None]:
    """Return where a file is really written, and the mode of one that is there."""
    with suppress(FileNotFoundError):
        target.lstat()  # raises on a name that no file can have
    place = Path(os.path.realpath(target))
    try:
        status = place.stat()
    except FileNotFoundError:
        return place, None
    if stat.S_ISDIR(status.st_mode):
        raise FileFormatError(f"{target} is a folder; give the name of a file.")
    if not stat.S_ISREG(status.st_mode):
        raise FileFormatError(
            f"{target} is a pipe or a device; give the name of a file."
        )
    if not os.access(place, os.W_OK):
        raise FileFormatError(
            f"{target} is write-protected; choose another name or allow writing it."
        )
    return place, stat.S_IMODE(status.st_mode)


def _flush(file: Path) -> None:
    """Have the content on the device before the name points to it."""
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(target: Path, error: OSError | ValueError) -> FileFormatError:
    name = str(target).replace("\0", "\\0")
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    if len(name) > 160:
        name = f"{name[:120]}...{name[-20:]}"
    return FileFormatError(
        f"{name} cannot be written ({reason});"
        " free some space there or choose another place."
    )
