"""Options that are made from settings, and what they refuse."""

from __future__ import annotations

import argparse
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.cli import main
from napari_sam.cli.options import add_settings, given_settings, texts_of
from napari_sam.cli.parser import make_parser
from napari_sam.cli.report import Report
from napari_sam.core.everything.settings import EverythingSettings
from napari_sam.core.settings import Setting, settings_of
from napari_sam.core.volumes.linked import LinkSettings
from napari_sam.core.volumes.propagation import PropagationSettings
from napari_sam.errors import SettingsError
from napari_sam.training.adapt.settings import AdaptSettings
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.report import EvaluationSettings
from napari_sam.types import Progress

KINDS = (
    Recipe,
    AdaptSettings,
    EvaluationSettings,
    EverythingSettings,
    LinkSettings,
    PropagationSettings,
)
FIELDS = [(kind, one) for kind in KINDS for one in settings_of(kind)]
OPTIONS = [(kind, one) for kind, one in FIELDS if one.kind is not object]


def parser_of(kind: type[Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_settings(parser, kind)
    return parser


def values_of(one: Setting) -> st.SearchStrategy[Any]:
    """Draw what a field may be."""
    low, high, step = one.limits.low, one.limits.high, one.limits.step
    if one.choices:
        return st.sampled_from(one.choices)
    if one.kind is bool:
        return st.just(not one.default)
    if one.kind is int:
        first = max(math.ceil(low / step), -1000) if low > -math.inf else -1000
        last = math.floor(high / step) if high < math.inf else 10_000
        return st.integers(first, last).map(lambda n: n * step)
    return st.floats(
        max(low, -1e6),
        min(high, 1e6),
        exclude_min=one.limits.above,
        allow_subnormal=False,
    )


@pytest.mark.parametrize(
    ("kind", "one"), OPTIONS, ids=[f"{k.__name__}.{o.name}" for k, o in OPTIONS]
)
@given(data=st.data())
def test_a_value_of_each_field_comes_back(
    kind: type[Any], one: Setting, data: st.DataObject
) -> None:
    value = data.draw(values_of(one))
    flag = f"--{one.name.replace('_', '-')}"
    words = [flag] if one.kind is bool else [f"{flag}={value}"]
    assert given_settings(parser_of(kind).parse_args(words), kind) == {one.name: value}


@pytest.mark.parametrize("kind", KINDS)
def test_without_options_the_defaults_hold(kind: type[Any]) -> None:
    assert given_settings(parser_of(kind).parse_args([]), kind) == {}
    assert kind() == kind(
        **{o.name: getattr(kind(), o.name) for o in settings_of(kind)}
    )


@pytest.mark.parametrize(("kind", "one"), FIELDS)
def test_each_field_is_documented(kind: type[Any], one: Setting) -> None:
    text = texts_of(kind)[one.name]
    assert text
    assert not text.endswith(".")
    assert "  " not in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["nan", "-1e9", "1e9", "many", True, None, "", ()])
def test_what_no_field_can_be_is_said_in_one_sentence(
    kind: type[Any], wrong: Any
) -> None:
    for own, one in OPTIONS:
        if own is not kind:
            continue
        given = float(wrong) if wrong in ("nan", "-1e9", "1e9") else wrong
        try:
            kind(**{one.name: given})
        except SettingsError as error:
            said = str(error)
            assert "\n" not in said
            assert said.endswith(".")
            assert ";" in said or "are" in said


def test_limits_are_named() -> None:
    for wrong, said in (
        ({"steps": 0}, "steps is 0; choose a whole number from 1."),
        ({"steps": 2.5}, "steps is 2.5; choose a whole number from 1."),
        ({"side": 100}, "side is 100; choose a multiple of 16 from 64 to 1024."),
        ({"boxes": 2}, "boxes is 2; choose a value from 0 to 1."),
        ({"min_size": 0}, "min_size is 0; choose a value above 0."),
        (
            {"steps": "many"},
            "steps is 'many', which is no number; choose a whole number from 1.",
        ),
        (
            {"parts": "x"},
            "parts is 'x'; choose from all, decoder, decoder+neck.",
        ),
    ):
        with pytest.raises(SettingsError) as caught:
            Recipe(**wrong)  # type: ignore[arg-type]
        assert str(caught.value) == said


TRAIN = ("train", "images", "--out=run")
ADAPT = ("adapt", "images", "--name=mine")
EVERYTHING = ("everything", "in.tif", "out.tif")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((*TRAIN, "--steps=0"), "--steps is 0; choose a whole number from 1."),
        ((*TRAIN, "--steps=1.5"), "--steps is '1.5', which is no number; choose"),
        ((*TRAIN, "--boxes=nan"), "--boxes is nan; choose a value from 0 to 1."),
        ((*TRAIN, "--parts=x"), "--parts is 'x'; choose from all, decoder,"),
        ((*TRAIN, "--min-size=9", "--max-size=5"), "give the smaller one first"),
        ((*EVERYTHING, "--min-score=2"), "--min-score is 2.0; choose a value"),
        ((*EVERYTHING, "--crop-layers=9"), "--crop-layers is 9; choose a whole"),
        ((*EVERYTHING, "--no-split"), "--no-split is about linking; add --link"),
        ((*EVERYTHING, "--no-grow"), "--no-grow is about linking; add --link"),
        ((*EVERYTHING, "--gap=1"), "--gap is about linking; add --link"),
        (("link", "a.tif", "-o=b.tif", "--gap=-1"), "--gap is -1; choose a whole"),
        ((*ADAPT, "--steps=0"), "--steps is 0; choose a whole number from 1."),
        ((*ADAPT, "--side=7"), "--side is 7; choose a whole number from 8 to 64."),
        ((*ADAPT, "--pull=2"), "--pull is 2.0; choose a value from 0 to 1."),
        (("evaluate", "a", "--max-objects=-1"), "--max-objects is -1; choose"),
    ],
)
def test_a_wrong_option_is_said_in_one_sentence(
    command: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("napari-sam: ")
    assert err.endswith(".\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    ["everything", "predict", "propagate", "link", "evaluate", "train", "adapt"],
)
def test_help_has_words_on_all_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args([command, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "SettingS" not in said
    assert "Recipe." not in said


def test_progress_has_a_time_of_its_own_for_each_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("napari_sam.core.stopwatch.time.perf_counter", lambda: now)
    report = Report(quiet=False)
    for seconds, done, text in (
        (0, 0, "encoding"),
        (100, 5, "encoding"),
        (200, 10, "encoding"),
        (200, 0, "learning"),
        (210, 5, "learning, about 30 s left"),
        (220, 8, "learning"),
    ):
        now = float(seconds)
        report(Progress(done, 10, text))
    report.close()
    assert capsys.readouterr().err.splitlines() == [
        "  0% encoding",
        " 50% encoding, 1 min 40 s left",
        "100% encoding, 0 s left",
        "  0% learning",
        " 50% learning, about 30 s left",
        " 80% learning, 5 s left",
    ]
    Report(quiet=True)(Progress(1, 2, "encoding"))
    assert capsys.readouterr().err == ""
