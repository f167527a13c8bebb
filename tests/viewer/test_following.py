"""An object followed through the stack: found, corrected, cut, written, taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_sam as ns
from napari_sam.core.volumes import engine as engine_module
from napari_sam.errors import ImageError, PromptError
from napari_sam.viewer.image.encoder import PlaneEncoder
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk import Desk, PumpedRunner

    from gate import Gate

    OpenDesk = Callable[..., Desk]

FIRST, MIDDLE = 14, 7


@pytest.fixture(scope="session")
def ball(blob: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    """Return fourteen slices of an ellipsoid, uint8 (14, 52, 64); all of it in them."""
    return np.ascontiguousarray(blob[0][8:36:2])


@pytest.fixture(scope="session")
def truth(blob: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    """Return where the ellipsoid is in `ball`."""
    shape, center = blob[0].shape, blob[1]
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    distance = sum(
        ((g - c) / r) ** 2 for g, c, r in zip(grid, center, (11, 13, 16), strict=True)
    )
    return (distance <= 1)[8:36:2]


def start(open_desk: OpenDesk, ball: np.ndarray, **settings: Any) -> Desk:
    """Open the stack in its middle and click the object."""
    desk = open_desk(ball, **settings)
    go(desk, MIDDLE)
    desk.click(24, 30)
    return desk


def go(desk: Desk, position: int) -> None:
    desk.viewer.dims.set_point(0, position)


def followed_planes(desk: Desk) -> list[int]:
    followed = desk.controller.propagation.followed
    assert followed is not None
    return sorted({*followed.to_write, *followed.prompted})


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_three_actions_make_the_object_in_all_slices(
    open_desk: OpenDesk, ball: np.ndarray, truth: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    desk.controller.propagation.follow()
    assert "least sure" in desk.controller.status
    first, last = min(followed_planes(desk)), max(followed_planes(desk))
    assert f"{first} to {last}" in desk.controller.status
    assert not desk.controller.labels.layer
    desk.accept()
    assert iou(desk.labels.data > 0, truth) > 0.85
    assert f"on {last - first + 1} slices" in desk.controller.status
    record = desk.controller.context.records.get(1)
    assert {m.plane.index[0] for m in record.masks} == set(range(first, last + 1))
    # One step: taken back as one, with its prompts and what was found, and made again.
    written = desk.labels.data.copy()
    desk.controller.undo()
    assert not desk.labels.data.any()
    assert followed_planes(desk) == list(range(first, last + 1))
    desk.controller.redo()
    assert np.array_equal(desk.labels.data, written)
    assert desk.annotator.is_empty


def test_slices_that_were_encoded_on_the_way_are_marked_as_they_come(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    prefetcher, seen = desk.controller.prefetcher, list[int]()
    prefetcher.changed.connect(lambda: seen.append(int(prefetcher.strip.ready.sum())))
    desk.controller.propagation.follow()
    ready = [p.index[0] for p in desk.controller.context.encoder.ready]
    assert len(ready) > 3
    assert np.flatnonzero(prefetcher.strip.ready).tolist() == sorted(ready)
    assert {3, 4, len(ready)} <= set(seen)


def test_what_was_found_is_shown_and_said_where_the_user_goes(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    desk.controller.propagation.follow()
    assert "least sure" in desk.controller.status
    go(desk, MIDDLE + 2)
    found = desk.controller.propagation.shown
    assert found is not None
    assert f"{found.confidence:.2f}" in desk.controller.status
    assert np.array_equal(desk.shown[0] > 0, found.mask.full(ball.shape[1:]))
    state = desk.controller.propagation.state
    assert state is not None
    assert state.prompted.nonzero()[0].tolist() == [MIDDLE]
    go(desk, MIDDLE)
    assert desk.controller.propagation.shown is None


def test_a_correction_is_kept_and_only_its_spans_run_again(
    open_desk: OpenDesk, ball: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.follow()
    last = max(followed_planes(desk))
    before = dict(follower.followed.slices)
    asked: list[set[int]] = []
    run = engine_module.iter_propagate

    def counted(*args: Any, positions: tuple[int, ...], **kwargs: Any) -> Any:
        asked.append(set(positions))
        return run(*args, positions=positions, **kwargs)

    monkeypatch.setattr(engine_module, "iter_propagate", counted)
    at = MIDDLE + 3
    assert at < last
    go(desk, at)
    seed = follower.shown.mask
    desk.click(24, 30)
    (prompts,) = desk.annotator.prediction.prompts
    # It corrects what was found there.
    assert np.array_equal(prompts.mask.mask, seed.mask)
    (positions,) = asked
    assert positions == {*range(MIDDLE + 1, at), *range(at + 1, len(ball))}
    after = follower.followed.slices
    assert all(after[p] is before[p] for p in range(MIDDLE) if p in before)
    corrected = desk.masks[0].copy()
    follower.redo()  # on a prompted slice
    assert "prompted" in desk.controller.status
    follower.follow()
    desk.accept()
    assert np.array_equal(desk.labels.data[at] > 0, corrected)


def test_removing_the_correction_or_all_prompts(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.follow()
    go(desk, MIDDLE + 2)
    desk.click(24, 30)
    assert set(follower.followed.prompted) == {MIDDLE, MIDDLE + 2}
    desk.controller.remove_last_prompt()
    assert set(follower.followed.prompted) == {MIDDLE}
    assert follower.shown is not None
    go(desk, MIDDLE)
    desk.controller.remove_last_prompt()
    assert follower.followed is None
    assert desk.annotator.is_empty
    assert not desk.controller.propagation.is_running


def test_the_last_prompt_takes_the_slices_with_it_and_an_undo_brings_them_back(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.follow()
    before, prompts = follower.followed, desk.annotator.items
    mask = desk.masks[0]
    # Where one looks nothing says which prompt it is.
    go(desk, MIDDLE + 2)
    desk.controller.remove_last_prompt()
    assert follower.followed is None
    assert "last prompt" in desk.controller.status
    desk.controller.undo()
    assert "there again" in desk.controller.status
    assert follower.followed.slices == before.slices
    assert follower.followed.is_finished
    assert len(desk.annotator.items.points) == len(prompts.points) == 1
    assert follower.shown is not None
    go(desk, MIDDLE)
    assert np.array_equal(desk.masks[0], mask)
    # Once more, and with something newer to be undone before.
    desk.controller.remove_last_prompt()
    desk.controller.new_labels()
    desk.labels.data_setitem((np.array([0]), np.array([0]), np.array([0])), 1)
    desk.controller.undo()
    assert not desk.labels.data.any()
    assert follower.followed is None
    desk.controller.undo()
    assert follower.followed is not None
    desk.accept()
    assert desk.labels.data.any((1, 2)).sum() > 5
    # What was written since is not undone by bringing back an object of before.
    desk.controller.undo()
    assert not desk.labels.data.any()
    desk.controller.discard()
    desk.controller.undo()
    assert follower.followed is None


def test_the_end_is_set_by_one_key(open_desk: OpenDesk, ball: np.ndarray) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.follow()
    go(desk, MIDDLE)
    follower.end_here()
    assert "only prompted slice" in desk.controller.status
    go(desk, MIDDLE + 2)
    follower.end_here()
    assert max(followed_planes(desk)) == MIDDLE + 2
    go(desk, MIDDLE - 2)
    follower.end_here()
    assert followed_planes(desk) == list(range(MIDDLE - 2, MIDDLE + 3))
    assert f"slices {MIDDLE - 2} to {MIDDLE + 2}" in desk.controller.status
    go(desk, MIDDLE - 1)
    follower.remove_below()
    assert min(followed_planes(desk)) == MIDDLE - 1
    desk.accept()
    assert desk.labels.data.any((1, 2)).nonzero()[0].tolist() == list(
        range(MIDDLE - 1, MIDDLE + 3)
    )


def test_a_ghost_is_shown_not_written_and_extended_to(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.follow()
    ghosts = [p for p, s in follower.followed.slices.items() if s.is_ghost]
    if not ghosts:
        pytest.skip("the model sees nothing beyond the object")
    nearest = min(ghosts, key=lambda p: abs(p - MIDDLE))
    assert nearest not in followed_planes(desk)
    assert "least sure" in desk.controller.status
    go(desk, nearest)
    assert "ended before" in desk.controller.status
    follower.end_here()
    assert nearest in followed_planes(desk)
    assert "Extended" in desk.controller.status
    # It is shown as what it is now, also after scrolling.
    go(desk, MIDDLE)
    go(desk, nearest)
    assert desk.shown is not None
    assert "extended" in desk.controller.status
    desk.accept()
    assert desk.labels.data[nearest].any()


def test_limits_and_directions(open_desk: OpenDesk, ball: np.ndarray) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.choose(first=MIDDLE - 1, last=MIDDLE + 1)
    follower.follow_up()
    assert followed_planes(desk) == [MIDDLE, MIDDLE + 1]
    follower.follow_down()
    assert followed_planes(desk) == [MIDDLE - 1, MIDDLE, MIDDLE + 1]
    follower.choose(first=None, last=None)
    follower.follow()
    assert len(followed_planes(desk)) > 3
    # Narrower again: what lies beyond is not kept.
    follower.choose(first=MIDDLE - 1, last=MIDDLE + 1)
    follower.follow()
    assert followed_planes(desk) == [MIDDLE - 1, MIDDLE, MIDDLE + 1]
    follower.choose(first=MIDDLE + 1)
    assert f"Slice {MIDDLE} is not in" in follower.why_not
    follower.follow()
    assert f"Slice {MIDDLE} is not in" in desk.controller.status
    assert followed_planes(desk) == [MIDDLE - 1, MIDDLE, MIDDLE + 1]


def test_other_labels_are_never_written_into(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = open_desk(ball)
    desk.controller.new_labels()
    desk.labels.data_setitem(
        tuple(x.ravel() for x in np.indices((len(ball), 52, 30))), 9
    )
    other = desk.labels.data.copy()
    go(desk, MIDDLE)
    desk.click(24, 40)
    desk.controller.propagation.follow()
    desk.accept()
    assert np.array_equal(desk.labels.data == 9, other == 9)
    assert (desk.labels.data == 10).any((1, 2)).sum() > 3


def test_what_stays_with_others_is_said_of_all_slices(
    open_desk: OpenDesk, ball: np.ndarray, truth: np.ndarray
) -> None:
    """Found slices leave out others' pixels; those that come later keep theirs, too."""
    desk = start(open_desk, ball)
    desk.controller.new_labels()
    desk.controller.propagation.follow()
    where = np.nonzero(truth)
    right = where[2] > 30
    desk.labels.data_setitem(tuple(w[right] for w in where), 9)
    followed = desk.controller.propagation.followed
    found = [mask for mask, _ in followed.to_write.values()]
    shown = sum(mask.area for mask in (*followed.prompted.values(), *found))
    desk.accept()
    written = int((desk.labels.data == desk.annotator.label - 1).sum())
    rest = f"{shown - written:,} of {shown:,} pixels, belongs to object 9."
    assert rest in desk.controller.status


