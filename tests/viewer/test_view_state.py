"""What the dock shows is one state, resolved once however much has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.core.everything.search import EverythingSettings
from napari_sam.viewer.background.prefetcher import StripState
from napari_sam.viewer.background.worker import SyncRunner
from napari_sam.viewer.view_state import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk import Desk

    from napari_sam.viewer.view_state import ViewState


FEW = EverythingSettings(points_per_side=5)


class TurningRunner(SyncRunner):
    """Calls what is due when the test lets the event loop turn."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[Callable[[], None]] = []

    def soon(self, function: Callable[[], None]) -> None:
        self.due.append(function)

    def turn(self) -> None:
        while self.due:
            self.due.pop(0)()


@pytest.fixture
def turned(
    open_desk: Callable[..., Desk], coin_stack: np.ndarray
) -> tuple[Desk, TurningRunner, list[ViewState]]:
    """A desk at rest, its event loop, and the states that it has told since."""
    runner = TurningRunner()
    desk = open_desk(coin_stack, runner=runner, everything=FEW)
    runner.turn()
    told: list[ViewState] = []
    desk.controller.state_changed.connect(told.append)
    return desk, runner, told


def test_many_changes_are_one_state(
    turned: tuple[Desk, TurningRunner, list[ViewState]],
) -> None:
    desk, runner, told = turned
    controller = desk.controller
    controller.segment_plane()
    controller.change_settings(min_score=0.8)
    controller.flip_polarity()
    controller.set_status("Said.")
    assert told == []
    runner.turn()
    (state,) = told
    assert state == controller.state
    assert state.search.count == controller.everything.count > 0
    assert state.settings.min_score == 0.8
    assert not state.object.marks_objects
    assert state.status == "Said."


def test_what_changes_nothing_is_not_told(
    turned: tuple[Desk, TurningRunner, list[ViewState]],
) -> None:
    desk, runner, told = turned
    desk.controller.touch()
    desk.controller.changed.emit()
    desk.controller.flip_polarity()
    desk.controller.flip_polarity()
    runner.turn()
    assert told == []


def test_resolving_changes_nothing(
    turned: tuple[Desk, TurningRunner, list[ViewState]],
) -> None:
    desk, runner, _ = turned
    desk.controller.segment_plane()
    runner.turn()
    assert resolve(desk.controller) == resolve(desk.controller)
    assert runner.due == []


def test_each_panel_has_its_share(
    turned: tuple[Desk, TurningRunner, list[ViewState]],
) -> None:
    """An action changes the shares of the panels that it is about."""
    desk, runner, told = turned
    before = desk.controller.state
    desk.viewer.dims.set_current_step(0, 2)
    runner.turn()
    after = told[-1]
    assert after.follow.strip.position == 2 != before.follow.strip.position
    assert after.object.place == "plane 2 | 2"
    for same in ("settings", "layers", "project", "review", "triage", "learn"):
        assert getattr(after, same) == getattr(before, same), same


def test_nothing_is_told_once_it_is_closed(
    turned: tuple[Desk, TurningRunner, list[ViewState]],
) -> None:
    desk, runner, told = turned
    desk.controller.flip_polarity()
    desk.controller.close()
    runner.turn()
    assert told == []


def test_strips_are_equal_by_what_they_show() -> None:
    ready = np.array([True, False])
    assert StripState(ready, 0, 0) == StripState(ready.copy(), 0, 0)
    assert StripState(ready, 0, 0) != StripState(~ready, 0, 0)
    assert StripState(ready, 0, 0) != StripState(ready, 1, 0)
    assert StripState(ready, 0, 0) != StripState(ready, 0, None)
