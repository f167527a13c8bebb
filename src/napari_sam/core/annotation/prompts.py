"""What the prompt layers say, as prompt sets: pure functions of their contents.

The Points layer holds clicks; the Shapes layer holds boxes (rectangles), rough
outlines (polygons, ellipses) and scribbles (lines, open paths).  Both have one
row of features per item: whether it is positive, and which axes were on screen
when it was placed, so that a click made in an XY plane does not count for the
XZ plane that happens to pass through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.types import (
    Box,
    MaskCrop,
    Plane,
    PointPrompt,
    PromptSet,
    Region,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SCRIBBLE_POINTS = 8
"""Most points a scribble is sampled to; more add time, not accuracy."""


@dataclass(frozen=True, slots=True, eq=False)
class PointItem:
    """One row of the Points layer."""

    position: tuple[float, ...]
    positive: bool
    axes: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class ShapeItem:
    """One shape: vertices (N, ndim) in data coordinates and its napari type."""

    vertices: npt.NDArray[np.float64]
    kind: str
    positive: bool
    axes: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class PromptItems:
    """Everything in the two prompt layers."""

    points: tuple[PointItem, ...] = ()
    shapes: tuple[ShapeItem, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether both layers are empty."""
        return not self.points and not self.shapes

    @property
    def ndim(self) -> int | None:
        """Number of axes of its positions, None without any."""
        sizes = [len(p.position) for p in self.points]
        sizes += [s.vertices.shape[-1] for s in self.shapes]
        return max(sizes, default=None)

    def planes(self) -> tuple[Plane, ...]:
        """Every plane that holds a prompt, in order of first appearance."""
        found: dict[Plane, None] = {}
        for point in self.points:
            found[_plane_of(point.position, point.axes)] = None
        for shape in self.shapes:
            found[_plane_of(shape.vertices.mean(axis=0), shape.axes)] = None
        return tuple(found)


def _plane_of(position: Sequence[float], axes: tuple[int, int]) -> Plane:
    index = tuple(
        None if a in axes else int(np.round(x)) for a, x in enumerate(position)
    )
    return Plane(axes, index)


def _on_plane(position: npt.ArrayLike, axes: tuple[int, int], plane: Plane) -> bool:
    return set(axes) == set(plane.displayed) and plane.contains(position)


def plane_prompts(
    items: PromptItems, plane: Plane, shape: tuple[int, int]
) -> tuple[PromptSet, ...]:
    """Prompt sets of one plane: one per object.

    Parameters
    ----------
    items : PromptItems
        Contents of the prompt layers.
    plane : Plane
        The plane on screen.
    shape : tuple of int
        Height and width of that plane, for rasterising outlines.

    Returns
    -------
    tuple of PromptSet
        Empty when the plane holds no prompt; see `object_items`.
    """
    groups = object_items(items, plane)
    prompts = tuple(_prompt_set(group, plane, shape) for group in groups)
    # An outline beyond the border of the plane says nothing.
    return () if prompts == (PromptSet(),) else prompts


def object_items(items: PromptItems, plane: Plane) -> tuple[PromptItems, ...]:
    """Split the prompts of one plane by object.

    With at most one box there is one object, made of everything on the plane.
    With several boxes there is one object per box; points, scribbles and
    outlines go to the smallest box that contains their center, or to every box
    if none does and they are negative.

    Parameters
    ----------
    items : PromptItems
        Contents of the prompt layers, on any planes.
    plane : Plane
        Which plane.

    Returns
    -------
    tuple of PromptItems
        Empty when the plane holds no prompt.
    """
    here = items_on(items, plane)
    if here.is_empty:
        return ()
    points, shapes = here.points, here.shapes
    boxes = [s for s in shapes if _is_box(s)]
    if len(boxes) <= 1:
        return (here,)
    areas = [_box_of(s.vertices[:, list(plane.displayed)]) for s in boxes]
    own_points: list[list[PointItem]] = [[] for _ in boxes]
    own_shapes: list[list[ShapeItem]] = [[box] for box in boxes]
    for point in points:
        center = plane.to_plane_point(point.position)
        for owner in _owners(areas, center, point.positive):
            own_points[owner].append(point)
    for shape in shapes:
        if not _is_box(shape):
            r0, c0, r1, c1 = _box_of(shape.vertices[:, list(plane.displayed)])
            center = (r0 + r1) / 2, (c0 + c1) / 2
            for owner in _owners(areas, center, shape.positive):
                own_shapes[owner].append(shape)
    return tuple(
        PromptItems(tuple(pts), tuple(shp))
        for pts, shp in zip(own_points, own_shapes, strict=True)
    )


