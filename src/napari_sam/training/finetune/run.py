"""A whole training run: train, save, evaluate, keep the best."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from napari_sam.core.atomic import make_folder, replacing, write_text
from napari_sam.core.stopwatch import Stopwatch, format_duration
from napari_sam.errors import DataError, FileFormatError, SettingsError
from napari_sam.models.devices import resolve_device, resolve_dtype
from napari_sam.models.sam1.checkpoint import load_network
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.prompt_head import PromptHead
from napari_sam.models.sam1.sam import SamModel
from napari_sam.training.data.crops import SampleGroup
from napari_sam.training.evaluation import iter_evaluate
from napari_sam.training.finetune.finishing import Finish
from napari_sam.training.finetune.memory import Memory
from napari_sam.training.finetune.state import TrainingState
from napari_sam.training.finetune.trainer import iter_training
from napari_sam.training.report import EvaluationSettings
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping
    from pathlib import Path

    from napari_sam.training.data.sample_sets import SampleSet
    from napari_sam.training.finetune.recipe import Recipe
    from napari_sam.training.finetune.trainer import StepReport
    from napari_sam.training.report import Report

STATE = "state.safetensors"
BEST = "best.safetensors"
LAST = "last.safetensors"
LOG = "log.jsonl"
_CANDIDATE = "candidate.safetensors"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run does beside training; nothing of it changes the weights.

    Parameters
    ----------
    save_every : int
        Steps between two saved states.
    evaluate_every : int
        Steps between two evaluations; the last step is always evaluated.
    evaluation : EvaluationSettings
        How to evaluate.
    metadata : mapping of str to str
        What the weights say about themselves; see
        :mod:`napari_sam.models.metadata`.
    device : str
        ``auto``, ``cpu``, ``cuda``, …
    dtype : str
        ``auto``, ``float32`` or ``bfloat16``.
    workers : int
        Threads that prepare batches.
    """

    save_every: int = 100
    evaluate_every: int = 500
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    metadata: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"
    workers: int = 1


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to.

    Parameters
    ----------
    weights : Path
        The best weights, or the last ones if nothing was evaluated.
    step : int
        At which they were made.
    report : Report, optional
        Their evaluation, if it was made in this part of the run.
    """

    weights: Path
    step: int
    report: Report | None


def groups_of(
    samples: SampleSet,
    weights: Mapping[str, float] | None = None,
    remembered: Collection[str] = (),
) -> tuple[SampleGroup, ...]:
    """Return the samples of each source as a group with its share of the crops.

    Parameters
    ----------
    samples : SampleSet
        Read into memory here if they are not there.
    weights : mapping of str to float, optional
        Shares by the source's name; 1 for those not named.
    remembered : collection of str
        Names of the sources that are to look as before to the encoder.

    Raises
    ------
    DataError
        If a share is not positive, or a name is no source's.
    """
    weights = weights or {}
    for name in (*weights, *remembered):
        if name not in samples.sources:
            raise DataError(
                f"No source is called {name!r}; choose one of "
                f"{', '.join(samples.sources)}."
            )
    for name, weight in weights.items():
        if weight <= 0:
            raise DataError(f"The share of {name} is {weight}; give a positive number.")
    return tuple(
        SampleGroup(
            name, tuple(samples.of(name)), weights.get(name, 1.0), name in remembered
        )
        for name in samples.sources
    )


def iter_run(
    base: Path,
    groups: tuple[SampleGroup, ...],
    recipe: Recipe,
    folder: Path,
    *,
    remember: Path | None = None,
    validation: SampleSet | None = None,
    settings: RunSettings | None = None,
    resume: bool = False,
) -> Generator[Progress, None, RunResult]:
    """Train a model and leave its weights in a folder.

    The folder gets ``state.safetensors``, from which the run can go on,
    ``best.safetensors`` and ``last.safetensors``, float16 weights that
    :func:`napari_sam.load_model` reads, and ``log.jsonl``.  All of them are
    replaced whole; closing the generator saves the state first.

    Parameters
    ----------
    base : Path
        Weights to begin with.
    groups : tuple of SampleGroup
        What to train on; see :func:`groups_of`.
    recipe : Recipe
        How.
    folder : Path
        Where to put the files.
    remember : Path, optional
        Weights whose encoder is not to be forgotten; those of the base if None.
        The recipe says how much, the groups on which images.
    validation : SampleSet, optional
        What decides which weights are the best; the last ones without it.
    settings : RunSettings, optional
        Saving and evaluating.
    resume : bool
        Whether to go on from the state in the folder, if there is one.

    Yields
    ------
    Progress
        After each step, with the time left, and while evaluating.

    Returns
    -------
    RunResult

    Raises
    ------
    SettingsError
        If the encoder to remember is of another architecture, or crops are larger
        than the model's input.
    FileFormatError
        If there is a run in the folder and ``resume`` is not set, if its state
        does not fit, or if a file cannot be written.
    """
    settings = settings or RunSettings()
    if (folder / STATE).exists() and not resume:
        raise FileFormatError(
            f"There is a run in {folder} already; resume it, or choose another folder."
        )
    make_folder(folder)
    device = _own_device(settings.device)
    network = load_network(base)
    largest = max(recipe.side, recipe.fine_side if recipe.fine_steps else 0)
    if largest > network.side:
        raise SettingsError(
            f"The crops have {largest} pixels a side, more than the {network.side} "
            f"that {base.name} sees; choose a smaller side."
        )
    memory = None
    if recipe.remember or recipe.recall:
        other = network if remember is None else load_network(remember)
        if other.architecture != network.architecture:
            raise SettingsError(
                f"The encoder to remember is {other.architecture}, that of the base "
                f"{network.architecture}; choose one of the same architecture."
            )
        memory = Memory(other, recipe.remember)
        memory.recall(network, recipe.recall)
        memory.to(device)
    begun = {name: value.clone() for name, value in network.state_dict().items()}
    if network.prompt_head is None:
        network.prompt_head = PromptHead()
        network.prompt_head.reset_parameters(recipe.seed)
    if network.blend is None:
        network.blend = MultimaskEnsemble()
    state = TrainingState(network, recipe, device)
    if (folder / STATE).exists():
        state.load(folder / STATE)
    finish = Finish(
        begun,
        recipe.keep,
        groups,
        settings.metadata,
        settings.device,
        recipe.score_shift,
    )
    run = _Run(state, folder, validation, settings, finish, memory)
    with closing(run.steps(groups)) as steps:
        result = yield from steps
    return result


def join_launcher() -> bool:
    """Join the processes of torch's distributed launcher, if it started this one.

    Returns
    -------
    bool
        Whether this process writes files and reports: the first one does.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        has_cuda = torch.cuda.is_available()
        dist.init_process_group("nccl" if has_cuda else "gloo")
    return _is_first()


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def _own_device(name: str) -> torch.device:
    """Return this process's device: with several GPUs, each has its own."""
    device = resolve_device(name)
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


