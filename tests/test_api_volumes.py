"""Propagation as a script uses it, on the real model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import napari_sam as ns
from napari_sam.core.volumes.propagation import Source
from napari_sam.samples import SAMPLES

if TYPE_CHECKING:
    from napari_sam.models.sam1.sam import SamModel

Z, H, W = 5, 64, 80


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    planes = np.asarray(ns.read_image(SAMPLES["ovule"].path).data)
    return planes[10 : 10 + Z, 40 : 40 + H, 30 : 30 + W]


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    pixels = np.zeros((H, W), bool)
    pixels[20:44, 25:52] = True
    return pixels


@pytest.fixture(scope="module")
def found(model: SamModel, stack: np.ndarray, mask: np.ndarray) -> ns.Propagated:
    return ns.propagate(stack, {2: mask}, model=model, find_ends=False)


def test_an_object_through_a_stack(
    found: ns.Propagated, stack: np.ndarray, mask: np.ndarray
) -> None:
    assert found.mask.shape == stack.shape
    assert found.mask.dtype == bool
    assert found.confidence.shape == (Z,)
    assert found.confidence.dtype == np.float32
    assert found.prompted.tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(found.mask[2], mask)
    assert found.confidence[2] == 1
    assert found.mask[[1, 3]].any(axis=(1, 2)).all()
    assert found.slices[2].source is Source.PROMPTED
    assert found.least_sure in (0, 1, 3, 4)


def test_the_generator_gives_the_same(
    model: SamModel, stack: np.ndarray, mask: np.ndarray, found: ns.Propagated
) -> None:
    steps = ns.iter_propagate(stack, {2: mask}, model=model, find_ends=False)
    seen = list(steps)
    assert [z for z, _, _ in seen][:3] == [2, 1, 3]
    for z, plane, confidence in seen:
        np.testing.assert_array_equal(plane, found.mask[z])
        assert confidence == pytest.approx(found.confidence[z])


def test_another_axis_is_the_stack_turned(
    model: SamModel, stack: np.ndarray, mask: np.ndarray
) -> None:
    """Planes of the other two axes, in order; the result lies as the stack does."""
    turned = np.moveaxis(stack, 0, 2)  # (H, W, Z)
    found = ns.propagate(turned, {2: mask}, model=model, axis=2, limits=(2, 4))
    again = ns.propagate(stack, {2: mask}, model=model, limits=(2, 4))
    assert found.mask.shape == turned.shape
    np.testing.assert_array_equal(np.moveaxis(found.mask, 2, 0), again.mask)


@pytest.mark.parametrize(
    "prompt",
    [
        (18, 23, 46, 54),
        [(30, 38)],
        (30, 38),
        ns.PromptSet((ns.PointPrompt(30, 38), ns.PointPrompt(5, 5, False))),
        "labels",
    ],
    ids=["box", "points", "point", "prompts", "integers"],
)
def test_what_a_prompt_may_be(
    model: SamModel, stack: np.ndarray, mask: np.ndarray, prompt: Any
) -> None:
    value = mask.astype(np.uint16) * 7 if prompt == "labels" else prompt
    found = ns.propagate(stack, {2: value}, model=model, limits=(2, 4))
    assert found.prompted[2]
    assert found.mask[2, 30, 38]
    assert not found.mask[[0, 1, 4]].any()


def test_color_and_lazy_stacks_are_read_a_slice_at_a_time(
    model: SamModel, stack: np.ndarray, mask: np.ndarray
) -> None:
    da = pytest.importorskip("dask.array")
    color = np.stack([stack] * 3, axis=-1)
    lazy = da.from_array(color, chunks=(1, H, W, 3))
    found = ns.propagate(lazy, {2: mask}, model=model, rgb=True, limits=(2, 4))
    assert found.mask.shape == stack.shape
    assert found.mask[3].any()


def test_progress_and_cancel(
    model: SamModel, stack: np.ndarray, mask: np.ndarray
) -> None:
    seen: list[ns.Progress] = []

    def cancel(step: ns.Progress) -> None:
        seen.append(step)
        if len(seen) == 2:
            raise ns.Cancelled("enough")

    with pytest.raises(ns.Cancelled):
        ns.propagate(stack, {2: mask}, model=model, progress=cancel)
    assert [(step.done, step.total) for step in seen] == [(1, Z), (2, Z)]


def test_a_slice_that_cannot_be_read_is_named_and_the_others_kept(
    model: SamModel, stack: np.ndarray, mask: np.ndarray
) -> None:
    class Broken:
        shape = stack.shape
        dtype = stack.dtype

        def __getitem__(self, key: Any) -> np.ndarray:
            if key[0] == 1:
                raise OSError("disk on fire")
            return stack[key]

    seen = []
    steps = ns.iter_propagate(Broken(), {3: mask}, model=model, find_ends=False)
    with pytest.raises(ns.ImageError, match=r"plane at 1 on axis 0 .*disk on fire"):
        seen.extend(z for z, _, _ in steps)
    assert seen == [3, 2, 4]


EMPTY, FULL = np.zeros((H, W), bool), np.ones((H, W), bool)
SOME = EMPTY.copy()
SOME[5:9, 5:9] = True


@pytest.mark.parametrize(
    ("prompts", "more", "message"),
    [
        ({}, {}, "No slice is prompted"),
        ([SOME], {}, "prompts is a list"),
        ({5: SOME}, {}, "Slice 5 is prompted and not in the stack"),
        ({-1: SOME}, {}, "Slice -1"),
        ({1.5: SOME}, {}, r"Slice 1\.5"),
        ({1: SOME}, {"limits": (2, 4)}, "Slice 1 is prompted and not in 2 to 3"),
        ({1: EMPTY}, {}, "mask in slice 1 is empty"),
        ({1: FULL}, {}, "mask in slice 1 covers all"),
        ({1: SOME[1:]}, {}, "prompt in slice 1 has shape"),
        ({1: "nucleus"}, {}, "prompt in slice 1 is a str"),
        ({1: [[1, 2], [3]]}, {}, "prompt in slice 1 is a list"),
        ({1: ns.PromptSet()}, {}, "prompt in slice 1 has neither"),
        ({1: [(900, 5)]}, {}, "900"),
        ({1: (500, 5, 900, 90)}, {}, "500"),
    ],
)
def test_unusable_prompts(
    model: SamModel, stack: np.ndarray, prompts: Any, more: Any, message: str
) -> None:
    with pytest.raises(ns.PromptError, match=rf"^[^\n]*{message}[^\n]*\.$"):
        ns.propagate(stack, prompts, model=model, **more)


@pytest.mark.parametrize(
    ("shape", "more", "message"),
    [
        ((H, W), {}, "three axes"),
        ((2, Z, H, W), {}, "three axes"),
        ((Z, H, W), {"rgb": True}, "three axes"),
        ((1, H, W), {}, "one slice along axis 0"),
        ((Z, H, 1), {"axis": -1}, "one slice along axis -1"),
        ((Z, 0, W), {}, "no pixels"),
    ],
)
def test_unusable_stacks(shape: Any, more: Any, message: str) -> None:
    with pytest.raises(ns.ImageError, match=rf"^[^\n]*{message}[^\n]*\.$"):
        ns.propagate(np.zeros(shape), {0: SOME}, **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"axis": 3}, "axis is 3"),
        ({"limits": (3, 2)}, "limits is"),
        ({"limits": (0, 9)}, "limits is"),
        ({"limits": 3}, "limits is 3"),
        ({"ghost": 2}, "did you mean 'ghosts'"),
        ({"ghosts": -2}, "ghosts is -2"),
        ({"settings": 3}, "settings is 3"),
    ],
)
def test_unusable_settings(stack: np.ndarray, more: Any, message: str) -> None:
    with pytest.raises(ns.SettingsError, match=message):
        ns.propagate(stack, {1: SOME}, **more)


def test_a_name_is_no_model(stack: np.ndarray) -> None:
    with pytest.raises(ns.ModelError, match="load_model"):
        ns.propagate(stack, {1: SOME}, model="mobile-sam")  # type: ignore[arg-type]
