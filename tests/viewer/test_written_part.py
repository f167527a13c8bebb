"""What of a preview an accept does not write, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from desk import COINS

from napari_sam.core.masks import OverlapPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk import Desk

    OpenDesk = Callable[..., Desk]


def painted(
    open_desk: OpenDesk, coins: np.ndarray, *columns: int, **how: object
) -> Desk:
    """Paint over the first coin's upper half from some columns on, and click it."""
    desk = open_desk(coins, **how)
    desk.controller.new_labels()
    for label, column in enumerate(columns, start=4):
        rows, cols = (x.ravel() for x in np.mgrid[:20, column:60])
        desk.labels.data_setitem((rows, cols), label)
    desk.click(*COINS[0])
    return desk


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("policy", [OverlapPolicy.KEEP, OverlapPolicy.UNLABELED])
def test_who_keeps_the_rest_is_said(
    open_desk: OpenDesk, coins: np.ndarray, policy: OverlapPolicy, live: bool
) -> None:
    desk = painted(open_desk, coins, 0, policy=policy, live=live)
    shown = int(desk.masks[0].sum())
    desk.annotator.accept()
    written = int((desk.labels.data == 5).sum())
    assert 0 < written < shown
    said = f"{shown - written:,} of {shown:,} pixels, belongs to object 4."
    assert said in desk.controller.status


def test_several_owners_are_named_the_largest_first(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    desk = painted(open_desk, coins, 0, 36)
    desk.accept()
    assert "belongs to objects 4 and 5." in desk.controller.status
    desk = painted(open_desk, coins, 0, 34, 38)
    desk.accept()
    assert "belongs to object 4 and 2 others." in desk.controller.status


def test_nothing_is_said_where_all_is_written(
    open_desk: OpenDesk, coins: np.ndarray
) -> None:
    for desk in (
        painted(open_desk, coins, 0, policy=OverlapPolicy.OVERWRITE),
        painted(open_desk, coins),
    ):
        desk.accept()
        assert "The rest" not in desk.controller.status
    # A correction covers its own pixels.
    desk.annotator.select_object(1)
    desk.click(COINS[0][0] + 3, COINS[0][1])
    desk.annotator.accept()
    assert "The rest" not in desk.controller.status
