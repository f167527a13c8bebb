"""A whole run of a tiny network: files in a folder, evaluation, resuming, faults."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from napari_sam.cli import main
from napari_sam.core.steps import finish
from napari_sam.errors import DataError, FileFormatError, SettingsError
from napari_sam.models import find_model, load_model
from napari_sam.models.sam1.checkpoint import SamNetwork, save_network
from napari_sam.models.sam1.vit import SamViT, ViTShape
from napari_sam.training.data.sample_sets import SampleSet, samples_from_arrays
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.finetune.run import RunResult, RunSettings, groups_of, iter_run
from napari_sam.training.report import EvaluationSettings
from napari_sam_synthetic import generate

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.training.data.crops import SampleGroup

pytestmark = pytest.mark.usefixtures("tiny_models")

RECIPE = Recipe(steps=4, side=112, images=1, prompts=2, warmup=1)
SETTINGS = RunSettings(
    save_every=2,
    evaluate_every=2,
    evaluation=EvaluationSettings(max_objects=2),
    metadata={"name": "mine"},
    dtype="float32",
)


@pytest.fixture(scope="module")
def base(tiny_models: None) -> Path:
    """Return the weights that a run begins with."""
    return find_model("mobile-sam").path


@pytest.fixture(scope="module")
def validation() -> SampleSet:
    sample = generate("rods", 7, 256)
    return samples_from_arrays(sample.rgb, sample.labels, name="val")


TWO_STEPS = replace(RECIPE, steps=2)


@pytest.fixture(scope="module")
def two_steps(
    base: Path, rod: tuple[SampleGroup, ...], tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    """Return the outcome of a run of two steps that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    result = finish(iter_run(base, rod, TWO_STEPS, out, settings=SETTINGS))
    assert result.weights == out / "last.safetensors"
    return result


def test_a_run_leaves_weights_that_load(
    base: Path, rod: tuple[SampleGroup, ...], validation: SampleSet, tmp_path: Path
) -> None:
    run = iter_run(
        base, rod, RECIPE, tmp_path, validation=validation, settings=SETTINGS
    )
    result = finish(run)
    assert result.weights == tmp_path / "best.safetensors"
    assert result.weights.stat().st_size < 25e6
    assert result.step in (2, 4)
    model = load_model(result.weights)
    plane = model.encode_rgb(generate("rods", 3, 256).rgb)
    assert plane.predict(points=[(100, 100)]).crop().mask.dtype == bool
    entries = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    scores = {e["step"]: e["score"] for e in entries if "score" in e}
    assert set(scores) == {2, 4}
    assert scores[result.step] == max(scores.values())
    with pytest.raises(FileFormatError, match="There is a run in"):
        next(iter_run(base, rod, RECIPE, tmp_path))


def test_a_closed_run_goes_on(
    base: Path, rod: tuple[SampleGroup, ...], two_steps: RunResult, tmp_path: Path
) -> None:
    rare = replace(SETTINGS, save_every=99)
    run = iter_run(base, rod, TWO_STEPS, tmp_path, settings=rare)
    next(run)
    run.close()
    parts = finish(
        iter_run(base, rod, TWO_STEPS, tmp_path, settings=SETTINGS, resume=True)
    )
    a, b = (load_file(r.weights) for r in (two_steps, parts))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_result_keeps_a_share_of_the_base(
    base: Path, rod: tuple[SampleGroup, ...], two_steps: RunResult, tmp_path: Path
) -> None:
    """In the middle between base and trained weights; a new head is as trained."""
    found = {0.0: load_file(two_steps.weights)}
    for keep in (0.5, 1.0):
        out = tmp_path / str(keep)
        recipe = replace(TWO_STEPS, keep=keep)
        finish(iter_run(base, rod, recipe, out, settings=SETTINGS))
        found[keep] = load_file(out / "last.safetensors")
    old = load_file(base)
    changed = 0
    for name, value in old.items():
        if "output_hypernetworks" in name or "mask_downscaling" in name:
            continue  # scaled
        trained = found[0.0][name].float()
        middle = (value.float() + trained) / 2
        assert torch.equal(found[1.0][name], value)
        torch.testing.assert_close(
            found[0.5][name].float(), middle, rtol=2e-3, atol=1e-6
        )
        changed += not torch.equal(trained, value.float())
    assert changed > 100
    head = [name for name in found[1.0] if name.startswith("prompt_head.")]
    assert head
    assert all(torch.equal(found[1.0][n], found[0.0][n]) for n in head)


