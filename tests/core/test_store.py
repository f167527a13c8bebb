from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.embeddings.disk_cache import EntryFolder
from napari_sam.core.embeddings.file_format import DamagedEntry, dumps, loads
from napari_sam.core.embeddings.store import (
    EmbeddingStore,
    default_folder,
    embedding_key,
)
from napari_sam.core.imaging import to_rgb
from napari_sam.types import Embedding, Frame

SMALL = (4, 8, 8)
MEDIUM = (64, 64, 64)  # long enough to write for others to see half of it
SMALL_FILE = 1024  # more than a small entry takes on disk


def key_of(number: int) -> str:
    return f"{number:040x}"


def make(
    number: int = 0,
    shape: tuple[int, ...] = SMALL,
    names: tuple[str, ...] = ("features",),
) -> Embedding:
    rng = np.random.default_rng(number)
    tensors = {name: rng.normal(size=shape).astype(np.float16) for name in names}
    return Embedding(tensors, Frame((30, 40), (768, 1024), 1024), "model-1")


def same(a: Embedding | None, b: Embedding) -> bool:
    return (
        a is not None
        and a.tensors.keys() == b.tensors.keys()
        and all(np.array_equal(a.tensors[n], b.tensors[n]) for n in b.tensors)
        and all(tensor.dtype == np.float16 for tensor in a.tensors.values())
        and (a.frame, a.model) == (b.frame, b.model)
    )


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "store")


@pytest.fixture
def disk_only(tmp_path):
    return EmbeddingStore(tmp_path / "store", ram_bytes=0)


# -- what is kept ------------------------------------------------------------


def test_an_embedding_is_found_again_in_another_session(store):
    assert store.get(key_of(1)) is None
    assert key_of(1) not in store
    store.put(key_of(1), make(1))
    assert key_of(1) in store
    again = EmbeddingStore(store.folder)
    assert key_of(1) in again
    found = again.get(key_of(1))
    assert same(found, make(1))
    assert found.features.flags.writeable  # torch warns about read-only arrays
    assert again.get(key_of(1)) is found


def test_nothing_is_made_on_disk_before_the_first_entry(store):
    assert store.get(key_of(1)) is None
    assert store.info().entries == 0
    store.clear()
    assert not store.folder.exists()


def test_key_depends_on_pixels_shape_and_model_only():
    rgb = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    key = embedding_key(rgb, "a")
    assert len(key) == 40
    assert key == embedding_key(rgb.copy(), "a")
    assert key == embedding_key(np.flip(np.flip(rgb, 0).copy(), 0), "a")
    assert key != embedding_key(rgb.reshape(5, 4, 3), "a")
    assert key != embedding_key(rgb, "b")
    changed = rgb.copy()
    changed[3, 4, 2] += 1
    assert key != embedding_key(changed, "a")


def test_key_changes_with_the_preprocessing_version(monkeypatch):
    rgb = np.zeros((2, 2, 3), np.uint8)
    before = embedding_key(rgb, "a")
    monkeypatch.setattr("napari_sam.core.embeddings.store.PREPROCESSING_VERSION", 999)
    assert embedding_key(rgb, "a") != before


def test_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here" / "embeddings"
    assert EmbeddingStore().folder == default_folder()
    monkeypatch.delenv("NAPARI_SAM_CACHE_DIR")
    assert "napari-sam" in str(default_folder())


def test_info_counts_and_clear_leaves_other_files_alone(store):
    store.put(key_of(1), make(1))
    store.put(key_of(2), make(2))
    mine = store.folder / "notes.txt"
    mine.write_text("keep")
    other = store.folder / "weights.safetensors"
    other.write_bytes(b"keep")
    info = store.info()
    assert (info.entries, info.ram_entries) == (2, 2)
    assert info.ram_bytes == 2 * make().nbytes
    assert info.bytes == sum(p.stat().st_size for p in store.folder.glob("0*"))
    assert info.folder == store.folder
    store.clear()
    assert files(store.folder) == ["notes.txt", "weights.safetensors"]
    assert key_of(1) not in store
    info = store.info()
    assert (info.entries, info.bytes, info.ram_entries, info.ram_bytes) == (0,) * 4


