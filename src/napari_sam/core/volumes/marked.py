"""Divisions that a person marked, as constraints on linking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from napari_sam.core.volumes.label_stack import IntArray

Segment: TypeAlias = "tuple[int, int]"
"""Frame and label."""


@dataclass(frozen=True, slots=True)
class MarkedDivisions:
    """Cannot-links and must-links between the segments of a movie.

    A mother ends with her segment and a daughter begins with hers, whatever they
    overlap.

    Parameters
    ----------
    mothers : dict of (int, int) to (int, int)
        The last segment of the mother, frame and label, by the first of each daughter.
    orphans : set of (int, int)
        Segments that are nobody's daughters; they may still go on from others.
    """

    mothers: Mapping[Segment, Segment] = field(default_factory=dict)
    orphans: frozenset[Segment] = frozenset()

    def begin_in(self, frame: int) -> dict[int, Segment]:
        """Return the mothers' segments by the labels of daughters in a frame."""
        return {n: m for (at, n), m in self.mothers.items() if at == frame}

    def end_in(self, frame: int) -> list[int]:
        """Return the labels of the mothers that end with a frame."""
        return [n for at, n in self.mothers.values() if at == frame]

    def orphans_in(self, frame: int) -> list[int]:
        """Return the labels of a frame that are nobody's daughters."""
        return [n for at, n in self.orphans if at == frame]


def without(
    shared: csr_array, rows: npt.NDArray[np.bool_], cols: npt.NDArray[np.bool_]
) -> csr_array:
    """Return overlaps (A, B) without those of some rows and columns."""
    pairs = shared.tocoo()
    stays = ~(rows[pairs.row] | cols[pairs.col])
    return csr_array(
        (pairs.data[stays], (pairs.row[stays], pairs.col[stays])), shape=shared.shape
    )


def is_among(labels: IntArray, some: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Return which labels are among some others."""
    return np.isin(labels, np.array([*some], np.int64))
