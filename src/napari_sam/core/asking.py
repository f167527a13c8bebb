"""Where everything mode asks in one window: on a grid, or on what the model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.centres import missed_points, object_points
from napari_sam.errors import SettingsError
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.core.grid import Search
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.selection import Candidates, Thresholds
    from napari_sam.types import FloatArray


class Questions:
    """Points to ask at, some of which depend on earlier answers.

    Parameters
    ----------
    points : float32 array (N, 2)
        Row and column in the plane.
    on_objects : bool
        Whether they lie on objects, one each.
    ask_again : callable, optional
        Called once, when all points are answered, with the answers; returns
        further points.
    """

    def __init__(
        self,
        points: FloatArray,
        *,
        on_objects: bool,
        ask_again: Callable[[list[Candidates]], FloatArray] | None = None,
    ) -> None:
        self.on_objects = on_objects
        self._points = points
        self._ask_again = ask_again
        self._answers: list[Candidates] = []

    @property
    def left(self) -> int:
        """How many points are left, as far as is known."""
        return len(self._points)

    def take(self, n: int) -> FloatArray:
        """Return the next ``n`` points at most; none when all is asked."""
        chunk, self._points = self._points[:n], self._points[n:]
        return chunk

    def answered(self, candidates: Candidates) -> None:
        """Note the answers to the points taken last."""
        if self._ask_again is None:
            return
        self._answers.append(candidates)
        if not len(self._points):
            self._points = self._ask_again(self._answers)
            self._ask_again = None


def make_questions(
    encoded: EncodedPlane,
    search: Search,
    prompts: str,
    *,
    min_centre: float,
    covering: Thresholds,
) -> Questions:
    """Return where to ask in one window.

    Parameters
    ----------
    encoded : EncodedPlane
        The window.
    search : Search
        The window's place in the plane.
    prompts : {"auto", "grid", "objects"}
        See :class:`~napari_sam.core.everything.EverythingSettings`.
    min_centre : float
        See :func:`~napari_sam.core.centres.object_points`.
    covering : Thresholds
        Masks that pass these cover what is below them; the rest of the
        foreground is asked for again.

    Raises
    ------
    SettingsError
        If the model is to see objects and cannot.
    """
    maps = None if prompts == "grid" else encoded.objects()
    if maps is None and prompts == "objects":
        raise SettingsError(
            "prompts is 'objects', but this model does not see objects by itself; "
            "choose 'grid', or a model with a prompt head."
        )
    if maps is None:
        return Questions(search.grid(), on_objects=False)
    origin = np.array([search.window.row0, search.window.col0], np.float32)

    def inside(points: FloatArray) -> FloatArray:
        """Keep the points in the target; return them in the plane."""
        moved = points + origin
        t = search.target
        low, high = (t.row0, t.col0), (t.row1, t.col1)
        kept = (moved >= np.subtract(low, 0.5)) & (moved < np.subtract(high, 0.5))
        return moved[kept.all(axis=1)]

    def ask_again(answers: list[Candidates]) -> FloatArray:
        return inside(missed_points(maps, _covering(answers, covering, search)))

    points = object_points(maps, min_centre=min_centre)
    return Questions(inside(points), on_objects=True, ask_again=ask_again)


def _covering(
    answers: list[Candidates], thresholds: Thresholds, search: Search
) -> Iterator[MaskCrop]:
    """Yield the masks good enough to be shown, in pixels of the window."""
    for some in answers:
        good = (
            (some.score > thresholds.min_score)
            & (some.stability >= thresholds.min_stability)
            & (some.area <= thresholds.max_area)
        )
        for i in np.flatnonzero(good).tolist():
            crop = some.masks[i].decode()
            region = crop.region.shifted(-search.window.row0, -search.window.col0)
            yield MaskCrop(crop.mask, region)
