"""Tracks in files: what is written comes back, or nothing is written."""

from __future__ import annotations

import builtins
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_sam.core.atomic import replacing_folder
from napari_sam.core.volumes.tracks import Tracks
from napari_sam.errors import FileFormatError, TracksError
from napari_sam.io.ctc import read_ctc, write_ctc
from napari_sam.io.geff import read_geff, write_geff

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = {3: (1,), 4: (1,)}


@pytest.fixture
def labels() -> np.ndarray:
    """Return a division and a track beside it."""
    movie = np.zeros((5, 8, 12), np.uint16)
    movie[:2, 2:6, 1:7] = 1
    movie[2:, 2:6, 1:4] = 3
    movie[2:4, 2:6, 5:7] = 4
    movie[1:, 2:6, 9:] = 700
    return movie


def same(a: Tracks, b: Tracks) -> bool:
    return (
        np.array_equal(a.ids, b.ids)
        and np.array_equal(a.frames, b.frames)
        and np.allclose(a.positions, b.positions)
        and a.graph == b.graph
    )


def test_a_result_of_the_challenge_comes_back(tmp_path: Path, labels: np.ndarray):
    folder = tmp_path / "01_RES"
    write_ctc(folder, labels, GRAPH)
    assert sorted(os.listdir(tmp_path)) == ["01_RES"]
    assert (folder / "res_track.txt").read_text() == (
        "1 0 1 0\n3 2 4 1\n4 2 3 1\n700 1 4 0\n"
    )
    assert tifffile.imread(folder / "mask002.tif").dtype == np.uint16
    back, tracks = read_ctc(folder)
    assert np.array_equal(back, labels)
    assert same(tracks, Tracks.from_labels(labels, GRAPH))


def test_gold_truth_and_volumes_are_read(tmp_path: Path, labels: np.ndarray):
    volumes = np.repeat(labels[:, None], 2, axis=1)
    write_ctc(tmp_path / "res", volumes, GRAPH)
    truth = tmp_path / "TRA"
    truth.mkdir()
    for file in (tmp_path / "res").iterdir():
        name = file.name.replace("mask", "man_track").replace("res_track", "man_track")
        file.rename(truth / name)
    back, tracks = read_ctc(truth)
    assert np.array_equal(back, volumes)
    assert tracks.graph == GRAPH


def test_a_track_with_gaps_becomes_several_that_follow_each_other(
    tmp_path: Path, labels: np.ndarray
):
    labels[1][labels[1] == 1] = 0
    labels[0] = np.where(labels[2] == 3, 1, 0)
    labels[1] = 0
    labels[2:3][labels[2:3] == 700] = 0
    labels[1, 0, 0] = 700
    write_ctc(tmp_path / "res", labels, GRAPH)
    back, tracks = read_ctc(tmp_path / "res")
    assert np.array_equal(back > 0, labels > 0)
    assert tracks.graph == {**GRAPH, 701: (700,)}
    assert tracks.spans()[701] == (3, 4)


def test_what_the_challenge_cannot_express_is_refused(
    tmp_path: Path, labels: np.ndarray
):
    large = labels.astype(np.uint32)
    large[large == 700] = 70_000
    with pytest.raises(TracksError, match="70000"):
        write_ctc(tmp_path / "res", large)
    late = labels.copy()
    late[4] = np.where(late[4] == 3, 9, 0)
    with pytest.raises(TracksError, match="parents 1, 700"):
        write_ctc(tmp_path / "res", late, {9: (1, 700)})
    assert os.listdir(tmp_path) == []


def test_a_folder_of_other_files_is_never_replaced(tmp_path: Path, labels: np.ndarray):
    folder = tmp_path / "res"
    write_ctc(folder, labels)
    with pytest.raises(FileFormatError, match="--overwrite"):
        write_ctc(folder, labels, GRAPH)
    write_ctc(folder, labels, GRAPH, overwrite=True)
    assert read_ctc(folder)[1].graph == GRAPH
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileFormatError, match=r"notes\.txt, which would be lost"):
        write_ctc(folder, labels, overwrite=True)
    assert read_ctc(folder)[1].graph == GRAPH
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileFormatError, match="is a file"):
        write_ctc(file, labels, overwrite=True)
    with pytest.raises(FileFormatError, match="make it first"):
        write_ctc(tmp_path / "no" / "res", labels)
    assert sorted(os.listdir(tmp_path)) == ["file", "res"]


