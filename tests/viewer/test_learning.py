"""Learning from labels in a viewer: what is learnt from, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from desk import COINS, Desk, PumpedRunner
from napari.components import ViewerModel
from napari.layers import Image, Labels
from skimage.draw import disk

import napari_sam as ns
from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.records import (
    ObjectRecord,
    ObjectRecords,
    PlaneMask,
    Source,
)
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.errors import DataError, FileFormatError, ModelError, SettingsError
from napari_sam.training.adapt.settings import AdaptSettings
from napari_sam.types import Plane
from napari_sam.viewer.learning.examples import accepted
from napari_sam.viewer.learning.learner import Stage
from napari_sam.viewer.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = AdaptSettings(steps=1, objects=2, side=16)
NOTHING = AdaptSettings(steps=1, objects=2, side=16, learning_rate=1e-12)
"""Learns so slowly that the result is the base."""


@pytest.fixture(scope="module")
def engine(small_models: None, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return a model that is in a file: what is learnt is made of it."""
    model = ns.load_model("mobile-sam", device="cpu")
    return Engine(model, EmbeddingStore(tmp_path_factory.mktemp("embeddings")))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep models out of the user's folder."""
    place = tmp_path / "models"
    monkeypatch.setenv("NAPARI_SAM_MODELS_DIR", str(place))
    return place


@pytest.fixture
def painted(coins: np.ndarray) -> np.ndarray:
    """Return six coins, labeled by hand."""
    labels = np.zeros(coins.shape, np.uint16)
    for number, center in enumerate(COINS, start=1):
        labels[disk(center, 18, shape=labels.shape)] = number
    return labels


@pytest.fixture
def desk(
    open_desk: Callable[..., Desk], coins: np.ndarray, painted: np.ndarray
) -> Desk:
    """Return a viewer with the coins and their labels."""
    desk = open_desk(Image(coins, name="Coins of Pompeii!"))
    adopt(desk, painted)
    return desk


def adopt(desk: Desk, labels: np.ndarray) -> None:
    layer = Labels(labels.copy(), name="painted")
    desk.viewer.add_layer(layer)
    desk.controller.choose_labels(layer)


def own_models() -> list[str]:
    return sorted(spec.name for spec in ns.list_models() if not spec.bundled)


# -- which labels count -----------------------------------------------------


def record(label: int, z: int, **changes: object) -> ObjectRecord:
    plane = Plane((1, 2), (z, None, None))
    values = {"source": Source.PROMPTS} | changes
    mask = PlaneMask(plane, confirmed=values.pop("confirmed", True))
    return ObjectRecord(
        label, PromptItems(), "mobile-sam", 0.9, masks=(mask,), **values
    )


def test_planes_with_an_accepted_object_count():
    records = ObjectRecords()
    shown = Plane((1, 2), (0, None, None))
    assert [p.index[0] for p in accepted(records, shown, (9, 8, 8)).planes] == [
        *range(9)
    ]
    unseen = {"source": Source.EVERYTHING, "confirmed": False}
    found = [record(1, 4), record(2, 4), record(3, 7, **unseen), record(4, 2)]
    records.apply({r.label: r for r in found})
    material = accepted(records, shown, (9, 8, 8))
    assert [p.index[0] for p in material.planes] == [4, 2]
    assert material.unconfirmed == {3}


def test_what_was_clicked_is_learnt_from(open_desk: Callable[..., Desk], coins):
    desk = open_desk(coins)
    for center in COINS[:5]:
        desk.click(*center)
        desk.accept()
    session = Session(desk.controller)
    result = session.learn(settings=NOTHING)
    assert (result.n_objects, result.n_aside, result.n_planes) == (4, 1, 1)
    assert result.images == ("image",)


def test_an_object_of_a_stack_is_one_object(
    open_desk: Callable[..., Desk], coin_stack: np.ndarray, painted: np.ndarray
):
    """The same label on another plane is not a new object to be judged by."""
    desk = open_desk(coin_stack)
    adopt(desk, np.stack([painted, painted[:, ::-1], np.zeros_like(painted)]))
    result = Session(desk.controller).learn(settings=NOTHING)
    assert (result.n_objects, result.n_aside, result.n_planes) == (5, 1, 2)


# -- what comes of it -------------------------------------------------------


def test_better_is_kept_and_answers(desk: Desk, painted: np.ndarray):
    """Save it if it is better, and otherwise if the user wants it."""
    controller = desk.controller
    base = controller.loader.engine
    desk.click(*COINS[0])
    before = desk.annotator.prediction
    session = Session(controller)
    result = session.learn(settings=QUICK)
    assert result.improved == (controller.learning.stage is Stage.KEPT)
    if not result.improved:
        assert controller.learning.stage is Stage.UNDECIDED
        assert own_models() == []
        assert controller.loader.engine is base
        controller.learning.keep()
    assert controller.learning.stage is Stage.KEPT
    assert own_models() == ["mobile-sam-coins-of-pompeii"]
    assert controller.loader.name == "mobile-sam-coins-of-pompeii"
    # The same embeddings, another decoder, and the preview is its answer.
    engine = controller.loader.engine
    assert engine.model.encoder_fingerprint == base.model.encoder_fingerprint
    assert engine.model.fingerprint != base.model.fingerprint
    after = desk.annotator.prediction
    assert after is not before
    assert not np.array_equal(after.results[0].logits, before.results[0].logits)
    np.testing.assert_array_equal(desk.labels.data, painted)
    # Learning more gives another model of that name.
    assert controller.learning.suggested_name == "mobile-sam-coins-of-pompeii"
    controller.learning.drop()
    assert controller.learning.stage is Stage.IDLE
    assert own_models() == []
    assert controller.loader.name == "mobile-sam"


