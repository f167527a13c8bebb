"""Everything mode: what it finds on real images, how often it asks, and how long.

    python benchmarks/found.py FOLDER ... [--split val] [--max-images 8]

For folders as ``napari-sam evaluate`` reads them, at default settings, one thread:
``mobile-sam-microscopy`` where it sees objects, ``mobile-sam`` on its grid.  Average
precision at IoU 0.5 and the mean of 0.5 to 0.95; prompts and seconds for one image, the
image being encoded already; and these seconds as a share of those on the grid.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch

from _common import folder_parser
from napari_sam.core.everything.search import iter_everything
from napari_sam.core.metrics import average_precision
from napari_sam.models import load_model
from napari_sam.training import EvaluationSettings, read_samples

MODELS = ("mobile-sam", "mobile-sam-microscopy")


def main() -> None:
    """Print one row for each folder and model."""
    options = folder_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    settings = EvaluationSettings().everything_settings()
    models = {name: load_model(name) for name in MODELS}
    print(
        f"{'images':>26}{'':>4}{'model':>23}{'AP 0.5':>8}{'mean':>7}"
        f"{'prompts':>9}{'s':>7}{'ratio':>7}"
    )
    for folder in options.folders:
        rows: dict[str, list[tuple[float, float, int, float]]] = {m: [] for m in MODELS}
        for sample in read_samples(
            [folder], split=options.split, limit=options.max_images
        ):
            for name, model in models.items():
                plane = model.encode_rgb(sample.rgb)
                start = perf_counter()
                steps = iter_everything(
                    sample.rgb, model.encode_rgb, settings, plane=plane
                )
                prompts = 0
                while True:
                    try:
                        prompts = next(steps).done
                    except StopIteration as end:
                        found = end.value
                        break
                seconds = perf_counter() - start
                precision = average_precision(
                    sample.labels, found.to_labels(overlap="area")
                )
                rows[name].append((precision[0], precision.mean(), prompts, seconds))
        means = {name: np.mean(row, axis=0) for name, row in rows.items()}
        for name, (half, mean, prompts, seconds) in means.items():
            print(
                f"{folder.name:>26}{len(rows[name]):4}{name:>23}{half:8.3f}{mean:7.3f}"
                f"{prompts:9.0f}{seconds:7.1f}{seconds / means[MODELS[0]][3]:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
