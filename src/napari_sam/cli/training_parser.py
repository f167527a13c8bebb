"""Options of the commands that read images with ground truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.cli import training as run
from napari_sam.models import DEFAULT_MODEL

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_training_commands(commands: Commands) -> None:
    """Add the commands to those of the main parser."""
    _add_evaluate(commands)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`napari_sam.cli.training.sources_of` reads."""
    parser.add_argument(
        "sources",
        nargs="*",
        type=Path,
        metavar="SOURCE",
        help="a folder with the folders images and masks (or labels), or a COCO or"
        " SA-1B file, or a folder of these beside their images",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="PATH",
        help="SOURCE is a folder of images, and this one of label images with the same"
        " names (NAME_mask, NAME_labels and the like are understood), or a COCO file",
    )
    parser.add_argument(
        "--whole",
        action="append",
        default=[],
        type=Path,
        metavar="SOURCE",
        help="another source, never divided into train and val; repeatable",
    )
    parser.add_argument(
        "--every",
        type=positive,
        default=1,
        metavar="K",
        help="of stacks, every K-th plane",
    )
    parser.add_argument(
        "--max-images",
        type=positive,
        metavar="N",
        help="at most N images or planes of each source, evenly spread",
    )


def add_everything_options(parser: argparse.ArgumentParser) -> None:
    """Add where everything mode asks, and who gets what masks share."""
    parser.add_argument(
        "--prompts",
        choices=["auto", "grid", "objects"],
        default="auto",
        help="ask on a grid, or where the model sees objects; auto: where it sees"
        " objects if it can (default)",
    )
    parser.add_argument(
        "--points-per-side",
        type=int,
        default=32,
        metavar="N",
        help="of the grid (default: 32)",
    )
    parser.add_argument(
        "--overlap",
        choices=["score", "area"],
        default="area",
        help="who gets pixels that masks share: the best-scored, or the smallest"
        " (default)",
    )


def positive(text: str) -> int:
    """Return a whole number from 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def natural(text: str) -> int:
    """Return a whole number from 0."""
    return 0 if text == "0" else positive(text)


def _add_evaluate(commands: Commands) -> None:
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
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    evaluate.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    evaluate.add_argument("-q", "--quiet", action="store_true", help="no progress")
    evaluate.set_defaults(run=run.evaluate)
