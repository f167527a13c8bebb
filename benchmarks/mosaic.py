"""Everything mode in mosaics of real images: at once, at the scale found, and alone.

    python benchmarks/mosaic.py FOLDER [--split val] [--side 1024] [--picture FILE]

Images of 256 × 256 pixels of a folder, as ``napari-sam evaluate`` reads them, are laid
edge to edge, turned where they come again.  The same objects are looked for in the
whole mosaic in the model's input, at the scale that the model finds, and in each image
alone.
Average precision at IoU 0.5 (and the mean of 0.5 to 0.95), seconds of processor time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from skimage.segmentation import find_boundaries

from napari_sam.core.everything.search import EverythingSettings, iter_everything, run
from napari_sam.core.metrics import average_precision
from napari_sam.models import load_model
from napari_sam.training import Sample, read_samples

TILE = 256
BRIGHT = 90
"""Only images whose mean is below this: those of fluorescence."""


def main() -> None:
    """Print one row for each way to look."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=["train", "val"])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument(
        "--only", nargs="+", choices=["once", "scale", "alone"], help="not all three"
    )
    parser.add_argument("--picture", type=Path, help="write the middle of it")
    options = parser.parse_args()
    samples = [
        sample
        for sample in read_samples([options.folder], split=options.split)
        if sample.rgb.shape[:2] == (TILE, TILE) and sample.rgb.mean() < BRIGHT
    ]
    rgb, truth, parts = mosaic(samples, options.side // TILE)
    model = load_model("mobile-sam-microscopy")

    def found(image: np.ndarray, **settings: float) -> tuple[np.ndarray, float]:
        start = time.process_time()
        chosen = EverythingSettings(**settings)  # type: ignore[arg-type]
        proposals = run(iter_everything(image, model.encode_rgb, chosen))
        return proposals.to_labels(), time.process_time() - start

    print(f"{len(rgb)}², {truth.max()} objects", flush=True)
    results = {}
    wanted = options.only or ["once", "scale", "alone"]
    if "once" in wanted:
        results["at once"] = found(rgb, object_size=float(len(rgb)))
        report("at once", truth, *results["at once"])
    if "scale" in wanted:
        results["scale found"] = found(rgb)
        report("scale found", truth, *results["scale found"])
    if "alone" in wanted:
        alone, seconds, count = np.zeros_like(truth), 0.0, 0
        known: dict[bytes, tuple[np.ndarray, float]] = {}
        for place, image in parts:
            # In a large mosaic each comes again and again.
            key = image.tobytes()
            if key not in known:
                known[key] = found(image)
            labels, spent = known[key]
            seconds += spent
            alone[place] = np.where(labels > 0, labels + count, 0)
            count += int(labels.max())
        report("images alone", truth, alone, seconds)
    if options.picture is not None:
        pictures = [outlined(rgb, labels) for labels, _ in results.values()]
        iio.imwrite(options.picture, np.concatenate(pictures, axis=1))


def mosaic(
    samples: list[Sample], n: int
) -> tuple[np.ndarray, np.ndarray, list[tuple[tuple[slice, slice], np.ndarray]]]:
    """Return ``n`` × ``n`` images edge to edge, their labels, and each by itself."""
    rgb = np.zeros((n * TILE, n * TILE, 3), np.uint8)
    truth = np.zeros(rgb.shape[:2], np.int32)
    parts, count = [], 0
    for i in range(n * n):
        sample, turns = samples[i % len(samples)], i // len(samples)
        row, col = (int(k) * TILE for k in divmod(i, n))
        place = (slice(row, row + TILE), slice(col, col + TILE))
        rgb[place] = np.rot90(sample.rgb, turns)
        labels = np.unique(np.rot90(sample.labels, turns), return_inverse=True)[1]
        labels = labels.reshape(TILE, TILE)
        truth[place] = np.where(labels > 0, labels + count, 0)
        count += int(labels.max())
        parts.append((place, rgb[place].copy()))
    return rgb, truth, parts


def report(name: str, truth: np.ndarray, labels: np.ndarray, seconds: float) -> None:
    """Print one row."""
    ap = average_precision(truth, labels)
    print(f"{name:>14}  {ap[0]:.3f} ({np.mean(ap):.3f})  {seconds:7.1f} s", flush=True)


def outlined(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the middle of an image with the outlines of labels."""
    middle = slice(len(rgb) // 2 - TILE, len(rgb) // 2 + TILE)
    picture = rgb[middle, middle].copy()
    rim = find_boundaries(labels[middle, middle], mode="inner")
    picture[rim] = (255, 170, 0)
    return picture


if __name__ == "__main__":
    main()
