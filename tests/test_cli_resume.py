"""Long runs of everything mode: what a stop leaves, and going on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_sam import cli
from napari_sam.cli.finished import FinishedPlanes
from napari_sam.errors import FileFormatError
from napari_sam.io import read_image
from napari_sam.models import DEFAULT_MODEL
from napari_sam.samples import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.models.registry import ModelSpec

FAST = ("--points-per-side=3", "--device=cpu", "--min-score=0.7", "--min-stability=0.8",
        "--prompts=grid", "--all-planes", "--dtype=float32")  # fmt: skip
PLANES = 3


def run(*arguments: object) -> int:
    return cli.main([str(a) for a in arguments])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(read_image(path).data)


@pytest.fixture(scope="module")
def fast(_small: tuple[ModelSpec, ...]) -> tuple[str, ...]:
    """Return options that make a run short, also in another process."""
    path = next(spec.path for spec in _small if spec.name == DEFAULT_MODEL)
    return (*FAST, f"--model={path}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compressed stack."""
    path = tmp_path_factory.mktemp("stack") / "stack.tif"
    planes = np.asarray(read_image(SAMPLES["ovule"].path).data)[10 : 10 + PLANES]
    tifffile.imwrite(path, planes, compression="zlib", photometric="minisblack")
    return path


@pytest.fixture(scope="module")
def expected(stack: Path, fast: tuple[str, ...]) -> np.ndarray:
    """Return the labels of an uninterrupted run."""
    out = stack.with_name("expected.tif")
    assert run("everything", stack, out, "-q", *fast) == 0
    assert sorted(os.listdir(stack.parent)) == ["expected.tif", "stack.tif"]
    return pixels(out)


def test_a_damaged_page_costs_no_finished_plane(
    tmp_path: Path,
    stack: Path,
    fast: tuple[str, ...],
    expected: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged, out = tmp_path / "damaged.tif", tmp_path / "out.tif"
    content = bytearray(stack.read_bytes())
    with tifffile.TiffFile(stack) as tif:
        at = tif.pages[PLANES - 1].dataoffsets[0]
    content[at : at + 20] = bytes(20)
    damaged.write_bytes(content)
    command = ("everything", damaged, out, *fast)
    for _ in range(2):
        assert run(*command) == cli.USER_ERROR
        said = capsys.readouterr().err
        assert "2 finished planes are kept" in said
        assert "Traceback" not in said
        assert not out.exists()
    damaged.write_bytes(stack.read_bytes())  # the same command, the file repaired
    assert run(*command) == 0
    assert "continuing from plane 3 of 3" in capsys.readouterr().err
    np.testing.assert_array_equal(pixels(out), expected)
    assert sorted(os.listdir(tmp_path)) == ["damaged.tif", "out.tif"]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_killed_run_goes_on(
    tmp_path: Path,
    stack: Path,
    fast: tuple[str, ...],
    expected: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.tif"
    command = ["everything", str(stack), str(out), *fast]
    with subprocess.Popen(
        [sys.executable, "-m", "napari_sam.cli", *command],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "plane 2 of 3" in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert os.listdir(tmp_path) == ["out.tif.partial"]
    assert run(*command) == 0
    assert "continuing from plane" in capsys.readouterr().err
    np.testing.assert_array_equal(pixels(out), expected)
    assert os.listdir(tmp_path) == ["out.tif"]


def test_other_settings_find_nothing_to_go_on_from(
    tmp_path: Path,
    stack: Path,
    fast: tuple[str, ...],
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.tif"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("napari_sam.io.write_labels", interrupted)
        assert run("everything", stack, out, *fast) == cli.INTERRUPTED
    assert f"{PLANES} finished planes are kept" in capsys.readouterr().err
    kept = sorted((tmp_path / "out.tif.partial").iterdir())
    assert len(kept) == PLANES
    assert run("everything", stack, out, *fast, "--min-area", "1500") == 0
    assert "continuing" not in capsys.readouterr().err
    sizes = np.bincount(pixels(out).ravel())[1:]
    assert sizes.size < expected.max()


def test_kept_planes_are_those_of_their_pixels_and_recipe(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (8, 9, 3), np.uint8)
    labels = rng.integers(0, 70_000, (8, 9)).astype(np.uint32)
    planes = FinishedPlanes(tmp_path / "a.tif", "recipe")
    key = planes.key(rgb)
    planes.keep(key, labels)
    again = FinishedPlanes(tmp_path / "a.tif", "recipe")
    np.testing.assert_array_equal(again.get(again.key(rgb), (8, 9)), labels)
    assert again.get(key, (9, 8)) is None
    assert FinishedPlanes(tmp_path / "a.tif", "other").key(rgb) != key
    assert again.key(rgb[::-1]) != key
    assert again.key(rgb.reshape(9, 8, 3)) != key
    (file,) = planes.folder.iterdir()
    whole = file.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], whole[:-200] + bytes(200), b"PK\3\4"):
        file.write_bytes(damage)
        assert again.get(key, (8, 9)) is None
    (planes.folder / "notes.txt").write_text("mine")
    planes.remove()
    assert [f.name for f in planes.folder.iterdir()] == ["notes.txt"]


def test_a_file_in_the_place_of_the_finished_planes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif.partial").write_text("mine")
    with pytest.raises(FileFormatError, match="in the place of"):
        FinishedPlanes(tmp_path / "a.tif", "recipe")


@pytest.mark.skipif(os.name != "posix", reason="names are limited otherwise there")
def test_outputs_of_the_longest_name(tmp_path: Path) -> None:
    planes = FinishedPlanes(tmp_path / ("n" * 251 + ".tif"), "recipe")
    planes.keep("0" * 40, np.zeros((2, 2), np.uint32))
    assert planes.get("0" * 40, (2, 2)) is not None
