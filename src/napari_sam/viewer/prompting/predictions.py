"""Predictions: what the model makes of the prompts on one plane; for the worker."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_sam.core.masks import PostProcessing, clean, crop_iou
from napari_sam.core.refine import iter_refine
from napari_sam.core.steps import Run
from napari_sam.types import MaskLevel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.results import MaskResult
    from napari_sam.types import MaskCrop, Plane, PromptSet
    from napari_sam.viewer.image.encoder import PlaneEncoder

T = TypeVar("T")
_FINE = 0.5
"""Model pixels per pixel from which an answer is not called coarse."""
_ALIKE = 0.8
"""IoU from which an answer is taken for the one that a proposal came from."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One object's mask as it would be written, and its score."""

    mask: MaskCrop
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class PreviousLogits:
    """A mask that was there before the model was asked: a proposal's.

    Parameters
    ----------
    prompts : PromptSet
        The prompt that stands for it.
    mask : MaskCrop
        The mask.
    score : float
        Its predicted IoU.
    result : MaskResult, optional
        The model's answer that comes closest to it, once it was asked; as such
        the ``default`` of the result.  Corrections go on from there.
    """

    prompts: PromptSet
    mask: MaskCrop
    score: float
    result: MaskResult | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The model's answers to all prompts of one plane, one per object.

    Parameters
    ----------
    plane : Plane
        Which plane.
    prompts : tuple of PromptSet
        One per object.
    results : tuple of MaskResult
        One per object; none of a proposal that the model was not asked about.
    level : MaskLevel
        Which of the nested answers the candidates are.
    candidates : tuple of Candidate
        The masks as they would be written, one per object.
    corrections : tuple of int
        One per object: how many of its answers on this plane were replaced by
        the answer to other prompts.
    start : PreviousLogits, optional
        The proposal that this object began with.
    is_compact : bool
        Whether other levels than this have to be asked for again.
    is_final : bool
        False of what can be said at once, while parts of the plane are still encoded
        for a better answer.
    """

    plane: Plane
    prompts: tuple[PromptSet, ...]
    results: tuple[MaskResult, ...]
    level: MaskLevel
    candidates: tuple[Candidate, ...]
    corrections: tuple[int, ...] = ()
    start: PreviousLogits | None = None
    is_compact: bool = False
    is_final: bool = True

    def compact(self) -> Prediction:
        """Return what is needed to show and to refine it, and no more."""
        results = tuple(r.compact(self.level) for r in self.results)
        return replace(self, results=results, is_compact=True)

    @staticmethod
    def of_start(plane: Plane, start: PreviousLogits) -> Prediction:
        """Return a proposal as it is, before the model is asked."""
        return Prediction(
            plane,
            (start.prompts,),
            (),
            MaskLevel.AUTO,
            (Candidate(start.mask, start.score),),
            (0,),
            start,
        )

    @property
    def score(self) -> float:
        """The lowest score of its masks."""
        return min(c.score for c in self.candidates)

    @property
    def is_coarse(self) -> bool:
        """Whether a preliminary answer was given at less than half the resolution.

        What is small in a large plane may be lost then in what is around it.
        """
        frames = (r.frame for r in self.results)
        return not self.is_final and any(min(f.scale) < _FINE for f in frames)

    @property
    def is_asked(self) -> bool:
        """Whether the model gave these masks, rather than a proposal."""
        return bool(self.results)


def predict(
    encoder: PlaneEncoder,
    plane: Plane,
    prompts: Sequence[PromptSet],
    level: MaskLevel,
    cleaning: PostProcessing,
    last: Prediction | None = None,
) -> Generator[Prediction | None, None, Prediction]:
    """Answer all prompts of a plane, encoding it first if needed.

    Each click refines the answer to those before it, which ``last`` may hold.

    Yields
    ------
    Prediction or None
        What can be said of all objects before more is encoded for a better answer,
        and again whenever one of them is answered better.
    """
    encoded = yield from encoder.iter_get(plane)
    known = {}
    # An answer depends on image and prompts, and not on what was ready when.
    if last is not None and last.level == level and last.is_asked and last.is_final:
        known = dict(zip(last.prompts, last.results, strict=True))
    start = last.start if last is not None else None
    if start is not None:
        result = start.result
        if result is None:
            result = answer_like(encoded, start.prompts, start.mask)
            yield None
        start = replace(start, result=result)
        known[start.prompts] = result
    blank = Prediction(
        plane,
        tuple(prompts),
        (),
        level,
        (),
        count_corrections(prompts, last),
        start,
    )
    shown: list[tuple[MaskResult, Candidate]] = []
    left = []
    for prompt_set in prompts:
        steps = iter_refine(encoded, prompt_set, level, known)
        result, is_final = yield from _next_answer(steps)
        if not is_final:
            left.append((len(shown), steps))
        shown.append(_shown(result, prompt_set, level, cleaning))
        yield None
    for index, steps in left:
        is_final = False
        while not is_final:
            yield _with_answers(blank, shown, is_final=False)
            result, is_final = yield from _next_answer(steps)
            shown[index] = _shown(result, prompts[index], level, cleaning)
    return _with_answers(blank, shown, is_final=True)


class Answering:
    """An answer that is under way: what one job begins, another may finish.

    Parameters
    ----------
    begin : callable
        Begins a generator as `predict` returns it; called in the worker.

    Attributes
    ----------
    latest : Prediction or None
        The best answer so far; readable from any thread.
    """

    def __init__(
        self, begin: Callable[[], Generator[Prediction | None, None, Prediction]]
    ) -> None:
        self._begin = begin
        self._run: Run[Prediction | None, Prediction] | None = None
        self._is_told = threading.Event()
        self.latest: Prediction | None = None

    def wait(self, seconds: float) -> Prediction | None:
        """Return the best answer so far, waiting at most so long for a first one.

        For another thread than the one that looks for it.
        """
        self._is_told.wait(seconds)
        return self.latest

    def go_on(
        self, known: Prediction | None = None
    ) -> Generator[Prediction | None, None, Prediction]:
        """Go on from where it is; several jobs may, a step each.

        Parameters
        ----------
        known : Prediction, optional
            An answer that need not be told again.

        Yields
        ------
        Prediction or None
            As `predict`.
        """
        if self.latest is not None and self.latest is not known:
            yield self.latest
        while (latest := self.latest) is None or not latest.is_final:
            yield self._step()
        return latest

    def _step(self) -> Prediction | None:
        """Make a step; what it brought if that is not the final answer."""
        if self._run is None:
            self._run = Run(self._begin())
        try:
            goes_on = self._run.advance()
        except Exception:
            # A generator that failed is over: who asks again begins again.
            self._run = None
            raise
        if not goes_on:
            self._tell(self._run.value)
            return None
        answer = self._run.latest
        if answer is not None:
            self._tell(answer)
        return answer

    def _tell(self, answer: Prediction) -> None:
        self.latest = answer
        self._is_told.set()


def _next_answer(
    steps: Generator[MaskResult | None, None, MaskResult],
) -> Generator[None, None, tuple[MaskResult, bool]]:
    """Return the next answer of a procedure, and whether it is its last."""
    run = Run(steps)
    while run.advance():
        if run.latest is not None:
            return run.latest, False
        yield
    return run.value, True


def _with_answers(
    blank: Prediction, shown: Sequence[tuple[MaskResult, Candidate]], *, is_final: bool
) -> Prediction:
    results, candidates = zip(*shown, strict=True) if shown else ((), ())
    return replace(blank, results=results, candidates=candidates, is_final=is_final)


def answer_like(
    encoded: EncodedPlane, prompts: PromptSet, mask: MaskCrop
) -> MaskResult:
    """Return the model's answer that comes closest to a mask, as the default.

    Which of its nested answers a proposal was is not kept with it, and a
    proposal may come from an enlarged crop.  Where no answer to the prompts is
    like the mask, the mask itself is given to the model as well.
    """
    best, overlap = _closest(encoded.predict_prompts(prompts), mask)
    if overlap < _ALIKE:
        other = _closest(encoded.predict_prompts(replace(prompts, mask=mask)), mask)
        best = other[0] if other[1] > overlap else best
    return best


def _closest(result: MaskResult, mask: MaskCrop) -> tuple[MaskResult, float]:
    """Return the result with the answer most like a mask as default, and its IoU."""
    overlaps = [crop_iou(result.crop_of(n), mask) for n in range(len(result.logits))]
    index = int(np.argmax(overlaps))
    return replace(result, default=index), overlaps[index]


def count_corrections(
    prompts: Sequence[PromptSet], last: Prediction | None
) -> tuple[int, ...]:
    """Return, per object, how often its answer was replaced; see `Prediction`.

    An object is known by its prompts, or else by its box; two boxes on a plane
    are two objects.
    """
    if last is None:
        return (0,) * len(prompts)
    before = list(zip(last.prompts, last.corrections, strict=True))
    return tuple(_corrections_of(p, before, len(prompts) == 1) for p in prompts)


def _corrections_of(
    prompts: PromptSet, before: Sequence[tuple[PromptSet, int]], is_alone: bool
) -> int:
    for other, count in before:
        if same_prompts(prompts, other):
            return count
    for other, count in before:
        if prompts.box == other.box or (is_alone and len(before) == 1):
            return count + 1
    return 0


def same_prompts(a: PromptSet, b: PromptSet) -> bool:
    """Whether two prompt sets ask the same."""
    if a.mask is None or b.mask is None or a.points != b.points or a.box != b.box:
        return a == b
    # An outline is filled anew for each request.
    return a.mask.region == b.mask.region and np.array_equal(a.mask.mask, b.mask.mask)


def reselect_level(
    prediction: Prediction, level: MaskLevel, cleaning: PostProcessing
) -> Prediction:
    """Return the same answers at another mask level or with other cleaning.

    Subpart, part and whole are put in order of the masks that are shown: what is
    cleaned away counts for the model's order, but the user does not see it.
    """
    shown = [
        _shown(result, prompts, level, cleaning)
        for prompts, result in zip(prediction.prompts, prediction.results, strict=True)
    ]
    level_of = replace(prediction, level=level)
    return _with_answers(level_of, shown, is_final=prediction.is_final)


def _shown(
    result: MaskResult, prompts: PromptSet, level: MaskLevel, cleaning: PostProcessing
) -> tuple[MaskResult, Candidate]:
    """Return an answer with its levels in order, and its mask at one of them."""
    result, mask = _leveled(result, prompts, level, cleaning)
    # A regression output: the model may be surer than certain.
    score = min(1.0, float(result.predicted_iou[result.index_of(level)]))
    return result, Candidate(mask, score)


def _leveled(
    result: MaskResult, prompts: PromptSet, level: MaskLevel, cleaning: PostProcessing
) -> tuple[MaskResult, MaskCrop]:
    """Return an answer with its levels in order, and its mask at one of them."""

    def cleaned(which: str) -> MaskCrop:
        clicked = [(p.row, p.column) for p in prompts.points if p.positive]
        shape = result.frame.image_size
        return clean(result.crop(which), cleaning, clicked, shape=shape)

    if level not in result.levels:
        return result, cleaned(level)
    masks = [cleaned(which) for which in result.levels]
    order = sorted(range(len(masks)), key=lambda i: masks[i].area)
    return result.reordered(order), masks[order[result.levels.index(level)]]
