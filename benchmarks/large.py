"""Images in the midst of larger ones: what becomes of clicks and boxes there.

    python benchmarks/large.py FOLDER ... [--split val] [--max-images 4]

For folders as ``napari-sam evaluate`` reads them.  Each image goes on as its mirror
image to 1, 2, 4 and 8 times its size, up to 9000 pixels, and the same objects in the
middle are asked for: mean IoU after one and three clicks and with the tight box, from
the whole image alone and with views at several magnifications
(:func:`napari_sam.core.views.prompt_views`).  The size of an object is the square
root of its area, in pixels of the model's input.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np

from _common import folder_parser
from napari_sam.core.metrics import choose_objects, interactive_score, object_mask
from napari_sam.models import load_model
from napari_sam.training import read_samples
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMES = (1, 2, 4, 8)
LARGEST = 9000


def main() -> None:
    """Print one row for each folder and size."""
    parser = folder_parser(__doc__, objects=8)
    parser.set_defaults(max_images=4)
    options = parser.parse_args()
    model = load_model("mobile-sam-microscopy")
    print(
        f"{'images':>26}{'times':>6}{'side':>6}{'objects':>8}{'size':>6}"
        f"{'1 click':>16}{'3 clicks':>16}{'box':>16}"
    )
    for folder in options.folders:
        for times in TIMES:
            found: list[tuple[float, ...]] = []
            sizes, sides = [], []
            for sample in read_samples(
                [folder], split=options.split, limit=options.max_images
            ):
                rgb, corner = continued(sample.rgb, times)
                if max(rgb.shape) > LARGEST:
                    continue
                plane = model.encode_rgb(rgb)
                sides.append(max(rgb.shape))
                for label in choose_objects(sample.labels, max_objects=options.objects):
                    own = object_mask(sample.labels, label)
                    truth = MaskCrop(own.mask, own.region.shifted(*corner))
                    sizes.append(truth.area**0.5 * max(plane.frame.scale))
                    row: tuple[float, ...] = ()
                    for look in (whole_only, nothing_changed):
                        with look():
                            score = interactive_score(
                                plane, truth, n_clicks=3, feed_logits=True
                            )
                        row += (score.clicks[0], score.clicks[2], score.box)
                    found.append(row)
            if found:
                m = np.mean(found, axis=0)
                figures = "".join(f"{m[i]:9.3f} → {m[i + 3]:.3f}" for i in range(3))
                print(
                    f"{folder.name:>26}{times:6}{np.median(sides):6.0f}"
                    f"{len(found):8}{np.median(sizes):6.1f}{figures}",
                    flush=True,
                )


def continued(rgb: np.ndarray, times: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return an image that goes on as its mirror image, and where it begins there."""
    height, width = rgb.shape[:2]
    row, col = height * (times - 1) // 2, width * (times - 1) // 2
    around = (
        (row, height * (times - 1) - row),
        (col, width * (times - 1) - col),
        (0, 0),
    )
    return np.ascontiguousarray(np.pad(rgb, around, mode="symmetric")), (row, col)


@contextmanager
def whole_only() -> Iterator[None]:
    """Ask without views at several magnifications."""
    with patch("napari_sam.models.sam1.view_encoder.prompt_views", lambda *_: []):
        yield


@contextmanager
def nothing_changed() -> Iterator[None]:
    """Ask as the model does."""
    yield


if __name__ == "__main__":
    main()
