"""SAM's prompt and mask decoding, arranged for speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from napari_sam.models.checkpoint import SamNetwork


@dataclass(frozen=True, slots=True, eq=False)
class ImageState:
    """What all prompts on one image share."""

    features: Tensor


class FastDecoder:
    """Decode prompts over prepared images."""

    def __init__(self, network: SamNetwork, dtype: torch.dtype) -> None:
        self._network = network
        self._dtype = dtype
        self._pe = network.prompt_encoder.image_positions()

    @property
    def side(self) -> int:
        """Side of the square input in pixels."""
        return self._network.side

    def prepare(self, features: Tensor) -> ImageState:
        """Prepare an embedding (256, g, g)."""
        return ImageState(features[None].float())

    def decode(
        self, image: ImageState, xy: Tensor, labels: Tensor, dense: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, 4, 4 g, 4 g) and predicted IoU (B, 4)."""
        encoder = self._network.prompt_encoder
        logits, iou = self._network.mask_decoder(
            image.features, self._pe, encoder.tokens(xy, labels), encoder.dense(dense)
        )
        return logits, iou

    def decode_points(
        self, image: ImageState, xy: Tensor, labels: Tensor, min_iou: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits (M, 4 g, 4 g), predicted IoU, prompt and output number."""
        logits, iou = self.decode(image, xy, labels)
        point, token = torch.nonzero(iou[:, 1:] > min_iou, as_tuple=True)
        return logits[point, token + 1], iou[point, token + 1], point, token
