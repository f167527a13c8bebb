"""What is under way, on disk and back: prompts, and the slices that were found."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.core.annotation.followed_json import (
    followed_from_json,
    followed_to_json,
)
from napari_sam.core.annotation.prompts import PointItem, PromptItems, same_items
from napari_sam.core.annotation.under_way import KeptObject, UnderWay
from napari_sam.core.volumes.followed import Followed
from napari_sam.core.volumes.propagation import (
    PropagatedSlice,
    PropagationSettings,
    Source,
)
from napari_sam.types import MaskCrop, MaskLevel, Plane, Region

SHAPE = (9, 12, 14)
BASE = Plane((1, 2), (0, None, None))
ITEMS = PromptItems((PointItem((4.0, 3.0, 5.0), True, (1, 2)),))


@st.composite
def masks(draw: st.DrawFn) -> MaskCrop:
    row, column = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    height, width = draw(st.integers(0, 6)), draw(st.integers(0, 8))
    bits = draw(st.binary(min_size=height * width, max_size=height * width))
    mask = np.frombuffer(bits, np.uint8).reshape(height, width) > 127
    return MaskCrop(mask, Region(row, column, row + height, column + width))


@st.composite
def objects(draw: st.DrawFn) -> Followed:
    """Draw an object of which some slices are known."""
    positions = st.integers(0, SHAPE[0] - 1)
    prompted = draw(st.dictionaries(positions, masks(), min_size=1, max_size=3))
    others = st.sets(positions.filter(lambda p: p not in prompted), max_size=5)
    slices = {
        p: PropagatedSlice(
            p,
            draw(masks()),
            draw(st.floats(0, 1)),
            draw(st.sampled_from(Source)),
            draw(st.booleans()),
        )
        for p in draw(others)
    }
    low, high = min(prompted), max(prompted)
    return Followed(
        BASE,
        0,
        (0, SHAPE[0]),
        PropagationSettings(time=draw(st.booleans()), ghosts=draw(st.integers(0, 9))),
        prompted,
        {p: m for p, m in prompted.items() if p == high},
        slices,
        frozenset(slices) & frozenset(draw(st.sets(positions))),
        frozenset(draw(st.sets(st.sampled_from([(None, low), (high, None)])))),
    )


def is_same(a: MaskCrop, b: MaskCrop) -> bool:
    return a.region == b.region and np.array_equal(a.mask, b.mask)


@given(objects())
def test_what_was_found_comes_back(followed: Followed) -> None:
    text = UnderWay(3, (KeptObject(ITEMS, 7, MaskLevel.PART, followed=followed),))
    (kept,) = UnderWay.from_text(text.to_text()).objects
    back = kept.followed
    assert back is not None
    assert back.fits(SHAPE)
    for name in ("base", "axis", "limits", "settings", "stale", "finished"):
        assert getattr(back, name) == getattr(followed, name)
    for name in ("prompted", "confirmed"):
        before, after = getattr(followed, name), getattr(back, name)
        assert list(before) == list(after)
        assert all(is_same(mask, after[p]) for p, mask in before.items())
    assert list(back.slices) == list(followed.slices)
    for p, found in followed.slices.items():
        now = back.slices[p]
        assert is_same(found.mask, now.mask)
        assert (found.position, found.confidence, found.source, found.is_ghost) == (
            now.position, now.confidence, now.source, now.is_ghost
        )  # fmt: skip
    assert back.left == followed.left


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return each container of a JSON value with each of its keys."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, one in inside:
        found.append((value, key))
        if isinstance(one, dict | list):
            found += places(one)
    return found


@given(objects(), st.data())
def test_prompts_outlive_a_damaged_object(followed: Followed, data: Any) -> None:
    value = json.loads(json.dumps(KeptObject(ITEMS, 7, followed=followed).to_json()))
    container, key = data.draw(st.sampled_from(places(value["followed"])))
    wrong = [None, "x", -1, 10**20, 1.5, [], {}, [[-3, 40]], float("nan"), float("inf")]
    container[key] = data.draw(st.sampled_from(wrong))
    kept = KeptObject.from_json(value)
    assert same_items(kept.items, ITEMS)
    assert kept.label == 7
    if kept.followed is not None:
        kept.followed.fits(SHAPE)


@pytest.mark.parametrize("axis", [-1, 1, 3, 10**20, float("inf")])
def test_an_axis_that_is_none_is_damage(axis: float) -> None:
    near = MaskCrop(np.ones((1, 1), bool), Region(0, 0, 1, 1))
    value = KeptObject(ITEMS, followed=Followed(BASE, 0, (0, 9), prompted={4: near}))
    damaged = value.to_json()
    damaged["followed"]["axis"] = axis
    assert KeptObject.from_json(damaged).followed is None


def test_an_object_of_before_has_none() -> None:
    value = KeptObject(ITEMS).to_json()
    del value["followed"]
    assert KeptObject.from_json(value).followed is None


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        (SHAPE, True),
        ((9, 12, 14, 1), False),
        ((8, 12, 14), False),
        ((9, 6, 14), False),
        ((9, 12, 7), False),
    ],
)
def test_it_fits_the_image_that_all_of_it_lies_in(
    shape: tuple[int, ...], fits: bool
) -> None:
    far = MaskCrop(np.ones((1, 1), bool), Region(6, 7, 7, 8))
    near = MaskCrop(np.ones((1, 1), bool), Region(0, 0, 1, 1))
    found = PropagatedSlice(8, far, 0.5, Source.MODEL)
    followed = Followed(BASE, 0, (0, 9), prompted={4: near}, slices={8: found})
    assert followed.fits(shape) is fits


def test_other_answers_to_the_same_prompts_leave_what_was_found() -> None:
    one, other, third = (
        MaskCrop(np.ones((n, 1), bool), Region(0, 0, n, 1)) for n in (1, 2, 3)
    )
    found = PropagatedSlice(2, one, 0.5, Source.MODEL)
    followed = Followed(BASE, 0, (0, 9), prompted={4: one}).with_slice(found)
    followed = followed.with_finished(followed.left)
    again = followed.asked_again({4: other})
    assert again.is_finished
    assert is_same(again.prompted[4], other)
    assert again.slices.keys() == {2}
    assert not followed.asked_again({5: other}).is_finished
    # What the user confirmed is no prompt, and stays.
    confirmed = followed.confirming(2).asked_again({4: third})
    assert is_same(confirmed.prompted[2], one)
    assert is_same(confirmed.prompted[4], third)
    assert followed_from_json(followed_to_json(confirmed)).confirmed.keys() == {2}
