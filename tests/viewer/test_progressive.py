"""Answers that come twice: at once, and better; and what the user does in between."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.masks import PostProcessing
from napari_sam.errors import ImageError
from napari_sam.models import load_model
from napari_sam.models.sam1.view_encoder import PlaneViews
from napari_sam.types import MaskLevel
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.image.encoder import PlaneEncoder
from napari_sam.viewer.prompting import predictions as predict_module
from napari_sam.viewer.prompting import prompting as prompting_module
from napari_sam.viewer.prompting import requests as hover_module
from napari_sam.viewer.prompting import requests as requests_module
from napari_sam.viewer.prompting.requests import UNSEEN_SLOT
from napari_sam.viewer.settings import AcceptWait, Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from desk import Desk, PumpedRunner

    from napari_sam.core.views import View

COIN, OTHER = (275.0, 200.0), (275.0, 258.0)


@pytest.fixture(scope="module")
def engine(small_models: None, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return the default model, which looks into views."""
    model = load_model("mobile-sam-microscopy", device="cpu", dtype="float32")
    return Engine(model, EmbeddingStore(tmp_path_factory.mktemp("embeddings")))


@pytest.fixture(scope="module")
def many_coins(coins: np.ndarray) -> np.ndarray:
    """Return a plane in which a click is looked at in views of larger scales."""
    return np.tile(coins, (5, 4))


