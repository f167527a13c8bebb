"""One answer of what a model sees in several views of a plane.

A model that blends its masks answers in the whole plane.  Clicks are also asked in
views of several scales that show more of it, each by itself, and the answer that the
model believes most is taken; in a plane that is larger than the input a box, which
says how large its object is, in the view that suits it.  A small object is looked at
once more in the view that shows it as large as is best, with the answer as a mask
prompt, and both answers count alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from napari_sam.core.results import HighResLogits
from napari_sam.core.steps import Run
from napari_sam.models.sam1.multimask_ensemble import ignored_clicks
from napari_sam.models.sam1.prompt_encoder import TokenLabel
from napari_sam.models.sam1.together import together

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

    from napari_sam.core.views import View
    from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
    from napari_sam.models.sam1.view_encoder import PlaneViews


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One object's prompts, and the model's masks of it in the whole plane.

    Parameters
    ----------
    xy : float tensor (1, T, 2)
        Prompt tokens in pixels of the model's input.
    labels : int tensor (1, T)
        Their kinds.
    is_click : bool
        Whether they are one click and nothing else.
    refines : bool
        Whether there was a mask prompt, an earlier answer or a rough mask.
    logits : float32 tensor (1, 4, h, w)
        The masks.
    iou : float32 tensor (1, 4)
        Their predicted IoU.
    before : HighResLogits, optional
        The earlier answer, where it was found in a view alone.
    """

    xy: Tensor
    labels: Tensor
    is_click: bool
    refines: bool
    logits: Tensor
    iou: Tensor
    before: HighResLogits | None = None

    @property
    def has_box(self) -> bool:
        """Whether a box says how large the object is."""
        return bool((self.labels == TokenLabel.BOX_START).any())


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of a question.

    Parameters
    ----------
    logits : float32 tensor (4, h, w)
        The answer, and the model's other masks.
    iou : float32 tensor (4,)
        Their predicted IoU.
    detail : HighResLogits or None
        The answer, or all four, in the cells of a view that shows it larger.
    """

    logits: Tensor
    iou: Tensor
    detail: HighResLogits | None


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The four masks of an object in one view, the blended one first."""

    view: View
    masks: Tensor
    iou: Tensor

    @property
    def score(self) -> float:
        return float(self.iou[0])


@dataclass(frozen=True, slots=True)
class _Look:
    """A view that a procedure looks into next, and what it knows before."""

    view: View
    so_far: _Seen | None = field(compare=False)


