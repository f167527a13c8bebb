from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam.core.imaging import MAX_CHANNELS, Channel, as_seen, compose, to_rgb
from napari_sam.errors import ImageError

REAL_DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
ramp = np.arange(64 * 64).reshape(64, 64)


def gray(plane, **kwargs):
    rgb = to_rgb(plane, **kwargs)
    assert rgb.dtype == np.uint8
    assert rgb.shape == (*np.shape(plane)[:2], 3)
    assert (rgb == rgb[..., :1]).all()
    return rgb[..., 0]


any_scalar_plane = st.sampled_from(REAL_DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        np.dtype(dtype), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
    )
)


@given(any_scalar_plane)
@example(np.array([[-1.7e308, 1.7e308]]))
@example(np.array([[0, 5e-324]]))
@example(np.array([[-3e38, 3e38]], np.float32))
@example(np.array([[0, 1e-45]], np.float32))
@example(np.array([[-65504, 65504]], np.float16))
@example(np.array([[-(2**63), 2**63 - 1]]))
@settings(max_examples=300, deadline=None)
def test_any_real_plane_becomes_gray_and_keeps_its_order(plane):
    result = gray(plane)
    flat = plane.ravel()
    usable = np.isfinite(flat) if plane.dtype.kind == "f" else np.ones(flat.size, bool)
    if result.any() and result.max() < 255:
        result = np.where(result > 128, 255, 0)  # two values, which get grain
    order = np.argsort(flat[usable], kind="stable")
    assert (np.diff(result.ravel()[usable][order].astype(int)) >= 0).all()
    assert (result.ravel()[~usable] == 0).all()
    if usable.any() and flat[usable].min() < flat[usable].max():
        assert {0, 255} <= set(result.ravel()[usable])
    else:
        assert plane.dtype == np.bool_ or (result == 0).all()


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i8", "f4", "f8", "f2", ">u2"])
def test_type_does_not_change_the_picture(dtype):
    small = ramp % 1009  # float16 counts to 2048
    expected = np.floor(small * Fraction(255, 1008) + Fraction(1, 2)).astype(np.uint8)
    found = gray(small.astype(dtype), percentiles=(0, 100))
    # A value half-way between two grays may round either way.
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found == expected).mean() > 0.99


def test_percentiles_become_black_and_white():
    result = gray(np.arange(1001).reshape(7, 143), percentiles=(10, 90))
    flat = result.ravel()
    assert (flat[:101] == 0).all()
    assert flat[102] > 0
    assert (flat[900:] == 255).all()
    assert flat[898] < 255


def test_hot_pixels_do_not_darken_the_image():
    rng = np.random.default_rng(0)
    plane = rng.integers(100, 1100, (256, 256)).astype(np.uint16)
    expected = gray(plane)
    plane.flat[rng.choice(plane.size, 30, replace=False)] = 65535
    found = gray(plane)
    assert np.abs(found.astype(int) - expected).mean() < 1


def test_few_bright_objects_on_an_even_background_are_seen():
    plane = np.full((100, 100), 7, np.uint16)
    plane[40:42, 40:42] = 900
    result = gray(plane)
    assert result[40:42, 40:42].min() > 180
    assert np.count_nonzero(result > 100) == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_count_as_background(dtype, bad):
    plane = np.linspace(-1, 1, 64 * 64).reshape(64, 64).astype(dtype)
    expected = gray(plane)
    plane[10:20, 10:20] = bad
    result = gray(plane)
    assert (result[10:20, 10:20] == 0).all()
    rest = np.ones(plane.shape, bool)
    rest[10:20, 10:20] = False
    assert np.abs(result[rest].astype(int) - expected[rest]).max() <= 1


@pytest.mark.parametrize("value", [0, 3, np.nan, np.inf])
def test_constant_planes_are_black(value):
    assert not to_rgb(np.full((9, 5), value)).any()


@pytest.mark.parametrize("dtype", ["?", "u1", "i4", "f4"])
def test_two_values_get_the_same_grain_in_any_type(dtype):
    mask = np.zeros((300, 40), dtype)
    mask[20:270, 10:30] = 1
    seen = gray(mask)
    assert (seen == gray(mask.astype(bool))).all()
    dark, light = seen[mask == 0], seen[mask == 1]
    assert light.min() > dark.max() + 90
    assert min(dark.std(), light.std()) > 5


def test_masks_of_one_value_are_black_or_white():
    assert (gray(np.zeros((9, 9), bool)) == 0).all()
    assert (gray(np.ones((9, 9), bool)) == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (1, 600_000)])
