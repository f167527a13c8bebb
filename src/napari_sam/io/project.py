"""A project's folder: labels, object records and journal, safe at any instant.

What is on disk is the labels and records as of one transaction, and a journal of
those after it.  A save writes chunks and records in place and then says, by replacing
``project.json``, that they hold everything up to a later one; only then is the journal
cut.  Reading applies the journal over whatever the chunks hold, and since it is made
of assignments in order, chunks that an interrupted save has written already are as
good as those that it has not.

Unsaved work is kept the same way, as a project in the user's state folder.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_sam
from napari_sam.core.annotation.journal import (
    Journal,
    JournalReport,
    encode_chunks,
    read_journal,
    segments,
    sync_folder,
)
from napari_sam.core.annotation.project import (
    SUFFIX,
    ImageIdentity,
    LabelsInfo,
    ModelInfo,
    ProjectFile,
    SavedProposals,
    parse_project,
)
from napari_sam.core.annotation.records import ObjectRecords
from napari_sam.core.annotation.under_way import KeptObject, ProposalKey, UnderWay
from napari_sam.core.atomic import replacing, write_text
from napari_sam.core.everything.proposals import Proposals
from napari_sam.errors import FileFormatError
from napari_sam.io.file_lock import FileLock
from napari_sam.io.ome_zarr import LabelsArray
from napari_sam.io.project_objects import apply_entry, objects_text, read_objects
from napari_sam.types import Plane, Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy.typing as npt

    from napari_sam.core.annotation.transaction import Transaction

PROJECT = "project.json"
_OBJECTS = "objects.jsonl"
_LABELS = "labels.ome.zarr"
_JOURNAL = "journal"
_PROPOSALS = "proposals"
_LOCK = "lock"
CLOSED = "closed"
"""The file that says that a session with unsaved work ended as usual."""
NOT_OFFERED = "not offered"
"""What it says if nobody need be asked about the work."""
_UNDER_WAY = "under_way.json"


@dataclass(frozen=True, slots=True, eq=False)
class PlaneProposals:
    """Proposals of a plane under review; see `SavedProposals`.

    What was turned down is kept as it happens, with what is under way.
    """

    plane: Plane
    proposals: Proposals
    offered: bool = False
    confident: bool = False
    rejected: tuple[ProposalKey, ...] = ()


@dataclass(slots=True, eq=False)
class ProjectState:
    """What a project holds, as it was last written.

    Parameters
    ----------
    labels : integer array
        With everything that the journal has.
    records : ObjectRecords
        Of the objects in them.
    next_label : int
        The next free number.
    proposals : tuple of PlaneProposals
        Under review.
    under_way : tuple of KeptObject
        Objects that were not in the labels yet.
    restored : int
        How many transactions came from the journal.
    problems : tuple of str
        One sentence for each part that could not be read.
    """

    labels: npt.NDArray[Any]
    records: ObjectRecords
    next_label: int = 1
    proposals: tuple[PlaneProposals, ...] = ()
    under_way: tuple[KeptObject, ...] = ()
    restored: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What a save is to write, taken between two transactions.

    Parameters
    ----------
    labels : array-like
        The labels themselves: chunks are copied while transactions go on, which the
        journal makes good.
    records : ObjectRecords
        Of the objects in them.
    next_label : int
        The next free number.
    proposals : sequence of PlaneProposals
        Under review.
    settings : dict
        Plain values.
    model : ModelInfo
        In use.
    """

    labels: Any
    records: ObjectRecords
    next_label: int
    proposals: Sequence[PlaneProposals] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    model: ModelInfo = field(default_factory=ModelInfo)


