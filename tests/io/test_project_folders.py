"""A project's folder under faults: nothing lost, one sentence, never half a state."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_sam as ns
from napari_sam.core.annotation import journal as journal_module
from napari_sam.core.annotation.project import (
    ImageIdentity,
    LabelsInfo,
    image_digest,
)
from napari_sam.core.annotation.prompts import PointItem, PromptItems
from napari_sam.core.annotation.records import ObjectRecord, ObjectRecords
from napari_sam.core.annotation.transaction import (
    RecordChange,
    Transaction,
    plane_change,
)
from napari_sam.errors import FileFormatError, ImageError
from napari_sam.io.ome_zarr import LabelsArray
from napari_sam.io.project import (
    ProjectFolder,
    Snapshot,
    create_project,
    open_folder,
)
from napari_sam.io.recovery import (
    discard,
    new_recovery_path,
    recoveries,
    sweep,
)
from napari_sam.types import Plane, Region

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = (3, 600, 700)
IDENTITY = ImageIdentity(name="image", shape=SHAPE, dtype="<u2", digest="0" * 32)
INFO = LabelsInfo(shape=SHAPE, dtype="<u2")


class Work:
    """Labels and records that follow transactions, as a viewer's do."""

    def __init__(self, folder: ProjectFolder) -> None:
        self.folder = folder
        self.labels = np.zeros(SHAPE, np.uint16)
        self.records = ObjectRecords()
        self.next_label = 1

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            label, self.next_label = self.next_label, self.next_label + 1
            z, r, c = label % 3, 90 * (label % 6), 100 * (label % 6)
            view = self.labels[z, r : r + 60, c : c + 80]
            change = plane_change(
                Plane((1, 2), (z, None, None)),
                Region(r, c, r + 60, c + 80),
                view.copy(),
                np.full((60, 80), label, np.uint16),
            )
            record = ObjectRecord(
                label,
                PromptItems((PointItem((z, r + 1.0, c + 1.0), True, (1, 2)),)),
                "model",
                0.9,
            )
            change.write_to(self.labels)
            self.records.apply({label: record})
            self.folder.append(
                Transaction(
                    (change,),
                    (RecordChange(label, None, record),),
                    (label, label + 1),
                )
            )

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.labels, self.records, self.next_label)

    def assert_kept(self, path: Path) -> None:
        """Check what another process would find."""
        copy = path.with_name("copy.napari-sam")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy)
        folder = open_folder(copy)
        state = folder.read()
        folder.close()
        assert state.problems == ()
        assert np.array_equal(state.labels, self.labels)
        assert state.records.to_json() == self.records.to_json()
        assert state.next_label == self.next_label


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.napari-sam"


@pytest.fixture
def work(path: Path) -> Iterator[Work]:
    folder = create_project(path, IDENTITY, INFO)
    yield Work(folder)
    folder.close()


def test_the_journal_alone_then_saves_and_more(work: Work, path: Path) -> None:
    work.assert_kept(path)
    work.write(4)
    work.assert_kept(path)
    work.folder.save(work.snapshot)
    work.assert_kept(path)
    assert [p.stat().st_size for p in (path / "journal").iterdir()] == [0]
    work.write(2)
    work.assert_kept(path)
    work.folder.save(work.snapshot)
    work.assert_kept(path)


def test_only_changed_chunks_are_written(work: Work, path: Path) -> None:
    work.write(6)
    work.folder.save(work.snapshot)
    chunks = {
        p: p.stat().st_mtime_ns
        for p in (path / "labels.ome.zarr").rglob("*")
        if p.is_file() and "c" in p.relative_to(path).parts
    }
    work.labels[1, 590, 690] = 3  # whoever changed it
    work.folder.save(work.snapshot)
    now = {p: p.stat().st_mtime_ns for p in chunks if p.exists()}
    changed = {p.relative_to(path).parts[-3:] for p in now if now[p] != chunks[p]}
    new = {
        p.relative_to(path).parts[-3:]
        for p in (path / "labels.ome.zarr" / "0" / "c").rglob("*")
        if p.is_file() and p not in chunks
    }
    assert changed | new == {("1", "1", "1")}
    work.assert_kept(path)


