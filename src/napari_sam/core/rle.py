"""Run-length encoded masks: what a mask is kept as while it waits for review.

An everything-mode run keeps thousands of overlapping masks.  As bool crops of a
2048 x 2048 plane they would fill gigabytes; as runs they take a few bytes per
row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from napari_sam.types import BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """A binary mask as alternating runs of background and object pixels.

    Parameters
    ----------
    runs : uint32 array (K,)
        Lengths of the runs in row-major order within ``region``, the first of
        background (possibly 0 long).
    region : Region
        Where the mask lies in the plane.
    """

    runs: npt.NDArray[np.uint32]
    region: Region

    @staticmethod
    def encode(crop: MaskCrop) -> RunLengths:
        """Return the runs of a mask."""
        flat = crop.mask.ravel()
        if flat.size == 0:
            return RunLengths(np.zeros(0, np.uint32), crop.region)
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        bounds = np.concatenate(([0], changes, [flat.size]))
        if flat[0]:
            bounds = np.concatenate(([0], bounds))
        return RunLengths(np.diff(bounds).astype(np.uint32), crop.region)

    def decode(self) -> MaskCrop:
        """Return the mask."""
        is_object = np.arange(self.runs.size) % 2 == 1
        mask: BoolArray = np.repeat(is_object, self.runs)
        return MaskCrop(mask.reshape(self.region.shape), self.region)

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(self.runs[1::2].sum())
