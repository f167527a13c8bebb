"""The command that follows objects through a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_sam import cli
from napari_sam.io import read_image
from napari_sam.samples import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("small_models")

SHAPE = (4, 64, 80)


def run(*arguments: object) -> int:
    return cli.main(["propagate", *(str(a) for a in arguments), "--device=cpu"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "stack.tif"
    planes = np.asarray(read_image(SAMPLES["ovule"].path).data)[10:14, 40:104, 30:110]
    tifffile.imwrite(
        path,
        planes,
        imagej=True,
        resolution=(4.0, 4.0),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 1.5},
    )
    return path


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """Return labels 5 and 9 in one slice each, which meet."""
    path = tmp_path / "seeds.tif"
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 20:44, 10:38] = 9
    labels[2, 20:44, 38:60] = 5
    tifffile.imwrite(path, labels, photometric="minisblack")
    return path


def test_every_label_is_followed(
    stack: Path, seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tif"
    assert run(stack, "--seed", seeds, "-o", out, "--to-limits") == 0
    given, found = tifffile.imread(seeds), read_image(out)
    labels = np.asarray(found.data)
    assert labels.shape == SHAPE
    assert labels.dtype == np.uint16
    assert found.scale == pytest.approx((1.5, 0.25, 0.25))
    # Seeds stay, and no label has taken their pixels.
    np.testing.assert_array_equal(labels[given > 0], given[given > 0])
    assert not (labels[1][given[1] == 0] == 9).any()
    for label in (5, 9):
        assert np.count_nonzero((labels == label).any(axis=(1, 2))) >= 2
    said = capsys.readouterr().err
    assert "2 objects in" in said
    assert "label 9: " in said


def test_limits_axis_and_one_slice(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one.tif"
    labels = np.zeros((4, 64), np.uint8)
    labels[1:3, 20:44] = 3
    tifffile.imwrite(one, labels, photometric="minisblack")
    out = tmp_path / "out.tif"
    arguments = (stack, "--seed", one, "--at", 40, "--axis", 2, "--limits", 39, 42)
    assert run(*arguments, "-o", out, "-q") == 0
    assert capsys.readouterr().err == ""
    found = tifffile.imread(out)
    assert found.shape == SHAPE
    np.testing.assert_array_equal(found[:, :, 40], labels)
    assert not found[:, :, :39].any()
    assert not found[:, :, 42:].any()


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        (np.zeros(SHAPE, np.uint8), (), "seeds have no label"),
        (np.ones(SHAPE, np.uint8), (), "covers all of slice 0"),
        (np.ones((3, 64, 80), np.uint8), (), "labels of the same shape"),
        (np.ones((64, 80), np.uint8), (), "--at"),
        (np.ones((64, 81), np.uint8), ("--at", "1"), "labels of the same size"),
        (np.eye(80, dtype=np.uint8)[:64], ("--at", "4"), "Slice 4 is prompted"),
        (np.zeros(SHAPE, np.float32) + 0.5, (), "are no labels"),
        (np.full(SHAPE, -1, np.int16), (), "from -1"),
    ],
    ids=["empty", "full", "shape", "plane", "size", "outside", "float", "negative"],
)
def test_unusable_seeds(
    stack: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    labels: np.ndarray,
    more: tuple[str, ...],
    message: str,
) -> None:
    seeds, out = tmp_path / "seeds.tif", tmp_path / "out.tif"
    tifffile.imwrite(seeds, labels, photometric="minisblack")
    assert run(stack, "--seed", seeds, "-o", out, *more) == cli.USER_ERROR
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_seeds_are_never_replaced(
    stack: Path, seeds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = seeds.read_bytes()
    assert run(stack, "--seed", seeds, "-o", seeds) == cli.USER_ERROR
    assert seeds.read_bytes() == before
    assert str(seeds) in capsys.readouterr().err
