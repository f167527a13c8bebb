"""What adaptation learns from: planes that are encoded already, and their objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_sam.core.metrics import MIN_AREA
from napari_sam.errors import DataError
from napari_sam.types import MaskCrop, Region

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Sequence

    import numpy.typing as npt

    from napari_sam.types import Embedding, Frame, RGBArray

MIN_OBJECTS = 5
"""With fewer, nothing is left to learn from beside those kept aside."""

_MIN_MODEL_AREA = 16
"""Pixels of the model's input: one cell of the mask logits."""

_ASIDE = 5
"""One object of so many is kept aside."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One plane and objects on it.

    Parameters
    ----------
    embedding : Embedding
        By the image encoder of the model that is adapted.
    objects : tuple of MaskCrop
        Masks in pixels of the plane.  The rest of the plane is not known: it
        may hold other objects.
    keys : tuple of hashable
        One per mask.  Masks of one key, on whatever planes, are one object, as
        in a stack; they are learnt from together or kept aside together.
    name : str
        Name of the image.
    rgb : uint8 array (h, w, 3), optional
        The pixels that were encoded.  Only needed to adapt the neck.
    """

    embedding: Embedding
    objects: tuple[MaskCrop, ...]
    keys: tuple[Hashable, ...]
    name: str = ""
    rgb: RGBArray | None = None

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.objects):
            raise ValueError(f"{len(self.objects)} masks but {len(self.keys)} keys")

    @staticmethod
    def from_labels(
        embedding: Embedding,
        labels: npt.NDArray[Any],
        *,
        name: str = "",
        stack: Hashable = None,
        only: Collection[int] | None = None,
        rgb: RGBArray | None = None,
    ) -> Example:
        """Take the objects of a label image.

        Parameters
        ----------
        embedding : Embedding
            Of the plane.
        labels : integer array (H, W)
            One number per object; 0 is background.  As large as the plane.
        name : str
            Name of the image.
        stack : hashable, optional
            Equal labels on planes of one stack are one object.  By default
            this plane has nothing to do with any other.
        only : collection of int, optional
            Leave other labels out.
        rgb : uint8 array (h, w, 3), optional
            The pixels that were encoded.

        Raises
        ------
        DataError
            If the labels do not fit the plane, or one object covers all of it.
        """
        size = embedding.frame.image_size
        where = f" of {name}" if name else ""
        if labels.shape != size:
            raise DataError(
                f"The labels{where} have the shape {labels.shape} but the image is "
                f"{size}; choose labels of the same size."
            )
        if labels.size and labels.flat[0] != 0 and (labels == labels.flat[0]).all():
            raise DataError(
                f"Object {labels.flat[0]} covers the whole image{where}, so nothing "
                f"shows where it ends; label single objects."
            )
        # Numbers may be sparse and large; `find_objects` wants them dense.
        values, dense = np.unique(labels, return_inverse=True)
        dense = dense.reshape(labels.shape) + 1
        objects, keys = [], []
        for number, where_ in enumerate(ndimage.find_objects(dense), start=1):
            label = int(values[number - 1])
            if label <= 0 or where_ is None or (only is not None and label not in only):
                continue
            rows, cols = where_
            region = Region(rows.start, cols.start, rows.stop, cols.stop)
            objects.append(MaskCrop(dense[where_] == number, region))
            keys.append((object() if stack is None else stack, label))
        return Example(embedding, tuple(objects), tuple(keys), name, rgb)


@dataclass(frozen=True, slots=True)
class Target:
    """One mask of one example, by their numbers."""

    example: int
    mask: int


@dataclass(frozen=True, slots=True)
class Split:
    """Masks to train on, to choose the best state by, and to test it on.

    Parameters
    ----------
    train : tuple of Target
        Learnt from.
    validation : tuple of Target
        Choose among the states that training went through; may be empty.
    test : tuple of Target
        Never looked at until the end.
    n_train, n_test : int
        Number of objects in the first two parts together, and in the last.
    """

    train: tuple[Target, ...]
    validation: tuple[Target, ...]
    test: tuple[Target, ...]
    n_train: int
    n_test: int


def split(examples: Sequence[Example], seed: int, one_in: int) -> Split:
    """Keep a fifth of the objects aside, at random but the same for the same seed.

    Objects of fewer than 20 pixels are left out, and those that the model's input
    has hardly a pixel of, as may happen on planes much larger than it.

    Parameters
    ----------
    examples : sequence of Example
        All there is.
    seed : int
        Of the choice.
    one_in : int
        One object of so many that are left teaches nothing but says which
        state is best; 0 for none.

    Raises
    ------
    DataError
        If there are fewer than five objects.
    """
    groups: dict[Hashable, list[Target]] = {}
    too_small = 0
    for number, example in enumerate(examples):
        for i, (mask, key) in enumerate(
            zip(example.objects, example.keys, strict=True)
        ):
            if _is_too_small(mask, example.embedding.frame):
                too_small += 1
            else:
                groups.setdefault(key, []).append(Target(number, i))
    _check_count(len(groups), too_small)
    order = np.random.default_rng([seed, 0]).permutation(len(groups))
    masks = [list(groups.values())[i] for i in order]
    n_test = max(1, round(len(masks) / _ASIDE))
    rest = masks[n_test:]
    n_validation = len(rest) // one_in if one_in else 0
    parts = (rest[n_validation:], rest[:n_validation], masks[:n_test])
    train, validation, test = (tuple(t for g in part for t in g) for part in parts)
    return Split(train, validation, test, len(rest), n_test)


def _is_too_small(mask: MaskCrop, frame: Frame) -> bool:
    rows, cols = frame.scale
    return mask.area < MIN_AREA or mask.area * rows * cols < _MIN_MODEL_AREA


def _check_count(count: int, too_small: int) -> None:
    if count >= MIN_OBJECTS:
        return
    if not count and not too_small:
        raise DataError("There is no object to learn from; label at least five.")
    if not count:
        raise DataError(
            f"All objects ({too_small}) are too small to learn from, of fewer than "
            f"{MIN_AREA} pixels or hardly seen by the model; label larger ones."
        )
    have = "one object" if count == 1 else f"{count} objects"
    small = ", apart from too small ones," if too_small else ""
    raise DataError(
        f"There is only {have}{small} to learn from; label at least {MIN_OBJECTS}."
        if count == 1
        else f"There are only {have}{small} to learn from; label at least "
        f"{MIN_OBJECTS}."
    )
