"""What a box says about the mask: the object lies inside.

A model takes a box for a hint, and where objects touch its answer runs on beyond
it.  Users mean more by a box, yet seldom draw it to the pixel.  So what lies
outside loses a little of its logit, the more the farther away, up to a limit: what
the model is unsure of ends at the box, and what it is sure of goes on.

Measured with boxes that are drawn more and less carefully: docs/model-card.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.types import Box, FloatArray

STEEPNESS = 200.0
"""Logits that are lost at a distance as long as the box is wide."""
MOST = 3.0
"""Logits that are lost at most."""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A box that encloses an object.

    Parameters
    ----------
    box : tuple of float
        ``(row0, column0, row1, column1)`` in pixels, the first corner first; the
        edges of pixels lie at halves.
    """

    box: Box

    @property
    def side(self) -> float:
        """Side of the square of the same area."""
        row0, col0, row1, col1 = self.box
        return float(np.sqrt((row1 - row0) * (col1 - col0)))

    def shifted(self, rows: float, columns: float) -> Enclosure:
        """Return the box moved by so many pixels."""
        row0, col0, row1, col1 = self.box
        return Enclosure((row0 + rows, col0 + columns, row1 + rows, col1 + columns))

    def doubt(
        self, rows: npt.NDArray[np.number], columns: npt.NDArray[np.number]
    ) -> FloatArray:
        """Return by how much to lower the logits at places of a grid.

        Parameters
        ----------
        rows : array (h,)
            Where the rows of the grid lie, in pixels.
        columns : array (w,)
            The same for its columns.

        Returns
        -------
        float32 array (h, w)
            0 inside.
        """
        row0, col0, row1, col1 = self.box
        above = np.maximum(row0 - rows, rows - row1)
        beside = np.maximum(col0 - columns, columns - col1)
        far = np.maximum(above[:, None], beside).astype(np.float32)
        lost: FloatArray = far * np.float32(STEEPNESS / self.side)
        return lost.clip(0, MOST)
