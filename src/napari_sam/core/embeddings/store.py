"""Embeddings kept between clicks and between sessions: RAM over disk.

An entry's key is a hash of the pixels the model saw and of the model, so an
embedding is found again under a renamed layer, in a sub-stack, in another
session or by another process, and never mistaken for another one.  Entries of an
older format or preprocessing are never asked for, so they are the first to go.

The disk part is a cache in the strict sense: losing it costs time only.  That
decides its fault policy.  Entries are written aside and renamed, so a process
killed at any instant leaves no half entry; they are not flushed to the device,
because the checksum of an entry reveals what a power failure left unwritten,
and the entry is then computed again.  A folder that cannot be written or read
is reported once and the store goes on in RAM.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.embeddings.disk_cache import EntryFolder
from napari_sam.core.embeddings.file_format import FORMAT, DamagedEntry, dumps, loads
from napari_sam.core.imaging import PREPROCESSING_VERSION
from napari_sam.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.types import Frame, RGBArray

logger = logging.getLogger(__name__)

GIB = 1 << 30
_KEY = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds.

    Parameters
    ----------
    entries, bytes : int
        Number and size of the entries on disk, whichever process wrote them.
    folder : Path
        Where they are.
    ram_entries, ram_bytes : int
        Number and size of the entries held in RAM by this store.
    """

    entries: int
    bytes: int
    folder: Path
    ram_entries: int
    ram_bytes: int


def default_folder() -> Path:
    """Return the folder of stored embeddings.

    ``embeddings`` in the folder that ``NAPARI_SAM_CACHE_DIR`` names, else in
    the user's cache folder for napari-sam.
    """
    import platformdirs

    root = os.environ.get("NAPARI_SAM_CACHE_DIR")
    return Path(root or platformdirs.user_cache_dir("napari-sam")) / "embeddings"


