"""Commands that adapt models and look after the adapted ones."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli.options import (
    add_common,
    add_settings,
    add_sources,
    given_settings,
    natural,
)
from napari_sam.cli.outputs import check_outputs
from napari_sam.cli.report import Report, say
from napari_sam.cli.training import read_samples_of
from napari_sam.models import find_model
from napari_sam.models.user_models import check_name, export_model, remove_model
from napari_sam.training.adapt.settings import AdaptSettings

if TYPE_CHECKING:
    import argparse


NOT_BETTER = 1
"""Exit code of an adaptation that was not worth keeping."""

# What changes is said by --neck.
_FIELDS = [field.name for field in fields(AdaptSettings) if field.name != "parts"]


def add_adapt(commands: Any) -> None:
    """Add the command to those of the main parser."""
    adapt = commands.add_parser(
        "adapt",
        help="let a model learn from some labeled objects",
        description="Fine-tune the decoder of a model on labeled objects, in a minute"
        " or two on a laptop. What is not labeled counts as unknown, so a few objects"
        " of an image will do; five are the least. A fifth of them is kept aside to"
        " measure before and after. The result is saved only if it is better (exit"
        " code 1 if not); every command and the viewer then know it by its name.",
    )
    add_sources(adapt)
    add_common(adapt, "--base")
    adapt.add_argument(
        "--name", required=True, help="what to call the result; -2 is added if taken"
    )
    adapt.add_argument(
        "--neck",
        action="store_true",
        help="adapt the last layers of the image encoder as well; images then have to"
        " be encoded again",
    )
    add_settings(adapt, AdaptSettings, _FIELDS)
    adapt.add_argument(
        "--seed",
        type=natural,
        default=0,
        help="of the objects kept aside (default: 0)",
    )
    adapt.add_argument(
        "--always", action="store_true", help="save it even if it is not better"
    )
    add_common(adapt, "--no-cache", "--device", "--dtype", "--quiet")
    adapt.set_defaults(run=run_adapt)


def add_model_actions(models: argparse.ArgumentParser) -> None:
    """Add removing and exporting to the command that lists the models."""
    action = models.add_mutually_exclusive_group()
    action.add_argument("--remove", metavar="NAME", help="delete a model of your own")
    action.add_argument(
        "--export",
        nargs=2,
        metavar=("NAME", "FILE"),
        help="copy a model's weights, for another computer or person",
    )
    add_common(models, "--overwrite")


def run_adapt(options: argparse.Namespace) -> int:
    """Adapt a model to samples and save it if it is better."""
    # Before the work, what would be wrong after it.
    check_name(options.name)
    find_model(options.base)
    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.core.steps import finish
    from napari_sam.training.adapt.samples import iter_adapt_samples

    settings = AdaptSettings(
        "decoder+neck" if options.neck else "decoder",
        **given_settings(options, AdaptSettings),
    )
    store = EmbeddingStore(ram_bytes=0, disk_bytes=0) if options.no_cache else None
    samples = read_samples_of(options)
    progress = Report(quiet=options.quiet)
    adapted = finish(
        iter_adapt_samples(
            [samples],
            options.base,
            settings=settings,
            seed=options.seed,
            device=options.device,
            dtype=options.dtype,
            store=store,
        ),
        progress,
    )
    progress.close()
    print(adapted.summary)
    if not adapted.improved and not options.always:
        say(
            f"not better than {options.base}, so not saved; --always saves it",
            quiet=options.quiet,
        )
        return NOT_BETTER
    path = adapted.save(options.name)
    say(f"saved as {path.stem} in {path.parent}", quiet=options.quiet)
    return 0


def check_export(name: str, target: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file, or one in a folder, that is there already."""
    source = find_model(name).path
    file = target / source.name if target.is_dir() else target
    check_outputs([file], overwrite=overwrite)


def act_on_models(options: argparse.Namespace) -> bool:
    """Remove or export a model if that is asked for; return whether it was."""
    if options.remove is not None:
        print(f"Removed {remove_model(options.remove)}.")
    elif options.export is not None:
        name, file = options.export
        check_export(name, Path(file), overwrite=options.overwrite)
        print(f"Wrote {export_model(name, Path(file))}.")
    else:
        return False
    return True
