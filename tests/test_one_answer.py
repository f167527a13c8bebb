"""Everything mode finds the same from a script, a session and the command line."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from skimage import data

import napari_sam as ns
from napari_sam.cli import main
from napari_sam.core.everything.search import EverythingSettings
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.errors import ModelError, SettingsError
from napari_sam.models import DEFAULT_MODEL, find_model
from napari_sam.models.sam1.checkpoint import load_network, save_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("small_models")


def boxes(labels: np.ndarray) -> set[tuple[int, ...]]:
    """Return the extent of every object."""
    found = set()
    for number in np.unique(labels[labels > 0]):
        rows, cols = np.nonzero(labels == number)
        found.add((rows.min(), cols.min(), rows.max(), cols.max()))
    return found


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default model with other thresholds in its file."""
    network = load_network(find_model(DEFAULT_MODEL).path)
    network.thresholds = replace(network.thresholds, grid_score=0.97, score=0.9)
    path = tmp_path_factory.mktemp("strict") / "strict.safetensors"
    save_network(network, path)
    return path


@pytest.mark.parametrize(
    ("prompts", "is_strict"), [("grid", False), ("objects", False), ("objects", True)]
)
def test_one_answer_everywhere(
    tmp_path: Path, prompts: str, is_strict: bool, strict: Path
) -> None:
    """With the thresholds of the model that is asked."""
    image = np.ascontiguousarray(data.coins()[98:222, 15:185])
    few = EverythingSettings(prompts=prompts, points_per_side=6)
    name = str(strict) if is_strict else DEFAULT_MODEL
    script = ns.segment_everything(
        image, model=ns.load_model(name, device="cpu"), settings=few
    )
    assert script.thresholds.min_score == (
        0.9 if is_strict else {"grid": 0.88, "objects": 0.6}[prompts]
    )
    viewer = ViewerModel()
    viewer.add_image(image, name="coins")
    with ns.annotate(viewer, model=name, device="cpu") as session:
        session.segment_everything(everything=few)
        (found,) = session.controller.everything.found.values()
        assert session.labels is not None
        written = np.asarray(session.labels.data)
    tifffile.imwrite(tmp_path / "coins.tif", image)
    arguments = ["--prompts", prompts, "--points-per-side", "6", "--device", "cpu"]
    arguments += ["--model", name]
    out = tmp_path / "labels.tif"
    assert main(["everything", str(tmp_path / "coins.tif"), str(out), *arguments]) == 0
    assert len(script) >= 3
    assert found.thresholds == script.thresholds
    np.testing.assert_array_equal(found.box, script.box)
    expected = boxes(script.to_labels())
    assert boxes(tifffile.imread(out)) == expected
    assert boxes(written) == expected


def test_thresholds_are_carried_and_checked(strict: Path, tmp_path: Path) -> None:
    """A network that is written again keeps its own; nonsense is one sentence."""
    network = load_network(strict)
    again = tmp_path / "again.safetensors"
    save_network(network, again)
    assert load_network(again).thresholds == network.thresholds
    assert network.thresholds.score == 0.9
    assert load_network(find_model("mobile-sam").path).thresholds == ModelThresholds()


@pytest.mark.parametrize(
    "text",
    ["", "no", "7", '{"score": 2}', '{"score": NaN}', '{"scores": 0.5}', "[" * 9999],
)
def test_thresholds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ModelError, match="mine has thresholds that cannot be used"):
        ModelThresholds.from_text(text, "mine")


GRAY, LABELS = np.zeros((9, 9)), np.zeros((9, 9), int)


@pytest.mark.parametrize(
    ("door", "name", "meant"),
    [
        (partial(ns.segment_everything, GRAY), "points_per_sied", "points_per_side"),
        (partial(ns.iter_everything, GRAY), "min_centre", "min_center"),
        (partial(ns.iter_everything_stack, GRAY[None]), "box_nms", "box_nms_thresh"),
        (partial(ns.adapt, GRAY, LABELS), "step", "steps"),
        (partial(ns.iter_adapt, GRAY, LABELS), "learn_rate", "learning_rate"),
    ],
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", ""),
)
def test_a_misspelt_setting_is_refused_with_the_closest(
    door: Callable[..., Iterator[object]], name: str, meant: str
) -> None:
    with pytest.raises(SettingsError, match=f"did you mean '{meant}'"):
        next(door(**{name: 3}))


def test_a_misspelt_setting_of_a_viewer_changes_nothing() -> None:
    viewer = ViewerModel()
    viewer.add_image(GRAY)
    with ns.annotate(viewer, model="mobile-sam", device="cpu") as session:
        before = session.controller.settings
        for change in (
            session.change_settings,
            session.controller.change_settings,
            session.segment_everything,
        ):
            with pytest.raises(SettingsError, match="did you mean 'hover'"):
                change(hoover=True, live=True)
        assert session.controller.settings == before
