"""Crops around objects, at the sizes that objects have in use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.training.data.samples import Sample
    from napari_sam.training.finetune.recipe import Recipe
    from napari_sam.types import FloatArray

MIN_PIXELS = 20
"""Smaller objects are not clicked on, in pixels of the source."""

_MAX_ZOOM = 8.0
_STRETCH = 0.15
_ROTATED = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class SampleGroup:
    """Samples of one origin, with the share of crops that come from it.

    Parameters
    ----------
    name : str
        For messages.
    samples : tuple of Sample
        Images with labels.
    weight : float
        Relative to the other sources.
    is_remembered : bool
        Whether they are to look as before to the encoder; see
        :class:`~napari_sam.training.finetune.memory.Memory`.
    """

    name: str
    samples: tuple[Sample, ...]
    weight: float = 1.0
    is_remembered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A square view of a sample.

    Parameters
    ----------
    rgb : float32 array (side, side, 3)
        0 … 1; undefined outside ``size``.
    labels : int32 array (side, side)
        0 outside ``size``.
    size : tuple of int
        Height and width of the part that shows the image; the rest is padding.
    is_remembered : bool
        Of its source.
    """

    rgb: FloatArray
    labels: npt.NDArray[np.int32]
    size: tuple[int, int]
    is_remembered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Objects:
    """Where a sample's objects are: one row for each."""

    centers: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]

    @staticmethod
    def of(labels: npt.NDArray[np.int32]) -> _Objects:
        areas = np.bincount(labels.ravel())
        found = ndimage.find_objects(labels)
        rows = [
            ((s[0].start + s[0].stop) / 2, (s[1].start + s[1].stop) / 2, areas[i])
            for i, s in enumerate(found, start=1)
            if s is not None and areas[i] >= MIN_PIXELS
        ]
        table = np.array(rows, dtype=float).reshape(-1, 3)
        return _Objects(table[:, :2], np.sqrt(table[:, 2]))


class Cropper:
    """Draws crops from sources; the same generator state gives the same crop.

    Samples without an object of at least 20 pixels are left out.

    Parameters
    ----------
    sources : sequence of SampleGroup
        At least one usable sample among them.
    recipe : Recipe
        Sizes and scales.
    frame : int
        Side of the model's input in pixels; the crops are parts of it.
    """

    def __init__(
        self, sources: tuple[SampleGroup, ...], recipe: Recipe, frame: int = 1024
    ) -> None:
        self._recipe = recipe
        self.frame = frame
        self._tables: list[list[tuple[Sample, _Objects]]] = []
        self._chances: list[npt.NDArray[np.float64]] = []
        self._remembered: list[bool] = []
        weights = []
        for source in sources:
            table = [(s, _Objects.of(s.labels)) for s in source.samples]
            table = [(s, o) for s, o in table if o.sizes.size]
            if not table:
                continue
            self._tables.append(table)
            self._chances.append(_balanced([s for s, _ in table]))
            weights.append(source.weight)
            self._remembered.append(source.is_remembered)
        if not weights:
            raise ValueError("no sample has an object to learn from")
        self._weights = np.array(weights) / np.sum(weights)

    def draw(self, rng: np.random.Generator, side: int) -> Crop:
        """Return a random crop with at least one object of 20 source pixels."""
        which = rng.choice(len(self._tables), p=self._weights)
        table, chances = self._tables[which], self._chances[which]
        sample, objects = table[rng.choice(len(table), p=chances)]
        target = rng.integers(objects.sizes.size)
        scale = self._scale(rng, sample, float(objects.sizes[target]), side)
        crop = _cut(rng, sample, objects.centers[target], scale, side)
        return replace(crop, is_remembered=self._remembered[which])

    def _scale(
        self, rng: np.random.Generator, sample: Sample, size: float, side: int
    ) -> float:
        """Return model pixels per source pixel; larger crops have larger objects."""
        low = self._recipe.min_size
        high = self._recipe.max_size * max(1.0, side / self._recipe.side)
        if rng.random() < self._recipe.natural:
            scale = self.frame / max(sample.labels.shape) * rng.lognormal(0.0, 0.25)
            # Sizes beyond the range are real at this scale, but within reason.
            scale = float(np.clip(scale, low / 1.6 / size, high * 1.6 / size))
        else:
            scale = low * (high / low) ** rng.random() / size
        return float(min(scale, _MAX_ZOOM))


