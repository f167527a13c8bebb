"""Adaptation for scripts and the command line: from images with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.steps import reporting
from napari_sam.errors import DataError
from napari_sam.models.registry import load_model
from napari_sam.training.adapt.loop import Example, iter_adapt
from napari_sam.training.data.sample_sets import SampleSet, samples_from_arrays
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from napari_sam.core.planes import ArrayLike
    from napari_sam.training.adapt.adapted import Adapted
    from napari_sam.training.adapt.settings import AdaptSettings
    from napari_sam.training.data.sample_sets import Entry

T = TypeVar("T")

MOST_PLANES = 64
"""Planes whose embeddings are held at a time, 2 MB each."""


def iter_adapt_arrays(
    images: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike | Sequence[ArrayLike],
    base: str | Path,
    **options: Any,
) -> Generator[Progress, None, Adapted]:
    """Adapt a model to arrays; see :func:`napari_sam.adapt`.

    A list is one image each; an array is an image or a stack.
    """
    several = isinstance(images, list | tuple)
    all_images, all_labels = _listed(images), _listed(labels)
    if len(all_images) != len(all_labels):
        raise DataError(
            f"There are {len(all_images)} images but {len(all_labels)} label images; "
            f"give one for each."
        )
    sets = [
        samples_from_arrays(image, marks, name=f"image {i}" if several else "image")
        for i, (image, marks) in enumerate(
            zip(all_images, all_labels, strict=True), start=1
        )
    ]
    return (yield from iter_adapt_samples(sets, base, **options))


def iter_adapt_samples(
    sets: Iterable[SampleSet],
    base: str | Path,
    *,
    settings: AdaptSettings | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    store: EmbeddingStore | None = None,
) -> Generator[Progress, None, Adapted]:
    """Adapt a model to samples; yield progress, return the result.

    Parameters
    ----------
    sets : iterable of SampleSet
        Images with labels; at most 64 planes of each set are used, evenly
        spread.  In a stack, equal labels are one object.
    base, settings, seed, device, dtype
        As for :func:`napari_sam.training.adapt.loop.iter_adapt`.
    store : EmbeddingStore, optional
        Where embeddings are kept; the user's cache by default.

    Yields
    ------
    Progress
        First in planes, then in steps.

    Returns
    -------
    Adapted
        With its figures, whether they are better or not.

    Raises
    ------
    DataError
        If labels cannot be used, or there are fewer than five objects.
    ModelError
        If the model cannot be loaded or the device fails.
    """
    model = load_model(base, device=device, dtype=dtype)
    engine = Engine(model, store or EmbeddingStore(), live=1)
    chosen = [(n, entry) for n, s in enumerate(sets) for entry in _spread(s.entries)]
    with_neck = settings is not None and settings.parts != "decoder"
    examples = []
    for number, (which, entry) in enumerate(chosen):
        sample = next(iter(SampleSet((entry,))))
        progress = Progress(number, len(chosen), f"encoding {sample.name}")
        yield progress
        steps = engine.iter_encode(sample.rgb)
        plane = yield from reporting(steps, progress)
        example = Example.from_labels(
            plane.embedding,
            sample.labels,
            name=sample.name,
            stack=(which, entry.pair),
            rgb=sample.rgb if with_neck else None,
        )
        examples.append(example)
    return (
        yield from iter_adapt(
            base, examples, settings, seed=seed, device=device, dtype=dtype
        )
    )


def _listed(arrays: ArrayLike | Sequence[ArrayLike]) -> list[ArrayLike]:
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]  # type: ignore[list-item]


def _spread(entries: Sequence[Entry]) -> list[Entry]:
    """Return at most 64 of them, evenly spread from first to last."""
    if len(entries) <= MOST_PLANES:
        return list(entries)
    return [entries[round(i)] for i in np.linspace(0, len(entries) - 1, MOST_PLANES)]