# -- budgets -----------------------------------------------------------------


def test_ram_drops_the_least_recently_used(tmp_path):
    one = make().nbytes
    store = EmbeddingStore(tmp_path, ram_bytes=3 * one, disk_bytes=0)
    for i in range(3):
        store.put(key_of(i), make(i))
    store.get(key_of(0))
    store.put(key_of(3), make(3))
    assert [key_of(i) in store for i in range(4)] == [True, False, True, True]
    store.put(key_of(0), make(0))  # again: counted once
    assert store.info().ram_bytes == 3 * one
    assert [key_of(i) in store for i in range(4)] == [True, False, True, True]
    assert files(tmp_path) == []


def test_disk_drops_the_least_recently_used(tmp_path):
    size = len(dumps(key_of(0), make()))
    store = EmbeddingStore(tmp_path, ram_bytes=0, disk_bytes=8 * size)
    for i in range(8):
        store.put(key_of(i), make(i))
        os.utime(tmp_path / f"{key_of(i)}.safetensors", (1000 + i, 1000 + i))
    assert same(store.get(key_of(0)), make(0))
    store.put(key_of(8), make(8))
    kept = {i for i in range(9) if key_of(i) in store}
    assert kept == {0, 3, 4, 5, 6, 7, 8}
    assert store.info().bytes <= 8 * size


def test_the_entry_just_written_is_never_the_one_dropped(tmp_path):
    size = len(dumps(key_of(0), make()))
    store = EmbeddingStore(tmp_path, ram_bytes=0, disk_bytes=size)
    for i in range(3):
        store.put(key_of(i), make(i))
        assert files(tmp_path) == [f"{key_of(i)}.safetensors"]


def test_what_another_store_writes_counts_too(tmp_path):
    size = len(dumps(key_of(0), make()))
    stores = [
        EmbeddingStore(tmp_path, ram_bytes=0, disk_bytes=32 * size) for _ in range(2)
    ]
    for i in range(60):
        stores[i % 2].put(key_of(i), make(i))
    # Each may exceed the budget by a sixteenth and the entry being written.
    assert len(files(tmp_path)) <= 32 + 2 * (32 // 16 + 1)


def test_hits_in_ram_count_as_use_on_disk(store):
    store.put(key_of(0), make(0))
    path = store.folder / f"{key_of(0)}.safetensors"
    os.utime(path, (1000, 1000))
    store.get(key_of(0))
    assert path.stat().st_mtime > 1000


def test_the_folder_is_counted_rarely(tmp_path, monkeypatch):
    counted = []
    scan = EntryFolder.scan
    monkeypatch.setattr(
        EntryFolder, "scan", lambda self: counted.append(1) or scan(self)
    )
    size = len(dumps(key_of(0), make()))
    store = EmbeddingStore(tmp_path, ram_bytes=0, disk_bytes=64 * size)
    for i in range(200):
        store.put(key_of(i), make(i))
    assert len(counted) <= 200 / 4
    assert len(files(tmp_path)) <= 64


def test_an_entry_beyond_every_budget_is_not_kept(tmp_path):
    store = EmbeddingStore(tmp_path, ram_bytes=10, disk_bytes=10)
    store.put(key_of(0), make())
    assert key_of(0) not in store
    assert store.get(key_of(0)) is None
    assert store.problem is None


# -- damage ------------------------------------------------------------------


@given(st.integers(0, 10**9), st.integers(0, 7))
@settings(max_examples=400, deadline=None)
def test_any_flipped_bit_is_noticed(place, bit):
    content = bytearray(dumps(key_of(5), make(5)))
    content[place % len(content)] ^= 1 << bit
    with pytest.raises(DamagedEntry):
        loads(key_of(5), bytes(content))


@given(st.integers(0, 10**9))
@settings(max_examples=200, deadline=None)
def test_any_truncation_is_noticed(length):
    content = dumps(key_of(5), make(5))
    with pytest.raises(DamagedEntry):
        loads(key_of(5), content[: length % len(content)])


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_other_bytes_are_noticed(content):
    with pytest.raises(DamagedEntry):
        loads(key_of(5), content)


SEVERAL = ("features", "fine", "finer")


def changed(content: bytes, change) -> bytes:
    """Return the content of an entry with other tensors, all else as it was."""
    from safetensors.numpy import load, save

    length = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + length])["__metadata__"]
    return save(change(load(content)), about)


