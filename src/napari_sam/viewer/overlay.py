"""A layer of ours that shows masks on one plane of a stack.

A mask is drawn as its contour over a light fill, so that what it is compared with
stays visible.  All are pixels of one Labels layer, whose colormap has three shades of
each color.  napari's own ``Labels.contour`` shows the contour *or* the fill.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap
from napari.utils.colormaps.standardize_color import transform_color
from psygnal import Signal

from napari_sam.core.morphology import eroded
from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.layers import ROLE, place_on_plane, selection_kept, transform_of
from napari_sam.viewer.settings import PreviewStyle

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_sam.types import BoolArray

DOUBTFUL = 0.6
"""Masks with a lower score look doubtful: what everything mode does not propose."""

PREVIEW_COLOR = "#ffdc00"
_BRIGHT = ("#39cccc", "#f012be", "#ff851b", "#7fdbff", "#01ff70")
_MUTED_COLOR = "#8395a7"
_COLORS = (PREVIEW_COLOR, *_BRIGHT, _MUTED_COLOR)
HIGHLIGHT, MUTED = 0, len(_COLORS) - 1
"""Colors of what is looked at, and of what is not."""

EDGE, FILL, FAINT = 1, 2, 3
"""Shades of a color: the contour, its inside, and the inside of a doubtful mask."""
_SHADES = 3
_ALPHA = (0.95, 0.25, 0.08)
_MUTED_ALPHA = (0.4, 0.06, 0.03)

_CONTOUR = 2.0
"""Width of a contour on screen, in pixels of the canvas."""
_DASH = 4
"""Length of a dash, in widths of the contour."""


def bright(number: int) -> int:
    """Return the color of one mask among many: neither highlighted nor muted."""
    return HIGHLIGHT + 1 + number % len(_BRIGHT)


def preview_color(number: int) -> int:
    """Return the color of one of the objects that are previewed together."""
    return HIGHLIGHT if number == 0 else bright(number - 1)


def pixel_value(color: int, shade: int) -> int:
    """Return the layer's value for a shade of a color."""
    return color * _SHADES + shade


@dataclass(frozen=True, slots=True, eq=False)
class ShownMask:
    """One mask of an overlay.

    Parameters
    ----------
    mask : MaskCrop
        In pixels of the plane.
    color : int
        `HIGHLIGHT`, `MUTED`, or one of `bright`.
    score : float
        Predicted IoU; below `DOUBTFUL` the contour is dashed and the fill faint.
    """

    mask: MaskCrop
    color: int = HIGHLIGHT
    score: float = 1.0


def _looks_the_same(a: ShownMask, b: ShownMask) -> bool:
    """Whether two masks are drawn alike, on the same plane."""
    return (
        a.color == b.color
        and (a.score < DOUBTFUL) == (b.score < DOUBTFUL)
        and a.mask.region == b.mask.region
        and (a.mask is b.mask or np.array_equal(a.mask.mask, b.mask.mask))
    )


def _colormap() -> CyclicLabelColormap:
    # A direct colormap would say the same, but napari compiles code for it: a
    # second or more, in the GUI thread, when the first one is made.
    colors = [transform_color("transparent")[0]]
    for number, name in enumerate(_COLORS):
        for alpha in _MUTED_ALPHA if number == MUTED else _ALPHA:
            shade = transform_color(name)[0].copy()
            shade[3] = alpha
            colors.append(shade)
    return CyclicLabelColormap(colors=colors, name="SAM masks")


def paint(
    view: npt.NDArray[np.uint8], shown: ShownMask, style: PreviewStyle, width: int
) -> Region:
    """Draw one mask into a plane of values.

    Parameters
    ----------
    view : uint8 array (H, W)
        Changed in place.
    shown : ShownMask
        May reach beyond the plane.
    style : PreviewStyle
        Contour with or without a fill.
    width : int
        Width of the contour in pixels of the plane; it lies inside the mask.

    Returns
    -------
    Region
        The rectangle that was changed.
    """
    whole = Region.whole((view.shape[0], view.shape[1]))
    region = shown.mask.region.intersection(whole)
    if region.is_empty or style is PreviewStyle.OFF:
        return Region(0, 0, 0, 0)
    inner = region.shifted(-shown.mask.region.row0, -shown.mask.region.col0)
    mask = shown.mask.mask[inner.slices]
    edge = mask & ~eroded(mask, width)
    is_doubtful = shown.score < DOUBTFUL
    if is_doubtful:
        edge &= _dashes(region, _DASH * width)
    part = view[region.slices]
    if style is PreviewStyle.FILL:
        part[mask] = pixel_value(shown.color, FAINT if is_doubtful else FILL)
    part[edge] = pixel_value(shown.color, EDGE)
    return region


def _dashes(region: Region, length: int) -> BoolArray:
    """Return stripes that cut a contour of any direction into dashes.

    Stripes run along no row, column or diagonal, where straight edges are.
    """
    rows = np.arange(region.row0, region.row1)[:, None]
    columns = np.arange(region.col0, region.col1)[None, :]
    stripes: BoolArray = (2 * rows + columns) // length % 2 == 0
    return stripes


