"""The command line on the real model: results, refusals and interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_sam import cli
from napari_sam.io import read_image
from napari_sam.samples import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("small_models")

FAST = ("--points-per-side=3", "--device=cpu", "--min-score=0.7", "--min-stability=0.8")


def run(*arguments: object) -> int:
    return cli.main([str(a) for a in arguments])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one sentence on stderr of a command that is refused."""
    assert run(*arguments) == cli.USER_ERROR
    said = capsys.readouterr()
    assert said.out == ""
    line, rest = said.err.split("\n", 1)
    assert rest == ""
    assert line.startswith("napari-sam: ")
    assert line.endswith(".")
    return line


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a TIFF stack of three planes with scale and units."""
    path = tmp_path_factory.mktemp("stack") / "stack.tif"
    planes = np.asarray(read_image(SAMPLES["ovule"].path).data)[10:13, 40:140, 40:140]
    tifffile.imwrite(
        path,
        planes,
        imagej=True,
        resolution=(4.0, 4.0),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 1.5},
    )
    return path


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a corner of the sample with a dozen nuclei, (160, 200)."""
    path = tmp_path_factory.mktemp("corner") / "nuclei.png"
    iio.imwrite(path, iio.imread(SAMPLES["nuclei"].path)[:160, :200])
    return path


def test_everything_on_an_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nuclei: Path
) -> None:
    out, preview = tmp_path / "labels.tif", tmp_path / "preview.png"
    image = nuclei
    assert run("everything", image, out, "--preview", preview, *FAST) == 0
    labels = np.asarray(read_image(out).data)
    assert labels.shape == (160, 200)
    n = len(np.unique(labels)) - 1
    assert n > 0
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{n} object" in said.err
    picture = iio.imread(preview)
    assert picture.shape == (160, 200, 3)
    gray = np.repeat(iio.imread(image)[..., None], 3, axis=2)
    assert (picture[labels > 0] != gray[labels > 0]).any()
    assert len(os.listdir(tmp_path)) == 2


def test_everything_on_a_stack(tmp_path: Path, stack: Path) -> None:
    out = tmp_path / "labels.tif"
    assert run("everything", stack, out, "--all-planes", "-q", *FAST) == 0
    back = read_image(out)
    assert back.axes == "ZYX"
    assert back.scale == pytest.approx((1.5, 0.25, 0.25))
    assert back.units == ("micrometer",) * 3
    labels = np.asarray(back.data)
    ids = [set(np.unique(plane).tolist()) - {0} for plane in labels]
    assert all(ids)
    numbers = sorted(n for plane in ids for n in plane)
    assert numbers == list(range(1, len(numbers) + 1))


def test_everything_on_one_plane(tmp_path: Path, stack: Path) -> None:
    out = tmp_path / "labels.tif"
    assert run("everything", stack, out, "--plane", "1", "-q", *FAST) == 0
    back = read_image(out)
    assert (back.axes, back.scale) == ("YX", pytest.approx((0.25, 0.25)))


def test_area_limits(tmp_path: Path, nuclei: Path) -> None:
    out = tmp_path / "a.tif"
    areas = ("--min-area", "100", "--max-area", "1000")
    assert run("everything", nuclei, out, "-q", *areas, *FAST) == 0
    counts = np.bincount(np.asarray(read_image(out).data).ravel())[1:]
    # Overlaps may take pixels from an object, but never add any.
    assert counts.max() <= 1000


def test_predict_with_points_and_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = SAMPLES["nuclei"].path, tmp_path / "a.tif"
    pixels = iio.imread(image)
    row, column = np.unravel_index(np.argmax(pixels), pixels.shape)
    assert run("predict", image, out, "--point", f"{row},{column}") == 0
    assert np.asarray(read_image(out).data)[row, column] == 1
    assert "score" in capsys.readouterr().err
    boxes = ("--box", "2,114,38,154", "--box=67,477,15,422")
    again = ("predict", image, out, "--overwrite")
    assert run(*again, *boxes, "-q") == 0
    assert set(np.unique(np.asarray(read_image(out).data))) == {0, 1, 2}
    assert capsys.readouterr().err == ""
    # A box of background: the model answers with nothing, and that is said.
    assert run(*again, *boxes, "--box=509,509,510,510") == 0
    said = capsys.readouterr().err
    assert "object 3: nothing found" in said
    assert "2 objects in" in said
    prompts = ("--box", "15,422,67,477", "--point", "40,450:+", "--point=0,0:-")
    assert run(*again, *prompts) == 0


