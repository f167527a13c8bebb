"""Measuring models: the protocol on the real model, means, tables and files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.everything.search import EverythingSettings, iter_everything
from napari_sam.core.imaging import to_rgb
from napari_sam.core.metrics import (
    average_precision,
    interactive_score,
    object_mask,
)
from napari_sam.core.steps import finish
from napari_sam.errors import SettingsError
from napari_sam.io import read_image
from napari_sam.samples import SAMPLES
from napari_sam.training import (
    EvaluationSettings,
    Report,
    Sample,
    Source,
    evaluate,
    iter_evaluate,
    read_samples,
)
from napari_sam.training.report import ObjectScore, Row

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.core.model import Model
    from napari_sam.types import Progress

shares = st.floats(0, 1).map(lambda x: round(x, 4))


def triple(values: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(values, values, values)


scores = st.builds(
    ObjectScore,
    image=st.text(max_size=5),
    label=st.integers(1, 99),
    area=st.integers(20, 9999),
    clicks=triple(shares),
    clicks_best=triple(shares),
    clicks_predicted=triple(shares),
    box=shares,
    box_best=shares,
    box_predicted=shares,
)
rows = st.builds(
    Row,
    source=st.sampled_from(["nuclei", "cells | of | mine"]),
    model=st.sampled_from(["mobile-sam", "other"]),
    fingerprint=st.just("abc"),
    images=st.integers(1, 9),
    clicks=st.just((1, 3, 5)),
    objects=st.lists(scores, max_size=4).map(tuple),
    precisions=st.lists(st.tuples(*[shares] * 10), max_size=3).map(tuple),
    seconds=st.just(1.5),
)


@pytest.fixture(scope="module")
def nuclei() -> Sample:
    """Return a part of a real image, with rough labels made by a threshold."""
    from scipy import ndimage

    image = np.asarray(read_image(SAMPLES["nuclei"].path).data)[:256, :256]
    bright = ndimage.gaussian_filter(image.astype(float), 2) > np.percentile(image, 85)
    labels, _ = ndimage.label(bright)
    return Sample("nuclei", to_rgb(image), labels.astype(np.int32))


def test_the_protocol_on_real_images(
    model: Model, shared_data: Path, nuclei: Sample
) -> None:
    samples = read_samples(Source(shared_data / "stardist_2d", is_whole=True))
    options = EvaluationSettings(max_objects=3, clicks=(1, 2))
    seen: list[Progress] = []
    report = evaluate(model, samples, options, seen.append)
    assert [(p.done, p.total) for p in seen] == [(1, 1)]
    (row,) = report.rows
    assert (row.source, row.model, row.images) == ("stardist_2d", "mobile-sam", 1)
    assert row.fingerprint == model.fingerprint
    assert row.prompts == ("1", "2", "box")
    assert len(row.objects) == 3
    # The records are what the protocol gives, object by object.
    sample = samples[0]
    plane = model.encode_rgb(sample.rgb)
    for score in row.objects:
        assert score.image == "img2d"
        truth = object_mask(sample.labels, score.label)
        assert score.area == truth.area
        known = interactive_score(plane, truth, n_clicks=2, feed_logits=True)
        assert score.clicks == pytest.approx(known.clicks, abs=1e-4)
        assert score.clicks_best == pytest.approx(known.clicks_best, abs=1e-4)
        assert score.clicks_predicted == pytest.approx(known.clicks_predicted, abs=1e-4)
        assert score.box == pytest.approx(known.box, abs=1e-4)
        assert score.box_predicted == pytest.approx(known.box_predicted, abs=1e-4)


def test_several_models_and_everything_mode(model: Model, nuclei: Sample) -> None:
    options = EvaluationSettings(
        max_objects=2, clicks=(1, 2), everything=1, points_per_side=4
    )
    seen: list[Progress] = []
    report = evaluate([model, model], [nuclei], options, seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == seen[-1].total
    first, twin = report.rows
    assert first.source == twin.source == "samples"
    assert first.model == twin.model == f"mobile-sam ({model.fingerprint[:8]})"
    assert first.objects == twin.objects
    assert {o.image for o in first.objects} == {"nuclei"}
    assert len(first.precisions) == len(twin.precisions) == 1
    assert first.precisions == twin.precisions
    found = np.array(first.precisions[0])
    assert found.shape == (10,)
    assert (np.diff(found) <= 0).all()
    anew = replace(options, feed_logits=False, everything=0)
    plain = evaluate(model, [nuclei], anew).rows[0]
    assert [o.clicks[0] for o in plain.objects] == [o.clicks[0] for o in first.objects]
    assert [o.clicks[1] for o in plain.objects] != [o.clicks[1] for o in first.objects]
    assert plain.precision == {}
    assert "AP" in report.to_markdown()
    assert "AP" not in Report((plain,)).to_markdown()


@pytest.mark.parametrize("overlap", ["area", "score"])
def test_everything_mode_is_what_the_user_gets(
    model: Model, nuclei: Sample, overlap: Literal["area", "score"]
) -> None:
    options = EvaluationSettings(
        max_objects=0, everything=1, prompts="grid", points_per_side=6, overlap=overlap
    )
    row = evaluate(model, [nuclei], options).rows[0]
    grid = EverythingSettings(prompts="grid", points_per_side=6, max_area_share=0.4)
    found = finish(iter_everything(nuclei.rgb, model.encode_rgb, grid))
    labels = found.to_labels(overlap=overlap)
    expected = average_precision(nuclei.labels, labels)
    assert expected[0] > 0
    assert row.precisions[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"overlap": "first"}, {"prompts": "dots"}, {"max_area_share": 1.5}]
)
def test_what_everything_mode_cannot_do_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        EvaluationSettings(everything=1, **wrong)


def test_stopping_between_images(model: Model, nuclei: Sample) -> None:
    options = EvaluationSettings(max_objects=1, clicks=(1,))
    steps = iter_evaluate(model, [nuclei, nuclei], options)
    assert next(steps).done == 1
    steps.close()


@settings(deadline=None)
@given(rows)
def test_means_are_means(row: Row) -> None:
    if not row.objects:
        assert row.prompts == ()
        assert np.isnan(row.iou("box"))
        return
    true = np.array([o.clicks for o in row.objects])
    predicted = np.array([o.clicks_predicted for o in row.objects])
    for i, prompt in enumerate(("1", "3", "5")):
        assert row.iou(prompt) == pytest.approx(true[:, i].mean())
        difference = predicted[:, i] - true[:, i]
        assert row.score_error(prompt) == pytest.approx(np.abs(difference).mean())
        assert row.score_bias(prompt) == pytest.approx(difference.mean())
    assert row.iou_best("box") == pytest.approx(
        np.mean([o.box_best for o in row.objects])
    )
    ranked = [o.box for o in row.ranked("box")]
    assert ranked == sorted(o.box for o in row.objects)
    with pytest.raises(ValueError, match="'2' was not measured"):
        row.iou("2")
    if row.precisions:
        table = np.array(row.precisions)
        assert row.precision == pytest.approx(
            {
                "0.5": table[:, 0].mean(),
                "0.75": table[:, 5].mean(),
                "mean": table.mean(),
            }
        )


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, min_size=1, max_size=3).map(tuple), st.lists(st.text()))
def test_files_hold_everything(found: tuple[Row, ...], problems: list[str]) -> None:
    report = Report(found, EvaluationSettings(seed=7), tuple(problems))
    assert Report.from_json(report.to_json()) == report
    for row, written in zip(found, json.loads(report.to_json())["rows"], strict=True):
        assert written["summary"]["objects"] == len(row.objects)
        for prompt, value in written["summary"]["iou"].items():
            assert value == pytest.approx(row.iou(prompt), abs=1e-4)
    lines = report.to_markdown().split("\n")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(found)
    # As many columns everywhere, whatever was measured.
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_a_table() -> None:
    one = ObjectScore("a", 1, 30, (0.5, 0.6, 0.7), (0.6, 0.7, 0.8), (0.9, 0.9, 0.9), 0.8, 0.9, 0.7)  # fmt: skip  # noqa: E501
    two = replace(one, label=2, clicks=(0.7, 0.8, 0.9), box_predicted=1.0)
    row = Row("cells", "mobile-sam", "x", 4, objects=(one, two))
    assert Report((row, replace(row, model="mine", objects=()))).to_markdown() == (
        "| set | model | images | objects | 1 click | 3 clicks | 5 clicks | box"
        " | score error, 1 click | score error, box |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| cells | mobile-sam | 4 | 2 | 0.600 / 0.600 | 0.700 / 0.700 | 0.800 / 0.800"
        " | 0.800 / 0.900 | 0.300 (+0.300) | 0.150 (+0.050) |\n"
        "| cells | mine | 4 | 0 |  |  |  |  |  |  |\n"
        "\n"
        "Mean IoU of the mask the user gets / of the best of three. Score error: mean"
        " of |predicted - true IoU| of the first (mean of the difference).\n"
    )
    assert Report((row,)).row("cells") is row
    with pytest.raises(KeyError, match="other"):
        Report((row,)).row("cells", "other")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_objects": -1},
        {"clicks": ()},
        {"clicks": (0, 1)},
        {"clicks": (3, 1)},
        {"max_objects": 0},
    ],
)
def test_settings_that_measure_nothing(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"\w.*\.$"):
        EvaluationSettings(**wrong)
