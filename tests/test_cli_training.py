"""The commands that read images with ground truth, on the real model."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest

from napari_sam import cli
from napari_sam.io import read_image
from napari_sam.samples import SAMPLES
from napari_sam.training import Report

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("small_models")


def run(*arguments: object) -> int:
    return cli.main([str(a) for a in arguments])


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Return a folder with a usable image, one without labels and an empty one."""
    folder = tmp_path / "cells"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    image = np.asarray(read_image(SAMPLES["nuclei"].path).data)[:200, :220]
    labels = (image > np.percentile(image, 85)).astype(np.uint8)
    for name, truth in (("a", labels), ("b", labels * 0), ("c", None)):
        iio.imwrite(folder / "images" / f"{name}.png", image)
        if truth is not None:
            iio.imwrite(folder / "masks" / f"{name}_mask.png", truth)
    return folder


def test_evaluate(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "report.json", tmp_path / "table.md"
    assert (
        run("evaluate", cells, "--device=cpu", "--out", out, "--markdown", table) == 0
    )
    said = capsys.readouterr()
    assert said.out == table.read_text()
    assert said.out.startswith("| set | images | objects | 1 click | 3 clicks |")
    assert "| cells | 1 | 1 |" in said.out
    assert "left out b: no object in the labels\n" in said.err
    assert "left out c: no label image in masks\n" in said.err
    assert "100% cells: image 1 of 1" in said.err
    report = Report.from_json(out.read_text())
    assert report.to_markdown() == said.out
    assert report.settings.feed_logits
    assert report.problems == (
        "c: no label image in masks",
        "b: no object in the labels",
    )
    assert json.loads(out.read_text())["rows"][0]["objects"][0]["image"] == "a"


def test_evaluate_with_options(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "evaluate",
        cells / "images",
        "--labels",
        cells / "masks",
        "--device=cpu",
    )
    anew = ("--anew", "--max-objects=1", "--max-images=1", "-q", "--seed=3")
    assert run(*arguments, *anew) == 0
    said = capsys.readouterr()
    assert "| images | 1 | 1 |" in said.out
    # Quiet or not, what is left out is said.
    assert said.err == "left out c: no label image in masks\n"
    grid = ("--max-objects=0", "--everything=1", "--prompts=grid", "--max-images=1")
    grid += ("--points-per-side=4", "--overlap=score", "-q")
    out = tmp_path / "report.json"
    assert run(*arguments, *grid, "--out", out) == 0
    kept = json.loads(out.read_text())["settings"]
    assert (kept["prompts"], kept["points_per_side"]) == ("grid", 4)
    assert kept["overlap"] == "score"


def test_a_model_is_measured_once_and_compared(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_sam.models import list_models

    path = next(m.path for m in list_models() if m.name == "mobile-sam")
    models = ("--model=mobile-sam", "--model", path, "--model=mobile-sam")
    arguments = ("--max-objects=1", "--device=cpu", "-q", *models)
    assert run("evaluate", "--whole", cells, "--split=val", *arguments) == 0
    lines = [x for x in capsys.readouterr().out.split("\n") if x.startswith("| cells")]
    assert [line.split(" | ")[1] for line in lines] == ["mobile-sam", "mobile_sam"]
    first, second = (line.split(" | ")[2:] for line in lines)
    assert first == second


def test_refusals(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir()
    for arguments, said in (
        ((), "There is no source"),
        ((tmp_path / "no",), "There is no file or folder"),
        ((folder,), "no folders images and masks"),
        (
            (cells, cells, "--labels", cells),
            "--labels goes with one source, not with 2",
        ),
        ((cells, "--out", tmp_path / "no" / "a.json"), "There is no folder"),
        ((cells, "--markdown", tmp_path), "is a folder"),
        ((cells, "--model=no"), "There is no model called 'no'"),
        ((cells, "--max-objects=0"), "Neither objects nor images"),
    ):
        assert run("evaluate", *arguments) == cli.USER_ERROR
        printed = capsys.readouterr()
        assert printed.out == ""
        line, rest = printed.err.split("\n", 1)
        assert rest == ""
        assert said in line
        assert line.startswith("napari-sam: ")
        assert line.endswith(".")
    for wrong in ("--every=0", "--max-images=x", "--split=test"):
        assert run("evaluate", cells, wrong) == cli.USER_ERROR
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells", "nothing"]


def test_reading_data_needs_no_torch(cells: Path) -> None:
    code = (
        "import sys, napari_sam.training as t;"
        f"print(len(t.read_samples({str(cells)!r}, in_memory=True)),"
        " 'torch' in sys.modules, t.evaluate.__module__, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "False", "napari_sam.training.evaluation", "False"]  # fmt: skip  # noqa: E501
