"""Which everything-mode candidates are shown: SAM's filters, without inference.

The steps and their order are those of the reference implementation
(``SamAutomaticMaskGenerator`` of Kirillov et al., "Segment Anything", 2023):
thresholds, non-maximum suppression within each crop by predicted IoU, then
between crops in favour of smaller crops, then removal of small holes and
islands with one more suppression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_sam.core.everything.nms import box_nms
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.core.rle import RunLengths
    from napari_sam.types import BoolArray

_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a candidate must satisfy to be shown.

    Parameters
    ----------
    min_score : float
        Predicted IoU must be above this.
    min_stability : float
        Stability score must be at least this.
    min_area, max_area : float
        Limits of the mask's area in pixels, both included.
    max_overlap : float
        Of two boxes of one crop that overlap more than this, the one of higher
        predicted IoU stays; 1 keeps both.
    max_crop_overlap : float
        Of two boxes of different crops that overlap more than this, the one of
        the smaller crop stays.
    touching_border : bool
        Whether masks that touch the border of the plane are shown.
    min_region_area : int
        Holes and separate pieces smaller than this many pixels are removed
        from each mask; 0 leaves masks as they are.
    """

    min_score: float = 0.88
    min_stability: float = 0.95
    min_area: float = 0
    max_area: float = math.inf
    max_overlap: float = 0.7
    max_crop_overlap: float = 0.7
    touching_border: bool = True
    min_region_area: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Decoded masks as parallel arrays, N of them.

    Parameters
    ----------
    score : float32 array (N,)
        Predicted IoU.
    stability : float32 array (N,)
        IoU of the masks cut ``stability_score_offset`` above and below the
        threshold.
    area : int64 array (N,)
        In pixels.
    box : int32 array (N, 4)
        ``(row0, col0, row1, col1)`` in pixels, half-open, tight.
    point : float32 array (N, 2)
        Row and column of the prompt.
    crop : int32 array (N,)
        Index of the crop that the mask was decoded in; 0 is the whole plane.
    masks : tuple of RunLengths
        Tight masks.
    """

    score: npt.NDArray[np.float32]
    stability: npt.NDArray[np.float32]
    area: npt.NDArray[np.int64]
    box: npt.NDArray[np.int32]
    point: npt.NDArray[np.float32]
    crop: npt.NDArray[np.int32]
    masks: tuple[RunLengths, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, index: npt.NDArray[Any]) -> Candidates:
        """Return the candidates at these positions, in this order."""
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        return Candidates(
            score=self.score[index],
            stability=self.stability[index],
            area=self.area[index],
            box=self.box[index],
            point=self.point[index],
            crop=self.crop[index],
            masks=tuple(self.masks[i] for i in index.tolist()),
        )

    @staticmethod
    def empty() -> Candidates:
        """Return no candidates."""
        return Candidates(
            score=np.zeros(0, np.float32),
            stability=np.zeros(0, np.float32),
            area=np.zeros(0, np.int64),
            box=np.zeros((0, 4), np.int32),
            point=np.zeros((0, 2), np.float32),
            crop=np.zeros(0, np.int32),
            masks=(),
        )

    @staticmethod
    def concatenate(parts: Sequence[Candidates]) -> Candidates:
        """Return the candidates of all parts, in order."""
        if not parts:
            return Candidates.empty()
        return Candidates(
            score=np.concatenate([p.score for p in parts]),
            stability=np.concatenate([p.stability for p in parts]),
            area=np.concatenate([p.area for p in parts]),
            box=np.concatenate([p.box for p in parts]),
            point=np.concatenate([p.point for p in parts]),
            crop=np.concatenate([p.crop for p in parts]),
            masks=tuple(m for p in parts for m in p.masks),
        )


def select(
    candidates: Candidates,
    thresholds: Thresholds,
    shape: tuple[int, int],
    crops: Sequence[Region],
) -> npt.NDArray[np.intp]:
    """Return which candidates pass the thresholds, best-scored first.

    Parameters
    ----------
    candidates : Candidates
        Everything that was decoded.
    thresholds : Thresholds
        ``min_region_area`` has no part in this; see `without_small_regions`.
    shape : tuple of int
        Height and width of the plane.
    crops : sequence of Region
        The regions that ``candidates.crop`` refers to.
    """
    c, t = candidates, thresholds
    passes = (
        (c.score > t.min_score)
        & (c.stability >= t.min_stability)
        & (c.area >= t.min_area)
        & (c.area <= t.max_area)
    )
    if not t.touching_border:
        passes &= (c.box[:, :2] > 0).all(axis=1)
        passes &= (c.box[:, 2:] < np.asarray(shape)).all(axis=1)
    index = np.flatnonzero(passes)
    kept = []
    for crop in np.unique(c.crop[index]):
        own = index[c.crop[index] == crop]
        kept.append(own[box_nms(c.box[own], c.score[own], t.max_overlap)])
    if not kept:
        return index
    index = np.concatenate(kept)
    if len(crops) > 1:
        crop_area = np.array([float(np.prod(r.shape)) for r in crops])
        preference = 1.0 / crop_area[c.crop[index]]
        index = index[box_nms(c.box[index], preference, t.max_crop_overlap)]
    return index[np.argsort(-c.score[index], kind="stable")]


def without_small_regions(
    candidates: Candidates, thresholds: Thresholds, shape: tuple[int, int]
) -> Candidates:
    """Return the candidates without small holes and islands.

    Masks that needed it lose to masks that did not in one more suppression of
    overlapping boxes, as in the reference.
    """
    if thresholds.min_region_area <= 0 or len(candidates) == 0:
        return candidates
    masks, unchanged = [], []
    for runs in candidates.masks:
        before = runs.decode()
        after = remove_small_regions(before, thresholds.min_region_area, shape)
        unchanged.append(after is before)
        masks.append(runs if after is before else type(runs).encode(after))
    cleaned = Candidates(
        score=candidates.score,
        stability=candidates.stability,
        area=np.array([m.area for m in masks], np.int64),
        box=np.array([as_box(m.region) for m in masks], np.int32),
        point=candidates.point,
        crop=candidates.crop,
        masks=tuple(masks),
    )
    max_overlap = max(thresholds.max_overlap, thresholds.max_crop_overlap)
    return cleaned.take(np.sort(box_nms(cleaned.box, unchanged, max_overlap)))


def remove_small_regions(
    crop: MaskCrop, min_area: int, shape: tuple[int, int]
) -> MaskCrop:
    """Fill holes and drop pieces smaller than ``min_area`` pixels.

    As in the reference, both connect through corners, background enclosed
    between the mask and the border of the plane counts as a hole, and the
    largest piece stays if all are small.

    Parameters
    ----------
    crop : MaskCrop
        A mask with at least one pixel.
    min_area : int
        In pixels.
    shape : tuple of int
        Height and width of the plane.

    Returns
    -------
    MaskCrop
        The very same object if nothing changed, else a tight crop.
    """
    region = crop.region.padded(1, shape)
    mask = MaskCrop(crop.mask, crop.region.shifted(-region.row0, -region.col0)).full(
        region.shape
    )
    filled = _fill_small_holes(mask, min_area, region, shape)
    pieces, n = ndimage.label(filled, _EIGHT)
    sizes = np.bincount(pieces.ravel(), minlength=n + 1)
    is_kept = sizes >= min_area
    is_kept[0] = False
    if n and not is_kept.any():
        is_kept[1 + int(sizes[1:].argmax())] = True
    result: BoolArray = is_kept[pieces]
    if np.array_equal(result, mask):
        return crop
    return MaskCrop(result, region).tight()


def _fill_small_holes(
    mask: BoolArray, min_area: int, region: Region, shape: tuple[int, int]
) -> BoolArray:
    background, n = ndimage.label(~mask, _EIGHT)
    is_hole = np.bincount(background.ravel(), minlength=n + 1) < min_area
    is_hole[0] = False
    # Background that goes on outside the crop is not a hole of this mask.
    if region.row0 > 0:
        is_hole[background[0]] = False
    if region.row1 < shape[0]:
        is_hole[background[-1]] = False
    if region.col0 > 0:
        is_hole[background[:, 0]] = False
    if region.col1 < shape[1]:
        is_hole[background[:, -1]] = False
    return np.asarray(mask | is_hole[background])


def as_box(region: Region) -> tuple[int, int, int, int]:
    """Return a region's ``(row0, col0, row1, col1)``."""
    return region.row0, region.col0, region.row1, region.col1
