"""One-to-one matching of segments by overlap, and divisions among what is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import block_array, csr_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from napari_sam.core.volumes.label_stack import IntArray

FloatArray = npt.NDArray[np.float64]


def overlap_ratios(
    shared: csr_array, first_areas: IntArray, second_areas: IntArray
) -> csr_array:
    """Return the intersection over union of segments that share pixels.

    Parameters
    ----------
    shared : sparse array (A, B)
        From `Foreground.shared_with`.
    first_areas, second_areas : int64 arrays (A,), (B,)
        In pixels.
    """
    pairs = shared.tocoo()
    union = first_areas[pairs.row] + second_areas[pairs.col] - pairs.data
    return csr_array((pairs.data / union, (pairs.row, pairs.col)), shape=shared.shape)


def best_matching(
    weights: csr_array, lowest: float
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the one-to-one matching of the largest sum of weights.

    The assignment problem (Kuhn 1955; `scipy.optimize.linear_sum_assignment`), solved
    in each connected component of the pairs by itself, so that its cost follows the
    number of objects.

    Parameters
    ----------
    weights : sparse array (A, B)
        Positive; pairs without an entry do not match.
    lowest : float
        Nor do those of a smaller weight.

    Returns
    -------
    first, second : int64 arrays (M,)
        The pairs, in ascending order of the first.
    weight : float64 array (M,)
        Of each.
    """
    pairs = weights.tocoo()
    is_allowed = (pairs.data >= lowest) & (pairs.data > 0)
    rows, cols = pairs.row[is_allowed], pairs.col[is_allowed]
    values = np.asarray(pairs.data[is_allowed], np.float64)
    n_rows, n_cols = weights.shape
    is_alone = (np.bincount(rows, minlength=n_rows)[rows] == 1) & (
        np.bincount(cols, minlength=n_cols)[cols] == 1
    )
    chosen = [np.flatnonzero(is_alone)]
    rest = np.flatnonzero(~is_alone)
    if rest.size:
        edges = csr_array(
            (np.ones(rest.size), (rows[rest], cols[rest])), shape=(n_rows, n_cols)
        )
        _, component = connected_components(
            block_array([[None, edges], [edges.T, None]]), directed=False
        )
        of_edge = component[rows[rest]]
        order = np.argsort(of_edge, kind="stable")
        starts = np.flatnonzero(np.diff(of_edge[order])) + 1
        chosen += [
            group[_assigned(rows[group], cols[group], values[group])]
            for group in np.split(rest[order], starts)
        ]
    taken = np.concatenate(chosen)
    taken = taken[np.argsort(rows[taken])]
    return rows[taken].astype(np.int64), cols[taken].astype(np.int64), values[taken]


def _assigned(rows: IntArray, cols: IntArray, values: FloatArray) -> IntArray:
    """Return which pairs of a component are in its best matching."""
    row_values, r = np.unique(rows, return_inverse=True)
    col_values, c = np.unique(cols, return_inverse=True)
    cost = np.zeros((row_values.size, col_values.size))
    number = np.full(cost.shape, -1)
    cost[r, c] = -values
    number[r, c] = np.arange(values.size)
    taken = number[linear_sum_assignment(cost)]
    return np.asarray(taken[taken >= 0], np.int64)


def left_inside(
    shared: csr_array,
    ratios: csr_array,
    first_areas: IntArray,
    second_areas: IntArray,
    taken: tuple[IntArray, IntArray],
    lowest: float,
) -> csr_array:
    """Return the overlaps of what is left on both sides, where one lies in the other.

    Parameters
    ----------
    shared, ratios : sparse arrays (A, B)
        From `Foreground.shared_with` and `overlap_ratios`, with the same entries.
    first_areas, second_areas : int64 arrays (A,), (B,)
        In pixels.
    taken : tuple of two int64 arrays
        The segments of either side that are matched already.
    lowest : float
        Smallest part of the smaller segment that lies in the larger one.

    Returns
    -------
    sparse float64 array (A, B)
        Intersections over union.
    """
    pairs, values = shared.tocoo(), ratios.tocoo()
    inside = pairs.data / np.minimum(first_areas[pairs.row], second_areas[pairs.col])
    is_left = (
        (inside >= lowest)
        & ~np.isin(pairs.row, taken[0])
        & ~np.isin(pairs.col, taken[1])
    )
    places = (pairs.row[is_left], pairs.col[is_left])
    return csr_array((values.data[is_left], places), shape=shared.shape)


@dataclass(frozen=True, slots=True)
class Split:
    """Two segments of a frame that were one in the frame before.

    Parameters
    ----------
    mother : int
        Segment of the frame before.
    daughters : tuple of two int
        Segments of the frame, in ascending order.
    overlap : float
        Intersection over union of the mother with both daughters together.
    """

    mother: int
    daughters: tuple[int, int]
    overlap: float


def proposed_divisions(
    shared: csr_array,
    first_areas: IntArray,
    second_areas: IntArray,
    matched: IntArray,
    lowest: float,
) -> list[Split]:
    """Return the divisions that overlap says between two frames.

    A mother and two segments that nothing else precedes, one of which may be what the
    mother was matched with: a division if the two together overlap her more than either
    alone, and at least by the threshold.  So a new object beside one that goes on is
    none, and sizes need no threshold.

    Parameters
    ----------
    shared : sparse array (A, B)
        From `Foreground.shared_with`.
    first_areas, second_areas : int64 arrays (A,), (B,)
        In pixels.
    matched : int64 array (A,)
        The segment of the second frame that each of the first was matched with, or -1.
    lowest : float
        Smallest overlap of both daughters together with the mother.

    Returns
    -------
    list of Split
        Each segment is in one at most; the best first.
    """
    is_free = np.ones(len(second_areas), np.bool_)
    is_free[matched[matched >= 0]] = False
    pairs = shared.tocoo()
    is_candidate = is_free[pairs.col]
    table = shared.tocsr()
    found = []
    for mother in np.unique(pairs.row[is_candidate]).tolist():
        row = slice(table.indptr[mother], table.indptr[mother + 1])
        cols, counts = table.indices[row], table.data[row]
        is_possible = is_free[cols] | (cols == matched[mother])
        cols, counts = cols[is_possible], counts[is_possible]
        area = int(first_areas[mother])
        alone = counts / (area + second_areas[cols] - counts)
        for i in range(len(cols)):
            for j in range(i + 1, len(cols)):
                a, b = int(cols[i]), int(cols[j])
                if matched[mother] >= 0 and matched[mother] not in (a, b):
                    continue
                both = counts[i] + counts[j]
                union = area + int(second_areas[a]) + int(second_areas[b]) - both
                together = float(both / union)
                if together >= lowest and together > max(alone[i], alone[j]):
                    found.append(Split(mother, (min(a, b), max(a, b)), together))
    found.sort(key=lambda split: (-split.overlap, split.mother, split.daughters))
    kept, mothers, daughters = [], set[int](), set[int]()
    for split in found:
        if split.mother in mothers or daughters & set(split.daughters):
            continue
        kept.append(split)
        mothers.add(split.mother)
        daughters |= set(split.daughters)
    return kept
