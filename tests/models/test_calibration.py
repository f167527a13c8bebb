"""Scaling the logits of a network without changing its masks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.core.everything.decoding import measure
from napari_sam.errors import ModelError
from napari_sam.models import find_model
from napari_sam.models.sam1.calibration import logit_factor, scale_logits, shift_scores
from napari_sam.models.sam1.checkpoint import load_network
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.sam import SamModel

if TYPE_CHECKING:
    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.plane import SamPlane

# On coins and beside them.
POINTS = [(50, 40), (45, 100), (120, 50), (190, 60), (260, 110), (120, 230), (10, 10)]


@pytest.fixture(scope="module")
def network() -> SamNetwork:
    return load_network(find_model("mobile-sam").path)


def planes(network: SamNetwork, plane: SamPlane, factor: float) -> SamPlane:
    """Return the encoded image for a network whose logits are scaled."""
    scaled = copy.deepcopy(network)
    scale_logits(scaled, factor)
    model = SamModel.from_network(scaled, name="x", device="cpu", dtype="float32")
    return model.restore(plane.embedding)


def test_masks_and_refined_answers_stay_the_same(
    network: SamNetwork, plane32: SamPlane
) -> None:
    flat = planes(network, plane32, 0.125)
    for point in POINTS[:3]:
        before, after = (p.predict(points=[point]) for p in (plane32, flat))
        np.testing.assert_allclose(after.logits * 8, before.logits, atol=1e-3)
        np.testing.assert_allclose(after.predicted_iou, before.predicted_iou, atol=1e-5)
        more = [(point[0] + 8, point[1] + 8)]
        second, third = (
            p.predict(points=[point, *more], logits=r.logits[r.default])
            for p, r in ((plane32, before), (flat, after))
        )
        np.testing.assert_allclose(third.logits * 8, second.logits, atol=1e-2)


def test_scores_of_clicks_are_shifted_and_nothing_else(
    network: SamNetwork, plane32: SamPlane
) -> None:
    modest = copy.deepcopy(network)
    shift_scores(modest, -0.125)
    model = SamModel.from_network(modest, name="x", device="cpu", dtype="float32")
    plane = model.restore(plane32.embedding)
    for point in POINTS[:3]:
        before, after = (p.predict(points=[point]) for p in (plane32, plane))
        np.testing.assert_allclose(after.scores, before.scores - 0.125, atol=1e-5)
        assert after.predicted_iou[0] == pytest.approx(before.predicted_iou[0])
        assert after.default == before.default
        np.testing.assert_allclose(after.logits, before.logits, atol=1e-4)


def test_of_a_model_that_blends_all_scores_are_shifted(
    network: SamNetwork, plane32: SamPlane
) -> None:
    found = []
    for by in (0.0, -0.125):
        own = copy.deepcopy(network)
        own.blend = MultimaskEnsemble()
        shift_scores(own, by)
        model = SamModel.from_network(own, name="x", device="cpu", dtype="float32")
        found.append(model.restore(plane32.embedding))
    before, after = (p.predict(box=(104.5, 185.5, 143.5, 225.5)) for p in found)
    # The weights of the blend are the same.
    np.testing.assert_allclose(
        after.predicted_iou, before.predicted_iou - 0.125, atol=1e-5
    )
    np.testing.assert_allclose(after.logits, before.logits, atol=1e-3)


def test_the_factor_makes_good_masks_typically_stable(
    network: SamNetwork, plane32: SamPlane
) -> None:
    flat = planes(network, plane32, 0.125)
    own = logit_factor([(plane32, POINTS)])
    factor = logit_factor([(flat, POINTS)])
    assert factor == pytest.approx(8 * own, rel=0.02)
    sharp = planes(network, plane32, 0.125 * factor)
    stable = [
        measured.stability
        for batch in sharp.iter_points(POINTS, best_only=True)
        for mask in batch.logits
        if (measured := measure(mask, sharp.frame)) is not None
    ]
    assert np.median(stable) == pytest.approx(0.95, abs=0.01)
    strict = logit_factor([(flat, POINTS)], stability=0.99)
    assert strict > factor


def test_no_mask_to_measure() -> None:
    with pytest.raises(ModelError, match="none of the points"):
        logit_factor([])
