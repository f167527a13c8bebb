"""A journal of transactions on disk: what was written survives the process.

A journal is a folder of segments.  A session appends to a segment of its own and
never touches those of earlier ones, so that nothing that was written can be lost by
writing more.  A segment is a sequence of frames, each with its length and checksum::

    magic (4)  kind (1)  length (4)  CRC of the payload (4)  CRC of the above (4)

A transaction is some frames of pixels and one that commits them.  What follows a torn
or damaged frame is found again by the magic, and a transaction that lacks a frame is
left out whole.  Only values after a change are kept, so reading a journal twice, or
over labels that have some of its changes already, gives the same labels.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam.core.annotation.transaction import Transaction
    from napari_sam.types import BoolArray

MAX_PIXELS = 1 << 22
"""Most pixels of a box in one frame; larger changes are divided."""

_MAGIC = b"nSJ\x01"
_HEAD = struct.Struct("<4sBII")
_CRC = struct.Struct("<I")
_HEAD_SIZE = _HEAD.size + _CRC.size
_PIXELS, _COMMIT = 1, 2
_MAX_FRAME = MAX_PIXELS * 9 + (1 << 26)
_SEGMENT = re.compile(r"(\d{6})\.journal")
_MAX_PENDING = 64 << 20
"""Bytes kept for a disk that may have room again; beyond, only a save helps."""


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """Values that a change gives to pixels: what a journal keeps of it.

    Parameters
    ----------
    start : tuple of int
        First index of the box, one per array axis.
    mask : bool array
        Which pixels of the box.
    values : integer array (N,)
        In C order of ``mask``.
    """

    start: tuple[int, ...]
    mask: BoolArray
    values: npt.NDArray[Any]

    def write_to(self, labels: npt.NDArray[Any]) -> None:
        """Set the values, in memory."""
        box = tuple(
            slice(s, s + n) for s, n in zip(self.start, self.mask.shape, strict=True)
        )
        labels[box][self.mask] = self.values


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One transaction as the journal has it.

    Parameters
    ----------
    sequence : int
        Its number, counted over all sessions of a project.
    pixels : tuple of Assignment
        In order.
    records : dict
        Plain values of a record by label, None where it goes.
    next_label : int
        The free number afterwards.
    lineage : dict, optional
        Plain values of which objects are daughters of which; None if that stays.
    """

    sequence: int
    pixels: tuple[Assignment, ...]
    records: dict[int, dict[str, Any] | None]
    next_label: int
    lineage: dict[str, Any] | None = None


@dataclass(slots=True)
class JournalReport:
    """What was met on reading a journal.

    Parameters
    ----------
    torn : int
        Bytes at the ends of segments that a killed process had begun to write.
    damaged : list of Path
        Segments with bytes that are not what was written.
    """

    torn: int = 0
    damaged: list[Path] = field(default_factory=list)


# -- encoding ---------------------------------------------------------------


def _frame(kind: int, payload: bytes) -> bytes:
    head = _HEAD.pack(_MAGIC, kind, len(payload), zlib.crc32(payload))
    return head + _CRC.pack(zlib.crc32(head)) + payload