def test_an_encoder_of_another_architecture_is_not_remembered(
    base: Path, rods: tuple[SampleGroup, ...], tmp_path: Path
) -> None:
    shape = ViTShape(48, depth=3, heads=3, grid=8, window=6, global_blocks=(2,), mlp=96)
    other = tmp_path / "vit.safetensors"
    save_network(SamNetwork(SamViT(shape), "vit_48x3", shape.grid * 16), other, {})
    run = iter_run(
        base, rods, replace(RECIPE, recall=0.5), tmp_path / "run", remember=other
    )
    with pytest.raises(SettingsError, match="is vit_48x3, that of the base vit_t"):
        finish(run)


def test_crops_that_the_model_does_not_see_whole_are_refused(
    base: Path, rod: tuple[SampleGroup, ...], tmp_path: Path
) -> None:
    for recipe in (replace(RECIPE, side=528), replace(RECIPE, fine_steps=1)):
        with pytest.raises(SettingsError, match="more than the 512"):
            next(iter_run(base, rod, recipe, tmp_path / f"{recipe.side}"))


def test_shares_name_sources(validation: SampleSet) -> None:
    (name,) = validation.sources
    (group,) = groups_of(validation, {name: 0.25})
    assert (group.name, group.weight, len(group.samples)) == (name, 0.25, 1)
    with pytest.raises(DataError, match="No source is called 'nuclei'"):
        groups_of(validation, {"nuclei": 1})
    with pytest.raises(DataError, match="give a positive number"):
        groups_of(validation, {name: -1.0})


def arguments(folders: Path, out: Path, *more: str) -> list[str]:
    options = "--steps 3 --side 112 --images 1 --prompts 2 --val-images 1 -q"
    return ["train", str(folders), "--out", str(out), *options.split(), *more]


def test_the_command_trains_and_resumes(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    memory = ["--remember", "5", "--remembered", folders.name, "--recall", "0.5"]
    memory += ["--remember-model", "mobile-sam"]
    shares = ["--share", f"{folders.name}=2"]
    assert main(arguments(folders, out, *shares, *memory)) == 0
    assert (out / "best.safetensors").exists() or (out / "last.safetensors").exists()
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["recipe"]["side"] == 112
    assert recipe["remembered"] == [folders.name]
    assert "images of" in recipe["trained_on"]
    capsys.readouterr()
    assert main(arguments(folders, out)) == 2
    assert "There is a run in" in capsys.readouterr().err
    assert main(arguments(folders, out, "--resume", *memory)) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--share", "cats=2"], "No source is called 'cats'"),
        (["--side", "100"], "choose a multiple of 16"),
        (["--base", "no-such-model"], "no-such-model"),
        (["--remember", "2"], "--remembered on which source; give both"),
        (["--remembered", "cells"], "--remembered on which source; give both"),
        (
            ["--remember", "2", "--remembered", "cats"],
            "No source is called 'cats'",
        ),
        (["--remember-model", "no-such-model"], "no-such-model"),
        (["--recipe", "nowhere.json"], "is not a recipe"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert main(arguments(folders, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_images_without_labels_are_named(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "broken"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for name in "ab":
        (root / "images" / f"{name}.png").write_bytes(
            (folders / "images" / f"{name}.png").read_bytes()
        )
    assert main(arguments(root, tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "a" in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
