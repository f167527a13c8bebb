"""How large an object is looked at, in all slices alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.core.views import View, object_view, view_at
from napari_sam.types import MaskCrop

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.core.model import EncodedPlane
    from napari_sam.types import Box, Region

_DRIFT = 0.25
"""Room in a view for what an object moves and grows, as a share of its length."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A slice, or a view of it, and the view's first pixel.

    Parameters
    ----------
    plane : EncodedPlane
        The slice or the view.
    row, col : int
        First pixel of ``plane`` in the slice.
    """

    plane: EncodedPlane
    row: int = 0
    col: int = 0

    def moved(self, mask: MaskCrop) -> MaskCrop:
        """Return a mask of the slice in pixels of what is seen."""
        return MaskCrop(mask.mask, mask.region.shifted(-self.row, -self.col))

    def moved_back(self, mask: MaskCrop) -> MaskCrop:
        """Return a mask of what is seen in pixels of the slice."""
        return MaskCrop(mask.mask, mask.region.shifted(self.row, self.col))


@dataclass(frozen=True, slots=True)
class Place:
    """The view that suits an object: the same in all slices, unless it leaves it.

    So a view is encoded once for all that is asked of an object in a slice, and what is
    learnt in one slice is seen at the same scale in the next.

    Parameters
    ----------
    view : View or None
        None where the whole slice shows the object large enough.
    shape : tuple of int
        Height and width of the slices.
    """

    view: View | None
    shape: tuple[int, int]

    @staticmethod
    def of(masks: Sequence[MaskCrop], shape: tuple[int, int], seen_at: float) -> Place:
        """Choose the view for an object.

        Parameters
        ----------
        masks : sequence of MaskCrop
            The object in prompted slices, not empty.
        shape : tuple of int
            Height and width of the slices.
        seen_at : float
            Input pixels per pixel at which whole slices are seen.
        """
        region = masks[0].tight().region
        for mask in masks[1:]:
            region = region.union(mask.tight().region)
        area = sum(mask.area for mask in masks) / len(masks)
        extent = _roomy(region, _DRIFT, shape)
        return Place(object_view(extent, area, shape, seen_at), shape)

    def holding(self, region: Region) -> View | None:
        """Return a view of the same scale that holds a shape, None for the slice."""
        if self.view is None:
            return None
        extent = _roomy(region, _DRIFT / 2, self.shape)
        if self.view.holds(extent):
            return self.view
        middle = ((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2)
        view = view_at(middle, max(self.view.frame.scale), self.shape)
        return view if view.holds(extent) else None

    def iter_look(
        self, plane: EncodedPlane, mask: MaskCrop
    ) -> Generator[None, None, Seen]:
        """Return a slice, or the view of it that holds a mask, in short steps."""
        view = self.holding(mask.tight().region)
        seen = yield from plane.iter_view(view)
        if seen is not None and view is not None:
            return Seen(seen, view.region.row0, view.region.col0)
        return Seen(seen or (yield from plane.iter_view(None)) or plane)


def _roomy(region: Region, share: float, shape: tuple[int, int]) -> Box:
    """Return the extent of a region with room around it, within the plane."""
    rows, cols = (n * share for n in region.shape)
    return (
        max(0.0, region.row0 - rows),
        max(0.0, region.col0 - cols),
        min(float(shape[0]), region.row1 + rows),
        min(float(shape[1]), region.col1 + cols),
    )