def _blocks(block: Assignment) -> Iterator[Assignment]:
    """Yield it in boxes of at most `MAX_PIXELS` pixels."""
    mask = block.mask
    if mask.size <= MAX_PIXELS or mask.ndim == 0:
        yield block
        return
    # Slabs along the first axis that is longer than one keep the order of values.
    axis = next(a for a, n in enumerate(mask.shape) if n > 1)
    step = max(1, MAX_PIXELS // (mask.size // mask.shape[axis]))
    done = 0
    for first in range(0, mask.shape[axis], step):
        index = (slice(None),) * axis + (slice(first, first + step),)
        part = mask[index]
        count = int(np.count_nonzero(part))
        if count:
            start = list(block.start)
            start[axis] += first
            values = block.values[done : done + count]
            yield from _blocks(Assignment(tuple(start), part, values))
        done += count


def _pixel_frame(sequence: int, block: Assignment) -> bytes:
    values = block.values
    first = values[:1]
    is_constant = bool((values == first).all())
    head = {
        "sequence": sequence,
        "start": list(block.start),
        "shape": list(block.mask.shape),
        "dtype": values.dtype.newbyteorder("<").str,
        "constant": is_constant,
    }
    kept = first if is_constant else values
    body = np.packbits(block.mask).tobytes()
    body += kept.astype(values.dtype.newbyteorder("<")).tobytes()
    text = json.dumps(head).encode()
    return _frame(
        _PIXELS, struct.pack("<I", len(text)) + text + zlib.compress(body, level=1)
    )


def encode(sequence: int, transaction: Transaction) -> list[bytes]:
    """Return the frames of a transaction, the commit last."""
    frames = [
        _pixel_frame(sequence, block)
        for change in transaction.pixels
        if change.size
        for block in _blocks(Assignment(change.start, change.mask, change.after))
    ]
    records = {
        r.label: None if r.after is None else r.after.to_json()
        for r in transaction.records
    }
    lineage = None if transaction.lineage is None else transaction.lineage[1].to_json()
    commit = _commit_frame(
        sequence, len(frames), records, transaction.next_label[1], lineage
    )
    return [*frames, commit]


def encode_chunks(
    sequence: int,
    chunks: Iterable[tuple[tuple[int, ...], npt.NDArray[Any]]],
    records: dict[int, dict[str, Any] | None],
    next_label: int,
    lineage: dict[str, Any] | None = None,
) -> Iterator[bytes]:
    """Yield the frames of one transaction that sets whole blocks of labels.

    Parameters
    ----------
    sequence : int
        Its number.
    chunks : iterable of (start, labels)
        First index of each block, and its values.
    records : dict
        Plain values of a record by label, None where it goes.
    next_label : int
        The free number afterwards.
    lineage : dict, optional
        Plain values of which objects are daughters of which; None if that stays.
    """
    count = 0
    for start, block in chunks:
        whole = Assignment(start, np.ones(block.shape, bool), block.ravel())
        yield _pixel_frame(sequence, whole)
        count += 1
    yield _commit_frame(sequence, count, records, next_label, lineage)


def _commit_frame(
    sequence: int,
    frames: int,
    records: dict[int, dict[str, Any] | None],
    next_label: int,
    lineage: dict[str, Any] | None,
) -> bytes:
    commit: dict[str, Any] = {
        "sequence": sequence,
        "frames": frames,
        "next_label": next_label,
        "records": {str(label): record for label, record in records.items()},
    }
    # Programs that know of no lineage pass over it.
    if lineage is not None:
        commit["lineage"] = lineage
    return _frame(_COMMIT, zlib.compress(json.dumps(commit).encode(), 1))


# -- decoding ---------------------------------------------------------------


def _decode_pixels(payload: bytes) -> tuple[int, Assignment]:
    (n,) = struct.unpack_from("<I", payload)
    head = json.loads(payload[4 : 4 + n])
    body = zlib.decompress(payload[4 + n :])
    shape = tuple(int(x) for x in head["shape"])
    size = int(np.prod(shape))
    n_bits = -(-size // 8)
    bits = np.frombuffer(body, np.uint8, n_bits)
    mask = np.unpackbits(bits, count=size).astype(bool).reshape(shape)
    values = np.frombuffer(body, np.dtype(head["dtype"]), offset=n_bits)
    count = int(np.count_nonzero(mask))
    if head["constant"]:
        values = np.broadcast_to(values[:1], (count,))
    if values.size != count:
        raise ValueError("values do not fill the mask")
    start = tuple(int(x) for x in head["start"])
    return int(head["sequence"]), Assignment(start, mask, values)


def _decode_commit(payload: bytes) -> tuple[int, Entry]:
    value = json.loads(zlib.decompress(payload))
    records = {int(label): record for label, record in value["records"].items()}
    lineage = value.get("lineage")
    entry = Entry(
        int(value["sequence"]), (), records, int(value["next_label"]), lineage
    )
    return int(value["frames"]), entry


def _frames(
    data: bytes, report: JournalReport, path: Path
) -> Iterator[tuple[int, bytes]]:
    """Yield kind and payload of every sound frame; note what is not sound."""
    at = 0
    while at < len(data):
        found = data.find(_MAGIC, at)
        if found != at and found != -1:
            _note(report, path)
        if found == -1 or found + _HEAD_SIZE > len(data):
            # A head that begins like one was being written.
            rest = data[at:] if found == -1 else data[found:]
            if rest[:4] == _MAGIC[: len(rest)]:
                report.torn += len(rest)
            else:
                _note(report, path)
            return
        head = data[found : found + _HEAD.size]
        _, kind, length, crc = _HEAD.unpack(head)
        (head_crc,) = _CRC.unpack_from(data, found + _HEAD.size)
        if zlib.crc32(head) != head_crc or length > _MAX_FRAME:
            _note(report, path)
            at = found + 1
            continue
        payload = data[found + _HEAD_SIZE : found + _HEAD_SIZE + length]
        if len(payload) < length:
            report.torn += len(data) - found
            # It may be the middle of a segment that was cut and written on.
            at = found + 1
            if data.find(_MAGIC, at) == -1:
                return
            continue
        if zlib.crc32(payload) != crc:
            _note(report, path)
            at = found + 1
            continue
        yield kind, payload
        at = found + _HEAD_SIZE + length


_NOT_OURS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    zlib.error,
    struct.error,
)
"""What a sound frame raises that has something else in it than we write."""


def _note(report: JournalReport, path: Path) -> None:
    if path not in report.damaged:
        report.damaged.append(path)


def read_segment(path: Path, report: JournalReport) -> Iterator[Entry]:
    """Yield the whole transactions of one segment, in order."""
    try:
        data = path.read_bytes()
    except OSError:
        _note(report, path)
        return
    pixels: list[Assignment] = []
    under_way: int | None = None
    for kind, payload in _frames(data, report, path):
        try:
            if kind == _PIXELS:
                sequence, block = _decode_pixels(payload)
                if sequence != under_way:
                    pixels, under_way = [], sequence
                pixels.append(block)
                continue
            count, entry = _decode_commit(payload)
        except _NOT_OURS:
            _note(report, path)
            continue
        own = tuple(pixels) if under_way == entry.sequence else ()
        pixels, under_way = [], None
        if len(own) != count:
            _note(report, path)
            continue
        yield replace(entry, pixels=own)


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return number and path of each segment, oldest first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = [(m, folder / m.string) for m in map(_SEGMENT.fullmatch, names) if m]
    return sorted((int(m[1]), path) for m, path in found)


def read_journal(
    folder: Path, after: int, report: JournalReport | None = None
) -> Iterator[Entry]:
    """Yield the transactions of a journal that came after one.

    Parameters
    ----------
    folder : Path
        Of the segments.
    after : int
        Sequence number up to which the labels are known to be on disk.
    report : JournalReport, optional
        Told what was torn or damaged.
    """
    report = report if report is not None else JournalReport()
    for _, path in segments(folder):
        for entry in read_segment(path, report):
            if entry.sequence > after:
                yield entry


# -- writing ----------------------------------------------------------------


class Journal:
    """Appends transactions to a segment, each on disk before the call returns.

    Parameters
    ----------
    folder : Path
        Of the segments; made if it is missing.
    sequence : int
        Number of the last transaction that is known.

    Raises
    ------
    OSError
        If no segment can be made there.

    Notes
    -----
    A disk that refuses is told once, by `FileFormatError`.  What it refused is kept
    in memory and written before the next transaction, in order; beyond 64 MiB it is
    given up, and `is_complete` is False until the next save.
    """

    def __init__(self, folder: Path, sequence: int = 0) -> None:
        self.folder = folder
        self.sequence = sequence
        self.is_complete = True
        self._pending: list[bytes] = []
        self._failed = False
        self._file: int | None = None
        self._end = 0
        self._open()

    @property
    def is_failing(self) -> bool:
        """Whether the disk does not have everything."""
        return self._failed

    def append(self, transaction: Transaction) -> int:
        """Write a transaction and wait for the disk; return its number.

        Raises
        ------
        FileFormatError
            If the disk refuses, once until it has worked again.
        """
        self.sequence += 1
        if not self.is_complete:
            return self.sequence
        self._pending += encode(self.sequence, transaction)
        self.flush()
        return self.sequence

    def flush(self) -> None:
        """Write what is waiting; raises `FileFormatError` as `append` does."""
        if not self._pending:
            return
        try:
            self._write(self._pending)
        except OSError as error:
            if sum(map(len, self._pending)) > _MAX_PENDING:
                self._pending.clear()
                self.is_complete = False
            if self._failed:
                return
            self._failed = True
            raise FileFormatError(
                f"What you write cannot be kept safe in {self.folder}"
                f" ({error.strerror or error}); it is in the labels, so make room"
                " there or save the project somewhere else."
            ) from error
        self._pending.clear()
        self._failed = False

    def rotate(self) -> list[Path]:
        """Go on in a new segment; return those before, to be removed after a save.

        One number is left free between, for what the save itself has to write.
        """
        self.close()
        old = [path for _, path in segments(self.folder)]
        self._pending.clear()
        self._failed = False
        self.is_complete = True
        self._open(skip=1)
        return old

    def give_up(self) -> None:
        """Say that the journal lacks something that only a save can write."""
        self._pending.clear()
        self._failed = True
        self.is_complete = False

    def close(self) -> None:
        """Close the segment; an empty one is removed."""
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        if self._end == 0:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _open(self, skip: int = 0) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max((n for n, _ in segments(self.folder)), default=0) + 1 + skip
        self._path = self.folder / f"{number:06d}.journal"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._file = os.open(self._path, flags, 0o666)
        self._end = 0
        sync_folder(self.folder)

    def _write(self, frames: Sequence[bytes]) -> None:
        file = self._file
        if file is None or not os.path.exists(self._path):
            # A removed file can be written to as long as it is open.
            raise OSError("it is no longer there")
        data = memoryview(b"".join(frames))
        done = 0
        try:
            os.lseek(file, self._end, os.SEEK_SET)
            while done < len(data):
                done += os.write(file, data[done:])
            sync(file)
        except OSError:
            # What is there of it is torn; the next attempt begins in its place.
            with suppress(OSError):
                os.ftruncate(file, self._end)
            raise
        self._end += done


def sync(file: int) -> None:
    """Wait until the content of a file is on disk."""
    getattr(os, "fdatasync", os.fsync)(file)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where systems can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
