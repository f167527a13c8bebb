"""The preview: on its plane, over its pixels, one plane of memory."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points

from napari_sam.types import MaskCrop, Plane
from napari_sam.viewer.coords import displayed_plane
from napari_sam.viewer.overlay import (
    DOUBTFUL,
    EDGE,
    FAINT,
    FILL,
    HIGHLIGHT,
    MUTED,
    PlaneOverlay,
    ShownMask,
    bright,
    pixel_value,
    preview_color,
)
from napari_sam.viewer.plugin_layers import (
    ROLE,
    copy_transform,
    is_ours,
    transform_of,
)
from napari_sam.viewer.settings import PreviewStyle

SHAPE = (6, 10, 12)


def viewer_with(**arguments) -> tuple[ViewerModel, Image]:
    viewer = ViewerModel()
    image = Image(np.zeros(SHAPE, np.uint8), **arguments)
    viewer.add_layer(image)
    return viewer, image


def overlay_on(viewer: ViewerModel) -> PlaneOverlay:
    return PlaneOverlay(viewer, "SAM preview", "preview")


def parts_of(layer: Layer) -> dict[str, str]:
    return {
        name: str(getattr(value, "affine_matrix", value))
        for name, value in transform_of(layer).items()
    }


def spot(row: int, column: int, size: int = 2) -> MaskCrop:
    full = np.zeros((20, 20), bool)
    full[row : row + size, column : column + size] = True
    return MaskCrop.from_full(full)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_mask_is_over_its_pixels_in_any_order_of_axes(order):
    viewer, image = viewer_with(scale=(2, 0.5, 0.25), translate=(7, 8, 9))
    viewer.dims.order = order
    viewer.dims.point = image.data_to_world((3, 4, 5))
    plane = displayed_plane(viewer, image)
    overlay = overlay_on(viewer)
    overlay.show(image, plane, [ShownMask(spot(1, 2), 3)])

    layer = overlay.layer
    assert layer.data.nbytes == np.prod(plane.shape(SHAPE))
    found = np.argwhere(layer.data == pixel_value(3, EDGE))
    assert len(found) == 4
    for index in found:
        in_image = np.array(plane.to_array_point(0, 0))
        for axis in plane.displayed:
            in_image[axis] = index[axis]
        np.testing.assert_allclose(
            layer.data_to_world(index), image.data_to_world(in_image)
        )
        row, column = plane.to_plane_point(in_image)
        assert row in (1, 2)
        assert column in (2, 3)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_overlay_has_the_images_transform_at_its_plane(data):
    number = st.floats(-20, 20)
    size = st.floats(0.1, 5)
    image = Image(
        np.zeros(SHAPE, np.uint8),
        scale=[data.draw(size) for _ in range(3)],
        translate=[data.draw(number) for _ in range(3)],
        rotate=[data.draw(st.floats(-90, 90)) for _ in range(3)],
        shear=[data.draw(st.floats(-0.5, 0.5)) for _ in range(3)],
        affine=np.array(
            [
                [data.draw(size), 0, 0, data.draw(number)],
                [0, data.draw(size), 0, data.draw(number)],
                [0, 0, data.draw(size), data.draw(number)],
                [0, 0, 0, 1],
            ]
        ),
    )
    viewer = ViewerModel()
    viewer.add_layer(image)
    overlay = overlay_on(viewer)
    axes = data.draw(st.permutations(range(3)))[:2]
    for _ in range(2):
        index = tuple(
            None if a in axes else data.draw(st.integers(0, n - 1))
            for a, n in enumerate(SHAPE)
        )
        plane = Plane((axes[0], axes[1]), index)
        overlay.show(image, plane, [ShownMask(spot(0, 0), 1)])
        for corner in itertools.product((0.0, 3.0), repeat=2):
            in_image = plane.to_array_point(*corner)
            in_overlay = [
                0.0 if i is not None else x
                for i, x in zip(plane.index, in_image, strict=True)
            ]
            np.testing.assert_allclose(
                overlay.layer.data_to_world(in_overlay),
                image.data_to_world(in_image),
                atol=1e-6,
            )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", (1, 2, 3)),
        ("translate", (0, 0, 7)),
        ("rotate", 30.0),
        ("shear", (0.1, 0, 0)),
        ("affine", np.diag([1.0, 2.0, 1.0, 1.0])),
        ("units", ("um", "um", "nm")),
        ("axis_labels", ("z", "y", "x")),
    ],
)
def test_each_part_of_a_transform_is_taken_over(name, value):
    image, layer = (Image(np.zeros(SHAPE, np.uint8)) for _ in range(2))
    setattr(image, name, value)
    copy_transform(image, layer)
    assert parts_of(layer) == parts_of(image)
    # And back: what is set is compared with what is there.
    plain = Image(np.zeros(SHAPE, np.uint8))
    copy_transform(plain, layer)
    assert parts_of(layer) == parts_of(plain) != parts_of(image)


def test_on_another_plane_it_is_only_moved():
    """Each part that napari is told slices the layer anew, in the window's thread."""
    viewer, image = viewer_with(scale=(3, 1, 1))
    overlay = overlay_on(viewer)
    told = []
    for z in (4, 2):
        overlay.show(image, Plane((1, 2), (z, None, None)), [ShownMask(spot(2, 2), 1)])
        if not told:
            for name in ("scale", "translate", "rotate", "shear", "affine", "units"):
                overlay.layer.events[name].connect(
                    lambda event: told.append(event.type)
                )
            told.append("connected")
    assert told == ["connected", "translate"]


