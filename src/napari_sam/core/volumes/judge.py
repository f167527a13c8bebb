"""Where an object ends, and how sure its masks are.

Overlap with the slice before, by which others stop, tells next to nothing about an end:
a mask that is carried on into a neighbor overlaps as well as any.  Two things do tell:
the model's own score, and the likeness to the prompted slices inside the mask less
that around it.  Either falls for other reasons too; both at once hardly do, nor does
the likeness fall to nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.core.volumes.segment import Evidence


@dataclass(frozen=True, slots=True)
class EndRule:
    """When an object has ended.

    Parameters
    ----------
    score, contrast : float
        Shares of the best so far, on the way outward.  Both below: an end.
    lost : float
        Share of the best contrast so far.  Below: an end, whatever the score is, as
        that of a neighbor may be high.
    smallest : float
        Share of the prompted area; below: an end.
    """

    score: float
    contrast: float
    lost: float = 0.2
    smallest: float = 0.02

    def is_met(
        self, now: Evidence, before: Sequence[Evidence], prompted_area: float
    ) -> bool:
        """Return whether the object is not in a slice any more.

        Parameters
        ----------
        now : Evidence
            Of the slice.
        before : sequence of Evidence
            Of those between it and the prompted slice.
        prompted_area : float
            Pixels in the prompted slice.
        """
        if now.area < self.smallest * prompted_area:
            return True
        score = max(e.score for e in (*before, now))
        contrast = max(e.contrast for e in (*before, now))
        if before and now.contrast < self.lost * contrast:
            return True
        is_poor = now.score < self.score * score
        return is_poor and now.contrast < self.contrast * contrast


_SCORE = 5.0
_OVERLAP = 5.0
_USUAL = 0.9
_DISTANCE = 0.15
_MIDDLE = 4.5  # so that a usual slice is in the middle of 0 to 1


def confidence(evidence: Evidence, distance: int, *, is_between: bool = False) -> float:
    """Return how sure a mask is, 0 to 1.

    Score and contrast, less the distance to the nearest prompted slice; between two of
    them also the overlap with the interpolated shape, which outward, where the shape is
    carried on from mask to mask, tells nothing.  It depends on one slice alone, so it
    is comparable whatever was redone; it is no probability.

    Parameters
    ----------
    evidence : Evidence
        Of the slice.
    distance : int
        Slices to the nearest prompted one.
    is_between : bool
        Whether the slice is between two prompted ones.
    """
    if not evidence.area:
        return 0.0
    sum_ = evidence.contrast + _SCORE * evidence.score - _DISTANCE * distance
    if is_between:
        sum_ += _OVERLAP * (evidence.overlap - _USUAL)
    return 1 / (1 + math.exp(_MIDDLE - sum_))
