"""How to learn from a few objects, as one frozen value.

Importing this module loads no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from napari_sam.core.settings import Range, Settings, Share


@dataclass(frozen=True, slots=True)
class AdaptSettings(Settings):
    """How to learn from a few objects.

    Parameters
    ----------
    parts : {"decoder", "decoder+neck"}
        What changes.  With the decoder alone, embeddings stay valid.
    steps : int
        Steps of the optimizer.
    objects : int
        Objects per step.
    side : int
        Cells of the embedding decoded around an object.
    learning_rate : float
        Learning rate of the decoder; the neck's is a fifth of it.
    pull : float
        How strongly weights are drawn back to those of the base, as a part of
        their distance per step at full rate.  This is L2-SP (Li et al. 2018).
    boxes : float
        Share of first prompts that are noisy boxes.
    average : float
        Decay of the moving average of the weights that is kept.
    """

    parts: Literal["decoder", "decoder+neck"] = "decoder"
    steps: Annotated[int, Range(1)] = 120
    objects: Annotated[int, Range(1)] = 8
    side: Annotated[int, Range(8, 64)] = 32
    learning_rate: Annotated[float, Range(0, 1, above=True)] = 1e-4
    pull: Share = 0.002
    boxes: Share = 0.35
    average: Share = 0.95

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, relative: up quickly, then a cosine."""
        rising = min(1.0, (step + 1) / 5)
        return rising * 0.5 * (1 + math.cos(math.pi * step / self.steps))
