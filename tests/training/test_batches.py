"""Crops and batches: what the network sees, and that it is the same again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.training.data.augment import augment
from napari_sam.training.data.batches import iter_batches, make_batch, object_maps
from napari_sam.training.data.crops import Cropper, SampleGroup
from napari_sam.training.data.samples import Sample
from napari_sam.training.finetune.recipe import Recipe

RECIPE = Recipe(steps=6, side=128, images=2, prompts=3, fine_steps=2, fine_side=192)


def numbered(height: int, width: int) -> Sample:
    """Return an image whose gray value says which object is there."""
    labels = np.zeros((height, width), np.int32)
    for number in range(1, 5):
        row, col = height * (number - 1) // 4, width * (number % 3) // 4
        labels[row : row + height // 5, col : col + width // 4] = number
    gray = (labels * 60).astype(np.uint8)
    return Sample("numbered", np.repeat(gray[..., None], 3, axis=2), labels)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(40, 300),
    st.integers(40, 300),
    st.sampled_from([112, 128, 192]),
)
def test_image_and_labels_are_cut_alike(
    seed: int, height: int, width: int, side: int
) -> None:
    group = SampleGroup("numbered", (numbered(height, width),))
    crop = Cropper((group,), RECIPE).draw(np.random.default_rng(seed), side)
    assert crop.rgb.shape == (side, side, 3)
    assert crop.labels.shape == (side, side)
    rows, cols = crop.size
    assert not crop.labels[rows:].any()
    assert not crop.labels[:, cols:].any()
    seen = crop.rgb[:rows, :cols, 0] * 255 / 60
    # Away from edges, where neighbors are averaged, the two say the same.
    agree = np.abs(seen - crop.labels[:rows, :cols]) < 0.5
    assert agree.mean() > 0.7
    assert crop.labels.any()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_augmented_images_stay_images(seed: int, gray: bool) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((40, 50, 1 if gray else 3), np.float32)
    image = np.repeat(image, 3, axis=2) if gray else image
    kept = image.copy()
    out = augment(rng, image)
    assert out.shape == image.shape
    assert out.dtype == np.float32
    assert 0 <= out.min() <= out.max() <= 1
    np.testing.assert_array_equal(image, kept)


def test_a_batch_is_what_it_says(rods: tuple[SampleGroup, ...]) -> None:
    batch = make_batch(Cropper(rods, RECIPE), RECIPE, 0, 0)
    assert batch.images.shape == (2, 3, 128, 128)
    assert batch.masks.shape == (6, 128, 128)
    assert batch.masks.flatten(1).any(1).all()
    assert batch.maps.shape == (2, 2, 32, 32)
    assert all(n % 16 == 0 and 0 <= n <= 1024 - 128 for n in batch.offset)
    for mask, xy, kinds in zip(batch.masks, batch.xy, batch.kinds, strict=True):
        if kinds[0] == TokenLabel.POSITIVE:
            x, y = (int(v) for v in xy[0].round())
            assert mask[y, x]
            assert kinds[1] == TokenLabel.PADDING
        else:
            assert kinds.tolist() == [TokenLabel.BOX_START, TokenLabel.BOX_END]


def test_the_last_steps_are_fine(rods: tuple[SampleGroup, ...]) -> None:
    cropper = Cropper(rods, RECIPE)
    shapes = [make_batch(cropper, RECIPE, s, 0).images.shape[-1] for s in range(6)]
    assert shapes == [128] * 4 + [192] * 2


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_where_a_run_begins(
    rods: tuple[SampleGroup, ...], workers: int
) -> None:
    cropper = Cropper(rods, RECIPE)
    whole = [b[0] for b in iter_batches(cropper, RECIPE, 0, workers=workers)]
    rest = [b[0] for b in iter_batches(cropper, RECIPE, 3)]
    assert len(whole) == RECIPE.steps
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.xy, b.xy)
    other = make_batch(cropper, replace(RECIPE, seed=1), 0, 0)
    assert not torch.equal(whole[0].images, other.images)


def test_a_share_of_the_steps_sees_larger_crops(
    rods: tuple[SampleGroup, ...],
) -> None:
    recipe = replace(RECIPE, steps=400, fine_share=0.3)
    fine = [recipe.is_fine(step) for step in range(recipe.steps)]
    assert 0.2 < np.mean(fine[:-2]) < 0.4
    assert fine[-2:] == [True, True]
    longer = replace(recipe, steps=500, images=1)
    assert [longer.is_fine(step) for step in range(398)] == fine[:398]
    assert [replace(recipe, seed=1).is_fine(s) for s in range(398)] != fine[:398]
    cropper = Cropper(rods, recipe)
    for step in (fine.index(False), fine.index(True)):
        batch = make_batch(cropper, recipe, step, 0)
        count, _, side, _ = batch.images.shape
        assert (side, count) == ((192, 1) if fine[step] else (128, 2))


def test_processes_see_different_crops(rods: tuple[SampleGroup, ...]) -> None:
    recipe = replace(RECIPE, accumulate=2, steps=1, fine_steps=0)
    cropper = Cropper(rods, recipe)
    (first,) = iter_batches(cropper, recipe, 0, rank=0, ranks=2)
    (second,) = iter_batches(cropper, recipe, 0, rank=1, ranks=2)
    images = [b.images for b in (*first, *second)]
    assert len(images) == 4
    for i, a in enumerate(images):
        assert not any(torch.equal(a, b) for b in images[i + 1 :])


def test_object_maps_have_one_peak_inside_each_object() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[4:28, 8:32] = 1
    labels[40:60, 20:28] = 5
    foreground, centers = object_maps(labels)
    np.testing.assert_allclose(
        foreground, labels.reshape(16, 4, 16, 4).mean((1, 3)) > 0
    )
    assert centers.max() > 0.7
    assert centers[4, 5] > 0.7
    assert centers[12, 6] > 0.5
    assert (centers[foreground == 0] == 0).all()


def test_images_without_objects_are_left_out() -> None:
    empty = Sample(
        "empty", np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int32)
    )
    with pytest.raises(ValueError, match="no sample has an object"):
        Cropper((SampleGroup("empty", (empty,)),), RECIPE)
    full = SampleGroup("both", (empty, numbered(64, 64)))
    assert Cropper((full,), RECIPE).draw(np.random.default_rng(0), 64).labels.any()
