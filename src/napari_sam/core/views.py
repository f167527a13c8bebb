"""Views of a plane: where and how large a model looks.

A view is a region of a plane at a scale.  A model sees the whole plane at one scale,
its longer side as long as its input, and answers in cells of four pixels of that:
of an object of a few cells it sees little, and its mask is coarse.  In a view that
shows the same object larger, it is as large as the model likes it.

In a plane that is not much smaller than the input, the object under a click may
hardly be seen, and nothing says how large it is; so there are views of several scales
around it.

Views lie on a lattice and come in a few scales, so that the next click on the same
object, and a click on its neighbor, find theirs encoded.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.types import Frame, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.types import Box

TARGET = 96.0
"""How large an object is shown at most: square root of its area, in input pixels."""
SIDE = 448
"""Side of a view's square input: whole windows of MobileSAM's encoder."""
MAX_SCALE = 8.0
"""Input pixels per pixel of the plane: more shows nothing new."""
STEP = 2**0.5
"""Ratio of a scale to the next one.  A view that gains less is not worth encoding."""
LATTICE = 4
"""Positions of a view within its own length."""
MAGNIFICATIONS = (0.5, 1.0, 2.0)
"""Scales of the views around clicks, in input pixels per pixel of the plane."""
OVERLAP = 128
"""Input pixels that tiles of everything mode have in common.

An object that begins in the middle of a tile's core is whole in it if it reaches no
farther than half of that beyond the core."""

# A view is at most half a lattice step off the middle of what it is for, which has
# at least a whole step of room on either side then.
_FILLS = 1 - 1.5 / LATTICE
_ROUNDING = 1e-9  # so that a power of the step is its own


@dataclass(frozen=True, slots=True)
class View:
    """A region of a plane at a scale.

    Parameters
    ----------
    region : Region
        The pixels of the plane.
    frame : Frame
        How they sit in the square input of a model; its image is the region.
    """

    region: Region
    frame: Frame

    def holds(self, extent: Box) -> bool:
        """Whether all of an extent lies in the view, measured as in `object_view`."""
        row0, col0, row1, col1 = extent
        r = self.region
        return r.row0 <= row0 and r.col0 <= col0 and row1 <= r.row1 and col1 <= r.col1

    def scaled(self, image_size: tuple[int, int], to_size: tuple[int, int]) -> View:
        """Return the view of the same plane at another resolution.

        Rounded to whole pixels there.

        Parameters
        ----------
        image_size : tuple of int
            Height and width of the plane that the view is of.
        to_size : tuple of int
            Those of the same plane at the other resolution.
        """
        rows, cols = (to / of for to, of in zip(to_size, image_size, strict=True))
        r = self.region
        region = Region(
            round(r.row0 * rows),
            round(r.col0 * cols),
            round(r.row1 * rows),
            round(r.col1 * cols),
        )
        return View(region, Frame(region.shape, self.frame.input_size, self.frame.side))


def object_view(
    extent: Box, area: float, image_size: tuple[int, int], seen_at: float
) -> View | None:
    """Return the view that shows an object as large as is best.

    Parameters
    ----------
    extent : tuple of float
        ``(row0, column0, row1, column1)`` around the object and all its prompts,
        in pixels from the outer corner of the plane's first pixel.
    area : float
        Of the object, in pixels of the plane.
    image_size : tuple of int
        Height and width of the plane.
    seen_at : float
        The scale at which the object is seen already, in input pixels per pixel.

    Returns
    -------
    View or None
        A view with all of the extent inside, and some room around it; None if none
        shows the object larger by a `STEP` at least.
    """
    if area <= 0:
        return None
    row0, col0, row1, col1 = extent
    scale = min(TARGET / math.sqrt(area), MAX_SCALE)
    longest = max(row1 - row0, col1 - col0)
    if longest > 0:
        scale = min(scale, _FILLS * SIDE / longest)
    # Powers of the step, whatever the size of the plane, are scales in common.
    scale = STEP ** math.floor(math.log(scale, STEP) + _ROUNDING)
    if scale < STEP * seen_at:
        return None
    view = view_at(((row0 + row1) / 2, (col0 + col1) / 2), scale, image_size)
    return view if view.holds(extent) else None


def prompt_views(
    extent: Box, box: Box | None, image_size: tuple[int, int], seen_at: float
) -> list[View]:
    """Return views in which to look for an object of which only prompts are known.

    Parameters
    ----------
    extent : tuple of float
        Around all prompts, as for :func:`object_view`.
    box : tuple of float, optional
        The box among them, if there is one: it says how large the object is.
    image_size : tuple of int
        Height and width of the plane.
    seen_at : float
        The scale at which the plane is seen already, in input pixels per pixel.

    Returns
    -------
    list of View
        With all prompts inside, from the largest to the smallest; for a box none if
        every pixel of the plane is seen already.
    """
    if box is not None:
        if seen_at >= 1:
            return []
        # Of the ellipse in it, as objects are round rather than square.
        area = math.pi / 4 * (box[2] - box[0]) * (box[3] - box[1])
        fitting = object_view(extent, area, image_size, seen_at)
        return [] if fitting is None else [fitting]
    middle = ((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2)
    views = [
        view_at(middle, scale, image_size)
        for scale in MAGNIFICATIONS
        if scale >= STEP * seen_at
    ]
    return [view for view in views if view.holds(extent)]


def view_at(
    middle: tuple[float, float], scale: float, image_size: tuple[int, int]
) -> View:
    """Return the view on the lattice that lies best around a place.

    Parameters
    ----------
    middle : tuple of float
        Row and column from the outer corner of the plane's first pixel.
    scale : float
        In input pixels per pixel of the plane.
    image_size : tuple of int
        Height and width of the plane.
    """
    starts, lengths = [], []
    for at, whole in zip(middle, image_size, strict=True):
        length = min(whole, max(1, round(SIDE / scale)))
        step = max(1, length // LATTICE)
        start = round((at - length / 2) / step) * step
        starts.append(max(0, min(start, whole - length)))
        lengths.append(length)
    return _view(starts, lengths, scale)


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the views that cover a part of a plane.

    Parameters
    ----------
    view : View
        It overlaps its neighbors.
    core : Region
        Its share of the part: the cores of all tiles divide it.
    """

    view: View
    core: Region


