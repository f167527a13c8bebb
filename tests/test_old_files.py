"""Settings and figures that earlier versions wrote, read again."""

from __future__ import annotations

import json

import pytest

from napari_sam.core.masks import OverlapPolicy
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.errors import SettingsError
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.report import EvaluationSettings, Report
from napari_sam.viewer.projects.settings import settings_from_json, settings_to_json
from napari_sam.viewer.settings import (
    AcceptWait,
    AnnotationSettings,
    Normalization,
    PreviewStyle,
)

REPORT = (
    '{"settings": {"max_objects": 15, "min_area": 20, "clicks": [1, 3],'
    ' "feed_logits": true, "everything": 0, "prompts": "auto", "points_per_side": 32,'
    ' "max_area_share": 0.4, "overlap": "area", "seed": 0}, "problems": ["x: gone"],'
    ' "rows": [{"source": "s", "model": "m", "fingerprint": "f", "summary": {"images":'
    ' 1, "objects": 1, "iou": {"1": 0.1, "3": 0.2, "box": 0.5}, "iou_best_of_three":'
    ' {"1": 0.1, "3": 0.2, "box": 0.6}, "score_error": {"1": 0.0, "3": 0.0, "box":'
    ' 0.2}, "score_bias": {"1": 0.0, "3": 0.0, "box": 0.2}, "everything_images": 0,'
    ' "everything": {}}, "images": 1, "clicks": [1, 3], "objects": [{"image": "a",'
    ' "label": 1, "area": 50, "clicks": [0.1, 0.2], "clicks_best": [0.1, 0.2],'
    ' "clicks_predicted": [0.1, 0.2], "box": 0.5, "box_best": 0.6, "box_predicted":'
    ' 0.7}], "precisions": [], "seconds": 1.5}]}\n'
)
SETTINGS = {
    "policy": "overwrite",
    "cleaning": {"fill_holes": False, "smooth": 1.5, "min_area": 3, "gone": 1},
    "accept_wait": "final",
    "preview": "contour",
    "everything": {"prompts": "grid", "points_per_side": 5, "min_area": 20},
    "min_area": 12,
    "min_score": 7,
    "hover": "yes",
    "something": 1,
}


def test_a_report_is_read_and_written_alike() -> None:
    report = Report.from_json(REPORT)
    assert report.settings == EvaluationSettings(clicks=(1, 3))
    assert report.rows[0].objects[0].clicks == (0.1, 0.2)
    assert report.problems == ("x: gone",)
    assert report.to_json() == REPORT
    with pytest.raises(ValueError, match="seconds"):
        Report.from_json(REPORT.replace("1.5", '"long"'))


def test_a_recipe_that_knows_less_has_the_defaults() -> None:
    old = {"steps": 10, "parts": "decoder", "learning_rate": 1e-4, "boxes": 0}
    assert Recipe.from_json(old) == Recipe(
        steps=10, parts="decoder", learning_rate=1e-4, boxes=0
    )
    assert Recipe.from_json(json.loads(json.dumps(Recipe().to_json()))) == Recipe()
    with pytest.raises(SettingsError, match="did you mean 'steps'"):
        Recipe.from_json({"step": 10})


def test_settings_of_a_project_are_taken_over_where_they_can_be() -> None:
    now = AnnotationSettings()
    changes = settings_from_json(SETTINGS, now)
    kept = AnnotationSettings(**changes)
    assert kept.accept_wait is AcceptWait.FINAL
    assert kept.preview is PreviewStyle.CONTOUR
    assert (kept.cleaning.fill_holes, kept.cleaning.smooth) == (False, 1.5)
    assert (kept.everything.prompts, kept.everything.points_per_side) == ("grid", 5)
    assert kept.min_area == 12
    assert {"hover", "min_score", "something"}.isdisjoint(changes)
    stored = json.loads(json.dumps(settings_to_json(kept)))
    assert AnnotationSettings(**settings_from_json(stored, now)) == kept


def test_names_that_were_spelled_in_another_way_are_understood() -> None:
    now = AnnotationSettings()
    stored = {
        "normalisation": "as displayed",
        "policy": "unlabelled",
        "everything": {"min_centre": 0.4},
    }
    kept = AnnotationSettings(**settings_from_json(stored, now))
    assert kept.normalization is Normalization.DISPLAYED
    assert kept.policy is OverlapPolicy.UNLABELED
    assert kept.everything.min_center == 0.4
    assert ModelThresholds.from_text('{"centre": 0.3}', "mine").center == 0.3


def test_thresholds_of_a_weights_file_come_back() -> None:
    own = ModelThresholds.from_text('{"score": 0.5, "floor": 0}', "mine")
    assert own == ModelThresholds(score=0.5, floor=0)
    assert ModelThresholds.from_text(own.to_text(), "mine") == own