def items_on(items: PromptItems, plane: Plane) -> PromptItems:
    """Return the prompts that lie on one plane."""
    return PromptItems(
        tuple(p for p in items.points if _on_plane(p.position, p.axes, plane)),
        tuple(
            s for s in items.shapes if _on_plane(s.vertices.mean(axis=0), s.axes, plane)
        ),
    )


def split_by_object(items: PromptItems) -> tuple[PromptItems, ...]:
    """Split the prompts of all planes by object, as `object_items` does on each."""
    points: list[list[PointItem]] = []
    shapes: list[list[ShapeItem]] = []
    # Transposed views of one plane hold the same prompts.
    planes = {plane.index: plane for plane in items.planes()}
    for plane in planes.values():
        for number, group in enumerate(object_items(items, plane)):
            if number == len(points):
                points.append([])
                shapes.append([])
            points[number].extend(group.points)
            shapes[number].extend(group.shapes)
    return tuple(
        PromptItems(tuple(pts), tuple(shp))
        for pts, shp in zip(points, shapes, strict=True)
    )


def _prompt_set(items: PromptItems, plane: Plane, shape: tuple[int, int]) -> PromptSet:
    """Return the prompts of one object on one plane, at most one box among them."""
    points = [
        PointPrompt(*plane.to_plane_point(p.position), positive=p.positive)
        for p in items.points
    ]
    box: Box | None = None
    outlines: list[MaskCrop] = []
    for item in items.shapes:
        vertices = item.vertices[:, list(plane.displayed)]
        if _is_box(item):
            box = _box_of(vertices)
        elif item.kind in ("line", "path"):
            points.extend(
                PointPrompt(r, c, item.positive) for r, c in sample_path(vertices)
            )
        elif item.positive:
            outline = rasterise(vertices, item.kind, shape)
            if outline.area:
                outlines.append(outline)
        else:
            row, column = vertices.mean(axis=0)
            points.append(PointPrompt(float(row), float(column), positive=False))
    return PromptSet(tuple(points), box, _union(outlines) if outlines else None)


def _is_box(shape: ShapeItem) -> bool:
    return shape.kind == "rectangle" and shape.positive


def _owners(boxes: list[Box], center: tuple[float, float], positive: bool) -> list[int]:
    """Return which boxes a prompt belongs to."""
    row, column = center
    inside = [
        ((b[2] - b[0]) * (b[3] - b[1]), i)
        for i, b in enumerate(boxes)
        if b[0] <= row <= b[2] and b[1] <= column <= b[3]
    ]
    if inside:
        return [min(inside)[1]]
    return [] if positive else list(range(len(boxes)))


def _box_of(vertices: npt.NDArray[np.float64]) -> Box:
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _union(masks: list[MaskCrop]) -> MaskCrop:
    region = masks[0].region
    for mask in masks[1:]:
        region = region.union(mask.region)
    out = np.zeros(region.shape, bool)
    for mask in masks:
        view = out[mask.region.shifted(-region.row0, -region.col0).slices]
        view |= mask.mask
    return MaskCrop(out, region)


