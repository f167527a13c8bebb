"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_sam.models import DEFAULT_MODEL


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


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the leave to replace files that are there."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace output files that are there already",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`napari_sam.cli.images.engine_of` reads, and ``quiet``."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or weights file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument(
        "--no-cache", action="store_true", help="store no embeddings on disk"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


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
