"""Options of the command that measures models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.cli import training as run
from napari_sam.cli.options import (
    add_everything_options,
    add_overwrite,
    add_sources,
    natural,
)
from napari_sam.models import DEFAULT_MODEL

if TYPE_CHECKING:
    import argparse

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_evaluate(commands: Commands) -> None:
    """Add the command to those of the main parser."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure models on images with ground truth",
        description="Measure the masks that simulated users get: mean IoU after 1, 3"
        " and 5 clicks and for a box, how well the model knows it, and on request"
        " everything mode. The table goes to standard output. What cannot be used is"
        " named, with the reason.",
    )
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
    evaluate.add_argument(
        "--max-objects",
        type=natural,
        default=15,
        metavar="N",
        help="objects per image (default: 15)",
    )
    evaluate.add_argument(
        "--everything",
        type=natural,
        default=0,
        metavar="N",
        help="also measure everything mode, on the first N images of each source",
    )
    add_everything_options(evaluate)
    evaluate.add_argument(
        "--anew",
        action="store_true",
        help="ask anew with all clicks, instead of refining the answer before",
    )
    evaluate.add_argument(
        "--seed", type=int, default=0, help="of the choice of objects (default: 0)"
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="JSON", help="write means and every object"
    )
    evaluate.add_argument(
        "--markdown", type=Path, metavar="MD", help="write the table to a file as well"
    )
    add_overwrite(evaluate)
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    evaluate.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    evaluate.add_argument("-q", "--quiet", action="store_true", help="no progress")
    evaluate.set_defaults(run=run.evaluate)