def test_planes_one_pixel_wide(shape):
    plane = np.arange(np.prod(shape)).reshape(shape)
    assert gray(plane).max() == (255 if plane.size > 1 else 0)


def test_large_planes_are_stretched_from_a_subset_to_nearly_the_same():
    rng = np.random.default_rng(0)
    plane = rng.gamma(2, 300, (1024, 1000)).astype(np.uint16)
    plane[::2] //= 2  # interlaced: every other row is darker
    low, high = np.percentile(plane, (0.1, 99.9))
    exact = np.clip((plane - low) / (high - low), 0, 1) * 255
    assert np.abs(gray(plane) - exact).mean() < 2
    assert (gray(plane) == gray(plane)).all()


def test_color_images_pass_unchanged_and_lose_their_alpha():
    rng = np.random.default_rng(0)
    rgba = rng.integers(100, 110, (8, 9, 4), dtype=np.uint8)
    assert (to_rgb(rgba) == rgba[..., :3]).all()
    rgb = np.ascontiguousarray(rgba[..., :3])
    assert (to_rgb(rgb) == rgb).all()
    assert to_rgb(rgba).flags.c_contiguous


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 3), (8, 9, 4)])
def test_result_is_not_the_users_array(shape):
    data = np.zeros(shape, np.uint8)
    assert not np.shares_memory(to_rgb(data), data)
    assert to_rgb(data).flags.writeable


def test_one_channel_is_gray():
    plane = ramp.astype(np.uint8)
    assert (to_rgb(plane[..., None]) == to_rgb(plane)).all()


@pytest.mark.parametrize("channels", [2, 3])
def test_two_and_three_channels_are_stretched_by_themselves(channels):
    stack = np.stack([ramp * 10.0**c for c in range(channels)], axis=-1)
    rgb = to_rgb(stack)
    for c in range(channels):
        assert (rgb[..., c] == gray(stack[..., c])).all()
    assert not rgb[..., channels:].any()


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "f8"])
@pytest.mark.parametrize("alpha", [np.ones_like(ramp), ramp % 7, ramp.T])
def test_the_alpha_of_any_type_is_no_hue(dtype, alpha):
    stack = np.stack([ramp, ramp[::-1], ramp.T, alpha], axis=-1).astype(dtype)
    assert (to_rgb(stack) == to_rgb(stack[..., :3])).all()


@pytest.mark.parametrize("channels", [5, 7, MAX_CHANNELS])
def test_each_of_many_channels_is_seen_in_its_own_hue(channels):
    stack = np.zeros((65, 66, channels), np.uint16)
    for c in range(channels):
        stack[c, :, c] = 50 + c
    rgb = to_rgb(stack, percentiles=(0.1, 100))
    colors = rgb[:channels, 0]
    assert (colors.max(axis=1) == 255).all()
    assert len({tuple(c) for c in colors}) == channels
    assert not rgb[channels:].any()


def test_overlapping_channels_do_not_saturate():
    stack = np.repeat(ramp[..., None], 6, axis=-1)
    rgb = to_rgb(stack)
    assert np.abs(rgb.astype(int) - to_rgb(ramp)).max() <= 2


@pytest.mark.parametrize(
    ("plane", "named"),
    [
        (np.ones((4, 4), complex), "complex128"),
        (np.full((4, 4), None), "object"),
        (np.array([["a", "b"]]), "<U1"),
        (np.zeros((4, 4), "M8[s]"), "datetime64"),
        (np.zeros((4, 4), [("a", "f4")]), "'a'"),
        (np.zeros((0, 4)), r"\(0, 4\)"),
        (np.zeros((4, 4, 0)), r"\(4, 4, 0\)"),
        (np.zeros(4), r"\(4,\)"),
        (np.float32(3), r"\(\)"),
        (np.zeros((2, 3, 4, 4)), r"\(2, 3, 4, 4\)"),
        (np.zeros((5, 64, 65)), "65 channels"),
        (np.zeros((20, 64, 64)), "stack of 20 planes"),
        (np.zeros((3, 5, 5)), "stack of 3 planes"),
    ],
)
def test_unusable_images_end_in_one_sentence(plane, named):
    with pytest.raises(ImageError, match=named) as caught:
        to_rgb(plane)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("percentiles", [(1, 1), (90, 10), (-1, 50), (0, 101)])
def test_wrong_percentiles_are_refused(percentiles):
    with pytest.raises(ValueError, match="percentiles"):
        to_rgb(ramp, percentiles=percentiles)


