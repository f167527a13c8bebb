"""Masks against the foreground that a model sees without a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.everything.object_points import (
    MIN_FOREGROUND,
    deepest_points,
    to_image,
)
from napari_sam.core.results import inside_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from napari_sam.core.model import ObjectMaps
    from napari_sam.types import FloatArray, MaskCrop


class Foreground:
    """The foreground of one plane, looked up at its cells' centers.

    A cell stands for ``side / cells`` pixels of the model's input; no array has
    the size of the image, which may be a pyramid of any size.

    Parameters
    ----------
    maps : ObjectMaps
        What the model sees.
    """

    def __init__(self, maps: ObjectMaps) -> None:
        self._maps = maps
        self._probability = inside_frame(maps.foreground, maps.frame)
        shape = self._probability.shape
        n = np.arange(max(shape))
        at = to_image(np.stack([n, n], axis=1), maps.frame, maps.foreground.shape)
        pixels = at.round().astype(np.intp)
        # The pixel at each cell's center, ascending along each axis.
        self._rows, self._cols = pixels[: shape[0], 0], pixels[: shape[1], 1]

    def inside(self, mask: MaskCrop) -> float:
        """Return the mean probability of foreground in a mask.

        Parameters
        ----------
        mask : MaskCrop
            In pixels of the image.

        Returns
        -------
        float
            Over the cells whose centers are in the mask; if it is so thin or
            small that there are none, over those nearest to its pixels.
        """
        window, own = self._cells(mask)
        if own.any():
            return float(self._probability[window][own].mean())
        rows, cols = np.nonzero(mask.mask)
        row, col = (
            np.abs(centers[:, None] - (own + first)).argmin(axis=0)
            for centers, own, first in (
                (self._rows, rows, mask.region.row0),
                (self._cols, cols, mask.region.col0),
            )
        )
        return float(self._probability[row, col].mean())

    def missed(self, masks: Iterable[MaskCrop]) -> FloatArray:
        """Return the deepest points of foreground that no mask covers.

        Parameters
        ----------
        masks : iterable of MaskCrop
            What has been found, in pixels of the image.

        Returns
        -------
        float32 array (N, 2)
            Row and column in pixels of the image, the deepest first.
        """
        is_missed = self._probability > MIN_FOREGROUND
        for mask in masks:
            window, own = self._cells(mask)
            is_missed[window] &= ~own
        points = deepest_points(is_missed)
        return to_image(points, self._maps.frame, self._maps.foreground.shape)

    def _cells(
        self, mask: MaskCrop
    ) -> tuple[tuple[slice, slice], npt.NDArray[np.bool_]]:
        """Return the window of cells whose centers a mask may hold, and which."""
        r = mask.region
        row0, row1 = np.searchsorted(self._rows, (r.row0, r.row1))
        col0, col1 = np.searchsorted(self._cols, (r.col0, r.col1))
        rows = self._rows[row0:row1] - r.row0
        cols = self._cols[col0:col1] - r.col0
        return (slice(row0, row1), slice(col0, col1)), mask.mask[np.ix_(rows, cols)]