def test_napari_shows_it_on_its_plane_only():
    viewer, image = viewer_with(scale=(3, 1, 1))
    overlay = overlay_on(viewer)
    overlay.show(image, Plane((1, 2), (4, None, None)), [ShownMask(spot(2, 2), 1)])
    seen = []
    for z in range(SHAPE[0]):
        viewer.dims.set_current_step(0, z)
        value = overlay.layer.get_value(
            (3.0 * z, 2, 2), dims_displayed=[1, 2], world=True
        )
        seen.append(bool(value))
    assert seen == [z == 4 for z in range(SHAPE[0])]


def test_showing_again_replaces_what_was_shown():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    plane = Plane((1, 2), (4, None, None))
    overlay.show(image, plane, [ShownMask(spot(0, 0), 1), ShownMask(spot(5, 5), 2)])
    layer = overlay.layer
    overlay.show(image, plane, [ShownMask(spot(3, 3, 1), 6)])
    assert overlay.layer is layer
    assert np.argwhere(layer.data).tolist() == [[0, 3, 3]]
    other = Plane((1, 2), (2, None, None))
    overlay.show(image, other, [ShownMask(spot(1, 1, 1), 5)])
    assert overlay.layer is layer
    assert np.argwhere(layer.data).tolist() == [[0, 1, 1]]
    overlay.clear()
    assert overlay.layer is layer
    assert not layer.data.any()


def test_other_axes_are_shown_by_the_same_layer():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    layers = []
    for plane in (Plane((1, 2), (4, None, None)), Plane((0, 2), (None, 4, None))):
        overlay.show(image, plane, [ShownMask(spot(1, 1), 1)])
        layers.append(overlay.layer)
    assert layers[0] is layers[1]
    assert [x.metadata[ROLE] for x in viewer.layers if is_ours(x)] == ["preview"]
    assert overlay.layer.data.shape == (6, 1, 12)


def test_mask_beyond_the_plane_is_cut():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    overlay.show(image, Plane((1, 2), (0, None, None)), [ShownMask(spot(8, 10, 6), 1)])
    assert np.argwhere(overlay.layer.data).tolist() == [
        [0, 8, 10],
        [0, 8, 11],
        [0, 9, 10],
        [0, 9, 11],
    ]
    overlay.show(image, Plane((1, 2), (0, None, None)), [ShownMask(spot(15, 15), 1)])
    assert not overlay.layer.data.any()


def test_it_lies_below_the_prompts_and_leaves_the_active_layer_alone():
    viewer, image = viewer_with()
    prompts = Points(ndim=3, metadata={ROLE: "points"})
    viewer.add_layer(prompts)
    viewer.layers.selection.active = prompts
    overlay = overlay_on(viewer)
    overlay.show(image, Plane((1, 2), (0, None, None)), [ShownMask(spot(1, 1), 1)])
    layers = viewer.layers
    assert layers.index(overlay.layer) < layers.index(prompts)
    assert layers.selection.active is prompts


def test_removed_by_the_user_it_comes_back_when_needed():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    plane = Plane((1, 2), (0, None, None))
    overlay.show(image, plane, [ShownMask(spot(1, 1), 1)])
    viewer.layers.remove(overlay.layer)
    overlay.forget()
    overlay.clear()
    overlay.remove()
    overlay.show(image, plane, [ShownMask(spot(1, 1), 1)])
    assert overlay.layer in viewer.layers
    overlay.remove()
    assert not any(is_ours(x) for x in viewer.layers)


