"""Options of the command that measures models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli import training as run
from napari_sam.cli.options import (
    add_common,
    add_settings,
    add_sources,
)
from napari_sam.models import DEFAULT_MODEL

if TYPE_CHECKING:
    import argparse


def add_evaluate(commands: Any) -> None:
    """Add the command to those of the main parser."""
    commands.add_parser(
        "evaluate",
        help="measure models on images with ground truth",
        description="Measure the masks that simulated users get: mean IoU after 1, 3"
        " and 5 clicks and for a box, how well the model knows it, and on request"
        " everything mode. The table goes to standard output. What cannot be used is"
        " named, with the reason.",
        fill=_add_options,
    )


def _add_options(evaluate: argparse.ArgumentParser) -> None:
    from napari_sam.training import EvaluationSettings

    add_sources(evaluate)
    evaluate.add_argument(
        "--split",
        choices=["train", "val"],
        help="only that part; file names decide which one an image is in",
    )
    evaluate.add_argument(
        "--model",
        action="append",
        dest="models",
        metavar="MODEL",
        help=f"name or weights file (default: {DEFAULT_MODEL}); repeat it to compare",
    )
    add_settings(
        evaluate,
        EvaluationSettings,
        (
            "max_objects",
            "everything",
            "prompts",
            "points_per_side",
            "overlap",
            "feed_logits",
            "seed",
        ),
        flags={"feed_logits": "--anew"},
        texts={
            "everything": "also measure everything mode, on the first N images of each"
            " source",
            "feed_logits": "ask anew with all clicks, instead of refining the answer"
            " before",
        },
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="JSON", help="write means and every object"
    )
    evaluate.add_argument(
        "--markdown", type=Path, metavar="MD", help="write the table to a file as well"
    )
    add_common(evaluate, "--overwrite", "--device", "--dtype", "--quiet")
    evaluate.set_defaults(run=run.evaluate)
