"""How to train, as one frozen value that is saved beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from napari_sam.errors import SettingsError

Parts = Literal["all", "decoder", "decoder+neck"]

ROUNDS = (0.20, 0.35, 0.25, 0.20)
"""How likely one, two, three … rounds of answers on an object are."""

_FINE = 0x66
"""Keeps the draw of a step's side apart from those of its crops."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what training does, apart from the data.

    Parameters
    ----------
    steps : int
        Steps of the optimiser.
    seed : int
        Of every random choice: the same seed, data and machine give the same
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
    fine_steps, fine_side, fine_images : int
        The last steps use crops of another side and number: the full frame.
    fine_share : float
        Share of the steps before, drawn at random, that use them too.  Without
        any, the model forgets objects that are larger than the small crops.
    accumulate : int
        Batches whose gradients make one step.
    learning_rate : float
        Of the decoder, at the plateau.
    encoder_rate : float
        Learning rate of the encoder as a fraction of the decoder's.
    head_rate : float
        The same for the head that finds objects.
    weight_decay : float
        AdamW's, on matrices and kernels only.
    clip : float
        Greatest norm of the gradient.
    warmup : int
        Steps over which the learning rate rises.
    cooldown : float
        Fraction of the steps over which it falls to zero.  Up to there nothing
        depends on ``steps``, so that a run can be made longer by resuming it.
    average : float
        Decay of the exponential moving average that is evaluated and kept.
    min_size, max_size : float
        Range of object sizes (square root of the area) in the model's pixels;
        the larger one grows with the side in the fine steps.
    natural : float
        Share of crops at about the scale that the whole image would have.
    boxes : float
        Share of first prompts that are noisy boxes; the others are points.
    recall : float
        How much of the remembered encoder the weights begin with, 0 to 1.
    remember : float
        Weight of the distance from the remembered encoder's embedding, on the
        sources that are remembered: see
        :class:`napari_sam.training.finetune.memory.Memory`.
    keep : float
        How much of the weights it began with the finished ones keep, 0 to 1: see
        :class:`napari_sam.training.finetune.finishing.Finish`.  It changes
        nothing of the training itself.
    score_shift : float
        Added to the scores of the finished weights' answers to a click: see
        :func:`napari_sam.models.sam1.calibration.shift_scores`.  Nor does this.
    """

    steps: int = 2000
    seed: int = 0
    parts: Parts = "all"
    images: int = 4
    prompts: int = 8
    side: int = 448
    fine_steps: int = 0
    fine_side: int = 1024
    fine_images: int = 1
    fine_share: float = 0.0
    accumulate: int = 1
    learning_rate: float = 2e-4
    encoder_rate: float = 0.5
    head_rate: float = 5.0
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 50
    cooldown: float = 0.3
    average: float = 0.99
    min_size: float = 10.0
    max_size: float = 320.0
    natural: float = 0.5
    boxes: float = 0.4
    recall: float = 0.0
    remember: float = 0.0
    keep: float = 0.0
    score_shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "images", "prompts", "accumulate", "fine_images"):
            if getattr(self, name) < 1:
                raise SettingsError(
                    f"{name} is {getattr(self, name)}; it must be at least 1."
                )
        for name in ("side", "fine_side"):
            side = getattr(self, name)
            if side < 64 or side > 1024 or side % 16:
                raise SettingsError(
                    f"{name} is {side}; choose a multiple of 16 from 64 to 1024."
                )
        if not 0 <= self.fine_steps <= self.steps:
            raise SettingsError(
                f"fine_steps is {self.fine_steps}; it must be between 0 and the "
                f"{self.steps} steps."
            )
        if self.parts not in ("all", "decoder", "decoder+neck"):
            raise SettingsError(
                f"parts is {self.parts!r}; choose all, decoder or decoder+neck."
            )
        for name in (
            "fine_share",
            "cooldown",
            "natural",
            "boxes",
            "recall",
            "average",
            "keep",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(
                    f"{name} is {getattr(self, name)}; choose a value from 0 to 1."
                )
        if not abs(self.score_shift) <= 1:
            raise SettingsError(
                f"score_shift is {self.score_shift}; choose a value from -1 to 1."
            )
        if not self.remember >= 0:
            raise SettingsError(
                f"remember is {self.remember}; give 0 or a positive number."
            )
        if self.remember and self.parts == "decoder":
            raise SettingsError(
                f"remember is {self.remember}, but only the decoder is trained and the "
                f"encoder stays as it is; leave it out."
            )
        if not 0 < self.min_size <= self.max_size:
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
        unknown = sorted(value.keys() - {f.name for f in fields(Recipe)})
        if unknown:
            raise SettingsError(
                f"The recipe has no setting called {unknown[0]!r}; take it out."
            )
        return Recipe(**value)
