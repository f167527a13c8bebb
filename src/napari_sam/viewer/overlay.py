"""A layer of ours that shows masks on one plane of a stack.

A mask is drawn as its contour over a light fill, so that what it is compared with
stays visible.  All are pixels of one Labels layer, whose colormap has three shades of
each color.  napari's own ``Labels.contour`` shows the contour *or* the fill.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, ensure_colormap
from napari.utils.colormaps.standardize_color import transform_color
from psygnal import Signal

from napari_sam.core.morphology import eroded
from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.plugin_layers import (
    ROLE,
    place_on_plane,
    selection_kept,
    transform_of,
    uncover,
)
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
HIGHLIGHT, MUTED = 0, 1 + len(_BRIGHT)
"""Colors of what is looked at, and of what is not."""
SCORE_RANGE = (0.5, 1.0)
"""Scores that the scale of colors goes over; lower ones have its first color."""
_SCORE_STEPS = 20
_VIRIDIS = (0.2, 0.9)
"""Part of viridis that is used: what is darker is lost on a dark image, and its end is
nearly the color of what is looked at."""


def _score_colors() -> list[npt.NDArray[np.floating]]:
    viridis = ensure_colormap("viridis")
    return list(viridis.map(np.linspace(*_VIRIDIS, _SCORE_STEPS)))


_COLORS = [
    *(transform_color(c)[0] for c in (PREVIEW_COLOR, *_BRIGHT, _MUTED_COLOR)),
    *_score_colors(),
]

EDGE, FILL, FAINT = 1, 2, 3
"""Shades of a color: the contour, its inside, and the inside of a doubtful mask."""
_SHADES = 3
_ALPHA = (0.95, 0.25, 0.08)
_MUTED_ALPHA = (0.4, 0.06, 0.03)

_CONTOUR = 2.0
"""Width of a contour on screen, in pixels of the canvas."""
_DASH = 4
"""Length of a dash, in widths of the contour."""


_STAMPS = 64 << 20
"""Bytes of drawn masks that are kept."""
_NOWHERE = Region(0, 0, 0, 0)


def bright(number: int) -> int:
    """Return the color of one mask among many: neither highlighted nor muted."""
    return HIGHLIGHT + 1 + number % len(_BRIGHT)


def preview_color(number: int) -> int:
    """Return the color of one of the objects that are previewed together."""
    return HIGHLIGHT if number == 0 else bright(number - 1)


def score_color(score: float) -> int:
    """Return the color of a score on a perceptual scale, from low to high."""
    low, high = SCORE_RANGE
    step = math.floor((score - low) / (high - low) * _SCORE_STEPS)
    return MUTED + 1 + min(max(step, 0), _SCORE_STEPS - 1)


def color_text(color: int) -> str:
    """Return a color as ``#rrggbb``."""
    red, green, blue = (round(255 * x) for x in _COLORS[color][:3].tolist())
    return f"#{red:02x}{green:02x}{blue:02x}"


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
        `HIGHLIGHT`, `MUTED`, or one of `bright` or `score_color`.
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
    for number, color in enumerate(_COLORS):
        for alpha in _MUTED_ALPHA if number == MUTED else _ALPHA:
            shade = color.copy()
            shade[3] = alpha
            colors.append(shade)
    return CyclicLabelColormap(colors=colors, name="SAM masks")


def shades(
    mask: BoolArray, region: Region, *, style: PreviewStyle, width: int, doubtful: bool
) -> npt.NDArray[np.uint8]:
    """Return `EDGE`, `FILL` or `FAINT` for each pixel of a mask that is drawn, else 0.

    Parameters
    ----------
    mask : bool array (h, w)
        What is drawn.
    region : Region
        Where it lies in the plane.
    style : PreviewStyle
        Contour with or without a fill.
    width : int
        Width of the contour in pixels of the plane; it lies inside the mask.
    doubtful : bool
        Whether the contour is dashed and the fill faint.
    """
    edge = mask & ~eroded(mask, width)
    if doubtful:
        edge &= _dashes(region, _DASH * width)
    drawn = np.zeros(mask.shape, np.uint8)
    if style is PreviewStyle.FILL:
        drawn[mask] = FAINT if doubtful else FILL
    drawn[edge] = EDGE
    return drawn


