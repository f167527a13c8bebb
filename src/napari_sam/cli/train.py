"""The command that trains a model, and its options."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import argparse
import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli.options import (
    add_common,
    add_settings,
    add_sources,
    flag_of,
    given_settings,
    natural,
    positive,
)
from napari_sam.cli.report import Report, say
from napari_sam.cli.training import read_samples_of
from napari_sam.core.steps import finish
from napari_sam.errors import FileFormatError, SettingsError
from napari_sam.models import find_model
from napari_sam.training.finetune.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.types import Progress


_TEXTS = {
    "licence": "of the weights",
    "description": "of the model, one line for menus",
    "use_for": "which images to choose the model for",
}


def add_train(commands: Any) -> None:
    """Add the command to those of the main parser."""
    train = commands.add_parser(
        "train",
        help="train a model on images with ground truth",
        description="Fine-tune a model with simulated users who click and correct."
        " OUT gets weights that every other command and the viewer can load, a log, and"
        " a state from which the run goes on with --resume; interrupting (Ctrl-C) saves"
        " it. Images whose names fall into the val part are not trained on, but decide"
        " which weights are the best. With several GPUs, start it with torchrun"
        " -m napari_sam.cli.",
    )
    add_sources(train)
    train.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder")
    train.add_argument(
        "--resume", action="store_true", help="go on with the run in OUT"
    )
    add_common(train, "--base")
    train.add_argument(
        "--recipe", type=Path, metavar="JSON", help="settings from a file"
    )
    add_settings(train, Recipe)
    train.add_argument(
        "--share",
        action="append",
        default=[],
        type=_share,
        metavar="NAME=W",
        help="how much is drawn from the source of that name, 1 by default; repeatable",
    )
    train.add_argument(
        "--remembered",
        action="append",
        default=[],
        metavar="NAME",
        help="a source on which the image encoder is to stay as it was (--remember);"
        " repeatable",
    )
    train.add_argument(
        "--remember-model",
        metavar="MODEL",
        help="whose encoder that is (default: that of --base)",
    )
    train.add_argument(
        "--name", help="what the model is called; that of OUT by default"
    )
    for name, text in _TEXTS.items():
        train.add_argument(flag_of(name), default="", help=text)
    train.add_argument("--save-every", type=positive, default=100, metavar="STEPS")
    train.add_argument("--evaluate-every", type=positive, default=500, metavar="STEPS")
    train.add_argument(
        "--val-images",
        type=natural,
        default=20,
        metavar="N",
        help="evaluate on at most N images of each source (default: 20; 0: not at all)",
    )
    train.add_argument("--workers", type=positive, default=1, metavar="N")
    add_common(train, "--device", "--dtype", "--quiet")
    train.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Train a model."""
    from napari_sam.training.finetune.run import (
        RunSettings,
        groups_of,
        iter_run,
        join_launcher,
        write_recipe,
    )
    from napari_sam.training.report import EvaluationSettings

    is_first = join_launcher()
    quiet = options.quiet or not is_first
    recipe = _recipe(options)
    if (recipe.remember > 0) != bool(options.remembered):
        raise SettingsError(
            "--remember says how much, and --remembered on which source; give both."
        )
    base = find_model(options.base)
    remembered = options.remember_model and find_model(options.remember_model).path
    samples = read_samples_of(options, "train", in_memory=True)
    groups = groups_of(samples, dict(options.share), options.remembered)
    settings = RunSettings(
        save_every=options.save_every,
        evaluate_every=options.evaluate_every,
        evaluation=EvaluationSettings(),
        metadata={
            "name": options.name or options.out.resolve().name,
            "base": base.name,
            "trained_on": ", ".join(
                f"{len(g.samples)} images of {g.name}" for g in groups
            ),
            **{n: text for n in _TEXTS if (text := getattr(options, n))},
        },
        device=options.device,
        dtype=options.dtype,
        workers=options.workers,
    )
    steps = iter_run(
        base.path,
        groups,
        recipe,
        options.out,
        remember=remembered,
        validation=_validation(options),
        settings=settings,
        resume=options.resume,
    )
    progress = Report(quiet=quiet)
    try:
        with _stopped_by_interrupt() as check:

            def show(step: Progress) -> None:
                progress(step)
                check()

            result = finish(steps, show)
    except _Stopped:
        steps.close()  # which saves the state
        progress.close()
        say(f"stopped; go on with --resume and the state in {options.out}", quiet=quiet)
        return 130
    progress.close()
    if is_first:
        write_recipe(
            options.out / "recipe.json",
            {
                "recipe": recipe.to_json(),
                "shares": dict(options.share),
                "remembered": options.remembered,
            }
            | dict(settings.metadata),
        )
        say(f"weights of step {result.step}: {result.weights}", quiet=quiet)
        if result.report is not None:
            print(result.report.to_markdown(), end="")
    return 0


class _Stopped(Exception):
    """Ends a run between two steps."""


@contextmanager
def _stopped_by_interrupt() -> Iterator[Callable[[], None]]:
    """Let the step under way end after Ctrl-C; a second one ends it at once."""
    asked: list[int] = []

    def handler(number: int, _: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    def check() -> None:
        if asked:
            raise _Stopped

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _validation(options: argparse.Namespace) -> Any:
    """Return the val part of the sources that have one, or None."""
    from napari_sam.errors import DataError

    if not options.val_images or not options.sources:
        return None
    part = argparse.Namespace(**vars(options))
    part.whole, part.max_images = [], options.val_images
    try:
        return read_samples_of(part, "val")
    except DataError as error:
        say(f"no evaluation: {error}", quiet=options.quiet)
        return None


def _recipe(options: argparse.Namespace) -> Recipe:
    values = {} if options.recipe is None else _read_recipe(options.recipe)
    return Recipe.from_json(values | given_settings(options, Recipe))


def _read_recipe(path: Path) -> dict[str, Any]:
    """Return the settings of a file, also of one that a run left in its folder."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"{path} is not a recipe ({error}); give a JSON file with settings such as"
            f" steps."
        ) from error
    if not isinstance(content, dict):
        raise FileFormatError(
            f'{path} holds no settings; give a JSON file such as {{"steps": 2000}}.'
        )
    inner = content.get("recipe", content)
    return dict(inner)


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not name or not weight > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not like NAME=0.5")
    return name, weight
