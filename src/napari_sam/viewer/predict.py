"""The worker's side of annotating: planes, predictions and what they carry back.

Nothing here touches napari; a `PlaneEncoder` is used by the worker only.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam.core.masks import PostProcessing, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.core.engine import Engine
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.results import MaskResult
    from napari_sam.types import MaskCrop, MaskLevel, Plane, PromptSet
    from napari_sam.viewer.source import PlaneSource

_LIVE = 4


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

    def get(self, plane: Plane) -> EncodedPlane:
        """Return a plane ready to answer, reading and encoding it if needed."""
        encoded = self._live.get(plane)
        if encoded is None:
            return self.visit(plane)[0]
        self._live.move_to_end(plane)
        return encoded

    def visit(self, plane: Plane) -> tuple[EncodedPlane, float]:
        """Read the plane again, so that edited pixels are seen, and encode it.

        Returns
        -------
        encoded : EncodedPlane
            Ready to answer.
        seconds : float
            How long it took.
        """
        start = time.perf_counter()
        rgb, size = self.source.read(plane)
        encoded = self.engine.encode(rgb, size)
        self._live[plane] = encoded
        self._live.move_to_end(plane)
        while len(self._live) > _LIVE:
            self._live.popitem(last=False)
        return encoded, time.perf_counter() - start

    def prepare(self, plane: Plane) -> float | None:
        """Encode a plane into the store; seconds it took, None if it was there."""
        start = time.perf_counter()
        rgb, _ = self.source.read(plane)
        encoded = self.engine.prepare(rgb)
        return time.perf_counter() - start if encoded else None


def predict(
    planes: PlaneEncoder,
    plane: Plane,
    prompts: Sequence[PromptSet],
    level: MaskLevel,
    cleaning: PostProcessing,
) -> Prediction:
    """Answer all prompts of a plane."""
    encoded = planes.get(plane)
    results = tuple(encoded.predict_prompts(p) for p in prompts)
    blank = Prediction(plane, tuple(prompts), results, level, ())
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