class Fusion:
    """Make one answer of the views of a plane.  Not thread-safe.

    Parameters
    ----------
    blend : MultimaskEnsemble
        Of the model.
    views : PlaneViews, optional
        Of the plane, if its pixels are at hand.
    """

    def __init__(self, blend: MultimaskEnsemble, views: PlaneViews | None) -> None:
        self._blend = blend
        self._views = views

    def answers(self, asked: Sequence[Question]) -> list[Answer]:
        """Return the answers to questions, each view encoded once.

        Parameters
        ----------
        asked : sequence of Question
            Prompts, and what they gave in the whole plane.
        """
        if self._views is None:
            return [
                Answer(*self._chosen(q, q.logits, q.iou, q.xy), None) for q in asked
            ]
        return together([self._steps(self._views, q) for q in asked])

    def iter_answer(self, asked: Question) -> Generator[Answer | None, None, Answer]:
        """Answer one question in short steps, the first of which is an answer already.

        Parameters
        ----------
        asked : Question
            Prompts, and what they gave in the whole plane.

        Yields
        ------
        Answer or None
            Before a view is encoded, what is known until then; none if that is what
            was yielded last, and while encoding.
        """
        if self._views is None:
            return self.answers([asked])[0]
        told: _Seen | None = None
        run = Run(self._steps(self._views, asked))
        while run.advance():
            look = run.latest
            if self._views.is_encoded(look.view):
                continue
            if look.so_far is not None and look.so_far is not told:
                told = look.so_far
                yield self._answer(self._views, told)
            yield from self._views.iter_encode(look.view)
        return run.value

    def _steps(
        self, views: PlaneViews, asked: Question
    ) -> Generator[_Look, None, Answer]:
        """Answer one question; yield each view before looking into it."""
        seen = yield from self._refined(views, asked)
        if seen is None:
            seen = yield from self._found(views, asked)
            # What a click means is open, and the whole plane knows best.
            if not (asked.is_click and seen.view == views.whole):
                return (yield from self._closer(views, asked, seen))
        return self._answer(views, seen)

    def _refined(
        self, views: PlaneViews, asked: Question
    ) -> Generator[_Look, None, _Seen | None]:
        """Refine an answer in the view that it is from, if all prompts are in it."""
        if asked.before is None:
            return None
        view = views.own(asked.before.view)
        if not views.holds_prompts(view, asked.xy[0], asked.labels[0]):
            return None
        yield _Look(view, None)
        mask = torch.from_numpy(asked.before.logits[0]).to(asked.logits)
        seen = self._seen(views, view, asked, mask)
        return seen if views.holds_all(view, seen.masks[0]) else None

    def _found(
        self, views: PlaneViews, asked: Question
    ) -> Generator[_Look, None, _Seen]:
        """Find the object in the whole plane, or in a view around its prompts."""
        best = _Seen(
            views.whole, *self._chosen(asked, asked.logits, asked.iou, asked.xy)
        )
        if asked.refines:
            return best
        for view in views.of_prompts(asked.xy[0], asked.labels[0]):
            yield _Look(view, best)
            seen = self._seen(views, view, asked)
            if views.holds_all(view, seen.masks[0]) and (
                asked.has_box or seen.score > best.score
            ):
                best = seen
        return best

    def _closer(
        self, views: PlaneViews, asked: Question, seen: _Seen
    ) -> Generator[_Look, None, Answer]:
        """Look once more where the object is shown as large as is best."""
        view = views.of_object(seen.view, seen.masks[0], asked.xy[0], asked.labels[0])
        if view is None:
            return self._answer(views, seen)
        yield _Look(view, seen)
        before = views.moved(seen.masks[0], seen.view, view)
        closer = self._seen(views, view, asked, before)
        fused = ((before + closer.masks[0]) / 2)[None]
        if seen.view != views.whole:
            masks = torch.cat([fused, closer.masks[1:]])
            return self._answer(views, _Seen(view, masks, seen.iou))
        answer = views.put_back(view, fused[0], seen.masks[0])[None]
        return Answer(
            torch.cat([answer, seen.masks[1:]]),
            seen.iou,
            HighResLogits(fused.cpu().numpy(), views.shown(view)),
        )

    def _seen(
        self, views: PlaneViews, view: View, asked: Question, mask: Tensor | None = None
    ) -> _Seen:
        """Ask in a view."""
        logits, iou, moved = views.decode(view, asked.xy, asked.labels, mask)
        return _Seen(view, *self._chosen(asked, logits, iou, moved))

    @staticmethod
    def _answer(views: PlaneViews, seen: _Seen) -> Answer:
        """Return what was seen in one view as an answer."""
        if seen.view == views.whole:
            return Answer(seen.masks, seen.iou, None)
        return Answer(
            torch.stack([views.put_back(seen.view, mask) for mask in seen.masks]),
            seen.iou,
            HighResLogits(seen.masks.cpu().numpy(), views.shown(seen.view)),
        )

    def _chosen(
        self, asked: Question, logits: Tensor, iou: Tensor, xy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return four masks and their scores, the blended one in place of the first."""
        logits, iou = logits.float(), iou.float()
        ignored = ignored_clicks(logits, xy, asked.labels)
        answer, score = self._blend(logits, iou, ignored)
        if asked.is_click:
            # It is as good as that only where it is what the masks have in common.
            score = score * self._blend.agreement(answer, logits, iou)
        return torch.cat([answer, logits[0, 1:]]), torch.cat([score, iou[0, 1:]])
