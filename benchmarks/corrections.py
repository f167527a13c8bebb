"""Corrections: how often one has no effect, and how good masks become.

    python benchmarks/corrections.py FOLDER ... [--split val] [--max-images 8]

For folders as ``napari-sam evaluate`` reads them.  A simulated user clicks five
times; the table has what a mask that ignores a click counts less for in the blend
(0: nothing), mean IoU after three and after five clicks, and the share of
corrections that the answer to them ignores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from _common import folder_parser
from napari_sam.core.masks import crop_iou
from napari_sam.core.metrics import choose_objects, iter_clicks, object_mask
from napari_sam.models import load_model
from napari_sam.models.sam1 import multimask_ensemble
from napari_sam.training import read_samples

if TYPE_CHECKING:
    from napari_sam.core.model import EncodedPlane
    from napari_sam.types import MaskCrop

CLICKS = 5


def main() -> None:
    """Print one row for each folder and weight."""
    parser = folder_parser(__doc__, objects=8)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 2.0, 6.0])
    options = parser.parse_args()
    model = load_model("mobile-sam-microscopy")
    print(f"{'images':>30}{'objects':>9}{'weight':>8}{'3 clicks':>10}{'5':>8}  ignored")
    for folder in options.folders:
        found: dict[float, list[tuple[float, bool]]] = {w: [] for w in options.weights}
        for sample in read_samples(
            [folder], split=options.split, limit=options.max_images
        ):
            plane = model.encode_rgb(sample.rgb)
            for label in choose_objects(sample.labels, max_objects=options.objects):
                truth = object_mask(sample.labels, label)
                for weight, steps in found.items():
                    multimask_ensemble.IGNORED = weight
                    steps += corrected(plane, truth)
        for weight, steps in found.items():
            ious, ignored = np.array(steps).reshape(-1, CLICKS, 2).transpose(2, 1, 0)
            print(
                f"{folder.name:>30}{ious.shape[1]:9}{weight:8g}"
                f"{ious[2].mean():10.3f}{ious[4].mean():8.3f}{ignored[1:].mean():9.1%}",
                flush=True,
            )


def corrected(plane: EncodedPlane, truth: MaskCrop) -> list[tuple[float, bool]]:
    """Return the IoU after each click, and whether the answer ignores it."""
    steps = []
    for click, _, shown in iter_clicks(plane, truth, n_clicks=CLICKS, feed_logits=True):
        inside = shown.full(plane.frame.image_size)[int(click.row), int(click.column)]
        steps.append((crop_iou(shown, truth), bool(inside) != click.positive))
    return steps + steps[-1:] * (CLICKS - len(steps))  # who is content stops


if __name__ == "__main__":
    main()
