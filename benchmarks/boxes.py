"""Boxes: what is gained where masks keep to them, however carefully they are drawn.

    python benchmarks/boxes.py FOLDER ... [--split val] [--max-images 8]

For folders as ``napari-sam evaluate`` reads them.  Each row has the mean IoU of the
objects of a folder for one way to draw: along the outermost pixels; each side off by
5 or 10 % of its length (standard deviation); all sides 5 % and one pixel outside.
Without and with :class:`napari_sam.core.enclosure.Enclosure`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from _common import folder_parser
from napari_sam.core.evaluation import choose_objects, object_mask, tight_box
from napari_sam.core.masks import crop_iou
from napari_sam.models import load_model
from napari_sam.training import read_samples

WAYS = {
    "to the pixel": (0.0, 0.0, 0.0),
    "5 % off": (0.05, 0.0, 0.0),
    "10 % off": (0.10, 0.0, 0.0),
    "5 % and a pixel outside": (0.0, 0.05, 1.0),
}
"""Deviation and room, in lengths of a side, and room in pixels."""


def main() -> None:
    """Print one row for each folder and way."""
    parser = folder_parser(__doc__, objects=10)
    parser.add_argument("--model", default="mobile-sam-microscopy")
    options = parser.parse_args()
    model = load_model(options.model)
    print(f"{'images':>26}{'objects':>9}{'drawn':>26}{'without':>9}{'with':>8}")
    for folder in options.folders:
        rng = np.random.default_rng(0)
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for sample in read_samples(
            [folder], split=options.split, limit=options.max_images
        ):
            plane = model.encode_rgb(sample.rgb)
            for label in choose_objects(sample.labels, max_objects=options.objects):
                truth = object_mask(sample.labels, label)
                for way in WAYS:
                    result = plane.predict(box=drawn(tight_box(truth), way, rng))
                    free = replace(result, enclosure=None)
                    found[way].append(
                        (crop_iou(free.crop(), truth), crop_iou(result.crop(), truth))
                    )
        for way, ious in found.items():
            without, with_box = np.mean(ious, axis=0)
            print(
                f"{folder.name:>26}{len(ious):9}{way:>26}{without:9.3f}{with_box:8.3f}",
                flush=True,
            )


def drawn(
    box: tuple[float, float, float, float], way: str, rng: np.random.Generator
) -> list[float]:
    """Return a box as a user draws it."""
    deviation, room, pixels = WAYS[way]
    corners = np.array(box).reshape(2, 2)
    sides = corners[1] - corners[0]
    outward = (rng.normal(0, deviation, (2, 2)) + room) * sides + pixels
    # Never past the middle.
    outward = np.maximum(outward, -0.4 * sides)
    return [float(v) for v in (corners + outward * [[-1], [1]]).ravel()]


if __name__ == "__main__":
    main()
