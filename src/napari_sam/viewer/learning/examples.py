"""Which labels are learnt from, and the planes they are on.

What counts as accepted: on every plane that has an object which a person has
accepted, all labels, also those painted by hand, but none that everything mode
wrote and nobody has confirmed.  Where no object was accepted here, as in labels
that came from a file, all planes like the one on screen count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.planes import read_plane
from napari_sam.core.steps import reporting
from napari_sam.errors import DataError
from napari_sam.types import Plane, Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from napari_sam.core.annotation.records import ObjectRecords
    from napari_sam.training.adapt.examples import Example
    from napari_sam.viewer.image.encoder import PlaneEncoder

MOST_PLANES = 32
"""Planes that are learnt from; of more, as many evenly spread."""


@dataclass(frozen=True, slots=True)
class ExampleSelection:
    """Which labels to learn from.

    Parameters
    ----------
    planes : tuple of Plane
        Where; planes without a label are passed over.
    unconfirmed : frozenset of int
        Labels that nobody has looked at.
    """

    planes: tuple[Plane, ...]
    unconfirmed: frozenset[int] = frozenset()


def accepted(
    records: ObjectRecords, shown: Plane, shape: tuple[int, ...]
) -> ExampleSelection:
    """Return what to learn from; see the first lines of this module.

    Parameters
    ----------
    records : ObjectRecords
        Of the labels.
    shown : Plane
        The plane on screen.
    shape : tuple of int
        Shape of the image.
    """
    unconfirmed = frozenset(r.label for r in records if not r.confirmed)
    planes: dict[tuple[int | None, ...], Plane] = {}
    for record in records:
        if record.confirmed:
            for plane in record.planes:
                planes.setdefault(plane.index, plane)
    if not planes:
        sliders = [a for a, i in enumerate(shown.index) if i is not None]
        positions = np.ndindex(tuple(shape[a] for a in sliders))
        for position in positions:
            index: list[int | None] = [None] * len(shape)
            for axis, place in zip(sliders, position, strict=True):
                index[axis] = place
            planes[tuple(index)] = Plane(shown.displayed, tuple(index))
    return ExampleSelection(tuple(planes.values()), unconfirmed)


def gather(
    encoder: PlaneEncoder, labels: Any, material: ExampleSelection, *, with_pixels: bool
) -> Generator[Progress, None, list[Example]]:
    """Read and encode what is learnt from; the worker's side.

    Parameters
    ----------
    encoder : PlaneEncoder
        Image and model.
    labels : array-like
        Data of the Labels layer.
    material : ExampleSelection
        Which of them.
    with_pixels : bool
        Keep the pixels, as the neck needs them.

    Yields
    ------
    Progress
        In planes.

    Returns
    -------
    list of Example
        At most 32.

    Raises
    ------
    DataError
        If no label is there, or one covers everything.
    """
    from napari_sam.training.adapt.examples import Example

    found = []
    for number, plane in enumerate(material.planes):
        if (_labels_on(labels, plane, material.unconfirmed) != 0).any():
            found.append(plane)
        yield Progress(number, len(material.planes), "looking for labels")
    if not found:
        raise DataError(
            "There is no accepted object to learn from; accept at least five."
        )
    examples = []
    chosen = _spread(found)
    for number, plane in enumerate(chosen):
        progress = Progress(
            number, len(chosen), f"reading plane {number + 1} of {len(chosen)}"
        )
        yield progress
        encoded = yield from reporting(encoder.iter_get(plane), progress)
        example = Example.from_labels(
            encoded.embedding,
            _labels_on(labels, plane, material.unconfirmed),
            name=encoder.source.name,
            stack=encoder.source.name,
            rgb=encoder.source.read(plane)[0] if with_pixels else None,
        )
        examples.append(example)
    return examples


def _labels_on(labels: Any, plane: Plane, unconfirmed: Iterable[int]) -> Any:
    pixels = read_plane(labels, plane)
    hidden = list(unconfirmed)
    return np.where(np.isin(pixels, hidden), 0, pixels) if hidden else pixels.copy()


def _spread(planes: Sequence[Plane]) -> list[Plane]:
    if len(planes) <= MOST_PLANES:
        return list(planes)
    return [planes[round(i)] for i in np.linspace(0, len(planes) - 1, MOST_PLANES)]
