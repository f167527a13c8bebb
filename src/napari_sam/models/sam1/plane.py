"""A plane that a SAM model has encoded, ready to answer prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_sam.core.model import Capabilities, ObjectMaps, PointMasks
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.core.results import MaskResult, PreviousAnswer, inside_frame
from napari_sam.core.steps import mapped
from napari_sam.errors import PromptError
from napari_sam.models.sam1.encoding import inferring
from napari_sam.models.sam1.fusion import Answer, Fusion, Question
from napari_sam.models.sam1.mask_prompt import bounding_box, mask_logits
from napari_sam.models.sam1.prompt_head import CENTER, FOREGROUND, PromptHead
from napari_sam.models.sam1.prompts import Tokens, numbers, tokens
from napari_sam.models.torch_errors import translated_errors
from napari_sam.types import FEATURES, Embedding, MaskCrop

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Generator, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam.core.results import HighResLogits
    from napari_sam.core.views import View
    from napari_sam.models.sam1.fast_decoder import FastDecoder, ImageState
    from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
    from napari_sam.models.sam1.view_encoder import PlaneViews
    from napari_sam.types import Box, FloatArray, Frame, PromptSet

    # Prompt tokens, a mask prompt, and the earlier answer where it is a view's alone.
    _Given = tuple[Tokens, FloatArray | None, HighResLogits | None]

# Measured on two cores, milliseconds per prompt in batches of 1, 2, 4 and 8:
# float32 15.5, 13.6, 13.9, 16.4; bfloat16 10.8, 8.0, 8.6, 7.5.
BATCH = 4
ROUND = 64
"""Prompts that a model that blends its masks is asked together, so that neighbors share
views.  A prompt takes about 3 MB until its round is answered."""


class SamPlane:
    """An encoded plane, ready to answer prompts.  Not thread-safe.

    Made by :meth:`~napari_sam.models.sam1.sam.SamModel.encode` and
    :meth:`~napari_sam.models.sam1.sam.SamModel.restore`.
    """

    def __init__(
        self,
        decoder: FastDecoder,
        embedding: Embedding,
        device: torch.device,
        head: PromptHead | None = None,
        blend: MultimaskEnsemble | None = None,
        views: PlaneViews | None = None,
        thresholds: ModelThresholds | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self._decoder = decoder
        self._embedding = embedding
        self._device = device
        self._head = head
        self._blend = blend
        self._views = views
        self._capabilities = capabilities or Capabilities(
            object_maps=head is not None, blends_masks=blend is not None
        )
        self._thresholds = thresholds or ModelThresholds()
        self._fusion = None if blend is None else Fusion(blend, views)
        self._state: ImageState | None = None
        self._objects: ObjectMaps | None = None

    @property
    def embedding(self) -> Embedding:
        """The embedding it answers from."""
        return self._embedding

    @property
    def frame(self) -> Frame:
        """How the plane sits in the model's input."""
        return self._embedding.frame

    @property
    def thresholds(self) -> ModelThresholds:
        """Those of its model."""
        return self._thresholds

    @property
    def capabilities(self) -> Capabilities:
        """What its model can do here; a view by itself has none of its own."""
        return self._capabilities

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps beside the embedding: pixels, and what is prepared."""
        state = 0 if self._state is None else self._state.nbytes
        return state + (0 if self._views is None else self._views.nbytes)

    def predict(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: Box | Sequence[float] | None = None,
        mask: npt.ArrayLike | None = None,
        logits: npt.ArrayLike | PreviousAnswer | None = None,
    ) -> MaskResult:
        """Segment one object from any combination of prompts.

        Parameters
        ----------
        points : array (K, 2) or (2,), optional
            ``(row, column)`` in pixels, centers at whole numbers.
        labels : array (K,), optional
            1 for positive, 0 for negative; all positive by default.
        box : sequence of four float, optional
            ``(row0, column0, row1, column1)``.
        mask : bool array (H, W), optional
            A rough mask of the object.
        logits : PreviousAnswer or float array (side / 4, side / 4), optional
            An earlier answer to refine, from
            :meth:`~napari_sam.core.results.MaskResult.earlier`, or one of its
            :attr:`~napari_sam.core.results.MaskResult.logits`.

        Returns
        -------
        MaskResult

        Raises
        ------
        PromptError
            If there is no prompt, or one is unusable.
        ModelError
            If the device fails.
        """
        crop = None if mask is None else self._crop(mask)
        given_points = None if points is None else np.atleast_2d(numbers(points))[None]
        given_labels = None if labels is None else np.atleast_1d(labels)[None]
        boxes = None if box is None else numbers(box)[None]
        given = self._given(given_points, given_labels, boxes, crop, logits)
        return self._decode(*given)[0]

    def predict_prompts(
        self, prompts: PromptSet, logits: npt.ArrayLike | PreviousAnswer | None = None
    ) -> MaskResult:
        """Segment one object from a prompt set.

        Parameters
        ----------
        prompts : PromptSet
            Points, box and mask.
        logits : PreviousAnswer or float array (side / 4, side / 4), optional
            An earlier answer to refine, as in :meth:`predict`.

        Returns
        -------
        MaskResult

        Raises
        ------
        PromptError
            If there is no prompt, or one is unusable.
        ModelError
            If the device fails.
        """
        return self._decode(*self._asked(prompts, logits))[0]

    def iter_prompts(
        self, prompts: PromptSet, logits: npt.ArrayLike | PreviousAnswer | None = None
    ) -> Generator[MaskResult | None, None, MaskResult]:
        """Segment one object in short steps, with what is known at once.

        As :meth:`predict_prompts`, whose result it returns.  Where parts of the plane
        have to be encoded for that, it first yields what is known without them.

        Yields
        ------
        MaskResult or None
            A preliminary answer that is better than the last one, or none.
        """
        steps = self._iter_decode(*self._asked(prompts, logits))
        return (yield from inferring(steps, "decode the prompt", str(self._device)))

    def predict_many(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        boxes: npt.ArrayLike | None = None,
    ) -> list[MaskResult]:
        """Segment N objects in one call.

        Parameters
        ----------
        points : array (N, 2) or (N, K, 2), optional
            ``(row, column)`` of one point or of K points for each object.
        labels : array (N,) or (N, K), optional
            1 for positive, 0 for negative; all positive by default.
        boxes : array (N, 4), optional
            ``(row0, column0, row1, column1)`` of each object.

        Returns
        -------
        list of MaskResult
            One for each object, in order.

        Raises
        ------
        PromptError
            If there is no prompt, or one is unusable.
        ModelError
            If the device fails.
        """
        return list(self.iter_many(points, labels, boxes))

    def iter_many(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        boxes: npt.ArrayLike | None = None,
    ) -> Iterator[MaskResult]:
        """Segment N objects one after another; see :meth:`predict_many`.

        All prompts are checked before the first result.
        """
        p = None if points is None else numbers(points)
        b = None if boxes is None else numbers(boxes)
        if (p is None or p.size == 0) and (b is None or b.size == 0):
            return iter(())
        flags = None if labels is None else np.asarray(labels)
        if p is not None and p.ndim == 2:
            p = p[:, None]
            flags = flags if flags is None or flags.ndim != 1 else flags[:, None]
        given = tokens(self.frame, p, flags, b)
        if given is None:
            raise PromptError("There is no prompt; give points or boxes.")
        return self._iter_results(given)

    def iter_points(
        self, points: npt.ArrayLike, *, min_iou: float = 0.0, best_only: bool = False
    ) -> Iterator[PointMasks]:
        """Decode many single-point prompts in micro-batches.

        Parameters
        ----------
        points : array (N, 2)
            ``(row, column)`` of each prompt.
        min_iou : float
            Masks whose predicted IoU is not above it are never upscaled and
            are left out.
        best_only : bool
            Of the three masks of each point take only that of the highest
            predicted IoU, or of a model that blends its masks the blend: what the
            model itself would answer, at the first look.

        Yields
        ------
        PointMasks
            Up to three masks for each of a few points; ``point`` counts over
            all of them.

        Raises
        ------
        PromptError
            If a point is unusable; raised before the first result.
        ModelError
            If the device fails.
        """
        p = numbers(points)
        if p.size == 0:
            return iter(())
        given = tokens(self.frame, p[:, None] if p.ndim == 2 else p, None, None)
        if given is None or not given.single_point:
            raise PromptError(
                f"Points of shape {p.shape} are not (N, 2); give one point for each "
                f"object."
            )
        return self._iter_points(given, min_iou, best_only)

    def objects(self) -> ObjectMaps | None:
        """Return where the model sees objects without a prompt.

        Computed at the first call.

        Returns
        -------
        ObjectMaps or None
            None if the model has no prompt head.

        Raises
        ------
        ModelError
            If the device fails.
        """
        if self._objects is None and self._head is not None:
            with (
                torch.inference_mode(),
                translated_errors("find objects", str(self._device)),
            ):
                features = torch.from_numpy(self._embedding.features)
                logits = self._head(features.to(self._device).float()[None])[0]
                maps = logits.float().sigmoid().cpu().numpy()
            self._objects = ObjectMaps(maps[FOREGROUND], maps[CENTER], self.frame)
        return self._objects

    def iter_view(self, view: View | None) -> Generator[None, None, SamPlane | None]:
        """Return a view of the plane as a plane of its own, in short steps.

        What it answers is one decoding in that view and nothing else: no view is looked
        into by itself.

        Parameters
        ----------
        view : View or None
            In pixels that masks of this plane have; its own masks count from the
            view's first pixel.  None for the whole plane as it is encoded already.

        Returns
        -------
        SamPlane or None
            None if this plane has no pixels, or its model no views for prompts.
        """
        if view is None:
            return self._alone(self._decoder, self._embedding, self._image())
        views = self._views
        if views is None:
            return None
        state = yield from views.iter_prepare(views.own(view))
        decoder = views.decoder
        grid = decoder.grid
        features = state.features.T.reshape(-1, grid, grid).to("cpu", torch.float16)
        tensors = {FEATURES: features.numpy()}
        embedding = Embedding(tensors, view.frame, self._embedding.model)
        return self._alone(decoder, embedding, state)

    def _alone(
        self, decoder: FastDecoder, embedding: Embedding, state: ImageState
    ) -> SamPlane:
        """Return a plane of the same model that has no views."""
        plane = SamPlane(
            decoder,
            embedding,
            self._device,
            self._head,
            self._blend,
            thresholds=self._thresholds,
        )
        plane._state = state
        return plane

    def decode_tokens(
        self, xy: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode prompt tokens given in the model's own terms.

        Parameters
        ----------
        xy : float32 tensor (B, T, 2)
            Model coordinates, taken as given.
        labels : int tensor (B, T)
            :class:`~napari_sam.models.sam1.prompt_encoder.TokenLabel` values.

        Returns
        -------
        logits : float32 tensor (B, 4, side / 4, side / 4)
            As the model orders them.
        iou : float32 tensor (B, 4)
            Their predicted IoU.
        """
        with torch.inference_mode(), self._guard():
            return self._decoder.decode(
                self._image(), xy.to(self._device), labels.to(self._device)
            )

    def _iter_points(
        self, given: Tokens, min_iou: float, best_only: bool
    ) -> Iterator[PointMasks]:
        for start in range(0, given.count, BATCH):
            part = given.part(start, start + BATCH)
            with torch.inference_mode(), self._guard():
                logits, iou, point, token = (
                    x.cpu().numpy()
                    for x in self._decoder.decode_points(
                        self._image(),
                        *self._tensors(part),
                        min_iou,
                        best_only,
                        self._blend,
                    )
                )
            yield PointMasks(logits, iou, point + start, token)

    def _iter_results(self, given: Tokens) -> Iterator[MaskResult]:
        count = BATCH if self._fusion is None else ROUND
        for start in range(0, given.count, count):
            yield from self._decode(given.part(start, start + count), None)

    def _asked(
        self, prompts: PromptSet, logits: npt.ArrayLike | PreviousAnswer | None
    ) -> _Given:
        """Return a prompt set as the decoder takes it."""
        points = labels = None
        if prompts.points:
            points = np.array([[(p.row, p.column) for p in prompts.points]])
            labels = np.array([[p.positive for p in prompts.points]])
        boxes = None if prompts.box is None else numbers(prompts.box)[None]
        return self._given(points, labels, boxes, prompts.mask, logits)

    def _given(
        self,
        points: npt.NDArray[np.float64] | None,
        labels: npt.NDArray[np.generic] | None,
        boxes: npt.NDArray[np.float64] | None,
        mask: MaskCrop | None,
        logits: npt.ArrayLike | PreviousAnswer | None,
    ) -> _Given:
        """Return one object's prompts; arrays have a leading axis of one."""
        is_rough = mask is not None and boxes is None
        if mask is not None and is_rough:
            boxes = bounding_box(mask)[None]
        given = tokens(self.frame, points, labels, boxes)
        before = logits.detail if isinstance(logits, PreviousAnswer) else None
        if isinstance(logits, PreviousAnswer):
            logits = logits.logits
        dense = None if logits is None else self._checked_logits(logits)
        if mask is not None and dense is None:
            dense = mask_logits(mask, self.frame, self._cells)
        if given is None:
            if dense is None:
                raise PromptError("There is no prompt; give a point, a box or a mask.")
            given = Tokens.padding()
        return given, dense, before

    def _decode(
        self,
        given: Tokens,
        dense: FloatArray | None,
        before: HighResLogits | None = None,
    ) -> list[MaskResult]:
        with torch.inference_mode(), self._guard():
            asked = self._questions(given, dense, before)
            if self._fusion is None:
                answers = [Answer(q.logits[0], q.iou[0], None) for q in asked]
            else:
                answers = self._fusion.answers(asked)
            return [self._result(a, given, dense) for a in answers]

    def _iter_decode(
        self, given: Tokens, dense: FloatArray | None, before: HighResLogits | None
    ) -> Generator[MaskResult | None, None, MaskResult]:
        """Decode one object's prompts; see `iter_prompts`."""
        (asked,) = self._questions(given, dense, before)
        if self._fusion is None:
            return self._result(
                Answer(asked.logits[0], asked.iou[0], None), given, dense
            )

        def told(answer: Answer | None) -> MaskResult | None:
            return None if answer is None else self._result(answer, given, dense)

        answer = yield from mapped(self._fusion.iter_answer(asked), told)
        return self._result(answer, given, dense)

    def _questions(
        self, given: Tokens, dense: FloatArray | None, before: HighResLogits | None
    ) -> list[Question]:
        """Return the prompts and what they give in the whole plane."""
        xy, labels = self._tensors(given)
        mask = None
        if dense is not None:
            mask = torch.from_numpy(dense)[None, None].to(self._device)
        batches = [slice(i, i + BATCH) for i in range(0, given.count, BATCH)]
        looks = [
            self._decoder.decode(self._image(), xy[some], labels[some], mask)
            for some in batches
        ]
        logits, iou = (torch.cat(x).float() for x in zip(*looks, strict=True))
        is_click = given.single_point and mask is None
        return [
            Question(
                xy[i], labels[i], is_click, mask is not None, logits[i], iou[i], before
            )
            for i in (slice(i, i + 1) for i in range(given.count))
        ]

    def _result(
        self, answer: Answer, given: Tokens, dense: FloatArray | None
    ) -> MaskResult:
        """Order subpart, part and whole by area and make the model's own choice.

        A model that blends its masks has made it already.
        """
        logits, iou = answer.logits.cpu().numpy(), answer.iou.cpu().numpy()
        detail, is_click = answer.detail, given.single_point and dense is None
        cells, frame = logits, self.frame
        if detail is not None and detail.shows(len(logits) - 1):
            cells, frame = detail.logits, detail.view.frame
        areas = np.count_nonzero(inside_frame(cells[1:], frame) > 0, axis=(1, 2))
        order = np.concatenate([[0], 1 + np.argsort(areas, kind="stable")])
        iou = iou[order]
        detail = detail and detail.reordered(order.tolist())
        chooses = is_click and self._fusion is None
        best = 1 + int(np.argmax(iou[1:])) if chooses else 0
        return MaskResult(logits[order], iou, self.frame, best, detail)

    def _image(self) -> ImageState:
        """Prepare the embedding at the first prompt."""
        if self._state is None:
            features = torch.from_numpy(self._embedding.features).to(self._device)
            self._state = self._decoder.prepare(features)
        return self._state

    def _tensors(self, given: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.from_numpy(given.xy).to(self._device),
            torch.from_numpy(given.labels).to(self._device),
        )

    @property
    def _cells(self) -> int:
        return self.frame.side // 4

    def _checked_logits(self, logits: npt.ArrayLike) -> FloatArray:
        array = numbers(logits, "logits").astype(np.float32)
        if array.shape != (self._cells, self._cells):
            raise PromptError(
                f"Logits of shape {array.shape} cannot be refined; give one of the "
                f"{self._cells} × {self._cells} arrays of an earlier result."
            )
        return array

    def _crop(self, mask: npt.ArrayLike) -> MaskCrop:
        array = np.asarray(mask)
        if array.shape != self.frame.image_size:
            raise PromptError(
                f"The mask of shape {array.shape} does not fit the image of "
                f"{self.frame.image_size}; give one of the same size."
            )
        return MaskCrop.from_full(array)

    def _guard(self) -> contextlib.AbstractContextManager[None]:
        return translated_errors("decode the prompt", str(self._device))
