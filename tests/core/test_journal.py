"""What a journal has written is read again, and nothing else, whatever happens."""

from __future__ import annotations

import json
import os
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.annotation import journal as journal_module
from napari_sam.core.annotation.journal import (
    Journal,
    JournalReport,
    encode,
    read_journal,
    segments,
)
from napari_sam.core.annotation.prompts import PointItem, PromptItems
from napari_sam.core.annotation.records import ObjectRecord, ObjectRecords
from napari_sam.core.annotation.transaction import (
    PixelChange,
    RecordChange,
    Transaction,
    plane_change,
)
from napari_sam.errors import FileFormatError
from napari_sam.types import Plane, Region

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 20, 30)


def transactions(count: int, seed: int = 0) -> tuple[np.ndarray, list[Transaction]]:
    """Return labels after some random transactions, and these."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    made = []
    for label in range(1, count + 1):
        z, r, c = (int(rng.integers(0, n)) for n in (3, 12, 20))
        plane, region = Plane((1, 2), (z, None, None)), Region(r, c, r + 7, c + 9)
        before = labels[z, r : r + 7, c : c + 9].copy()
        after = np.where(rng.random(before.shape) < 0.7, label, before)
        after[0, 0] = label + 100  # two values in one change
        record = ObjectRecord(
            label,
            PromptItems((PointItem((z, r + 3.0, c + 4.0), True, (1, 2)),)),
            "some-model",
            0.9,
        )
        made.append(
            Transaction(
                (plane_change(plane, region, before, after),),
                (RecordChange(label, None, record),),
                (label, label + 1),
            )
        )
        labels[z, r : r + 7, c : c + 9] = after
        if label % 3 == 0:
            undone = made[-1].inverse()
            made.append(undone)
            undone.pixels[0].write_to(labels)
    return labels, made


def replayed(folder: Path, report: JournalReport | None = None) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    for entry in read_journal(folder, 0, report):
        for block in entry.pixels:
            block.write_to(labels)
    return labels


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    labels, made = transactions(7)
    journal = Journal(tmp_path)
    for transaction in made[:4]:
        journal.append(transaction)
    journal.close()
    again = Journal(tmp_path, 4)
    for transaction in made[4:]:
        again.append(transaction)
    report = JournalReport()
    entries = list(read_journal(tmp_path, 0, report))
    assert [e.sequence for e in entries] == list(range(1, len(made) + 1))
    assert (report.torn, report.damaged) == (0, [])
    assert np.array_equal(replayed(tmp_path), labels)
    records = ObjectRecords()
    for entry in entries:
        records.apply(
            {
                n: None if r is None else ObjectRecord.from_json(n, r)
                for n, r in entry.records.items()
            }
        )
    assert [r.label for r in records] == [1, 2, 4, 5, 7]
    # Over labels that have it all already, it changes nothing.
    twice = labels.copy()
    for entry in entries:
        for block in entry.pixels:
            block.write_to(twice)
    assert np.array_equal(twice, labels)
    assert [e.sequence for e in read_journal(tmp_path, 6)] == [7, 8, 9]


def test_a_large_change_is_divided_and_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_PIXELS", 50)
    rng = np.random.default_rng(1)
    after = rng.integers(0, 4, SHAPE).astype(np.int32)
    mask = after > 0
    change = PixelChange((0, 0, 0), mask, np.zeros(mask.sum(), np.int32), after[mask])
    assert len(encode(1, Transaction((change,)))) > 30
    Journal(tmp_path).append(Transaction((change,)))
    assert np.array_equal(replayed(tmp_path), after)


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[np.ndarray]]:
    """Return a segment's bytes and what the labels are after each transaction."""
    folder = tmp_path_factory.mktemp("journal")
    _, made = transactions(4)
    journal = Journal(folder)
    states, labels = [np.zeros(SHAPE, np.int32)], np.zeros(SHAPE, np.int32)
    for transaction in made:
        journal.append(transaction)
        for change in transaction.pixels:
            change.write_to(labels)
        states.append(labels.copy())
    journal.close()
    return (folder / "000001.journal").read_bytes(), states