def first_format(number: int) -> bytes:
    """Return an entry as it was written before tensors had names of their own."""
    from safetensors.numpy import save

    features, key = make(number).features, key_of(number)
    about = {
        "format": "napari-sam embedding 1",
        "key": key,
        "model": "model-1",
        "frame": json.dumps([[30, 40], [768, 1024], 1024]),
    }
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([about, features.shape], sort_keys=True).encode())
    digest.update(features.data)
    return save({"features": features}, about | {"checksum": digest.hexdigest()})


def test_all_tensors_of_an_embedding_are_found_again(disk_only):
    several = make(3, names=SEVERAL)
    assert several.nbytes == 3 * make(3).nbytes
    disk_only.put(key_of(3), several)
    found = disk_only.get(key_of(3))
    assert same(found, several)
    assert all(tensor.flags.writeable for tensor in found.tensors.values())
    number = np.array(7, np.float16)  # stored as it is, without an axis
    disk_only.put(key_of(4), replace(several, tensors=several.tensors | {"n": number}))
    assert disk_only.get(key_of(4)).tensors["n"].shape == ()
    with pytest.raises(ValueError, match="features"):
        make(3, names=("fine",))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {n: t[n] for n in ("features", "fine")},
        lambda t: {n: t[n] for n in ("fine", "finer")},
        lambda t: {},
        lambda t: t | {"more": t["fine"]},
        lambda t: t | {"fine": t["finer"], "finer": t["fine"]},
        lambda t: t | {"fine": t["fine"].astype(np.float32)},
    ],
    ids=["one missing", "features missing", "none", "one more", "swapped", "wide"],
)
def test_an_entry_with_other_tensors_is_dropped(disk_only, change):
    disk_only.put(key_of(1), make(1, names=SEVERAL))
    path = disk_only.folder / f"{key_of(1)}.safetensors"
    path.write_bytes(changed(path.read_bytes(), change))
    assert disk_only.get(key_of(1)) is None
    assert not path.exists()


@pytest.mark.parametrize("keep", [1, 9, 100, 0.5, -1])
def test_an_entry_of_several_tensors_cut_short_is_dropped(disk_only, keep):
    disk_only.put(key_of(1), make(1, names=SEVERAL))
    path = disk_only.folder / f"{key_of(1)}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else len(content) // 2])
    assert disk_only.get(key_of(1)) is None
    assert not path.exists()


def test_an_entry_of_the_first_format_is_dropped(disk_only):
    disk_only.put(key_of(2), make(2))
    path = disk_only.folder / f"{key_of(1)}.safetensors"
    path.write_bytes(first_format(1))
    assert disk_only.get(key_of(1)) is None
    assert not path.exists()
    disk_only.put(key_of(1), make(1))
    assert same(disk_only.get(key_of(1)), make(1))


def test_entries_of_the_first_format_make_room(tmp_path):
    """They have keys that nobody asks for, so they are the least recently used."""
    rgb = np.zeros((4, 5, 3), np.uint8)
    former = hashlib.blake2b(f"1 a {rgb.shape}\n".encode(), digest_size=20)
    former.update(rgb.data)
    assert embedding_key(rgb, "a") != former.hexdigest()
    size = len(dumps(key_of(0), make()))
    for number in range(8):
        path = tmp_path / f"{key_of(100 + number)}.safetensors"
        path.write_bytes(first_format(100 + number))
        os.utime(path, (number, number))
    store = EmbeddingStore(tmp_path, ram_bytes=0, disk_bytes=4 * size)
    for number in range(3):
        store.put(key_of(number), make(number))
    assert all(same(store.get(key_of(n)), make(n)) for n in range(3))
    assert store.info().bytes <= 4 * size


