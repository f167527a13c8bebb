"""How large prompts are drawn: the same on screen at every zoom.

napari gives points a size and shapes an edge width in pixels of the image.  Zoomed in
on a small object, such a marker hides what is to be judged; so it is smaller than the
object as well.  napari can also bound the size of points on screen, but then still
takes a press beside the smaller point for one on it, so that sizes are changed instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_sam.viewer.coords import canvas_zoom

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer, Points, Shapes

POINT = 13.0
"""Diameter of a point, in pixels of the canvas."""
LEAST = 3.0
"""No point is smaller than this, in pixels of the canvas."""
SHARE = 0.4
"""Largest diameter of a point, as a share of the smallest object's."""
EDGE = 2.5
"""Width of a shape's edge, in pixels of the canvas."""
_STEP = 1.15
"""Sizes follow in steps: outlines with many corners are slow to draw anew."""


class MarkerSize:
    """Sizes of the prompts of one viewer.

    A size that the user has chosen stays.

    Parameters
    ----------
    viewer : ViewerModel
        Tells the zoom.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._given: WeakKeyDictionary[Layer, float] = WeakKeyDictionary()

    def fit(
        self,
        points: Points | None,
        shapes: Shapes | None,
        object_size: float | None = None,
    ) -> None:
        """Give prompts, those that are there and those that come, their size.

        Parameters
        ----------
        points, shapes : layer or None
            The prompt layers.
        object_size : float, optional
            Diameter of the smallest object, in pixels of the image.
        """
        if points is not None:
            on_screen = POINT
            if object_size is not None:
                most = SHARE * object_size * canvas_zoom(self._viewer, points)
                on_screen = min(POINT, max(LEAST, most))
            size = self._changed(points, points.current_size, on_screen)
            if size is not None:
                points.size = size
                points.current_size = size
        if shapes is not None:
            width = self._changed(shapes, shapes.current_edge_width, EDGE)
            if width is not None:
                shapes.edge_width = width
                shapes.current_edge_width = width

    def _changed(self, layer: Layer, now: float, on_screen: float) -> float | None:
        """Return the size to set, in pixels of the image, or None to leave it."""
        wanted = on_screen / canvas_zoom(self._viewer, layer)
        given = self._given.get(layer)
        if given is not None:
            is_users = now != given
            if is_users or 1 / _STEP < wanted / given < _STEP:
                return None
        self._given[layer] = wanted
        return wanted