class Gate:
    """Lets views be encoded, or holds up who encodes one, as a slow machine does."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.is_waited_at = False

    def iter_encode(self, views: PlaneViews, view: View) -> Iterator[None]:
        while not (self.open.is_set() or views.is_encoded(view)):
            self.is_waited_at = True
            time.sleep(0.001)
            yield
        yield from _ITER_ENCODE(views, view)


_ITER_ENCODE = PlaneViews.iter_encode


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> Gate:
    """Return the gate, shut; no view is left of the tests before."""
    gate = Gate()
    engine._live.clear()
    monkeypatch.setattr(
        PlaneViews, "iter_encode", lambda views, view: gate.iter_encode(views, view)
    )
    return gate


@pytest.fixture
def open_progressive(
    open_desk: Callable[..., Desk],
    pumped: PumpedRunner,
    engine: Engine,
    many_coins: np.ndarray,
    gate: Gate,
) -> Callable[..., Desk]:
    def open_(image: np.ndarray | None = None, **settings: Any) -> Desk:
        desk = open_desk(
            many_coins if image is None else image,
            runner=pumped,
            engine=engine,
            **settings,
        )
        wait(desk, lambda: desk.controller.prefetcher.is_shown_ready)
        return desk

    return open_


def wait(desk: Desk, until: Callable[[], bool]) -> None:
    """Play the event loop until something holds, also what time alone brings."""
    end = time.monotonic() + 60
    runner = desk.controller.context.runner
    while not until():
        assert time.monotonic() < end
        runner.drain()  # type: ignore[attr-defined]
        time.sleep(0.002)
    runner.drain()  # type: ignore[attr-defined]


def is_final(desk: Desk) -> bool:
    """Whether the last answer to all prompts is shown."""
    draft = desk.annotator.draft
    return desk.masks != [] and not desk.annotator.prompting.questions(draft)


def click_and_see(desk: Desk, *places: tuple[float, float]) -> np.ndarray:
    """Click, and return the preliminary mask as soon as it is there."""
    for place in places:
        desk.click(*place)
    count = len(places)
    wait(
        desk,
        lambda: (
            desk.annotator.prediction is not None
            and len(desk.annotator.prediction.prompts[0].points) == count
        ),
    )
    assert not is_final(desk)
    return desk.masks[0].copy()


def truth(desk: Desk, *places: tuple[float, float]) -> np.ndarray:
    """Return the final mask of clicks, of a desk whose gate is open."""
    for place in places:
        desk.click(*place)
    wait(desk, lambda: is_final(desk))
    mask = desk.masks[0].copy()
    desk.annotator.discard()
    return mask


def test_the_first_answer_is_shown_and_the_better_one_takes_its_place(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    desk = open_progressive()
    first = click_and_see(desk, COIN)
    assert desk.shown is not None
    assert first.any()
    assert "Looking closer" in desk.controller.status
    assert desk.annotator.prompting.questions(desk.annotator.draft)
    gate.open.set()
    wait(desk, lambda: is_final(desk))
    assert not np.array_equal(desk.masks[0], first)
    assert np.array_equal(desk.shown != 0, desk.masks[0])
    assert "N accept" in desk.controller.status
    assert not desk.annotator.prompting.questions(desk.annotator.draft)


def test_an_accept_waits_a_moment_and_then_takes_what_there_is(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    desk = open_progressive()
    first = click_and_see(desk, COIN)
    begun = time.monotonic()
    assert not desk.annotator.accept()
    wait(desk, lambda: not desk.annotator.is_waiting)
    assert time.monotonic() - begun >= AcceptWait.BRIEF.seconds
    assert not desk.controller.context.runner.is_busy(UNSEEN_SLOT)
    assert np.array_equal(desk.labels.data == 1, first)
    # What comes afterwards comes too late.
    gate.open.set()
    desk.click(*OTHER)
    wait(desk, lambda: is_final(desk))
    assert np.array_equal(desk.labels.data == 1, first)
    assert desk.labels.data.max() == 1
    assert desk.annotator.label == 2


@pytest.mark.parametrize("wait_for", [AcceptWait.BRIEF, AcceptWait.NONE])
def test_what_is_lost_in_a_large_plane_is_only_taken_by_who_never_waits(
    open_progressive: Callable[..., Desk],
    gate: Gate,
    many_coins: np.ndarray,
    wait_for: AcceptWait,
) -> None:
    """The first mask of a coin of 13 model pixels; nobody means to write that."""
    desk = open_progressive(np.tile(many_coins, (2, 2)), accept_wait=wait_for)
    desk.click(*COIN)
    desk.annotator.accept()
    end = time.monotonic() + 2 * AcceptWait.BRIEF.seconds
    wait(desk, lambda: time.monotonic() > end)
    assert desk.annotator.is_waiting == (wait_for is AcceptWait.BRIEF)
    gate.open.set()
    wait(desk, lambda: not desk.annotator.is_waiting)
    is_best = np.array_equal(desk.labels.data == 1, truth(desk, COIN))
    assert is_best == (wait_for is AcceptWait.BRIEF)


def test_an_accept_takes_the_better_one_if_that_comes_in_time(
    open_progressive: Callable[..., Desk],
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AcceptWait, "seconds", 60.0)
    desk = open_progressive()
    first = click_and_see(desk, COIN)
    assert not desk.annotator.accept()
    gate.open.set()
    wait(desk, lambda: not desk.annotator.is_waiting)
    written = desk.labels.data == 1
    assert not np.array_equal(written, first)
    assert np.array_equal(written, truth(desk, COIN))


def test_who_does_not_want_to_wait_gets_what_is_shown(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    desk = open_progressive(accept_wait=AcceptWait.NONE)
    first = click_and_see(desk, COIN)
    assert desk.annotator.accept()
    assert np.array_equal(desk.labels.data == 1, first)
    gate.open.set()
    wait(desk, lambda: not desk.controller.context.runner.is_busy())
    assert np.array_equal(desk.labels.data == 1, first)
    assert desk.annotator.is_empty
    assert desk.shown is None


def test_nor_for_an_answer_that_is_not_there_at_all(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    """Accepted before the first answer, written with it."""
    desk = open_progressive(accept_wait=AcceptWait.NONE)
    desk.click(*COIN)
    assert not desk.annotator.accept()
    wait(desk, lambda: not desk.annotator.is_waiting)
    assert gate.is_waited_at
    assert (desk.labels.data == 1).any()


def test_who_wants_the_best_waits_for_it(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    desk = open_progressive(accept_wait=AcceptWait.FINAL)
    click_and_see(desk, COIN)
    assert not desk.annotator.accept()
    second = click_and_see(desk, OTHER)
    assert not desk.annotator.accept()
    end = time.monotonic() + 2 * AcceptWait.BRIEF.seconds
    wait(desk, lambda: time.monotonic() > end)
    assert desk.controller.labels.layer is None or not desk.labels.data.any()
    gate.open.set()
    wait(desk, lambda: not desk.annotator.is_waiting)
    data = desk.labels.data.copy()
    assert np.array_equal(data == 1, truth(desk, COIN))
    assert np.array_equal(data == 2, truth(desk, OTHER))
    assert not np.array_equal(data == 2, second)


def test_the_next_click_does_not_build_on_what_was_preliminary(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    """An answer depends on the image and the prompts, not on what was ready when."""
    near = (COIN[0] + 8, COIN[1] + 5)
    desk = open_progressive()
    click_and_see(desk, COIN)
    desk.click(*near)
    gate.open.set()
    wait(desk, lambda: is_final(desk))
    hurried = desk.masks[0].copy()
    desk.annotator.discard()
    desk.click(*COIN)
    wait(desk, lambda: is_final(desk))
    desk.click(*near)
    wait(desk, lambda: is_final(desk))
    assert np.array_equal(desk.masks[0], hurried)


def test_a_better_answer_stays_on_its_plane(
    open_progressive: Callable[..., Desk], gate: Gate, many_coins: np.ndarray
) -> None:
    desk = open_progressive(np.stack([many_coins, many_coins[::-1]]))
    first = click_and_see(desk, COIN)
    desk.viewer.dims.set_current_step(0, 1)
    wait(desk, lambda: desk.controller.prefetcher.is_shown_ready)
    assert desk.annotator.prediction is None
    gate.open.set()
    draft = desk.annotator.draft
    wait(desk, lambda: not desk.annotator.prompting.questions(draft))
    assert desk.annotator.prediction is None
    desk.viewer.dims.set_current_step(0, 0)
    wait(desk, lambda: is_final(desk))
    assert not np.array_equal(desk.masks[0], first)


def test_what_is_discarded_does_not_come_back(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    desk = open_progressive()
    click_and_see(desk, COIN)
    desk.annotator.discard()
    gate.open.set()
    wait(desk, lambda: not desk.controller.context.runner.is_busy())
    assert desk.annotator.prediction is None
    assert desk.shown is None


def test_an_undo_of_what_was_preliminary_asks_for_the_rest(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    desk = open_progressive(accept_wait=AcceptWait.NONE)
    first = click_and_see(desk, COIN)
    desk.annotator.accept()
    desk.labels.undo()
    assert not desk.labels.data.any()
    assert np.array_equal(desk.masks[0], first)
    gate.open.set()
    wait(desk, lambda: is_final(desk))
    assert not np.array_equal(desk.masks[0], first)
    assert not desk.labels.data.any()


def test_only_the_final_answer_is_written_while_clicking(
    open_progressive: Callable[..., Desk], gate: Gate
) -> None:
    desk = open_progressive(live=True)
    click_and_see(desk, COIN)
    assert desk.controller.labels.layer is None or not desk.labels.data.any()
    gate.open.set()
    wait(desk, lambda: is_final(desk))
    assert np.array_equal(desk.labels.data == 1, desk.masks[0])
    desk.labels.undo()
    assert not desk.labels.data.any()


@pytest.mark.parametrize("wait_for", [AcceptWait.NONE, AcceptWait.FINAL])
def test_an_accept_writes_the_last_click_also_while_clicking_writes(
    open_progressive: Callable[..., Desk], gate: Gate, wait_for: AcceptWait
) -> None:
    """Not what was in the labels already, of the click before."""
    desk = open_progressive(live=True, accept_wait=wait_for)
    gate.open.set()
    desk.click(*COIN)
    wait(desk, lambda: is_final(desk))
    before = desk.labels.data == 1
    gate.open.clear()
    # Of the next object's coin as well: another mask for certain.
    desk.click(*OTHER)
    desk.annotator.accept()
    gate.open.set()
    wait(desk, lambda: not desk.annotator.is_waiting)
    after = desk.labels.data == 1
    assert not np.array_equal(before, after)
    assert after[round(OTHER[0]), round(OTHER[1])]
    desk.labels.undo()
    assert not desk.labels.data.any()


def test_what_did_not_change_is_not_drawn_again(
    open_progressive: Callable[..., Desk], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_progressive()
    gate.open.set()
    desk.click(*COIN)
    wait(desk, lambda: is_final(desk))
    layer = desk.annotator.preview.layer
    assert layer is not None
    drawn = []
    monkeypatch.setattr(layer, "refresh", lambda **_: drawn.append(1))
    desk.annotator.prompting.draw()
    assert not drawn
    desk.controller.cycle_level()
    wait(desk, lambda: desk.annotator.prediction.level is MaskLevel.SUBPART)
    assert drawn


class TestRest:
    """The pointer rests, and then clicks."""

    @pytest.fixture(autouse=True)
    def _short_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hover_module, "REST_SECONDS", 0.0)

    def is_idle(self, desk: Desk) -> bool:
        return not desk.controller.context.runner.is_busy()

    def test_the_answer_is_there_with_the_click(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        desk.move(*COIN)
        wait(desk, lambda: self.is_idle(desk))
        assert desk.shown is None
        desk.click(*COIN)
        assert is_final(desk)
        assert self.is_idle(desk)
        rested = desk.masks[0].copy()
        desk.annotator.discard()
        assert np.array_equal(truth(desk, COIN), rested)

    @pytest.mark.parametrize("change", ["zoom", "center"])
    def test_the_camera_may_come_to_rest_instead(
        self, open_progressive: Callable[..., Desk], gate: Gate, change: str
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        camera = desk.viewer.scene.camera
        desk.viewer.cursor.position = COIN
        if change == "zoom":
            camera.zoom *= 2
        else:
            camera.center = (0.0, *COIN)
        wait(desk, lambda: self.is_idle(desk))
        gate.open.clear()
        desk.click(*COIN)
        assert is_final(desk)
        # Beside the image, and with another tool, nobody is about to click.
        desk.viewer.cursor.position = (-50.0, -50.0)
        camera.zoom *= 2
        assert self.is_idle(desk)
        desk.controller.choose_tool(Tool.BOX)
        desk.viewer.cursor.position = OTHER
        camera.zoom *= 2
        assert self.is_idle(desk)

    def test_while_clicking_writes_it_is_written_at_once_as_one_step(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        gate.open.set()
        desk = open_progressive(live=True)
        for number, coin in enumerate((COIN, OTHER), 1):
            desk.move(*coin)
            wait(desk, lambda: self.is_idle(desk))
            desk.click(*coin)
            assert is_final(desk)
            assert np.array_equal(desk.labels.data == number, desk.masks[0])
            desk.annotator.accept()
        desk.labels.undo()
        assert desk.labels.data.max() == 1
        desk.labels.redo()
        assert desk.labels.data.max() == 2

    def test_what_was_known_is_shown_with_the_click_and_the_rest_follows(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        """The pointer had no time to rest long enough."""
        desk = open_progressive()
        desk.move(*COIN)
        wait(desk, lambda: gate.is_waited_at)
        assert desk.shown is None
        desk.click(*COIN)
        first = desk.masks[0].copy()
        assert not is_final(desk)
        gate.open.set()
        wait(desk, lambda: is_final(desk))
        rested = desk.masks[0].copy()
        assert not np.array_equal(rested, first)
        desk.annotator.discard()
        assert np.array_equal(truth(desk, COIN), rested)

    def test_nearby_the_views_are(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        desk.move(*COIN)
        wait(desk, lambda: self.is_idle(desk))
        gate.open.clear()
        desk.click(COIN[0] + 0.5, COIN[1] - 0.5)
        wait(desk, lambda: is_final(desk))
        assert not gate.is_waited_at

    @pytest.mark.parametrize("change", ["polarity", "cleaning", "level", "prompts"])
    def test_another_question_is_asked(
        self, open_progressive: Callable[..., Desk], gate: Gate, change: str
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        desk.click(*OTHER)
        wait(desk, lambda: is_final(desk))
        desk.move(*COIN)
        wait(desk, lambda: self.is_idle(desk))
        if change == "polarity":
            desk.controller.flip_polarity()
        elif change == "cleaning":
            desk.controller.change_settings(cleaning=PostProcessing(smooth=2.0))
        elif change == "level":
            desk.controller.cycle_level()
        else:
            desk.annotator.remove_last_prompt()
        wait(desk, lambda: self.is_idle(desk))
        before = desk.annotator.prediction
        desk.click(*COIN)
        assert desk.annotator.prediction is before
        wait(desk, lambda: is_final(desk) and self.is_idle(desk))
        assert desk.annotator.prediction is not before

    def test_with_another_tool_nothing_is_asked(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        desk = open_progressive()
        desk.controller.choose_tool(Tool.BOX)
        desk.move(*COIN)
        assert self.is_idle(desk)
        desk.controller.new_labels()
        desk.viewer.layers.selection.active = desk.labels
        desk.labels.mode = "paint"
        desk.move(*COIN)
        assert self.is_idle(desk)
        desk.controller.choose_tool(Tool.POINT)
        desk.move(*COIN)
        assert not self.is_idle(desk)
        desk.move(-50, -50)
        assert self.is_idle(desk)


class TestPress:
    """The button is down: the click is made when it comes up."""

    def test_the_answer_is_there_when_the_button_comes_up(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        let_go = desk.press(*COIN)
        wait(desk, lambda: not desk.controller.context.runner.is_busy())
        assert desk.shown is None
        assert len(desk.points.data) == 0
        let_go()
        assert is_final(desk)
        pressed = desk.masks[0].copy()
        desk.annotator.discard()
        assert np.array_equal(truth(desk, COIN), pressed)

    def test_the_frame_of_the_click_shows_the_mask(
        self,
        open_progressive: Callable[..., Desk],
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # As long as the decoding takes here, so that the order alone is tested.
        monkeypatch.setattr(prompting_module, "FRAME_SECONDS", 30.0)
        desk = open_progressive()
        desk.press(*COIN)()
        # Nothing was delivered by the event loop in between.
        assert desk.shown is not None
        assert not is_final(desk)
        gate.open.set()
        wait(desk, lambda: is_final(desk))

    def test_no_frame_is_held_back_for_what_takes_long(
        self,
        open_progressive: Callable[..., Desk],
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        held, release = threading.Event(), threading.Event()

        def long_step() -> None:
            held.set()
            release.wait(30.0)

        runner = desk.controller.context.runner
        runner.submit(Job(long_step, priority=Priority.PREDICT))
        held.wait(30.0)
        desk.press(*COIN)()
        assert desk.shown is None
        assert len(desk.points.data) == 1
        release.set()
        wait(desk, lambda: is_final(desk))

    def test_what_is_not_encoded_holds_nothing_back(
        self,
        open_progressive: Callable[..., Desk],
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        desk.press(*COIN)
        desk.controller.context.encoder._ready.clear()
        waited: list[float] = []
        monkeypatch.setattr(
            predict_module.Answering, "wait", lambda _, seconds: waited.append(seconds)
        )
        desk.annotator.prompting.request()
        assert waited == []

    def test_what_is_under_way_goes_on(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        desk = open_progressive()
        let_go = desk.press(*COIN)
        wait(desk, lambda: gate.is_waited_at)
        let_go()
        assert not is_final(desk)
        (shown,) = desk.annotator.prediction.results
        gate.open.set()
        wait(desk, lambda: is_final(desk))
        pressed = desk.masks[0].copy()
        assert desk.annotator.prediction.results[0] is not shown
        desk.annotator.discard()
        assert np.array_equal(truth(desk, COIN), pressed)

    def test_nothing_is_decoded_twice(
        self,
        open_progressive: Callable[..., Desk],
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        desk = open_progressive()
        asked: list[object] = []
        begin = predict_module.predict

        def counted(*args: Any) -> Any:
            asked.append(args)
            return begin(*args)

        for module in (hover_module, requests_module):
            monkeypatch.setattr(module, "predict", counted)
        let_go = desk.press(*COIN)
        wait(desk, lambda: gate.is_waited_at)
        let_go()
        gate.open.set()
        wait(desk, lambda: is_final(desk))
        assert len(asked) == 1

    def test_background_is_foreseen_as_background(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        desk.click(*COIN)
        wait(desk, lambda: is_final(desk))
        let_go = desk.press(*OTHER, "Control")
        wait(desk, lambda: not desk.controller.context.runner.is_busy())
        let_go()
        assert is_final(desk)
        (prompts,) = desk.annotator.prediction.prompts
        assert [p.positive for p in prompts.points] == [True, False]

    def test_a_drag_is_no_click(
        self, open_progressive: Callable[..., Desk], gate: Gate
    ) -> None:
        desk = open_progressive()
        let_go = desk.press(*COIN)
        wait(desk, lambda: gate.is_waited_at)
        let_go(moved=20.0)
        assert not desk.controller.context.runner.is_busy()
        assert desk.masks == []

    @pytest.mark.parametrize("tool", [Tool.BOX, Tool.EDIT])
    def test_other_tools_ask_nothing(
        self, open_progressive: Callable[..., Desk], tool: Tool
    ) -> None:
        desk = open_progressive()
        desk.controller.choose_tool(tool)
        let_go = desk.press(*COIN)
        assert not desk.controller.context.runner.is_busy()
        let_go()

    def test_a_failure_is_told_by_the_click_and_the_next_one_asks_again(
        self,
        open_progressive: Callable[..., Desk],
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        gate.open.set()
        desk = open_progressive()
        with monkeypatch.context() as patch:

            def fail(*_: Any) -> Any:
                raise ImageError("the disk is gone")

            patch.setattr(PlaneEncoder, "iter_get", fail)
            let_go = desk.press(*COIN)
            wait(desk, lambda: not desk.controller.context.runner.is_busy())
            assert "disk" not in desk.controller.status
            let_go()
            wait(desk, lambda: "disk" in desk.controller.status)
        desk.annotator.discard()
        desk.click(*COIN)
        wait(desk, lambda: is_final(desk))
