"""Replacing files: what stays of the old one, and what killed writers leave."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from napari_sam.core.atomic import (
    HOST,
    beside,
    check_writable,
    replacing,
    replacing_folder,
    write_text,
)
from napari_sam.errors import FileFormatError

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")


def write(path: Path, text: str = "new") -> None:
    with replacing(path) as aside:
        aside.write_text(text)


def test_text_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("déjà\n", ""):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(FileFormatError, match="cannot be written"):
        write_text(tmp_path / "no" / "a.json", "")


def test_a_file_beside_is_renamed_or_removed(tmp_path: Path) -> None:
    place = tmp_path / "a.bin"
    with beside(place, mark="0" * 40, suffix=".tmp") as aside:
        assert aside.name.startswith(f".{'0' * 40}.{HOST}.{os.getpid()}.")
        aside.write_bytes(b"1")
        assert not place.exists()
    assert place.read_bytes() == b"1"

    def stopped() -> None:
        with beside(place) as aside:
            aside.write_bytes(b"2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert place.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [place]
    # Errors are the system's, as whoever can do without the file looks at them.
    with pytest.raises(FileNotFoundError), beside(tmp_path / "no" / "a.bin"):
        pass


def refusal(path: Path) -> str:
    """Return the sentence that both writing and the check beforehand end in."""
    before = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    said = []
    for call in (write, check_writable):
        with pytest.raises(FileFormatError, match=r"^[^\n]+\.$") as caught:
            call(path)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert (sorted(path.parent.iterdir()) if path.parent.is_dir() else []) == before
    return said[0]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.tif"
    path.write_text("old")
    path.chmod(mode)
    write(path)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_a_new_file_has_what_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(tmp_path / "a.tif")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.tif").stat().st_mode) == 0o640


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(tmp_path: Path, exists: bool) -> None:
    there = tmp_path / "data"
    there.mkdir()
    if exists:
        (there / "real.tif").write_text("old")
    link = tmp_path / "a.tif"
    link.symlink_to("data/real.tif")
    write(link)
    assert link.is_symlink()
    assert (there / "real.tif").read_text() == "new"
    assert os.listdir(there) == ["real.tif"]


@posix
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.tif"
    os.mkfifo(pipe)
    assert "pipe or a device" in refusal(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "null.tif").symlink_to("/dev/null")
    assert "pipe or a device" in refusal(tmp_path / "null.tif")
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    refusal(tmp_path / "loop.tif")
    (tmp_path / "folder.tif").mkdir()
    assert "folder" in refusal(tmp_path / "folder.tif")
    assert "No such" in refusal(tmp_path / "no" / "a.tif")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes all")
def test_a_write_protected_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("old")
    path.chmod(0o444)
    assert "write-protected" in refusal(path)


@posix
@pytest.mark.parametrize("length", [200, 245, 249, 254, 255])
def test_names_as_long_as_the_system_allows(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("n" * (length - 4) + ".tif")
    check_writable(path)
    assert not list(tmp_path.iterdir())
    write(path)
    assert path.read_text() == "new"


@posix
def test_names_that_no_file_can_have_are_one_sentence(tmp_path: Path) -> None:
    assert len(refusal(tmp_path / ("n" * 296 + ".tif"))) < 400
    refusal(tmp_path / "a\0b.tif")


def test_the_check_leaves_an_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.tif"]


def test_a_folder_that_cannot_be_put_in_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "old").write_text("old")
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if target == folder and not source.name.endswith(".before"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with (
        pytest.raises(FileFormatError, match="Permission denied"),
        replacing_folder(folder, lambda item: True) as aside,
    ):
        (aside / "new").write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["project"]
    assert (folder / "old").read_text() == "old"


@posix
def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from napari_sam.core.atomic import replacing\n"
        "with replacing(sys.argv[1]) as aside:\n"
        "    aside.write_text('half')\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
    )
    path = tmp_path / "a.tif"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (half,) = tmp_path.iterdir()
        write(tmp_path / "other.tif")
        assert half.exists()  # its writer is alive
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    write(path)
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "other.tif"]


def test_only_our_abandoned_files_are_swept(tmp_path: Path) -> None:
    old = time.time() - 2 * 86_400
    elsewhere = tmp_path / ".napari-sam.elsewhere.1.0123abcd.tif"
    kept = [
        tmp_path / ".napari-sam.elsewhere.2.0123abcd.tif",
        tmp_path / f".napari-sam.{HOST}.{os.getpid()}.0123abcd.tif",
        tmp_path / ".napari-sam.notes",
        tmp_path / ".hidden.tif",
    ]
    for path in (elsewhere, *kept):
        path.touch()
    for path in (elsewhere, *kept[2:]):
        os.utime(path, (old, old))
    write(tmp_path / "a.tif")
    assert set(tmp_path.iterdir()) == {*kept, tmp_path / "a.tif"}
