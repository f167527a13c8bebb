"""The worker's side of annotating: planes, predictions and what they carry back.

Nothing here touches napari; a `PlaneEncoder` is used by the worker only.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from napari_sam.core.masks import PostProcessing, clean
from napari_sam.core.refine import refine

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.core.engine import Engine
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.results import MaskResult
    from napari_sam.types import MaskCrop, MaskLevel, Plane, PromptSet
    from napari_sam.viewer.source import PlaneSource

T = TypeVar("T")
_LIVE = 4
_UNDER_WAY = 2
"""Most encodings begun and not finished."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One object's mask as it would be written, and its score."""

    mask: MaskCrop
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The model's answers to all prompts of one plane, one per object."""

    plane: Plane
    prompts: tuple[PromptSet, ...]
    results: tuple[MaskResult, ...]
    level: MaskLevel
    candidates: tuple[Candidate, ...]


class PlaneEncoder:
    """Encoded planes of one image by one model.

    A new one is made whenever image, settings or model change, so a plane is
    enough to know an embedding by.

    Parameters
    ----------
    engine : Engine
        The model and its store.
    source : PlaneSource
        The image.
    """

    def __init__(self, engine: Engine, source: PlaneSource) -> None:
        self.engine = engine
        self.source = source
        self._live: OrderedDict[Plane, EncodedPlane] = OrderedDict()
        self._under_way: dict[Plane, Generator[None, None, None]] = {}

    def iter_get(self, plane: Plane) -> Generator[None, None, EncodedPlane]:
        """Return a plane ready to answer, reading and encoding it if needed."""
        encoded = self._live.get(plane)
        if encoded is None:
            encoded, _ = yield from self.iter_visit(plane)
        else:
            self._live.move_to_end(plane)
        return encoded

    def iter_visit(
        self, plane: Plane
    ) -> Generator[None, None, tuple[EncodedPlane, float]]:
        """Read the plane again, so that edited pixels are seen, and encode it.

        Returns
        -------
        encoded : EncodedPlane
            Ready to answer.
        seconds : float
            How long it took, without what was done between the steps.
        """
        watch = _Watch()
        encoded = yield from watch.over(self._iter_join(plane))
        return encoded, watch.seconds

    def _iter_join(self, plane: Plane) -> Generator[None, None, EncodedPlane]:
        """Encode a plane, going on with what another job has begun.

        A click while the plane is being encoded, or a second one, would
        otherwise start from nothing.
        """
        while True:
            steps = self._under_way.get(plane)
            if steps is None:
                # What was begun for planes left behind costs memory.
                while len(self._under_way) >= _UNDER_WAY:
                    self._under_way.pop(next(iter(self._under_way))).close()
                steps = self._under_way[plane] = self._iter_encode(plane)
            try:
                # Not ``yield from``: a job that is cancelled must not close it.
                for _ in steps:
                    yield
            except Exception:
                self._forget(plane, steps)
                raise
            self._forget(plane, steps)
            encoded = self._live.get(plane)
            if encoded is not None:
                return encoded

    def _forget(self, plane: Plane, steps: Generator[None, None, None]) -> None:
        if self._under_way.get(plane) is steps:
            del self._under_way[plane]

    def _iter_encode(self, plane: Plane) -> Generator[None, None, None]:
        rgb, size = self.source.read(plane)
        self._live[plane] = yield from self.engine.iter_encode(rgb, size)
        self._live.move_to_end(plane)
        while len(self._live) > _LIVE:
            self._live.popitem(last=False)

    def iter_prepare(self, plane: Plane) -> Generator[None, None, float | None]:
        """Encode a plane into the store; seconds it took, None if it was there."""
        watch = _Watch()
        rgb, _ = self.source.read(plane)
        was_encoded = yield from watch.over(self.engine.iter_prepare(rgb))
        return watch.seconds if was_encoded else None


class _Watch:
    """Times the steps of a generator, not the pauses between them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = time.perf_counter()

    def over(self, steps: Generator[None, None, T]) -> Generator[None, None, T]:
        """Pass a generator through."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self.seconds += time.perf_counter() - self._start
                value: T = end.value
                return value
            self.seconds += time.perf_counter() - self._start
            yield
            self._start = time.perf_counter()


def predict(
    planes: PlaneEncoder,
    plane: Plane,
    prompts: Sequence[PromptSet],
    level: MaskLevel,
    cleaning: PostProcessing,
    last: Prediction | None = None,
) -> Generator[None, None, Prediction]:
    """Answer all prompts of a plane, encoding it first if needed.

    Each click refines the answer to those before it, which ``last`` may hold.
    """
    encoded = yield from planes.iter_get(plane)
    known = {}
    if last is not None and last.level == level:
        known = dict(zip(last.prompts, last.results, strict=True))
    results = []
    for prompt_set in prompts:
        results.append(refine(encoded, prompt_set, level, known))
        yield
    blank = Prediction(plane, tuple(prompts), tuple(results), level, ())
    return relevel(blank, level, cleaning)


def relevel(
    prediction: Prediction, level: MaskLevel, cleaning: PostProcessing
) -> Prediction:
    """Return the same answers at another mask level or with other cleaning."""
    candidates = tuple(
        Candidate(
            clean(
                result.crop(level),
                cleaning,
                [(p.row, p.column) for p in prompts.points if p.positive],
                shape=result.frame.image_size,
            ),
            # A regression output: the model may be surer than certain.
            min(1.0, float(result.predicted_iou[result.index_of(level)])),
        )
        for prompts, result in zip(prediction.prompts, prediction.results, strict=True)
    )
    return replace(prediction, level=level, candidates=candidates)
