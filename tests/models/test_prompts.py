"""Prompt coordinates, mask logits and translated errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.core.results import upscale
from napari_sam.errors import DeviceMemoryError, ModelError, PromptError
from napari_sam.models.sam1.mask_prompt import MASK_LOGIT, bounding_box, mask_logits
from napari_sam.models.sam1.prompts import to_model_xy, tokens
from napari_sam.models.torch_errors import translated_errors
from napari_sam.types import Frame, MaskCrop, Region

sides = st.integers(1, 5000)


@given(sides, sides, st.floats(0, 1), st.floats(0, 1))
def test_points_keep_their_place_in_the_image(
    height: int, width: int, v: float, u: float
) -> None:
    frame = Frame.fit((height, width))
    point = (v * height - 0.5, u * width - 0.5)
    x, y = to_model_xy([point], frame)[0]
    # SAM adds one half and measures from the corner.
    assert x + 0.5 == pytest.approx(u * frame.input_size[1], abs=1e-3)
    assert y + 0.5 == pytest.approx(v * frame.input_size[0], abs=1e-3)
    assert tokens(frame, [[point]], None, None) is not None


@given(sides, sides, st.sampled_from([(-0.51, 0), (0, -0.51), (1, 0), (0, 1)]))
def test_points_outside_are_refused(
    height: int, width: int, beyond: tuple[float, float]
) -> None:
    point = (beyond[0] * (height + 0.01), beyond[1] * (width + 0.01))
    if point[0] < 0 or point[1] < 0:
        point = beyond
    with pytest.raises(PromptError, match="outside"):
        tokens(Frame.fit((height, width)), [[point]], None, None)


@pytest.mark.parametrize("size", [(64, 64), (303, 384), (97, 31), (2048, 1500)])
def test_mask_logits_share_out_the_area(size: tuple[int, int]) -> None:
    frame = Frame.fit(size)
    mask = np.zeros(size, bool)
    mask[size[0] // 5 : size[0] // 2, size[1] // 3 : size[1] // 3 * 2] = True
    logits = mask_logits(MaskCrop.from_full(mask), frame, 256)
    assert logits.shape == (256, 256)
    assert logits.dtype == np.float32
    assert np.abs(logits).max() == pytest.approx(MASK_LOGIT, rel=1e-4)
    share = (logits / MASK_LOGIT + 1) / 2
    cell = 16 / frame.scale[0] / frame.scale[1]
    assert share.sum() * cell == pytest.approx(mask.sum(), rel=1e-4)
    back = upscale(logits, frame) > 0
    assert (back & mask).sum() / (back | mask).sum() > 0.9


def test_a_mask_that_reaches_over_the_border() -> None:
    frame = Frame.fit((100, 100))
    crop = MaskCrop(np.ones((20, 20), bool), Region(90, -10, 110, 10))
    share = (mask_logits(crop, frame, 256) / MASK_LOGIT + 1) / 2
    assert share.sum() * (100 / 256) ** 2 == pytest.approx(100, rel=1e-3)
    np.testing.assert_array_equal(bounding_box(crop), [89.5, -10.5, 109.5, 9.5])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried ..."), DeviceMemoryError),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
            DeviceMemoryError,
        ),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to"),
            DeviceMemoryError,
        ),
        (MemoryError(), DeviceMemoryError),
        (RuntimeError("CUDA error: device-side assert\nmore lines"), ModelError),
    ],
)
def test_errors_of_torch_become_one_sentence(
    error: Exception, expected: type[ModelError]
) -> None:
    with pytest.raises(ModelError) as caught, translated_errors("encode", "cuda:0"):
        raise error
    assert type(caught.value) is expected
    assert not isinstance(caught.value, RuntimeError)
    assert "\n" not in str(caught.value)
    assert "cuda:0" in str(caught.value)


def test_an_allocation_that_cannot_succeed() -> None:
    with (
        pytest.raises(DeviceMemoryError, match="no memory left"),
        translated_errors("encode", "cpu"),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)
