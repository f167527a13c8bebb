"""Linking from the shell: labels in, labels and tracks out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_sam.samples
from napari_sam import cli
from napari_sam.cli.linking import linked_planes
from napari_sam.cli.report import Report
from napari_sam.core.volumes.linked import LinkSettings
from napari_sam.io import ImageFile, read_image, write_labels
from napari_sam.io.ctc import read_ctc
from napari_sam.io.label_files import read_labels
from napari_sam.io.ome_zarr import write_ome_zarr
from napari_sam.samples import SAMPLES

FAST = ("--points-per-side=3", "--device=cpu", "--min-score=0.7", "--min-stability=0.8",
        "--prompts=grid", "--dtype=float32", "-q")  # fmt: skip

OVULE = Path(napari_sam.samples.__file__).parent / "ovule.tif"


def run(*arguments: object) -> int:
    return cli.main([str(a) for a in arguments])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(*arguments) == cli.USER_ERROR
    said = capsys.readouterr()
    assert said.out == ""
    line, rest = said.err.split("\n", 1)
    assert rest == ""
    assert line.endswith(".")
    return line


def movie() -> np.ndarray:
    """Return frames in which each object has another number, and one divides."""
    labels = np.zeros((4, 16, 24), np.uint16)
    for t in range(4):
        labels[t, 2:8, 14:20] = 9 - t
    labels[:2, 2:8, 1:11] = 1
    labels[2:, 2:8, 1:6] = 1
    labels[2:, 2:8, 7:11] = 2
    return labels


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.tif"
    like = ImageFile(
        movie(), "TYX", (2.0, 0.5, 0.5), ("second", *["micrometer"] * 2), "movie"
    )
    write_labels(path, movie(), like)
    return path


def test_frames_become_tracks_and_folders_of_the_challenge(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, ctc = tmp_path / "out.tif", tmp_path / "ctc"
    assert run("link", file, "-o", out, "--time", "--ctc", ctc) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "4 objects, 1 division" in said.err
    image = read_image(out)
    assert image.axes == "TYX"
    assert image.scale == pytest.approx((2.0, 0.5, 0.5))
    labels = np.asarray(image.data)
    assert np.array_equal(labels > 0, movie() > 0)
    assert len(np.unique(labels[:, 5, 16])) == 1
    back, tracks = read_ctc(ctc)
    assert np.array_equal(back, labels)
    mother = int(labels[0, 5, 5])
    assert set(tracks.graph.values()) == {(mother,)}
    assert len(tracks.graph) == 2


def test_an_image_taken_for_labels_is_said(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray, out = tmp_path / "gray.tif", tmp_path / "out.tif"
    values = np.random.default_rng(0).poisson(40, (3, 32, 32)).astype(np.uint8)
    tifffile.imwrite(gray, values, photometric="minisblack")
    assert run("link", gray, "-o", out, "-q") == 0
    said = capsys.readouterr().err
    assert "warning: gray.tif looks like an image" in said
    assert said.count("\n") == 1
    assert run("link", OVULE, "-o", out, "-q", "--overwrite") == 0
    assert "looks like an image" in capsys.readouterr().err
    # Neither labels of single pixels nor broken objects are one.
    labels = movie()
    labels[:, 4, :] = 0
    labels[:, 12, ::3] = np.arange(20, 28)
    tifffile.imwrite(gray, labels, photometric="minisblack")
    for path in (gray, file):
        assert run("link", path, "-o", out, "-q", "--time", "--overwrite") == 0
        assert capsys.readouterr().err == ""


def test_a_stack_of_time_points_is_linked_along_z_in_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "labels.ome.zarr", tmp_path / "out.tif"
    write_ome_zarr(path, np.stack([movie(), movie()]), axes="tzyx")
    assert run("link", path, "-o", out, "--no-split", "--min-iou=0.5") == 0
    labels = np.asarray(read_image(out).data)
    assert labels.shape == (2, 4, 16, 24)
    assert not set(np.unique(labels[0])) & set(np.unique(labels[1])) - {0}
    assert f"{labels.max()} objects" in capsys.readouterr().err
    along_time = tmp_path / "time.tif"
    assert run("link", out, "-o", along_time, "--time", "-q") == 0
    linked = np.asarray(read_image(along_time).data)
    assert np.array_equal(linked[0], linked[1])


def test_what_cannot_be_linked_is_refused_before_anything_is_written(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tif"
    assert "add --time" in refusal(capsys, "link", file, "-o", out, "--ctc", "x")
    assert "add --time" in refusal(capsys, "link", file, "-o", out)
    said = refusal(capsys, "link", file, "-o", out, "--time", "--min-iou=2")
    assert "--min-iou is 2" in said
    assert "labels.tif" in refusal(capsys, "link", file, "-o", file, "--time")
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").touch()
    for more in ((), ("--overwrite",)):
        command = ("link", file, "-o", out, "--time", "--ctc", full, *more)
        assert str(full) in refusal(capsys, *command)
    one = tmp_path / "one.tif"
    tifffile.imwrite(one, movie()[0], photometric="minisblack")
    assert "no z to link" in refusal(capsys, "link", one, "-o", out)
    channels = tmp_path / "channels.tif"
    tifffile.imwrite(channels, movie(), imagej=True, metadata={"axes": "CYX"})
    assert "channels" in refusal(capsys, "link", channels, "-o", out)
    floats = tmp_path / "floats.tif"
    write = {"imagej": True, "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(floats, movie().astype(np.float32), **write)
    assert "float32" in refusal(capsys, "link", floats, "-o", out, "-q")
    assert "no file" in refusal(capsys, "link", tmp_path / "no.tif", "-o", out)
    assert sorted(os.listdir(tmp_path)) == [
        "channels.tif", "floats.tif", "full", "labels.tif", "one.tif",
    ]  # fmt: skip


def test_geff_from_the_shell(tmp_path: Path, file: Path) -> None:
    pytest.importorskip("geff", reason="needs napari-sam[tracks]")
    from napari_sam.io.geff import read_geff

    out, folder = tmp_path / "out.tif", tmp_path / "tracks.geff"
    assert run("link", file, "-o", out, "--time", "--geff", folder, "-q") == 0
    assert len(read_geff(folder).graph) == 2


def test_time_points_of_stacks_are_linked_along_z_and_then_along_time() -> None:
    labels = np.zeros((3, 4, 8, 16), np.uint32)
    for number, (t, z) in enumerate(np.ndindex(3, 4), start=1):
        labels[t, z, 1:7, 1:6] = 2 * number
        labels[t, z, 1:7, 9:15] = 2 * number + 1
    report = Report(quiet=True)
    linked = linked_planes(labels, LinkSettings(time=True), report)
    assert np.unique(linked.labels).tolist() == [0, 1, 2]
    assert (linked.labels[:, :, 1:7, 1:6] == 1).all()
    along_z = linked_planes(labels, LinkSettings(), report)
    assert [o.id for o in along_z.objects] == [1, 2, 3, 4, 5, 6]
    assert np.unique(along_z.labels).tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "stack.tif"
    planes = np.asarray(read_image(SAMPLES["ovule"].path).data)[10:13, 40:140, 40:140]
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZYX"})
    return path


@pytest.mark.usefixtures("small_models")
def test_everything_links_what_it_finds(
    tmp_path: Path, stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single, linked = tmp_path / "single.tif", tmp_path / "linked.tif"
    assert run("everything", stack, single, "--all-planes", *FAST) == 0
    extent = ("--link", "--min-iou=0.4", "--min-extent=1", "--no-grow")
    assert run("everything", stack, linked, *extent, *FAST) == 0
    found, labels = read_labels(single).data, read_labels(linked).data
    assert np.array_equal(found > 0, labels > 0)
    assert 0 < labels.max() < found.max()
    assert sorted(os.listdir(tmp_path)) == ["linked.tif", "single.tif"]
    out = tmp_path / "x.tif"
    for options, said in (
        (("--link", "--plane=1"), "--plane asks for one plane"),
        (("--all-planes", "--gap=1"), "--gap is about linking"),
        (("--all-planes", "--min-extent=2"), "--min-extent is about linking"),
        (("--link", "--min-iou=0"), "--min-iou is 0"),
        (("--all-planes", "--no-grow"), "--no-grow is about linking"),
    ):
        assert said in refusal(capsys, "everything", stack, out, *options, *FAST)
    # What is in one slice only is left out, and counted.
    once = np.unique(labels)[1:]
    once = [n for n in once if (labels == n).any((1, 2)).sum() == 1]
    loud = [o for o in FAST if o != "-q"]
    more = tmp_path / "grown.tif"
    assert run("everything", stack, more, "--link", "--min-iou=0.4", *loud) == 0
    said = capsys.readouterr().err
    assert f"({len(once)} through fewer than 2 slices left out), grown into" in said
    grown = read_labels(more).data
    kept = (labels > 0) & ~np.isin(labels, once)
    assert (grown > 0)[kept].all()
    # No pixel changes its object: each of them is one of the others.
    pairs = set(zip(labels[kept].tolist(), grown[kept].tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    image = tmp_path / "image.png"
    image.write_bytes(SAMPLES["nuclei"].path.read_bytes())
    assert "no z to link" in refusal(capsys, "everything", image, out, "--link", *FAST)