def test_a_save_cut_at_any_step_leaves_everything(work: Work, path: Path) -> None:
    work.write(5)
    work.folder.save(work.snapshot)
    work.write(4)
    steps = work.folder.begin_save(work.snapshot)
    for number, _ in enumerate(steps):
        work.assert_kept(path)
        if number == 2:
            work.write(2)  # goes on while it saves
            work.assert_kept(path)
    work.assert_kept(path)


_KILLED_SAVES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_project_folders import IDENTITY, INFO, Work, create_project

def kill_at(point, folder):
    count = 0
    def look(event, arguments):
        nonlocal count
        if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        if str(folder) in str(arguments[0]):
            count += 1
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(look)

for point in range(1, 1000, 5):
    folder = Path(sys.argv[2]) / f"{point}.napari-sam"
    child = os.fork()
    if not child:
        work = Work(create_project(folder, IDENTITY, INFO))
        work.write(3)
        work.folder.save(work.snapshot)
        work.write(3)
        kill_at(point, folder)
        work.folder.save(work.snapshot)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_process_killed_during_a_save_loses_nothing(
    work: Work, tmp_path: Path
) -> None:
    """Kill a saving process before every fifth thing that it does to files."""
    folder = tmp_path / "killed"
    folder.mkdir()
    arguments = [sys.executable, "-c", _KILLED_SAVES, str(Path(__file__).parent)]
    subprocess.run([*arguments, str(folder)], check=True)
    work.write(6)
    killed = sorted(folder.iterdir())
    assert len(killed) >= 9
    for path in killed:
        work.assert_kept(path)


def test_a_save_that_is_dropped_is_made_good_by_the_next(
    work: Work, path: Path
) -> None:
    work.write(5)
    steps = work.folder.begin_save(work.snapshot)
    next(steps)
    steps.close()
    work.write(1)
    work.assert_kept(path)
    work.folder.save(work.snapshot)
    work.assert_kept(path)


def test_after_a_gap_in_the_journal_a_save_is_whole_at_every_step(
    work: Work, path: Path
) -> None:
    work.write(2)
    work.folder.save(work.snapshot)
    assert work.folder.journal is not None
    work.folder.journal.give_up()
    work.write(3)
    steps = work.folder.begin_save(work.snapshot)
    for _ in steps:
        work.assert_kept(path)
    work.assert_kept(path)
    work.write(1)
    work.assert_kept(path)


def test_a_folder_that_was_removed_is_written_again(work: Work, path: Path) -> None:
    work.write(3)
    work.folder.save(work.snapshot)
    shutil.rmtree(path)
    with pytest.raises(FileFormatError, match="cannot be kept safe"):
        work.write(1)
    work.write(1)
    work.folder.save(work.snapshot)
    work.assert_kept(path)


def test_a_save_that_fails_can_be_made_again(work: Work, path: Path) -> None:
    work.write(3)
    work.folder.save(work.snapshot)
    work.write(2)
    objects = path / "objects.jsonl"
    objects.unlink()
    objects.mkdir()  # in the way
    with pytest.raises(FileFormatError, match=r"objects\.jsonl is a folder"):
        work.folder.save(work.snapshot)
    work.write(1)
    objects.rmdir()
    work.folder.save(work.snapshot)
    work.assert_kept(path)


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_full_disk_during_a_save_costs_nothing(work: Work, path: Path) -> None:
    import resource

    work.write(5)
    rng = np.random.default_rng(0)
    work.labels[0] = rng.integers(0, 60000, SHAPE[1:])  # chunks that do not compress
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(FileFormatError, match="nothing in memory is lost"):
            work.folder.save(work.snapshot)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    work.folder.save(work.snapshot)
    work.assert_kept(path)