def test_input_is_never_written_to():
    plane = np.linspace(0, 1, 100).reshape(10, 10)
    plane[0, 0] = np.nan
    plane.setflags(write=False)
    to_rgb(plane)
    compose([Channel(plane, (0, 0.5), gamma=0.5)])


# -- as displayed ------------------------------------------------------------


def test_contrast_limits_clip():
    rgb = compose([Channel(np.array([[0, 10, 15, 20, 30]]), (10, 20))])
    assert rgb[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_gamma_is_applied_between_the_limits():
    rgb = compose([Channel(np.array([[0.25]]), (0, 1), gamma=0.5)])
    assert rgb[0, 0].tolist() == [128, 128, 128]


def test_a_short_colormap_is_interpolated():
    red_to_blue = np.array([[1, 0, 0], [0, 0, 1.0]])
    rgb = compose([Channel(np.array([[0, 0.5, 1]]), (0, 1), lut=red_to_blue)])
    assert rgb[0].tolist() == [[255, 0, 0], [127, 0, 128], [0, 0, 255]]


def solid(value, **kwargs):
    data = np.full((1, 1, 3), value, np.float32)
    return Channel(data, **kwargs)


@pytest.mark.parametrize(
    ("blending", "expected"),
    [
        ("translucent", 0.2 * 0.5 + 0.6 * 0.5),
        ("translucent_no_depth", 0.2 * 0.5 + 0.6 * 0.5),
        ("additive", 0.2 + 0.6 * 0.5),
        ("opaque", 0.6),
        ("minimum", 0.2),
        ("multiplicative", 0.2 * 0.6),
    ],
)
def test_blending_modes(blending, expected):
    rgb = compose([solid(0.2), solid(0.6, opacity=0.5, blending=blending)])
    assert rgb[0, 0].tolist() == [int(expected * 255 + 0.5)] * 3


def test_additive_channels_add_up_and_saturate():
    green, magenta = (
        np.array([[0, 0, 0], [0, 1, 0.0]]),
        np.array([[0] * 3, [1, 0, 1.0]]),
    )
    ones = np.ones((2, 2), np.uint16)
    layers = [
        Channel(ones, (0, 1), lut=green, blending="additive"),
        Channel(ones, (0, 2), lut=magenta, blending="additive"),
        Channel(ones, (0, 1), lut=green, blending="additive"),
    ]
    assert compose(layers)[0, 0].tolist() == [128, 255, 128]


def test_alpha_of_the_data_and_of_the_colormap_count():
    rgba = np.array([[[255, 255, 255, 51]]], np.uint8)
    assert compose([Channel(rgba)])[0, 0].tolist() == [51] * 3
    lut = np.array([[1, 1, 1, 0], [1, 1, 1, 1.0]])
    faded = Channel(np.array([[0.2]]), (0, 1), lut=lut)
    assert compose([faded])[0, 0].tolist() == [51] * 3


@pytest.mark.parametrize("limits", [(5, 5), (6, 5)])
def test_empty_contrast_range_is_black(limits):
    assert not compose([Channel(np.full((2, 2), 9), limits)]).any()


def test_not_finite_pixels_are_background_as_displayed():
    data = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    assert compose([Channel(data, (0, 1))])[0, :, 0].tolist() == [0, 0, 0, 255]


def test_unusable_layers_end_in_one_sentence():
    with pytest.raises(ImageError, match="visible"):
        compose([])
    with pytest.raises(ImageError, match="differ in size"):
        compose([Channel(np.zeros((2, 2))), Channel(np.zeros((2, 3)))])
    with pytest.raises(ImageError, match="3 or 4 channels"):
        compose([Channel(np.zeros((2, 2, 5)))])
    with pytest.raises(ImageError, match="complex"):
        compose([Channel(np.zeros((2, 2), complex))])
    with pytest.raises(ValueError, match="blending"):
        compose([Channel(np.zeros((2, 2)), blending="screen")])
    with pytest.raises(ValueError, match="lut"):
        compose([Channel(np.zeros((2, 2)), lut=np.zeros((3, 2)))])


def test_what_a_model_sees_of_a_pyramid_lies_where_the_plane_does():
    rgb = to_rgb(ramp[:3, :4])
    assert (as_seen(rgb, (3, 4)) == rgb).all()
    assert (as_seen(rgb, (6, 12)) == rgb.repeat(2, 0).repeat(3, 1)).all()
    assert as_seen(rgb, (7, 9)).shape == (7, 9, 3)