def embedding_key(rgb: RGBArray, model: str, frame: Frame | None = None) -> str:
    """Return the key of the embedding that a model computes from RGB pixels.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3)
        The plane, or a part of it, as the model sees it.
    model : str
        Fingerprint of the model's image encoder.
    frame : Frame, optional
        How the pixels sit in the input, where they are those of a view.

    Returns
    -------
    str
        40 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=20)
    sits = "" if frame is None else f" in {frame.input_size} of {frame.side}"
    version = f"{FORMAT}, preprocessing {PREPROCESSING_VERSION}"
    digest.update(f"{version} {model} {rgb.shape}{sits}\n".encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


class EmbeddingStore:
    """Least-recently-used embeddings in RAM, over the same on disk.

    Thread-safe, and safe to use from several processes on one folder.  No
    method raises because of the disk; see `problem`.

    Parameters
    ----------
    folder : path, optional
        Where to keep entries; made when the first is written.  By default
        :func:`default_folder`.
    ram_bytes, disk_bytes : int
        Budgets in bytes; 0 keeps nothing there.  When other processes use the
        folder too, each may exceed the disk budget by a sixteenth before it
        notices.
    on_problem : callable, optional
        Called with one sentence, from any thread, the first time that the disk
        fails.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        ram_bytes: int = GIB,
        disk_bytes: int = 10 * GIB,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        disk_bytes = _checked_budget("disk_bytes", disk_bytes)
        self._ram_budget = _checked_budget("ram_bytes", ram_bytes)
        place = default_folder() if folder is None else _checked_folder(folder)
        self._disk = EntryFolder(place, disk_bytes)
        self._ram: OrderedDict[str, Embedding] = OrderedDict()
        self._ram_bytes = 0
        # Held for dictionary work only, never during disk access, so that the
        # GUI thread can ask ``key in store`` while a worker writes.
        self._lock = threading.Lock()
        self._on_problem = on_problem
        self._problem: str | None = None
        self._has_warned = False

    @property
    def folder(self) -> Path:
        """Where the entries are on disk."""
        return self._disk.path

    @property
    def problem(self) -> str | None:
        """One sentence on why the disk is not used, or ``None`` while it is."""
        return self._problem

    def __contains__(self, key: str) -> bool:
        """Whether an entry is there; it may still turn out to be damaged."""
        _check_key(key)
        with self._lock:
            if key in self._ram:
                return True
        return self._disk.has(key)

    def get(self, key: str) -> Embedding | None:
        """Return an embedding, or ``None`` if it has to be computed.

        May block for a disk access.  A damaged entry is removed and counts as
        absent.

        Raises
        ------
        TypeError, ValueError
            If the key is none that :func:`embedding_key` returns.
        """
        _check_key(key)
        with self._lock:
            embedding = self._ram.get(key)
            if embedding is not None:
                self._ram.move_to_end(key)
        if embedding is not None:
            self._disk.touch(key)
            return embedding
        try:
            content = self._disk.read(key)
        except OSError as error:
            self._report("read", error)
            return None
        if content is None:
            return None
        try:
            embedding = loads(key, content)
        except DamagedEntry as error:
            logger.warning("Dropped the damaged embedding %s: %s", key, error)
            self._disk.remove(key)
            return None
        self._disk.touch(key)
        self._keep_in_ram(key, embedding)
        return embedding

    def put(self, key: str, embedding: Embedding) -> None:
        """Store an embedding, dropping the least recently used beyond a budget.

        May block for a disk access.

        Raises
        ------
        TypeError, ValueError
            If the key is none that :func:`embedding_key` returns, or the value
            is not an `Embedding`.
        """
        _check_key(key)
        if not isinstance(embedding, Embedding):
            raise TypeError(f"an Embedding is stored, not {type(embedding).__name__}")
        self._keep_in_ram(key, embedding)
        try:
            self._disk.write(key, dumps(key, embedding))
        except OSError as error:
            self._report("written", error)
        else:
            self._problem = None

    def info(self) -> StoreInfo:
        """Return how much is stored; reads the folder."""
        sizes = [entry.size for entry in self._disk.scan()]
        with self._lock:
            return StoreInfo(
                len(sizes), sum(sizes), self.folder, len(self._ram), self._ram_bytes
            )

    def clear(self) -> None:
        """Forget every entry, in RAM and on disk; other files are left alone."""
        with self._lock:
            self._ram.clear()
            self._ram_bytes = 0
        self._disk.clear()

    def _keep_in_ram(self, key: str, embedding: Embedding) -> None:
        if embedding.nbytes > self._ram_budget:
            return
        with self._lock:
            replaced = self._ram.pop(key, None)
            if replaced is not None:
                self._ram_bytes -= replaced.nbytes
            self._ram[key] = embedding
            self._ram_bytes += embedding.nbytes
            while self._ram_bytes > self._ram_budget:
                _, oldest = self._ram.popitem(last=False)
                self._ram_bytes -= oldest.nbytes

    def _report(self, what: str, error: OSError) -> None:
        self._problem = (
            f"Embeddings cannot be {what} in {self.folder}"
            f" ({error.strerror or error}) and are kept in memory only;"
            " check its space and permissions, or choose another cache folder."
        )
        with self._lock:
            is_first, self._has_warned = not self._has_warned, True
        if is_first:
            logger.warning("%s", self._problem)
            if self._on_problem is not None:
                self._on_problem(self._problem)


def _check_key(key: object) -> None:
    """Refuse what is no key, before it becomes part of a path."""
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r:.60} is not a key; embedding_key makes them")


def _checked_budget(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is a whole number of bytes, not {value!r:.60}")
    if value < 0:
        raise ValueError(f"{name} is {value}; give a number of bytes, or 0 for none")
    return int(value)


def _checked_folder(folder: str | os.PathLike[str]) -> Path:
    text = os.fsdecode(folder)
    if not text or "\0" in text:
        raise ValueError(f"{text!r:.60} cannot be the name of a folder")
    return Path(os.path.expanduser(text))
