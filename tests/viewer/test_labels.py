"""Writing into the user's labels: one undo step, the changed box, no surprises."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam.core.annotation.records import digest_of
from napari_sam.core.annotation.transaction import ObjectMask, Transaction, replay
from napari_sam.core.masks import LargestLabel, OverlapPolicy
from napari_sam.errors import LabelsError
from napari_sam.types import MaskCrop, Plane, Region
from napari_sam.viewer.labels.fitness import check_labels, probe
from napari_sam.viewer.labels.target import LabelsTarget

FLAT = Plane((0, 1), (None, None))
KEEP, OVER, FREE = OverlapPolicy


def disc(row: float, column: float, radius: float, shape=(40, 50)) -> MaskCrop:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return MaskCrop.from_full((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def target_of(data) -> LabelsTarget:
    return LabelsTarget(Labels(data))


def write(target, objects, policy, origin=None) -> Transaction | None:
    """Write masks as one transaction; None if nothing changes."""
    plan = target.plan(objects, policy)
    if not plan.changes:
        return None
    now = target.next_label
    after = max([now, *(o.label + 1 for o in objects)])
    return target.apply(Transaction(plan.changes, (), (now, after), origin))


def flat_target(dtype=np.uint16, shape=(40, 50)) -> LabelsTarget:
    return target_of(np.zeros(shape, dtype))


class Witness:
    """Notes what a target says."""

    def __init__(self, target: LabelsTarget) -> None:
        self.said: list[tuple[str, object]] = []
        target.undone.connect(self.on_undone)
        target.redone.connect(self.on_redone)
        target.painted.connect(self.on_painted)

    def on_undone(self, step):
        self.said.append(("undone", step.origin))

    def on_redone(self, step):
        self.said.append(("redone", step.origin))

    def on_painted(self):
        self.said.append(("painted", None))

    def take(self):
        said, self.said = self.said, []
        return said


# -- writing -----------------------------------------------------------------------


def test_write_puts_the_mask_and_leaves_the_array_the_same_object():
    target = flat_target()
    data = target.layer.data
    mask = disc(20, 25, 8)
    commit = write(target, [ObjectMask(3, FLAT, mask)], KEEP)
    assert target.layer.data is data
    np.testing.assert_array_equal(data == 3, mask.full(data.shape))
    assert commit is not None
    assert commit.next_label == (1, 4)
    assert commit.size == mask.area


def test_one_write_of_many_objects_is_one_undo_step():
    target = flat_target()
    discs = [disc(10, 10, 5), disc(10, 30, 5), disc(30, 20, 6)]
    write(target, [ObjectMask(i + 1, FLAT, d) for i, d in enumerate(discs)], KEEP)
    assert set(np.unique(target.layer.data)) == {0, 1, 2, 3}
    target.layer.undo()
    assert not target.layer.data.any()
    target.layer.redo()
    assert set(np.unique(target.layer.data)) == {0, 1, 2, 3}


def test_one_write_on_several_planes_is_one_undo_step():
    target = target_of(np.zeros((4, 40, 50), np.uint16))
    objects = [
        ObjectMask(1, Plane((1, 2), (z, None, None)), disc(20, 20, 4 + z))
        for z in range(4)
    ]
    write(target, objects, KEEP)
    assert [int((p == 1).sum()) for p in target.layer.data] == [
        o.mask.area for o in objects
    ]
    target.layer.undo()
    assert not target.layer.data.any()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_nothing_outside_the_box_and_the_policy_is_written(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    ndim = data.draw(st.integers(2, 4))
    shape = tuple(data.draw(st.integers(1, 12)) for _ in range(ndim))
    axes = tuple(data.draw(st.permutations(range(ndim)))[:2])
    index = tuple(
        None if a in axes else data.draw(st.integers(0, n - 1))
        for a, n in enumerate(shape)
    )
    plane = Plane(axes, index)
    policy = data.draw(st.sampled_from(OverlapPolicy))
    before = rng.integers(0, 4, shape).astype(np.uint8)
    mask = rng.random(plane.shape(shape)) < 0.4
    target = target_of(before.copy())
    expected = before.copy()
    view = expected[plane.slicer]
    view = view.T if plane.is_transposed else view
    view[mask & (True if policy is OVER else view == 0)] = 7

    write(target, [ObjectMask(7, plane, MaskCrop.from_full(mask))], policy)

    np.testing.assert_array_equal(target.layer.data, expected)
    target.layer.undo()
    np.testing.assert_array_equal(target.layer.data, before)


def test_only_the_changed_box_is_read_and_written():
    class Spy(np.ndarray):
        pixels = 0

        def __getitem__(self, key):
            out = super().__getitem__(key)
            Spy.pixels = max(Spy.pixels, np.size(out))
            return out

    target = flat_target(shape=(400, 500))
    data = target.layer.data
    mask = disc(200, 250, 6, (400, 500))
    spied = data.view(Spy)
    target.layer.data = spied
    target.count(LargestLabel(0))
    Spy.pixels = 0
    write(target, [ObjectMask(1, FLAT, mask)], KEEP)
    assert 0 < Spy.pixels <= np.prod(mask.region.shape)


@pytest.mark.parametrize(
    ("policy", "old", "new"),
    [(KEEP, "whole", "rest"), (OVER, "rest", "whole"), (FREE, "whole", "rest")],
)
def test_overlap_policy(policy, old, new):
    target = flat_target()
    first, second = disc(20, 20, 8), disc(20, 30, 8)
    shape = target.layer.data.shape
    a, b = first.full(shape), second.full(shape)
    write(target, [ObjectMask(1, FLAT, first)], KEEP)
    write(target, [ObjectMask(2, FLAT, second)], policy)
    data = target.layer.data
    parts = {"whole": (a, b), "rest": (a & ~b, b & ~a)}
    np.testing.assert_array_equal(data == 1, parts[old][0])
    np.testing.assert_array_equal(data == 2, parts[new][1])


def test_refined_object_gives_up_its_old_pixels_but_no_others():
    target = flat_target()
    first, refined, other = disc(20, 20, 9), disc(20, 20, 5), disc(20, 32, 4)
    write(target, [ObjectMask(1, FLAT, first), ObjectMask(2, FLAT, other)], KEEP)
    before = target.layer.data.copy()
    write(target, [ObjectMask(1, FLAT, refined, previous=first)], KEEP)
    data = target.layer.data
    np.testing.assert_array_equal(data == 1, refined.full(data.shape))
    np.testing.assert_array_equal(data == 2, before == 2)
    target.layer.undo()
    np.testing.assert_array_equal(data, before)


def test_write_that_changes_nothing_makes_no_undo_step():
    target = flat_target()
    witness = Witness(target)
    assert write(target, [ObjectMask(1, FLAT, disc(20, 20, 6))], KEEP) is not None
    assert write(target, [ObjectMask(2, FLAT, disc(20, 20, 3))], KEEP) is None
    assert write(target, [], KEEP) is None
    target.layer.undo()
    assert not target.layer.data.any()
    assert witness.take() == [("undone", None)]


def test_mask_partly_outside_the_labels_is_cut():
    target = flat_target()
    mask = MaskCrop(np.ones((20, 20), bool), Region(30, 40, 50, 60))
    write(target, [ObjectMask(1, FLAT, mask)], KEEP)
    assert int((target.layer.data == 1).sum()) == 10 * 10


# -- undo, redo and the user's own edits --------------------------------------------


def test_undo_and_redo_are_told_in_step():
    target = flat_target()
    witness = Witness(target)
    for n, column in enumerate((10, 25, 40), start=1):
        write(target, [ObjectMask(n, FLAT, disc(20, column, 5))], KEEP, f"object {n}")
    assert witness.take() == []
    undo, redo = target.layer.undo, target.layer.redo
    for step, expected in [
        (undo, ("undone", "object 3")),
        (undo, ("undone", "object 2")),
        (redo, ("redone", "object 2")),
        (undo, ("undone", "object 2")),
        (undo, ("undone", "object 1")),
        (redo, ("redone", "object 1")),
    ]:
        step()
        assert witness.take() == [expected]


@settings(deadline=None)
@given(
    strokes=st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 12), st.integers(0, 3)),
        min_size=1,
        max_size=6,
    ),
    moves=st.lists(st.integers(-3, 3), min_size=1, max_size=4),
)
def test_undone_while_it_was_hidden_and_told_at_once(strokes, moves):
    """Strokes on top of each other, undone and redone many at a time."""
    target = flat_target(shape=(1, 24))
    layer = target.layer
    told = layer.data.copy()
    target.applied.connect(lambda t: replay(told, [t]))
    states, numbers = [layer.data.copy()], [target.next_label]
    for start, length, label in strokes:
        if (layer.data[0, start : start + length] == label).all():
            continue
        columns = np.arange(start, start + length)
        layer.data_setitem((np.zeros_like(columns), columns), label)
        states.append(layer.data.copy())
        numbers.append(target.next_label)
    at = len(states) - 1
    layer.visible = False
    for move in moves:
        for _ in range(abs(move)):
            (layer.undo if move < 0 else layer.redo)()
        at = min(max(at + move, 0), len(states) - 1)
        np.testing.assert_array_equal(layer.data, states[at])
        target.catch_up()
        np.testing.assert_array_equal(told, layer.data)
        # Of several states that look the same no one can tell.
        alike = [n for s, n in zip(states, numbers, strict=True) if (s == told).all()]
        assert target.next_label in alike
    layer.visible = True
    np.testing.assert_array_equal(told, layer.data)


@st.composite
def objects_on_planes(draw):
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    objects = []
    for label in range(1, draw(st.integers(2, 5))):
        axes = draw(st.permutations(range(3)))
        index = [None, None, None]
        index[axes[2]] = draw(st.integers(0, shape[axes[2]] - 1))
        plane = Plane((axes[0], axes[1]), tuple(index))
        size = plane.shape(shape)
        masks = [
            MaskCrop.from_full(
                np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))).reshape(
                    size
                )
            )
            for n in [size[0] * size[1]] * 2
        ]
        previous = masks[1] if draw(st.booleans()) else None
        objects.append(
            ObjectMask(draw(st.sampled_from([label, 1])), plane, masks[0], previous)
        )
    seed = draw(st.integers(0, 99))
    data = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    return data, objects, draw(st.sampled_from(OverlapPolicy))


@settings(max_examples=100, deadline=None)
@given(objects_on_planes())
def test_planes_that_cross_are_written_as_one_after_another(drawn):
    data, objects, policy = drawn
    target = target_of(data.copy())
    after = target_of(data.copy())
    for plane in dict.fromkeys(o.plane for o in objects):
        group = [o for o in objects if o.plane == plane]
        for change in after.plan(group, policy).changes:
            change.write_to(after.layer.data)
    plan = target.plan(objects, policy)
    write(target, objects, policy)
    np.testing.assert_array_equal(target.layer.data, after.layer.data)
    planes = {o.plane for o in objects}
    for (label, plane), digest in plan.digests.items():
        if any(_shares(plane, other) for other in planes - {plane}):
            found = target.mask_of(label, plane)
            assert digest == ("" if found is None else digest_of(found))
    # Each pixel once, so that an undo leads back whatever comes first.
    undone = target.layer.data.copy()
    for change in plan.changes:
        change.inverse().write_to(undone)
    np.testing.assert_array_equal(undone, data)
    if plan.changes:
        target.layer.undo()
        np.testing.assert_array_equal(target.layer.data, data)


def _shares(a: Plane, b: Plane) -> bool:
    return all(
        i is None or j is None or i == j for i, j in zip(a.index, b.index, strict=True)
    )


def test_new_write_after_an_undo_forgets_what_could_be_redone():
    target = flat_target()
    witness = Witness(target)
    write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "old")
    target.layer.undo()
    write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "new")
    target.layer.redo()
    target.layer.undo()
    assert witness.take() == [("undone", "old"), ("undone", "new")]


def test_painting_between_commits_is_undone_without_taking_back_an_object():
    target = flat_target()
    witness = Witness(target)
    layer = target.layer
    write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "one")
    layer.brush_size = 3
    layer.paint((35, 45), 9)
    assert witness.take() == [("painted", None)]
    layer.undo()
    assert witness.take() == [("painted", None)]
    assert not (layer.data == 9).any()
    layer.undo()
    assert witness.take() == [("undone", "one")]


def test_erasing_an_object_by_hand_is_not_an_undo():
    target = flat_target()
    witness = Witness(target)
    layer = target.layer
    write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "one")
    layer.fill((20, 20), 0)
    assert not layer.data.any()
    layer.refresh()
    assert witness.take() == [("painted", None)]
    layer.undo()
    assert (layer.data == 1).any()
    assert witness.take() == [("painted", None)]
    layer.undo()
    assert witness.take() == [("undone", "one")]
    layer.redo()
    assert witness.take() == [("redone", "one")]


def test_scrolling_and_refreshing_say_nothing():
    target = target_of(np.zeros((4, 40, 50), np.uint16))
    witness = Witness(target)
    write(
        target, [ObjectMask(1, Plane((1, 2), (2, None, None)), disc(20, 20, 5))], KEEP
    )
    for _ in range(3):
        target.layer.refresh()
    target.layer.selected_label = 5
    target.layer.opacity = 0.3
    assert witness.take() == []


def test_last_write_can_be_taken_back_unless_somebody_painted():
    target = flat_target()
    witness = Witness(target)
    first = write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "one")
    second = write(target, [ObjectMask(2, FLAT, disc(20, 40, 5))], KEEP, "two")
    assert first is not None
    assert second is not None
    assert not target.take_back(first)
    assert target.take_back(second)
    assert set(np.unique(target.layer.data)) == {0, 1}
    target.layer.paint((5, 5), 1)
    assert not target.take_back(first)
    assert (target.layer.data == 1).any()
    assert witness.take() == [("painted", None)]


def test_closed_target_hears_nothing():
    target = flat_target()
    witness = Witness(target)
    write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP)
    target.close()
    target.layer.undo()
    target.layer.paint((5, 5), 1)
    assert witness.take() == []


# -- label numbers -----------------------------------------------------------------


def test_next_label_follows_writes_and_painting():
    target = flat_target()
    target.layer.data[1, 1] = 4
    assert target.next_label == 5
    write(target, [ObjectMask(5, FLAT, disc(20, 20, 5))], KEEP)
    assert target.next_label == 6
    target.layer.selected_label = 11
    target.layer.paint((3, 3), 11)
    assert target.next_label == 12


def test_largest_label_is_found_by_a_function_for_the_worker():
    target = flat_target()
    target.layer.data[7, 7] = 300
    assert target.scan()() == LargestLabel(300)
    assert not target.is_counted


def test_full_uint8_labels_are_refused_and_stay_as_they_are():
    target = flat_target(np.uint8)
    target.layer.data[0, 0] = 254
    target.layer.data[0, 1] = 255
    target.layer.name = "cells"
    before = target.layer.data.copy()
    assert target.next_label == 255
    with pytest.raises(LabelsError, match=r"'cells' is uint8 and uses 255 already"):
        target.check_fits(target.next_label)
    with pytest.raises(LabelsError, match=r"'cells' is uint8 .* 256.*uint16"):
        write(
            target,
            [
                ObjectMask(9, FLAT, disc(10, 10, 4)),
                ObjectMask(256, FLAT, disc(20, 20, 5)),
            ],
            KEEP,
        )
    np.testing.assert_array_equal(target.layer.data, before)
    assert write(target, [ObjectMask(9, FLAT, disc(10, 10, 4))], KEEP) is not None


def test_the_largest_value_of_the_type_may_mean_that_nothing_counts():
    target = flat_target(np.uint8)
    target.layer.data[:5] = 255
    target.layer.data[39, 49] = 3
    assert target.next_label == 4
    write(target, [ObjectMask(4, FLAT, disc(5, 20, 5))], KEEP)
    assert (target.layer.data[:5] == 255).all()
    assert target.next_label == 5


def test_negative_labels_are_nobodys():
    target = target_of(np.full((40, 50), -1, np.int16))
    assert target.next_label == 1
    mask = disc(20, 20, 5)
    write(target, [ObjectMask(1, FLAT, mask)], KEEP)
    np.testing.assert_array_equal(target.layer.data == 1, mask.full((40, 50)))
    target.layer.undo()
    assert (target.layer.data == -1).all()
    assert target.next_label == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
def test_integer_types_of_labels(dtype):
    target = flat_target(dtype)
    write(target, [ObjectMask(100, FLAT, disc(20, 20, 5))], KEEP)
    write(
        target, [ObjectMask(101, FLAT, disc(20, 24, 5), previous=disc(20, 20, 5))], OVER
    )
    assert target.layer.data.dtype == dtype
    assert set(np.unique(target.layer.data)) == {0, 100, 101}


# -- kinds of arrays ---------------------------------------------------------------


def test_zarr_labels_take_objects_and_undo(tmp_path):
    store = zarr.create_array(
        tmp_path / "labels.zarr", shape=(3, 40, 50), chunks=(1, 16, 16), dtype="u2"
    )
    target = target_of(store)
    witness = Witness(target)
    check_labels(target.layer, Image(np.zeros((3, 40, 50))))
    plane = Plane((1, 2), (1, None, None))
    mask = disc(20, 20, 9)
    write(target, [ObjectMask(4, plane, mask)], KEEP, "it")
    np.testing.assert_array_equal(store[1] == 4, mask.full((40, 50)))
    assert not store[0].any()
    assert target.scan()() == LargestLabel(4)
    assert target.mask_of(4, plane).area == mask.area
    target.layer.undo()
    assert not store[:].any()
    assert witness.take() == [("undone", "it")]


def test_large_volume_takes_an_object_and_keeps_the_rest():
    # Not touched pages of a fresh array cost no memory.
    target = target_of(np.zeros((64, 2048, 2048), np.uint16))
    data = target.layer.data
    plane = Plane((1, 2), (40, None, None))
    mask = disc(1000, 1200, 60, (2048, 2048))
    data[40, 1000, 1190:1210] = 7
    target.count(LargestLabel(7))
    write(target, [ObjectMask(target.next_label, plane, mask)], KEEP)
    assert target.layer.data is data
    full = mask.full((2048, 2048))
    full[1000, 1190:1210] = False
    np.testing.assert_array_equal(data[40] == 8, full)
    assert (data[40, 1000, 1190:1210] == 7).all()
    assert not data[39].any()
    assert not data[41].any()


# -- which labels are accepted -----------------------------------------------------

IMAGE = Image(np.zeros((3, 40, 50)), name="cells", scale=(2, 0.5, 0.5))


def labels_like(**changes) -> Labels:
    arguments = {"name": "mine", "scale": (2, 0.5, 0.5)} | changes
    data = arguments.pop("data", np.zeros((3, 40, 50), np.uint16))
    return Labels(data, **arguments)


def read_only(kind: str, folder):
    if kind == "numpy":
        array = np.zeros((3, 40, 50), np.uint16)
        array.setflags(write=False)
        return array
    if kind == "zarr":
        zarr.create_array(folder / "a.zarr", shape=(3, 40, 50), dtype="u2")
        return zarr.open_array(folder / "a.zarr", mode="r")
    return da.zeros((3, 40, 50), dtype=np.uint16)


@pytest.mark.parametrize("kind", ["numpy", "zarr", "dask"])
def test_labels_that_cannot_be_written_are_refused(kind, tmp_path):
    with pytest.raises(LabelsError, match=r"'mine' .*cannot be written.*memory") as e:
        check_labels(labels_like(data=read_only(kind, tmp_path)), IMAGE)
    assert str(e.value).count(". ") == 0


def test_pyramid_labels_are_refused():
    pyramid = [np.zeros((3, 40, 50), np.uint16), np.zeros((3, 20, 25), np.uint16)]
    with pytest.raises(LabelsError, match="'mine' is a pyramid"):
        check_labels(labels_like(data=pyramid, multiscale=True), IMAGE)


@pytest.mark.parametrize("shape", [(3, 40, 51), (4, 40, 50)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(LabelsError, match=r"'mine' has shape .* but image 'cells'"):
        check_labels(labels_like(data=np.zeros(shape, np.uint8)), IMAGE)
    with pytest.raises(LabelsError, match=r"'mine' has shape \(40, 50\)"):
        check_labels(Labels(np.zeros((40, 50), np.uint8), name="mine"), IMAGE)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": (1, 1, 1)},
        {"translate": (0, 3, 0)},
        {"rotate": 10},
        {"shear": (0.5, 0, 0)},
        {"affine": np.diag([1.0, 1.0, 2.0, 1.0])},
    ],
)
def test_labels_that_lie_elsewhere_are_refused(changes):
    with pytest.raises(LabelsError, match=r"'mine' has another scale or position"):
        check_labels(labels_like(**changes), IMAGE)


def test_mirrored_and_swapped_labels_are_refused_though_two_corners_agree():
    image = Image(np.zeros((30, 30)), name="cells")
    swapped = Labels(
        np.zeros((30, 30), np.uint8),
        name="mine",
        affine=np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    )
    with pytest.raises(LabelsError, match="another scale or position"):
        check_labels(swapped, image)


def test_labels_in_other_units_are_compared_in_the_world():
    image = Image(np.zeros((30, 30)), name="cells", scale=(1, 1), units=("um", "um"))
    data = np.zeros((30, 30), np.uint8)
    check_labels(Labels(data, scale=(1000, 1000), units=("nm", "nm")), image)
    with pytest.raises(LabelsError, match="another scale or position"):
        check_labels(Labels(data, scale=(1, 1), units=("nm", "nm")), image)


def test_labels_with_the_same_transform_are_accepted():
    check_labels(labels_like(), IMAGE)
    check_labels(labels_like(scale=(2.0000001, 0.5, 0.5)), IMAGE)


# -- whole or not at all -----------------------------------------------------------


class Failing(np.ndarray):
    """An array whose store fails at the n-th write from now, like a full disk."""

    left = -1

    def __setitem__(self, key, value):
        if Failing.left == 0:
            Failing.left = -1
            raise OSError("no space left on device")
        Failing.left -= Failing.left > 0
        super().__setitem__(key, value)


@pytest.fixture
def failing():
    target = target_of(np.zeros((4, 40, 50), np.uint16).view(Failing))
    assert isinstance(target.layer.data, Failing)
    yield target
    Failing.left = -1


def on_plane(z: int, label: int, column: int = 20) -> ObjectMask:
    return ObjectMask(label, Plane((1, 2), (z, None, None)), disc(20, column, 6))


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_write_that_fails_in_the_middle_changes_nothing(failing, writes):
    target = failing
    told = []
    write(target, [on_plane(0, 1)], KEEP, "one")
    target.applied.connect(told.append)
    before = np.array(target.layer.data)
    Failing.left = writes
    with pytest.raises(LabelsError, match=r"no space left.*nothing was changed"):
        write(target, [on_plane(z, 2, 30) for z in (1, 2, 3)], KEEP, "two")
    np.testing.assert_array_equal(target.layer.data, before)
    assert target.next_label == 2
    assert told == []
    # What was staged joins no later step.
    write(target, [on_plane(3, 2)], KEEP, "three")
    target.layer.undo()
    np.testing.assert_array_equal(target.layer.data, before)
    target.layer.undo()
    assert not target.layer.data.any()


def test_a_failed_write_can_be_redone(failing):
    target = failing
    witness = Witness(target)
    Failing.left = 1
    with pytest.raises(LabelsError):
        write(target, [on_plane(z, 1) for z in (0, 1)], KEEP, "it")
    target.layer.redo()
    assert sorted(np.argwhere(target.layer.data)[:, 0].tolist())[0] == 0
    assert witness.take() == [("redone", "it")]
    assert target.next_label == 2


@pytest.mark.parametrize("how", ["hidden", "loaded hidden", "3-D", "order", "contour"])
def test_a_layer_that_shows_another_plane_is_written_whole(how):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 40, 50)))
    layer = Labels(np.zeros((4, 40, 50), np.uint16), visible=how != "loaded hidden")
    viewer.add_layer(layer)
    layer.visible = how not in ("hidden", "loaded hidden")
    layer.contour = 2 if how == "contour" else 0
    if how == "3-D":
        viewer.dims.ndisplay = 3
    elif how == "order":
        viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(0, 3)
    target = LabelsTarget(layer)
    write(target, [on_plane(z, 1) for z in (0, 2)], KEEP)
    assert set(np.argwhere(layer.data)[:, 0].tolist()) == {0, 2}
    target.undo()
    assert not layer.data.any()


def test_locked_labels_are_respected():
    target = flat_target()
    target.layer.name = "mine"
    target.layer.editable = False
    with pytest.raises(LabelsError, match="'mine' is locked"):
        write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP)
    assert not target.layer.data.any()
    with pytest.raises(LabelsError, match="'mine' is locked"):
        check_labels(target.layer, Image(np.zeros((40, 50))))


class Outer:
    """Takes index arrays for an outer product, as xarray does."""

    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, key):
        return self.data[np.ix_(*key)]

    def __setitem__(self, key, value):
        self.data[np.ix_(*key)] = value


class Forgetful(np.ndarray):
    """Takes what is written and keeps nothing."""

    def __setitem__(self, key, value):
        pass


def test_arrays_are_admitted_by_trying_not_by_their_type(tmp_path):
    shape = (3, 4, 5)
    good = zarr.create_array(tmp_path / "z.zarr", shape=shape, dtype="i2")
    good[1, 2, 3] = 7
    assert probe(good) == ""
    assert np.asarray(good[:]).sum() == 7
    assert probe(np.zeros(shape, np.int8)) == ""
    outer = Outer(np.arange(60).reshape(shape))
    assert "another way" in probe(outer)
    np.testing.assert_array_equal(outer.data.ravel(), np.arange(60))
    assert "keep" in probe(np.zeros(shape, np.uint8).view(Forgetful))
    assert probe(da.zeros(shape, dtype=np.uint8))
    one = np.array([[3]], np.uint8)
    assert probe(one) == ""
    assert one[0, 0] == 3


# -- what napari does or fails to do ------------------------------------------------


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_an_undo_or_a_redo_that_fails_is_whole_the_next_time(failing, writes):
    target = failing
    write(target, [on_plane(z, 1) for z in (0, 1, 2)], KEEP, "it")
    written, witness, told = np.array(target.layer.data), Witness(target), []
    target.applied.connect(told.append)
    nothing = np.zeros_like(written)
    for step, before, after, said in (
        (target.undo, written, nothing, "undone"),
        (target.redo, nothing, written, "redone"),
    ):
        Failing.left = writes
        with pytest.raises(LabelsError, match=r"no space left.*; make room.*again\."):
            step()
        np.testing.assert_array_equal(target.layer.data, before)
        assert witness.take() == told == []
        step()
        np.testing.assert_array_equal(target.layer.data, after)
        assert witness.take() == [(said, "it")]
        assert len(told) == 1
        told.clear()


def test_a_stroke_that_has_not_ended_is_part_of_the_step():
    """As when N is pressed while the brush is held down."""
    target = flat_target()
    layer, copy = target.layer, np.zeros((40, 50), np.uint16)
    target.applied.connect(lambda t: replay(copy, [t]))
    layer.brush_size = 3
    with layer.block_history():
        layer.paint((5, 5), 9)
        write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "it")
        layer.paint((5, 9), 9)
    np.testing.assert_array_equal(copy, layer.data)
    assert np.unique(copy).tolist() == [0, 1, 9]
    target.undo()
    target.undo()
    assert not layer.data.any()
    assert not copy.any()


def test_a_stroke_that_changes_nothing_is_no_step_of_ours():
    """Napari has one, so that it takes two presses to undo what was before."""
    target = flat_target()
    witness, layer = Witness(target), target.layer
    mine = write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "it")
    written = layer.data.copy()
    with layer.block_history():
        layer.paint((5, 5), 9)
        layer.paint((5, 5), 0)
    assert witness.take() == []
    # napari takes back its own step instead.
    assert not target.take_back(mine)
    np.testing.assert_array_equal(layer.data, written)
    target.undo()
    assert witness.take() == [("undone", "it")]
    assert not layer.data.any()


def test_as_many_steps_are_followed_as_napari_keeps():
    target = flat_target(shape=(1, 130))
    columns = np.arange(130)
    mask = np.ones((1, 1), bool)
    for n in columns[:105]:
        own = MaskCrop(mask, Region(0, int(n), 1, int(n) + 1))
        write(target, [ObjectMask(1, FLAT, own)], KEEP, int(n))
    witness = Witness(target)
    for _ in range(101):
        target.undo()
    assert witness.take() == [("undone", n) for n in range(104, 4, -1)]
    assert target.newest is None
    assert target.layer.data.sum() == 5
    for _ in range(101):
        target.redo()
    assert witness.take() == [("redone", n) for n in range(5, 105)]
    assert target.layer.data.sum() == 105


def test_a_history_that_cannot_be_read_is_given_up(caplog):
    """Another napari may keep strokes in another way; objects are written as before."""
    target = flat_target()
    witness = Witness(target)
    write(target, [ObjectMask(1, FLAT, disc(20, 20, 5))], KEEP, "it")
    target.layer.events.paint(value=["a stroke"])
    assert "could not be followed" in caplog.text
    assert witness.take() == [("painted", None)]
    assert target.newest is None
    write(target, [ObjectMask(2, FLAT, disc(20, 40, 5))], KEEP, "next")
    target.undo()
    assert witness.take() == [("undone", "next")]
    assert np.unique(target.layer.data).tolist() == [0, 1]


def test_labels_without_pixels_can_be_written():
    assert probe(np.zeros((3, 0, 5), np.uint8)) == ""