@dataclass(slots=True, eq=False)
class _Stamp:
    """How a mask is drawn; ``mask`` is kept because it is known by its identity.

    ``around`` is 255 where nothing is drawn, else 0; ``values`` are those of ``color``.
    Bits are cleared and set, which is several times faster than choosing pixels.
    """

    mask: MaskCrop
    region: Region
    place: tuple[slice, slice]
    shades: npt.NDArray[np.uint8]
    around: npt.NDArray[np.uint8]
    values: npt.NDArray[np.uint8]
    color: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return 3 * self.shades.nbytes

    def colored(self, color: int) -> npt.NDArray[np.uint8]:
        """Return what is drawn in a color, 0 around it."""
        if color != self.color:
            base = np.uint8(color * _SHADES)
            self.values = (self.shades + base) & ~self.around
            self.color = color
        return self.values


class Stamps:
    """How masks are drawn, kept while a threshold hides and shows them.

    Parameters
    ----------
    style : PreviewStyle
        Contour with or without a fill.
    width : int
        Width of a contour in pixels of the plane.
    shape : tuple of int
        Height and width of the plane.
    """

    def __init__(self, style: PreviewStyle, width: int, shape: tuple[int, int]) -> None:
        self.way = style, width, shape
        self._kept: dict[tuple[int, bool], _Stamp] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return sum(stamp.nbytes for stamp in self._kept.values())

    def paint(
        self,
        view: npt.NDArray[np.uint8],
        masks: Sequence[ShownMask],
        *,
        is_free: bool = False,
    ) -> Region:
        """Draw masks into a plane of values, each over those before it.

        Parameters
        ----------
        view : uint8 array (H, W)
            Changed in place.
        masks : sequence of ShownMask
            May reach beyond the plane.
        is_free : bool
            Nothing is drawn where they are, and none lies over another.

        Returns
        -------
        Region
            The rectangle that was changed.
        """
        low, high = [], []
        for shown, stamp in zip(masks, self.prepare(masks), strict=True):
            if stamp.region.is_empty:
                continue
            part = view[stamp.place]
            if not is_free:
                np.bitwise_and(part, stamp.around, out=part)
            np.bitwise_or(part, stamp.colored(shown.color), out=part)
            low.append((stamp.region.row0, stamp.region.col0))
            high.append((stamp.region.row1, stamp.region.col1))
        if not low:
            return _NOWHERE
        return Region(*np.min(low, axis=0).tolist(), *np.max(high, axis=0).tolist())

    def erase(self, view: npt.NDArray[np.uint8], masks: Sequence[ShownMask]) -> None:
        """Take away what `paint` has drawn of masks that share no pixel with others."""
        for stamp in self.prepare(masks):
            part = view[stamp.place]
            np.bitwise_and(part, stamp.around, out=part)

    def prepare(self, masks: Sequence[ShownMask]) -> list[_Stamp]:
        """Return how these masks are drawn, in their order, and keep it."""
        stamps, is_new = [], False
        used: dict[tuple[int, bool], _Stamp] = {}
        for shown in masks:
            key = id(shown.mask), shown.score < DOUBTFUL
            stamp = self._kept.get(key) or used.get(key)
            if stamp is None:
                stamp, is_new = _stamp(shown, *self.way), True
            used[key] = stamp
            stamps.append(stamp)
        if is_new:
            self._keep(used)
        return stamps

    def _keep(self, used: dict[tuple[int, bool], _Stamp]) -> None:
        self._kept |= used
        if self.nbytes > _STAMPS:
            self._kept = used
        if self.nbytes > _STAMPS:
            self._kept = {}


