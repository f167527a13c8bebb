"""Correction clicks, one after another, each refining the answer before.

SAM was trained to take its own previous logits together with each new click
(Kirillov et al. 2023, appendix A).  Measured against asking anew with all clicks,
on 1147 objects of nine kinds of images (docs/accuracy.md): mean IoU 0.04 to 0.23
higher after two corrections and 0.03 to 0.29 higher after four.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam.types import MaskLevel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.results import MaskResult
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
    count = len(prompts.points)
    stages = [replace(prompts, points=prompts.points[:n]) for n in range(count + 1)]
    usable = [n for n, stage in enumerate(stages) if not stage.is_empty]
    found = [n for n in usable if known is not None and stages[n] in known]
    if found and known is not None:
        done = found[-1]
        result = known[stages[done]]
    else:
        first = usable[0] if usable else count
        # A click together with a box is one prompt, not a correction of it.
        done = min(count, max(first, count - MOST_ROUNDS + 1, 1))
        result = plane.predict_prompts(stages[done])
    for stage in stages[done + 1 :]:
        # Of a mask prompt, the logits leave only its box to be used.
        result = plane.predict_prompts(stage, result.earlier(level))
    return result