def test_predict_on_a_plane(tmp_path: Path, stack: Path) -> None:
    out = tmp_path / "a.tif"
    assert run("predict", stack, out, "--plane", "2", "--point", "64,64") == 0
    assert np.asarray(read_image(out).data)[64, 64] == 1


def test_embeddings_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path / "cache"))
    image, out = SAMPLES["histology"].path, tmp_path / "a.tif"
    predict = ("predict", image, out, "--point", "100,100", "-q", "--overwrite")
    assert run(*predict, "--no-cache") == 0
    assert run("cache", "info") == 0
    assert capsys.readouterr().out.startswith("0 embeddings")
    assert run(*predict) == 0
    assert run(*predict) == 0
    assert run("cache", "info") == 0
    assert capsys.readouterr().out.startswith("1 embeddings")
    assert run("cache", "clear") == 0
    assert run("cache", "info") == 0
    assert "0 embeddings" in capsys.readouterr().out


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    assert "mobile-sam" in capsys.readouterr().out


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--device", "cpu") == 0
    said = capsys.readouterr().out
    for word in ("torch", "encode a plane", "point to mask", "embeddings", "cores"):
        assert word in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("napari-sam ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "in.tif"),
        ("predict", "in.tif", "out.tif", "--what"),
        ("predict", "in.tif", "out.tif", "--point", "1"),
        ("predict", "in.tif", "out.tif", "--point", "1,2:x"),
        ("predict", "in.tif", "out.tif", "--point", "1,nan"),
        ("predict", "in.tif", "out.tif", "--box", "1,2,3"),
        ("predict", "in.tif", "out.tif", "--plane", "z"),
        ("cache", "shrink"),
        (),
    ],
)
def test_usage_errors(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert refusal(capsys, *arguments).endswith(" --help says more.")


def test_image_refusals(
    tmp_path: Path, stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tif"
    assert "no file" in refusal(capsys, "everything", tmp_path / "no.tif", out)
    assert "folder" in refusal(capsys, "everything", tmp_path, out)
    (tmp_path / "empty.tif").touch()
    assert "empty" in refusal(capsys, "everything", tmp_path / "empty.tif", out)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(SAMPLES["chloroplasts"].path.read_bytes()[:500_000])
    assert "cut short" in refusal(capsys, "everything", cut, out, "--all-planes")
    complex_ = tmp_path / "complex.tif"
    tifffile.imwrite(complex_, np.zeros((8, 8), np.complex64))
    assert "complex" in refusal(capsys, "everything", complex_, out)
    assert "--all-planes" in refusal(capsys, "everything", stack, out)
    assert "plane 7" in refusal(capsys, "everything", stack, out, "--plane", "7")
    assert not out.exists()


def test_prompt_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ("predict", SAMPLES["histology"].path, tmp_path / "out.tif")
    assert "--point" in refusal(capsys, *start)
    assert "9999" in refusal(capsys, *start, "--point", "9999,3")
    refusal(capsys, *start, "--box", "5,5,5,5")
    refusal(capsys, *start, "--point", "5,5:-")
    boxes = ("--box", "1,1,9,9", "--box", "20,20,30,30")
    assert "ambiguous" in refusal(capsys, *start, *boxes, "--point", "5,5")
    assert not (tmp_path / "out.tif").exists()


def test_output_refusals_come_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = SAMPLES["histology"].path
    start = ("everything", image)
    assert "TIFF" in refusal(capsys, *start, tmp_path / "out.png")
    assert "no folder" in refusal(capsys, *start, tmp_path / "no" / "out.tif")
    (tmp_path / "folder.tif").mkdir()
    assert "is a folder" in refusal(capsys, *start, tmp_path / "folder.tif")
    preview = ("--preview", tmp_path / "a.gif")
    assert "PNG" in refusal(capsys, *start, tmp_path / "out.tif", *preview)
    own = tmp_path / "own.tif"
    own.write_bytes(SAMPLES["ovule"].path.read_bytes())
    for force in ((), ("--overwrite",)):
        said = refusal(capsys, "everything", own, own, "--all-planes", *force)
        assert "itself" in said
    same = ("--preview", tmp_path / "a.png", "--overwrite")
    (tmp_path / "a.png").symlink_to("out.tif")
    assert "two outputs" in refusal(capsys, *start, tmp_path / "out.tif", *same)
    long = tmp_path / ("n" * 296 + ".tif")
    assert "too long" in refusal(capsys, *start, long)
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe.tif")
        assert "pipe" in refusal(capsys, *start, tmp_path / "pipe.tif")


def test_no_file_is_overwritten_without_leave(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = SAMPLES["nuclei"].path
    second, picture = tmp_path / "b.tif", tmp_path / "b.png"
    second.write_bytes(SAMPLES["ovule"].path.read_bytes())
    picture.write_bytes(b"mine")
    new = tmp_path / "new.tif"
    for command in (
        ("predict", image, second, "--point", "40,450"),
        ("predict", image, new, "--point", "40,450", "--preview", picture),
        ("everything", image, second, *FAST),
        ("evaluate", tmp_path, "--out", second),
        ("evaluate", tmp_path, "--markdown", picture),
    ):
        assert "--overwrite" in refusal(capsys, *command)
    weights = tmp_path / "mobile_sam.safetensors"
    weights.write_bytes(b"mine")
    for target in (weights, tmp_path):
        said = refusal(capsys, "models", "--export", "mobile-sam", target)
        assert "--overwrite" in said
    assert second.read_bytes() == SAMPLES["ovule"].path.read_bytes()
    assert picture.read_bytes() == weights.read_bytes() == b"mine"
    assert not new.exists()
    assert run("models", "--export", "mobile-sam", weights, "--overwrite") == 0
    assert weights.stat().st_size > 1000


def test_arguments_are_checked_before_the_model_is_loaded(
    tmp_path: Path,
    stack: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loaded(*_: object, **__: object) -> None:
        pytest.fail("the model was loaded")

    monkeypatch.setattr("napari_sam.models.load_model", loaded)
    image, out = SAMPLES["histology"].path, tmp_path / "out.tif"
    predict, everything = ("predict", image, out), ("everything", image, out)
    assert "9999" in refusal(capsys, *predict, "--point", "9999,3")
    assert "no area" in refusal(capsys, *predict, "--box", "5,5,5,5")
    assert "outside" in refusal(capsys, *predict, "--box", "500,500,600,600")
    assert "sam-9" in refusal(capsys, *everything, "--model", "sam-9")
    areas = ("--min-area", "9", "--max-area", "5")
    assert "--min-area 9" in refusal(capsys, *everything, *areas)
    assert "--min-area" in refusal(capsys, *everything, "--min-area", "-3")
    both = ("--all-planes", "--plane", "1")
    assert "one of them" in refusal(capsys, "everything", stack, out, *both)
    assert "plane 7" in refusal(capsys, "everything", stack, out, "--plane", "7")
    complex_ = tmp_path / "complex.tif"
    tifffile.imwrite(complex_, np.zeros((8, 8), np.complex64))
    assert "complex" in refusal(capsys, "everything", complex_, out)
    assert not out.exists()


def test_what_is_not_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ome.tif"
    planes = np.asarray(read_image(SAMPLES["ovule"].path).data)[10:13]
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(planes[:2], metadata={"axes": "CYX"}, photometric="minisblack")
        tif.write(planes[2], metadata={"axes": "YX"})
    arguments = ("--plane", "1", "--point", "64,64", "-q")
    assert run("predict", path, tmp_path / "out.tif", *arguments) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("note: ")
    assert "1 more image" in first
    assert "2 channels" in second


def test_model_and_settings_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ("everything", SAMPLES["histology"].path, tmp_path / "out.tif")
    assert "sam-9" in refusal(capsys, *start, "--model", "sam-9")
    assert "warp" in refusal(capsys, *start, "--device", "warp")
    weights = tmp_path / "cut.safetensors"
    weights.write_bytes(b"\0" * 100)
    refusal(capsys, *start, "--model", weights)
    assert "--points-per-side is 0" in refusal(capsys, *start, "--points-per-side", "0")


def test_gui_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no file" in refusal(capsys, "gui", tmp_path / "no.tif")
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe.tif")
        assert "pipe" in refusal(capsys, "gui", tmp_path / "pipe.tif")
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    if sys.platform == "linux":
        assert "display" in refusal(capsys, "gui")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "project.json").write_text("{}")
    two = "gui", tmp_path / "a", tmp_path / "b"
    assert "2 projects are given" in refusal(capsys, *two)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_interrupting_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "labels.tif"
    command = [sys.executable, "-m", "napari_sam.cli", "everything"]
    command += [str(SAMPLES["nuclei"].path), str(out), "--device", "cpu"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background inherits a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        assert "%" in process.stderr.readline()  # it is at work
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())
