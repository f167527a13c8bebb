"""The scale at which a model sees the objects of a plane best.

Everything mode sees a plane as the model's input shows it, its longer side as long as
the input.  How large its objects are there decides what is found: below some 15 pixels
of the input nearly nothing, above a hundred less and less (docs/everything.md).  The
maps of a model that sees objects without a prompt say how large they are, and how
clearly it sees them, so a few looks at enlarged views, or at all of it in one view,
tell where to search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.everything.object_points import MIN_FOREGROUND, find_peaks
from napari_sam.core.results import inside_frame
from napari_sam.core.views import MAX_SCALE, SIDE, STEP, plan_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_sam.core.model import EncodedPlane, ObjectMaps
    from napari_sam.core.views import Tile, View
    from napari_sam.types import Progress, Region

BEST = 32.0
"""How large objects are shown: square root of their area, in input pixels."""
LARGE = 4 * BEST
"""From this size on, objects may be too large."""
CLEARER = 0.02
"""How much the mean height of the centers' peaks must rise at another scale."""
LOOKS = 5
"""Tiles that are looked at for one scale."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How a model sees the objects of one scale, without a prompt.

    Parameters
    ----------
    size : float
        Mean size of an object in input pixels: square root of the foreground's area
        over the number of centers.  Infinite where none is seen.
    clarity : float
        Mean height of the centers' peaks, 0 to 1.
    """

    size: float
    clarity: float

    @staticmethod
    def of(maps: Sequence[ObjectMaps], min_center: float) -> Sight:
        """Measure maps that were made at one scale.

        Parameters
        ----------
        maps : sequence of ObjectMaps
            Of one or several views.
        min_center : float
            Lowest probability of an object's center.
        """
        area, heights = 0.0, []
        for one in maps:
            foreground = inside_frame(one.foreground, one.frame)
            cell = one.frame.side / one.foreground.shape[-1]
            area += cell**2 * np.count_nonzero(foreground > MIN_FOREGROUND)
            center = inside_frame(one.center, one.frame)
            heights.append(find_peaks(center, min_height=min_center)[1])
        found = np.concatenate([*heights, []])
        if not len(found):
            return Sight(math.inf, 0.0)
        return Sight(math.sqrt(area / len(found)), float(found.mean()))


def iter_scale(
    plane: EncodedPlane,
    look: Callable[[View], Generator[Progress, None, EncodedPlane | None]],
    window: Region,
    *,
    min_center: float,
) -> Generator[Progress, None, float | None]:
    """Find the scale at which a window of a plane is searched best.

    A window that is larger than the model's input is looked at in full resolution too,
    which is preferred if objects are clearer there.  Then it is enlarged by one `STEP`
    after another for as long as objects are smaller than `BEST` and become clearer.
    Where they are `LARGE`, all of it is looked at in a single view, which is smaller
    than the model's input.

    Parameters
    ----------
    plane : EncodedPlane
        The window, encoded as a whole, of a model that sees objects.
    look : callable
        Encodes a view of the plane; None if it cannot be read.
    window : Region
        What is searched, in pixels of the plane.
    min_center : float
        Lowest probability of an object's center.

    Yields
    ------
    Progress
        What ``look`` yields.

    Returns
    -------
    float or None
        In input pixels per pixel of the plane; None if the window as a whole is seen as
        well.
    """
    whole = plane.objects()
    if whole is None:
        return None
    fitting = scale = max(plane.frame.scale)
    seen = Sight.of([whole], min_center)

    def looks(at: float) -> Generator[Progress, None, Sight]:
        maps = []
        for view in _where_most_is(whole, window, at):
            encoded = yield from look(view)
            found = None if encoded is None else encoded.objects()
            if found is not None:
                maps.append(found)
        return Sight.of(maps, min_center)

    if scale < 1:
        full = yield from looks(1.0)
        if full.clarity > seen.clarity:
            scale, seen = 1.0, full
    while seen.size < BEST and scale * STEP <= MAX_SCALE:
        larger = yield from looks(scale * STEP)
        if larger.clarity < seen.clarity + CLEARER:
            break
        scale, seen = scale * STEP, larger
    if scale == fitting and seen.size > LARGE:
        smaller = yield from looks(in_one_view(window))
        if smaller.clarity >= seen.clarity + CLEARER:
            return in_one_view(window)
    return None if scale == fitting else scale


def in_one_view(window: Region) -> float:
    """Return the scale at which a view shows all of a window."""
    return SIDE / max(window.shape)


def _where_most_is(whole: ObjectMaps, window: Region, scale: float) -> list[View]:
    """Return the tiles of a scale in which most centers are seen from far."""
    center = inside_frame(whole.center, whole.frame)
    per_pixel = np.array(center.shape) / window.shape

    def seen(tile: Tile) -> float:
        own = tile.core.shifted(-window.row0, -window.col0)
        first = np.floor((own.row0, own.col0) * per_pixel).astype(int)
        last = np.ceil((own.row1, own.col1) * per_pixel).astype(int)
        return float(center[first[0] : last[0], first[1] : last[1]].sum())

    tiles = sorted(plan_tiles(window, scale), key=seen, reverse=True)
    return [tile.view for tile in tiles[:LOOKS]]


def known_scale(size: float, fitting: float, window: Region) -> float | None:
    """Return the scale for objects of a known size.

    Parameters
    ----------
    size : float
        Their diameter in pixels of the plane.
    fitting : float
        The scale at which the window fits the model's input.
    window : Region
        What is searched, in pixels of the plane.

    Returns
    -------
    float or None
        None if the window as a whole shows them well, or is no larger than an object.
    """
    root_area = size * math.sqrt(math.pi) / 2
    scale = min(MAX_SCALE, BEST / root_area)
    if scale > fitting:
        return scale
    is_large = root_area * fitting > LARGE and size < max(window.shape)
    return in_one_view(window) if is_large else None
