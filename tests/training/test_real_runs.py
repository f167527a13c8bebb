"""Whole runs of the real model: what it says, and what a signal leaves of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from napari_sam.core.metrics import choose_objects, deepest_point, object_mask
from napari_sam.core.steps import finish
from napari_sam.models import find_model, load_model
from napari_sam.models.metadata import read_metadata
from napari_sam.models.sam1.calibration import logit_factor
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.finetune.run import RunSettings, iter_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_sam.training.data.crops import SampleGroup
    from napari_sam.training.finetune.state import TrainingState


def test_the_result_has_logits_of_the_usual_scale(
    rod: tuple[SampleGroup, ...], tmp_path: Path
) -> None:
    base = find_model("mobile-sam").path
    recipe = Recipe(steps=2, side=112, images=1, prompts=2, warmup=1, score_shift=-0.25)
    settings = RunSettings(dtype="float32")
    result = finish(iter_run(base, rod, recipe, tmp_path, settings=settings))
    texts = read_metadata(result.weights)
    assert 0.1 < float(texts["logit_scale"]) < 10
    assert texts["score_shift"] == "-0.25"
    model = load_model(result.weights, dtype="float32")
    examples = []
    for sample in rod[0].samples:
        labels = choose_objects(sample.labels, max_objects=6)
        masks = [object_mask(sample.labels, label) for label in labels]
        points = [deepest_point(mask)[:2] for mask in masks]
        examples.append((model.encode_rgb(sample.rgb), points))
    assert logit_factor(examples) == pytest.approx(1, rel=0.25)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_can_be_resumed(
    folders: Path,
    tmp_path: Path,
    start_real: Callable[[Recipe], TrainingState],
    number: signal.Signals,
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "napari_sam.cli", "train"]
    options = "--steps 500 --side 112 --images 1 --prompts 2 --dtype float32 -q"
    files = "--save-every 1 --val-images 0"
    run = subprocess.Popen(
        [*command, folders, "--out", out, *options.split(), *files.split()],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (out / "state.safetensors").exists():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.3)
    run.send_signal(number)
    run.communicate(timeout=120)
    assert run.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    # The state that is there is whole, whenever the signal came.
    state = start_real(Recipe(steps=500, side=112, images=1, prompts=2))
    state.load(out / "state.safetensors")
    assert state.step > 0
    leftovers = {p.name for p in out.iterdir()} - {"state.safetensors", "log.jsonl"}
    assert number == signal.SIGKILL or not leftovers