def sample_path(
    vertices: npt.NDArray[np.float64], most: int = SCRIBBLE_POINTS
) -> list[tuple[float, float]]:
    """Points at equal distances along a path, ends inset by half a step.

    Parameters
    ----------
    vertices : float array (N, 2)
        Rows and columns of the path.
    most : int
        Largest number of points; a shorter path gets one per 10 pixels.

    Returns
    -------
    list of (row, column)
    """
    steps = np.linalg.norm(np.diff(vertices, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = along[-1]
    if length == 0:
        return [(float(vertices[0, 0]), float(vertices[0, 1]))]
    count = int(np.clip(np.ceil(length / 10), 1, most))
    at = (np.arange(count) + 0.5) * length / count
    rows = np.interp(at, along, vertices[:, 0])
    columns = np.interp(at, along, vertices[:, 1])
    return [(float(r), float(c)) for r, c in zip(rows, columns, strict=True)]


def rasterise(
    vertices: npt.NDArray[np.float64], kind: str, shape: tuple[int, int]
) -> MaskCrop:
    """Fill an outline.

    Parameters
    ----------
    vertices : float array (N, 2)
        Rows and columns; for an ellipse napari gives the four corners of the
        (possibly rotated) rectangle around it.
    kind : str
        ``"ellipse"``, ``"polygon"`` or ``"rectangle"``.
    shape : tuple of int
        Height and width of the plane; the outline is cut at its border.
    """
    if kind == "ellipse" and len(vertices) == 4:
        center = vertices.mean(axis=0)
        half_a = (vertices[1] - vertices[0]) / 2
        half_b = (vertices[3] - vertices[0]) / 2
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
        vertices = center + np.cos(angle) * half_a + np.sin(angle) * half_b
    low = np.floor(vertices.min(axis=0)).astype(int)
    high = np.ceil(vertices.max(axis=0)).astype(int) + 1
    region = Region(
        max(0, int(low[0])),
        max(0, int(low[1])),
        min(shape[0], int(high[0])),
        min(shape[1], int(high[1])),
    )
    if region.is_empty:
        return MaskCrop(np.zeros((0, 0), bool), Region(0, 0, 0, 0))
    mask = _filled(vertices - (region.row0, region.col0), region.shape)
    return MaskCrop(mask, region).tight()


def _filled(
    vertices: npt.NDArray[np.float64], shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return the pixels of a polygon by the even-odd rule, with those on its edges.

    Line by line: to ask every pixel about every edge takes minutes for a long line
    drawn by hand in a large image.
    """
    start, stop = vertices, np.roll(vertices, -1, axis=0)
    order = start[:, 0] <= stop[:, 0]
    low = np.where(order[:, None], start, stop)
    high = np.where(order[:, None], stop, start)
    mask = np.zeros(shape, bool)
    # Edges without their lower ends, and without their upper ones: where a line touches
    # a vertex, one of the two takes it in.
    for first, last in (
        (np.ceil(low[:, 0]), np.ceil(high[:, 0])),
        (np.floor(low[:, 0]) + 1, np.floor(high[:, 0]) + 1),
    ):
        begin = np.clip(first, 0, shape[0]).astype(int)
        count = np.clip(last, 0, shape[0]).astype(int) - begin
        edge = np.repeat(np.arange(len(count)), count)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        row += begin[edge]
        share = (row - low[edge, 0]) / (high[edge, 0] - low[edge, 0])
        column = low[edge, 1] + share * (high[edge, 1] - low[edge, 1])
        by_row = np.lexsort((column, row))
        row, column = row[by_row], column[by_row]
        left = np.clip(np.ceil(column[::2]), 0, shape[1]).astype(int)
        right = np.clip(np.floor(column[1::2]) + 1, 0, shape[1]).astype(int)
        # Between two crossings there may be no pixel.
        right = np.maximum(left, right)
        change = np.zeros((shape[0], shape[1] + 1), np.int32)
        np.add.at(change, (row[::2], left), 1)
        np.add.at(change, (row[::2], right), -1)
        mask |= change.cumsum(axis=1)[:, :-1] > 0
    return mask


def same_items(a: PromptItems, b: PromptItems) -> bool:
    """Whether two readings of the layers say the same.

    Selecting a prompt or changing a color also fires events; predicting again
    for those would make the preview flicker.
    """
    return (
        len(a.points) == len(b.points)
        and len(a.shapes) == len(b.shapes)
        and all(
            p.position == q.position and p.positive == q.positive and p.axes == q.axes
            for p, q in zip(a.points, b.points, strict=True)
        )
        and all(
            s.kind == t.kind
            and s.positive == t.positive
            and s.axes == t.axes
            # napari keeps vertices as float32
            and np.array_equal(np.float32(s.vertices), np.float32(t.vertices))
            for s, t in zip(a.shapes, b.shapes, strict=True)
        )
    )
