"""Measure how good the masks of a model are on images with ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sam.core.everything.search import iter_everything
from napari_sam.core.metrics import (
    average_precision,
    choose_objects,
    interactive_score,
    object_mask,
)
from napari_sam.core.steps import finish
from napari_sam.core.stopwatch import Stopwatch
from napari_sam.training.data.sample_sets import SampleSet
from napari_sam.training.report import EvaluationSettings, ObjectScore, Report, Row
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import numpy as np
    import numpy.typing as npt

    from napari_sam.core.model import EncodedPlane, Model
    from napari_sam.training.data.samples import Sample
    from napari_sam.types import ProgressCallback

_EVERYTHING_COST = 3
"""Everything mode takes about as long as the clicks on three images."""


def evaluate(
    models: Model | Sequence[Model],
    samples: SampleSet | Sequence[Sample],
    settings: EvaluationSettings | None = None,
    progress: ProgressCallback | None = None,
) -> Report:
    """Measure models on images with ground truth.

    Parameters
    ----------
    models : Model, or several
        From :func:`napari_sam.load_model`.  All see the same objects.
    samples : SampleSet or sequence of Sample
        From :func:`napari_sam.training.read_samples`; one image at a time is
        loaded.
    settings : EvaluationSettings, optional
        The project's protocol by default.
    progress : callable, optional
        Called with a `Progress` after every image.  An exception that it raises
        ends the run.

    Returns
    -------
    Report
        One row for each source and model.

    Raises
    ------
    FileFormatError, ImageError, DataError
        If a file that was fine when it was listed can no longer be read.
    """
    return finish(iter_evaluate(models, samples, settings), progress)


def iter_evaluate(
    models: Model | Sequence[Model],
    samples: SampleSet | Sequence[Sample],
    settings: EvaluationSettings | None = None,
) -> Generator[Progress, None, Report]:
    """Measure models image by image; the generator form of `evaluate`.

    Yields
    ------
    Progress
        After each image and model.

    Returns
    -------
    Report
    """
    settings = settings or EvaluationSettings()
    models = list(models) if isinstance(models, Sequence) else [models]
    sets = _by_source(samples)
    n_everything = sum(min(settings.everything, n) for n, _ in sets.values())
    total = sum(n for n, _ in sets.values()) + _EVERYTHING_COST * n_everything
    total *= len(models)
    done = 0
    rows: list[Row] = []
    for source, (count, members) in sets.items():
        tallies = [_Tally(model) for model in models]
        for number, sample in enumerate(members, start=1):
            for tally in tallies:
                with_everything = number <= settings.everything
                tally.add(sample, settings, with_everything=with_everything)
                done += 1 + _EVERYTHING_COST * with_everything
                yield Progress(done, total, f"{source}: image {number} of {count}")
        for tally, name in zip(tallies, _names(models), strict=True):
            rows.append(tally.row(source, name, count, settings))
    problems = samples.problems if isinstance(samples, SampleSet) else ()
    return Report(tuple(rows), settings, tuple(map(str, problems)))


def iter_object_scores(
    plane: EncodedPlane,
    name: str,
    labels: npt.NDArray[np.integer],
    settings: EvaluationSettings,
) -> Iterator[ObjectScore]:
    """Yield what simulated users get for the objects of one image.

    Parameters
    ----------
    plane : EncodedPlane
        The image, encoded.
    name : str
        The image's; with the settings' seed it decides which objects are used.
    labels : integer array (H, W)
        Ground truth; 0 is background.
    settings : EvaluationSettings
        Which objects and clicks.
    """
    chosen = choose_objects(
        labels,
        max_objects=settings.max_objects,
        min_area=settings.min_area,
        seed=_seed_of(name, settings.seed),
    )
    for label in chosen:
        truth = object_mask(labels, label)
        score = interactive_score(
            plane,
            truth,
            n_clicks=settings.clicks[-1],
            feed_logits=settings.feed_logits,
        )
        after = [n - 1 for n in settings.clicks]
        yield ObjectScore(
            name,
            label,
            truth.area,
            _rounded(score.clicks[after]),
            _rounded(score.clicks_best[after]),
            _rounded(score.clicks_predicted[after]),
            *_rounded([score.box, score.box_best, score.box_predicted]),
        )


@dataclass(slots=True)
class _Tally:
    """What one model got on one source so far."""

    model: Model
    objects: list[ObjectScore] = field(default_factory=list)
    precisions: list[tuple[float, ...]] = field(default_factory=list)
    seconds: float = 0.0

    def add(
        self, sample: Sample, settings: EvaluationSettings, *, with_everything: bool
    ) -> None:
        watch = Stopwatch()
        if settings.max_objects or with_everything:
            plane = self.model.encode_rgb(sample.rgb)
            self.objects += iter_object_scores(
                plane, sample.name, sample.labels, settings
            )
            if with_everything:
                self.precisions.append(self._precision(sample, plane, settings))
        self.seconds += watch.elapsed

    def _precision(
        self, sample: Sample, plane: EncodedPlane, settings: EvaluationSettings
    ) -> tuple[float, ...]:
        steps = iter_everything(
            sample.rgb,
            self.model.encode_rgb,
            settings.everything_settings(),
            plane=plane,
        )
        found = finish(steps).to_labels(overlap=settings.overlap)
        return _rounded(average_precision(sample.labels, found))

    def row(
        self, source: str, name: str, images: int, settings: EvaluationSettings
    ) -> Row:
        return Row(
            source,
            name,
            self.model.fingerprint,
            images,
            settings.clicks,
            tuple(self.objects),
            tuple(self.precisions),
            round(self.seconds, 1),
        )


def _by_source(
    samples: SampleSet | Sequence[Sample],
) -> dict[str, tuple[int, Iterable[Sample]]]:
    """Return number and samples of each source."""
    if not isinstance(samples, SampleSet):
        return {"samples": (len(samples), samples)}
    parts = {source: samples.of(source) for source in samples.sources}
    return {source: (len(part), part) for source, part in parts.items()}


def _names(models: Sequence[Model]) -> list[str]:
    """Return names for a table, with the weights' hash where two are alike."""
    names = [m.name for m in models]
    return [
        name if names.count(name) == 1 else f"{name} ({model.fingerprint[:8]})"
        for name, model in zip(names, models, strict=True)
    ]


def _seed_of(name: str, seed: int) -> int:
    """Return the seed of one image, whichever other images are used."""
    return int(hashlib.sha1(f"{seed} {name}".encode()).hexdigest()[:8], 16)


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in values)
