"""A folder of files shared by processes, bounded in size, least recently used."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from napari_sam.core.atomic import beside, sweep

if TYPE_CHECKING:
    from pathlib import Path

_ENTRY = re.compile(r"[0-9a-f]{40}\.safetensors")
_ABANDONED_S = 600.0
_CLOCK_ERROR_NS = 3_600 * 10**9  # between computers that share a folder


class EntryFile(NamedTuple):
    """One stored file: its key, size in bytes and time of last use in ns."""

    key: str
    size: int
    used_ns: int


class EntryFolder:
    """Whole files by key in one folder, the least recently used dropped.

    Several threads and processes may use one folder.  A file is written under
    a temporary name and renamed, so readers see all of it or nothing.  Files of
    other names are never touched.

    Parameters
    ----------
    path : Path
        The folder; made by the first write.
    budget : int
        Bytes to stay within; 0 disables the folder.

    Notes
    -----
    The time of last use is the modification time, set by :meth:`touch`: access
    times are not kept on most mounts.  Files are counted when the first is
    written and then after every sixteenth of the budget, when what other
    processes wrote is seen too; in between, only the own writes are added up.
    """

    def __init__(self, path: Path, budget: int) -> None:
        self.path = path
        self._budget = budget
        self._lock = threading.Lock()
        self._size: int | None = None
        self._written = 0

    def has(self, key: str) -> bool:
        """Whether there is a file."""
        if self._budget <= 0:
            return False
        try:
            return stat.S_ISREG(os.stat(self._file(key)).st_mode)
        except OSError:
            return False

    def read(self, key: str) -> bytes | None:
        """Return a file's content, ``None`` if there is no such file.

        Raises
        ------
        OSError
            If there is one and it cannot be read.
        """
        if self._budget <= 0:
            return None
        try:
            # Opening a pipe would wait for its writer, a device may never end.
            status = os.stat(self._file(key))
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._budget:
                return None
            return self._file(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def touch(self, key: str) -> None:
        """Mark a file as used now, if it is there and may be changed."""
        if self._budget > 0:
            with suppress(OSError):
                os.utime(self._file(key))

    def remove(self, key: str) -> bool:
        """Remove a file; return whether it could be done."""
        try:
            self._file(key).unlink()
        except OSError:
            # Gone already, read-only, or open in another process on Windows.
            return False
        return True

    def write(self, key: str, content: bytes) -> None:
        """Write a file, then drop the least recently used beyond the budget.

        On a full disk, older files make room for the new one.

        Raises
        ------
        OSError
            If it cannot be written; no part of it is left.
        """
        if len(content) > self._budget:
            return
        with self._lock:
            try:
                self._write(key, content)
            except FileNotFoundError:
                # The folder was removed under us, or is not there yet.
                self.path.mkdir(parents=True, exist_ok=True)
                self._write(key, content)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                if not self._drop_oldest(len(content)):
                    raise
                self._write(key, content)
            self._written += len(content)
            if self._size is not None:
                self._size += len(content)
            if (
                self._size is None
                or self._size > self._budget
                or self._written > self._budget // 16
            ):
                self._trim(key)

    def scan(self) -> list[EntryFile]:
        """Return every file, the least recently used first."""
        found = []
        latest = time.time_ns() + _CLOCK_ERROR_NS
        with suppress(OSError), os.scandir(self.path) as items:
            for item in items:
                if _ENTRY.fullmatch(item.name):
                    # Another process may remove it at this moment.
                    with suppress(OSError):
                        status = item.stat(follow_symlinks=False)
                        if not stat.S_ISREG(status.st_mode):
                            continue
                        # A clock was wrong: else such a file would never be old.
                        used = status.st_mtime_ns
                        used = used if used <= latest else 0
                        found.append(EntryFile(item.name[:40], status.st_size, used))
        return sorted(found, key=lambda file: file.used_ns)

    def clear(self) -> None:
        """Remove every file, and what killed processes left."""
        with self._lock:
            for file in self.scan():
                self.remove(file.key)
            sweep(self.path, _ABANDONED_S)
            self._size = None

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.safetensors"

    def _write(self, key: str, content: bytes) -> None:
        with beside(self._file(key), mark=key, suffix=".tmp") as aside:
            aside.write_bytes(content)

    def _trim(self, newest: str) -> None:
        """Count the files; if beyond the budget, drop the oldest."""
        if self._size is None:
            sweep(self.path, _ABANDONED_S)
        files = self.scan()
        self._size = sum(file.size for file in files)
        self._written = 0
        if self._size <= self._budget:
            return
        # A little more than needed, or every further write would have to count.
        goal = self._budget - self._budget // 16
        for file in files:
            if self._size <= goal:
                break
            if file.key != newest and self.remove(file.key):
                self._size -= file.size

    def _drop_oldest(self, size: int) -> bool:
        """Remove the oldest files of at least a size; return whether any was."""
        dropped = 0
        for file in self.scan():
            if dropped >= size:
                break
            if self.remove(file.key):
                dropped += file.size
        if self._size is not None:
            self._size -= dropped
        return dropped > 0
