"""Read images with ground truth, from files or from arrays.

Nothing is left out silently: what cannot be used is listed by name, with the
reason, beside the samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_sam.errors import DataError, SamError
from napari_sam.training.data.planes import LabeledArray, aligned, open_pair
from napari_sam.training.data.sources import Pair, Problem, as_sources, find_pairs
from napari_sam.types import Plane, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Literal

    from napari_sam.core.planes import ArrayLike
    from napari_sam.training.data.samples import Sample
    from napari_sam.training.data.sources import SourceLike
    from napari_sam.types import ProgressCallback

T = TypeVar("T")

_ONE_PLANE = (".png", ".jpg", ".jpeg", ".bmp")
_NO_OBJECT = "no object in the labels"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A sample, or where it is read from.

    Parameters
    ----------
    source : str
        Name of the source.
    pair : Pair, optional
        Its files, if it is read when needed.
    plane : Plane, optional
        The plane of those.
    sample : Sample, optional
        The sample, if it is in memory.
    """

    source: str
    pair: Pair | None = None
    plane: Plane | None = None
    sample: Sample | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SampleSet:
    """Samples in memory or on disk; iterate, index with a number, or take the length.

    Parameters
    ----------
    entries : tuple of Entry
        In the order of sources, files and planes.
    problems : tuple of Problem
        What could not be used.
    n_empty : int
        Planes of stacks that were left out as they have no object.
    """

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()
    n_empty: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Sample:
        """Return one sample, reading it if it is not in memory."""
        return next(_samples([self.entries[number]]))

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples, each read when its turn comes."""
        return _samples(self.entries)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that have samples, in order."""
        return tuple(dict.fromkeys(e.source for e in self.entries))

    def of(self, source: str) -> SampleSet:
        """Return the samples of one source."""
        return SampleSet(tuple(e for e in self.entries if e.source == source))

    def loaded(self) -> SampleSet:
        """Return the same samples, all in memory."""
        entries = (
            Entry(entry.source, sample=sample)
            for entry, sample in zip(self.entries, self, strict=True)
        )
        return SampleSet(tuple(entries), self.problems, self.n_empty)


def read_samples(
    sources: SourceLike | Iterable[SourceLike],
    *,
    split: Literal["train", "val"] | None = None,
    every: int = 1,
    limit: int | None = None,
    in_memory: bool = False,
    progress: ProgressCallback | None = None,
) -> SampleSet:
    """Read images with ground truth.

    Every image is read once and checked; unless ``in_memory``, it is read again
    when its sample is asked for.

    Parameters
    ----------
    sources : path, Source, or several of them
        Folders or annotation files; see :class:`napari_sam.training.Source`.
    split : {"train", "val"}, optional
        Only this part; which one an image is in depends on its name alone
        (:func:`napari_sam.core.metrics.split_of`).
    every : int
        Of stacks, use every k-th plane.
    limit : int, optional
        At most this many images or planes of each source, evenly spread.
    in_memory : bool
        Keep the samples.
    progress : callable, optional
        Called with a `Progress` after each image.

    Returns
    -------
    SampleSet
        With at least one sample.

    Raises
    ------
    DataError
        If a source is not there or of no known kind, or if nothing is usable.
    """
    named = as_sources(sources)
    entries: list[Entry] = []
    problems: list[Problem] = []
    n_empty = 0
    for source in named:
        pairs, unpaired = find_pairs(source, split)
        problems += unpaired
        if not pairs and not unpaired:
            part = f" belongs to the part {split!r}, which file names decide"
            reason = f"no image{part if split and not source.is_whole else ''}"
            problems.append(Problem(source.name, reason))
        candidates: list[tuple[Pair, Plane | None]] = []
        for pair in pairs:
            planes, bad, empty = _candidates(pair, every)
            candidates += [(pair, plane) for plane in planes]
            problems += bad
            n_empty += empty
        chosen = _spread(candidates, limit)
        files = [(p, [c[1] for c in group]) for p, group in groupby(chosen, _pair)]
        for number, (pair, wanted) in enumerate(files, start=1):
            found, bad = _checked(pair, wanted, in_memory=in_memory)
            entries += found
            problems += bad
            if progress is not None:
                progress(Progress(number, len(files), f"reading {source.name}"))
    if not entries:
        raise _nothing([s.name for s in named], problems)
    return SampleSet(tuple(entries), tuple(problems), n_empty)