def test_no_better_is_not_kept_unless_wanted(desk: Desk):
    session = Session(desk.controller)
    result = session.learn("mine", settings=NOTHING)
    assert result.after == result.before
    assert not result.improved
    assert desk.controller.status.startswith("Not better: 1 click")
    assert own_models() == []
    desk.controller.learning.keep()
    assert own_models() == ["mine"]
    assert session.learn("mine", settings=NOTHING, always=True).name == "mine-2"
    assert own_models() == ["mine", "mine-2"]
    assert desk.controller.loader.name == "mine-2"


# -- what is refused --------------------------------------------------------


def test_bad_labels_and_names_are_refused(
    open_desk: Callable[..., Desk], coins: np.ndarray, painted: np.ndarray
):
    desk = open_desk(coins)
    session = Session(desk.controller)
    with pytest.raises(DataError, match="no labels"):
        session.learn()
    adopt(desk, np.zeros_like(painted))
    with pytest.raises(DataError, match="no accepted object"):
        session.learn()
    desk.labels.data_setitem(np.nonzero(painted == 1), 1)
    with pytest.raises(DataError, match="only one object"):
        session.learn()
    adopt(desk, np.full_like(painted, 3))
    with pytest.raises(DataError, match="covers the whole image"):
        session.learn()
    with pytest.raises(SettingsError, match="cannot be the name"):
        session.learn("a/b")
    assert desk.controller.learning.stage is Stage.IDLE
    assert own_models() == []


# -- faults -----------------------------------------------------------------


def test_a_model_that_is_gone(desk: Desk, painted: np.ndarray, folder: Path):
    """The base is removed between its loading and its adaptation."""
    session = Session(desk.controller)
    assert session.learn("mine", settings=NOTHING, always=True).name == "mine"
    engine = desk.controller.loader.engine
    (folder / "mine.safetensors").unlink()
    with pytest.raises(ModelError, match="no model called 'mine'"):
        session.learn(settings=NOTHING)
    assert desk.controller.learning.stage is Stage.IDLE
    assert desk.controller.loader.engine is engine
    np.testing.assert_array_equal(desk.labels.data, painted)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written(
    desk: Desk, painted: np.ndarray, folder: Path, notes: Callable[[], list[str]]
):
    """What was learnt is not lost: it can be saved once the folder is there."""
    folder.write_text("not a folder")
    session = Session(desk.controller)
    with pytest.raises(FileFormatError, match="cannot be made"):
        session.learn("mine", settings=NOTHING, always=True)
    learning = desk.controller.learning
    assert learning.stage is Stage.UNDECIDED
    assert desk.controller.loader.name == "mobile-sam"
    np.testing.assert_array_equal(desk.labels.data, painted)
    learning.keep()
    assert "cannot be made" in notes()[-1]
    folder.unlink()
    learning.keep()
    assert learning.stage is Stage.KEPT
    assert own_models() == ["mine"]


# -- in the background ------------------------------------------------------


@pytest.fixture
def endless(
    open_desk: Callable[..., Desk],
    coins: np.ndarray,
    painted: np.ndarray,
    pumped: PumpedRunner,
) -> Desk:
    """Return a desk that has begun to learn and would not end by itself."""
    desk = open_desk(coins, runner=pumped)
    adopt(desk, painted)
    pumped.pump(lambda: desk.controller.prefetcher.is_shown_ready)
    settings = AdaptSettings(steps=10_000, objects=2, side=16)
    desk.controller.learning.start(settings=settings)
    return desk


def test_annotating_goes_on_and_cancel_leaves_no_trace(
    endless: Desk, painted: np.ndarray, pumped: PumpedRunner
):
    controller = endless.controller
    learning, base = controller.learning, controller.loader.engine
    pumped.pump(
        lambda: learning.progress is not None and "step" in learning.progress.text
    )
    # A click is answered, by the old model, while the other thread learns.
    endless.click(*COINS[2])
    pumped.pump(lambda: endless.annotator.prediction is not None)
    assert learning.stage is Stage.LEARNING
    assert controller.loader.engine is base
    pumped.pump(lambda: "step 2 of" in learning.progress.text)
    learning.cancel()
    assert learning.stage is Stage.IDLE
    assert learning.progress is None
    learning.runner.wait(("learn",))
    pumped.drain()
    assert learning.stage is Stage.IDLE
    assert learning.result is None
    assert own_models() == []
    assert controller.loader.engine is base
    np.testing.assert_array_equal(endless.labels.data, painted)


def test_closing_ends_the_thread(endless: Desk, pumped: PumpedRunner):
    learning = endless.controller.learning
    pumped.pump(lambda: learning.stage is Stage.LEARNING)
    runner = learning.runner
    endless.controller.close()
    runner.close(60.0)
    assert not runner._threads
    assert own_models() == []


def test_headless_scripts_learn_too(coins: np.ndarray, painted: np.ndarray, folder):
    viewer = ViewerModel()
    viewer.add_layer(Image(coins, name="coins"))
    viewer.add_layer(Labels(painted, name="mine"))
    with ns.annotate(viewer, "coins", labels="mine", device="cpu") as session:
        result = session.learn("pompeii", settings=NOTHING, always=True)
    assert result.name == "pompeii"
    assert (folder / "pompeii.safetensors").is_file()
