"""Procedures that meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from napari_sam.models.sam1.together import together

if TYPE_CHECKING:
    from collections.abc import Generator


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6))
def test_each_goes_its_way_and_places_are_shared(ways: list[list[int]]) -> None:
    visits: list[tuple[int, int]] = []  # the how-manieth of its procedure, and where

    def walk(way: list[int]) -> Generator[int, None, tuple[int, ...]]:
        for n, place in enumerate(way):
            yield place
            visits.append((n, place))
        return tuple(way)

    assert together([walk(way) for way in ways]) == [tuple(way) for way in ways]
    arrivals = [
        at for at, before in zip(visits, [None, *visits], strict=False) if at != before
    ]
    assert len(arrivals) == len(set(visits))
