"""What is remembered about an accepted object: prompts, corrections, source, plane."""

from __future__ import annotations

import json

import numpy as np
import pytest
from desk import COINS
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.annotation.prompts import PromptItems
from napari_sam.core.annotation.records import (
    ObjectRecord,
    ObjectRecords,
    PlaneMask,
    Source,
    digest_of,
)
from napari_sam.types import MaskCrop, MaskLevel, Plane, Region


def record(desk, label=1):
    return desk.controller.context.records.get(label)


def test_one_click_takes_no_correction_and_knows_its_plane(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    desk.viewer.dims.set_current_step(0, 2)
    desk.click(*COINS[0])
    desk.accept()
    one = record(desk)
    assert one.corrections == 0
    assert not one.corrected
    assert one.confirmed
    assert one.source is Source.PROMPTS
    assert one.planes == (Plane((1, 2), (2, None, None)),)
    assert one.model == "small"
    assert 0 < one.score <= 1
    assert len(one.items.points) == 1


def test_each_answer_to_other_prompts_is_a_correction(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.click(COINS[0][0] + 8, COINS[0][1])
    desk.click(*COINS[4], "Control")
    # another level of the same answer is none, and taking a point back is one
    desk.controller.cycle_level()
    desk.controller.set_level(MaskLevel.AUTO)
    desk.controller.remove_last_prompt()
    desk.accept()
    assert record(desk).corrections == 3
    assert len(record(desk).items.points) == 2


def test_starting_over_takes_none_back_and_counts_none(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.click(*COINS[1])
    desk.controller.discard()
    desk.click(*COINS[0])
    desk.accept()
    assert record(desk).corrections == 0


def test_the_first_prompt_on_another_plane_is_no_correction(open_desk, coin_stack):
    desk = open_desk(coin_stack)
    desk.viewer.dims.set_current_step(0, 0)
    desk.click(*COINS[0])
    desk.viewer.dims.set_current_step(0, 1)
    desk.click(COINS[0][0], 169 - COINS[0][1])
    desk.click(COINS[0][0] + 6, 169 - COINS[0][1])
    desk.accept()
    assert record(desk).corrections == 1
    assert [p.index[0] for p in record(desk).planes] == [0, 1]


def test_each_of_several_boxes_counts_its_own(open_desk, coins):
    desk = open_desk(coins)
    (r0, c0), (r1, c1) = COINS[0], COINS[2]
    desk.box(r0 - 22, c0 - 22, r0 + 22, c0 + 22)
    desk.box(r1 - 22, c1 - 22, r1 + 22, c1 + 22)
    desk.click(r1, c1)
    desk.accept()
    assert [record(desk, n).corrections for n in (1, 2)] == [0, 1]


def test_an_outline_that_stays_is_no_correction(open_desk, coins):
    desk = open_desk(coins)
    row, col = COINS[0]
    corners = [(row - 20, col - 20), (row - 20, col + 20), (row + 20, col)]
    desk.shape("polygon", corners)
    desk.annotator.prompting.request()
    desk.accept()
    assert record(desk).corrections == 0


def test_corrections_add_up_when_an_object_is_picked_again(open_desk, coins):
    desk = open_desk(coins)
    desk.click(*COINS[0])
    desk.click(COINS[0][0] + 8, COINS[0][1])
    desk.accept()
    desk.annotator.select_object(1)
    desk.click(*COINS[1])
    desk.accept()
    assert record(desk).corrections == 2
    desk.labels.undo()
    assert record(desk).corrections == 1
    desk.labels.redo()
    assert record(desk).corrections == 2


def test_a_painted_object_that_gets_a_prompt_was_corrected(open_desk, coins):
    desk = open_desk(coins)
    desk.controller.new_labels()
    row, col = COINS[0]
    rows, cols = np.nonzero(np.ones((20, 20), bool))
    desk.labels.data_setitem((rows + row - 10, cols + col - 10), 1)
    desk.annotator.select_object(1)
    desk.click(row, col)
    desk.accept()
    assert record(desk).corrections == 1
    assert record(desk).source is Source.PROMPTS


def test_live_writing_counts_the_same(open_desk, coins):
    desk = open_desk(coins, live=True)
    desk.click(*COINS[0])
    desk.click(COINS[0][0] + 8, COINS[0][1])
    desk.click(*COINS[4], "Control")
    assert record(desk).corrections == 2


VERSION_1 = {
    "version": 1,
    "objects": {
        "3": {
            "model": "mobile-sam",
            "score": 0.9,
            "source": "prompts",
            "points": [{"at": [1, 2, 3], "positive": True, "axes": [1, 2]}],
            "shapes": [],
        },
        "4": {
            "model": "mobile-sam",
            "score": None,
            "source": "everything",
            "points": [],
            "shapes": [],
        },
    },
}


def test_metadata_of_version_1_is_understood_and_kept():
    records = ObjectRecords(VERSION_1)
    clicked, found = records
    assert clicked.planes == (Plane((1, 2), (1, None, None)),)
    assert (clicked.corrections, clicked.corrected, clicked.confirmed) == (
        0,
        False,
        True,
    )
    assert found.planes == ()
    assert not found.confirmed
    records.apply({5: ObjectRecord(5, PromptItems(), "m", 0.5)})
    stored = records.to_json()
    assert stored["version"] == 4
    assert set(stored["objects"]) == {"3", "4", "5"}


def test_metadata_of_version_2_is_understood():
    stored = json.loads(json.dumps(VERSION_1))
    stored["version"] = 2
    stored["objects"]["4"] |= {
        "planes": [{"axes": [1, 2], "index": [z, None, None]} for z in (0, 2)],
        "digest": "ab",
        "confirmed": False,
    }
    found = ObjectRecords(stored).get(4)
    assert [p.index[0] for p in found.planes] == [0, 2]
    assert [m.digest for m in found.masks] == ["ab", ""]
    assert not found.confirmed


@settings(deadline=None, max_examples=20)
@given(
    corrections=st.integers(0, 50),
    source=st.sampled_from(Source),
    corrected=st.booleans(),
    positions=st.lists(
        st.tuples(st.integers(0, 3), st.booleans()),
        max_size=3,
        unique_by=lambda p: p[0],
    ),
    score=st.none() | st.floats(0, 1),
)
def test_a_record_survives_being_stored(
    corrections, source, corrected, positions, score
):
    value = float("nan") if score is None else round(score, 4)
    masks = tuple(
        PlaneMask(Plane((2, 1), (p, None, None)), f"{p}", confirmed, value)
        for p, confirmed in positions
    )
    before = ObjectRecord(
        7, PromptItems(), "m", value, source, corrections, corrected, masks, value, "f"
    )
    records = ObjectRecords()
    records.apply({7: before})
    (after,) = ObjectRecords(json.loads(json.dumps(records.to_json())), 3)
    assert after.to_json() == before.to_json()
    assert after.planes == before.planes
    assert after.confirmed == before.confirmed
    assert np.array_equal([after.score], [value], equal_nan=True)


@pytest.mark.parametrize("damage", [{"planes": 3}, {"planes": [None]}, {"source": "?"}])
def test_a_damaged_record_is_left_out(damage):
    stored = json.loads(json.dumps(VERSION_1))
    stored["objects"]["3"] |= damage
    assert [r.label for r in ObjectRecords(stored)] == [4]


def test_a_digest_tells_pixels_and_place():
    mask = np.zeros((6, 7), bool)
    mask[1:4, 2:5] = True
    one = MaskCrop(mask, Region(0, 0, 6, 7))
    assert digest_of(one) == digest_of(one.tight())
    moved = MaskCrop(mask, Region(0, 1, 6, 8))
    assert digest_of(moved) != digest_of(one)
    other = mask.copy()
    other[2, 3] = False
    assert digest_of(MaskCrop(other, one.region)) != digest_of(one)
    assert digest_of(MaskCrop(mask & False, one.region)) == ""
