"""Time to accept an object into a large labels volume, beside a bare array write.

The reference is what the write would cost without history, checks and redraw:
assigning the same pixels of a numpy array by index.
"""

from __future__ import annotations

import time
import warnings

import numpy as np

warnings.simplefilter("ignore")

from napari.components import ViewerModel

from napari_sam.core.annotation.transaction import ObjectMask, Transaction
from napari_sam.core.masks import LargestLabel, OverlapPolicy
from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.labels.target import LabelsTarget

SHAPE = (64, 2048, 2048)


def disc(radius: int, row: int, column: int) -> MaskCrop:
    """Return a filled disc."""
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    mask = rows**2 + cols**2 <= radius**2
    region = Region(
        row - radius, column - radius, row + radius + 1, column + radius + 1
    )
    return MaskCrop(mask, region)


def main() -> None:
    """Print the table."""
    viewer = ViewerModel()
    viewer.add_image(np.zeros(SHAPE, np.uint8))
    layer = viewer.add_labels(np.zeros(SHAPE, np.uint16))
    bare = np.zeros(SHAPE, np.uint16)
    target = LabelsTarget(layer)
    target.count(LargestLabel(0))
    print(f"labels {SHAPE} uint16; times in ms, median of 9")
    print("object diameter   pixels   accept   bare write   ratio   undo")
    for radius in (10, 50, 200, 800):
        accepts, writes, undos = [], [], []
        for n in range(9):
            plane = Plane((1, 2), (n, None, None))
            viewer.dims.set_point(0, n)
            mask = disc(radius, 1000, 1000)
            start = time.perf_counter()
            label = target.next_label
            plan = target.plan([ObjectMask(label, plane, mask)], OverlapPolicy.KEEP)
            target.apply(Transaction(plan.changes, (), (label, label + 1)))
            accepts.append(time.perf_counter() - start)
            rows, cols = np.nonzero(mask.full(SHAPE[1:]))
            planes = np.full(rows.shape, n)
            start = time.perf_counter()
            bare[planes, rows, cols] = 1
            writes.append(time.perf_counter() - start)
            start = time.perf_counter()
            layer.undo()
            undos.append(time.perf_counter() - start)
        accept, write, undo = (
            1e3 * float(np.median(x)) for x in (accepts, writes, undos)
        )
        print(
            f"{2 * radius:15d} {int(disc(radius, 0, 0).area):8d} {accept:8.1f} "
            f"{write:12.2f} {accept / write:7.1f} {undo:6.1f}"
        )


if __name__ == "__main__":
    main()
