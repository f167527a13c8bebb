"""A script asks the same prompts again, however they were drawn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_sam as ns
from napari_sam.core.annotation.prompts import (
    PointItem,
    PromptItems,
    ShapeItem,
    plane_prompts,
)
from napari_sam.core.annotation.records import ObjectRecord, ObjectRecords
from napari_sam.core.annotation.script import make_script
from napari_sam.core.masks import OverlapPolicy
from napari_sam.viewer.validation import as_point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.types import Plane

SIZE = (4, 20, 30)
AXES = ((1, 2), (2, 1), (0, 2), (1, 0))


class Hand:
    """Takes the calls of a script, and refuses what a session refuses."""

    def __init__(self, dims: SimpleNamespace) -> None:
        self._dims = dims
        self._items = PromptItems()
        self.objects: list[PromptItems] = []
        self.settings: dict[str, object] = {}
        self.controller = SimpleNamespace(change_settings=self.settings.update)
        self.labels = SimpleNamespace(data=None)

    def _axes(self) -> tuple[int, int]:
        return self._dims.order[-2], self._dims.order[-1]

    def add_point(self, point: Sequence[float], *, positive: bool = True) -> None:
        item = PointItem(as_point(point, SIZE), positive, self._axes())
        self._items = PromptItems((*self._items.points, item), self._items.shapes)

    def add_box(self, start: Sequence[float], stop: Sequence[float]) -> None:
        corners = np.array([as_point(start, SIZE), stop])
        assert (corners[0] != corners[1])[list(self._axes())].all()
        self._add(corners, "rectangle")

    def add_outline(self, vertices: Sequence[Sequence[float]]) -> None:
        as_point(vertices[0], SIZE)
        self._add(np.array(vertices), "polygon")

    def _add(self, vertices: np.ndarray, kind: str) -> None:
        item = ShapeItem(vertices, kind, True, self._axes())
        self._items = PromptItems(self._items.points, (*self._items.shapes, item))

    def accept(self) -> None:
        self.objects.append(self._items)
        self._items = PromptItems()

    def close(self) -> None:
        assert self._items.is_empty


def played(script: str) -> Hand:
    """Return what took the calls of a script."""
    dims = SimpleNamespace(order=tuple(range(len(SIZE))))
    viewer = SimpleNamespace(dims=dims, add_image=lambda *_, **__: None)
    hand = Hand(dims)
    read = SimpleNamespace(data=None, rgb=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari.components.ViewerModel", lambda: viewer)
        patch.setattr(ns, "read_image", lambda _: read)
        patch.setattr(ns, "annotate", lambda *_, **__: hand)
        exec(compile(script, "script.py", "exec"), {})
    return hand


def script_of(*items: PromptItems, policy: str = "keep") -> str:
    records = ObjectRecords()
    records.apply({n: ObjectRecord(n, i, "sam", 0.9) for n, i in enumerate(items, 1)})
    return make_script(
        records, image="a.tif", model="sam", settings={"policy": policy}, shape=SIZE
    )


@st.composite
def prompts(draw: st.DrawFn) -> PromptItems:
    """Return what a user can draw of one object on one plane and have answered."""
    axes = draw(st.sampled_from(AXES))
    place = np.array([draw(st.integers(0, n - 1)) for n in SIZE], float)

    def at(beyond: int = 0) -> np.ndarray:
        where = place.copy()
        for a in axes:
            where[a] = draw(st.integers(-beyond, SIZE[a] - 1 + beyond))
        return where

    points = [
        PointItem(tuple(at()), draw(st.booleans()), axes)
        for _ in range(draw(st.integers(0, 2)))
    ]
    shapes = []
    for kind in draw(st.sets(st.sampled_from(["rectangle", "polygon", "ellipse"]))):
        # A corner in the image, the others anywhere.
        corners = np.array([at(), at(9), at(9), at(9)])
        if kind != "polygon":
            inside, other = corners[:2]
            other[list(axes)] += np.where(other == inside, 0.5, 0.0)[list(axes)]
            corners = np.array([other, other, inside, inside])
            corners[1, axes[0]], corners[3, axes[0]] = inside[axes[0]], other[axes[0]]
        turn = draw(st.integers(0, 3)) if kind == "polygon" else 0
        shapes.append(ShapeItem(np.roll(corners, turn, axis=0), kind, True, axes))
    for kind in draw(st.sets(st.sampled_from(["line", "path", "rectangle"]))):
        corners = np.array([at() for _ in range(2 if kind == "line" else 4)])
        is_positive = kind != "rectangle" and draw(st.booleans())
        shapes.append(ShapeItem(corners, kind, is_positive, axes))
    items = PromptItems(tuple(points), tuple(shapes))
    return (
        items
        if shapes or points
        else PromptItems((PointItem(tuple(at()), True, axes),))
    )


def said(items: PromptItems, plane: Plane) -> list[object]:
    """Return what a plane's prompts say to the model, which cuts boxes itself."""
    size = plane.shape(SIZE)
    found = []
    for one in plane_prompts(items, plane, size):
        points = sorted((p.row, p.column, p.positive) for p in one.points)
        far = np.subtract(size, 0.5)
        box = None if one.box is None else np.clip(one.box, -0.5, [*far, *far]).tolist()
        mask = None if one.mask is None else one.mask.full(size).tolist()
        found.append((points, box, mask))
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(prompts(), min_size=1, max_size=3))
def test_the_same_prompts_are_asked(drawn: list[PromptItems]) -> None:
    hand = played(script_of(*drawn))
    assert len(hand.objects) == len(drawn)
    for before, after in zip(drawn, hand.objects, strict=True):
        assert {p.index for p in before.planes()} == {p.index for p in after.planes()}
        for plane in before.planes():
            assert said(before, plane) == said(after, plane)


def test_an_outline_around_all_of_the_image_is_cut_at_its_border() -> None:
    corners = np.array([(1, -3, -3), (1, -3, 40), (1, 40, 40), (1, 40, -3)], float)
    items = PromptItems((), (ShapeItem(corners, "polygon", True, (1, 2)),))
    (again,) = played(script_of(items)).objects
    (plane,) = items.planes()
    assert said(again, plane) == said(items, plane)


def test_what_else_a_script_says() -> None:
    point = PromptItems((PointItem((0, 5, 5), True, (1, 2)),))
    script = script_of(point, *[PromptItems()] * 21, policy="overwrite")
    hand = played(script)
    assert hand.settings == {"policy": OverlapPolicy.OVERWRITE}
    assert len(hand.objects) == 1
    assert "without prompts: 2, 3, 4, " in script
    assert ", 21 ...\n" in script
    assert "policy" not in script_of(point)
