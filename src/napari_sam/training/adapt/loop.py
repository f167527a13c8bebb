"""Learn from a few objects of somebody's own images, in a minute or two.

Only what follows the image encoder changes, so cached embeddings are all that
is needed: no image is encoded.  The steps are those of full training
(:mod:`napari_sam.training.interactive`) on windows of the embedding.  So that
other kinds of objects are not lost, weights are drawn back to the base's
(L2-SP: Li et al., "Explicit Inductive Bias for Transfer Learning with
Convolutional Networks", ICML 2018), averaged over the steps, and mixed with the
base's (WiSE-FT: Wortsman et al., "Robust fine-tuning of zero-shot models",
CVPR 2022) in the proportion that does best on objects which teach nothing.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from napari_sam.core.steps import mapped
from napari_sam.core.stopwatch import Stopwatch, format_duration
from napari_sam.errors import ModelError
from napari_sam.models.devices import resolve_device, resolve_dtype
from napari_sam.models.registry import find_model
from napari_sam.models.sam1.checkpoint import (
    SamNetwork,
    encoder_fingerprint,
    load_network,
)
from napari_sam.models.torch_errors import translated_errors
from napari_sam.training.adapt.adapted import Adapted, Base
from napari_sam.training.adapt.examples import Example, Split, split
from napari_sam.training.adapt.learner import Learner
from napari_sam.training.adapt.measure import Scores, iter_quick_score, iter_scores
from napari_sam.training.adapt.neck import embeddings, iter_inputs, pixels
from napari_sam.training.adapt.settings import AdaptSettings
from napari_sam.types import Embedding, Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from torch import Tensor


T = TypeVar("T")

__all__ = ["Adapted", "Example", "Scores", "iter_adapt"]

_GUIDES = 5
_MOST_TESTED = 20
_MOST_VALIDATION = 8
_SHARES = (1.0, 0.6, 0.3)
"""Mixtures of new and old weights that are tried, the newest first."""

# What things cost, in decoded prompts, to tell the time left.
_TEST_COST = 4
_VALIDATION_COST = 1
_STEP_COST = 30

_SOON = 2.0
"""Seconds before which the time left is anybody's guess."""


def iter_adapt(
    base: SamNetwork | str | Path,
    examples: Sequence[Example],
    settings: AdaptSettings | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
) -> Generator[Progress, None, Adapted]:
    """Adapt a model to objects; yield progress, return the result.

    Each step takes a fraction of a second.  Closing the generator cancels:
    nothing has been changed or written.

    Parameters
    ----------
    base : str, Path or SamNetwork
        A model's name or file, or a network in float32; it is left as it is.
    examples : sequence of Example
        Encoded planes and objects on them, at least five objects in all.
    settings : AdaptSettings, optional
        How.
    seed : int
        Of which objects are kept aside and of all else that is random.
    device, dtype : str
        As for :func:`napari_sam.load_model`; figures are measured at this
        precision.

    Yields
    ------
    Progress
        With the time left in its text.

    Returns
    -------
    Adapted
        The new model with its figures, whether they are better or not.

    Raises
    ------
    DataError
        If there are fewer than five usable objects.
    ModelError
        If the base cannot be loaded, embeddings are another model's, or the
        device fails.
    """
    settings = settings or AdaptSettings()
    chosen = split(examples, seed, _GUIDES)
    place = resolve_device(device)
    precision = resolve_dtype(dtype, place)
    with translated_errors("adapt the model", str(place)):
        return (
            yield from _Adaptation(
                base, examples, chosen, settings, seed, place, precision
            ).iter_run()
        )


