"""How good masks are: simulated users, overlap and average precision.

The protocol: up to 15 objects of at least 20 pixels per image, chosen with a
fixed seed; the first click at the maximum of the object's distance transform,
further clicks at the maximum of the distance transform of what is wrong; the
tight box; and for automatic segmentation TP / (TP + FP + FN) with one-to-one
matching, as the 2018 Data Science Bowl and StarDist count it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from napari_sam.core.masks import crop_iou
from napari_sam.types import MaskCrop, MaskLevel, PointPrompt, PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.results import MaskResult, PreviousAnswer
    from napari_sam.types import BoolArray, Box, FloatArray

MAX_OBJECTS = 15
MIN_AREA = 20
AP_THRESHOLDS = tuple(np.arange(50, 100, 5) / 100)
"""0.50, 0.55 … 0.95."""


def split_of(stem: str) -> Literal["train", "val"]:
    """Return the split an image belongs to, by the hash of its file name's stem.

    Examples
    --------
    >>> split_of("train_set1")
    'train'
    """
    number = int(hashlib.sha1(stem.encode()).hexdigest(), 16) % 100
    return "train" if number < 80 else "val"


def choose_objects(
    labels: npt.NDArray[Any],
    *,
    max_objects: int = MAX_OBJECTS,
    min_area: int = MIN_AREA,
    seed: int = 0,
) -> list[int]:
    """Return the labels to be segmented, the same for the same image and seed.

    Parameters
    ----------
    labels : integer array (H, W)
        Ground truth; 0 is background.
    max_objects : int
        At most this many.
    min_area : int
        Smaller objects are left out, in pixels.
    seed : int
        Of the random choice.

    Returns
    -------
    list of int
        In ascending order.
    """
    values, areas = np.unique(labels, return_counts=True)
    usable = values[(areas >= min_area) & (values != 0)]
    if usable.size > max_objects:
        rng = np.random.default_rng(seed)
        usable = np.sort(rng.choice(usable, max_objects, replace=False))
    return [int(v) for v in usable]


def iou(a: BoolArray, b: BoolArray) -> float:
    """Return intersection over union of two masks; 1 if both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def tight_box(mask: MaskCrop) -> Box:
    """Return the box around a mask, along the outer edges of its pixels."""
    r = mask.tight().region
    return (r.row0 - 0.5, r.col0 - 0.5, r.row1 - 0.5, r.col1 - 0.5)


