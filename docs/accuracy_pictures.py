"""Pictures of the best, the median and the worst answers to one click.

    napari-sam evaluate SOURCE... --split val --model mobile-sam \
        --model mobile-sam-microscopy --out report.json
    python docs/accuracy_pictures.py report.json SOURCE... --split val

One picture per source goes to ``docs/images/accuracy``: a row for each model, and
in it the objects that are best, in the middle and worst for the last model.  The
truth is white, the answer colored, the click a cross.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from napari_sam.core.metrics import deepest_point, object_mask
from napari_sam.models import load_model
from napari_sam.training import Report, read_samples

if TYPE_CHECKING:
    from napari_sam.training import Sample
    from napari_sam.training.report import ObjectScore

SIDE = 220
CAPTION = 18
MINE = (255, 170, 0)
TRUTH = (255, 255, 255)


def window(labels: np.ndarray, label: int) -> tuple[slice, slice]:
    """Return a square about an object, two and a half times its size."""
    region = object_mask(labels, label).region
    half = int(max(24, 1.25 * max(region.shape)))
    row, col = (region.row0 + region.row1) // 2, (region.col0 + region.col1) // 2
    rows, cols = labels.shape
    row = int(np.clip(row, min(half, rows // 2), max(rows - half, rows // 2)))
    col = int(np.clip(col, min(half, cols // 2), max(cols - half, cols // 2)))
    return (
        slice(max(0, row - half), min(rows, row + half)),
        slice(max(0, col - half), min(cols, col + half)),
    )


def enlarged(values: np.ndarray) -> np.ndarray:
    """Return a picture of SIDE x SIDE, nearest neighbors."""
    rows, cols = (np.arange(SIDE) * n // SIDE for n in values.shape[:2])
    return values[rows][:, cols]


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the rim of a mask, two pixels wide."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask, iterations=2))


def tile(
    sample: Sample, score: ObjectScore, model: Any, planes: dict[str, Any]
) -> np.ndarray:
    """Return one picture with its caption."""
    key = f"{model.name} {sample.name}"
    if key not in planes:
        planes[key] = model.encode_rgb(sample.rgb)
    truth = object_mask(sample.labels, score.label)
    row, col, _ = deepest_point(truth)
    mask = planes[key].predict(points=[(row, col)]).crop()
    shape = sample.labels.shape
    where = window(sample.labels, score.label)
    picture = enlarged(sample.rgb[where]).copy()
    picture[outline(enlarged(truth.full(shape)[where]))] = TRUTH
    picture[outline(enlarged(mask.full(shape)[where]))] = MINE
    image = Image.new("RGB", (SIDE, SIDE + CAPTION), (20, 20, 24))
    image.paste(Image.fromarray(picture), (0, CAPTION))
    draw = ImageDraw.Draw(image)
    zoom = SIDE / (where[0].stop - where[0].start)
    x = (col + 0.5 - where[1].start) * SIDE / (where[1].stop - where[1].start)
    y = (row + 0.5 - where[0].start) * zoom + CAPTION
    draw.line([(x - 5, y), (x + 5, y)], fill=(0, 255, 120), width=2)
    draw.line([(x, y - 5), (x, y + 5)], fill=(0, 255, 120), width=2)
    draw.text((4, 3), f"{model.name}  IoU {score.clicks[0]:.2f}", fill=(230, 230, 230))
    return np.asarray(image)


def main() -> None:
    """Draw the pictures of a report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--split", choices=["train", "val"])
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "images" / "accuracy"
    )
    options = parser.parse_args()
    report = Report.from_json(options.report.read_text(encoding="utf-8"))
    options.out.mkdir(parents=True, exist_ok=True)
    models = {row.model: load_model(row.model) for row in report.rows}
    last = list(models)[-1]
    for source in options.sources:
        samples = {s.name: s for s in read_samples(source, split=options.split)}
        ranked = report.row(source.name, last).ranked()
        n = len(ranked)
        # Not the extremes themselves, which are often mistakes in the truth.
        places = [int(q * (n - 1)) for q in (0.98, 0.75, 0.5, 0.25, 0.03)]
        planes: dict[str, Any] = {}
        rows = []
        for name, model in models.items():
            scores = {
                (o.image, o.label): o for o in report.row(source.name, name).objects
            }
            tiles = [
                tile(
                    samples[ranked[p].image],
                    scores[ranked[p].image, ranked[p].label],
                    model,
                    planes,
                )
                for p in places
            ]
            rows.append(np.concatenate(tiles, axis=1))
        iio.imwrite(options.out / f"{source.name}.png", np.concatenate(rows))


if __name__ == "__main__":
    main()