def test_more_objects_than_colors_are_all_shown():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    masks = [
        ShownMask(spot(n % 10, n // 10, 1), preview_color(n)) for n in range(1, 120)
    ]
    overlay.show(image, Plane((1, 2), (0, None, None)), masks)
    assert np.count_nonzero(overlay.layer.data) == 119
    assert overlay.layer.data.max() <= pixel_value(MUTED, FAINT)


def test_one_mask_among_many_is_neither_highlighted_nor_muted():
    values = [bright(number) for number in range(1000)]
    assert {HIGHLIGHT, MUTED}.isdisjoint(values)
    # neighbors in the list differ
    assert all(a != b for a, b in itertools.pairwise(values))


PLANE = Plane((1, 2), (0, None, None))


def shades(overlay: PlaneOverlay) -> dict[int, int]:
    """Return how many pixels each shade of the highlight has."""
    return {
        shade: int((overlay.layer.data == pixel_value(HIGHLIGHT, shade)).sum())
        for shade in (EDGE, FILL, FAINT)
    }


def test_a_mask_is_a_contour_over_a_light_fill():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    overlay.show(image, PLANE, [ShownMask(spot(2, 3, 5))])
    assert shades(overlay) == {EDGE: 16, FILL: 9, FAINT: 0}
    alphas = [overlay.layer.colormap.map(pixel_value(0, s))[3] for s in (EDGE, FILL)]
    assert alphas[0] > 0.9
    assert alphas[1] < 0.4
    overlay.restyle(PreviewStyle.CONTOUR)
    assert shades(overlay) == {EDGE: 16, FILL: 0, FAINT: 0}
    overlay.restyle(PreviewStyle.OFF)
    assert not overlay.layer.data.any()
    overlay.restyle(PreviewStyle.FILL)
    assert shades(overlay) == {EDGE: 16, FILL: 9, FAINT: 0}


def test_a_doubtful_mask_looks_doubtful():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    overlay.show(image, PLANE, [ShownMask(spot(0, 0, 9), score=DOUBTFUL)])
    sure = shades(overlay)
    overlay.show(image, PLANE, [ShownMask(spot(0, 0, 9), score=0.08)])
    doubtful = shades(overlay)
    # Its contour is dashed and its inside all but clear.
    assert 0.2 * sure[EDGE] < doubtful[EDGE] < 0.8 * sure[EDGE]
    assert doubtful[FILL] == 0
    assert doubtful[FAINT] > 0


def test_a_contour_stays_visible_when_the_image_is_small_on_screen():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    overlay.show(image, PLANE, [ShownMask(spot(0, 0, 9))])
    near = shades(overlay)[EDGE]
    overlay.zoomed(0.5)
    assert shades(overlay)[EDGE] > near


def test_a_hidden_layer_of_ours_comes_back_with_what_is_new():
    viewer, image = viewer_with()
    overlay = overlay_on(viewer)
    overlay.show(image, PLANE, [ShownMask(spot(0, 0, 9))])
    overlay.layer.visible = False
    overlay.clear()
    overlay.show(image, PLANE, [ShownMask(spot(1, 0, 9))])
    assert overlay.layer.visible


@functools.cache
def viewer_number(number: int) -> tuple[ViewerModel, Image]:
    """Return one of two viewers with an image; napari takes long to make one."""
    return viewer_with()


@functools.cache
def reference() -> tuple[PlaneOverlay, Image]:
    viewer, image = viewer_number(1)
    return overlay_on(viewer), image


def drawn_from_nothing(masks: list[ShownMask], style: PreviewStyle) -> np.ndarray:
    """Return what an overlay holds that was empty before, on whatever plane."""
    overlay, image = reference()
    overlay.clear()
    assert overlay.layer is None or not overlay.layer.data.any()
    overlay.restyle(style)
    overlay.show(image, PLANE, masks)
    return overlay.layer.data


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_masks_that_share_no_pixel_are_drawn_where_they_have_changed(data):
    """In whatever order, the layer holds what is drawn from nothing."""
    viewer, image = viewer_number(0)
    for layer in [layer for layer in viewer.layers if is_ours(layer)]:
        viewer.layers.remove(layer)
    overlay = overlay_on(viewer)
    cells = [spot(2 * (n // 4), 3 * (n % 4)) for n in range(16)]
    known = [
        ShownMask(cell, bright(n), data.draw(st.sampled_from([0.5, 0.9])))
        for n, cell in enumerate(cells)
    ]
    over = ShownMask(spot(1, 1, 5))
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.sets(st.integers(0, 15)))
        masks = [known[n] for n in chosen]
        step = data.draw(st.sampled_from(["same", "colored", "over", "style", "plane"]))
        if step == "colored":
            masks = [ShownMask(m.mask, MUTED, m.score) for m in masks]
        if step == "over":
            masks.append(over)
        if step == "style":
            overlay.restyle(data.draw(st.sampled_from(list(PreviewStyle))))
        plane = Plane((1, 2), (3, None, None)) if step == "plane" else PLANE
        overlay.show(image, plane, masks, apart=step != "over")
        expected = drawn_from_nothing(masks, overlay._style)
        np.testing.assert_array_equal(overlay.layer.data, expected)