def deepest_point(mask: MaskCrop) -> tuple[int, int, float]:
    """Return the pixel farthest from the outside of a mask, and how far.

    The border of the plane counts as outside.  The first of equals wins.

    Returns
    -------
    row, column : int
        In pixels of the plane.
    distance : float
        0 if the mask is empty.
    """
    if not mask.mask.any():
        return mask.region.row0, mask.region.col0, 0.0
    depth = ndimage.distance_transform_edt(np.pad(mask.mask, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return (
        int(row) + mask.region.row0,
        int(col) + mask.region.col0,
        float(depth[row, col]),
    )


def next_click(predicted: MaskCrop, truth: MaskCrop) -> PointPrompt | None:
    """Return the click a user would make next, or None if nothing is wrong.

    It is positive where the object is missed and negative where too much is
    taken, whichever error is deeper.
    """
    region = predicted.region.union(truth.region)
    p, t = (
        MaskCrop(m.mask, m.region.shifted(-region.row0, -region.col0)).full(
            region.shape
        )
        for m in (predicted, truth)
    )
    miss = deepest_point(MaskCrop(t & ~p, region))
    extra = deepest_point(MaskCrop(p & ~t, region))
    if max(miss[2], extra[2]) == 0:
        return None
    row, col, _ = miss if miss[2] >= extra[2] else extra
    return PointPrompt(row, col, miss[2] >= extra[2])


@dataclass(frozen=True, slots=True, eq=False)
class InteractiveScore:
    """IoU with the truth for one object.

    Parameters
    ----------
    clicks : float32 array (K,)
        After 1 … K clicks, of the mask the user gets.
    clicks_best : float32 array (K,)
        The same for the best of the three masks.
    box, box_best : float
        For the tight box.
    clicks_predicted : float32 array (K,)
        What the model believed about the mask the user gets.
    box_predicted : float
        The same for the tight box.
    """

    clicks: FloatArray
    clicks_best: FloatArray
    box: float
    box_best: float
    clicks_predicted: FloatArray
    box_predicted: float


def interactive_score(
    plane: EncodedPlane,
    truth: MaskCrop,
    *,
    n_clicks: int = 5,
    feed_logits: bool = False,
) -> InteractiveScore:
    """Simulate a user who segments one object with clicks, then with a box.

    Parameters
    ----------
    plane : EncodedPlane
        The encoded image.
    truth : MaskCrop
        The object; not empty.
    n_clicks : int
        How often the user clicks.  One who finds nothing wrong stops, and the
        remaining entries repeat the last.
    feed_logits : bool
        Whether each prediction after the first refines the previous answer.
    """
    mine: list[float] = []
    best: list[float] = []
    predicted: list[float] = []
    for _, result, shown in iter_clicks(
        plane, truth, n_clicks=n_clicks, feed_logits=feed_logits
    ):
        mine.append(crop_iou(shown, truth))
        best.append(_best_of_levels(result, truth))
        predicted.append(result.score)
    mine += mine[-1:] * (n_clicks - len(mine))
    best += best[-1:] * (n_clicks - len(best))
    predicted += predicted[-1:] * (n_clicks - len(predicted))
    boxed = plane.predict(box=tight_box(truth))
    return InteractiveScore(
        np.array(mine, np.float32),
        np.array(best, np.float32),
        crop_iou(boxed.crop(), truth),
        _best_of_levels(boxed, truth),
        np.array(predicted, np.float32),
        boxed.score,
    )


def iter_clicks(
    plane: EncodedPlane, truth: MaskCrop, *, n_clicks: int, feed_logits: bool
) -> Iterator[tuple[PointPrompt, MaskResult, MaskCrop]]:
    """Simulate a user who clicks until nothing is wrong, or often enough.

    Parameters are those of :func:`interactive_score`.

    Yields
    ------
    click : PointPrompt
        The newest.
    result : MaskResult
        The answer to all clicks so far.
    shown : MaskCrop
        The mask that the user gets.
    """
    row, col, _ = deepest_point(truth)
    click: PointPrompt | None = PointPrompt(row, col)
    points: tuple[PointPrompt, ...] = ()
    previous: PreviousAnswer | None = None
    while click is not None:
        points = (*points, click)
        result = plane.predict_prompts(PromptSet(points=points), previous)
        shown = result.crop()
        yield click, result, shown
        if len(points) >= n_clicks:
            break
        if feed_logits:
            previous = result.earlier()
        click = next_click(shown, truth)


def _best_of_levels(result: MaskResult, truth: MaskCrop) -> float:
    levels = result.levels or (MaskLevel.AUTO,)
    return max(crop_iou(result.crop(level), truth) for level in levels)


def overlaps(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> csr_array:
    """Return the IoU of every true with every predicted object.

    Parameters
    ----------
    truth, predicted : integer arrays (H, W)
        Label images of the same shape; 0 is background.

    Returns
    -------
    sparse float32 array (T, P)
        In ascending order of the labels; only objects that overlap have an entry.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"shapes differ: {truth.shape} and {predicted.shape}")
    t_values, t = np.unique(truth, return_inverse=True)
    p_values, p = np.unique(predicted, return_inverse=True)
    pairs, counts = np.unique(t.ravel() * p_values.size + p.ravel(), return_counts=True)
    rows, cols = np.divmod(pairs, p_values.size)
    t_area = np.bincount(rows, counts, t_values.size)
    p_area = np.bincount(cols, counts, p_values.size)
    iou = counts / (t_area[rows] + p_area[cols] - counts)
    table = csr_array(
        (iou.astype(np.float32), (rows, cols)), shape=(len(t_area), len(p_area))
    )
    return table[np.flatnonzero(t_values)][:, np.flatnonzero(p_values)]


def average_precision(
    truth: npt.NDArray[Any],
    predicted: npt.NDArray[Any],
    thresholds: Sequence[float] = AP_THRESHOLDS,
) -> FloatArray:
    """Return TP / (TP + FP + FN) at each IoU threshold.

    A true and a predicted object match if their IoU reaches the threshold; each
    is used once, so as to get the most matches.

    Parameters
    ----------
    truth, predicted : integer arrays (H, W)
        Label images; 0 is background.
    thresholds : sequence of float
        IoU.

    Returns
    -------
    float32 array
        One value per threshold; 1 if there is nothing and nothing was found.
    """
    table = overlaps(truth, predicted)
    total = sum(table.shape)
    values = []
    for threshold in thresholds:
        edges = csr_array(table >= threshold) if table.nnz else table
        matched = int((maximum_bipartite_matching(edges) >= 0).sum())
        values.append(matched / (total - matched) if total else 1.0)
    return np.array(values, np.float32)


def object_mask(labels: npt.NDArray[Any], label: int) -> MaskCrop:
    """Return one object of a label image."""
    crop = MaskCrop.from_full(labels == label)
    if crop.region.is_empty:
        raise ValueError(f"label {label} is not in the labels")
    return crop