def test_a_folder_that_cannot_be_written_opens_for_reading(
    work: Work, path: Path
) -> None:
    """As a user who may only read; the test may run as one who may do anything."""
    work.write(2)
    work.folder.close()
    (path / "lock").unlink(missing_ok=True)
    (path / "lock").mkdir()
    folder = open_folder(path)
    assert folder.is_read_only
    assert "cannot be written" in folder.reason
    assert np.array_equal(folder.read().labels, work.labels)
    with pytest.raises(FileFormatError, match="can only be read, since its folder"):
        folder.save(work.snapshot)


def test_another_process_reads_and_a_dead_one_leaves_no_lock(path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from napari_sam.io.project import open_folder\n"
        "folder = open_folder(sys.argv[1])\n"
        "print(folder.is_read_only, flush=True)\n"
        "time.sleep(60)\n"
    )
    create_project(path, IDENTITY, INFO).close()
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "False\n"
            folder = open_folder(path)
            assert folder.reason == f"process {holder.pid} has it open"
            folder.close()
        finally:
            holder.kill()
    folder = open_folder(path)
    assert not folder.is_read_only
    folder.close()


def test_what_is_damaged_is_named_and_the_rest_is_read(work: Work, path: Path) -> None:
    work.write(6)
    work.folder.save(work.snapshot)
    work.folder.close()
    chunk = path / "labels.ome.zarr" / "0" / "c" / "0" / "0" / "0"
    chunk.write_bytes(b"rubbish")
    lines = (path / "objects.jsonl").read_text().splitlines()
    lines[1] = lines[1][:40]
    (path / "objects.jsonl").write_text("\n".join(lines))
    folder = open_folder(path)
    state = folder.read()
    folder.close()
    expected = work.labels.copy()
    expected[0, :512, :512] = 0
    assert np.array_equal(state.labels, expected)
    assert [r.label for r in state.records] == [1, 3, 4, 5, 6]
    assert len(state.problems) == 2
    assert str(chunk) in state.problems[0]
    assert "objects.jsonl is damaged: 1 of its lines" in state.problems[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 99}, "written by a newer napari-sam"),
        ({"format": "other"}, r"project\.json is damaged"),
        ({"labels": {"shape": "x", "dtype": "<u2"}}, r"damaged \(labels"),
    ],
)
def test_a_project_file_that_cannot_be_used_says_why(
    path: Path, change: dict[str, object], says: str
) -> None:
    create_project(path, IDENTITY, INFO).close()
    file = path / "project.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(FileFormatError, match=says):
        open_folder(path)
    file.write_text("{")
    with pytest.raises(FileFormatError, match=r"project\.json is damaged"):
        ns.open_project(path)
    file.unlink()
    with pytest.raises(FileFormatError, match="no project that can be read"):
        open_folder(path)


