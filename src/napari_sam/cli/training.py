"""What the commands that read images with ground truth do."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.cli.options import given_settings
from napari_sam.cli.outputs import check_outputs
from napari_sam.cli.report import Report, say
from napari_sam.errors import DataError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import Literal

    from napari_sam.training import SampleSet, Source


def evaluate(options: argparse.Namespace) -> int:
    """Measure models on images with ground truth."""
    from napari_sam.core.atomic import write_text
    from napari_sam.models import DEFAULT_MODEL, load_model
    from napari_sam.training import EvaluationSettings
    from napari_sam.training import evaluate as measure

    settings = EvaluationSettings(**given_settings(options, EvaluationSettings))
    check_outputs([options.out, options.markdown], overwrite=options.overwrite)
    # Before the images, so that a wrong name is known at once.
    models = [
        load_model(name, device=options.device, dtype=options.dtype)
        for name in dict.fromkeys(options.models or [DEFAULT_MODEL])
    ]
    samples = read_samples_of(options, options.split)
    progress = Report(quiet=options.quiet)
    report = measure(models, samples, settings, progress)
    progress.close()
    outputs = ((options.out, report.to_json), (options.markdown, report.to_markdown))
    for path, content in outputs:
        if path is not None:
            write_text(path, content())
            say(f"wrote {path}", quiet=options.quiet)
    print(report.to_markdown(), end="")
    return 0


def sources_of(options: argparse.Namespace) -> list[Source]:
    """Return the sources that were named on the command line.

    Raises
    ------
    DataError
        If ``--labels`` goes with several.
    """
    from napari_sam.training import Source

    named: list[Path] = options.sources
    whole: list[Path] = options.whole
    count = len(named) + len(whole)
    if options.labels is not None and count > 1:
        raise DataError(
            f"--labels goes with one source, not with {count}; put the images and"
            " label images of each into folders called images and masks."
        )
    return [
        *(Source(path, options.labels) for path in named),
        *(Source(path, options.labels, is_whole=True) for path in whole),
    ]


def read_samples_of(
    options: argparse.Namespace,
    split: Literal["train", "val"] | None = None,
    *,
    in_memory: bool = False,
) -> SampleSet:
    """Read the samples that were named on the command line; say what is left out.

    Raises
    ------
    DataError
        If nothing is usable.
    """
    from napari_sam.training import read_samples

    progress = Report(quiet=options.quiet)
    samples = read_samples(
        sources_of(options),
        split=split,
        every=options.every,
        limit=options.max_images,
        in_memory=in_memory,
        progress=progress,
    )
    progress.close()
    for problem in samples.problems:
        # Even if quiet: nothing is left out silently.
        say(f"left out {problem}", quiet=False)
    if samples.n_empty:
        planes = "1 plane" if samples.n_empty == 1 else f"{samples.n_empty} planes"
        say(f"{planes} without objects", quiet=options.quiet)
    return samples