class ProjectFolder:
    """One project on disk, held open; made by `create_project` and `open_folder`.

    Parameters
    ----------
    path : Path
        The folder.
    file : ProjectFile
        What its ``project.json`` says.
    lock : FileLock or None
        Held; None if it is open for reading only.

    Attributes
    ----------
    reason : str
        Why it can only be read; empty if it can be written.
    """

    def __init__(
        self, path: Path, file: ProjectFile, lock: FileLock | None, reason: str = ""
    ) -> None:
        self.path = path
        self.file = file
        self.reason = reason
        self._lock = lock
        self.array = LabelsArray(
            path / _LABELS, file.labels.shape, np.dtype(file.labels.dtype)
        )
        self.journal: Journal | None = None
        self._last = file.sequence

    @property
    def is_read_only(self) -> bool:
        """Whether it can only be read."""
        return self._lock is None

    # -- reading ------------------------------------------------------------

    def read(self) -> ProjectState:
        """Return what it holds; what cannot be read is named and left out."""
        for _ in range(3):
            state = self._read()
            current = _read_file(self.path)
            if current.sequence == self.file.sequence:
                break
            # Its owner has saved meanwhile.
            self.file = current
        return state

    def read_records(self) -> ObjectRecords:
        """Return the records only, with what the journal says of them."""
        stored, _ = read_objects(self.path / _OBJECTS)
        records = self._records(stored)
        for entry in read_journal(self.path / _JOURNAL, self.file.sequence):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                apply_entry(records, entry)
        return records

    def _records(self, stored: dict[str, dict[str, Any]]) -> ObjectRecords:
        plain = {"objects": stored, "lineage": self.file.lineage}
        return ObjectRecords(plain, len(self.file.labels.shape))

    def _read(self) -> ProjectState:
        info, gone = self.file.labels, ""
        labels, damaged = np.zeros(info.shape, np.dtype(info.dtype)), list[Path]()
        if self.array.exists or self.file.modified != self.file.created:
            try:
                labels, damaged = self.array.read_sound()
            except FileFormatError as error:
                gone = str(error)
        problems = [gone] if gone else []
        problems += [
            f"{path} is damaged: its part of the labels is empty unless the journal"
            " has it; get it from a backup."
            for path in damaged
        ]
        stored, unread = read_objects(self.path / _OBJECTS)
        if unread:
            problems.append(
                f"{self.path / _OBJECTS} is damaged: {unread} of its lines could not"
                " be read; the labels themselves are there."
            )
        records = self._records(stored)
        next_label, last, restored = self.file.next_label, self.file.sequence, 0
        report = JournalReport()
        for entry in read_journal(self.path / _JOURNAL, last, report):
            try:
                for block in entry.pixels:
                    block.write_to(labels)
                apply_entry(records, entry)
            except (LookupError, ValueError, TypeError, AttributeError, OverflowError):
                report.damaged.append(self.path / _JOURNAL)
                continue
            next_label = entry.next_label
            restored += 1
            last = max(last, entry.sequence)
        self._last = last
        problems += [
            f"{path} is damaged: some of what was written after the last save could"
            " not be read; look the labels through."
            for path in dict.fromkeys(report.damaged)
        ]
        under_way = self._read_under_way(last)
        proposals, bad = self._read_proposals(under_way.rejected)
        if not self.file.has_base:
            problems.append(
                f"{self.path} holds only what was written in its session, since that"
                " ended in its first seconds; the labels from before are in the file"
                " that they came from."
            )
        return ProjectState(
            labels,
            records,
            next_label,
            proposals,
            under_way.objects,
            restored,
            tuple(problems + bad),
        )

    def _read_under_way(self, last: int) -> UnderWay:
        """Return what was under way after the last transaction."""
        try:
            found = UnderWay.from_text((self.path / _UNDER_WAY).read_bytes())
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
            RecursionError,
        ):
            # Only a help: the labels and what made them are all there without it.
            return UnderWay()
        ndim = len(self.file.labels.shape)
        if found.sequence < last or any(o.items.ndim != ndim for o in found.objects):
            return replace(found, objects=())
        return found

    def _read_proposals(
        self, rejected: tuple[ProposalKey, ...]
    ) -> tuple[tuple[PlaneProposals, ...], list[str]]:
        found, problems = [], []
        for saved in self.file.proposals:
            try:
                proposals = Proposals.load(self.path / _PROPOSALS / saved.file)
                plane = Plane(saved.axes, saved.index)
            except (FileFormatError, ValueError) as error:
                problems.append(str(error))
                continue
            own = tuple(key for key in rejected if key[0] == plane)
            found.append(
                PlaneProposals(plane, proposals, saved.offered, saved.confident, own)
            )
        return tuple(found), problems

    # -- writing ------------------------------------------------------------

    def open_journal(self) -> None:
        """Be ready for transactions; raises `FileFormatError` if the disk is not."""
        try:
            with suppress(FileNotFoundError):
                (self.path / CLOSED).unlink()
            self.journal = Journal(self.path / _JOURNAL, self._last)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    @property
    def sequence(self) -> int:
        """Number of the last transaction that it has."""
        return self._last if self.journal is None else self.journal.sequence

    def keep_under_way(self, now: UnderWay) -> None:
        """Write what is under way, in any thread; nothing if this is read-only.

        Raises
        ------
        FileFormatError
            If the folder cannot be written.
        """
        if self.is_read_only:
            return
        write_text(self.path / _UNDER_WAY, now.to_text())

    def append(self, transaction: Transaction) -> None:
        """Write a transaction to disk.

        Raises
        ------
        FileFormatError
            If the disk refuses, once until it works again; see `Journal`.
        """
        if self.journal is not None:
            self.journal.append(transaction)

    def begin_save(self, snapshot: Snapshot) -> Generator[Progress, None, None]:
        """Return a save to be run, perhaps in another thread, step by step.

        Call it between two transactions; more may follow while it runs.

        Raises
        ------
        FileFormatError
            If the folder can only be read, or cannot be written (also by the steps;
            a later save begins again).
        """
        if self._lock is None:
            raise FileFormatError(
                f"{self.path} can only be read, since {self.reason}; save it under"
                " another name."
            )
        records = dict(snapshot.records.to_json()["objects"])
        lineage = snapshot.records.lineage.to_json()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.journal is None:
                self.open_journal()
            journal = self.journal
            if journal is None:  # pragma: no cover - just made
                raise OSError("there is no journal")
            is_whole = not journal.is_failing
            old = journal.rotate()
        except OSError as error:
            if self.journal is not None:
                self.journal.give_up()
            raise _unwritable(self.path, error) from error
        return self._save(
            snapshot, records, lineage, journal, journal.sequence, old, is_whole
        )

    def save(self, snapshot: Snapshot) -> None:
        """Save at once; see `begin_save`."""
        for _ in self.begin_save(snapshot):
            pass

    def _save(
        self,
        snapshot: Snapshot,
        records: dict[str, dict[str, Any]],
        lineage: dict[str, Any],
        journal: Journal,
        sequence: int,
        old: list[Path],
        is_whole: bool,
    ) -> Generator[Progress, None, None]:
        try:
            if not self.array.exists:
                # A new project, or one whose folder was removed.
                _create_labels(self.array, self.file)
            if not is_whole:
                # The journal lacks something, so the chunks must not be half written.
                self._catch_up(snapshot, records, lineage, journal, sequence)
            total = self.array.n_chunks
            for done, _ in enumerate(self.array.write(snapshot.labels)):
                yield Progress(done + 1, total, "saving the labels")
            _replace(self.path / _OBJECTS, objects_text(records))
            proposals = self._write_proposals(snapshot.proposals)
            file = self.file.model_copy(
                update={
                    "program": napari_sam.__version__,
                    "modified": _now(timespec="microseconds"),
                    "sequence": sequence,
                    "next_label": snapshot.next_label,
                    "lineage": lineage,
                    "has_base": True,
                    "proposals": proposals,
                    "settings": snapshot.settings or self.file.settings,
                    "model": snapshot.model if snapshot.model.name else self.file.model,
                }
            )
            _write_file(self.path, file)
        except OSError as error:
            if not is_whole:
                journal.give_up()
            raise _unwritable(self.path, error) from error
        except FileFormatError:
            if not is_whole:
                journal.give_up()
            raise
        self.file = file
        # All the rest is only tidying.
        kept = {p.file for p in proposals}
        with suppress(OSError):
            for path in (self.path / _PROPOSALS).glob("*.npz"):
                if path.name not in kept:
                    path.unlink()
        for path in old:
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            number = segments(self.path / _JOURNAL)[-1][0] - 1
            (self.path / _JOURNAL / f"{number:06d}.journal").unlink(missing_ok=True)

    def _catch_up(
        self,
        snapshot: Snapshot,
        records: dict[str, dict[str, Any]],
        lineage: dict[str, Any],
        journal: Journal,
        sequence: int,
    ) -> None:
        """Put all that has changed since the last save into the journal."""
        stored, _ = read_objects(self.path / _OBJECTS)
        after: dict[int, dict[str, Any] | None] = {int(n): None for n in stored}
        after |= {int(n): r for n, r in records.items()}
        changed = (
            (self.array.start_of(chunk), block)
            for chunk, block in self.array.changed(snapshot.labels)
            if block is not None
        )
        number = segments(journal.folder)[-1][0] - 1
        path = journal.folder / f"{number:06d}.journal"
        with replacing(path) as aside, aside.open("wb") as stream:
            free = snapshot.next_label
            for frame in encode_chunks(sequence, changed, after, free, lineage):
                stream.write(frame)
        sync_folder(journal.folder)

    def _write_proposals(
        self, proposals: Sequence[PlaneProposals]
    ) -> tuple[SavedProposals, ...]:
        folder = self.path / _PROPOSALS
        saved = []
        for one in proposals:
            folder.mkdir(exist_ok=True)
            # A new name, so that those of the last save stay until this one counts.
            name = f"{uuid.uuid4().hex[:12]}.npz"
            one.proposals.save(folder / name)
            saved.append(
                SavedProposals(
                    file=name,
                    axes=one.plane.displayed,
                    index=one.plane.index,
                    offered=one.offered,
                    confident=one.confident,
                )
            )
        return tuple(saved)

    def identify(self, image: ImageIdentity) -> None:
        """Say which image it belongs to, once its pixels have been looked at.

        Raises
        ------
        FileFormatError
            If the folder cannot be written.
        """
        file = self.file.model_copy(update={"image": _located(image, self.path)})
        if not self.is_read_only:
            _write_file(self.path, file)
        self.file = file

    # -- life ---------------------------------------------------------------

    def go_on(self) -> None:
        """Be ready for more transactions without reading the labels.

        Raises
        ------
        FileFormatError
            If the disk is not.
        """
        self._last = self.file.sequence
        for entry in read_journal(self.path / _JOURNAL, self._last):
            self._last = max(self._last, entry.sequence)
        self.open_journal()

    def close(self, *, finished: bool = True, offered: bool = True) -> None:
        """Let go of it.

        Parameters
        ----------
        finished : bool
            Whether its session ends as usual: unsaved work is then kept for a limited
            time, see `recovery.sweep`.
        offered : bool
            Whether unsaved work is to be offered to who opens the image again.
        """
        if self.journal is not None:
            self.journal.close()
            self.journal = None
        if finished and self._lock is not None:
            with suppress(FileFormatError):
                write_text(self.path / CLOSED, "" if offered else NOT_OFFERED)
        if self._lock is not None:
            self._lock.release()

    def remove(self) -> None:
        """Delete the folder, as the user asked or since it is saved elsewhere."""
        self.close(finished=False)
        shutil.rmtree(self.path, ignore_errors=True)


