"""Accuracy on real images with ground truth, by a fixed protocol.

    python benchmarks/accuracy.py --sets dsb2018 usiigaci_phase --max-images 20

Interactive: for up to 15 objects per image, the mean IoU of the mask the user
gets ("mine") and of the best of the three masks ("best") after 1, 3 and 5
clicks and for a box.  Everything mode (``--everything N``): TP / (TP + FP + FN)
at IoU 0.5, 0.75 and the mean over 0.5 to 0.95, averaged over images.

Only images of the val split are used unless ``--split train`` is given: those
whose stem hashes to 80 or more for the two sets that are split, all of the others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import tifffile

from napari_sam.core.evaluation import (
    MAX_OBJECTS,
    average_precision,
    choose_objects,
    interactive_score,
    object_mask,
    split_of,
)
from napari_sam.core.everything import EverythingSettings, iter_everything, run
from napari_sam.core.imaging import to_rgb
from napari_sam.models import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.core.masks import MaskCrop

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SPLIT = {"dsb2018", "usiigaci_phase"}
STACKS = {
    "plantseg_ovule_cells3d",
    "plantseg_rgb3d",
    "vnc_em_mito3d",
    "wsu_chloroplast_em3d_ds4",
}
SETS = [
    "dsb2018",
    "usiigaci_phase",
    "stardist_2d",
    "wsu_chloroplast_em2d",
    "wsu_chloroplast_em3d_ds4",
    "plantseg_ovule_cells3d",
    "plantseg_rgb3d",
    "vnc_em_mito3d",
    "ctc_psc_st_timelapse",
    "tiny_coco_natural",
]
CLICKS = (1, 3, 5)


@dataclass(frozen=True, slots=True)
class Sample:
    """One 2-D image and its label image; ``name`` is stem and slice."""

    name: str
    image: np.ndarray
    labels: np.ndarray


@dataclass(slots=True)
class Row:
    """What is measured on one data set."""

    name: str
    images: int = 0
    objects: int = 0
    mine: dict[str, float] | None = None
    best: dict[str, float] | None = None
    everything_images: int = 0
    ap: dict[str, float] | None = None
    seconds: float = 0.0


def read(path: Path) -> np.ndarray:
    """Read a TIFF, PNG or JPEG."""
    return np.asarray(
        tifffile.imread(path) if path.suffix.startswith(".tif") else iio.imread(path)
    )


def iter_samples(
    name: str, split: str, max_images: int, every: int
) -> Iterator[Sample]:
    """Yield the images of a set, evenly spread if there are more than asked."""
    files = sorted((DATA / name / "images").iterdir())
    if name in SPLIT:
        files = [f for f in files if split_of(f.stem) == split]
    if name in STACKS:
        planes = [(f, z) for f in files for z in range(every // 2, len(read(f)), every)]
    else:
        planes = [(f, None) for f in files]
    if len(planes) > max_images:
        steps = np.linspace(0, len(planes) - 1, max_images)
        planes = [planes[round(i)] for i in steps]
    for file, z in planes:
        image, labels = read(file), read(mask_of(file))
        if z is not None:
            image, labels = image[z], labels[z]
        yield Sample(file.stem if z is None else f"{file.stem}/{z}", image, labels)


def mask_of(image: Path) -> Path:
    """Return the label image that belongs to an image."""
    folder = image.parent.parent / "masks"
    return next(f for f in sorted(folder.iterdir()) if f.stem == image.stem)


def seed_of(name: str, seed: int) -> int:
    """Return the seed of one image, whichever other images are used."""
    return int(hashlib.sha1(f"{seed} {name}".encode()).hexdigest()[:8], 16)


def evaluate(name: str, model: Any, options: argparse.Namespace) -> Row:
    """Measure one data set."""
    started = time.perf_counter()
    row = Row(name)
    scores, precisions = [], []
    for sample in iter_samples(name, options.split, options.max_images, options.every):
        rgb = to_rgb(sample.image)
        plane = model.encode_rgb(rgb)
        row.images += 1
        for label in choose_objects(
            sample.labels,
            max_objects=options.max_objects,
            seed=seed_of(sample.name, options.seed),
        ):
            truth: MaskCrop = object_mask(sample.labels, label)
            scores.append(
                interactive_score(plane, truth, feed_logits=options.feed_logits)
            )
        if row.everything_images < options.everything:
            settings = replace(EverythingSettings(), points_per_side=options.points)
            found = run(iter_everything(rgb, model.encode_rgb, settings, plane=plane))
            precisions.append(average_precision(sample.labels, found.to_labels()))
            row.everything_images += 1
    row.objects = len(scores)
    row.seconds = round(time.perf_counter() - started, 1)
    if scores:
        row.mine = {
            **{f"{k}": _mean([s.clicks[k - 1] for s in scores]) for k in CLICKS},
            "box": _mean([s.box for s in scores]),
        }
        row.best = {
            **{f"{k}": _mean([s.clicks_best[k - 1] for s in scores]) for k in CLICKS},
            "box": _mean([s.box_best for s in scores]),
        }
    if precisions:
        table = np.array(precisions)
        row.ap = {
            "0.5": _mean(table[:, 0]),
            "0.75": _mean(table[:, 5]),
            "mean": _mean(table),
        }
    return row


def _mean(values: Any) -> float:
    return round(float(np.mean(values)), 4)


def lines(rows: list[Row]) -> Iterator[str]:
    """Yield a Markdown table: mask the user gets / best of three."""
    kinds = [*(f"{k}" for k in CLICKS), "box"]
    heads = ["1 click", *(f"{k} clicks" for k in CLICKS[1:]), "box"]
    yield (
        "| set | images | objects | "
        + " | ".join(heads)
        + " | AP images | AP 0.5 | AP 0.75 | AP 0.5:0.95 |"
    )
    yield "|" + " --- |" * (3 + len(heads) + 4)
    for row in rows:
        cells = [row.name, str(row.images), str(row.objects)]
        for kind in kinds:
            if row.mine is None or row.best is None:
                cells.append("")
            else:
                cells.append(f"{row.mine[kind]:.3f} / {row.best[kind]:.3f}")
        cells.append(str(row.everything_images))
        ap = row.ap
        cells.extend(
            "" if ap is None else f"{ap[kind]:.3f}" for kind in ("0.5", "0.75", "mean")
        )
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    """Run the protocol and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--split", default="val", choices=["val", "train"])
    parser.add_argument("--max-images", type=int, default=10_000)
    parser.add_argument("--max-objects", type=int, default=MAX_OBJECTS)
    parser.add_argument(
        "--every", type=int, default=4, help="use every k-th slice of a stack"
    )
    parser.add_argument(
        "--everything",
        type=int,
        default=0,
        metavar="N",
        help="also run everything mode on the first N images of each set",
    )
    parser.add_argument("--points", type=int, default=32, help="points per side")
    parser.add_argument("--feed-logits", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="mobile-sam")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    if not DATA.is_dir():
        parser.error(f"the data sets are not at {DATA}")
    model = load_model(options.model, device=options.device)
    rows: list[Row] = []
    for name in options.sets:
        rows.append(evaluate(name, model, options))
        print(f"{name}: {rows[-1].seconds} s", flush=True)
        if options.out is not None:
            content = {
                "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
                "model": model.fingerprint,
                "sets": [asdict(r) for r in rows],
            }
            options.out.write_text(json.dumps(content, indent=1))
    print("\nIoU of the mask the user gets / best of three\n")
    for line in lines(rows):
        print(line)


if __name__ == "__main__":
    main()
