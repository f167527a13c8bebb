"""How good a network in training is on objects of encoded planes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.core.masks import crop_iou
from napari_sam.core.metrics import deepest_point, interactive_score, tight_box
from napari_sam.models.sam1.fast_decoder import FastDecoder
from napari_sam.models.sam1.plane import SamPlane

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch

    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.training.adapt.examples import Example, Target
    from napari_sam.types import Embedding

CLICKS = 3


@dataclass(frozen=True, slots=True)
class Scores:
    """Mean IoU with the truth, of the mask that the user gets.

    Parameters
    ----------
    one_click : float
        After one click in the middle.
    three_clicks : float
        After two corrections.
    box : float
        For the tight box.
    """

    one_click: float
    three_clicks: float
    box: float

    @property
    def mean(self) -> float:
        """Mean of the three."""
        return (self.one_click + self.three_clicks + self.box) / 3

    def to_json(self) -> dict[str, float]:
        """Return the figures rounded to four places."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def iter_scores(
    network: SamNetwork,
    embeddings: Sequence[Embedding],
    examples: Sequence[Example],
    targets: Sequence[Target],
    precision: torch.dtype,
) -> Generator[None, None, Scores]:
    """Measure by the protocol of :mod:`napari_sam.core.metrics`.

    Parameters
    ----------
    network : SamNetwork
        With the weights to be measured; they must not change meanwhile.
    embeddings : sequence of Embedding
        Of the examples, by this network's encoder.
    examples : sequence of Example
        Planes and objects.
    targets : sequence of Target
        The objects to segment; at least one.
    precision : torch.dtype
        That of predictions.

    Yields
    ------
    None
        After each object.
    """
    planes = _Planes(network, embeddings, precision)
    rows = []
    for target in targets:
        truth = examples[target.example].objects[target.mask]
        score = interactive_score(
            planes[target.example], truth, n_clicks=CLICKS, feed_logits=True
        )
        rows.append((score.clicks[0], score.clicks[-1], score.box))
        yield
    one, three, box = (float(x) for x in np.mean(rows, axis=0))
    return Scores(one, three, box)


def iter_quick_score(
    network: SamNetwork,
    embeddings: Sequence[Embedding],
    examples: Sequence[Example],
    targets: Sequence[Target],
    precision: torch.dtype,
) -> Generator[None, None, float]:
    """Return the mean IoU for one click and for the box; half the time.

    Parameters and yields are those of `iter_scores`.
    """
    planes = _Planes(network, embeddings, precision)
    values = []
    for target in targets:
        plane = planes[target.example]
        truth = examples[target.example].objects[target.mask]
        click = plane.predict(points=[deepest_point(truth)[:2]])
        yield
        box = plane.predict(box=tight_box(truth))
        values += [crop_iou(r.crop(), truth) for r in (click, box)]
        yield
    return float(np.mean(values))


class _Planes:
    """Encoded planes of a network that is in no file; at most two at a time.

    They answer as those of the model do, without its views of what is small: there
    may be no pixels.
    """

    def __init__(
        self,
        network: SamNetwork,
        embeddings: Sequence[Embedding],
        precision: torch.dtype,
    ) -> None:
        self._decoder = FastDecoder(network, precision)
        self._device = next(network.parameters()).device
        self._blend = network.blend
        self._embeddings = embeddings
        self._ready: dict[int, SamPlane] = {}

    def __getitem__(self, number: int) -> SamPlane:
        if number not in self._ready:
            if len(self._ready) > 1:
                self._ready.clear()
            self._ready[number] = SamPlane(
                self._decoder, self._embeddings[number], self._device, blend=self._blend
            )
        return self._ready[number]
