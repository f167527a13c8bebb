"""What the contents of the prompt layers mean, object by object."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from napari_sam.core.annotation.prompts import (
    SCRIBBLE_POINTS,
    PointItem,
    PromptItems,
    ShapeItem,
    plane_prompts,
    rasterise,
    sample_path,
    split_by_object,
)
from napari_sam.types import Plane, PointPrompt

FLAT = Plane((0, 1), (None, None))
XY = Plane((1, 2), (5, None, None))
SHAPE = (60, 80)


def point(row, column, positive=True, axes=(0, 1)):
    return PointItem((row, column), positive, axes)


def shape(kind, *corners, positive=True, axes=(0, 1)):
    return ShapeItem(np.array(corners, float), kind, positive, axes)


def box(r0, c0, r1, c1, **more):
    return shape("rectangle", (r0, c0), (r0, c1), (r1, c1), (r1, c0), **more)


def prompts(*items, plane=FLAT, size=SHAPE):
    points = tuple(i for i in items if isinstance(i, PointItem))
    shapes = tuple(i for i in items if isinstance(i, ShapeItem))
    return plane_prompts(PromptItems(points, shapes), plane, size)


def test_nothing_drawn_is_no_object():
    assert prompts() == ()


def test_points_are_one_object():
    (only,) = prompts(point(1, 2), point(3, 4, positive=False))
    assert only.points == (PointPrompt(1, 2), PointPrompt(3, 4, positive=False))
    assert only.box is None
    assert not only.is_empty


def test_background_alone_is_an_empty_prompt():
    (only,) = prompts(point(3, 4, positive=False))
    assert only.is_empty


def test_rectangle_is_a_box_however_it_was_drawn():
    (upward,) = prompts(shape("rectangle", (30, 40), (30, 10), (5, 10), (5, 40)))
    assert upward.box == (5, 10, 30, 40)


def test_point_and_box_are_one_object():
    (only,) = prompts(box(5, 10, 30, 40), point(20, 20), point(50, 70, positive=False))
    assert only.box == (5, 10, 30, 40)
    assert len(only.points) == 2


@pytest.mark.parametrize("kind", ["polygon", "ellipse"])
def test_outline_is_a_filled_mask(kind):
    corners = [(10, 20), (10, 50), (40, 50), (40, 20)]
    (only,) = prompts(shape(kind, *corners))
    assert only.mask is not None
    assert only.box is None
    full = only.mask.full(SHAPE)
    assert full[25, 35]
    assert not full[5, 5]
    area = 31 * 31 if kind == "polygon" else np.pi * 15 * 15
    assert only.mask.area == pytest.approx(area, rel=0.08)
    assert full[11, 21] == (kind == "polygon")


def test_rotated_ellipse_keeps_its_axes():
    turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    corners = np.array([(-20, -5), (-20, 5), (20, 5), (20, -5)]) @ turn.T + (30, 40)
    full = rasterise(corners, "ellipse", SHAPE).full(SHAPE)
    assert full[30 + 12, 40 + 12]
    assert not full[30 + 12, 40 - 12]


def test_lasso_of_many_vertices_is_filled():
    angle = np.linspace(0, 2 * np.pi, 200)
    ring = np.column_stack([30 + 15 * np.cos(angle), 40 + 20 * np.sin(angle)])
    (only,) = prompts(shape("polygon", *ring))
    assert only.mask is not None
    assert only.mask.area == pytest.approx(np.pi * 15 * 20, rel=0.08)


def test_several_outlines_are_united():
    (only,) = prompts(
        shape("polygon", (5, 5), (5, 15), (15, 15), (15, 5)),
        shape("polygon", (30, 40), (30, 50), (40, 50), (40, 40)),
    )
    assert only.mask is not None
    full = only.mask.full(SHAPE)
    assert full[10, 10]
    assert full[35, 45]
    assert not full[20, 25]


@pytest.mark.parametrize("kind", ["line", "path"])
def test_scribble_becomes_points_on_it(kind):
    (only,) = prompts(shape(kind, (10, 10), (10, 60)))
    assert 1 < len(only.points) <= SCRIBBLE_POINTS
    assert all(p.row == 10 and 10 < p.column < 60 and p.positive for p in only.points)


def test_negative_scribble_becomes_background_points():
    (only,) = prompts(point(30, 30), shape("path", (10, 10), (10, 60), positive=False))
    assert only.points[0].positive
    assert not any(p.positive for p in only.points[1:])


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "polygon"])
def test_negative_area_is_a_background_point_at_its_center(kind):
    corners = [(10, 20), (10, 40), (30, 40), (30, 20)]
    (only,) = prompts(point(50, 50), shape(kind, *corners, positive=False))
    assert only.box is None
    assert only.mask is None
    assert only.points[1] == PointPrompt(20, 30, positive=False)


def test_several_boxes_are_several_objects():
    first, second = prompts(box(0, 0, 20, 20), box(30, 30, 50, 50))
    assert first.box == (0, 0, 20, 20)
    assert second.box == (30, 30, 50, 50)


def test_point_belongs_to_the_smallest_box_around_it():
    outer, inner = prompts(
        box(0, 0, 50, 50), box(10, 10, 20, 20), point(15, 15), point(40, 40)
    )
    assert outer.points == (PointPrompt(40, 40),)
    assert inner.points == (PointPrompt(15, 15),)


def test_background_outside_all_boxes_counts_for_each():
    both = prompts(
        box(0, 0, 20, 20), box(30, 30, 50, 50), point(5, 70, False), point(58, 5)
    )
    for one in both:
        assert one.points == (PointPrompt(5, 70, positive=False),)


def test_outline_and_scribble_belong_to_the_box_they_are_in():
    first, second = prompts(
        box(0, 0, 25, 25),
        box(30, 30, 58, 78),
        shape("polygon", (5, 5), (5, 15), (15, 15), (15, 5)),
        shape("path", (40, 40), (40, 60)),
    )
    assert first.mask is not None
    assert second.mask is None
    assert first.points == ()
    assert len(second.points) > 1


def test_prompts_of_other_planes_are_left_out():
    items = PromptItems(
        (
            PointItem((5, 1, 2), True, (1, 2)),
            PointItem((6, 3, 4), True, (1, 2)),
            PointItem((5.4, 7, 8), True, (1, 2)),
        ),
        (
            ShapeItem(
                np.array([(4, 0, 0), (4, 0, 9), (4, 9, 9), (4, 9, 0)], float),
                "rectangle",
                True,
                (1, 2),
            ),
        ),
    )
    (only,) = plane_prompts(items, XY, SHAPE)
    assert only.points == (PointPrompt(1, 2), PointPrompt(7, 8))
    assert only.box is None
    assert items.planes() == (
        XY,
        Plane((1, 2), (6, None, None)),
        Plane((1, 2), (4, None, None)),
    )


def test_prompts_of_other_axes_through_the_same_place_are_left_out():
    items = PromptItems((PointItem((5, 1, 2), True, (0, 2)),))
    assert plane_prompts(items, XY, SHAPE) == ()
    xz = Plane((0, 2), (None, 1, None))
    assert plane_prompts(items, xz, SHAPE)[0].points == (PointPrompt(5, 2),)


def test_transposed_view_of_the_same_plane_keeps_its_prompts():
    items = PromptItems((PointItem((5, 1, 2), True, (1, 2)),))
    transposed = Plane((2, 1), (5, None, None))
    assert plane_prompts(items, transposed, SHAPE[::-1])[0].points == (
        PointPrompt(2, 1),
    )


def test_box_of_no_area_is_still_a_box():
    (only,) = prompts(box(10, 10, 10, 10))
    assert only.box == (10, 10, 10, 10)


@pytest.mark.parametrize("kind", ["polygon", "ellipse"])
def test_outline_is_cut_at_the_border_of_the_plane(kind):
    (only,) = prompts(shape(kind, (-20, -20), (-20, 20), (20, 20), (20, -20)))
    assert only.mask is not None
    assert only.mask.region.row0 >= 0
    assert only.mask.region.col0 >= 0
    assert only.mask.full(SHAPE)[0, 0]


@pytest.mark.parametrize("kind", ["polygon", "ellipse"])
def test_outline_outside_the_plane_is_nothing(kind):
    assert prompts(shape(kind, (-30, -30), (-30, -10), (-10, -10), (-10, -30))) == ()


@given(
    st.lists(
        st.tuples(st.floats(-50, 150), st.floats(-50, 150)), min_size=2, max_size=8
    )
)
@settings(max_examples=60, deadline=None)
def test_scribble_samples_lie_on_the_path_and_are_few(vertices):
    path = np.array(vertices)
    samples = sample_path(path)
    assert 1 <= len(samples) <= SCRIBBLE_POINTS
    for sample in samples:
        assert _distance(np.array(sample), path) < 1e-6


def _distance(p: np.ndarray, path: np.ndarray) -> float:
    best = np.inf
    for a, b in itertools.pairwise(path):
        d = b - a
        length = float(d @ d)
        t = 0.0 if length < 1e-18 else float(np.clip((p - a) @ d / length, 0, 1))
        best = min(best, float(np.linalg.norm(p - a - t * d)))
    return best


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_outline_is_a_tight_mask_inside_the_plane(data):
    n = data.draw(st.integers(3, 7))
    corner = st.tuples(st.floats(-40, 100), st.floats(-40, 120))
    vertices = np.array([data.draw(corner) for _ in range(n)])
    crop = rasterise(vertices, "polygon", SHAPE)
    full = crop.full(SHAPE)
    assert full.sum() == crop.area
    if crop.area:
        assert crop.mask[0].any()
        assert crop.mask[-1].any()
        assert crop.mask[:, 0].any()
        assert crop.mask[:, -1].any()


@given(
    st.lists(
        st.tuples(st.integers(-80, 260), st.integers(-80, 280)), min_size=3, max_size=8
    )
)
@settings(max_examples=100, deadline=None)
def test_an_outline_has_the_pixels_that_lie_in_it(corners):
    """Against asking each pixel, which takes too long for a long outline."""
    vertices = np.array(corners) / 3 + 0.1
    expected = polygon2mask(SHAPE, vertices)
    full = rasterise(vertices, "polygon", SHAPE).full(SHAPE)
    around = np.vstack([vertices, vertices[:1]])
    for pixel in np.argwhere(expected != full):
        assert _distance(pixel, around) < 1e-6


@pytest.mark.parametrize(("z", "plane"), [(0.5, 0), (1.5, 2), (2.5, 2), (2.4, 2)])
def test_prompt_between_two_planes_belongs_to_the_one_napari_shows(z, plane):
    items = PromptItems((PointItem((z, 1, 2), True, (1, 2)),))
    here = Plane((1, 2), (plane, None, None))
    assert items.planes() == (here,)
    assert len(plane_prompts(items, here, SHAPE)) == 1


def test_items_are_split_by_object_as_they_are_predicted():
    items = PromptItems(
        (point(15, 15), point(40, 40), point(58, 5, positive=False)),
        (box(30, 30, 58, 58), box(10, 10, 20, 20)),
    )
    first, second = split_by_object(items)
    assert [p.position for p in first.points] == [(40, 40), (58, 5)]
    assert [p.position for p in second.points] == [(15, 15), (58, 5)]
    assert plane_prompts(first, FLAT, SHAPE) + plane_prompts(
        second, FLAT, SHAPE
    ) == plane_prompts(items, FLAT, SHAPE)


def test_splitting_counts_objects_over_planes_and_no_prompt_twice():
    items = PromptItems(
        (
            PointItem((5, 1, 2), True, (1, 2)),
            PointItem((5, 3, 4), True, (2, 1)),
            PointItem((6, 5, 6), True, (1, 2)),
        )
    )
    (only,) = split_by_object(items)
    assert len(only.points) == 3
    assert split_by_object(PromptItems()) == ()