def _stamp(
    shown: ShownMask, style: PreviewStyle, width: int, shape: tuple[int, int]
) -> _Stamp:
    region = shown.mask.region.intersection(Region.whole(shape))
    if region.is_empty or style is PreviewStyle.OFF:
        drawn = np.zeros((0, 0), np.uint8)
        return _Stamp(shown.mask, _NOWHERE, _NOWHERE.slices, drawn, drawn, drawn)
    inner = region.shifted(-shown.mask.region.row0, -shown.mask.region.col0)
    drawn = shades(
        shown.mask.mask[inner.slices],
        region,
        style=style,
        width=width,
        doubtful=shown.score < DOUBTFUL,
    )
    around = np.where(drawn == 0, np.uint8(255), np.uint8(0))
    return _Stamp(shown.mask, region, region.slices, drawn, around, drawn)


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
        # What is drawn, by identity, if no two of them share a pixel.
        self._apart: dict[int, ShownMask] | None = None
        self._dirty = _NOWHERE
        self._stamps = Stamps(self._style, self._width, (0, 0))

    def show(
        self,
        image: Image,
        plane: Plane,
        masks: Sequence[ShownMask],
        *,
        apart: bool = False,
    ) -> None:
        """Replace what is shown.

        A layer that the user has hidden comes back where there was nothing, and
        for what is looked at.

        Parameters
        ----------
        image : Image
            Whose plane.
        plane : Plane
            Where they are.
        masks : sequence of ShownMask
            Each lies over those before it.
        apart : bool
            No two of them share a pixel: those that were shown before, as the very same
            objects, need not be drawn again.
        """
        if self.layer is None and image not in self._viewer.layers:
            # The layers are going, one after another.
            return
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
            self._draw(apart=apart)
        if masks and is_news:
            uncover(layer)
        self.drawn.emit()

    def _is_looked_at(self, masks: Sequence[ShownMask]) -> bool:
        """Whether another mask than before is highlighted."""
        before = {id(m.mask) for m in self.masks if m.color == HIGHLIGHT}
        return any(m.color == HIGHLIGHT and id(m.mask) not in before for m in masks)

    def place(self, image: Image, plane: Plane) -> None:
        """Make the layer, or move it there, before there is something to show."""
        self._ensure(image, plane)

    def prepared(self, masks: Sequence[ShownMask], shape: tuple[int, int]) -> Stamps:
        """Return how masks will be drawn on a plane of that shape; for the worker."""
        stamps = Stamps(self._style, self._width, shape)
        stamps.prepare(masks)
        return stamps

    def take(self, stamps: Stamps) -> None:
        """Keep what `prepared` returned, unless masks are drawn in another way now."""
        if stamps.way[:2] == (self._style, self._width):
            self._stamps = stamps

    def clear(self) -> None:
        """Show nothing; the layer stays."""
        if self.masks:
            self.masks = ()
            self._stamps = Stamps(self._style, self._width, (0, 0))
            self._draw()
            self.drawn.emit()

    def reveal(self) -> None:
        """Show the layer if the user has hidden it: it is being used."""
        if self.layer is not None:
            uncover(self.layer)

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
        self._stamps = Stamps(self._style, self._width, (0, 0))
        self.masks, self._dirty, self._apart = (), _NOWHERE, None

    def _draw(self, *, apart: bool = False) -> None:
        if self.layer is None or self._plane is None:
            return
        view = self._plane_view(self.layer, self._plane)
        before = self._dirty
        way = self._style, self._width, (view.shape[0], view.shape[1])
        if way != self._stamps.way:
            self._stamps = Stamps(*way)
            self._apart = None
        shown = {id(mask): mask for mask in self.masks}
        if apart and self._apart is not None:
            gone = [mask for key, mask in self._apart.items() if key not in shown]
            new = [mask for key, mask in shown.items() if key not in self._apart]
            self._stamps.erase(view, gone)
            self._dirty = before.union(self._stamps.paint(view, new, is_free=True))
        else:
            view[before.slices] = 0
            self._dirty = self._stamps.paint(view, self.masks)
        self._apart = shown if apart else None
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
                # Moving it afterwards would take napari nearly as long again.
                self._viewer.layers.insert(self._place_below_prompts(), self.layer)
        elif self.layer.data.shape != shape:
            self.layer.data = np.zeros(shape, np.uint8)
            self._dirty, self._apart = _NOWHERE, None
            place_on_plane(self.layer, image, plane)
        elif plane != self._plane:
            self._plane_view(self.layer, plane)[...] = 0
            self._dirty, self._apart = _NOWHERE, None
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

    def _place_below_prompts(self) -> int:
        """Return the number that the layer gets in the list."""
        layers = self._viewer.layers
        at = [
            i
            for i, other in enumerate(layers)
            if other.metadata.get(ROLE) in ("points", "shapes")
        ]
        return min(at, default=len(layers))

    @staticmethod
    def _plane_view(layer: Labels, plane: Plane) -> npt.NDArray[np.uint8]:
        index = tuple(slice(None) if i is None else 0 for i in plane.index)
        view = layer.data[index]
        rows_first: npt.NDArray[np.uint8] = view.T if plane.is_transposed else view
        return rows_first
