"""The prompt layers: made, read, written, and drawn at one size at every zoom.

Layers are known by identity, and their coordinates *are* image indices.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from napari.layers import Points, Shapes

from napari_sam.core.annotation.prompts import (
    PointItem,
    PromptItems,
    ShapeItem,
)
from napari_sam.viewer.coords import canvas_zoom
from napari_sam.viewer.plugin_layers import (
    IDLE_MODE,
    ROLE,
    _row_colors,
    copy_transform,
    selection_kept,
    transform_of,
    uncover,
)
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Layer


POINT = 13.0
"""Diameter of a point, in pixels of the canvas."""
LEAST = 6.0
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


POSITIVE, NEGATIVE = "positive", "negative"


COLORS = {POSITIVE: "#2ecc40", NEGATIVE: "#ff4136"}


MODES = {
    Tool.POINT: ("points", "add"),
    Tool.BOX: ("shapes", "add_rectangle"),
    Tool.OUTLINE: ("shapes", "add_polygon_lasso"),
    Tool.ELLIPSE: ("shapes", "add_ellipse"),
    Tool.SCRIBBLE: ("shapes", "add_path"),
    Tool.EDIT: ("points", "select"),
}
"""Layer and napari's mode for each tool."""


def axes_text(axes: tuple[int, int]) -> str:
    """Return displayed axes as they are written into a layer's features."""
    return f"{axes[0]},{axes[1]}"


def _axes(text: Any, ndim: int) -> tuple[int, int]:
    # Rows added by hand or by a script may lack the column's value.
    try:
        first, second = (int(a) for a in str(text).split(","))
    except ValueError:
        return ndim - 2, ndim - 1
    if first == second or not (0 <= first < ndim and 0 <= second < ndim):
        return ndim - 2, ndim - 1
    return first, second


def _features(rows: Sequence[tuple[bool, tuple[int, int]]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prompt": pd.Series(
                [POSITIVE if p else NEGATIVE for p, _ in rows], dtype=str
            ),
            "axes": pd.Series([axes_text(a) for _, a in rows], dtype=str),
        }
    )


def make_points(image: Image) -> Points:
    """Return an empty prompt Points layer for an image."""
    axes = (image.ndim - 2, image.ndim - 1)
    layer = Points(
        np.empty((0, image.ndim)),
        ndim=image.ndim,
        name="SAM points",
        features=_features([]),
        feature_defaults={"prompt": POSITIVE, "axes": axes_text(axes)},
        face_color="prompt",
        face_color_cycle=COLORS,
        border_color="white",
        border_width=0.12,
        metadata={ROLE: "points"},
        **transform_of(image),
    )
    layer.mode = "add"
    return layer


def make_shapes(image: Image) -> Shapes:
    """Return an empty prompt Shapes layer for an image."""
    axes = (image.ndim - 2, image.ndim - 1)
    return Shapes(
        ndim=image.ndim,
        name="SAM shapes",
        features=_features([]),
        feature_defaults={"prompt": POSITIVE, "axes": axes_text(axes)},
        edge_color=COLORS[POSITIVE],
        face_color="transparent",
        metadata={ROLE: "shapes"},
        **transform_of(image),
    )


def _column(layer: Points | Shapes, name: str) -> Iterable[Any]:
    """Return a feature of each row; None where it is missing."""
    # A script may have dropped the column, and napari's table may be behind.
    return itertools.chain(layer.features.get(name, ()), itertools.repeat(None))


def read_points(layer: Points) -> tuple[PointItem, ...]:
    """Return the rows of the prompt Points layer."""
    return tuple(
        PointItem(
            tuple(float(x) for x in position),
            str(prompt) != NEGATIVE,
            _axes(axes, layer.ndim),
        )
        for position, prompt, axes in zip(
            layer.data, _column(layer, "prompt"), _column(layer, "axes"), strict=False
        )
    )


def read_shapes(layer: Shapes) -> tuple[ShapeItem, ...]:
    """Return the rows of the prompt Shapes layer."""
    return tuple(
        ShapeItem(
            np.asarray(vertices, dtype=float),
            str(kind),
            str(prompt) != NEGATIVE,
            _axes(axes, layer.ndim),
        )
        for vertices, kind, prompt, axes in zip(
            layer.data,
            layer.shape_type,
            _column(layer, "prompt"),
            _column(layer, "axes"),
            strict=False,
        )
    )


def write_points(layer: Points, points: Sequence[PointItem]) -> None:
    """Replace the contents of the prompt Points layer."""
    layer.selected_data = set()
    layer.data = np.array([p.position for p in points], float).reshape(-1, layer.ndim)
    if points:
        # An empty table would turn the layer's defaults into NaN.
        layer.features = _features([(p.positive, p.axes) for p in points])
        layer.refresh_colors()


