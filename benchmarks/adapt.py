"""How long learning from objects takes, against encoding planes in the same run.

    python benchmarks/adapt.py --objects 50 --threads 2

The objects are thresholded nuclei of the bundled sample: their outlines are not
the truth, but they cost what true ones cost.
"""

from __future__ import annotations

import argparse
import time
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_sam.core.imaging import to_rgb
from napari_sam.core.steps import finish
from napari_sam.io import read_image
from napari_sam.models import DEFAULT_MODEL, load_model
from napari_sam.samples import SAMPLES
from napari_sam.viewer.background.worker import Job, Priority, ThreadRunner
from napari_sam.viewer.learning.learner import learn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.core.model import EncodedPlane
    from napari_sam.training.adapt.loop import Example
    from napari_sam.types import Progress

STAGES = ("before", "learning", "choosing", "after")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--objects", type=int, default=50)
    parser.add_argument("--threads", type=int, help="torch's choice by default")
    parser.add_argument("--encodes", type=int, default=5)
    parser.add_argument("--clicks", type=int, default=30, help="0: leave them out")
    options = parser.parse_args()

    import torch

    from napari_sam.models.openmp import use_one_thread_if_spinning
    from napari_sam.training.adapt.loop import Example, iter_adapt

    use_one_thread_if_spinning()
    if options.threads:
        torch.set_num_threads(options.threads)
    rgb = to_rgb(np.asarray(read_image(SAMPLES["nuclei"].path).data))
    model = load_model(options.model)
    times = []
    for _ in range(options.encodes):
        start = perf_counter()
        plane = model.encode_rgb(rgb)
        times.append(perf_counter() - start)
    encode = median(times)
    example = Example.from_labels(plane.embedding, nuclei(rgb, options.objects))

    seconds = dict.fromkeys(STAGES, 0.0)
    start = last = perf_counter()

    def clock(progress: Progress) -> None:
        nonlocal last
        now = perf_counter()
        stage = next((s for s in STAGES if s in progress.text), None)
        if stage is not None:
            seconds[stage] += now - last
        last = now

    adapted = finish(iter_adapt(options.model, [example]), clock)
    total = perf_counter() - start
    print(f"{options.model} on {model.device}, {model.dtype}")
    print(f"{torch.get_num_threads()} threads, {len(example.objects)} objects")
    print(f"{'one plane encoded':22}{encode:8.2f} s (median of {len(times)})")
    for stage, value in seconds.items():
        print(f"{stage:22}{value:8.2f} s{value / encode:8.1f} encodings")
    print(f"{'all':22}{total:8.2f} s{total / encode:8.1f} encodings")
    print(adapted.summary)
    if options.clicks:
        print(f"\n{'a click is answered in':22}{'median':>9}{'slowest of 10':>15}")
        # A plane keeps the enlarged windows it looked at, so each gets a fresh one.
        alone = click_times(model.encode_rgb(rgb), options.clicks)
        fresh = model.encode_rgb(rgb)
        with learning(options.model, example):
            meanwhile = click_times(fresh, options.clicks)
        for name, values in (("nothing else", alone), ("while it learns", meanwhile)):
            slow = float(np.quantile(values, 0.9))
            print(f"{name:22}{median(values) * 1e3:6.0f} ms{slow * 1e3:12.0f} ms")


def click_times(plane: EncodedPlane, count: int) -> list[float]:
    """Return how long single clicks take, with pauses as a user makes them."""
    times = []
    rng = np.random.default_rng(0)
    for row, col in rng.uniform(0.1, 0.9, (count, 2)) * plane.frame.image_size:
        time.sleep(0.2)
        start = perf_counter()
        plane.predict(points=[(row, col)])
        times.append(perf_counter() - start)
    return times


@contextmanager
def learning(model: str, example: Example) -> Iterator[None]:
    """Learn in the thread that the viewer would use, until the block ends."""
    runner = ThreadRunner(lambda callback: None).sibling()
    work = partial(learn, model, [example], None, False, "auto", lambda: False)
    runner.submit(Job(work, priority=Priority.EVERYTHING))
    time.sleep(5)  # it loads the model and measures before it learns
    try:
        yield
    finally:
        runner.close(60)


def nuclei(rgb: np.ndarray, count: int) -> np.ndarray:
    """Return this many bright spots, the largest, as a label image."""
    gray = ndimage.gaussian_filter(rgb[..., 0].astype(float), 1)
    labels, _ = ndimage.label(gray > threshold_otsu(gray))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    largest = np.argsort(areas)[::-1][:count]
    if areas[largest[-1]] < 20:
        raise SystemExit(f"the sample has fewer than {count} nuclei")
    return np.where(np.isin(labels, largest), labels, 0)


if __name__ == "__main__":
    main()