def fill(folder: Path, error: Exception) -> None:
    with replacing_folder(folder, lambda _: True) as aside:
        (aside / "newer").write_text("newer")
        raise error


def test_a_failure_in_the_middle_leaves_what_was_there(tmp_path: Path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(KeyError):
        fill(folder, KeyError())
    assert (folder / "old").read_text() == "old"
    with replacing_folder(folder, lambda _: True) as aside:
        (aside / "new").write_text("new")
    assert os.listdir(folder) == ["new"]
    assert os.listdir(tmp_path) == ["out"]
    with pytest.raises(FileFormatError, match="No space left"):
        fill(folder, OSError(28, "No space left on device"))
    assert os.listdir(folder) == ["new"]
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "res_track.txt").unlink(), "neither res_track.txt"),
        (lambda f: (f / "mask001.tif").unlink(), "without a gap"),
        (
            lambda f: (f / "mask001.tif").write_bytes(b"II"),
            "mask001.tif cannot be read",
        ),
        (lambda f: (f / "res_track.txt").write_text("1 0 1"), "not four numbers"),
        (lambda f: (f / "res_track.txt").write_text("a b c d"), "not four numbers"),
        (lambda f: (f / "res_track.txt").write_text("1 0 3 0"), "from 0 to 1; correct"),
        (lambda f: (f / "res_track.txt").write_text("8 0 3 0"), "do not have it"),
        (
            lambda f: (f / "res_track.txt").write_text("1 0 1 0"),
            "no line for the track",
        ),
    ],
)
def test_a_damaged_folder_is_named_in_a_sentence(tmp_path, labels, damage, said):
    write_ctc(tmp_path / "res", labels, GRAPH)
    damage(tmp_path / "res")
    with pytest.raises(FileFormatError, match=said) as caught:
        read_ctc(tmp_path / "res")
    assert str(caught.value).endswith(".")


def test_geff_comes_back(tmp_path: Path, labels: np.ndarray):
    geff = pytest.importorskip("geff", reason="needs napari-sam[tracks]")
    tracks = Tracks.from_labels(labels, GRAPH)
    folder = tmp_path / "tracks.geff"
    write_geff(
        folder,
        tracks,
        scale=(5, 0.5, 0.5),
        units=("minute", "micrometer", "micrometer"),
    )
    assert os.listdir(tmp_path) == ["tracks.geff"]
    assert same(read_geff(folder), tracks)
    geff.validate_structure(folder)
    graph, metadata = geff.read(folder)
    assert graph.number_of_nodes() == len(tracks.ids)
    assert graph.number_of_edges() == len(tracks.ids) - 4 + 2
    assert [axis.name for axis in metadata.axes] == ["t", "y", "x"]
    assert metadata.axes[1].scaled_unit == "micrometer"
    assert metadata.track_node_props == {"tracklet": "track_id"}
    with pytest.raises(FileFormatError, match="--overwrite"):
        write_geff(folder, tracks)
    write_geff(folder, Tracks.from_labels(labels[:, None]), overwrite=True)
    assert read_geff(folder).positions.shape == (len(tracks.ids), 3)
    with pytest.raises(TracksError, match="no tracks"):
        write_geff(tmp_path / "x", Tracks.from_labels(np.zeros_like(labels)))
    with pytest.raises(FileFormatError, match="cannot be read as GEFF"):
        read_geff(tmp_path / "x")


def test_without_geff_the_command_that_installs_it_is_named(
    tmp_path: Path, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("geff"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TracksError, match=r'pip install "napari-sam\[tracks\]"'):
        write_geff(tmp_path / "x.geff", Tracks.from_labels(labels))
    assert os.listdir(tmp_path) == []