def write_shapes(layer: Shapes, shapes: Sequence[ShapeItem]) -> None:
    """Replace the contents of the prompt Shapes layer."""
    layer.selected_data = set()
    defaults = layer.feature_defaults
    # Colors begin anew only with this; see `is_in_step`.
    layer.data = []
    layer.features = layer.features.iloc[:0]
    layer.feature_defaults = defaults
    if shapes:
        layer.add([s.vertices for s in shapes], shape_type=[s.kind for s in shapes])
        layer.features = _features([(s.positive, s.axes) for s in shapes])
    layer.selected_data = set()
    color_shapes(layer)


def color_shapes(layer: Shapes) -> None:
    """Color each shape by its polarity."""
    if layer.nshapes:
        wanted = [
            COLORS[POSITIVE if s.positive else NEGATIVE] for s in read_shapes(layer)
        ]
        layer.edge_color = wanted


def is_in_step(layer: Points | Shapes) -> bool:
    """Whether napari has one row of features and one color for each prompt.

    Not while it removes some.  And not after it has thrown away an outline or a line
    that was too short: features and colors keep that shape's rows, and the next shapes
    would get them.
    """
    return len(layer.features) == len(_row_colors(layer)) == len(layer.data)


def sync_recolored(layer: Points | Shapes) -> bool:
    """Take over polarities from colors the user picked for prompts.

    Returns
    -------
    bool
        Whether any polarity changed.
    """
    if not len(layer.data) or "prompt" not in layer.features or not is_in_step(layer):
        return False
    is_points = isinstance(layer, Points)
    colors = _row_colors(layer)
    shown = np.where(colors[:, 0] > colors[:, 1], NEGATIVE, POSITIVE)
    current = layer.features["prompt"].to_numpy(dtype=str)
    if np.array_equal(shown, current):
        return False
    features = layer.features.copy()
    features["prompt"] = pd.Series(shown.astype(str), dtype=str, index=features.index)
    layer.features = features
    if is_points:
        # Picking a color makes napari give it to each new point as well.
        layer.face_color = "prompt"
    else:
        color_shapes(layer)
    return True