def samples_from_arrays(
    image: ArrayLike,
    labels: ArrayLike,
    *,
    name: str = "layer",
    channel_axis: int | None = None,
    displayed: tuple[int, int] = (-2, -1),
    every: int = 1,
) -> SampleSet:
    """Take samples from arrays, such as the data of two layers.

    Parameters
    ----------
    image : array-like
        Of the shape of ``labels``, or with a channel axis more; of any type that
        :func:`napari_sam.core.imaging.to_rgb` takes.  Of numpy, dask or zarr
        arrays, only planes with objects are loaded.
    labels : array-like (..., H, W)
        One number per object; 0 is background.
    name : str
        Of the samples; planes of a stack get ``name/3``.
    channel_axis : int, optional
        Axis of the channels in ``image``; looked for if not given.
    displayed : tuple of two int
        The axes of ``labels`` along rows and columns.
    every : int
        Use every k-th plane.

    Returns
    -------
    SampleSet
        In memory, copied, with at least one sample.

    Raises
    ------
    DataError
        If the sizes differ or no plane has usable labels.
    """
    n = len(labels.shape)
    # From the end, since an axis of length one may go from the front.
    displayed = (displayed[0] % n - n, displayed[1] % n - n)
    try:
        array = aligned(name, image, labels, channel_axis=channel_axis)
    except DataError as error:
        raise _nothing([name], [_problem(name, error)]) from error
    array = replace(array, displayed=displayed)
    entries: list[Entry] = []
    planes, problems, n_empty = _with_objects(array, every)
    for plane in planes:
        try:
            entries.append(Entry(name, sample=array.sample(plane)))
        except SamError as error:
            problems.append(_problem(array.sample_name(plane), error))
    if not entries:
        raise _nothing([name], problems)
    return SampleSet(tuple(entries), tuple(problems), n_empty)


def _samples(entries: Iterable[Entry]) -> Iterator[Sample]:
    """Yield samples, opening each file once for its consecutive planes."""
    for pair, group in groupby(entries, lambda e: e.pair):
        array = None if pair is None else open_pair(pair)
        for entry in group:
            if entry.sample is not None:
                yield entry.sample
            elif array is not None:
                yield array.sample(entry.plane or array.planes()[0])


def _pair(candidate: tuple[Pair, Plane | None]) -> Pair:
    return candidate[0]


def _candidates(
    pair: Pair, every: int
) -> tuple[list[Plane | None], list[Problem], int]:
    """Return the planes of a pair that have objects; None for the only plane.

    Of a file that holds one plane for sure, nothing is read.
    """
    if not isinstance(pair.truth, Path) or pair.truth.suffix.lower() in _ONE_PLANE:
        return [None], [], 0
    try:
        array = open_pair(pair)
    except SamError as error:
        return [], [_problem(pair.name, error)], 0
    if len(array.labels.shape) == 2:
        return [None], [], 0
    planes, problems, n_empty = _with_objects(array, every)
    return list(planes), problems, n_empty


def _with_objects(
    array: LabeledArray, every: int
) -> tuple[list[Plane], list[Problem], int]:
    """Return planes with objects, those with wrong labels, and how many have none."""
    found: list[Plane] = []
    problems: list[Problem] = []
    n_empty = 0
    for plane in array.planes(every):
        try:
            has_object = bool(array.truth(plane).any())
        except SamError as error:
            problems.append(_problem(array.sample_name(plane), error))
            continue
        if has_object:
            found.append(plane)
        else:
            n_empty += 1
    if not found and not problems:
        problems.append(Problem(array.name, _NO_OBJECT))
    return found, problems, n_empty


def _checked(
    pair: Pair, planes: Sequence[Plane | None], *, in_memory: bool
) -> tuple[list[Entry], list[Problem]]:
    """Read planes of one pair; return those that can be used, and the others."""
    try:
        array = open_pair(pair)
    except SamError as error:
        return [], [_problem(pair.name, error)]
    entries: list[Entry] = []
    problems: list[Problem] = []
    for chosen in planes:
        plane = chosen or array.planes()[0]
        try:
            sample = array.sample(plane)
        except SamError as error:
            problems.append(_problem(array.sample_name(plane), error))
            continue
        if not sample.labels.any():
            problems.append(Problem(sample.name, _NO_OBJECT))
        elif in_memory:
            entries.append(Entry(pair.source, sample=sample))
        else:
            entries.append(Entry(pair.source, pair, plane))
    return entries, problems


def _problem(name: str, error: SamError) -> Problem:
    return Problem(name, str(error).rstrip("."))


def _spread(candidates: list[T], limit: int | None) -> list[T]:
    """Return at most ``limit`` of them, evenly spread from first to last."""
    if limit is None or len(candidates) <= limit:
        return candidates
    return [candidates[round(i)] for i in np.linspace(0, len(candidates) - 1, limit)]


def _nothing(names: list[str], problems: list[Problem]) -> DataError:
    first = f" ({problems[0]}{_and_more(len(problems))})" if problems else ""
    return DataError(
        f"Nothing in {', '.join(names)} can be used{first}; correct that or choose"
        " others."
    )


def _and_more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""
