"""What is displayed, composed where it lies: other scales, places, resolutions."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image

from napari_sam.errors import ImageError
from napari_sam.types import Plane
from napari_sam.viewer.image.source import snapshot
from napari_sam.viewer.settings import Normalization

FLAT = Plane((0, 1), (None, None))
RED = {"colormap": "red", "blending": "additive", "contrast_limits": (0, 255)}
GREEN = {"colormap": "green", "blending": "additive", "contrast_limits": (0, 255)}


def composed(chosen: Image, *layers: Image, plane: Plane = FLAT) -> np.ndarray:
    source = snapshot(chosen, Normalization.DISPLAYED, layers)
    return source.read(plane)[0]


def ramp(height: int, width: int) -> np.ndarray:
    return np.arange(height * width, dtype=float).reshape(height, width) % 251


def test_another_resolution_lies_where_it_lies():
    fine = Image(ramp(40, 60), **RED)
    coarse = Image(
        ramp(20, 30), scale=(2, 2), translate=(0.5, 0.5), **GREEN
    )  # each of its pixels covers four
    rgb = composed(fine, fine, coarse)
    np.testing.assert_allclose(rgb[..., 0], ramp(40, 60), atol=1)
    expected = np.repeat(np.repeat(ramp(20, 30), 2, 0), 2, 1)
    np.testing.assert_allclose(rgb[..., 1], expected, atol=1)


def test_a_shifted_layer_is_shifted_and_ends_where_it_ends():
    chosen = Image(np.zeros((30, 30)), **RED)
    other = Image(np.full((30, 30), 255.0), translate=(10, -5), **GREEN)
    rgb = composed(chosen, chosen, other)
    assert (rgb[10:, :25, 1] == 255).all()
    assert not rgb[:10, :, 1].any()
    assert not rgb[:, 25:, 1].any()


def test_scale_and_units_of_both_count():
    chosen = Image(np.zeros((20, 20)), scale=(0.5, 0.5), units=("um", "um"), **RED)
    other = Image(ramp(20, 20), scale=(500.0, 500.0), units=("nm", "nm"), **GREEN)
    rgb = composed(chosen, chosen, other)
    np.testing.assert_allclose(rgb[..., 1], ramp(20, 20), atol=1)


def test_a_plane_of_a_stack_takes_the_same_slice_of_another_spacing():
    stack = np.stack([np.full((8, 9), 10.0 * z) for z in range(6)])
    other = np.stack([np.full((8, 9), 100.0 + z) for z in range(3)])
    chosen = Image(stack, **RED)
    sparse = Image(other, scale=(2, 1, 1), **GREEN)
    for z, expected in ((0, 100), (2, 101), (4, 102)):
        rgb = composed(chosen, chosen, sparse, plane=Plane((1, 2), (z, None, None)))
        assert (rgb[..., 0] == 10 * z).all()
        assert (rgb[..., 1] == expected).all()
    # Seen from the side, and transposed.
    for shown in ((0, 2), (2, 0)):
        plane = Plane(shown, (None, 3, None))
        rgb = composed(chosen, chosen, sparse, plane=plane)
        assert rgb.shape[:2] == plane.shape(stack.shape)
        line = rgb[:, 0, 1] if shown == (0, 2) else rgb[0, :, 1]
        assert line[[0, 2, 4]].tolist() == [100, 101, 102]


def test_a_flat_image_lies_under_every_slice():
    chosen = Image(np.zeros((4, 8, 9)), **RED)
    flat = Image(ramp(8, 9), **GREEN)
    rgb = composed(chosen, chosen, flat, plane=Plane((1, 2), (3, None, None)))
    np.testing.assert_allclose(rgb[..., 1], ramp(8, 9), atol=1)


def test_a_hidden_image_is_not_displayed_though_it_is_the_chosen_one():
    chosen = Image(np.full((8, 9), 255.0), visible=False, **RED)
    other = Image(np.full((8, 9), 255.0), **GREEN)
    rgb = composed(chosen, chosen, other)
    assert not rgb[..., 0].any()
    assert (rgb[..., 1] == 255).all()
    # With nothing visible it is what there is.
    other.visible = False
    assert (composed(chosen, chosen, other)[..., 0] == 255).all()


def test_a_slice_with_nothing_displayed_is_one_sentence():
    chosen = Image(np.zeros((4, 8, 9)), visible=False, **RED)
    other = Image(np.ones((1, 8, 9)), **GREEN)
    with pytest.raises(ImageError, match="No visible image"):
        composed(chosen, chosen, other, plane=Plane((1, 2), (3, None, None)))


def test_a_pyramid_beside_a_single_level_image():
    data = ramp(2048, 2048)
    pyramid = Image([data, data[::2, ::2]], multiscale=True, **RED)
    other = Image(np.full((2048, 2048), 255.0), **GREEN)
    rgb = composed(pyramid, pyramid, other)
    assert rgb.shape == (1024, 1024, 3)
    np.testing.assert_allclose(rgb[..., 0], data[::2, ::2], atol=1)
    assert (rgb[..., 1] == 255).all()
