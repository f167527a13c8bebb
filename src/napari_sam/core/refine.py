"""Correction clicks, one after another, each refining the answer before.

SAM was trained to take its own previous logits together with each new click
(Kirillov et al. 2023, appendix A).  Measured against asking anew with all clicks,
on 1147 objects of nine kinds of images (docs/accuracy.md): mean IoU 0.04 to 0.23
higher after two corrections and 0.03 to 0.29 higher after four.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from napari_sam.core.steps import Run
from napari_sam.types import MaskLevel

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.results import MaskResult, PreviousAnswer
    from napari_sam.types import PromptSet

MOST_ROUNDS = 4
"""Rounds that are worth their time when all clicks come at once."""


def refine(
    plane: EncodedPlane,
    prompts: PromptSet,
    level: MaskLevel = MaskLevel.AUTO,
    known: Mapping[PromptSet, MaskResult] | None = None,
) -> MaskResult:
    """Answer a prompt set as if its points had been clicked one by one.

    Parameters
    ----------
    plane : EncodedPlane
        The encoded image.
    prompts : PromptSet
        Not empty; points in the order of the clicks.  Box and mask count as
        given before the first click.
    level : MaskLevel
        Which of the answers each click refines.
    known : mapping of PromptSet to MaskResult, optional
        Earlier answers.  One to a beginning of these clicks saves the rounds up
        to it; without, all but the last few clicks make up the first round.

    Returns
    -------
    MaskResult
        The answer after the last click.

    Raises
    ------
    PromptError
        If a prompt is unusable.
    """
    result, stages = _rounds(prompts, known)
    for stage in stages:
        result = plane.predict_prompts(stage, _earlier(result, level))
    # There was an answer to begin with, or a round.
    return cast("MaskResult", result)


def iter_refine(
    plane: EncodedPlane,
    prompts: PromptSet,
    level: MaskLevel = MaskLevel.AUTO,
    known: Mapping[PromptSet, MaskResult] | None = None,
) -> Generator[MaskResult | None, None, MaskResult]:
    """Answer a prompt set in short steps, with what is known at once.

    As :func:`refine`, whose result it returns.

    Yields
    ------
    MaskResult or None
        Preliminary answers to all clicks, each better than the last one; the first
        before anything is encoded that takes a while.
    """
    result, stages = _rounds(prompts, known)
    is_told = False
    for number, stage in enumerate(stages):
        run = Run(plane.iter_prompts(stage, _earlier(result, level)))
        later = stages[number + 1 :]
        while run.advance():
            step = run.latest
            if step is None:
                yield None
            elif not later:
                yield step
            elif not is_told:
                # Of the clicks that follow, what can be said without waiting either.
                is_told = True
                yield _outlook(plane, later, level, step)
        result = run.value
    # There was an answer to begin with, or a round.
    return cast("MaskResult", result)


def _rounds(
    prompts: PromptSet, known: Mapping[PromptSet, MaskResult] | None
) -> tuple[MaskResult | None, list[PromptSet]]:
    """Return the answer to begin with, and the prompts of the rounds after it."""
    count = len(prompts.points)
    stages = [replace(prompts, points=prompts.points[:n]) for n in range(count + 1)]
    usable = [n for n, stage in enumerate(stages) if not stage.is_empty]
    for n in reversed(usable):
        if known is not None and stages[n] in known:
            return known[stages[n]], stages[n + 1 :]
    first = usable[0] if usable else count
    # A click together with a box is one prompt, not a correction of it.
    return None, stages[min(count, max(first, count - MOST_ROUNDS + 1, 1)) :]


def _earlier(result: MaskResult | None, level: MaskLevel) -> PreviousAnswer | None:
    # Of a mask prompt, the logits leave only its box to be used.
    return None if result is None else result.earlier(level)


def _outlook(
    plane: EncodedPlane,
    stages: Sequence[PromptSet],
    level: MaskLevel,
    result: MaskResult,
) -> MaskResult:
    """Return the first that can be said after some more rounds."""
    for stage in stages:
        steps = plane.iter_prompts(stage, result.earlier(level))
        run = Run(steps)
        while run.advance():
            if run.latest is not None:
                result = run.latest
                break
        else:
            result = run.value
        steps.close()
    return result