def test_a_torn_tail_is_cut_at_every_byte(
    tmp_path: Path, segment: tuple[bytes, list[np.ndarray]]
) -> None:
    data, states = segment
    path = tmp_path / "000001.journal"
    seen = set()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        report = JournalReport()
        entries = list(read_journal(tmp_path, 0, report))
        labels = np.zeros(SHAPE, np.int32)
        for entry in entries:
            for block in entry.pixels:
                block.write_to(labels)
        assert np.array_equal(labels, states[len(entries)])
        assert report.damaged == []
        seen.add(len(entries))
    assert seen == set(range(len(states)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_costs_a_transaction_and_is_never_misread(
    tmp_path_factory: pytest.TempPathFactory,
    segment: tuple[bytes, list[np.ndarray]],
    data: st.DataObject,
) -> None:
    raw, _ = segment
    _, made = transactions(4)
    folder = tmp_path_factory.mktemp("damaged")
    at = data.draw(st.integers(0, len(raw) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = bytearray(raw)
    damaged[at] ^= flip
    (folder / "000001.journal").write_bytes(bytes(damaged))
    report = JournalReport()
    entries = list(read_journal(folder, 0, report))
    assert len(entries) == len(made) - 1
    assert report.damaged or report.torn
    for entry in entries:
        (change,), (block,) = made[entry.sequence - 1].pixels, entry.pixels
        assert block.start == change.start
        assert np.array_equal(block.mask, change.mask)
        assert np.array_equal(block.values, change.after)


def test_a_segment_of_another_session_is_never_written_to(tmp_path: Path) -> None:
    _, made = transactions(2)
    first = Journal(tmp_path)
    first.append(made[0])
    first.close()
    path = tmp_path / "000001.journal"
    torn = path.read_bytes()[:-3]
    path.write_bytes(torn)
    second = Journal(tmp_path)
    second.append(made[1])
    assert path.read_bytes() == torn
    assert len(segments(tmp_path)) == 2
    assert len(list(read_journal(tmp_path, 0))) == 1


def test_an_unused_segment_leaves_no_file(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_removed_folder_is_told_once_and_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    labels, made = transactions(4)
    folder, aside = tmp_path / "journal", tmp_path / "aside"
    journal = Journal(folder)
    journal.append(made[0])
    folder.rename(aside)
    with pytest.raises(
        FileFormatError, match=r"cannot be kept safe .* no longer there"
    ):
        journal.append(made[1])
    journal.append(made[2])  # said once
    assert journal.is_failing
    assert journal.is_complete
    aside.rename(folder)
    for transaction in made[3:]:
        journal.append(transaction)
    assert not journal.is_failing
    assert np.array_equal(replayed(folder), labels)


def test_what_waits_for_the_disk_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_MAX_PENDING", 100)
    _, made = transactions(3)
    journal = Journal(tmp_path / "journal")
    journal.append(made[0])
    (tmp_path / "journal").rename(tmp_path / "aside")
    with pytest.raises(FileFormatError):
        journal.append(made[1])
    assert not journal.is_complete
    journal.append(made[2])
    assert journal.sequence == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of a process")
def test_a_full_disk_is_told_once_and_nothing_is_half_written(tmp_path: Path) -> None:
    """A limit on the size of files makes the disk refuse in the middle of a write."""
    import resource
    import signal

    labels, made = transactions(6)
    size = sum(len(f) for t in made[:3] for f in encode(1, t))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = Journal(tmp_path)
    told = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, hard))
        for transaction in made[:-1]:
            try:
                journal.append(transaction)
            except FileFormatError:
                told += 1
        assert len(list(read_journal(tmp_path, 0))) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert told == 1
    journal.append(made[-1])  # there is room again
    report = JournalReport()
    assert np.array_equal(replayed(tmp_path, report), labels)
    assert (report.torn, report.damaged) == (0, [])


def test_a_segment_that_cannot_be_read_is_told_and_the_others_are(
    tmp_path: Path,
) -> None:
    _, made = transactions(2)
    journal = Journal(tmp_path)
    journal.append(made[0])
    journal.rotate()
    journal.append(made[1])
    in_the_way = tmp_path / "000002.journal"
    in_the_way.mkdir()
    report = JournalReport()
    entries = list(read_journal(tmp_path, 0, report))
    assert [e.sequence for e in entries] == [1, 2]
    assert report.damaged == [in_the_way]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sequence", "shape", "1"]), inner)
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.tuples(st.just("any"), st.binary(max_size=40)),
        st.tuples(st.just("commit"), VALUES),
        st.tuples(
            st.just("commit"),
            st.fixed_dictionaries(
                dict.fromkeys(("sequence", "frames", "next_label", "records"), VALUES)
            ),
        ),
        st.tuples(
            st.just("pixels"),
            st.fixed_dictionaries(
                {
                    "sequence": st.just(2) | VALUES,
                    "start": st.just([0, 0, 0]) | VALUES,
                    "shape": st.just([1, 1, 3]) | VALUES,
                    "dtype": st.sampled_from(["<i4", "O", "no"]) | VALUES,
                    "constant": VALUES,
                }
            ),
        ),
    ),
    st.sampled_from([1, 2]),
)
def test_a_sound_frame_of_another_program_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, content: tuple[str, object], kind: int
) -> None:
    """As a later version may write: what is before and after it is read."""
    what, value = content
    if isinstance(value, bytes):
        payload = value
    elif what == "commit":
        payload = zlib.compress(json.dumps(value).encode())
    else:
        text = json.dumps(value).encode()
        payload = struct.pack("<I", len(text)) + text + zlib.compress(b"\x07" * 13)
    _, made = transactions(3)
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "000001.journal").write_bytes(
        b"".join(
            [
                *encode(1, made[0]),
                journal_module._frame(kind, payload),
                *encode(3, made[1]),
            ]
        )
    )
    report = JournalReport()
    entries = [e for e in read_journal(folder, 0, report) if e.sequence != 2]
    assert {e.sequence for e in entries} >= {1, 3}
    own = {e.sequence: e for e in entries if e.pixels}
    for number, transaction in ((1, made[0]), (3, made[1])):
        (block,), (change,) = own[number].pixels, transaction.pixels
        assert block.start == change.start
        assert np.array_equal(block.values, change.after)