def plan_tiles(region: Region, scale: float) -> list[Tile]:
    """Return the views of a scale that cover a part of a plane, row by row.

    Parameters
    ----------
    region : Region
        The part, not empty.
    scale : float
        In input pixels per pixel of the plane.

    Returns
    -------
    list of Tile
        Neighbors have `OVERLAP` input pixels in common, or more.
    """
    rows, cols = (
        _cuts(start, stop, max(1, round(SIDE / scale)), round(OVERLAP / scale))
        for start, stop in ((region.row0, region.row1), (region.col0, region.col1))
    )
    return [
        Tile(
            _view([row0, col0], [row1 - row0, col1 - col0], scale),
            Region(own_row0, own_col0, own_row1, own_col1),
        )
        for row0, row1, own_row0, own_row1 in rows
        for col0, col1, own_col0, own_col1 in cols
    ]


def _cuts(
    start: int, stop: int, length: int, overlap: int
) -> list[tuple[int, int, int, int]]:
    """Return first and last pixel of the tiles along one axis, and of their cores."""
    length = min(length, stop - start)
    step = max(1, length - overlap)
    count = 1 + math.ceil((stop - start - length) / step)
    room = stop - start - length
    starts = [start + round(room * i / max(1, count - 1)) for i in range(count)]
    # Half of what two neighbors have in common is each one's own.
    between = [(a + length + b) // 2 for a, b in itertools.pairwise(starts)]
    bounds = [start, *between, stop]
    return [
        (at, at + length, *own)
        for at, own in zip(starts, itertools.pairwise(bounds), strict=True)
    ]


def _view(starts: Sequence[int], lengths: Sequence[int], scale: float) -> View:
    region = Region(
        starts[0], starts[1], starts[0] + lengths[0], starts[1] + lengths[1]
    )
    rows, cols = (max(1, min(SIDE, round(length * scale))) for length in lengths)
    return View(region, Frame(region.shape, (rows, cols), SIDE))