def create_project(
    path: Path,
    image: ImageIdentity,
    labels: LabelsInfo,
    *,
    has_base: bool = True,
    saved: bool = True,
    sequence: int = 0,
) -> ProjectFolder:
    """Make a project folder with empty labels, ready for transactions.

    Raises
    ------
    FileFormatError
        If there is something already, or the folder cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileFormatError(f"{path} is there already; choose another name.")
    now = _now()
    file = ProjectFile(
        program=napari_sam.__version__,
        id=uuid.uuid4().hex,
        created=now,
        modified=now,
        saved=saved,
        image=_located(image, path),
        labels=labels,
        has_base=has_base,
        sequence=sequence,
    )
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / _LOCK)
        if not lock.acquire():
            raise FileFormatError(f"{path} is in use by {lock.holder()}.")
        try:
            # The labels' folder is made by the first save: until then they are the
            # journal over zeros, and making one would keep the first click waiting.
            folder = ProjectFolder(path, file, lock)
            _replace(path / _OBJECTS, "")
            _write_file(path, file)
            folder.open_journal()
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise _unwritable(path, error) from error
    return folder


def open_folder(path: str | os.PathLike[str]) -> ProjectFolder:
    """Open a project; for reading only if another window or program has it.

    Raises
    ------
    FileFormatError
        If it is no project, damaged, or of a newer version.
    """
    folder = Path(path)
    if folder.name == PROJECT:
        folder = folder.parent
    file = _read_file(folder)
    lock = FileLock(folder / _LOCK)
    try:
        reason = "" if lock.acquire() else f"{lock.holder()} has it open"
    except OSError as error:
        reason = f"its folder cannot be written ({error.strerror})"
    return ProjectFolder(folder, file, None if reason else lock, reason)


def is_project(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a project."""
    return Path(path, PROJECT).is_file()


