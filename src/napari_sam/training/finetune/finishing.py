"""Turn the weights of a training run into a model that users get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_sam.core.metrics import choose_objects, deepest_point, object_mask
from napari_sam.errors import ModelError
from napari_sam.models.sam1.calibration import logit_factor, scale_logits, shift_scores
from napari_sam.models.sam1.checkpoint import save_network
from napari_sam.models.sam1.sam import SamModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from napari_sam.core.model import EncodedPlane
    from napari_sam.training.data.crops import SampleGroup
    from napari_sam.training.finetune.state import TrainingState

_IMAGES = 12
_OBJECTS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """How the weights of a run become those of a model.

    They are moved towards the weights the run began with, which keeps more of what
    these could do (WiSE-FT: Wortsman et al., "Robust fine-tuning of zero-shot
    models", CVPR 2022), and their logits get the scale of SAM's.

    Parameters
    ----------
    base : mapping of str to Tensor
        The weights the run began with.  What they lack, such as a new head that
        finds objects, is taken as it was trained.
    keep : float
        Share of the base, 0 to 1.
    groups : tuple of SampleGroup
        Images on which the scale is measured: about a dozen of all groups.
    metadata : mapping of str to str
        What the file says about itself.
    device : str
        Where to measure.
    score_shift : float
        Added to the scores of answers to a click.
    """

    base: Mapping[str, Tensor]
    keep: float
    groups: tuple[SampleGroup, ...]
    metadata: Mapping[str, str]
    device: str = "auto"
    score_shift: float = 0.0

    def write(self, state: TrainingState, path: Path) -> None:
        """Write a model; the network that is being trained is left alone.

        Raises
        ------
        FileFormatError
            If the file cannot be written.
        """
        network = state.network
        trained = {k: v.clone() for k, v in network.state_dict().items()}
        was_training = network.training
        network.load_state_dict(self._mixed(state.averaged()))
        texts = {**self.metadata, "step": str(state.step)}
        try:
            save_network(network, path, texts)
            factor = self._factor(path)
            scale_logits(network, factor)
            shift_scores(network, self.score_shift)
            texts |= {
                "logit_scale": f"{factor:.3f}",
                "score_shift": f"{self.score_shift:g}",
            }
            save_network(network, path, texts)
        finally:
            network.load_state_dict(trained)
            network.train(was_training)

    def _mixed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: torch.lerp(value, self.base[name].to(value), self.keep)
            if name in self.base and value.is_floating_point()
            else value
            for name, value in weights.items()
        }

    def _factor(self, path: Path) -> float:
        # In the precision that the weights have everywhere: with half of it the
        # median of few masks may be another one, and the factor with it.
        model = SamModel.from_file(path, device=self.device, dtype="float32")
        try:
            return logit_factor(self._examples(model))
        except ModelError:  # too fresh to answer at all
            return 1.0

    def _examples(
        self, model: SamModel
    ) -> Iterator[tuple[EncodedPlane, npt.ArrayLike]]:
        number = max(1, _IMAGES // len(self.groups))
        for group in self.groups:
            for sample in group.samples[:: max(1, len(group.samples) // number)]:
                objects = choose_objects(sample.labels, max_objects=_OBJECTS)
                points = [
                    deepest_point(object_mask(sample.labels, label))[:2]
                    for label in objects
                ]
                if points:
                    yield model.encode_rgb(sample.rgb), points
