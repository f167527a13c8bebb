"""Check prompts and turn them into the model's coordinates.

Outside this package a point is ``(row, column)`` with pixel centers at whole
numbers; the model wants ``(x, y)`` in pixels of its square input.  This is the
only place where the one becomes the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.errors import PromptError
from napari_sam.models.sam1.prompt_encoder import TokenLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam.types import FloatArray, Frame

    FloatingArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Prompt tokens of N objects, the same number for each.

    Parameters
    ----------
    xy : float32 array (N, T, 2)
        Model coordinates; half a pixel is added by the prompt encoder.
    labels : int64 array (N, T)
        :class:`~napari_sam.models.sam1.prompt_encoder.TokenLabel` values.
    single_point : bool
        Whether each object has exactly one point and nothing else, so that
        the answer is ambiguous.
    """

    xy: FloatArray
    labels: npt.NDArray[np.int64]
    single_point: bool

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.xy)

    def part(self, start: int, stop: int) -> Tokens:
        """Return some of the objects."""
        one = slice(start, stop)
        return Tokens(self.xy[one], self.labels[one], self.single_point)

    @staticmethod
    def padding() -> Tokens:
        """Return the tokens of one object that has neither points nor a box."""
        return Tokens(
            np.zeros((1, 1, 2), np.float32),
            np.full((1, 1), TokenLabel.PADDING, np.int64),
            False,
        )


def numbers(values: npt.ArrayLike, what: str = "coordinates") -> FloatingArray:
    """Return finite numbers, float64.

    Raises
    ------
    PromptError
        If they are not numbers, or not finite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PromptError(
            f"The {what} {values!r} are not numbers; give one number for each axis."
        ) from error
    if not np.isfinite(array).all():
        raise PromptError(
            f"The {what} contain {array[~np.isfinite(array)][0]}; give finite numbers."
        )
    return array


def to_model_xy(points: npt.ArrayLike, frame: Frame) -> FloatArray:
    """Convert ``(row, column)`` to model ``(x, y)``, (..., 2) to (..., 2).

    The half pixels keep pixel centers on pixel centers: SAM adds one half to
    what it is given, and means the distance from the corner.
    """
    p = np.asarray(points, dtype=np.float64)
    scaled = (p + 0.5) * np.asarray(frame.scale) - 0.5
    xy: FloatArray = scaled[..., ::-1].astype(np.float32)
    return xy


def tokens(
    frame: Frame,
    points: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    boxes: npt.ArrayLike | None,
) -> Tokens | None:
    """Check the points and boxes of N objects and encode them as tokens.

    Parameters
    ----------
    frame : Frame
        How the image sits in the model's input.
    points : array (N, K, 2), optional
        ``(row, column)`` of K points for each object.
    labels : array (N, K), optional
        1 or True for positive, 0 or False for negative; all positive by default.
    boxes : array (N, 4), optional
        ``(row0, column0, row1, column1)`` of each object.

    Returns
    -------
    Tokens or None
        None without points and boxes.

    Raises
    ------
    PromptError
        If a prompt is not finite, lies outside the image, has no area, or the
        numbers of points, labels and boxes differ.
    """
    xy: list[FloatArray] = []
    kinds: list[npt.NDArray[np.int64]] = []
    single = False
    if points is not None:
        p = _checked_points(points, frame)
        xy.append(to_model_xy(p, frame))
        kinds.append(_checked_labels(labels, (p.shape[0], p.shape[1])))
        single = boxes is None and p.shape[1] == 1
    elif labels is not None:
        raise PromptError("There are labels without points; give a point for each.")
    if boxes is None:
        if points is None:
            return None
        # SAM was trained with this token wherever there is no box.
        xy.append(np.zeros((xy[0].shape[0], 1, 2), np.float32))
        kinds.append(np.full((xy[0].shape[0], 1), TokenLabel.PADDING, np.int64))
    else:
        b = _checked_boxes(boxes, frame)
        if xy and b.shape[0] != xy[0].shape[0]:
            raise PromptError(
                f"There are points for {xy[0].shape[0]} objects and boxes for "
                f"{b.shape[0]}; give both for every object."
            )
        xy.append(to_model_xy(b.reshape(-1, 2, 2), frame))
        corners = np.array([TokenLabel.BOX_START, TokenLabel.BOX_END], np.int64)
        kinds.append(np.tile(corners, (b.shape[0], 1)))
    return Tokens(np.concatenate(xy, axis=1), np.concatenate(kinds, axis=1), single)


def _checked_points(points: npt.ArrayLike, frame: Frame) -> FloatingArray:
    p = numbers(points, "points")
    if p.ndim != 3 or p.shape[-1] != 2 or p.shape[1] == 0:
        raise PromptError(
            f"Points of shape {p.shape} are not (row, column) pairs; give one pair "
            f"for each point."
        )
    height, width = frame.image_size
    ok = np.all((p >= -0.5) & (p <= np.array([height, width]) - 0.5), axis=-1)
    if not ok.all():
        row, column = p[~ok][0]
        raise PromptError(
            f"The point ({row:g}, {column:g}) lies outside the image of {height} × "
            f"{width} pixels; place it inside."
        )
    return p


def _checked_labels(
    labels: npt.ArrayLike | None, shape: tuple[int, int]
) -> npt.NDArray[np.int64]:
    if labels is None:
        return np.ones(shape, np.int64)
    found = np.asarray(labels)
    if found.shape != shape:
        raise PromptError(
            f"There are {found.size} labels for {shape[0] * shape[1]} points; give "
            f"one for each."
        )
    if not np.isin(found, (0, 1)).all():
        raise PromptError(
            f"The label {found[~np.isin(found, (0, 1))][0]!r} is neither 1 (positive) "
            f"nor 0 (negative); use one of the two."
        )
    return found.astype(np.int64)


def _checked_boxes(boxes: npt.ArrayLike, frame: Frame) -> FloatingArray:
    """Order the corners and cut at the border of the image."""
    b = numbers(boxes, "boxes")
    if b.ndim != 2 or b.shape[-1] != 4:
        raise PromptError(
            f"Boxes of shape {b.shape} are not (row0, column0, row1, column1); give "
            f"four numbers for each."
        )
    height, width = frame.image_size
    far = np.array([height, width]) - 0.5
    corners = np.sort(b.reshape(-1, 2, 2), axis=1)
    flat = (corners[:, 0] >= corners[:, 1]).any(axis=1)
    if flat.any():
        raise PromptError(f"The box {_shown(b[flat][0])} has no area; draw it larger.")
    outside = ((corners[:, 1] <= -0.5) | (corners[:, 0] >= far)).any(axis=1)
    if outside.any():
        raise PromptError(
            f"The box {_shown(b[outside][0])} lies outside the image of {height} × "
            f"{width} pixels; draw it inside."
        )
    return np.clip(corners, -0.5, far).reshape(-1, 4)


def _shown(values: Sequence[float] | FloatingArray) -> str:
    return "(" + ", ".join(f"{v:g}" for v in values) + ")"
