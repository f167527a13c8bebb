"""Any order of actions against a plain model of what the labels must be.

The truth is a list of states: each step that changes pixels adds one, undo and redo
move along it.  Whatever is done in between, the labels are the newest state, every
record's pixels are its own, and undoing everything gives the first state back.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from desk import COINS, Desk
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from napari.components import ViewerModel

from napari_sam.core.annotation.records import METADATA_KEY, digest_of
from napari_sam.core.annotation.transaction import Stroke, Transaction, replay
from napari_sam.core.everything.search import EverythingSettings
from napari_sam.core.masks import OverlapPolicy
from napari_sam.viewer.background.worker import SyncRunner

if TYPE_CHECKING:
    from napari_sam.core.embeddings.engine import Engine

STEPS: Counter[str] = Counter()
"""What was done, to see that the machine is no idle one."""
PLANES = 3
FEW = EverythingSettings(points_per_side=4)


@dataclass
class Bench:
    """What the machine needs of the fixtures: hypothesis makes its own instances."""

    engine: Engine
    stack: np.ndarray


class Annotating(RuleBasedStateMachine):
    """A user in every order."""

    source: Bench

    @initialize(live=st.booleans(), policy=st.sampled_from(OverlapPolicy))
    def begin(self, live: bool, policy: OverlapPolicy) -> None:
        viewer = ViewerModel()
        self.image = viewer.add_image(self.source.stack, name="image")
        self.desk = Desk(
            viewer,
            SyncRunner(),
            live=live,
            policy=policy,
            everything=FEW,
            min_score=0.3,
            confident_score=0.3,
            confident_stability=0.3,
        )
        controller = self.desk.controller
        controller.loader.use(self.source.engine)
        controller.choose_image(self.image)
        controller.new_labels()
        self.first = self.labels.copy()
        # The same labels, made of the transactions alone.
        self.told = self.labels.copy()
        controller.labels.applied.connect(self.on_applied)
        self.history = [self.first.copy()]
        self.undone: list[np.ndarray] = []

    def on_applied(self, transaction: Transaction) -> None:
        replay(self.told, [transaction])

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.desk.labels.data)

    @property
    def target(self):
        return self.desk.controller.context.target

    def changed(self) -> None:
        """Take what is there as the newest state, if it is another."""
        STEPS["acts"] += 1
        if not np.array_equal(self.labels, self.history[-1]):
            STEPS["changes"] += 1
            self.history.append(self.labels.copy())
            self.undone.clear()

    # -- prompts --------------------------------------------------------------------

    @rule(coin=st.integers(0, 5), background=st.booleans())
    def click(self, coin: int, background: bool) -> None:
        self.desk.click(*COINS[coin], *(["Control"] if background else []))
        self.live_writes()

    @rule(coin=st.integers(0, 5))
    def box(self, coin: int) -> None:
        row, col = COINS[coin]
        self.desk.box(row - 20, col - 20, row + 20, col + 20)
        self.live_writes()

    @rule()
    def remove_prompt(self) -> None:
        self.desk.controller.remove_last_prompt()
        self.live_writes()

    @rule()
    def level(self) -> None:
        self.desk.controller.cycle_level()
        self.live_writes()

    def live_writes(self) -> None:
        """In live mode the newest step of the object under way is replaced."""
        if not self.desk.controller.settings.live:
            return
        self.resync()

    def resync(self) -> None:
        """Learn the states from the steps, which must lead back to the first."""
        now = self.labels.copy()
        spied = [now]
        self.target.catch_up()
        steps = self.target._history._done
        for step in reversed(steps):
            earlier = spied[-1].copy()
            replay(earlier, [step.inverse()])
            spied.append(earlier)
        if len(steps) < 100:
            np.testing.assert_array_equal(spied[-1], self.first)
        if not np.array_equal(now, self.history[-1]):
            STEPS["changes"] += 1
            self.undone.clear()
        self.history = spied[::-1]

    # -- what becomes of them -------------------------------------------------------

    @rule()
    def accept(self) -> None:
        before = self.labels.copy()
        number = self.desk.annotator.label
        policy = self.desk.controller.settings.policy
        taken = self.desk.annotator.accept()
        after = self.labels
        if not taken:
            np.testing.assert_array_equal(before, after)
        elif policy is not OverlapPolicy.OVERWRITE:
            others = (before > 0) & (before != number)
            np.testing.assert_array_equal(before[others], after[others])
        self.changed()

    @rule(coin=st.integers(0, 5), z=st.integers(0, PLANES - 1))
    def annotate(self, coin: int, z: int) -> None:
        """What users do most: go to a slice, click, accept."""
        self.desk.controller.discard()
        self.resync()
        self.desk.viewer.dims.set_current_step(0, z)
        self.desk.click(*COINS[coin])
        self.live_writes()
        self.accept()

    @rule()
    def find_and_write(self) -> None:
        self.desk.controller.segment_plane()
        self.write()

    @rule()
    def discard(self) -> None:
        self.desk.controller.discard()
        self.resync()

    @rule(label=st.integers(1, 6))
    def pick(self, label: int) -> None:
        if label < self.target.next_label:
            self.desk.annotator.select_object(label)
        self.live_writes()

    @rule()
    def everything(self) -> None:
        self.desk.controller.segment_plane()

    @rule()
    def prefill(self) -> None:
        self.desk.controller.prefill()

    @rule()
    def write(self) -> None:
        before = self.labels.copy()
        self.desk.controller.everything.write()
        if self.desk.controller.settings.policy is not OverlapPolicy.OVERWRITE:
            np.testing.assert_array_equal(before[before > 0], self.labels[before > 0])
        self.changed()

    @rule(which=st.integers(0, 5))
    def accept_proposal(self, which: int) -> None:
        review_items = self.desk.controller.everything.review_items
        if review_items:
            self.desk.controller.proposal_actions.accept(
                [review_items[which % len(review_items)]]
            )
        self.changed()

    @rule(which=st.integers(0, 5))
    def reject_proposal(self, which: int) -> None:
        review_items = self.desk.controller.everything.review_items
        if review_items:
            self.desk.controller.proposal_actions.reject(
                review_items[which % len(review_items)].key
            )
        self.resync()

    @rule(which=st.integers(0, 5))
    def correct_proposal(self, which: int) -> None:
        review_items = self.desk.controller.everything.review_items
        if review_items:
            self.desk.controller.proposal_actions.correct(
                review_items[which % len(review_items)]
            )
        self.live_writes()

    @rule(what=st.sampled_from(["start", "accept", "reject", "skip", "rest"]))
    def review(self, what: str) -> None:
        review = self.desk.controller.review
        if what == "start":
            review.toggle()
        elif what == "rest" and review.is_active:
            review.accept_rest()
        elif what == "accept":
            review.accept()
        elif what == "reject":
            review.reject()
        elif review.is_active:
            review.skip()
        self.resync()

    # -- the user's own hand ---------------------------------------------------------

    @rule(
        row=st.integers(0, 123),
        col=st.integers(0, 169),
        label=st.integers(0, 4),
        size=st.integers(1, 30),
    )
    def paint(self, row: int, col: int, label: int, size: int) -> None:
        layer = self.desk.labels
        layer.brush_size = size
        layer.paint((self.plane, row, col), label)
        self.changed()

    @rule(row=st.integers(0, 123), col=st.integers(0, 169), label=st.integers(0, 4))
    def fill(self, row: int, col: int, label: int) -> None:
        self.desk.labels.fill((self.plane, row, col), label)
        self.changed()

    @property
    def plane(self) -> int:
        return int(self.desk.viewer.dims.current_step[0])

    @rule(z=st.integers(0, PLANES - 1))
    def scroll(self, z: int) -> None:
        self.desk.viewer.dims.set_current_step(0, z)
        self.live_writes()

    @rule()
    def transpose(self) -> None:
        order = self.desk.viewer.dims.order
        self.desk.viewer.dims.order = (order[0], order[2], order[1])
        self.live_writes()

    @rule(visible=st.booleans())
    def show(self, visible: bool) -> None:
        self.desk.labels.visible = visible

    @rule()
    def switch_model(self) -> None:
        self.desk.controller.loader.use(self.source.engine)
        self.live_writes()

    @rule()
    def switch_image_and_back(self) -> None:
        layer = self.desk.labels
        controller = self.desk.controller
        controller.choose_image(None)
        controller.choose_image(self.image)
        assert controller.labels.layer is layer
        self.resync()

    # -- undo and redo ---------------------------------------------------------------

    @precondition(lambda self: len(self.history) > 1)
    @rule(by_key=st.booleans())
    def undo(self, by_key: bool) -> None:
        self.undone.append(self.history.pop())
        (self.desk.controller if by_key else self.desk.labels).undo()
        self.look_if_hidden()
        STEPS["undo"] += 1
        np.testing.assert_array_equal(self.labels, self.history[-1])

    @precondition(lambda self: self.undone)
    @rule(by_key=st.booleans())
    def redo(self, by_key: bool) -> None:
        self.history.append(self.undone.pop())
        (self.desk.controller if by_key else self.desk.labels).redo()
        self.look_if_hidden()
        np.testing.assert_array_equal(self.labels, self.history[-1])

    # -- what always holds -----------------------------------------------------------

    @invariant()
    def labels_are_the_newest_state(self) -> None:
        np.testing.assert_array_equal(self.labels, self.history[-1])

    @invariant()
    def the_transactions_tell_all(self) -> None:
        np.testing.assert_array_equal(self.told, self.labels)

    def look_if_hidden(self) -> None:
        """Napari tells nothing of an undo of a hidden layer; whoever reads looks."""
        if not self.desk.labels.visible:
            self.target.catch_up()

    @invariant()
    def free_numbers_are_free(self) -> None:
        assert self.target.next_label > self.labels.max()

    @invariant()
    def records_own_their_pixels(self) -> None:
        for record in self.target.records:
            assert record.label < self.target.next_label
            for mask in record.masks:
                pixels = self.target.mask_of(record.label, mask.plane)
                # What nobody painted on is as it was written.
                if not self.painted(record.label):
                    assert pixels is not None
                    assert digest_of(pixels) == mask.digest
        stored = self.desk.labels.metadata.get(METADATA_KEY)
        if stored is not None:
            assert set(stored["objects"]) == {str(r.label) for r in self.target.records}

    def painted(self, label: int) -> bool:
        """Whether a stroke in the undo history has touched an object."""
        return any(
            (c.before == label).any() or (c.after == label).any()
            for step in self.target._history._done
            if isinstance(step.origin, Stroke)
            for c in step.pixels
        )

    def teardown(self) -> None:
        if not hasattr(self, "history"):
            return
        for _ in range(len(self.history) - 1):
            self.desk.labels.undo()
            # Of several undos at once that end where they began no one can tell.
            self.look_if_hidden()
        np.testing.assert_array_equal(self.labels, self.first)
        self.target.catch_up()
        assert len(self.target.records) == 0
        assert self.target.next_label == 1
        np.testing.assert_array_equal(self.told, self.first)
        self.desk.controller.close()


@pytest.fixture
def machine(engine, coin_stack):
    Annotating.source = Bench(engine, coin_stack)
    return Annotating


@pytest.mark.timeout(0 if "NAPARI_SAM_EXAMPLES" in os.environ else 300)
def test_any_order_of_actions_keeps_every_promise(machine):
    """Runs longer with ``NAPARI_SAM_EXAMPLES``, so many sequences of 25 actions."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            deadline=None,
            max_examples=int(os.environ.get("NAPARI_SAM_EXAMPLES", "12")),
            # The same sequences each time; a longer run looks for new ones.
            derandomize="NAPARI_SAM_EXAMPLES" not in os.environ,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert STEPS["changes"] > 10
    assert STEPS["undo"] > 2