def test_an_entry_under_another_name_is_noticed():
    with pytest.raises(DamagedEntry, match="another entry"):
        loads(key_of(6), dumps(key_of(5), make(5)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[: len(c) // 2],
        lambda c: b"",
        lambda c: bytes(len(c)),
        lambda c: c[:-3] + bytes([c[-3] ^ 16]) + c[-2:],
        lambda c: dumps(key_of(2), make(2)),
    ],
    ids=["cut", "empty", "zeros", "bit", "other"],
)
def test_a_damaged_entry_is_dropped_logged_and_computed_again(
    disk_only, caplog, damage
):
    disk_only.put(key_of(1), make(1))
    path = disk_only.folder / f"{key_of(1)}.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert disk_only.get(key_of(1)) is None
    assert key_of(1) in caplog.text
    assert not path.exists()
    disk_only.put(key_of(1), make(1))
    assert same(disk_only.get(key_of(1)), make(1))


def test_a_header_of_a_thousand_brackets_is_damage(disk_only):
    header = b'{"__metadata__":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    path = disk_only.folder / f"{key_of(1)}.safetensors"
    path.parent.mkdir()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert disk_only.get(key_of(1)) is None
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and devices")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_no_entry(disk_only, kind):
    disk_only.put(key_of(2), make(2))
    path = disk_only.folder / f"{key_of(1)}.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert key_of(1) not in disk_only
    assert disk_only.get(key_of(1)) is None
    assert disk_only.info().entries == 1
    disk_only.put(key_of(1), make(1))
    assert (key_of(1) in disk_only) == (kind != "folder")
    assert same(disk_only.get(key_of(2)), make(2))


def test_an_entry_dated_in_the_future_is_dropped_first(tmp_path):
    size = len(dumps(key_of(0), make()))
    store = EmbeddingStore(tmp_path, ram_bytes=0, disk_bytes=16 * size)
    for number in range(3):
        store.put(key_of(number), make(number))
    ahead = time.time() + 10 * 365 * 86_400
    os.utime(tmp_path / f"{key_of(1)}.safetensors", (ahead, ahead))
    for number in range(3, 18):
        store.put(key_of(number), make(number))
    assert key_of(1) not in store
    assert key_of(17) in store


def test_a_folder_may_be_named_by_a_string(tmp_path):
    store = EmbeddingStore(str(tmp_path / "store"))
    store.put(key_of(1), make(1))
    assert same(EmbeddingStore(tmp_path / "store").get(key_of(1)), make(1))


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get(3),
        lambda store: None in store,
        lambda store: store.get("../../etc/passwd"),
        lambda store: "a\0b" in store,
        lambda store: store.put("short", make()),
        lambda store: store.put(key_of(1), np.zeros(3)),
        lambda store: EmbeddingStore(5),
        lambda store: EmbeddingStore(""),
        lambda store: EmbeddingStore("a\0b"),
        lambda store: EmbeddingStore(store.folder, ram_bytes="1 GB"),
        lambda store: EmbeddingStore(store.folder, disk_bytes=float("nan")),
        lambda store: EmbeddingStore(store.folder, disk_bytes=-1),
    ],
)
def test_wrong_arguments_are_refused_and_change_nothing(store, call):
    store.put(key_of(2), make(2))
    with pytest.raises((TypeError, ValueError), match=r"\w+ \w+"):
        call(store)
    assert files(store.folder) == [f"{key_of(2)}.safetensors"]
    assert store.info().ram_entries == 1


_ANYTHING = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=50),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([key_of(2), key_of(3), make(3), {}, object]),
)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(["get", "put", "contains", "new"]), args=st.data())
def test_any_call_answers_or_is_refused_in_words(tmp_path_factory, name, args):
    folder = tmp_path_factory.mktemp("store")
    store = EmbeddingStore(folder, ram_bytes=0)
    store.put(key_of(2), make(2))
    first, second = args.draw(_ANYTHING), args.draw(_ANYTHING)
    try:
        if name == "get":
            store.get(first)
        elif name == "put":
            store.put(first, second)
        elif name == "contains":
            first in store  # noqa: B015 - only whether it raises
        else:
            EmbeddingStore(folder / "other", ram_bytes=first, disk_bytes=second)
    except (TypeError, ValueError) as error:
        assert " " in str(error)  # noqa: PT017 - some calls are right
    assert set(files(folder)) - {f"{key_of(3)}.safetensors"} == {
        f"{key_of(2)}.safetensors"
    }