def _balanced(samples: list[Sample]) -> npt.NDArray[np.float64]:
    """Return how likely each sample is, so that rare kinds are seen too.

    Kinds are gray or color, dark or bright; a kind of n samples gets a share
    in proportion to the square root of n.
    """
    kinds = []
    for sample in samples:
        thumb = sample.rgb[::8, ::8].astype(np.int16)
        is_gray = int(np.ptp(thumb, axis=2).max()) < 8
        kinds.append(2 * is_gray + (float(thumb.mean()) > 110))
    values, number, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    del values
    chances = 1 / np.sqrt(counts)[number]
    return np.asarray(chances / chances.sum(), np.float64)


def _cut(
    rng: np.random.Generator,
    sample: Sample,
    center: npt.NDArray[np.float64],
    scale: float,
    side: int,
) -> Crop:
    """Cut a window that contains the center, somewhere, and bring it to size."""
    stretch = np.exp(rng.uniform(-_STRETCH, _STRETCH, 2) / 2)
    source, target = [], []
    for axis in (0, 1):
        length = sample.labels.shape[axis]
        zoom = scale * stretch[axis]
        window = min(length, max(1, round(side / zoom)))
        first = int(center[axis] - rng.uniform(0.1, 0.9) * window)
        first = int(np.clip(first, 0, length - window))
        source.append(slice(first, first + window))
        target.append(min(side, max(1, round(window * zoom))))
    rgb = torch.from_numpy(np.ascontiguousarray(sample.rgb[source[0], source[1]]))
    image = F.interpolate(
        rgb.permute(2, 0, 1)[None].float(),
        tuple(target),
        mode="bilinear",
        antialias=True,
    )
    steps = [
        ((np.arange(n) + 0.5) * (s.stop - s.start) / n).astype(np.intp)
        for n, s in zip(target, source, strict=True)
    ]
    labels = sample.labels[source[0], source[1]][np.ix_(*steps)]
    if rng.random() < _ROTATED:
        image, labels = _rotated(image, labels, rng.uniform(-np.pi, np.pi))
    gray = np.moveaxis(image[0].numpy(), 0, 2) / 255
    for axis in (0, 1):
        if rng.random() < 0.5:
            gray, labels = np.flip(gray, axis), np.flip(labels, axis)
    if rng.random() < 0.5:
        gray, labels = gray.transpose(1, 0, 2), labels.T
    height, width = labels.shape
    out = np.zeros((side, side, 3), np.float32)
    out[:height, :width] = gray
    marks = np.zeros((side, side), np.int32)
    marks[:height, :width] = labels
    return Crop(out, marks, (height, width))


def _rotated(
    image: torch.Tensor, labels: npt.NDArray[np.int32], angle: float
) -> tuple[torch.Tensor, npt.NDArray[np.int32]]:
    """Turn image (1, 3, H, W) and labels about the middle, mirrored at the edges."""
    height, width = labels.shape
    cos, sin, ratio = np.cos(angle), np.sin(angle), height / width
    theta = torch.tensor(
        [[[cos, -sin * ratio, 0.0], [sin / ratio, cos, 0.0]]], dtype=torch.float32
    )
    grid = F.affine_grid(theta, [1, 1, height, width], align_corners=False)
    marks = torch.from_numpy(np.ascontiguousarray(labels)).float()[None, None]
    turned = F.grid_sample(image, grid, "bilinear", "reflection", align_corners=False)
    marks = F.grid_sample(marks, grid, "nearest", "reflection", align_corners=False)
    return turned, marks[0, 0].numpy().astype(np.int32)