def test_an_object_in_the_labels_is_followed_from_its_prompts(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    label = desk.accept()
    desk.annotator.select_object(label)
    desk.controller.propagation.follow()
    assert set(desk.controller.propagation.followed.prompted) == {MIDDLE}
    desk.accept()
    assert desk.labels.data.any((1, 2)).sum() > 5
    # Again, and shorter: what is given up is erased, as one step.
    longer = desk.labels.data.copy()
    desk.annotator.select_object(label)
    desk.controller.propagation.follow()
    go(desk, MIDDLE + 1)
    desk.controller.propagation.end_here()
    desk.accept()
    assert not desk.labels.data[MIDDLE + 2 :].any()
    desk.controller.undo()
    assert np.array_equal(desk.labels.data, longer)


def test_what_was_painted_by_hand_is_a_correction_too(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    desk.controller.propagation.follow()
    label = desk.accept()
    at = MIDDLE + 2
    rows, cols = (x.ravel() for x in np.indices((6, 6)))
    desk.labels.data_setitem((np.full(36, at), rows, cols), label)
    painted = desk.labels.data[at].copy()
    desk.annotator.select_object(label)
    desk.controller.propagation.follow()
    assert set(desk.controller.propagation.followed.prompted) == {MIDDLE, at}
    desk.annotator.accept()
    assert np.array_equal(desk.labels.data[at], painted)


def test_an_object_without_prompts_is_filled_in_between_its_slices(
    open_desk: OpenDesk, ball: np.ndarray, truth: np.ndarray
) -> None:
    desk = open_desk(ball)
    desk.controller.new_labels()
    for position in (4, 10):
        where = np.nonzero(truth[position])
        desk.labels.data_setitem((np.full(len(where[0]), position), *where), 5)
    go(desk, 4)
    desk.annotator.select_object(5)
    desk.controller.propagation.follow()
    assert set(desk.controller.propagation.followed.prompted) == {4, 10}
    desk.accept()
    assert (desk.labels.data == 5)[4:11].any((1, 2)).all()
    assert iou(desk.labels.data[5:10] == 5, truth[5:10]) > 0.85


class TestAllObjects:
    @pytest.fixture
    def two(self, ball: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return two ellipsoids beside each other, and their labels in the middle."""
        image = np.concatenate([ball, ball], axis=2)
        labels = np.zeros(image.shape, np.uint8)
        labels[MIDDLE, :, :64][truth[MIDDLE]] = 3
        labels[MIDDLE, :, 64:][truth[MIDDLE]] = 4
        return image, labels

    def labeled(self, open_desk: OpenDesk, two: Any, **how: Any) -> Desk:
        desk = open_desk(two[0], **how)
        desk.controller.new_labels()
        where = np.nonzero(two[1])
        desk.labels.data_setitem(where, two[1][where])
        go(desk, MIDDLE)
        return desk

    def test_all_are_followed_and_written_as_one_step(
        self, open_desk: OpenDesk, two: Any, truth: np.ndarray
    ) -> None:
        desk = self.labeled(open_desk, two)
        before = desk.labels.data.copy()
        desk.controller.propagation.follow_all()
        assert "2 objects followed" in desk.controller.status
        assert iou(desk.labels.data[:, :, :64] == 3, truth) > 0.8
        assert iou(desk.labels.data[:, :, 64:] == 4, truth) > 0.8
        assert np.array_equal(desk.labels.data[MIDDLE], before[MIDDLE])
        # Nobody has looked at them: a review goes through them.
        review = desk.controller.review
        assert review.object_count == 2
        # The one whose worst slice is the least sure comes first, on that slice.
        records = desk.controller.context.records
        worst = {
            r.label: min(
                (m.score, m.plane.index[0]) for m in r.masks if not m.confirmed
            )
            for r in records
        }
        desk.controller.toggle_review()
        assert review.current.key == min(worst, key=worst.__getitem__)
        assert review.current.certainty == pytest.approx(worst[review.current.key][0])
        assert desk.controller.context.plane.index[0] == worst[review.current.key][1]
        desk.controller.toggle_review()
        desk.controller.undo()
        assert np.array_equal(desk.labels.data, before)
        desk.controller.redo()
        assert (desk.labels.data == 4).any((1, 2)).sum() > 5

    def test_what_has_been_followed_is_left_as_it_is(
        self, open_desk: OpenDesk, two: Any, truth: np.ndarray
    ) -> None:
        image, labels = two[0], two[1].copy()
        labels[MIDDLE + 1, :, :64][truth[MIDDLE + 1]] = 3
        desk = self.labeled(open_desk, (image, labels))
        desk.controller.propagation.follow_all()
        assert "1 object followed" in desk.controller.status
        assert "1 left as they are" in desk.controller.status
        assert (desk.labels.data == 3).any((1, 2)).sum() == 2
        assert (desk.labels.data == 4).any((1, 2)).sum() > 5
        desk.controller.propagation.follow_all()
        assert "on other slices already" in desk.controller.status

    def test_cancel_writes_what_was_found(
        self, open_desk: OpenDesk, two: Any, pumped: PumpedRunner
    ) -> None:
        desk = self.labeled(open_desk, two, runner=pumped)
        desk.controller.propagation.follow_all()
        several = desk.controller.propagation.several
        pumped.pump(lambda: several._run is not None and len(several._run.found) == 2)
        desk.controller.cancel()
        assert not desk.controller.propagation.is_running
        assert (desk.labels.data == 3).any((1, 2)).sum() > 5

    def test_where_nothing_is_labeled_it_says_so(
        self, open_desk: OpenDesk, ball: np.ndarray
    ) -> None:
        desk = open_desk(ball)
        desk.controller.propagation.follow_all()
        assert "No object is labeled" in desk.controller.status

    def test_what_was_found_before_a_slice_that_cannot_be_read_is_written(
        self,
        open_desk: OpenDesk,
        two: Any,
        monkeypatch: pytest.MonkeyPatch,
        notes: Callable[[], list[str]],
    ) -> None:
        desk = self.labeled(open_desk, two)
        before = desk.labels.data.copy()
        unreadable(monkeypatch, MIDDLE + 2)
        desk.controller.propagation.follow_all()
        (note,) = notes()
        assert f"{MIDDLE + 2} on axis 0" in note
        assert desk.controller.status == note
        assert not desk.controller.propagation.is_running
        assert (desk.labels.data[MIDDLE + 1] == 3).any()
        desk.controller.undo()
        assert np.array_equal(desk.labels.data, before)

    @pytest.mark.parametrize("is_all", [False, True])
    def test_what_is_painted_meanwhile_stays(
        self,
        open_desk: OpenDesk,
        two: Any,
        pumped: PumpedRunner,
        gate: Gate,
        is_all: bool,
    ) -> None:
        """And no slice without a pixel of it is recorded as one of the object."""
        desk = self.labeled(open_desk, two, runner=pumped)
        pumped.pump(lambda: desk.controller.prefetcher.is_shown_ready)
        several = desk.controller.propagation.several
        desk.controller.propagation.follow_all()
        pumped.pump(lambda: several._run is not None and bool(several._run.found))
        pumped.pump(lambda: len(several._run.found[3]) == 3)
        found = sorted(several._run.found[3])
        painted = found if is_all else found[:1]
        for position in painted:
            where = np.nonzero(desk.labels.data[position] == 0)
            desk.labels.data_setitem((np.full(len(where[0]), position), *where), 9)
        before = desk.labels.data.copy()
        desk.controller.cancel()
        assert np.array_equal(desk.labels.data == 9, before == 9)
        record = desk.controller.context.records.get(3)
        if is_all:
            assert np.array_equal(desk.labels.data, before)
            assert record is None
            assert "reach no further slice" in desk.controller.status
        else:
            assert "written on 2 slices" in desk.controller.status
            assert sorted(m.plane.index[0] for m in record.masks) == found[1:]


@pytest.mark.parametrize("live", [False, True])
def test_with_write_while_i_click(
    open_desk: OpenDesk, ball: np.ndarray, live: bool
) -> None:
    desk = start(open_desk, ball, live=live)
    desk.controller.propagation.follow()
    desk.annotator.accept()
    assert desk.labels.data.any((1, 2)).sum() > 5
    desk.labels.undo()
    assert not desk.labels.data.any()


def test_why_it_is_not_followed(open_desk: OpenDesk, ball: np.ndarray) -> None:
    desk = open_desk(ball)
    follower = desk.controller.propagation
    follower.follow()
    assert "Mark an object" in desk.controller.status
    for act in (follower.go_to_least_sure, follower.end_here, follower.redo):
        act()
        assert "Follow an object" in desk.controller.status
    single = open_desk(ball[0])
    single.click(24, 30)
    single.controller.propagation.follow()
    assert "one slice only" in single.controller.status


def test_along_time_it_is_said_by_the_axis(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball, layer={"axis_labels": ("t", "y", "x")})
    assert desk.controller.propagation.is_time
    desk.controller.propagation.follow()
    assert desk.controller.propagation.followed.settings.time
    desk.controller.propagation.choose(time=False)
    assert not desk.controller.propagation.is_time


def test_another_direction_and_four_dimensions(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = open_desk(np.stack([ball[:, ::-1], ball]))
    desk.viewer.dims.set_point(0, 1)
    # As a button of the slider does, which is not noted as the one last used.
    desk.viewer.dims.last_used = 0
    desk.viewer.dims.set_point(1, MIDDLE + 1)
    desk.viewer.dims.set_point(1, MIDDLE)
    desk.click(24, 30)
    assert desk.controller.propagation.axis_name.startswith("Along")
    desk.controller.propagation.follow()
    desk.accept()
    assert not desk.labels.data[0].any()
    assert desk.labels.data[1].any((1, 2)).sum() > 5


def test_slices_are_called_by_the_axis_that_was_followed(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    """Said beside a strip of another axis: "Along -4: 1 to 3" of two frames."""
    desk = open_desk(np.stack([ball, ball]))
    follower = desk.controller.propagation
    desk.viewer.dims.set_point(1, MIDDLE)
    desk.click(24, 30)
    follower.follow()
    name = follower.axis_name
    assert name == f"Along {desk.image.axis_labels[1]}:"
    assert follower.state is not None
    desk.viewer.dims.set_point(0, 1)
    assert follower.axis_name == name
    # The same slices of another frame are not those of the object either.
    desk.viewer.dims.set_point(1, MIDDLE + 1)
    assert follower.axis_name == name
    assert follower.state is None
    assert "back" in follower.why_not_here


def test_slices_of_another_view_are_called_by_their_axis(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = open_desk(ball)
    follower = desk.controller.propagation
    desk.viewer.dims.order = (1, 0, 2)
    desk.viewer.dims.set_point(1, 24)
    desk.click(MIDDLE, 30)
    follower.choose(first=22, last=26)
    follower.follow()
    assert follower.axis_name == "Slices"
    desk.viewer.dims.order = (0, 1, 2)
    assert follower.axis_name == f"Along {desk.image.axis_labels[1]}:"
    assert follower.state is None


@pytest.mark.parametrize("is_in_labels", [False, True])
def test_an_object_of_another_view_is_not_followed_here(
    open_desk: OpenDesk, ball: np.ndarray, is_in_labels: bool
) -> None:
    """A press that did nothing and said nothing."""
    image = np.stack([ball, ball]) if is_in_labels else ball
    desk = open_desk(image)
    follower, dims = desk.controller.propagation, desk.viewer.dims
    dims.set_point(ball.ndim - 3 + is_in_labels, MIDDLE)
    desk.click(24, 30)
    if is_in_labels:
        label = desk.accept()
        dims.set_point(0, 1)
        dims.set_point(1, MIDDLE + 1)
        desk.annotator.select_object(label)
    else:
        dims.order = (1, 0, 2)
        assert "turn the view" in follower.why_not
    follower.follow()
    assert "turn the view" in desk.controller.status
    assert follower.followed is None
    assert not follower.is_running
    if not is_in_labels:
        # Marked here, too, it is followed along this axis.
        dims.set_point(1, 24)
        desk.click(MIDDLE, 30)
        assert follower.why_not == ""
        follower.choose(first=22, last=26)
        follower.follow()
        assert follower.followed.axis == 1


def test_each_axis_has_limits_and_time_of_its_own(
    open_desk: Callable[..., Desk], ball: np.ndarray
) -> None:
    desk = open_desk(np.stack([ball, ball, ball]))
    follower, viewer = desk.controller.propagation, desk.viewer
    last = len(ball) - 1
    viewer.dims.set_current_step(1, MIDDLE + 2)
    follower.choose(first=3, last=7, time=False)
    viewer.dims.set_current_step(0, 0)
    assert desk.controller.state.follow.limits == (0, 2)
    follower.choose(first=1, last=2, time=True)
    assert follower.is_time
    viewer.dims.set_current_step(1, MIDDLE + 1)
    assert desk.controller.state.follow.limits == (3, 7)
    assert not follower.is_time
    follower.choose(first=None, last=None)
    assert desk.controller.state.follow.limits == (0, last)


def test_following_along_another_axis_says_what_is_dropped(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = open_desk(np.stack([ball, ball]))
    follower = desk.controller.propagation
    desk.viewer.dims.set_point(1, MIDDLE)
    desk.click(24, 30)
    follower.choose(first=MIDDLE - 1, last=MIDDLE + 1)
    follower.follow()
    assert len(followed_planes(desk)) == 3
    follower.choose(first=None, last=None)
    desk.viewer.dims.set_point(0, 1)
    said: list[str] = []
    follower.status.connect(said.append)
    follower.follow()
    assert follower.followed.axis == 0
    # As it begins, and when it is done: here at once.
    assert ["other axis is dropped" in text for text in said] == [True, True]
    follower.choose(last=1)
    follower.follow()
    assert "other axis" not in said[-1]


@pytest.fixture
def begun(
    open_desk: OpenDesk, ball: np.ndarray, pumped: PumpedRunner, gate: Gate
) -> Desk:
    """Return a desk on which three slices are found and the rest is on its way."""
    desk = open_desk(ball, runner=pumped)
    go(desk, MIDDLE)
    pumped.pump(lambda: desk.controller.prefetcher.is_shown_ready)
    desk.click(24, 30)
    # Asked before the mask is there: it begins with that.
    desk.controller.propagation.follow()
    pumped.pump(lambda: len(followed_planes(desk)) == 4)
    return desk


class TestWhileItRuns:
    def test_an_accept_writes_all_of_it_and_the_next_object_begins_at_once(
        self, begun: Desk, pumped: PumpedRunner, gate: Gate
    ) -> None:
        assert not begun.annotator.accept()
        assert "followed to its end" in begun.controller.status
        assert begun.annotator.is_empty
        assert begun.controller.task_status.can_cancel
        gate.open.set()
        pumped.pump(lambda: not begun.annotator.is_waiting)
        assert begun.labels.data.any((1, 2)).sum() > 5

    def test_cancel_keeps_what_is_there(
        self, begun: Desk, pumped: PumpedRunner, gate: Gate
    ) -> None:
        begun.controller.cancel()
        assert not begun.controller.propagation.is_running
        assert len(followed_planes(begun)) == 4
        assert begun.annotator.accept()
        assert begun.labels.data.any((1, 2)).sum() == 4

    def test_cancel_after_the_accept_writes_what_is_there(
        self, begun: Desk, pumped: PumpedRunner
    ) -> None:
        begun.annotator.accept()
        begun.controller.cancel()
        assert begun.labels.data.any((1, 2)).sum() == 4

    def test_it_goes_on_after_a_cancel(
        self, begun: Desk, pumped: PumpedRunner, gate: Gate
    ) -> None:
        begun.controller.cancel()
        gate.open.set()
        begun.controller.propagation.follow()
        pumped.pump(lambda: not begun.controller.propagation.is_running)
        assert begun.controller.propagation.followed.is_finished

    def test_escape_and_another_image_end_it(
        self, begun: Desk, pumped: PumpedRunner, gate: Gate
    ) -> None:
        begun.controller.discard()
        assert not begun.controller.propagation.is_running
        assert begun.shown is None
        gate.open.set()
        begun.viewer.add_image(np.zeros((3, 20, 20), np.uint8), name="other")
        begun.click(24, 30)
        begun.controller.propagation.follow()
        begun.controller.choose_image(begun.viewer.layers["other"])
        pumped.drain()
        assert not begun.controller.propagation.is_running
        assert begun.controller.propagation.followed is None

    def test_closing_ends_it(self, begun: Desk, pumped: PumpedRunner) -> None:
        begun.controller.close()
        pumped.drain()

    def test_a_prompt_meanwhile_begins_it_again(
        self, begun: Desk, pumped: PumpedRunner, gate: Gate
    ) -> None:
        begun.click(22, 28)
        gate.open.set()
        pumped.pump(lambda: not begun.controller.propagation.is_running)
        assert begun.controller.propagation.followed.is_finished
        (prompts,) = begun.annotator.prediction.prompts
        assert len(prompts.points) == 2

    def test_an_undo_takes_back_the_accept_that_waits_and_nothing_older(
        self, begun: Desk, pumped: PumpedRunner, gate: Gate
    ) -> None:
        """What a fresh pair of eyes found: the older object was lost for good."""
        begun.controller.new_labels()
        begun.labels.data_setitem((np.array([0]), np.array([0]), np.array([0])), 1)
        begun.annotator.accept()
        begun.controller.undo()
        assert "not written yet" in begun.controller.status
        assert begun.labels.data[0, 0, 0] == 1
        assert not begun.annotator.is_waiting
        assert not begun.annotator.is_empty
        # Again, as a redo: it is accepted once more.
        begun.controller.redo()
        assert begun.annotator.is_waiting
        assert begun.annotator.is_empty
        begun.controller.undo()
        begun.controller.discard()
        gate.open.set()
        pumped.drain()
        assert not begun.controller.propagation.is_running
        assert np.unique(begun.labels.data).tolist() == [0, 1]
        # What was dropped does not come back, and older steps are undone then.
        begun.controller.redo()
        assert not begun.annotator.is_waiting
        begun.controller.undo()
        assert not begun.labels.data.any()

    def test_the_next_object_has_the_next_number_without_labels_too(
        self, begun: Desk
    ) -> None:
        begun.annotator.accept()
        assert begun.annotator.label == 2

    def test_another_image_says_that_it_was_cut_short(self, begun: Desk) -> None:
        begun.annotator.accept()
        said: list[str] = []
        begun.controller.said.connect(said.append)
        begun.viewer.add_image(np.zeros((3, 20, 20), np.uint8), name="other")
        begun.controller.choose_image(begun.viewer.layers["other"])
        assert any("following it was stopped" in text for text in said)

    def test_several_objects_are_followed_one_after_another(
        self, begun: Desk, pumped: PumpedRunner, gate: Gate
    ) -> None:
        begun.annotator.accept()
        begun.click(5, 5)
        begun.controller.propagation.follow()
        assert not begun.annotator.accept()
        gate.open.set()
        pumped.pump(lambda: not begun.annotator.is_waiting)
        assert {1, 2} <= set(np.unique(begun.labels.data).tolist())


def test_a_slice_that_cannot_be_read_is_told_and_nothing_is_lost(
    open_desk: OpenDesk,
    ball: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    notes: Callable[[], list[str]],
) -> None:
    desk = start(open_desk, ball)
    read = PlaneEncoder.iter_get

    def fails(self: PlaneEncoder, plane: Any) -> Any:
        if plane.index[0] == MIDDLE + 3:
            raise ImageError("The plane at 10 on axis 0 could not be read.")
        return read(self, plane)

    monkeypatch.setattr(PlaneEncoder, "iter_get", fails)
    desk.controller.propagation.follow()
    assert any("10 on axis 0" in note for note in notes())
    assert not desk.controller.propagation.is_running
    assert MIDDLE + 2 in followed_planes(desk)
    desk.accept()
    assert desk.labels.data[MIDDLE].any()


def test_a_session_follows_an_object_and_says_how_sure_that_is(
    ball: np.ndarray, truth: np.ndarray, small_models: None
) -> None:
    viewer = ViewerModel()
    viewer.add_image(ball, name="ball")
    with ns.annotate(viewer, device="cpu") as session:
        with pytest.raises(PromptError, match="Mark an object"):
            session.propagate()
        session.add_point((MIDDLE, 24, 30))
        with pytest.raises(PromptError, match="limits are"):
            session.propagate(limits=(5, 99))
        sure = session.propagate(limits=(MIDDLE - 2, MIDDLE + 3))
        assert sure.shape == (len(ball),)
        assert sure[MIDDLE] == 1
        assert np.isfinite(sure).nonzero()[0].tolist() == list(
            range(MIDDLE - 2, MIDDLE + 3)
        )
        session.propagate()
        assert session.accept() == 1
        assert iou(np.asarray(session.labels.data) > 0, truth) > 0.8


def test_the_least_sure_slices_come_one_after_another_and_again(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.choose(first=MIDDLE - 2, last=MIDDLE + 1)
    follower.follow()
    sure = {p: s.confidence for p, s in follower.followed.slices.items()}
    assert len(sure) == 3
    order = sorted(sure, key=sure.__getitem__)
    for position in (*order, order[0]):
        follower.go_to_least_sure()
        assert desk.controller.context.plane.index[0] == position
        said = f"Slice {position}: confidence {sure[position]:.2f}"
        assert desk.controller.status.startswith(said)
    # Another object begins with its own.
    desk.accept()
    go(desk, MIDDLE)
    desk.click(5, 5)
    follower.choose(first=MIDDLE, last=MIDDLE)
    follower.follow()
    follower.go_to_least_sure()
    assert "No slice of the object is in doubt" in desk.controller.status


def test_what_is_above_is_removed_and_what_is_left_looked_at_again(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.choose(first=MIDDLE - 2, last=MIDDLE + 2)
    follower.follow()
    go(desk, MIDDLE + 1)
    follower.remove_above()
    assert followed_planes(desk) == list(range(MIDDLE - 2, MIDDLE + 2))
    before = follower.followed.slices[MIDDLE + 1]
    follower.redo()
    again = follower.followed.slices[MIDDLE + 1]
    assert again is not before
    assert np.array_equal(again.mask.mask, before.mask.mask)
    assert follower.followed.is_finished
    go(desk, MIDDLE + 2)
    follower.end_here()
    assert f"does not reach slice {MIDDLE + 2}" in desk.controller.status
    go(desk, MIDDLE + 1)
    desk.click(24, 30)
    go(desk, MIDDLE - 1)
    desk.click(24, 30)
    go(desk, MIDDLE)
    follower.end_here()
    assert "prompted on both sides" in desk.controller.status
    assert followed_planes(desk) == list(range(MIDDLE - 2, MIDDLE + 2))


def test_one_way_after_the_other_keeps_both(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    follower = desk.controller.propagation
    follower.choose(first=MIDDLE - 1, last=MIDDLE + 1)
    follower.follow_down()
    assert followed_planes(desk) == [MIDDLE - 1, MIDDLE]
    follower.follow_up()
    assert followed_planes(desk) == [MIDDLE - 1, MIDDLE, MIDDLE + 1]


def unreadable(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    """Let a slice fail to be read from now on."""
    read = PlaneEncoder.iter_get

    def fails(self: PlaneEncoder, plane: Any) -> Any:
        if plane.index[0] == position:
            raise ImageError(f"The plane at {position} on axis 0 could not be read.")
        return read(self, plane)

    monkeypatch.setattr(PlaneEncoder, "iter_get", fails)


def test_an_accepted_object_comes_back_if_a_slice_cannot_be_read(
    open_desk: OpenDesk,
    ball: np.ndarray,
    pumped: PumpedRunner,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    notes: Callable[[], list[str]],
) -> None:
    unreadable(monkeypatch, MIDDLE + 2)
    desk = start(open_desk, ball, runner=pumped)
    desk.controller.propagation.follow()
    pumped.pump(lambda: len(followed_planes(desk)) > 1)
    assert not desk.annotator.accept()
    gate.open.set()
    pumped.pump(lambda: not desk.annotator.is_waiting)
    assert any(f"{MIDDLE + 2} on axis 0" in note for note in notes())
    assert desk.controller.labels.layer is None
    assert len(desk.annotator.items.points) == 1
    assert MIDDLE + 1 in followed_planes(desk)
    assert desk.annotator.accept()
    assert desk.labels.data[MIDDLE : MIDDLE + 2].any((1, 2)).all()


def test_why_several_boxes_and_another_stack_are_not_followed(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = open_desk(np.stack([ball, ball]))
    follower = desk.controller.propagation
    desk.viewer.dims.set_point(1, MIDDLE)
    desk.box(10, 10, 40, 50)
    desk.box(2, 2, 8, 8)
    follower.follow()
    assert "Several boxes are several objects" in desk.controller.status
    assert follower.followed is None
    desk.controller.discard()
    desk.controller.choose_tool(Tool.POINT)
    desk.click(24, 30)
    follower.choose(first=MIDDLE, last=MIDDLE + 1)
    follower.follow()
    known = follower.followed
    desk.viewer.dims.set_point(0, 1)
    for act in (follower.end_here, follower.remove_above, follower.redo):
        act()
        assert "turn the view or move the slider back" in desk.controller.status
    assert follower.followed is known
    desk.viewer.dims.ndisplay = 3
    follower.follow_all()
    assert "2-D" in desk.controller.status


# -- left, and gone on with -------------------------------------------------


def masks_of(desk: Desk) -> dict[int, np.ndarray]:
    followed = desk.controller.propagation.followed
    assert followed is not None
    shape = desk.image.data.shape[1:]
    return {p: mask.full(shape) for p, (mask, _) in followed.to_write.items()}


def no_run(*_: object, **__: object) -> None:
    raise AssertionError("what is known was asked for again")


def test_slices_are_there_again_when_their_image_is(
    open_desk: OpenDesk, ball: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = start(open_desk, ball)
    first = desk.image
    desk.controller.propagation.follow()
    before = masks_of(desk)
    other = desk.viewer.add_image(ball[::-1].copy(), name="other")
    desk.controller.choose_image(other)
    assert desk.annotator.is_empty
    monkeypatch.setattr(engine_module, "iter_propagate", no_run)
    desk.controller.choose_image(first)
    after = masks_of(desk)
    assert before.keys() == after.keys()
    assert all(np.array_equal(mask, after[p]) for p, mask in before.items())
    assert not desk.controller.propagation.is_running
    assert f"N accepts all {len(before) + 1} slices" in desk.controller.status
    desk.accept()
    assert f"on {len(before) + 1} slices" in desk.controller.status


def test_an_accept_waits_for_the_slices_of_before(
    open_desk: OpenDesk, ball: np.ndarray, pumped: PumpedRunner
) -> None:
    """Who comes back and accepts at once accepts all of the object."""
    desk = open_desk(ball, runner=pumped)
    go(desk, MIDDLE)
    pumped.pump(lambda: desk.controller.prefetcher.is_shown_ready)
    desk.click(24, 30)
    pumped.pump(lambda: desk.annotator.can_accept and not pumped.is_busy())
    follower = desk.controller.propagation
    follower.follow()
    pumped.pump(lambda: not follower.is_running)
    found, first = masks_of(desk), desk.image
    other = desk.viewer.add_image(ball[::-1].copy(), name="other")
    desk.controller.choose_image(other)
    desk.controller.choose_image(first)
    desk.controller.accept()
    assert desk.annotator.is_waiting
    pumped.pump(lambda: not desk.annotator.is_waiting and not pumped.is_busy())
    written = desk.labels.data == 1
    assert set(np.flatnonzero(written.any((1, 2)))) == {*found, MIDDLE}
    assert all(np.array_equal(written[p], mask) for p, mask in found.items())


def test_slices_that_grew_when_their_image_was_left_go_on(
    open_desk: OpenDesk, ball: np.ndarray, pumped: PumpedRunner, gate: Gate
) -> None:
    desk = open_desk(ball, runner=pumped)
    pumped.pump(lambda: desk.controller.prefetcher.is_shown_ready)
    go(desk, MIDDLE)
    pumped.pump(lambda: desk.controller.prefetcher.is_shown_ready)
    desk.click(24, 30)
    pumped.pump(lambda: desk.annotator.can_accept and not pumped.is_busy())
    follower = desk.controller.propagation
    follower.follow()
    pumped.pump(lambda: len(masks_of(desk)) == gate.slices)
    before, first = masks_of(desk), desk.image
    other = desk.viewer.add_image(ball[::-1].copy(), name="other")
    desk.controller.choose_image(other)
    desk.controller.choose_image(first)
    pumped.pump(lambda: follower.followed is not None)
    assert masks_of(desk).keys() == before.keys()
    assert not follower.is_running
    count = len(before) + 1
    assert f"on {count} slices only: Shift+T goes on" in desk.controller.status
    gate.open.set()
    follower.follow()
    pumped.pump(lambda: not follower.is_running)
    assert len(masks_of(desk)) > len(before)


def test_slices_of_pixels_that_have_changed_meanwhile_are_not_shown(
    open_desk: OpenDesk, ball: np.ndarray
) -> None:
    desk = start(open_desk, ball)
    first = desk.image
    desk.controller.propagation.follow()
    desk.controller.choose_image(None)
    first.data = ball[:, :30, :40].copy()
    desk.controller.choose_image(first)
    assert desk.controller.propagation.followed is None
    assert len(desk.annotator.items.points) == 1