# -- a disk that does not take part ------------------------------------------


def works_in_ram(store: EmbeddingStore) -> bool:
    store.put(key_of(77), make(77))
    return key_of(77) in store and same(store.get(key_of(77)), make(77))


@pytest.mark.parametrize("below", [".", "embeddings", "a/b"])
def test_a_file_in_place_of_the_folder_is_reported_once(tmp_path, caplog, below):
    obstacle = tmp_path / "store"
    obstacle.write_text("a file")
    told = []
    store = EmbeddingStore(obstacle / below, on_problem=told.append)
    with caplog.at_level(logging.WARNING):
        assert works_in_ram(store)
        store.put(key_of(2), make(2))
        assert store.get(key_of(3)) is None
    assert told == [store.problem]
    assert len(caplog.records) == 1
    assert str(obstacle) in told[0]
    assert told[0].endswith("choose another cache folder.")
    assert store.info().entries == 0
    store.clear()
    assert obstacle.read_text() == "a file"


def test_a_folder_that_vanishes_is_made_again(disk_only):
    disk_only.put(key_of(1), make(1))
    shutil.rmtree(disk_only.folder.parent)
    assert key_of(1) not in disk_only
    assert disk_only.get(key_of(1)) is None
    assert disk_only.info().entries == 0
    disk_only.put(key_of(2), make(2))
    assert same(disk_only.get(key_of(2)), make(2))
    assert disk_only.problem is None


def test_on_a_full_disk_old_entries_make_room(small_disk):
    store = EmbeddingStore(small_disk, ram_bytes=0)
    for i in range(64):
        store.put(key_of(i), make(i))
    assert store.problem is None
    assert same(store.get(key_of(63)), make(63))
    assert 8 <= store.info().entries < 32
    assert not [name for name in files(small_disk) if name.endswith(".tmp")]


def test_a_disk_filled_by_others_is_reported_and_used_again_later(small_disk, caplog):
    filler = small_disk / "big"
    filler.write_bytes(bytes(64 * 1024))
    told = []
    store = EmbeddingStore(small_disk, on_problem=told.append)
    with caplog.at_level(logging.WARNING):
        assert works_in_ram(store)
        assert works_in_ram(store)
    assert files(small_disk) == ["big"]
    assert "No space left" in store.problem
    assert len(told) == len(caplog.records) == 1
    filler.unlink()
    store.put(key_of(1), make(1))
    assert store.problem is None
    assert same(EmbeddingStore(small_disk).get(key_of(1)), make(1))


def test_a_read_only_folder_still_answers(small_disk, caplog):
    EmbeddingStore(small_disk).put(key_of(1), make(1))
    damaged = small_disk / f"{key_of(2)}.safetensors"
    damaged.write_bytes(b"damaged")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    told = []
    store = EmbeddingStore(small_disk, on_problem=told.append)
    with caplog.at_level(logging.WARNING):
        assert same(store.get(key_of(1)), make(1))
        assert store.problem is None
        assert store.get(key_of(2)) is None
        assert works_in_ram(store)
        store.put(key_of(3), make(3))
    assert len(told) == 1
    assert "Read-only" in told[0]
    store.clear()
    assert len(files(small_disk)) == 2


IN_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import *
"""


def child(code: str, *args: object) -> subprocess.Popen[str]:
    """Start Python on some code that sees this module's names."""
    prelude = IN_CHILD.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process to end well; return what it printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file-size limit")
def test_a_file_that_cannot_grow_leaves_nothing_behind(tmp_path):
    code = """
import resource
store = EmbeddingStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
store.put(key_of(1), make(1))
print(store.problem)
print(same(store.get(key_of(1)), make(1)))
"""
    out = finish(child(code, tmp_path / "store")).splitlines()
    assert "too large" in out[0]
    assert out[1] == "True"
    assert files(tmp_path / "store") == []


# -- processes and threads ---------------------------------------------------

