"""``python -m napari_sam_synthetic OUT``: write drawn images."""

from __future__ import annotations

import argparse
import sys

from napari_sam_synthetic import KINDS, write_folder


def main(argv: list[str] | None = None) -> int:
    """Write a folder of drawn images and masks.

    Parameters
    ----------
    argv : list of str, optional
        The command's arguments; those of the process if None.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m napari_sam_synthetic", description=__doc__
    )
    parser.add_argument("out", help="folder to write images/ and masks/ into")
    parser.add_argument("--count", type=int, default=200, help="images of each kind")
    parser.add_argument("--seed", type=int, default=0, help="number of the first image")
    parser.add_argument("--side", type=int, default=640, help="side in pixels")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    args = parser.parse_args(argv)
    written = write_folder(args.out, args.kinds, args.count, args.seed, args.side)
    sys.stdout.write(f"{written} images in {args.out}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
