"""An object through a stack on the real model: what depends on what."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_sam as ns
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.volumes.claims import iter_propagate_objects
from napari_sam.core.volumes.engine import PlaneEngine
from napari_sam.core.volumes.followed import Followed
from napari_sam.core.volumes.propagation import (
    PropagatedSlice,
    PropagationSettings,
    Source,
    iter_propagate,
    spans,
)
from napari_sam.core.volumes.slices import Slices
from napari_sam.errors import PromptError, SettingsError
from napari_sam.samples import SAMPLES
from napari_sam.types import MaskCrop, Plane, Region

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.volumes.propagation import EncodeAt
    from napari_sam.models.sam1.sam import SamModel

LIMITS = (0, 9)
SHAPE = (96, 96)
PLANE = Plane((1, 2), (0, None, None))


def engine_of(encode: EncodeAt) -> PlaneEngine:
    return PlaneEngine(lambda plane: encode(plane.index[0]))


@pytest.fixture(scope="module")
def encode(model: SamModel) -> EncodeAt:
    """Return what encodes nine slices of cells."""
    stack = np.asarray(ns.read_image(SAMPLES["ovule"].path).data)[8:17, 16:112, 16:112]
    engine = Engine(model, EmbeddingStore(disk_bytes=0), live=9)
    slices = Slices.of(stack).with_contrast(())

    def iter_encode(position: int) -> Generator[None, None, EncodedPlane]:
        return (yield from engine.iter_encode(slices.rgb_of(position)))

    return iter_encode


@pytest.fixture(scope="module")
def cell(encode: EncodeAt) -> dict[int, MaskCrop]:
    """Return masks of one cell in three slices."""
    from napari_sam.core.steps import finish

    found = {}
    for position in (2, 4, 6):
        plane = finish(encode(position))
        found[position] = plane.predict(box=(30, 30, 60, 60)).crop()
        assert found[position].area > 100
    return found


def run(
    encode: EncodeAt, prompted: dict[int, MaskCrop], **more: object
) -> dict[int, PropagatedSlice]:
    steps = iter_propagate(encode, prompted, LIMITS, SHAPE, **more)  # type: ignore[arg-type]
    return {step.position: step for step in steps if step is not None}


def assert_same(a: PropagatedSlice, b: PropagatedSlice) -> None:
    assert (a.mask.region, a.confidence, a.source, a.is_ghost) == (
        b.mask.region, b.confidence, b.source, b.is_ghost,
    )  # fmt: skip
    np.testing.assert_array_equal(a.mask.mask, b.mask.mask)


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.integers(0, 30), min_size=1, max_size=6),
    st.integers(-3, 0),
    st.integers(31, 34),
)
def test_spans_divide_what_is_not_prompted(
    prompted: set[int], first: int, stop: int
) -> None:
    found = spans(prompted, (first, stop))
    positions = [z for span in found for z in span.positions]
    assert sorted(positions) == [z for z in range(first, stop) if z not in prompted]
    for span in found:
        for z in span.positions:
            below = max((p for p in prompted if p < z), default=None)
            above = min((p for p in prompted if p > z), default=None)
            assert (span.below, span.above) == (below, above)
            assert span.distance(z) == min(abs(z - p) for p in prompted)
    # What is followed outward begins at its prompted slice.
    ends = [span for span in found if None in (span.below, span.above)]
    for span in ends:
        distances = [span.distance(z) for z in span.positions]
        assert distances == sorted(distances)


@pytest.mark.parametrize(
    ("prompted", "message"),
    [((), "No slice is prompted"), ((9,), "Slice 9 .* 0 to 8"), ((-1, 3), "Slice -1")],
)
def test_unusable_prompted_slices(prompted: tuple[int, ...], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        spans(prompted, LIMITS)


def test_unusable_settings() -> None:
    with pytest.raises(SettingsError, match="ghosts is -1"):
        PropagationSettings(ghosts=-1)
    with pytest.raises(SettingsError, match=r"ghosts is 1\.5"):
        PropagationSettings(ghosts=1.5)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="time is 1"):
        PropagationSettings(time=1)  # type: ignore[arg-type]


def test_an_empty_prompted_slice_is_named(encode: EncodeAt) -> None:
    nothing = MaskCrop(np.zeros((0, 0), bool), Region(0, 0, 0, 0))
    with pytest.raises(PromptError, match="empty in slice 5"):
        run(encode, {5: nothing})


def test_nearest_first_and_prompted_slices_stay(
    encode: EncodeAt, cell: dict[int, MaskCrop]
) -> None:
    steps = [
        step
        for step in iter_propagate(
            encode, cell, LIMITS, SHAPE, PropagationSettings(find_ends=False)
        )
        if step is not None
    ]
    positions = [step.position for step in steps]
    assert not set(positions) & set(cell)
    assert len(set(positions)) == len(positions)
    distances = [min(abs(z - p) for p in cell) for z in positions]
    assert distances == sorted(distances)
    assert {3, 5, 1, 7} <= set(positions)
    for step in steps:
        assert 0 <= step.confidence <= 1
        assert step.source in (Source.MODEL, Source.INTERPOLATED)
        # The cell goes on where it is.
        if step.position in (3, 5):
            shared = step.mask.full(SHAPE) & cell[4].full(SHAPE)
            assert np.count_nonzero(shared) > 0.5 * cell[4].area


def test_a_correction_changes_the_spans_around_it_as_a_full_run(
    encode: EncodeAt, cell: dict[int, MaskCrop]
) -> None:
    before = run(encode, {2: cell[2], 6: cell[6]})
    prompted = dict(cell)
    around = [s for s in spans(prompted, LIMITS) if 4 in (s.below, s.above)]
    positions = {z for span in around for z in span.positions}
    assert positions == {3, 5}
    redone = run(encode, prompted, positions=positions)
    assert set(redone) == positions
    merged = {z: s for z, s in before.items() if z not in prompted} | redone
    whole = run(encode, prompted)
    assert merged.keys() == whole.keys()
    for z, one in whole.items():
        assert_same(merged[z], one)


def test_one_position_is_what_a_full_run_gives(
    encode: EncodeAt, cell: dict[int, MaskCrop]
) -> None:
    prompted = {4: cell[4]}
    whole = run(encode, prompted)
    some = run(encode, prompted, positions=[6])
    assert some.keys() == {6}
    assert_same(some[6], whole[6])


def test_nothing_is_written_into_others(
    encode: EncodeAt, cell: dict[int, MaskCrop]
) -> None:
    others = np.zeros(SHAPE, bool)
    others[:, 45:] = True
    cut = {2: MaskCrop.from_full(cell[2].full(SHAPE) & ~others)}
    found = run(encode, cut, blocked=lambda z: others if z % 2 else None)
    assert any(z % 2 for z in found)
    for z, one in found.items():
        if z % 2:
            assert not (one.mask.full(SHAPE) & others).any()


def test_objects_share_no_pixel(encode: EncodeAt, cell: dict[int, MaskCrop]) -> None:
    """The same cell twice is the worst case."""
    prompted = {7: {2: cell[2]}, 3: {6: cell[6]}}
    seen: dict[int, np.ndarray] = {}
    for label, seeds in prompted.items():
        for z, mask in seeds.items():
            seen[z] = mask.full(SHAPE) * label
    objects = {n: Followed(PLANE, 0, LIMITS, prompted=p) for n, p in prompted.items()}
    for step in iter_propagate_objects(engine_of(encode), objects, SHAPE):
        if step is None or step[1].is_ghost:
            continue
        label, one = step
        plane = seen.setdefault(one.position, np.zeros(SHAPE, int))
        mask = one.mask.full(SHAPE)
        assert not (plane[mask] > 0).any()
        plane[mask] = label
    assert {label for plane in seen.values() for label in np.unique(plane)} >= {3, 7}


def test_ghosts_lie_beyond_the_end_and_are_few(
    encode: EncodeAt, cell: dict[int, MaskCrop]
) -> None:
    for count in (0, 2):
        found = run(encode, {4: cell[4]}, settings=PropagationSettings(ghosts=count))
        for step in (-1, 1):
            is_ghost = [
                found[z].is_ghost for z in range(4 + step, (-1, 9)[step > 0], step)
                if z in found
            ]  # fmt: skip
            assert is_ghost == sorted(is_ghost)
            assert sum(is_ghost) <= count


def test_closing_cancels(encode: EncodeAt, cell: dict[int, MaskCrop]) -> None:
    asked = []

    def counted(position: int) -> Generator[None, None, EncodedPlane]:
        asked.append(position)
        return (yield from encode(position))

    steps = iter_propagate(counted, {4: cell[4]}, LIMITS, SHAPE)
    next(step for step in steps if step is not None)
    steps.close()
    assert set(asked) <= {3, 4, 5}


def test_steps_are_many(encode: EncodeAt, cell: dict[int, MaskCrop]) -> None:
    """The worker has others to serve in between."""
    steps = list(iter_propagate(encode, {4: cell[4]}, (3, 6), SHAPE))
    done = [i for i, step in enumerate(steps) if step is not None]
    assert steps[0] is None
    assert all(b - a > 1 for a, b in itertools.pairwise(done))


def find(encode: EncodeAt, followed: Followed, most: int | None = None) -> Followed:
    """Find what is left, or some slices of it, as the window does."""
    asked = followed.left
    steps = engine_of(encode).iter_left(followed, SHAPE)
    for found in itertools.islice((s for s in steps if s is not None), most):
        followed = followed.with_slice(found)
    return followed if most is not None else followed.with_finished(asked)


def test_an_engine_finds_only_what_depends_on_a_correction(
    encode: EncodeAt, cell: dict[int, MaskCrop]
) -> None:
    ends = {2: cell[2], 6: cell[6]}
    before = find(encode, Followed(PLANE, 0, (1, 8), prompted=ends))
    assert before.slices.keys() == {1, 3, 4, 5, 7}
    corrected = find(encode, before.with_prompted(cell))
    assert all(corrected.slices[z] is before.slices[z] for z in (1, 7))
    whole = find(encode, Followed(PLANE, 0, (1, 8), prompted=cell))
    assert corrected.slices.keys() == whole.slices.keys()
    for z, one in whole.slices.items():
        assert_same(corrected.slices[z], one)
    again = find(encode, corrected.with_prompted(ends))
    for z, one in before.slices.items():
        assert_same(again.slices[z], one)


def test_an_engine_goes_on_where_it_was_canceled(
    encode: EncodeAt, cell: dict[int, MaskCrop]
) -> None:
    ends = {2: cell[2], 6: cell[6]}
    begun = find(encode, Followed(PLANE, 0, (2, 7), prompted=ends), most=1)
    assert len(begun.slices) == 1
    assert not begun.is_finished
    done = find(encode, begun)
    assert done.slices.keys() == {3, 4, 5}
    assert all(done.slices[z] is one for z, one in begun.slices.items())
