"""What scripts give, checked before anything happens; pure."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import LabelsError, PromptError

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.types import Plane


def as_points(given: Any, shape: tuple[int, ...], what: str) -> npt.NDArray[np.float64]:
    """Return finite array coordinates, (N, ndim).

    Parameters
    ----------
    given : array-like (N, ndim)
        What the caller passed.
    shape : tuple of int
        Of the image.
    what : str
        For messages: "Point", "Outline".

    Raises
    ------
    PromptError
        If they are no numbers, not one per axis, or not finite.
    """
    try:
        points = np.asarray(given)
        is_real = points.dtype.kind in "iuf"
        points = points.astype(float) if is_real else points
    except (TypeError, ValueError, OverflowError):
        is_real = False
    if not is_real:
        raise PromptError(f"{what} {_short(given)} is not made of numbers; give some.")
    if points.ndim != 2 or points.shape[1] != len(shape):
        raise PromptError(
            f"{what} {_short(given)} does not have {len(shape)} coordinates, but the "
            f"image of shape {shape} has {len(shape)} axes; give one per axis."
        )
    if not np.isfinite(points).all():
        raise PromptError(f"{what} {_short(given)} is not finite; give finite numbers.")
    return points


def as_point(given: Any, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Return the array coordinates of a point inside an image.

    Raises
    ------
    PromptError
        If it is no point, or lies outside.
    """
    points = as_points([given], shape, "Point")
    point = tuple(float(x) for x in points[0])
    if not all(-0.5 <= x < n - 0.5 for x, n in zip(point, shape, strict=True)):
        raise PromptError(
            f"Point {point} is outside the image of shape {shape}; give a point inside."
        )
    return point


def on_one_plane(points: npt.NDArray[np.float64], plane: Plane, what: str) -> None:
    """Refuse a shape over several planes.

    Raises
    ------
    PromptError
        If one of the points is on another plane.
    """
    for point in points:
        if not plane.contains(point):
            raise PromptError(
                f"{what} has corners on several planes, {_short(points[0])} and "
                f"{_short(point)}; give one for each plane."
            )


def as_label(given: Any, dtype: npt.DTypeLike) -> int:
    """Return the number of an object.

    Parameters
    ----------
    given : int
        What the caller passed; numpy's integers are welcome.
    dtype : dtype
        Of the labels.

    Raises
    ------
    LabelsError
        If it is no whole number that the labels can hold, or the background.
    """
    top = int(np.iinfo(np.dtype(dtype)).max)
    try:
        label = operator.index(given)
    except TypeError:
        label = 0
    if isinstance(given, bool | np.bool_) or not 0 < label <= top:
        raise LabelsError(
            f"{_short(given)} is not the number of an object; give a whole number from "
            f"1 to {top}."
        )
    return label


def _short(given: Any) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) <= 80 else text[:79] + "…"
