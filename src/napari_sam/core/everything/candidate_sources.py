"""Where everything mode asks in one window: on a grid, or on what the model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.everything.foreground import Foreground
from napari_sam.core.everything.object_points import object_points
from napari_sam.core.everything.selection import as_box
from napari_sam.errors import SettingsError
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
    from napari_sam.core.everything.search_plan import Search
    from napari_sam.core.everything.selection import Candidates, Thresholds
    from napari_sam.core.everything.settings import EverythingSettings
    from napari_sam.core.model import EncodedPlane, ObjectMaps
    from napari_sam.types import FloatArray


class CandidateSource:
    """The points of a grid."""

    on_objects = False
    """Whether the points lie on objects, one each."""

    def __init__(self, points: FloatArray) -> None:
        self._points = points

    @property
    def left(self) -> int:
        """How many points are left, as far as is known."""
        return len(self._points)

    def take(self, n: int) -> FloatArray:
        """Return the next ``n`` points at most; none when all is asked.

        Returns
        -------
        float32 array (N, 2)
            Row and column in the plane.
        """
        chunk, self._points = self._points[:n], self._points[n:]
        return chunk

    def filter_found(self, answers: Candidates) -> Candidates:
        """Return the answers to the points taken last that are to be kept."""
        return answers


class ObjectSource(CandidateSource):
    """Points on the objects that a model sees in one window.

    When all are answered, it is asked once more where it sees foreground that
    no good mask covers.

    Parameters
    ----------
    maps : ObjectMaps
        What the model sees.
    search : Search
        The window's place in the plane.
    min_center : float
        See :func:`~napari_sam.core.everything.object_points.object_points`.
    min_foreground : float
        Masks on less foreground, on average, are not kept.
    covering : Thresholds
        Masks that pass these cover what is below them.
    """

    on_objects = True

    def __init__(
        self,
        maps: ObjectMaps,
        search: Search,
        *,
        min_center: float,
        min_foreground: float,
        covering: Thresholds,
    ) -> None:
        self._search = search
        self._origin = search.window.row0, search.window.col0
        self._foreground = Foreground(maps)
        self._min_foreground = min_foreground
        self._covering = covering
        self._covered: list[MaskCrop] = []
        self._is_second_round = False
        points = object_points(maps, min_center=min_center)
        super().__init__(self._in_target(points))

    def filter_found(self, answers: Candidates) -> Candidates:
        """Return the answers to the points taken last that are to be kept."""
        masks = [self._in_window(runs.decode()) for runs in answers.masks]
        is_seen = np.array(
            [self._foreground.inside(m) >= self._min_foreground for m in masks], bool
        )
        limits = self._covering
        is_good = (
            is_seen
            & (answers.score > limits.min_score)
            & (answers.stability >= limits.min_stability)
            & (answers.area <= limits.max_area)
        )
        self._covered += [m for m, good in zip(masks, is_good, strict=True) if good]
        if not self.left and not self._is_second_round:
            self._is_second_round = True
            self._points = self._in_target(self._foreground.missed(self._covered))
        return answers.take(is_seen)

    def _in_target(self, points: FloatArray) -> FloatArray:
        """Return points of the window in the plane, those in the target."""
        moved = points + np.array(self._origin, np.float32)
        row0, col0, row1, col1 = as_box(self._search.target)
        low, high = np.array([row0, col0]) - 0.5, np.array([row1, col1]) - 0.5
        return moved[((moved >= low) & (moved < high)).all(axis=1)]

    def _in_window(self, mask: MaskCrop) -> MaskCrop:
        row, col = self._origin
        return MaskCrop(mask.mask, mask.region.shifted(-row, -col))


def make_candidate_source(
    encoded: EncodedPlane, search: Search, settings: EverythingSettings
) -> CandidateSource:
    """Return where to ask in one window.

    Parameters
    ----------
    encoded : EncodedPlane
        The window.
    search : Search
        Its place in the plane.
    settings : EverythingSettings
        Whether to ask on a grid or on objects, and on which.

    Raises
    ------
    SettingsError
        If the model is to see objects and cannot.
    """
    maps = None if settings.prompts == "grid" else encoded.objects()
    if maps is not None:
        own = encoded.thresholds
        center, foreground = settings.object_limits(own)
        return ObjectSource(
            maps,
            search,
            min_center=center,
            min_foreground=foreground,
            covering=settings.thresholds(encoded.frame.image_size, own, True),
        )
    if settings.prompts == "objects":
        raise SettingsError(
            "prompts is 'objects', but this model does not see objects by itself; "
            "choose 'grid', or a model with a prompt head."
        )
    return CandidateSource(search.grid())
