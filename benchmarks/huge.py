"""A plane that fits no memory: what a click and everything mode need of it.

    python benchmarks/huge.py --side 20000 --tiles 40

Writes a zarr array of H&E tissue (the bundled sample, mirrored from tile to tile),
reads it as the window's worker does, and prints seconds and the largest memory of the
process after each part.  Everything mode is stopped after a number of tiles.  napari
itself, which loads what it shows, is left out: it wants a pyramid of such an image.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.everything.search import EverythingSettings, iter_everything, run
from napari_sam.core.steps import finish
from napari_sam.io import read_image
from napari_sam.models import load_model
from napari_sam.samples import SAMPLES
from napari_sam.types import Plane
from napari_sam.viewer.image.encoder import PlaneEncoder
from napari_sam.viewer.image.source import ImageData, PlaneSource
from napari_sam.viewer.settings import Normalization

CHUNK = 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--tiles", type=int, default=40)
    parser.add_argument("--size", type=float, help="diameter of objects, pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        array = written(Path(folder) / "huge.zarr", options.side)
        measure(array, EmbeddingStore(Path(folder) / "store"), options)


def measure(
    array: zarr.Array, store: EmbeddingStore, options: argparse.Namespace
) -> None:
    """Encode, click and search, and print what each took."""
    start = time.perf_counter()
    engine = Engine(load_model("mobile-sam-microscopy", device="cpu"), store)
    tell("model loaded", start)
    lut = np.ones((256, 4), np.float32)
    image = ImageData((array,), True, (0, 255), 1, 1, "translucent", lut)
    shape = array.shape[:2]
    source = PlaneSource("tissue", shape, (image,), Normalization.PERCENTILE)
    encoder, plane = PlaneEncoder(engine, source), Plane((0, 1), (None, None))
    start = time.perf_counter()
    encoded = finish(encoder.iter_get(plane))
    tell(f"{options.side} x {options.side} encoded", start)
    for place in np.random.default_rng(0).uniform(0.2, 0.8, (3, 2)) * options.side:
        start = time.perf_counter()
        result = encoded.predict(points=[place])
        tell(f"click, {int(result.crop().area):,} pixels", start)
    searched = 0

    def enough() -> bool:
        return searched >= options.tiles

    def encode(pixels, *arguments, **how):
        nonlocal searched
        searched += 1
        return engine.encode(pixels, *arguments, **how)

    start = time.perf_counter()
    settings = EverythingSettings(object_size=options.size)
    steps = iter_everything(
        encoder.pixels(plane), encode, settings, plane=encoded, should_stop=enough
    )
    found = run(steps)
    scale = "at once" if found.scale is None else f"at {found.scale:.2f}"
    tell(f"{searched} tiles {scale}, {len(found)} objects", start)


def written(path: Path, side: int) -> zarr.Array:
    """Write tissue, a row of chunks at a time."""
    tissue = np.asarray(read_image(SAMPLES["histology"].path).data)[..., :3]
    height, width = tissue.shape[:2]
    array = zarr.create_array(
        path, shape=(side, side, 3), chunks=(CHUNK, CHUNK, 3), dtype="uint8"
    )
    columns = _mirrored(np.arange(side), width)
    for first in range(0, side, CHUNK):
        rows = _mirrored(np.arange(first, min(first + CHUNK, side)), height)
        array[first : first + len(rows)] = tissue[rows[:, None], columns]
    return array


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    within = index % (2 * length)
    return np.minimum(within, 2 * length - 1 - within)


def tell(what: str, since: float) -> None:
    """Print seconds and the largest memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"{what:45}{time.perf_counter() - since:8.1f} s{peak:8.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
