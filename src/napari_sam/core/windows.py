"""Where to look closer: enlarged windows around small objects and around clicks.

A model sees a plane at one size, 1024 pixels along its longer side, and answers in
cells of four of these.  Of an object of a few cells it sees little, and its mask is
coarse.  In a window of the plane, enlarged before it is encoded, the same object is
as large as the model likes it.

In a plane that is not enlarged for that, or even made smaller, the object under a
click may not be seen at all, and nothing says how large it is; so there are windows of
several magnifications around it.

Windows lie on a lattice and come in a few sizes, so that the next click on the same
object, and a click on its neighbour, find theirs encoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.types import Frame, Region

if TYPE_CHECKING:
    from napari_sam.types import Box

SMALL = 64.0
"""Objects smaller than this are looked at closer: square root of their area, in
pixels of the model's input."""
TARGET = 96.0
"""How large an object is made at most, given in the same way.

Of objects below 64 and targets of 64, 96, 128 and 160, on seven sets of images, 96
gave the best masks on most; looking closer at larger objects gained nothing."""
SIDE = 448
"""Side of a window's square input: whole windows of MobileSAM's encoder."""
_FILLS = 0.625  # of the window, at most, is prompts and mask
_LATTICE = 4  # positions of a window within its own length
_STEPS = 2.0  # sizes of windows from one to twice that size
MAX_SCALE = 8.0
"""Input pixels per pixel of the image: more shows nothing new."""
MAGNIFICATIONS = (0.5, 1.0, 2.0)
"""Input pixels per pixel of the image, for windows around clicks.

On six sets of images in the midst of larger ones, magnifications up to 8 gained nothing
more, and those up to 1 less (docs/model-card.md)."""
_WORTH = 2**0.5  # of an enlargement, at least
_OF_BOX = 0.6  # how much of its box an object takes, about


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, and how it sits in the square input of a closer look.

    Parameters
    ----------
    region : Region
        The pixels of the image.
    frame : Frame
        Of an image of the region's size.
    """

    region: Region
    frame: Frame

    def scaled(self, image_size: tuple[int, int], to_size: tuple[int, int]) -> Window:
        """Return the window in an image of another resolution.

        Rounded to whole pixels of that image.

        Parameters
        ----------
        image_size : tuple of int
            Height and width of the image that the window is of.
        to_size : tuple of int
            Those of the same image at the other resolution.
        """
        rows, cols = (to / of for to, of in zip(to_size, image_size, strict=True))
        r = self.region
        region = Region(
            round(r.row0 * rows),
            round(r.col0 * cols),
            round(r.row1 * rows),
            round(r.col1 * cols),
        )
        return Window(
            region, Frame(region.shape, self.frame.input_size, self.frame.side)
        )


def plan_window(extent: Box, area: float, frame: Frame) -> Window | None:
    """Return the window for a closer look at an object, None if there is no need.

    Parameters
    ----------
    extent : tuple of float
        ``(row0, column0, row1, column1)`` around the object and all its prompts,
        in pixels from the outer corner of the image's first pixel.
    area : float
        Of the object, in pixels of the image.
    frame : Frame
        How the image sits in the input in which the object is small.

    Returns
    -------
    Window or None
        A window with all of the extent inside, and some room around it.
    """
    rows, cols = frame.scale
    size = math.sqrt(max(area, 0.0) * rows * cols)
    if not 0 < size < SMALL:
        return None
    row0, col0, row1, col1 = extent
    longest = max((row1 - row0) * rows, (col1 - col0) * cols)
    zoom = min(TARGET / size, MAX_SCALE / max(rows, cols))
    if longest > 0:
        zoom = min(zoom, _FILLS * SIDE / longest)
    zoom = 2.0 ** (math.floor(_STEPS * math.log2(zoom)) / _STEPS)
    if zoom <= 1:
        return None
    middle = ((row0 + row1) / 2, (col0 + col1) / 2)
    window = _window(middle, (rows * zoom, cols * zoom), frame.image_size)
    return window if contains(window.region, extent) else None


def prompt_windows(extent: Box, box: Box | None, frame: Frame) -> list[Window]:
    """Return windows in which to look for an object of which only prompts are known.

    Parameters
    ----------
    extent : tuple of float
        Around all prompts, as for :func:`plan_window`.
    box : tuple of float, optional
        The box among them, if there is one: it says how large the object is.
    frame : Frame
        How the image sits in the model's input.

    Returns
    -------
    list of Window
        With all prompts inside, from the largest to the smallest, those that enlarge
        the image enough to show more of it; for a box, none if the image fits into the
        input as it is.
    """
    before = max(frame.scale)
    if box is not None:
        if before >= 1:
            return []
        area = _OF_BOX * (box[2] - box[0]) * (box[3] - box[1])
        fitting = plan_window(extent, area, frame)
        return [] if fitting is None else [fitting]
    middle = ((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2)
    windows = [
        _window(middle, (scale, scale), frame.image_size)
        for scale in MAGNIFICATIONS
        if scale >= _WORTH * before
    ]
    return [w for w in windows if contains(w.region, extent)]


def contains(region: Region, extent: Box) -> bool:
    """Return whether a region has all of an extent, measured as in `plan_window`."""
    row0, col0, row1, col1 = extent
    return (
        region.row0 <= row0
        and region.col0 <= col0
        and row1 <= region.row1
        and col1 <= region.col1
    )


def _window(
    middle: tuple[float, float], scale: tuple[float, float], image_size: tuple[int, int]
) -> Window:
    """Return the window of a scale on the lattice that lies best around a place."""
    starts, lengths, inputs = [], [], []
    for at, whole, enlarged in zip(middle, image_size, scale, strict=True):
        length = min(whole, max(1, round(SIDE / enlarged)))
        step = max(1, length // _LATTICE)
        start = round((at - length / 2) / step) * step
        starts.append(max(0, min(start, whole - length)))
        lengths.append(length)
        inputs.append(max(1, min(SIDE, round(length * enlarged))))
    region = Region(
        starts[0], starts[1], starts[0] + lengths[0], starts[1] + lengths[1]
    )
    return Window(region, Frame(region.shape, (inputs[0], inputs[1]), SIDE))
