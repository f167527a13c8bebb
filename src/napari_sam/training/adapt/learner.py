"""The weights that adaptation changes, and the steps that change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from napari_sam.training.adapt.neck import through_neck
from napari_sam.training.adapt.windows import cut, make_batch, window_side
from napari_sam.training.interactive import backward_from

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.training.adapt.examples import Example, Target
    from napari_sam.training.adapt.settings import AdaptSettings
    from napari_sam.training.adapt.windows import Window

StateDict = dict[str, Tensor]

_NECK = "image_encoder.neck."
_TRAINED = ("mask_decoder.", "prompt_encoder.")
_AT_ONCE = 4
"""Objects decoded between two yields: a fraction of a second on one core."""


class Learner:
    """A network in training on windows of embeddings.

    Parameters
    ----------
    network : SamNetwork
        In float32 without a head; it is changed in place.
    examples : sequence of Example
        Planes and objects.
    features : sequence of tensor
        What windows are cut from: embeddings, or what goes into the neck.
    targets : sequence of Target
        The objects to learn from.
    settings : AdaptSettings
        How.
    precision : torch.dtype
        Of the arithmetic; weights stay float32.
    seed : int
        Of everything random.
    """

    def __init__(
        self,
        network: SamNetwork,
        examples: Sequence[Example],
        features: Sequence[Tensor],
        targets: Sequence[Target],
        settings: AdaptSettings,
        precision: torch.dtype,
        seed: int,
    ) -> None:
        self.network = network
        self.settings = settings
        self._examples = examples
        self._features = features
        self._precision = precision
        self._rng = np.random.default_rng([seed, 1])
        self._queue: dict[int, list[Target]] = {}
        self._groups: dict[int, list[Target]] = {}
        for target in targets:
            example = examples[target.example]
            mask, frame = example.objects[target.mask], example.embedding.frame
            side = window_side(mask, frame, settings.side)
            self._groups.setdefault(side, []).append(target)
        prefixes = _TRAINED if settings.parts == "decoder" else (*_TRAINED, _NECK)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith(prefixes))
        self.trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.base = {n: p.detach().clone() for n, p in self.trained.items()}
        self.average = {n: p.detach().clone() for n, p in self.trained.items()}
        neck = [p for n, p in self.trained.items() if n.startswith(_NECK)]
        others = [p for n, p in self.trained.items() if not n.startswith(_NECK)]
        self._optimizer = torch.optim.AdamW(
            [{"params": others, "factor": 1.0}]
            + ([{"params": neck, "factor": 0.2}] if neck else []),
            betas=(0.9, 0.98),
            weight_decay=0.0,
        )
        self.step = 0

    def iter_step(self) -> Generator[float, None, None]:
        """Make one step, pausing after every few objects.

        Yields
        ------
        float
            Loss of the objects just decoded.
        """
        rounds = -(-self.settings.objects // _AT_ONCE)
        for _ in range(rounds):
            side, targets = self._draw()
            batch, windows = make_batch(
                self._rng, targets, self._examples, side, self.settings.boxes
            )
            with torch.enable_grad():
                embedding = self._embed(windows)
                figures, gradient = backward_from(
                    self.network,
                    embedding,
                    batch,
                    device=embedding.device,
                    precision=self._precision,
                    share=1 / rounds,
                )
                if embedding.requires_grad:
                    torch.autograd.backward(embedding, gradient)
            yield figures.loss
        self._apply()

    def _draw(self) -> tuple[int, list[Target]]:
        """Return the next few objects that need windows of one size."""
        sides = list(self._groups)
        counts = np.array([len(self._groups[s]) for s in sides], float)
        side = sides[int(self._rng.choice(len(sides), p=counts / counts.sum()))]
        queue = self._queue.setdefault(side, [])
        # Whole-frame windows cost four times as much.
        count = _AT_ONCE if side <= self.settings.side else 1
        while len(queue) < count:
            group = self._groups[side]
            queue += [group[i] for i in self._rng.permutation(len(group))]
        taken, self._queue[side] = queue[:count], queue[count:]
        return side, taken

    def _embed(self, windows: Sequence[Window]) -> Tensor:
        if self.settings.parts == "decoder":
            return cut(self._features, windows)
        neck = self.network.image_encoder.neck
        return torch.cat(
            [through_neck(neck, self._features[w.example], w) for w in windows]
        )

    def _apply(self) -> None:
        settings = self.settings
        nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        rate = settings.rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * group["factor"] * rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(settings.average, self.step / (self.step + 4))
        with torch.no_grad():
            for name, value in self.trained.items():
                value.lerp_(self.base[name], settings.pull * rate)
                self.average[name].lerp_(value, 1 - decay)

    def mixed(self, share: float) -> StateDict:
        """Return the averaged weights, moved towards the base's, as float16 has them.

        Parameters
        ----------
        share : float
            1 for the average, 0 for the base.
        """
        mixed = {n: torch.lerp(self.base[n], v, share) for n, v in self.average.items()}
        # What is measured is what a file of half precision will hold.
        return {n: v.half().float() for n, v in mixed.items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put weights into the network."""
        with torch.no_grad():
            for name, value in weights.items():
                self.trained[name].copy_(value)
