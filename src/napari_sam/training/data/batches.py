"""From sources to batches: crops, their objects, and the first prompts."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_sam.models.sam1.preprocess import MEAN, STD
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.training import simulated_clicks
from napari_sam.training.data.augment import augment

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam.training.data.crops import Crop, Cropper
    from napari_sam.training.finetune.recipe import Recipe
    from napari_sam.types import FloatArray

_MAX_TRIES = 20
_CENTER_WIDTH = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one forward pass takes.

    Parameters
    ----------
    images : float32 tensor (B, 3, side, side)
        Normalized; zero where there is no image.
    masks : bool tensor (B · P, side, side)
        The true objects.
    xy : float32 tensor (B · P, 2, 2)
        First prompts as two tokens each, in pixels of the crop.
    kinds : int64 tensor (B · P, 2)
        Their :class:`~napari_sam.models.sam1.prompt_encoder.TokenLabel`.
    maps : float32 tensor (B, 2, side / 4, side / 4)
        Foreground and object centers, 0 … 1.
    offset : tuple of int
        Column and row of the crops in the model's frame, multiples of 16.
    remembered : bool tensor (B,)
        Crops that are to look as before to the encoder.
    seed : tuple of int
        For the clicks that follow.
    """

    images: Tensor
    masks: Tensor
    xy: Tensor
    kinds: Tensor
    maps: Tensor
    offset: tuple[int, int]
    remembered: Tensor
    seed: tuple[int, ...]


def iter_batches(
    cropper: Cropper,
    recipe: Recipe,
    start: int,
    *,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 1,
) -> Iterator[list[Batch]]:
    """Yield the batches of each step from ``start`` on, made ahead of use.

    Every random number depends on seed, step and place alone, so that a run
    that is resumed sees what it would have seen.

    Parameters
    ----------
    cropper : Cropper
        Where crops come from.
    recipe : Recipe
        Sizes and counts.
    start : int
        The first step.
    rank, ranks : int
        Which of how many processes this is; each has batches of its own.
    workers : int
        Threads that prepare batches.
    """

    def make(step: int) -> list[Batch]:
        count = recipe.accumulate
        return [
            make_batch(cropper, recipe, step, rank * count + i) for i in range(count)
        ]

    waiting: deque[Future[list[Batch]]] = deque()
    with ThreadPoolExecutor(workers, "batches") as pool:
        try:
            following = start
            while following < recipe.steps or waiting:
                while following < recipe.steps and len(waiting) <= workers:
                    waiting.append(pool.submit(make, following))
                    following += 1
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def make_batch(cropper: Cropper, recipe: Recipe, step: int, place: int) -> Batch:
    """Return one batch of a step."""
    seed = (recipe.seed, step, place)
    rng = np.random.default_rng(seed)
    fine = recipe.is_fine(step)
    side = recipe.fine_side if fine else recipe.side
    count = recipe.fine_images if fine else recipe.images
    crops, chosen = [], []
    for _ in range(count):
        crop, values = _usable_crop(rng, cropper, side, recipe.prompts)
        crops.append(crop)
        chosen.append(values)
    masks = np.concatenate(
        [
            crop.labels[None] == values[:, None, None]
            for crop, values in zip(crops, chosen, strict=True)
        ]
    )
    xy, kinds = _first_prompts(rng, masks, recipe.boxes)
    room = (cropper.frame - side) // 16
    col, row = (16 * int(n) for n in rng.integers(0, room + 1, 2))
    images = np.stack([_normalized(rng, crop) for crop in crops])
    maps = np.stack([object_maps(crop.labels) for crop in crops])
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(masks),
        torch.from_numpy(xy),
        torch.from_numpy(kinds),
        torch.from_numpy(maps),
        (col, row),
        torch.tensor([crop.is_remembered for crop in crops]),
        (*seed, 1),
    )


def _usable_crop(
    rng: np.random.Generator, cropper: Cropper, side: int, prompts: int
) -> tuple[Crop, npt.NDArray[np.int32]]:
    """Draw until a crop shows an object that is large enough to click on."""
    for _ in range(_MAX_TRIES):
        crop = cropper.draw(rng, side)
        values = simulated_clicks.choose(rng, crop.labels, prompts)
        if values.size:
            return crop, values
    smallest = simulated_clicks.MIN_VISIBLE
    raise ValueError(f"no crop of {side} pixels showed an object of {smallest} pixels")


def _normalized(rng: np.random.Generator, crop: Crop) -> FloatArray:
    """Return the augmented image as the encoder takes it, (3, side, side)."""
    height, width = crop.size
    gray = augment(rng, crop.rgb[:height, :width]) * 255
    out = np.zeros((3, *crop.labels.shape), np.float32)
    image = (np.round(gray) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    out[:, :height, :width] = np.moveaxis(image, 2, 0)
    return out


def _first_prompts(
    rng: np.random.Generator, masks: npt.NDArray[np.bool_], boxes: float
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    xy = np.zeros((len(masks), 2, 2), np.float32)
    kinds = np.empty((len(masks), 2), np.int64)
    for i, mask in enumerate(masks):
        if rng.random() < boxes:
            xy[i] = simulated_clicks.noisy_box(rng, mask)
            kinds[i] = TokenLabel.BOX_START, TokenLabel.BOX_END
        else:
            xy[i, 0] = simulated_clicks.first_click(rng, mask)
            kinds[i] = TokenLabel.POSITIVE, TokenLabel.PADDING
    return xy, kinds


def object_maps(labels: npt.NDArray[np.int32]) -> FloatArray:
    """Return foreground and centers of a label image, at a quarter of its size.

    The center map is a Gaussian around each object's pixel nearest its
    centroid, as wide as 0.4 of its equivalent radius, inside the object only.

    Returns
    -------
    float32 array (2, H / 4, W / 4)
        0 … 1.
    """
    centers = np.zeros(labels.shape, np.float32)
    for value, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None:
            continue
        rows, cols = np.nonzero(labels[where] == value)
        away = (rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2
        middle = int(away.argmin())
        square = (rows - rows[middle]) ** 2 + (cols - cols[middle]) ** 2
        width = _CENTER_WIDTH**2 * max(rows.size / np.pi, 4.0)
        centers[where][rows, cols] = np.exp(-square / (2 * width))
    maps = np.stack([(labels > 0).astype(np.float32), centers])
    cells = maps.reshape(2, labels.shape[0] // 4, 4, labels.shape[1] // 4, 4)
    return np.asarray(cells.mean(axis=(2, 4)), np.float32)
