"""The status line is what the state says, and news goes when it is not true."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from napari_sam.viewer.settings import Tool
from napari_sam.viewer.status import StatusLine, StatusState, next_step, status_of

IDLE = StatusState(has_image=True, model="mobile-sam-microscopy")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"has_image": False, "rest_reason": "Choose an image."}, "Choose an image."),
        ({"is_loading": True}, "Loading model mobile-sam-microscopy"),
        ({"rest_reason": "Switch the viewer to 2-D."}, "Switch the viewer to 2-D."),
        ({"is_encoding": True}, "Encoding this plane …  You can click already."),
        (
            {"is_encoding": True, "has_prompts": True},
            "Encoding this plane …  The mask comes next.",
        ),
        ({}, "Click an object.  Ctrl-click marks background."),
        ({"marks_objects": False}, "Click background."),
        ({"tool": Tool.BOX}, "Drag a box around an object"),
        ({"tool": None, "mouse_layer": "cells"}, "The mouse works on layer 'cells'."),
        ({"has_prompts": True, "is_awaited": True}, "The mask is on its way"),
        ({"has_prompts": True, "has_object_prompt": False}, "Only background"),
        ({"has_prompts": True, "has_object_prompt": True, "score": 0.5}, "Score 0.50."),
        ({"score": 0.5, "slices": 1}, "Score 0.50.  N accepts · W"),
        ({"score": 0.5, "slices": 9}, "Score 0.50.  N accepts all 9 slices · W"),
        (
            {"score": 0.5, "slices": 3, "is_cut_short": True},
            "followed on 3 slices only: Shift+T goes on · N accepts these",
        ),
        ({"waiting_planes": 2}, "is on 2 other planes: N accepts"),
        ({"certainty": 0.3}, "Certainty 0.30."),
        ({"review_items": 4}, "4 proposed."),
        ({"search": "3 of 9 points"}, "Everything mode: 3 of 9 points"),
    ],
)
def test_the_line_says_what_comes_next(changes, said):
    assert said in status_of(replace(IDLE, **changes))


class Line:
    """A line whose state the test changes."""

    def __init__(self):
        self.state, self.other = IDLE, object()
        self.line = StatusLine(self.read)

    def read(self):
        return self.state, (self.other,)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: setattr(line, "state", replace(IDLE, has_prompts=True)),
        lambda line: setattr(line, "other", SimpleNamespace()),
    ],
)
def test_news_stands_until_the_state_that_followed_it_changes(change):
    line = Line()
    line.line.say("12 objects written.  Ctrl+Z takes them back")
    # What the event itself changes comes before the event loop is back.
    line.state = replace(IDLE, label=13)
    assert line.line.text.startswith("12 objects written")
    assert line.line.text.startswith("12 objects written")
    change(line)
    assert line.line.text == status_of(line.state)


def test_news_stands_while_a_plane_becomes_ready():
    line = Line()
    line.state = replace(IDLE, is_encoding=True, is_awaited=True)
    line.line.say("Object 1 written on 3 slices.")
    for change in ({"is_encoding": False}, {"is_awaited": False}):
        line.state = replace(line.state, **change)
        assert line.line.text == "Object 1 written on 3 slices."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Click an object."),
        ({"tool": Tool.BOX}, "Drag a box around an object"),
        ({"certainty": 0.3}, "Certainty 0.30.  N accepts"),
        # What comes to be by itself would not be true for long.
        ({"is_encoding": True}, "Click an object."),
        ({"has_prompts": True, "label": 3, "is_awaited": True}, "Object 3 goes on."),
    ],
)
def test_what_is_said_along_with_an_event_stays_true(changes, said):
    assert next_step(replace(IDLE, **changes)).startswith(said)
