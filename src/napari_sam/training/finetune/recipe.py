"""How to train, as one frozen value that is saved beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np

from napari_sam.core.names import check_names
from napari_sam.core.settings import Range, Settings, Share
from napari_sam.errors import SettingsError

Parts = Literal["all", "decoder", "decoder+neck"]

ROUNDS = (0.20, 0.35, 0.25, 0.20)
"""How likely one, two, three … rounds of answers on an object are."""

_FINE = 0x66
"""Keeps the draw of a step's side apart from those of its crops."""


@dataclass(frozen=True, slots=True)
class Recipe(Settings):
    """Everything that decides what training does, apart from the data.

    Parameters
    ----------
    steps : int
        Steps of the optimizer.
    seed : int
        Seed of every random choice.  The same seed, data and machine give the same
        weights.
    parts : {"all", "decoder", "decoder+neck"}
        What is trained.  ``decoder`` includes the prompt encoder and the head
        that finds objects.
    images : int
        Crops per step and process.
    prompts : int
        Objects per crop.
    side : int
        Side of a crop in the model's pixels, a multiple of 16.  Multiples of
        112 waste nothing in TinyViT's windows.
    fine_steps : int
        Last steps, on crops of another side and number: the full frame.
    fine_side : int
        Side of a crop then.
    fine_images : int
        Crops per step then.
    fine_share : float
        Share of the steps before, drawn at random, that use those crops too.  Without
        any, the model forgets objects that are larger than the small crops.
    accumulate : int
        Batches whose gradients make one step.
    learning_rate : float
        Learning rate of the decoder, at the plateau.
    encoder_rate : float
        Learning rate of the encoder as a fraction of the decoder's.
    head_rate : float
        Learning rate of the head that finds objects, as such a fraction.
    weight_decay : float
        Weight decay of the optimizer, on matrices and kernels only.
    clip : float
        Greatest norm of the gradient.
    warmup : int
        Steps over which the learning rate rises.
    cooldown : float
        Last part of the steps, over which the learning rate falls to zero.  Up to
        there nothing depends on ``steps``, so that a run can be made longer by
        resuming it.
    average : float
        Decay of the exponential moving average that is evaluated and kept.
    min_size : float
        Smallest objects, by the square root of their area in the model's pixels.
    max_size : float
        Largest objects, by the same measure.  It grows with the side in the fine
        steps.
    natural : float
        Share of crops at about the scale that the whole image would have.
    boxes : float
        Share of first prompts that are noisy boxes, not points.
    recall : float
        Share of the remembered encoder in the weights that the run begins with.
    remember : float
        Weight of the distance from the remembered encoder's embedding, on the
        sources that are remembered.  See
        :class:`napari_sam.training.finetune.memory.Memory`.
    keep : float
        Share of the weights it began with that the result keeps.  See
        :class:`napari_sam.training.finetune.finishing.Finish`.  It changes
        nothing of the training itself.
    score_shift : float
        Value added to the scores of the result's answers to a click.  See
        :func:`napari_sam.models.sam1.calibration.shift_scores`.  Nor does this.
    """

    steps: Annotated[int, Range(1)] = 2000
    seed: Annotated[int, Range(0)] = 0
    parts: Parts = "all"
    images: Annotated[int, Range(1)] = 4
    prompts: Annotated[int, Range(1)] = 8
    side: Annotated[int, Range(64, 1024, step=16)] = 448
    fine_steps: Annotated[int, Range(0)] = 0
    fine_side: Annotated[int, Range(64, 1024, step=16)] = 1024
    fine_images: Annotated[int, Range(1)] = 1
    fine_share: Share = 0.0
    accumulate: Annotated[int, Range(1)] = 1
    learning_rate: float = 2e-4
    encoder_rate: float = 0.5
    head_rate: float = 5.0
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 50
    cooldown: Share = 0.3
    average: Share = 0.99
    min_size: Annotated[float, Range(0, above=True)] = 10.0
    max_size: Annotated[float, Range(0, above=True)] = 320.0
    natural: Share = 0.5
    boxes: Share = 0.4
    recall: Share = 0.0
    remember: Annotated[float, Range(0)] = 0.0
    keep: Share = 0.0
    score_shift: Annotated[float, Range(-1, 1)] = 0.0

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.fine_steps > self.steps:
            raise SettingsError(
                f"fine_steps is {self.fine_steps}; it must be between 0 and the "
                f"{self.steps} steps."
            )
        if self.remember and self.parts == "decoder":
            raise SettingsError(
                f"remember is {self.remember}, but only the decoder is trained and the "
                f"encoder stays as it is; leave it out."
            )
        if self.min_size > self.max_size:
            raise SettingsError(
                f"Object sizes {self.min_size} to {self.max_size} are no range; give "
                f"the smaller one first."
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step as a fraction of the plateau's."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        length = max(1, round(self.steps * self.cooldown))
        falling = min(1.0, (self.steps - step) / length)
        return min(rising, falling)

    def is_fine(self, step: int) -> bool:
        """Whether a step uses the fine side."""
        if step >= self.steps - self.fine_steps:
            return True
        # Drawn from seed and step alone: the same in every process, and resumed.
        draw = np.random.default_rng((self.seed, step, _FINE)).random()
        return bool(draw < self.fine_share)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain values."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Recipe:
        """Rebuild a recipe; unknown entries are refused."""
        check_names(value, [f.name for f in fields(Recipe)])
        return Recipe(**value)
