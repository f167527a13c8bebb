"""What a session refuses, and that it changes nothing then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_sam as ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.viewer.session import Session


@pytest.fixture(scope="module")
def session(coin_stack: np.ndarray) -> Iterator[Session]:
    viewer = ViewerModel()
    viewer.add_image(coin_stack, name="coins")
    with ns.annotate(viewer, device="cpu") as found:
        yield found


def test_a_layer_of_ours_is_not_the_image(coin_stack: np.ndarray) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(coin_stack, name="coins")
    with ns.annotate(viewer, device="cpu") as session:
        session.controller.show_model_input()
        ours = viewer.layers[-1]
        assert ours is not image
        ns.annotate(viewer, device="cpu")
        assert session.controller.context.image is image
        with pytest.raises(ns.ImageError, match="image layers are: 'coins'"):
            ns.annotate(viewer, ours.name)


@pytest.mark.parametrize(
    ("corners", "says"),
    [
        (((0, 5, 5), (1, 40, 40)), "several planes"),
        (((0, 5, 5, 5, 5), (0, 40, 40, 40, 40)), "axes"),
        (((0, 5, 5), (0, 5, 40)), "no area"),
        (((0, 5, 5), (0, float("nan"), 40)), "finite"),
        (((0, 5, 5), (0, "x", 40)), "numbers"),
    ],
)
def test_boxes_that_are_none(session: Session, corners: Any, says: str) -> None:
    with pytest.raises(ns.PromptError, match=says):
        session.add_box(*corners)
    assert session.controller.annotator.items.is_empty


@pytest.mark.parametrize(
    ("outline", "says"),
    [
        ([(0, 5, 5), (1, 5, 40), (2, 40, 40)], "several planes"),
        ([(0, 5, 5), (0, 5, 40), (0, np.nan, 40)], "finite"),
        ([(0, 5, 5), (0, 5, 40)], "encloses nothing"),
    ],
)
def test_outlines_that_are_none(session: Session, outline: Any, says: str) -> None:
    with pytest.raises(ns.PromptError, match=says):
        session.add_outline(outline)
    assert session.controller.annotator.items.is_empty


def test_what_goes_wrong_on_the_way_back_is_not_told(
    session: Session, notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first problem is the one to be told."""
    context = session.controller.context
    wait, waits = context.runner.wait, []

    def failing(slots: Any) -> None:
        waits.append(slots)
        wait(slots)
        if len(waits) > 1:
            context.report(ns.ModelError("The second problem."))

    monkeypatch.setattr(context.runner, "wait", failing)
    with pytest.raises(ns.PromptError, match="several planes"):
        session.add_box((0, 5, 5), (1, 40, 40))
    assert len(waits) == 2
    assert notes() == []


def test_objects_that_are_none_and_undo(session: Session) -> None:
    session.add_point((0, 25, 25))
    assert session.accept() == 1
    assert session.labels is not None
    for wrong in (float("nan"), 1.7, True, 2**70, 0, -1, "1", None):
        with pytest.raises(ns.LabelsError, match="not the number"):
            session.select_object(wrong)  # type: ignore[arg-type]
    written = np.asarray(session.labels.data).copy()
    assert written.any()
    session.undo()
    assert not np.asarray(session.labels.data).any()
    session.redo()
    np.testing.assert_array_equal(session.labels.data, written)
    session.discard()


def test_annotating_again_goes_on_with_what_is_there(session: Session) -> None:
    layers = list(session.controller.viewer.layers)
    again = ns.annotate(session.controller.viewer, "coins", device="cpu")
    assert again.controller is session.controller
    assert list(session.controller.viewer.layers) == layers


def test_reviewing_what_a_slice_was_filled_with(session: Session) -> None:
    session.discard()
    count = session.prefill()
    assert count > 0
    assert session.review() >= count
    assert session.accept_proposal()
    assert session.reject_proposal()


def test_what_a_script_sees_is_what_is_written(session: Session) -> None:
    session.discard()
    assert session.mask is None
    session.add_box((1, 6, 10), (1, 50, 60))
    session.add_box((1, 6, 66), (1, 50, 108))
    mask, score = session.mask, session.score
    assert mask is not None
    assert score is not None
    assert 0 < score <= 1
    labels = session.labels
    before = np.zeros(mask.shape) if labels is None else labels.data[1].copy()
    session.accept()
    assert session.labels is not None
    np.testing.assert_array_equal(session.labels.data[1] > 0, mask | (before > 0))
    assert session.mask is None
    session.undo()
    session.discard()


def test_what_is_not_there_is_named(coins: np.ndarray) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.stack([coins, coins]), name="coins")
    with pytest.raises(ns.ImageError, match=r"named 'cells'; .* are: 'coins'\."):
        ns.annotate(viewer, "cells")
    with ns.annotate(viewer, device="cpu") as session:
        with pytest.raises(ns.LabelsError, match="no labels yet, so no object 3"):
            session.select_object(3)
        viewer.dims.ndisplay = 3
        with pytest.raises(ns.PromptError, match="shows 3-D; switch it to 2-D"):
            session.add_point((0, 26, 30))
        assert session.controller.annotator.items.is_empty
        viewer.dims.ndisplay = 2
        viewer.layers.remove(layer)
        with pytest.raises(ns.ImageError, match="no image to annotate"):
            session.add_point((0, 26, 30))