def check_project_name(path: Path) -> Path:
    """Return a path that ends in ``.napari-sam``."""
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def _read_file(folder: Path) -> ProjectFile:
    path = folder / PROJECT
    try:
        return parse_project(path.read_bytes(), path)
    except OSError as error:
        raise FileFormatError(
            f"{folder} is no project that can be read ({error.strerror}:"
            f" {path.name}); choose a folder that ends in {SUFFIX}."
        ) from error


def _write_file(folder: Path, file: ProjectFile) -> None:
    _replace(folder / PROJECT, file.model_dump_json(indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    """Replace a file by another that is on disk before it has the name."""
    write_text(path, text)
    sync_folder(path.parent)


def _create_labels(array: LabelsArray, file: ProjectFile) -> None:
    image = file.image
    array.create(
        axes=image.axes,
        scale=image.scale,
        translate=image.translate,
        units=image.units,
    )


def _located(image: ImageIdentity, folder: Path) -> ImageIdentity:
    """Add where the image's file is as seen from the folder."""
    if image.path is None:
        return image
    try:
        relative = os.path.relpath(image.path, folder)
    except ValueError:  # another drive
        return image
    return image.model_copy(update={"relative": Path(relative).as_posix()})


def _now(timespec: str = "seconds") -> str:
    return datetime.now(UTC).isoformat(timespec=timespec)


def _unwritable(path: Path, error: OSError) -> FileFormatError:
    return FileFormatError(
        f"{path} cannot be written ({error.strerror or error}); nothing in memory is"
        " lost, so free some space there or save somewhere else."
    )
