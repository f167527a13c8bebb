"""Simulated users: where they click first, and where they correct.

Coordinates are the model's, (x, y) in pixels of a crop, as
:class:`napari_sam.models.sam1.prompt_encoder.PromptEncoder` takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_sam.models.sam1.mask_stride import MASK_STRIDE
from napari_sam.models.sam1.prompt_encoder import TokenLabel

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.types import BoolArray, FloatArray

MIN_VISIBLE = 48
"""Objects with fewer model pixels inside a crop are not clicked on."""

_SMALL_FIRST = 0.25
"""Of two objects, one twice as wide as the other, the smaller one comes first at
odds of √2 to 1."""

_DEEPEST = 0.4
_CAREFUL = 0.6
_EXACT_BOX = 0.3
_BOX_ROOM, _BOX_NOISE = 0.03, 0.06
_MAX_BOX_NOISE = 20.0


def choose(
    rng: np.random.Generator, labels: npt.NDArray[np.int32], count: int
) -> npt.NDArray[np.int32]:
    """Return ``count`` labels of a crop, repeated if it has fewer; maybe none.

    Smaller objects come first more often: they are the hardest to hit, and few
    where large ones fill the image.
    """
    values, areas = np.unique(labels, return_counts=True)
    is_usable = (values != 0) & (areas >= MIN_VISIBLE)
    usable, areas = values[is_usable], areas[is_usable]
    if not usable.size:
        return np.zeros(0, np.int32)
    # Exponential waiting times, sorted, are a weighted draw without replacement.
    waiting = areas.astype(float) ** _SMALL_FIRST
    repeats = -(-count // usable.size)
    order = np.concatenate(
        [
            usable[np.argsort(waiting * rng.exponential(size=usable.size))]
            for _ in range(repeats)
        ]
    )
    return np.asarray(order[:count], np.int32)


def first_click(rng: np.random.Generator, mask: BoolArray) -> tuple[float, float]:
    """Return (x, y) of a first click: in the middle, or anywhere inside.

    People aim at the middle and miss it: a share of the clicks is at the
    deepest pixel, the others are uniform over the object, mostly not at its rim.
    """
    rows, cols, inner = _tight(mask)
    depth = ndimage.distance_transform_edt(np.pad(inner, 1))[1:-1, 1:-1]
    if rng.random() < _DEEPEST:
        allowed = depth >= depth.max()
    elif rng.random() < _CAREFUL:
        allowed = depth >= depth.max() * 0.5
    else:
        allowed = inner
    row, col = _pick(rng, allowed)
    return float(col + cols), float(row + rows)


def noisy_box(rng: np.random.Generator, mask: BoolArray) -> FloatArray:
    """Return the box around an object as a hurried user draws it.

    Each side is beside the object's own by some of its length, outside rather than
    inside: who draws around an object leaves room more often than they cut it.

    Returns
    -------
    float32 array (2, 2)
        (x, y) of the first and of the opposite corner.
    """
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array(
        [[cols[0] - 0.5, rows[0] - 0.5], [cols[-1] + 0.5, rows[-1] + 0.5]], np.float32
    )
    if rng.random() < _EXACT_BOX:
        return box
    sides = box[1] - box[0]
    room = rng.normal(_BOX_ROOM, _BOX_NOISE, (2, 2)) * sides
    # A side never moves past the middle.
    most = np.minimum(0.3 * sides, _MAX_BOX_NOISE)
    moved = box + np.clip(room, -most, most) * np.array([[-1], [1]])
    limit = np.array(mask.shape[::-1]) - 0.5
    return np.asarray(np.clip(moved, -0.5, limit), np.float32)


def correction(
    rng: np.random.Generator, predicted: BoolArray, truth: BoolArray
) -> tuple[float, float, TokenLabel]:
    """Return the next click: on the deepest error, or anywhere in the errors.

    Parameters
    ----------
    predicted, truth : bool array (h, w)
        Masks at the resolution of the logits.

    Returns
    -------
    x, y : float
        In the model's pixels.
    label : TokenLabel
        Positive where the object is missed.  Where nothing is wrong, a click
        that confirms it.
    """
    wrong = predicted ^ truth
    if not wrong.any():
        wrong = truth if truth.any() else ~truth
        if not truth.any():
            return *_cell(rng, *_pick(rng, wrong)), TokenLabel.NEGATIVE
    rows, cols, inner = _tight(wrong)
    if rng.random() < 0.7:
        missed = truth[rows : rows + inner.shape[0], cols : cols + inner.shape[1]]
        depth = np.maximum(
            *(
                ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
                for part in (inner & missed, inner & ~missed)
            )
        )
        inner = depth >= depth.max()
    row, col = _pick(rng, inner)
    row, col = row + rows, col + cols
    label = TokenLabel.POSITIVE if truth[row, col] else TokenLabel.NEGATIVE
    return *_cell(rng, row, col), label


def _tight(mask: BoolArray) -> tuple[int, int, BoolArray]:
    """Return first row, first column and the part of a mask that is not empty."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    inner = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return int(rows[0]), int(cols[0]), inner


def _pick(rng: np.random.Generator, allowed: BoolArray) -> tuple[int, int]:
    """Return a random pixel among the allowed ones."""
    places = np.flatnonzero(allowed)
    row, col = divmod(int(places[rng.integers(places.size)]), allowed.shape[1])
    return row, col


def _cell(rng: np.random.Generator, row: int, col: int) -> tuple[float, float]:
    """Return (x, y) somewhere in a cell of the logits."""
    dx, dy = rng.uniform(0, MASK_STRIDE, 2)
    return col * MASK_STRIDE + dx - 0.5, row * MASK_STRIDE + dy - 0.5
