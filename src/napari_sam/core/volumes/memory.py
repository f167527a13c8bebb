"""How an object looks in the model's own features, learnt from slices of it.

A ridge regression (Hoerl & Kennard 1970) of inside and outside on the channels of the
image embedding, within a window around the object, each class and each slice counting
alike.  It says where in the next slice the object still looks as it did; a mask prompt
says only where it was.  Intensities, or the maps of the prompt head, in place of the
embedding do not help.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.volumes.shapes import linear_table
from napari_sam.types import Region

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from napari_sam.core.model import EncodedPlane
    from napari_sam.types import FloatArray, Frame, MaskCrop

    Float64Array = npt.NDArray[np.float64]

_ROOM = 0.5
"""Of the object's length, that the window around it reaches beyond."""
_GRID = 48
"""Samples along a side of the window at most."""
_RIDGE = 0.03
"""Penalty, in mean variances of a channel."""
_PATCH = 16  # input pixels along a side of a cell of the embedding


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """Sums over the inside and the outside of an object in one slice.

    Those of several slices can be added up.

    Parameters
    ----------
    moment : float64 array (C + 1, C + 1)
        Weighted sum of products of the channels and a constant one.
    target : float64 array (C + 1,)
        Weighted sum of the channels, positive inside, negative outside.
    """

    moment: Float64Array
    target: Float64Array


def appearance(plane: EncodedPlane, mask: MaskCrop) -> Appearance | None:
    """Return what is learnt from one slice of an object.

    Parameters
    ----------
    plane : EncodedPlane
        The slice.
    mask : MaskCrop
        The object in it, in pixels of the plane.

    Returns
    -------
    Appearance or None
        None if the window has no inside or no outside.
    """
    frame = plane.frame
    window = _window(mask, frame.image_size)
    if window is None:
        return None
    places = [
        np.linspace(start, stop - 1, min(_GRID, stop - start))
        for start, stop in ((window.row0, window.row1), (window.col0, window.col1))
    ]
    rows, cols = (np.rint(p).astype(np.intp) for p in places)
    inside = mask.full(frame.image_size)[rows[:, None], cols].ravel()
    n_inside = int(np.count_nonzero(inside))
    if n_inside in (0, inside.size):
        return None
    x = _sampled(plane.embedding.features, frame, rows, cols)
    x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
    weight = np.where(inside, 0.5 / n_inside, 0.5 / (inside.size - n_inside))
    weighted = x * weight[:, None].astype(np.float32)
    sign = np.where(inside, np.float32(1), np.float32(-1))
    return Appearance(
        (weighted.T @ x).astype(np.float64), (weighted.T @ sign).astype(np.float64)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """A linear classifier of the cells of an embedding.

    Parameters
    ----------
    weights : float32 array (C,)
        One for each channel.
    offset : float
        What is added.
    """

    weights: FloatArray
    offset: float

    @staticmethod
    def learnt(slices: Iterable[tuple[Appearance, float]]) -> Memory | None:
        """Return what is learnt from slices, each with its weight; None from none."""
        known = [(a, w) for a, w in slices if w > 0]
        if not known:
            return None
        total = sum(w for _, w in known)
        moment = np.sum([w * a.moment for a, w in known], axis=0) / total
        target = np.sum([w * a.target for a, w in known], axis=0) / total
        mean = moment[:-1, -1]
        covariance = moment[:-1, :-1] - np.outer(mean, mean)
        spread = np.sqrt(np.maximum(np.diag(covariance), 1e-8))
        scaled = covariance / np.outer(spread, spread)
        scaled[np.diag_indices_from(scaled)] += _RIDGE
        # Classes are balanced, so the targets' mean is 0.
        solved = np.linalg.solve(scaled, target[:-1] / spread) / spread
        return Memory(solved.astype(np.float32), float(-solved @ mean))

    def likeness(self, plane: EncodedPlane) -> FloatArray:
        """Return how much each cell of the input looks like the object.

        Returns
        -------
        float32 array (side / 4, side / 4)
            -1, as the outside did, to 1.
        """
        features = plane.embedding.features
        grid = features.shape[1]
        at = np.tensordot(self.weights, features.astype(np.float32), 1) + self.offset
        cells = plane.frame.side // 4
        table = linear_table((np.arange(cells) + 0.5) * grid / cells - 0.5, grid)
        likeness: FloatArray = np.clip(
            table @ at.astype(np.float32) @ table.T, np.float32(-1), np.float32(1)
        )
        return likeness


def _window(mask: MaskCrop, shape: tuple[int, int]) -> Region | None:
    region = mask.tight().region
    if region.is_empty:
        return None
    height, width = (math.ceil(_ROOM * n) + 1 for n in region.shape)
    return Region(
        max(0, region.row0 - height),
        max(0, region.col0 - width),
        min(shape[0], region.row1 + height),
        min(shape[1], region.col1 + width),
    )


def _sampled(
    features: npt.NDArray[np.float16],
    frame: Frame,
    rows: npt.NDArray[np.intp],
    cols: npt.NDArray[np.intp],
) -> FloatArray:
    """Return the embedding at pixels of a grid, (rows · columns, C)."""
    tables, parts = [], []
    for pixels, scale, size in zip(
        (rows, cols), frame.scale, features.shape[1:], strict=True
    ):
        at = (pixels + 0.5) * scale / _PATCH - 0.5
        first = max(0, min(int(np.floor(at[0])), size - 1))
        last = max(first, min(int(np.ceil(at[-1])), size - 1))
        parts.append(slice(first, last + 1))
        tables.append(linear_table(at - first, last + 1 - first))
    block = features[:, parts[0], parts[1]].astype(np.float32)
    sampled = tables[0] @ block @ tables[1].T
    return np.ascontiguousarray(sampled.reshape(len(block), -1).T)