class _Adaptation:
    """One run: what it works on, and its stages in order."""

    def __init__(
        self,
        base: SamNetwork | str | Path,
        examples: Sequence[Example],
        chosen: Split,
        settings: AdaptSettings,
        seed: int,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self._examples = examples
        self._test = chosen.test[:_MOST_TESTED]
        self._validation = chosen.validation[:_MOST_VALIDATION]
        self._chosen = chosen
        self._settings = settings
        self._seed = seed
        self._device = device
        self._precision = precision
        self._with_neck = settings.parts == "decoder+neck"
        self.network, self._base = _loaded(base)
        self._check_embeddings()
        self.network.to(device)
        # The head would need planes without a gap in their labels.
        self._head, self.network.prompt_head = self.network.prompt_head, None
        self._inputs: list[Tensor] = []
        self._clock = _Clock(self._total())

    def _check_embeddings(self) -> None:
        for example in self._examples:
            if self._with_neck:
                pixels(example)
            if example.embedding.model != self._base.encoder:
                raise ModelError(
                    f"The embedding of {example.name or 'a plane'} is not by "
                    f"{self._base.name}; encode the image with the model that is to "
                    f"be adapted."
                )

    def _total(self) -> int:
        measuring = 2 * _TEST_COST * len(self._test)
        choosing = 2 * _VALIDATION_COST * len(self._validation) * (len(_SHARES) + 1)
        return measuring + choosing + _STEP_COST * self._settings.steps

    def iter_run(self) -> Generator[Progress, None, Adapted]:
        """Measure, learn, choose, measure again."""
        clock = self._clock
        yield clock.progress("starting")
        if self._with_neck:
            steps = iter_inputs(
                self.network, self._examples, self._device, self._precision
            )
            self._inputs = yield from clock.over(steps, "encoding up to the neck", 0)
        before = yield from self._iter_measure("measuring before")
        learner = self._learner()
        for number in range(self._settings.steps):
            text = f"learning, step {number + 1} of {self._settings.steps}"
            yield from clock.over(learner.iter_step(), text, 0)
            clock.advance(_STEP_COST)
        yield from self._iter_choose(learner)
        after = yield from self._iter_measure("measuring after")
        return self._result(learner, before, after, clock.elapsed)

    def _learner(self) -> Learner:
        features = self._inputs or [
            torch.from_numpy(e.embedding.features).to(self._device)
            for e in self._examples
        ]
        return Learner(
            self.network,
            self._examples,
            features,
            self._chosen.train,
            self._settings,
            self._precision,
            self._seed,
        )

    def _embeddings(self) -> list[Embedding]:
        if not self._with_neck:
            return [e.embedding for e in self._examples]
        return embeddings(self.network, self._inputs, self._examples, self._precision)

    def _iter_measure(self, text: str) -> Generator[Progress, None, Scores]:
        scores = iter_scores(
            self.network,
            self._embeddings(),
            self._examples,
            self._test,
            self._precision,
        )
        return (yield from self._clock.over(scores, text, _TEST_COST))

    def _iter_choose(self, learner: Learner) -> Generator[Progress, None, None]:
        """Leave the best mixture of old and new weights in the network."""
        best, most = learner.mixed(_SHARES[0]), -1.0
        for share in (*_SHARES, 0.0) if self._validation else ():
            weights = learner.mixed(share)
            learner.load(weights)
            score = yield from self._clock.over(
                iter_quick_score(
                    self.network,
                    self._embeddings(),
                    self._examples,
                    self._validation,
                    self._precision,
                ),
                "choosing",
                _VALIDATION_COST,
            )
            if score > most:
                best, most = weights, score
        learner.load(best)

    def _result(
        self, learner: Learner, before: Scores, after: Scores, seconds: float
    ) -> Adapted:
        network = self.network.cpu().eval().requires_grad_(False)
        network.prompt_head = self._head
        return Adapted(
            network,
            tuple(learner.trained),
            self._base,
            before,
            after,
            self._chosen.n_train,
            self._chosen.n_test,
            len({t.example for t in (*self._chosen.train, *self._chosen.validation)}),
            tuple(dict.fromkeys(e.name for e in self._examples)),
            self._settings,
            self._seed,
            seconds,
        )


def _loaded(base: SamNetwork | str | Path) -> tuple[SamNetwork, Base]:
    """Return a copy of the network to train, and what is known of it."""
    if isinstance(base, SamNetwork):
        network, name, licence = copy.deepcopy(base), base.architecture, "unknown"
    else:
        spec = find_model(base)
        network, name, licence = load_network(spec.path), spec.name, spec.licence
    return network.float(), Base(name, licence, encoder_fingerprint(network))


class _Clock(Stopwatch):
    """How far the work is, and how long the rest will take.

    Parameters
    ----------
    total : int
        The cost of all work.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total
        self._done = 0

    def advance(self, cost: int) -> None:
        """Note that something has been done."""
        self._done = min(self._total, self._done + cost)

    def progress(self, text: str) -> Progress:
        """Return where the work is now."""
        left = self.seconds_left(self._done, self._total)
        if left is not None and self.elapsed > _SOON:
            text = f"{text}, about {format_duration(left)} left"
        return Progress(self._done, self._total, text)

    def over(
        self, steps: Generator[Any, None, T], text: str, cost: int
    ) -> Generator[Progress, None, T]:
        """Pass a generator on as progress, each of its steps at this cost."""

        def told(_: object) -> Progress:
            self.advance(cost)
            return self.progress(text)

        return mapped(steps, told)