class PlaneOverlay:
    """A Labels layer of ours that covers one plane of the image.

    It has length 1 along the axes that are not displayed and sits at the
    plane's position, so that it costs one plane of bytes for any stack and
    napari hides it on all other planes.

    Parameters
    ----------
    viewer : ViewerModel
        Where to show it.
    name, role : str
        Layer name and metadata role.

    Attributes
    ----------
    drawn : Signal()
        Other masks are shown.
    """

    drawn = Signal()

    def __init__(self, viewer: ViewerModel, name: str, role: str) -> None:
        self._viewer = viewer
        self._name = name
        self._role = role
        self.layer: Labels | None = None
        self.masks: tuple[ShownMask, ...] = ()
        self._style = PreviewStyle.FILL
        self._width = 1
        self._plane: Plane | None = None
        self._dirty = Region(0, 0, 0, 0)

    def show(self, image: Image, plane: Plane, masks: Sequence[ShownMask]) -> None:
        """Replace what is shown.

        A layer that the user has hidden comes back where there was nothing, and
        for what is looked at.
        """
        before = self.layer, self._plane, self.layer and self.layer.data
        layer = self._ensure(image, plane)
        is_news = not self.masks or self._is_looked_at(masks)
        is_same = (
            all(a is b for a, b in zip(before, (layer, plane, layer.data), strict=True))
            and len(self.masks) == len(masks)
            and all(map(_looks_the_same, self.masks, masks))
        )
        self.masks = tuple(masks)
        if not is_same:
            self._draw()
        if masks and is_news:
            layer.visible = True
        self.drawn.emit()

    def _is_looked_at(self, masks: Sequence[ShownMask]) -> bool:
        """Whether another mask than before is highlighted."""
        before = {id(m.mask) for m in self.masks if m.color == HIGHLIGHT}
        return any(m.color == HIGHLIGHT and id(m.mask) not in before for m in masks)

    def clear(self) -> None:
        """Show nothing; the layer stays."""
        if self.masks:
            self.masks = ()
            self._draw()
            self.drawn.emit()

    def reveal(self) -> None:
        """Show the layer if the user has hidden it: it is being used."""
        if self.layer is not None:
            self.layer.visible = True

    def restyle(self, style: PreviewStyle) -> None:
        """Draw contours with or without a fill, or nothing."""
        if style is not self._style:
            self._style = style
            self._draw()

    def zoomed(self, zoom: float) -> None:
        """Keep contours visible when the image is small on screen.

        Parameters
        ----------
        zoom : float
            How many pixels of the canvas one of the image is wide.
        """
        # In powers of two: a search can have found a thousand masks.
        width = 2 ** max(0, round(np.log2(_CONTOUR / zoom))) if zoom > 0 else 1
        if width != self._width:
            self._width = width
            self._draw()

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        layer = self.layer
        self.forget()
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def displaced(self) -> None:
        """Note that the image has moved: what is shown next is placed anew."""
        self.clear()
        self._plane = None

    def forget(self) -> None:
        """Note that somebody else removed the layer."""
        self.layer, self._plane = None, None
        self.masks, self._dirty = (), Region(0, 0, 0, 0)

    def _draw(self) -> None:
        if self.layer is None or self._plane is None:
            return
        view = self._plane_view(self.layer, self._plane)
        before, self._dirty = self._dirty, Region(0, 0, 0, 0)
        view[before.slices] = 0
        for shown in self.masks:
            region = paint(view, shown, self._style, self._width)
            self._dirty = self._dirty.union(region)
        if not (before.is_empty and self._dirty.is_empty):
            self.layer.refresh(extent=False, thumbnail=False, highlight=False)

    def _ensure(self, image: Image, plane: Plane) -> Labels:
        """Return the layer, at the plane; one layer serves for all images."""
        shape = tuple(
            n if i is None else 1
            for n, i in zip(layer_shape(image), plane.index, strict=True)
        )
        if self.layer is None:
            self.layer = self._make(image, shape)
            place_on_plane(self.layer, image, plane)
            with selection_kept(self._viewer):
                self._viewer.add_layer(self.layer)
                self._below_prompts(self.layer)
        elif self.layer.data.shape != shape:
            self.layer.data = np.zeros(shape, np.uint8)
            self._dirty = Region(0, 0, 0, 0)
            place_on_plane(self.layer, image, plane)
        elif plane != self._plane:
            self._plane_view(self.layer, plane)[...] = 0
            self._dirty = Region(0, 0, 0, 0)
            place_on_plane(self.layer, image, plane)
        self._plane = plane
        return self.layer

    def _make(self, image: Image, shape: tuple[int, ...]) -> Labels:
        layer = Labels(
            np.zeros(shape, np.uint8),
            name=self._name,
            opacity=1.0,
            colormap=_colormap(),
            metadata={ROLE: self._role},
            **transform_of(image),
        )
        layer.mode = "pan_zoom"
        return layer

    def _below_prompts(self, layer: Labels) -> None:
        layers = self._viewer.layers
        at = [
            i
            for i, other in enumerate(layers)
            if other.metadata.get(ROLE) in ("points", "shapes")
        ]
        if at:
            layers.move(layers.index(layer), min(at))

    @staticmethod
    def _plane_view(layer: Labels, plane: Plane) -> npt.NDArray[np.uint8]:
        index = tuple(slice(None) if i is None else 0 for i in plane.index)
        view = layer.data[index]
        rows_first: npt.NDArray[np.uint8] = view.T if plane.is_transposed else view
        return rows_first
