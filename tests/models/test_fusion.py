"""One answer of several views, against brute force on views of which all is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.core.views import View
from napari_sam.models.sam1.fusion import Answer, Fusion, Question
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.types import Frame, Region

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE = 12
"""Cells of a view, and of the whole plane: 8 pixels of it to a cell."""
WHOLE = View(Region(0, 0, 96, 96), Frame((96, 96), (48, 48), 48))
BLEND = MultimaskEnsemble()


@dataclass(frozen=True)
class Seen:
    """What a view shows: a square of some cells, and how sure the model is."""

    view: View
    first: int
    last: int
    iou: float
    is_cut: bool

    @property
    def logits(self) -> torch.Tensor:
        logits = torch.full((1, 4, SIDE, SIDE), -4.0)
        logits[:, :, self.first : self.last + 1, self.first : self.last + 1] = 4.0
        return logits

    @property
    def scores(self) -> torch.Tensor:
        return torch.full((1, 4), self.iou)


@dataclass
class Planned:
    """Views of a plane that are planned beforehand, and what was done with them."""

    around_prompts: list[Seen]
    closer: Seen | None
    encoded: set[View] = field(default_factory=set)
    asked_with_mask: dict[View, bool] = field(default_factory=dict)

    whole = WHOLE

    def of_prompts(self, *_: Any) -> list[View]:
        return [seen.view for seen in self.around_prompts]

    def of_object(self, *_: Any) -> View | None:
        return None if self.closer is None else self.closer.view

    def decode(self, view: View, xy: Any, labels: Any, mask: Any = None) -> Any:
        assert view in self.encoded
        self.asked_with_mask[view] = mask is not None
        seen = self._seen(view)
        return seen.logits, seen.scores, xy

    def holds_all(self, view: View, answer: torch.Tensor) -> bool:
        return not self._seen(view).is_cut

    def holds_prompts(self, *_: Any) -> bool:
        return True

    def moved(self, logits: torch.Tensor, source: View, view: View) -> torch.Tensor:
        return logits

    def put_back(self, view: View, closer: Any, answer: Any = None) -> torch.Tensor:
        return closer

    def shown(self, view: View) -> View:
        return view

    def is_encoded(self, view: View) -> bool:
        return view in self.encoded

    def iter_encode(self, view: View) -> Iterator[None]:
        yield
        yield
        self.encoded.add(view)

    def _seen(self, view: View) -> Seen:
        closer = [] if self.closer is None else [self.closer]
        return next(s for s in [*self.around_prompts, *closer] if s.view == view)


def view(number: int) -> View:
    region = Region(number, number, number + 24, number + 24)
    return View(region, Frame(region.shape, (48, 48), 48))


@st.composite
def seen(draw: Any, number: int) -> Seen:
    first = draw(st.integers(0, 5))
    return Seen(
        view(number),
        first,
        draw(st.integers(first, 9)),
        draw(st.sampled_from([0.2, 0.5, 0.7, 0.8, 0.9])),
        draw(st.booleans()),
    )


@st.composite
def cases(draw: Any) -> tuple[Planned, Seen]:
    count = draw(st.integers(0, 3))
    around = [draw(seen(n + 1)) for n in range(count)]
    closer = draw(st.none() | seen(10))
    whole = draw(seen(0))
    return Planned(around, closer), Seen(WHOLE, *_values(whole))


def _values(s: Seen) -> tuple[int, int, float, bool]:
    return s.first, s.last, s.iou, s.is_cut


def question(whole: Seen, kind: str) -> Question:
    corner = whole.first * 4 + 2.0
    if kind == "box":
        xy = torch.tensor([[[corner, corner], [corner + 20, corner + 20]]])
        labels = torch.tensor([[TokenLabel.BOX_START, TokenLabel.BOX_END]])
    else:
        xy = torch.tensor([[[corner, corner], [0.0, 0.0]]])
        labels = torch.tensor([[TokenLabel.POSITIVE, TokenLabel.PADDING]])
    return Question(
        xy, labels, kind == "click", kind == "correction", whole.logits, whole.scores
    )


def by_hand(planned: Planned, whole: Seen, kind: str) -> tuple[Seen, bool]:
    """Return what is to be answered from, and whether a closer look joins it."""
    best = whole
    for one in planned.around_prompts if kind != "correction" else ():
        if not one.is_cut and (kind == "box" or one.iou > best.iou):
            best = one
    stays = kind == "click" and best is whole
    return best, planned.closer is not None and not stays


@given(cases(), st.sampled_from(["click", "box", "correction"]))
@settings(max_examples=300, deadline=None)
def test_the_answer_is_the_one_found_by_hand(
    case: tuple[Planned, Seen], kind: str
) -> None:
    planned, whole = case
    told, answer = stepped(planned, question(whole, kind))
    best, is_joined = by_hand(planned, whole, kind)
    expected = best.logits[0, 0]
    if is_joined:
        assert planned.closer is not None
        expected = (expected + planned.closer.logits[0, 0]) / 2
        assert planned.asked_with_mask[planned.closer.view]
    assert torch.equal(answer.logits[0] > 0, expected > 0)
    # A score is compared with others of its kind only: it stays that of the first look.
    assert float(answer.iou[0]) == pytest.approx(best.iou, abs=0.01)
    assert (answer.detail is None) == (best is whole and not is_joined)
    if answer.detail is not None:
        at = planned.closer if is_joined else best
        assert at is not None
        assert answer.detail.view == at.view
    # Each preliminary answer to a click is believed more than the last one.
    scores = [float(a.iou[0]) for a in told]
    if kind == "click":
        assert scores == sorted(set(scores))


@given(cases(), st.sampled_from(["click", "box", "correction"]))
@settings(max_examples=100, deadline=None)
def test_at_once_in_steps_and_with_everything_encoded_it_is_the_same(
    case: tuple[Planned, Seen], kind: str
) -> None:
    planned, whole = case
    asked = question(whole, kind)
    told, answer = stepped(planned, asked)
    needed = bool(planned.asked_with_mask)
    assert bool(told) == needed
    again, encoded = stepped(planned, asked)
    assert again == []
    for other in (encoded, Fusion(BLEND, planned).answers([asked, asked])[1]):
        assert torch.equal(other.logits, answer.logits)
        assert torch.equal(other.iou, answer.iou)
        assert (other.detail is None) == (answer.detail is None)
        if other.detail is not None and answer.detail is not None:
            assert np.array_equal(other.detail.logits, answer.detail.logits)


def stepped(planned: Planned, asked: Question) -> tuple[list[Answer], Answer]:
    """Return the preliminary answers and the last one."""
    steps = Fusion(BLEND, planned).iter_answer(asked)
    told = []
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return told, end.value
        if step is not None:
            told.append(step)