WRITE_FOREVER = """
store = EmbeddingStore(Path(sys.argv[1]), ram_bytes=0)
big = make(0, (256, 128, 128))
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    store.put(key_of(number), big)
    number += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kill_while_writing_leaves_no_half_entry_and_no_litter(tmp_path, caplog):
    folder = tmp_path / "store"
    big = make(0, (256, 128, 128))
    kills_mid_write = 0
    for attempt in range(60):
        # On a busy machine a write may be over before the signal arrives.
        if attempt >= 8 and kills_mid_write:
            break
        process = child(WRITE_FOREVER, folder, attempt * 1000)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        deadline = time.monotonic() + 30
        while not any(n.endswith(".tmp") for n in files(folder)):
            assert time.monotonic() < deadline
        time.sleep(attempt % 8 * 2e-3)
        process.kill()
        process.communicate()
        kills_mid_write += any(n.endswith(".tmp") for n in files(folder))
    assert kills_mid_write >= 1
    store = EmbeddingStore(folder, ram_bytes=0)
    with caplog.at_level(logging.WARNING):
        for name in files(folder):
            if name.endswith(".safetensors"):
                assert same(store.get(name.split(".")[0]), big)
    assert not caplog.records
    store.put(key_of(999_999), make())
    assert not [name for name in files(folder) if name.endswith(".tmp")]
    assert key_of(999_999) in store


SHARE = """
import logging
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
rng = np.random.default_rng(int(sys.argv[2]))
expected = [make(i, MEDIUM) for i in range(60)]
size = len(dumps(key_of(0), expected[0]))
store = EmbeddingStore(Path(sys.argv[1]), ram_bytes=0, disk_bytes=32 * size)
hits = 0
for step in range(750):
    i = int(rng.integers(60))
    found = store.get(key_of(i))
    if found is None:
        store.put(key_of(i), expected[i])
    else:
        hits += 1
        assert same(found, expected[i]), i
    if step % 250 == 125:
        store.clear()
    if step % 100 == 50:
        assert store.info().entries <= 60
assert store.problem is None, store.problem
assert hits > 100, hits
"""


def test_two_processes_share_a_folder(tmp_path):
    folder = tmp_path / "store"
    processes = [child(SHARE, folder, seed) for seed in (1, 2)]
    # Nothing is logged: no entry was ever seen damaged, no write failed.
    assert [finish(p) for p in processes] == ["", ""]
    assert not [name for name in files(folder) if name.endswith(".tmp")]
    store = EmbeddingStore(folder, ram_bytes=0)
    size = len(dumps(key_of(0), make(0, MEDIUM)))
    assert 0 < store.info().bytes <= (32 + 2 * (32 // 16 + 1)) * size
    for name in files(folder):
        number = int(name.split(".")[0], 16)
        assert same(store.get(key_of(number)), make(number, MEDIUM))


def test_a_running_process_keeps_its_temporary_file_and_old_ones_go(store):
    store.put(key_of(0), make())
    written = f".{key_of(1)}.somewhere-else.1.0123abcd.tmp"
    abandoned = f".{key_of(2)}.somewhere-else.1.0123abcd.tmp"
    foreign = ".something.tmp"
    for name in (written, abandoned, foreign):
        (store.folder / name).write_bytes(b"half")
    os.utime(store.folder / abandoned, (1000, 1000))
    EmbeddingStore(store.folder).put(key_of(3), make(3))
    assert {n for n in files(store.folder) if n.endswith(".tmp")} == {written, foreign}


def test_threads_may_ask_while_others_write(tmp_path):
    store = EmbeddingStore(
        tmp_path, ram_bytes=5 * make().nbytes, disk_bytes=40 * SMALL_FILE
    )
    expected = [make(i) for i in range(30)]
    errors: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for i in range(30):
                found = store.get(key_of(i)) if key_of(i) in store else None
                if found is not None and not same(found, expected[i]):
                    errors.append(f"{i} differs")
            store.info()

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for thread in askers:
        thread.start()
    for i in range(300):
        store.put(key_of(i % 30), expected[i % 30])
    stop.set()
    for thread in askers:
        thread.join()
    assert not errors
    assert store.info().ram_bytes <= 5 * make().nbytes


def test_the_key_of_a_real_image_is_stable_over_layout():
    data = pytest.importorskip("skimage.data").coins()
    assert embedding_key(to_rgb(data), "m") == embedding_key(
        to_rgb(np.asfortranarray(data)), "m"
    )
