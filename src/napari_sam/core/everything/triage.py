"""Deciding about many proposals at once: pure functions.

How many lie where on a scale, which lie in a lasso, which look like one of them, and
how close each is to being hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam.types import Embedding, FloatArray, MaskCrop


def histogram(
    values: npt.ArrayLike, low: float, high: float, bins: int, *, log: bool = False
) -> npt.NDArray[np.intp]:
    """Return how many values lie in each of some bins of a scale.

    Parameters
    ----------
    values : array (N,)
        NaN is left out.
    low, high : float
        Ends of the scale; what lies beyond counts in the first or last bin.
    bins : int
        Number of bins, of equal width on the scale.
    log : bool
        Whether the scale is logarithmic; both ends must be above 0.

    Returns
    -------
    int array (bins,)
        A value on the border of two bins counts in the upper one.
    """
    known = np.asarray(values, float).ravel()
    known = known[~np.isnan(known)]
    where = np.floor(position_on(known, low, high, log=log) * bins).astype(int)
    return np.bincount(np.clip(where, 0, bins - 1), minlength=bins)


def position_on(
    values: npt.ArrayLike, low: float, high: float, *, log: bool = False
) -> npt.NDArray[np.float64]:
    """Return where values lie on a scale: 0 at its low end, 1 at its high end."""
    given = np.asarray(values, float)
    if log:
        given = np.log(np.maximum(given, low))
        low, high = float(np.log(low)), float(np.log(high))
    if high <= low:
        return np.zeros_like(given)
    return np.clip((given - low) / (high - low), 0, 1)


def inside(lasso: MaskCrop, masks: Sequence[MaskCrop]) -> npt.NDArray[np.bool_]:
    """Return which masks lie in a lasso by the larger part of their pixels, (N,)."""
    chosen = np.zeros(len(masks), bool)
    for number, mask in enumerate(masks):
        common = mask.region.intersection(lasso.region)
        if common.is_empty:
            continue
        own = common.shifted(-mask.region.row0, -mask.region.col0)
        other = common.shifted(-lasso.region.row0, -lasso.region.col0)
        both = mask.mask[own.slices] & lasso.mask[other.slices]
        chosen[number] = 2 * np.count_nonzero(both) > mask.area
    return chosen


def mean_features(embedding: Embedding, masks: Sequence[MaskCrop]) -> FloatArray:
    """Return what the image encoder saw in each mask, on average over its pixels.

    Parameters
    ----------
    embedding : Embedding
        Of the plane.
    masks : sequence of MaskCrop
        In pixels of the plane, each with at least one.

    Returns
    -------
    float32 array (N, C)
        C is the number of channels of the embedding.
    """
    features = embedding.features.astype(np.float32)
    frame, cells = embedding.frame, features.shape[1]
    steps = [scale * cells / frame.side for scale in frame.scale]
    means = np.zeros((len(masks), len(features)), np.float32)
    for number, mask in enumerate(masks):
        r = mask.region
        rows, row_starts = _cells(r.row0, r.row1, steps[0], cells)
        columns, column_starts = _cells(r.col0, r.col1, steps[1], cells)
        pixels = np.add.reduceat(mask.mask.astype(np.int64), row_starts, axis=0)
        pixels = np.add.reduceat(pixels, column_starts, axis=1)
        part = features[:, rows[:, None], columns]
        means[number] = np.tensordot(part, pixels, 2) / max(1, pixels.sum())
    return means


def _cells(
    start: int, stop: int, step: float, cells: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the cells of the embedding that pixels lie in, and where each begins."""
    cell = np.floor((np.arange(start, stop) + 0.5) * step).astype(np.intp)
    return np.unique(np.minimum(cell, cells - 1), return_index=True)


def similarity(features: npt.ArrayLike, number: int) -> FloatArray:
    """Return the cosine of the angle between one feature vector and each, (N,).

    Parameters
    ----------
    features : float array (N, C)
        As `mean_features` gives them.
    number : int
        Which of them the others are compared with.
    """
    vectors = np.asarray(features, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    cosine: FloatArray = np.clip(unit @ unit[number], -1, 1)
    return cosine


def doubt(
    score: npt.ArrayLike,
    stability: npt.ArrayLike,
    min_score: npt.ArrayLike,
    min_stability: npt.ArrayLike,
) -> npt.NDArray[np.float64]:
    """Return how far each proposal is from the nearer threshold.

    Parameters
    ----------
    score, stability : float array (N,)
        Predicted IoU and stability; NaN where it is not known, which says nothing.
    min_score, min_stability : float or float array (N,)
        What they are held to.

    Returns
    -------
    float array (N,)
        0 if nothing is known.
    """
    margins = np.array(
        [
            np.abs(np.asarray(score, float) - np.asarray(min_score, float)),
            np.abs(np.asarray(stability, float) - np.asarray(min_stability, float)),
        ]
    )
    nearest = np.where(np.isnan(margins), np.inf, margins).min(axis=0)
    return np.where(np.isinf(nearest), 0.0, nearest)
