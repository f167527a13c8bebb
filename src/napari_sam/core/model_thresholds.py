"""Thresholds on a model's own scores, which say when to believe it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from napari_sam.core.settings import Settings, Share
from napari_sam.errors import ModelError, SettingsError


@dataclass(frozen=True, slots=True)
class ModelThresholds(Settings):
    """Thresholds that suit one model's scores; they come with its weights.

    The defaults of a grid are those of the reference implementation of SAM.

    Parameters
    ----------
    grid_score, grid_stability : float
        Predicted IoU that a mask must exceed, and stability it must have, to be
        proposed, where the model is asked on a grid: most points hit no object.
    grid_floor : float
        Of both, below which nothing is kept.
    score, stability, floor : float
        The same where the model is asked on objects that it sees: they need no
        proof that there is something, only a mask.
    center : float
        Lowest probability of an object's center at which it is asked.
    foreground : float
        Lowest probability of foreground, on average over a mask found there.
    confident_score, confident_stability : float
        Below these nothing is written before a person has looked.
    """

    grid_score: Share = 0.88
    grid_stability: Share = 0.95
    grid_floor: Share = 0.6
    score: Share = 0.6
    stability: Share = 0.8
    floor: Share = 0.3
    center: Share = 0.2
    foreground: Share = 0.5
    confident_score: Share = 0.88
    confident_stability: Share = 0.95

    def limits(self, on_objects: bool) -> tuple[float, float, float]:
        """Return predicted IoU, stability, and the floor of both.

        Parameters
        ----------
        on_objects : bool
            Where the model is asked on objects that it sees, else on a grid.
        """
        if on_objects:
            return self.score, self.stability, self.floor
        return self.grid_score, self.grid_stability, self.grid_floor

    def to_text(self) -> str:
        """Return them as they are kept in a weights file, JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str, name: str) -> ModelThresholds:
        """Return what a weights file says.

        Parameters
        ----------
        text : str
            JSON; what it does not name has its default.
        name : str
            Of the file, for the error.

        Raises
        ------
        ModelError
            If a threshold is unknown or no number from 0 to 1.
        """
        try:
            given = json.loads(text)
            if not isinstance(given, dict):
                raise TypeError(f"{text!r} is no table")
            # As files had it that were made before; ours among them.
            if "centre" in given:
                given.setdefault("center", given.pop("centre"))
            return cls(**given)
        except (ValueError, TypeError, RecursionError, SettingsError) as error:
            reason = " ".join(str(error).split()).rstrip(".")[:200]
            raise ModelError(
                f"{name} has thresholds that cannot be used ({reason}); get the file "
                f"again."
            ) from error
