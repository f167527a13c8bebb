"""What everything mode encodes, and where it asks there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.everything.selection import as_box
from napari_sam.core.views import plan_tiles
from napari_sam.errors import PromptError
from napari_sam.types import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam.types import FloatArray, Frame

_EDGE_TOLERANCE = 20
"""Pixels: a mask this near to the edge of a crop is taken to be cut by it."""
_TILE_EDGE = 4
"""The same for a tile, in pixels of its input: a cell of the logits."""

_REGION_MARGIN = 0.25
_MIN_REGION_MARGIN = 32


def point_grid(region: Region, n: int) -> FloatArray:
    """Return an even grid of points in a region, row by row.

    Parameters
    ----------
    region : Region
        In pixels of the plane.
    n : int
        Points along each side.

    Returns
    -------
    float32 array (n * n, 2)
        Row and column; each point is the center of one cell of the grid.
    """
    height, width = region.shape
    steps = (np.arange(n) + 0.5) / n
    rows = region.row0 + steps * height - 0.5
    cols = region.col0 + steps * width - 0.5
    grid = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1)
    return grid.reshape(-1, 2).astype(np.float32)


def crop_layers(
    shape: tuple[int, int], n_layers: int, overlap_ratio: float
) -> list[tuple[int, Region]]:
    """Return the whole plane and the overlapping crops of each layer.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the plane.
    n_layers : int
        Layer ``i`` has ``2**i`` crops along each side.
    overlap_ratio : float
        Overlap in the first layer, as a part of the shorter side; it halves
        from layer to layer.

    Returns
    -------
    list of (int, Region)
        Layer and region; layer 0 is the whole plane.
    """
    crops = [(0, Region.whole(shape))]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(shape) * (2 / n))
        height, width = (math.ceil((overlap * (n - 1) + s) / n) for s in shape)
        # Columns first, as in the reference: ties between crops go by order.
        for col in range(n):
            for row in range(n):
                row0, col0 = row * (height - overlap), col * (width - overlap)
                crop = Region(row0, col0, row0 + height, col0 + width)
                crop = crop.intersection(Region.whole(shape))
                if not crop.is_empty:
                    crops.append((layer, crop))
    return crops


@dataclass(frozen=True, slots=True)
class Search:
    """One encoding and where in it to ask.

    Parameters
    ----------
    window : Region
        The part of the plane that is encoded.
    target : Region
        Where prompts go.
    side : int
        Points along each side of a grid there.
    limits : Region, optional
        The drawn rectangle, which masks must not leave.
    is_crop : bool
        Whether masks at the window's edges are cut off by it.
    frame : Frame, optional
        How the window sits in the model's input, where it does not fill it.
    """

    window: Region
    target: Region
    side: int
    limits: Region | None
    is_crop: bool
    frame: Frame | None = None

    @property
    def edge(self) -> int:
        """Pixels from the window's edge at which a mask is taken to be cut."""
        if self.frame is None:
            return _EDGE_TOLERANCE
        return math.ceil(_TILE_EDGE / min(self.frame.scale))

    def tiles(self, scale: float) -> list[Search]:
        """Return the search of the same target in tiles of a scale."""
        return [
            replace(
                self,
                window=tile.view.region,
                target=target,
                is_crop=True,
                frame=tile.view.frame,
            )
            for tile in plan_tiles(self.window, scale)
            if not (target := tile.core.intersection(self.target)).is_empty
        ]

    def grid(self) -> FloatArray:
        """Return an even grid over the target, (N, 2), in the plane."""
        return point_grid(self.target, self.side)


def plan_searches(
    shape: tuple[int, int],
    region: Region | None,
    *,
    sides: Sequence[int],
    overlap_ratio: float,
    can_crop: bool,
) -> list[Search]:
    """Return what to encode and where to ask, for a plane or a drawn rectangle.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the plane.
    region : Region, optional
        A drawn rectangle.
    sides : sequence of int
        Points along each side of the grid, for each crop layer.
    overlap_ratio : float
        See `crop_layers`.
    can_crop : bool
        Whether a window around the rectangle may be encoded by itself.

    Raises
    ------
    PromptError
        If the region lies outside the plane.
    """
    whole = Region.whole(shape)
    target = whole if region is None else region.intersection(whole)
    if target.is_empty:
        raise PromptError(
            f"The rectangle {as_box(region or whole)} has no pixel inside the image "
            f"of {shape[0]} x {shape[1]}; draw it on the image."
        )
    limits = None if region is None else target
    searches = []
    for layer, crop in crop_layers(target.shape, len(sides) - 1, overlap_ratio):
        here = crop.shifted(target.row0, target.col0)
        window = here
        if layer == 0:
            window = _window(target, shape) if can_crop else whole
        searches.append(
            Search(
                window=window,
                target=here,
                side=sides[layer],
                limits=limits,
                is_crop=layer > 0,
            )
        )
    return searches


def _window(target: Region, shape: tuple[int, int]) -> Region:
    """Return what to encode for a drawn rectangle: it with a margin, or all.

    Encoding the rectangle by itself pays only if it gains resolution, so a
    window of more than half the plane's longer side becomes the whole plane,
    whose embedding there usually is already.
    """
    margin = max(_MIN_REGION_MARGIN, math.ceil(_REGION_MARGIN * max(target.shape)))
    window = target.padded(margin, shape)
    return window if 2 * max(window.shape) <= max(shape) else Region.whole(shape)


def is_whole(
    box: npt.NDArray[np.int32], search: Search, shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return which boxes are cut neither by their crop nor by the rectangle."""
    keep = np.ones(len(box), bool)
    if search.is_crop:
        # First and last pixel against the crop's edges, as the reference does.
        ends = box - np.array([0, 0, 1, 1])
        near_crop = np.abs(ends - as_box(search.window)) <= search.edge
        near_image = np.abs(ends - (0, 0, *shape)) <= search.edge
        keep &= ~(near_crop & ~near_image).any(axis=1)
    if search.limits is not None:
        row0, col0, row1, col1 = as_box(search.limits)
        keep &= (box[:, 0] >= row0) & (box[:, 1] >= col0)
        keep &= (box[:, 2] <= row1) & (box[:, 3] <= col1)
    return keep
