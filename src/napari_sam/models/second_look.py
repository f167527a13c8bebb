"""The answer of a model that blends its masks: it looks twice, and closer.

The masks of the first look are blended and given back as a mask prompt to the same
question; what is small is looked at in an enlarged window as well.

In an image that is not much smaller than the model's input prompts are also asked at
several magnifications, each by itself, and the answer that the model believes most is
taken: of what is tiny in the whole image nothing is left to look closer at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_sam.core.results import Detail
from napari_sam.models.blending import ignored_clicks
from napari_sam.models.together import together

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

    from napari_sam.core.windows import Window
    from napari_sam.models.blending import Blend
    from napari_sam.models.closer import CloserLook
    from napari_sam.models.fast_decoder import FastDecoder, ImageState

    _Steps = Generator[Window, None, "Answer"]

CLOSER = 0.6
"""How much the closer look counts; the rest is the answer in the whole image."""
CLOSER_INSIDE = 0.15
"""The same for a click, where the closer look takes a part of that answer only.

What a click means is open.  Of cells that a model never saw it may take the bright
inside when it looks closer, and the larger view knows better.  Measured like the
other, docs/model-card.md."""
_PART, _ALL = 0.75, 0.95  # of the answer's area: from a part of it to all of it


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One object's prompts, and what the first look made of them.

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
    before : Detail, optional
        The earlier answer, where it was found in a window alone.
    """

    xy: Tensor
    labels: Tensor
    is_click: bool
    refines: bool
    logits: Tensor
    iou: Tensor
    before: Detail | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of a question.

    Parameters
    ----------
    logits : float32 tensor (4, h, w)
        The answer, and the model's other masks.
    iou : float32 tensor (4,)
        Their predicted IoU.
    detail : Detail or None
        The answer, or all four, in finer cells, if the object is small.
    """

    logits: Tensor
    iou: Tensor
    detail: Detail | None


class SecondLook:
    """Make answers of first looks at one image.  Not thread-safe.

    Parameters
    ----------
    decoder : FastDecoder
        Of the model.
    blend : Blend
        Of the model.
    closer : CloserLook, optional
        At the image, if its pixels are at hand.
    """

    def __init__(
        self, decoder: FastDecoder, blend: Blend, closer: CloserLook | None
    ) -> None:
        self._decoder = decoder
        self._blend = blend
        self._closer = closer

    def answers(self, image: ImageState, asked: Sequence[Question]) -> list[Answer]:
        """Return the answers to questions, each window of the image encoded once.

        Parameters
        ----------
        image : ImageState
            The prepared image.
        asked : sequence of Question
            Prompts and first looks.
        """
        return together([self._steps(image, question) for question in asked])

    def _steps(self, image: ImageState, asked: Question) -> _Steps:
        """Answer one question; yield each window before looking into it."""
        closer = self._closer
        if closer is not None and asked.before is not None:
            again = yield from self._refined(closer, asked, asked.before)
            if again is not None:
                return again
        best = yield from self._in_whole(image, asked)
        if closer is not None and not asked.refines:
            for window in closer.windows_around(asked.xy[0], asked.labels[0]):
                yield window
                found = self._in_window(closer, window, asked)
                if found is not None and found.iou[0] > best.iou[0]:
                    best = found
        return best

    def _in_whole(self, image: ImageState, asked: Question) -> _Steps:
        """Answer in the whole image.

        The predicted IoU is the first look's: a model takes the mask that it is
        given for right, and is too sure of what it makes of it.  Only where it looks
        closer it sees something new, and that counts as much as the mask.
        """
        xy, labels = asked.xy, asked.labels
        first, score = self._blended(asked.logits, asked.iou, xy, labels)
        answer, detail = first, None
        # To refine an answer, or a rough mask, is a second look already.
        if not asked.refines:
            again = self._decoder.decode(image, xy, labels, first[:, None])
            answer, _ = self._blended(*again, xy, labels)
        if self._closer is not None:
            window = self._closer.window(first[0], xy[0], labels[0])
            if window is not None:
                yield window
                given = self._closer.seen_in(window, first[0])
                logits, iou, moved = self._closer.decode(window, xy, labels, given)
                closer, believed = self._blended(logits, iou, moved, labels)
                far = self._closer.seen_in(window, answer[0])
                share = closer_share(closer[0], far) if asked.is_click else CLOSER
                fine = share * closer[0] + (1 - share) * far
                score = share * believed + (1 - share) * score
                answer = self._closer.put_back(window, fine, answer[0])[None]
                detail = Detail(fine[None].cpu().numpy(), self._closer.shown(window))
        if asked.is_click:
            # It is as good as that only where it is what the masks have in common.
            score = score * self._blend.agreement(answer, asked.logits, asked.iou)
        return Answer(
            torch.cat([answer, asked.logits[0, 1:]]),
            torch.cat([score, asked.iou[0, 1:]]),
            detail,
        )

    def _refined(
        self, closer: CloserLook, asked: Question, before: Detail
    ) -> Generator[Window, None, Answer | None]:
        """Refine an answer in the window that it is from, if all prompts are in it."""
        xy, labels = asked.xy, asked.labels
        window = closer.own(before.window)
        if not closer.holds(window, xy[0], labels[0]):
            return None
        yield window
        given = torch.from_numpy(before.logits[0]).to(asked.logits)
        logits, iou, moved = closer.decode(window, xy, labels, given)
        answer, score = self._blended(logits, iou, moved, labels)
        return self._found(
            closer, window, torch.cat([answer, logits[0, 1:]]), score, iou
        )

    def _in_window(
        self, closer: CloserLook, window: Window, asked: Question
    ) -> Answer | None:
        """Answer in a window alone, if that holds all of the object."""
        xy, labels = asked.xy, asked.labels
        logits, iou, moved = closer.decode(window, xy, labels)
        first, score = self._blended(logits, iou, moved, labels)
        again, their_iou, _ = closer.decode(window, xy, labels, first[0])
        answer, _ = self._blended(again, their_iou, moved, labels)
        if asked.is_click:
            score = score * self._blend.agreement(answer, logits, iou)
        return self._found(
            closer, window, torch.cat([answer, logits[0, 1:]]), score, iou
        )

    @staticmethod
    def _found(
        closer: CloserLook, window: Window, masks: Tensor, score: Tensor, iou: Tensor
    ) -> Answer | None:
        """Return what was found in a window, if that holds all of the object."""
        if not closer.is_whole(window, masks[0]):
            return None
        return Answer(
            torch.stack([closer.put_back(window, mask) for mask in masks]),
            torch.cat([score, iou[0, 1:]]),
            Detail(masks.cpu().numpy(), closer.shown(window)),
        )

    def _blended(
        self, logits: Tensor, iou: Tensor, xy: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = logits.float()
        blended: tuple[Tensor, Tensor] = self._blend(
            logits, iou.float(), ignored_clicks(logits, xy, labels)
        )
        return blended


def closer_share(closer: Tensor, answer: Tensor) -> float:
    """Return how much a closer look counts that answers a click.

    Parameters
    ----------
    closer, answer : float tensor (h, w)
        Logits of the closer look and of the answer in the whole image, over the
        same window.
    """
    area = int((answer > 0).sum())
    kept = int((closer > 0).sum()) / area if area else 1.0
    whole = min(max((kept - _PART) / (_ALL - _PART), 0.0), 1.0)
    return CLOSER_INSIDE + (CLOSER - CLOSER_INSIDE) * whole