class PromptLayers:
    """The SAM points and SAM shapes layers of one viewer.

    Both are made on demand and made again if the user deletes them.

    Attributes
    ----------
    points : Points or None
        The SAM points layer.
    shapes : Shapes or None
        The SAM shapes layer.
    tool : Tool
        The tool that was lit last.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._size = MarkerSize(viewer)
        self._object_size: float | None = None
        self.tool = Tool.POINT
        self._is_resting = False
        self.points: Points | None = None
        self.shapes: Shapes | None = None

    def ensure(self, image: Image) -> bool:
        """Make missing layers, and replace those of another dimensionality.

        Returns
        -------
        bool
            Whether a layer was made, so that the caller connects to it.
        """
        made = False
        if self.shapes is None or self.shapes.ndim != image.ndim:
            self._drop_shapes()
            self.shapes = make_shapes(image)
            self._add(self.shapes)
            made = True
        if self.points is None or self.points.ndim != image.ndim:
            self._drop_points()
            self.points = make_points(image)
            self._add(self.points)
            made = True
        self._apply_rest()
        self.zoomed()
        return made

    def follow(self, image: Image) -> None:
        """Take over the image's transform after it changed."""
        for layer in (self.points, self.shapes):
            if layer is not None:
                copy_transform(image, layer)
        self.zoomed()

    def zoomed(self) -> None:
        """Keep the size of prompts on screen."""
        self._size.fit(self.points, self.shapes, self._object_size)

    def limit(self, area: int | None) -> None:
        """Keep points small beside an object of this many pixels."""
        self._object_size = None if area is None else 2 * math.sqrt(area / math.pi)
        self.zoomed()

    def reveal(self) -> None:
        """Show the layers that hold prompts, if the user has hidden them."""
        for layer in (self.points, self.shapes):
            if layer is not None and len(layer.data):
                uncover(layer)

    @property
    def hidden(self) -> Points | Shapes | None:
        """The tool's layer if it is selected and hidden."""
        layer = self.of_tool
        active = self._viewer.layers.selection.active
        is_hidden = layer is not None and active == layer and not layer.visible
        return layer if is_hidden else None

    def wake(self) -> None:
        """Show the selected prompt layer if it is hidden, ready for a press."""
        if self.hidden is not None:
            self.activate(self.tool)

    def rest(self, resting: bool) -> None:
        """Take no prompts from the canvas for a while, or take them again.

        A layer that is not editable leaves napari's modes that add something, and
        refuses them.
        """
        if resting != self._is_resting:
            self._is_resting = resting
            self._apply_rest()
            if not resting:
                self.rearm()

    def rearm(self) -> None:
        """Put the tool's layer into its mode again, which napari has ended."""
        layer = self.of_tool
        if layer is not None and str(layer.mode) == IDLE_MODE:
            layer.mode = MODES[self.tool][1]

    def _apply_rest(self) -> None:
        for layer in (self.points, self.shapes):
            if layer is not None:
                layer.editable = not self._is_resting

    @property
    def is_worked_on(self) -> bool:
        """Whether a press now makes napari work on rows of a prompt layer."""
        active = self._viewer.layers.selection.active
        if active is None or active not in (self.points, self.shapes):
            return False
        # A point is added at the end of a press, and needs none of the others.
        return str(active.mode) not in (IDLE_MODE, MODES[Tool.POINT][1])

    @property
    def takes_points(self) -> bool:
        """Whether a click in the canvas adds a point."""
        active, points = self._viewer.layers.selection.active, self.points
        is_ours = points is not None and active == points
        return is_ours and str(active.mode) == MODES[Tool.POINT][1]

    @property
    def of_tool(self) -> Points | Shapes | None:
        """The layer that the tool draws in."""
        return self.points if MODES[self.tool][0] == "points" else self.shapes

    def read(self, missing: PromptItems | None = None) -> PromptItems:
        """Return everything in the two layers.

        Parameters
        ----------
        missing : PromptItems, optional
            Of which a layer that is not there is taken to have its part.
        """
        missing = missing or PromptItems()
        return PromptItems(
            missing.points if self.points is None else read_points(self.points),
            missing.shapes if self.shapes is None else read_shapes(self.shapes),
        )

    def write(self, items: PromptItems) -> None:
        """Replace the contents of the two layers."""
        if self.points is not None:
            write_points(self.points, items.points)
        if self.shapes is not None:
            write_shapes(self.shapes, items.shapes)
        # napari makes a layer editable whose data is assigned.
        self._apply_rest()

    def realign(self) -> None:
        """Drop rows that belong to no shape; only while none is being drawn."""
        if self.shapes is not None and not is_in_step(self.shapes):
            write_shapes(self.shapes, read_shapes(self.shapes))
            self._apply_rest()

    def set_defaults(self, positive: bool, axes: tuple[int, int]) -> None:
        """Polarity and axes of the next prompt.

        napari overwrites a layer's defaults whenever something is selected, so
        this is called right before each press.
        """
        defaults = _defaults(positive, axes)
        for layer in (self.points, self.shapes):
            if layer is not None:
                # Columns that the user has added stay.
                layer.feature_defaults = layer.feature_defaults.assign(**defaults)

    def has_defaults(self, positive: bool, axes: tuple[int, int]) -> bool:
        """Whether the next prompt is of this polarity and on these axes already."""
        defaults = _defaults(positive, axes)
        return all(
            layer.feature_defaults.get(name, ("",))[0] == value
            for layer in (self.points, self.shapes)
            if layer is not None
            for name, value in defaults.items()
        )

    def activate(self, tool: Tool) -> None:
        """Make the next press in the canvas what a tool makes."""
        self.tool = tool
        layer = self.of_tool
        if layer is not None:
            self._viewer.layers.selection.active = layer
            uncover(layer)
            # Without a plane on screen napari keeps it in the mode that only pans.
            layer.mode = MODES[tool][1]

    def forget(self, layer: Layer) -> bool:
        """Note that a layer was removed; True if it was one of ours."""
        if self.points is not None and layer == self.points:
            self.points = None
            return True
        if self.shapes is not None and layer == self.shapes:
            self.shapes = None
            return True
        return False

    def remove(self) -> None:
        """Take both layers out of the viewer."""
        self._drop_points()
        self._drop_shapes()

    def _add(self, layer: Layer) -> None:
        with selection_kept(self._viewer):
            self._viewer.add_layer(layer)

    def _drop_points(self) -> None:
        # Forgotten first: `forget` tells what the user removed.
        points, self.points = self.points, None
        self._drop(points)

    def _drop_shapes(self) -> None:
        shapes, self.shapes = self.shapes, None
        self._drop(shapes)

    def _drop(self, layer: Layer | None) -> None:
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def _defaults(positive: bool, axes: tuple[int, int]) -> dict[str, str]:
    return {"prompt": POSITIVE if positive else NEGATIVE, "axes": axes_text(axes)}