class _Run:
    """One run under way."""

    def __init__(
        self,
        state: TrainingState,
        folder: Path,
        validation: SampleSet | None,
        settings: RunSettings,
        finish: Finish,
        memory: Memory | None,
    ) -> None:
        self._state = state
        self._memory = memory
        self._finish = finish
        self._folder = folder
        self._validation = validation
        self._settings = settings
        self._best, self._best_step = _best_so_far(folder / LOG, state.step)
        self._report: Report | None = None

    def steps(
        self, groups: tuple[SampleGroup, ...]
    ) -> Generator[Progress, None, RunResult]:
        state, settings = self._state, self._settings
        recipe = state.recipe
        watch = Stopwatch()
        saved = state.step
        training = iter_training(
            state,
            groups,
            precision=resolve_dtype(settings.dtype, state.device),
            workers=settings.workers,
            memory=self._memory,
        )
        try:
            for report in training:
                watch.observe(report.seconds)
                self._note(report)
                is_last = report.step == recipe.steps
                if is_last or report.step % settings.save_every == 0:
                    self._save()
                    saved = state.step
                yield _progress(report, watch)
                if is_last or report.step % settings.evaluate_every == 0:
                    yield from self._evaluate()
        except GeneratorExit:
            # Only here: an exception may have left a step half done.
            if saved != state.step:
                self._save()
            raise
        if self._validation is None:
            return RunResult(self._folder / LAST, state.step, None)
        return RunResult(self._folder / BEST, self._best_step, self._report)

    def _save(self) -> None:
        if _is_first():
            self._state.save(self._folder / STATE)

    def _evaluate(self) -> Generator[Progress, None, None]:
        """Write the averaged weights, measure them as users get them."""
        if not _is_first():
            dist.barrier()
            return
        candidate = self._folder / _CANDIDATE
        self._finish.write(self._state, candidate)
        if self._validation is not None:
            settings = self._settings
            model = SamModel.from_file(
                candidate, name=f"step {self._state.step}", device=settings.device
            )
            report = yield from iter_evaluate(
                model, self._validation, settings.evaluation
            )
            score = _score(report)
            self._append({"step": self._state.step, "score": score} | _means(report))
            if score > self._best:
                self._best, self._best_step = score, self._state.step
                self._report = report
                with replacing(self._folder / BEST) as aside:
                    shutil.copyfile(candidate, aside)
        candidate.replace(self._folder / LAST)
        if dist.is_initialized():
            dist.barrier()

    def _note(self, report: StepReport) -> None:
        if report.step % 10 == 0:
            self._append(
                {
                    "step": report.step,
                    "loss": round(report.loss, 4),
                    "first": round(report.first, 4),
                    "last": round(report.last, 4),
                    "maps": round(report.maps, 4),
                    "seconds": round(report.seconds, 2),
                }
            )

    def _append(self, entry: dict[str, Any]) -> None:
        if not _is_first():
            return
        try:
            with (self._folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise FileFormatError(
                f"{self._folder / LOG} cannot be written ({error.strerror or error}); "
                f"make room and resume the run."
            ) from error


def _progress(report: StepReport, watch: Stopwatch) -> Progress:
    left = watch.eta_seconds(report.steps - report.step)
    text = (
        f"step {report.step} of {report.steps}, loss {report.loss:.2f}, "
        f"IoU {report.first:.2f}"
    )
    if left:
        text += f", {format_duration(left)} left"
    return Progress(report.step, report.steps, text)


def _score(report: Report) -> float:
    """Return the mean over sources of one click and box: what the best is best in."""
    values = [(row.iou("1") + row.iou("box")) / 2 for row in report.rows]
    return round(sum(values) / len(values), 5)


def _means(report: Report) -> dict[str, Any]:
    return {
        "sources": {
            row.source: {p: round(row.iou(p), 4) for p in row.prompts}
            for row in report.rows
        }
    }


def _best_so_far(log: Path, step: int) -> tuple[float, int]:
    """Return the best score that a log has up to a step, and when it was."""
    best = (0.0, 0)
    if not log.exists():
        return best
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a line that was cut short
            continue
        if entry.get("step", 0) <= step:
            best = max(best, (entry.get("score", 0.0), entry["step"]))
    return best


def write_recipe(path: Path, content: dict[str, Any]) -> None:
    """Write what a run was started with, for the model card."""
    write_text(path, json.dumps(content, indent=1) + "\n")
