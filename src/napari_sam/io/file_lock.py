"""A lock on a file that ends with the process that holds it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_held: dict[str, FileLock] = {}


class FileLock:
    """An exclusive lock, of this process and object only.

    The system frees it when the process ends in whatever way, so there are no stale
    locks.  The file says who holds it, for the sentence that a second one shows.

    Parameters
    ----------
    path : Path
        The file; made if it is missing, and left there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock; return whether nobody else has it.

        Raises
        ------
        OSError
            If the file cannot be made.
        """
        key = os.path.realpath(self.path)
        # Locks of one process do not keep each other out.
        if key in _held:
            return _held[key] is self
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        handle = os.open(self.path, flags, 0o666)
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            return False
        self._file = handle
        self._key = key
        _held[key] = self
        about = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, about.encode())
        return True

    def release(self) -> None:
        """Give the lock back; may be called any number of times."""
        if self._file is None:
            return
        _held.pop(self._key, None)
        # On some systems closing is not enough while a child process lives.
        with suppress(OSError):
            _unlock(self._file)
        os.close(self._file)
        self._file = None

    def holder(self) -> str:
        """Return who holds it, in words."""
        try:
            about: Any = json.loads(self.path.read_text(encoding="utf-8"))
            if about["host"] != socket.gethostname():
                return f"process {about['pid']} on {about['host']}"
            if about["pid"] == os.getpid():
                return "another viewer of this program"
            return f"process {about['pid']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another program"


if os.name == "nt":  # pragma: no cover - exercised on Windows only
    import msvcrt

    # Far beyond the text, since a locked range cannot be read by others there.
    _AT = 1 << 20

    def _lock(handle: int) -> None:
        os.lseek(handle, _AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]

    def _unlock(handle: int) -> None:
        os.lseek(handle, _AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