def test_a_project_does_not_take_the_place_of_something_else(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("mine")
    with pytest.raises(FileFormatError, match="is there already"):
        create_project(path, IDENTITY, INFO)
    assert (path / "mine.txt").read_text() == "mine"


def test_finished_work_is_swept_and_that_of_a_crash_is_not() -> None:
    paths = []
    for number in range(3):
        path = new_recovery_path()
        folder = create_project(path, IDENTITY, INFO, saved=False)
        Work(folder).write(2)
        folder.close(finished=number > 0)
        paths.append(path)
    old = time.time() - 90 * 86400
    for path in paths[:2]:
        for file in path.rglob("*"):
            os.utime(file, (old, old))
    found = {r.path: r.is_finished for r in recoveries("0" * 32)}
    assert found == {paths[0]: False, paths[1]: True, paths[2]: True}
    assert recoveries("f" * 32) == []
    sweep()
    assert [p.exists() for p in paths] == [True, False, True]
    sweep(budget=0)
    assert [p.exists() for p in paths] == [True, False, False]
    discard(paths[0])
    assert recoveries() == []


def test_a_running_session_is_neither_offered_nor_discarded() -> None:
    path = new_recovery_path()
    folder = create_project(path, IDENTITY, INFO, saved=False)
    Work(folder).write(1)
    assert recoveries() == []
    discard(path)
    assert path.exists()
    folder.close()


def test_images_are_told_apart_also_when_they_are_large() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (3, 40, 50), np.uint8)
    assert image_digest(small) == image_digest(np.asfortranarray(small))
    other = small.copy()
    other[2, 39, 49] ^= 1
    assert image_digest(other) != image_digest(small)
    assert image_digest(small.astype(np.int16)) != image_digest(small)
    assert image_digest(small.astype(">u2"))[0] == image_digest(small.astype("<u2"))[0]
    large = np.broadcast_to(
        rng.integers(0, 255, (2000, 2000), np.uint8), (5000, 2000, 2000)
    )
    digest, sampled = image_digest(large)
    assert sampled
    assert image_digest(large[:, ::-1])[0] != digest


def test_labels_of_odd_shapes_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(1, 1), (5, 513), (2, 3, 7, 9)]):
        labels = rng.integers(0, 300, shape).astype(np.int32)
        array = LabelsArray(tmp_path / f"{number}.ome.zarr", shape, labels.dtype)
        array.create()
        assert sum(array.write(labels)) > 0
        assert sum(array.write(labels)) == 0
        again = LabelsArray(array.path, shape, labels.dtype)
        assert np.array_equal(again.read(), labels)
        assert sum(again.write(labels)) == 0


def test_open_project_checks_a_given_image(path: Path) -> None:
    image = np.zeros(SHAPE, np.uint16)
    digest, sampled = image_digest(image)
    identity = IDENTITY.model_copy(update={"digest": digest, "sampled": sampled})
    create_project(path, identity, INFO).close()
    with ns.open_project(path, image=image) as project:
        assert project.image is image
        project.labels[1, 2:4, 5:9] = 7
        project.save()
    with ns.open_project(path) as project:
        assert (project.labels == 7).sum() == 8
        with pytest.raises(ImageError, match="came from no file; choose it"):
            _ = project.image
    with pytest.raises(ImageError, match="has other pixels"):
        ns.open_project(path, image=image + 1)
    with pytest.raises(ImageError, match=r"has shape \(3, 4\)"):
        ns.open_project(path, image=np.zeros((3, 4), np.uint16))
    folder = open_folder(path)
    assert not folder.is_read_only  # those that were refused let go of it
    folder.close()


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "[]", "null"])
def test_a_number_that_is_none_costs_its_object_only(
    work: Work, path: Path, number: str
) -> None:
    """In the records, and in what the journal says of one."""
    work.write(2)
    work.folder.save(work.snapshot)
    work.write(2)
    work.folder.close()
    objects = path / "objects.jsonl"
    first, *rest = objects.read_text().splitlines()
    assert '"corrections": 0' in first
    first = first.replace('"corrections": 0', f'"corrections": {number}')
    objects.write_text("\n".join([first, *rest]))
    (segment,) = (path / "journal").glob("*.journal")
    _, record = work.snapshot.records.to_json()["objects"].popitem()
    foreign = json.dumps(
        {
            "sequence": 99,
            "frames": 0,
            "next_label": 9,
            "records": {"8": {**record, "corrections": "?"}},
        }
    ).replace('"?"', number)
    payload = zlib.compress(foreign.encode())
    with segment.open("ab") as file:
        file.write(journal_module._frame(2, payload))
    folder = open_folder(path)
    state = folder.read()
    folder.close()
    assert np.array_equal(state.labels, work.labels)
    assert [r.label for r in state.records] == [2, 3, 4]
    assert len(state.problems) == 2
