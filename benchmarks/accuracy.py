"""Accuracy on the development data: ``napari-sam evaluate`` with its sets known.

    python benchmarks/accuracy.py --sets dsb2018 usiigaci_phase --max-images 20
    python benchmarks/accuracy.py --max-images 20 --model mobile-sam --out all.json

All sets unless some are named, images of the validation part, every fourth plane
of a stack; other options are those of ``napari-sam evaluate``.  Of the sets that
nobody trains on, all images are used.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from napari_sam.cli import main

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DIVIDED = ("dsb2018", "usiigaci_phase")
WHOLE = (
    "stardist_2d",
    "wsu_chloroplast_em2d",
    "wsu_chloroplast_em3d_ds4",
    "plantseg_ovule_cells3d",
    "plantseg_rgb3d",
    "vnc_em_mito3d",
    "ctc_psc_st_timelapse",
    "tiny_coco_natural",
    "cytomapper_imc_pancreas",
)


def arguments() -> list[str]:
    """Return those of ``napari-sam evaluate``."""
    sets = (*DIVIDED, *WHOLE)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=sets, choices=sets, metavar="SET")
    options, others = parser.parse_known_args()
    if not DATA.is_dir():
        parser.error(f"the data sets are not at {DATA}")
    divided = [str(DATA / name) for name in options.sets if name in DIVIDED]
    whole = [f"--whole={DATA / name}" for name in options.sets if name in WHOLE]
    # What comes last counts, so that --split and --every can be given.
    return ["evaluate", *divided, *whole, "--split=val", "--every=4", *others]


if __name__ == "__main__":
    sys.exit(main(arguments()))
