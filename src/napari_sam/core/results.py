"""Masks from the model's low-resolution logits.

A model answers at a quarter of its input's resolution.  Here those logits
become masks of the image's own pixels, in one bilinear step and only where the
mask is.  Sample positions follow pixel centers throughout, so that a mask is
not shifted against the image, whatever its size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.types import (
    NESTED_LEVELS,
    BoolArray,
    FloatArray,
    Frame,
    MaskCrop,
    MaskLevel,
    Region,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam.core.views import View

_CHUNK_PIXELS = 1 << 18  # of interpolated float32 at a time; stays in the L2 cache


@dataclass(frozen=True, slots=True, eq=False)
class HighResLogits:
    """An answer in the cells of a view that shows the object larger.

    Parameters
    ----------
    logits : float32 array (N, h, w)
        Logits over the square input of the view, positive inside: of the first of
        :attr:`MaskResult.logits` only, or of all of them.
    view : View
        The part of the image; beyond it nothing is inside.
    """

    logits: FloatArray
    view: View

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or not len(self.logits):
            raise ValueError(
                f"logits are (1, h, w) or (N, h, w), not {self.logits.shape}"
            )

    def shows(self, index: int) -> bool:
        """Return whether it has this one of :attr:`MaskResult.logits`."""
        return index < len(self.logits)

    def crop(self, index: int) -> MaskCrop:
        """Return a mask at image resolution, cut to its bounding box.

        Parameters
        ----------
        index : int
            Which of :attr:`MaskResult.logits`; one that it shows.
        """
        mask = upscale_mask(self.logits[index], self.view.frame)
        origin = self.view.region
        return MaskCrop(mask.mask, mask.region.shifted(origin.row0, origin.col0))

    def reordered(self, index: Sequence[int]) -> HighResLogits:
        """Return it with these of :attr:`MaskResult.logits`, if it shows them."""
        if not self.shows(max(index)):
            return self
        return replace(self, logits=self.logits[list(index)])


@dataclass(frozen=True, slots=True, eq=False)
class PreviousAnswer:
    """An answer that is to be refined; see :meth:`MaskResult.earlier`.

    Parameters
    ----------
    logits : float32 array (side / 4, side / 4)
        Its logits.
    detail : HighResLogits, optional
        The same and nothing else, in finer cells.
    """

    logits: FloatArray
    detail: HighResLogits | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MaskResult:
    """The model's answer to one prompt.

    Parameters
    ----------
    logits : float32 array (1 + L, side / 4, side / 4)
        Low-resolution logits, positive inside: the single-mask output, then one of
        each level, ordered by area.  Of a model that blends its masks, the first is
        the blend.
    predicted_iou : float32 array (1 + L,)
        The model's own estimate of the IoU of each.
    frame : Frame
        How the image sat in the model's input.
    default : int
        Index of the model's own choice: the best-scored of the levels for
        exactly one point, the first of ``logits`` otherwise and of a model that
        blends its masks.
    detail : HighResLogits, optional
        The first of ``logits``, or all of them, in finer cells, where a view shows the
        object larger.
    levels : tuple of L str
        Names of the answers to an ambiguous prompt, from the smallest: subpart, part
        and whole of SAM's models; none of a model that gives one mask.
    """

    logits: FloatArray
    predicted_iou: FloatArray
    frame: Frame
    default: int
    detail: HighResLogits | None = None
    levels: tuple[str, ...] = NESTED_LEVELS

    def __post_init__(self) -> None:
        n = 1 + len(self.levels)
        if self.logits.ndim != 3 or self.logits.shape[0] != n:
            raise ValueError(f"logits are ({n}, h, w), not {self.logits.shape}")
        if self.predicted_iou.shape != (n,):
            raise ValueError(f"predicted_iou is ({n},), not {self.predicted_iou.shape}")
        if not 0 <= self.default < n:
            raise ValueError(f"default is 0 to {n - 1}, not {self.default}")
        if self.detail is not None and len(self.detail.logits) not in (1, n):
            raise ValueError(f"detail shows 1 or {n}, not {len(self.detail.logits)}")

    @property
    def masks(self) -> BoolArray:
        """Those of the levels at image resolution, (L, H, W); L is 3 of SAM's."""
        size = self.frame.image_size
        masks = [self.crop_of(n).full(size) for n in range(1, len(self.logits))]
        return np.array(masks, bool).reshape(-1, *size)

    @property
    def scores(self) -> FloatArray:
        """Predicted IoU of the levels, (L,)."""
        return self.predicted_iou[1:]

    @property
    def best(self) -> BoolArray:
        """The model's own choice at image resolution, (H, W)."""
        return self.crop().full(self.frame.image_size)

    @property
    def score(self) -> float:
        """Predicted IoU of :attr:`best`."""
        return float(self.predicted_iou[self.default])

    def index_of(self, level: str) -> int:
        """Return where a level lies in :attr:`logits`; the default if it is none."""
        if level not in self.levels:
            return self.default
        return 1 + self.levels.index(level)

    def crop(self, level: str = MaskLevel.AUTO) -> MaskCrop:
        """Return one mask at image resolution, cut to its bounding box."""
        return self.crop_of(self.index_of(level))

    def crop_of(self, index: int) -> MaskCrop:
        """Return the mask of one of :attr:`logits`, as :meth:`crop` does."""
        if self.detail is not None and self.detail.shows(index):
            return self.detail.crop(index)
        return upscale_mask(self.logits[index], self.frame)

    def earlier(self, level: str = MaskLevel.AUTO) -> PreviousAnswer:
        """Return what the next prompts are to refine.

        Of an object that is tiny in the whole image, :attr:`logits` tell the model
        little; what was found in a view alone goes with them.
        """
        index, detail = self.index_of(level), self.detail
        if detail is None or not detail.shows(len(self.logits) - 1):
            return PreviousAnswer(self.logits[index])
        return PreviousAnswer(self.logits[index], detail.reordered([index]))

    def reordered(self, order: Sequence[int]) -> MaskResult:
        """Return the same answers with the levels given to other ones.

        Parameters
        ----------
        order : sequence of int
            For each level, which of the present ones it becomes: a permutation of
            their numbers from 0.
        """
        numbers = list(range(len(self.levels)))
        if sorted(order) != numbers:
            raise ValueError(f"order is a permutation of {numbers}, not {order}")
        index = [0, *(1 + int(n) for n in order)]
        return replace(
            self,
            logits=self.logits[index],
            predicted_iou=self.predicted_iou[index],
            default=index.index(self.default),
            detail=self.detail and self.detail.reordered(index),
        )

    def compact(self, level: str = MaskLevel.AUTO) -> MaskResult:
        """Return what one mask and its refinement need, in an eighth of the memory.

        Only this level's logits are left, in half precision, and stand for all:
        to see another level, ask the model again.

        Parameters
        ----------
        level : str
            Which answer to keep.
        """
        index = self.index_of(level)
        detail = self.detail
        if detail is not None and detail.shows(index):
            kept = _repeated(detail.logits[index], len(detail.logits))
            detail = replace(detail, logits=kept)
        else:
            detail = None
        return replace(
            self,
            logits=_repeated(self.logits[index], len(self.logits)),
            default=index,
            detail=detail,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of logits that it keeps in memory."""
        arrays = [self.logits, *([] if self.detail is None else [self.detail.logits])]
        return sum(a[:1].nbytes if a.strides[0] == 0 else a.nbytes for a in arrays)

    def stability(self, level: str = MaskLevel.AUTO, offset: float = 1.0) -> float:
        """Return how little the mask changes as its threshold moves.

        The IoU of the masks thresholded at ``+offset`` and ``-offset``
        (Kirillov et al. 2023, section 5), counted at the logits' resolution
        inside the image; 0 for an empty mask.
        """
        index = self.index_of(level)
        logits, frame = self.logits[index], self.frame
        if self.detail is not None and self.detail.shows(index):
            logits, frame = self.detail.logits[index], self.detail.view.frame
        logits = inside_frame(logits, frame)
        union = np.count_nonzero(logits > -offset)
        return np.count_nonzero(logits > offset) / union if union else 0.0


def _repeated(logits: FloatArray, count: int) -> FloatArray:
    """Return a half-precision copy that is seen ``count`` times and stored once."""
    small = logits.astype(np.float16)
    # Typed as what it is read as: whoever calculates with it widens it first.
    seen: FloatArray = np.broadcast_to(small, (count, *small.shape))
    return seen


def upscale(
    logits: FloatArray, frame: Frame, region: Region | None = None
) -> FloatArray:
    """Return logits at image resolution.

    Bilinear, edge values held, as ``torch.nn.functional.interpolate`` with
    ``align_corners=False``: the center of an image pixel is looked up where it
    lay in the model's input.

    Parameters
    ----------
    logits : float32 array (h, w)
        Logits over the whole square input, ``frame.side`` pixels wide.
    frame : Frame
        How the image sat in that input.
    region : Region, optional
        Pixels to compute, inside the image; all of them by default.

    Returns
    -------
    float32 array
        Of the region's shape.
    """
    region = _checked(region, frame)
    table, rows, weights = _interpolated_columns(logits, frame, region)
    out = table[rows]
    out += weights[:, None] * (table[rows + 1] - out)
    return out


def upscale_mask(
    logits: FloatArray,
    frame: Frame,
    threshold: float = 0.0,
) -> MaskCrop:
    """Return the mask ``upscale(logits, frame) > threshold``, tightly cropped.

    Only the bounding box of the logits above the threshold is interpolated.

    Parameters
    ----------
    logits : float32 array (h, w)
        Logits over the whole square input, ``frame.side`` pixels wide.
    frame : Frame
        How the image sat in that input.
    threshold : float
        Logit above which a pixel is inside.

    Returns
    -------
    MaskCrop
        Tight; with an empty region if nothing is inside.
    """
    region = support(logits > threshold, frame)
    mask = np.empty(region.shape, dtype=bool)
    if region.is_empty:
        return MaskCrop(mask, region).tight()
    table, rows, weights = _interpolated_columns(logits, frame, region)
    if threshold:
        table = table - np.float32(threshold)
    step = max(1, _CHUNK_PIXELS // max(1, mask.shape[1]))
    for start in range(0, mask.shape[0], step):
        part = slice(start, start + step)
        low = table[rows[part]]
        high = table[rows[part] + 1]
        high -= low
        high *= weights[part, None]
        high += low
        np.greater(high, 0, out=mask[part])
    return MaskCrop(mask, region).tight()


def inside_frame(logits: FloatArray, frame: Frame) -> FloatArray:
    """Cut off the cells that lie wholly in the padding, (..., h, w)."""
    rows, cols = cells_inside(frame, (logits.shape[-2], logits.shape[-1]))
    return logits[..., :rows, :cols]


def cells_inside(frame: Frame, cells: tuple[int, int]) -> tuple[int, int]:
    """Return how many rows and columns of cells have a part of the image.

    Parameters
    ----------
    frame : Frame
        How the image sits in the square input.
    cells : tuple of int
        Rows and columns of cells of the whole input.
    """
    rows, cols = (
        -(-size * count // frame.side)
        for size, count in zip(frame.input_size, cells, strict=True)
    )
    return rows, cols


def _checked(region: Region | None, frame: Frame) -> Region:
    whole = Region.whole(frame.image_size)
    if region is None:
        return whole
    if region.intersection(whole) != region:
        raise ValueError(f"{region} is not inside an image of {frame.image_size}")
    return region


def _steps(frame: Frame, logits_shape: tuple[int, ...]) -> tuple[float, float]:
    """Logit cells per image pixel along rows and columns."""
    scale = frame.scale
    return (
        scale[0] * logits_shape[0] / frame.side,
        scale[1] * logits_shape[1] / frame.side,
    )


def _samples(
    start: int, stop: int, step: float, size: int
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Lower neighbor and weight of the upper one for pixels of one axis."""
    position = (np.arange(start, stop) + 0.5) * step - 0.5
    position = np.clip(position, 0, size - 1)
    lower = np.minimum(position.astype(np.intp), size - 2)
    return lower, (position - lower).astype(np.float32)


def _interpolated_columns(
    logits: FloatArray, frame: Frame, region: Region
) -> tuple[FloatArray, npt.NDArray[np.intp], FloatArray]:
    """Interpolate along columns; return what is left to do along rows.

    Columns first: that leaves whole rows to be blended at image resolution,
    which reads and writes memory in order.
    """
    row_step, col_step = _steps(frame, logits.shape)
    rows, row_weights = _samples(region.row0, region.row1, row_step, logits.shape[0])
    cols, col_weights = _samples(region.col0, region.col1, col_step, logits.shape[1])
    if rows.size == 0:
        return np.empty((2, cols.size), np.float32), rows, row_weights
    needed = logits[rows[0] : rows[-1] + 2].astype(np.float32, copy=False)
    table = needed[:, cols]
    table += col_weights * (needed[:, cols + 1] - table)
    return table, rows - rows[0], row_weights


def support(inside: BoolArray, frame: Frame) -> Region:
    """Return the region of the image pixels that can sample a cell that is inside.

    Parameters
    ----------
    inside : bool array (h, w)
        Cells of the logits over the whole square input.
    frame : Frame
        How the image sat in that input.
    """
    rows = np.flatnonzero(inside.any(axis=1))
    if rows.size == 0:
        return Region(0, 0, 0, 0)
    cols = np.flatnonzero(inside.any(axis=0))
    bounds = []
    for cells, step, size in zip(
        (rows, cols), _steps(frame, inside.shape), frame.image_size, strict=True
    ):
        # Sampled between the centers of the neighboring cells.
        first = int(np.floor((cells[0] - 0.5) / step - 0.5))
        last = int(np.ceil((cells[-1] + 1.5) / step - 0.5))
        bounds.append((max(0, min(first, size)), max(0, min(last + 1, size))))
    # Near the far border edge values are held beyond the last cell's center.
    (row0, row1), (col0, col1) = (
        (lo, size if cells[-1] == n - 1 else hi)
        for (lo, hi), cells, n, size in zip(
            bounds, (rows, cols), inside.shape, frame.image_size, strict=True
        )
    )
    return Region(row0, col0, row1, col1)
