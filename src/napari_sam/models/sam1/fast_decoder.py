"""SAM's prompt and mask decoding, arranged for speed.

The same function as :class:`~napari_sam.models.sam1.mask_decoder.MaskDecoder`, with
its arithmetic reordered.  A prompt has about seven tokens, an image 4,096
cells, so nearly all the work is on the cells:

* What depends on the image alone is computed once per image: the first
  layer's projections of the cells (:class:`ImageState`).
* Projections of positions are computed once per model.
* Afterwards no projection is applied to the cells at all.  In an attention
  between tokens and cells, ``(tokens Wq) · (cells Wk)`` is computed as
  ``(tokens Wq Wkᵀ) · cells``, and likewise for the values: the small side
  carries both matrices (:class:`FoldedAttention`).
* Only masks that are wanted are upscaled, with both transposed convolutions as
  matrix products on channels-last cells.

Tokens are float32; cells are of the decoder's dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_sam.models.sam1.folded_attention import (
    FoldedAttention,
    batched,
    heads_last,
    matrix,
    split_heads,
)
from napari_sam.models.sam1.layers import dense, gelu_
from napari_sam.models.sam1.mask_decoder import DIM, MASK_TOKENS

if TYPE_CHECKING:
    from torch.nn import ConvTranspose2d, Linear

    from napari_sam.models.sam1.checkpoint import SamNetwork
    from napari_sam.models.sam1.layers import MLP, LayerNorm2d
    from napari_sam.models.sam1.mask_decoder import TwoWayBlock
    from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble

_PATCH = 16  # input pixels along a side of a cell of the embedding
_FEATURES = DIM // 8  # channels of an upscaled pixel


@dataclass(frozen=True, slots=True, eq=False)
class ImageState:
    """What all prompts on one image share.

    Parameters
    ----------
    features : float32 tensor (cells, 256)
        The image embedding as the encoder gave it.
    cells : tensor (cells, 256)
        With the mask prompt added, or the constant that stands for none.
    keys, values, queries : tensor (heads, 16, cells) or (heads, cells, 16)
        Projections of the cells in the first layer.
    """

    features: Tensor
    cells: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        each = (self.features, self.cells, self.keys, self.values, self.queries)
        return sum(tensor.nbytes for tensor in each)


class FastDecoder:
    """Decode prompts over prepared images.  Not thread-safe.

    Parameters
    ----------
    network : SamNetwork
        Weights, on the device to run on, in evaluation mode.
    dtype : torch.dtype
        Type of the image side, float32 or bfloat16.
    cells : int, optional
        Cells along one side of the embeddings, those of the whole input by default.
        Smaller ones are taken to lie in its middle, where the weights were trained
        on crops.
    """

    def __init__(
        self, network: SamNetwork, dtype: torch.dtype, cells: int | None = None
    ) -> None:
        self._encoder = network.prompt_encoder
        self._decoder = network.mask_decoder
        self._dtype = dtype
        self._grid = cells or self._encoder.grid
        self._first = (self._encoder.grid - self._grid) // 2
        with torch.inference_mode():
            self._fold()

    def _fold(self) -> None:
        decoder, dtype = self._decoder, self._dtype
        transformer = decoder.transformer
        self._layers = [cast("TwoWayBlock", layer) for layer in transformer.layers]
        part = slice(self._first, self._first + self._grid)
        positions = self._encoder.image_positions()[0, :, part, part]
        positions = positions.flatten(1).T.contiguous()
        self._to_image, self._to_tokens = (
            [
                FoldedAttention(
                    getattr(layer, f"cross_attn_{name}"),
                    positions,
                    tokens_ask=name == "token_to_image",
                    dtype=dtype,
                )
                for layer in self._layers
            ]
            for name in ("token_to_image", "image_to_token")
        )
        self._final = FoldedAttention(
            transformer.final_attn_token_to_image,
            positions,
            tokens_ask=True,
            dtype=dtype,
        )
        self._fixed = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        self._norms = [
            (layer.norm4.weight.to(dtype), layer.norm4.bias.to(dtype))
            for layer in self._layers
        ]
        up1, norm, _, up2, _ = decoder.output_upscaling
        self._up1 = _as_products(cast("ConvTranspose2d", up1), dtype)
        self._up2 = _as_products(cast("ConvTranspose2d", up2), dtype)
        norm = cast("LayerNorm2d", norm)
        self._up_norm = (norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)
        self._hyper = _stacked(
            [cast("MLP", mlp) for mlp in decoder.output_hypernetworks_mlps]
        )

    @property
    def grid(self) -> int:
        """Cells along one side of an embedding."""
        return self._grid

    def prepare(
        self, features: Tensor, dense_prompt: Tensor | None = None
    ) -> ImageState:
        """Compute what all prompts on an image share.

        Parameters
        ----------
        features : tensor (256, grid, grid)
            Image embedding.
        dense_prompt : float32 tensor (1, 1, 4 grid, 4 grid), optional
            Mask logits that all these prompts refine.

        Returns
        -------
        ImageState
        """
        flat = features.float().flatten(1).T.contiguous()
        return self._state(flat, dense_prompt)

    def _state(self, features: Tensor, dense_prompt: Tensor | None) -> ImageState:
        added = self._encoder.dense(dense_prompt)[0].flatten(1).T
        cells = features + added
        ask, answer = self._to_image[0], self._to_tokens[0]
        keys = heads_last(dense(cells, matrix(ask.cell_weight)))
        values = heads_last(dense(cells, matrix(ask.value_weight)))
        queries = heads_last(dense(cells, matrix(answer.cell_weight)))
        return ImageState(
            features,
            cells.to(self._dtype),
            ask.position_keys + keys.to(self._dtype),
            values.to(self._dtype).transpose(1, 2).contiguous(),
            answer.position_keys + queries.to(self._dtype),
        )

    def decode(
        self,
        image: ImageState,
        xy: Tensor,
        labels: Tensor,
        dense_prompt: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode a batch of prompts completely.

        Parameters
        ----------
        image : ImageState
            A prepared image.
        xy : float32 tensor (B, T, 2)
            Model coordinates.
        labels : int64 tensor (B, T)
            :class:`~napari_sam.models.sam1.prompt_encoder.TokenLabel` values.
        dense_prompt : float32 tensor (1, 1, 4 grid, 4 grid), optional
            Mask logits that all these prompts refine.

        Returns
        -------
        logits : float32 tensor (B, 4, 4 grid, 4 grid)
            The single-mask output, then the three of the multimask output.
        iou : float32 tensor (B, 4)
            Their predicted IoU.
        """
        if dense_prompt is not None:
            image = self._state(image.features, dense_prompt)
        tokens, cells = self._transform(image, self._tokens(xy, labels))
        iou: Tensor = self._decoder.iou_prediction_head(tokens[:, 0])
        hyper = self._hyper_weights(tokens)
        logits = [self._masks(c, h) for c, h in zip(cells, hyper, strict=True)]
        return torch.stack(logits), iou

    def decode_points(
        self,
        image: ImageState,
        xy: Tensor,
        labels: Tensor,
        min_iou: float,
        best_only: bool = False,
        blend: MultimaskEnsemble | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode a batch of prompts, of the multimask output only what is good.

        Parameters
        ----------
        image, xy, labels
            As for :meth:`decode`.
        min_iou : float
            Masks whose predicted IoU is not above it are not upscaled.
        best_only : bool
            Nor are those that are not the best of their prompt.
        blend : MultimaskEnsemble, optional
            Makes the best mask of a prompt of all four.  A mask is a product of
            pixels and the weights of its output, so blending these is enough.

        Returns
        -------
        logits : float32 tensor (M, 4 grid, 4 grid)
            The masks that are left.
        iou : float32 tensor (M,)
            Their predicted IoU.
        prompt, output : int64 tensor (M,)
            Which prompt they belong to, and which of its three outputs they are; 0
            for a blend.
        """
        tokens, cells = self._transform(image, self._tokens(xy, labels))
        iou: Tensor = self._decoder.iou_prediction_head(tokens[:, 0])
        hyper = self._hyper_weights(tokens)
        if best_only and blend is not None:
            weights, score = blend(hyper[..., None].float(), iou)
            hyper, iou = weights[:, None, :, 0].to(hyper.dtype), score[:, None]
        else:
            hyper, iou = hyper[:, 1:], iou[:, 1:]
        good = iou > min_iou
        if best_only:
            best = iou.argmax(dim=1, keepdim=True)
            good &= torch.zeros_like(good).scatter_(1, best, True)
        side = 4 * self.grid
        logits = [
            self._masks(cells[i], hyper[i, good[i]])
            for i in torch.nonzero(good.any(dim=1))[:, 0].tolist()
        ]
        prompt, output = torch.nonzero(good, as_tuple=True)
        joined = torch.cat(logits) if logits else iou.new_empty((0, side, side))
        return joined, iou[good], prompt, output

    def _tokens(self, xy: Tensor, labels: Tensor) -> Tensor:
        return self._encoder.tokens(xy + _PATCH * self._first, labels)

    def _transform(self, image: ImageState, sparse: Tensor) -> tuple[Tensor, Tensor]:
        """Run the two-way transformer: tokens (B, T, 256), cells (B, cells, 256)."""
        batch = sparse.shape[0]
        pe = torch.cat([self._fixed.expand(batch, -1, -1), sparse], dim=1)
        first, second = self._layers
        tokens = first.norm1(first.self_attn(pe, pe, pe))

        ask, answer = self._to_image[0], self._to_tokens[0]
        head = split_heads(ask.token(tokens + pe)) * ask.scale
        scores = batched(head.to(self._dtype), image.keys)
        tokens = self._feed(first, tokens, ask.gather_projected(scores, image.values))
        head = split_heads(answer.token(tokens + pe)) * answer.scale
        scores = batched(head.to(self._dtype), image.queries)
        cells = answer.scatter(scores, tokens, image.cells.expand(batch, -1, -1))
        cells = F.layer_norm(cells, (DIM,), *self._norms[0])

        ask, answer = self._to_image[1], self._to_tokens[1]
        q = tokens + pe
        tokens = second.norm1(tokens + second.self_attn(q, q, tokens))
        read = ask.gather(ask.scores(tokens + pe, cells), cells)
        tokens = self._feed(second, tokens, read)
        scores = answer.scores(tokens + pe, cells)
        cells = answer.scatter(scores, tokens, cells)
        cells = F.layer_norm(cells, (DIM,), *self._norms[1])

        final = self._final
        read = final.gather(final.scores(tokens + pe, cells), cells)
        tokens = self._decoder.transformer.norm_final_attn(tokens + read)
        return tokens, cells

    @staticmethod
    def _feed(layer: TwoWayBlock, tokens: Tensor, read: Tensor) -> Tensor:
        tokens = layer.norm2(tokens + read)
        updated: Tensor = layer.norm3(tokens + layer.mlp(tokens))
        return updated

    def _hyper_weights(self, tokens: Tensor) -> Tensor:
        """Return the weights that make masks of pixels, (B, 4, 32)."""
        x = tokens[:, 1 : 1 + MASK_TOKENS].transpose(0, 1)
        for i, (weight, bias) in enumerate(self._hyper):
            x = torch.baddbmm(bias, F.relu(x) if i else x, weight)
        return x.transpose(0, 1).to(self._dtype)

    def _masks(self, cells: Tensor, hyper: Tensor) -> Tensor:
        """Upscale one prompt's cells (cells, 256) into masks (M, 4 grid, 4 grid)."""
        grid = self.grid
        x = dense(cells, *self._up1).view(-1, DIM // 4)
        x = F.layer_norm(x, (DIM // 4,), *self._up_norm)
        x = dense(gelu_(x), *self._up2).view(-1, _FEATURES)
        masks = gelu_(x) @ hyper.T
        # Each cell became 2 x 2 pixels and each of those 2 x 2 again.
        masks = masks.float().view(grid, grid, 2, 2, 2, 2, -1)
        masks = masks.permute(6, 0, 2, 4, 1, 3, 5)
        return masks.reshape(-1, 4 * grid, 4 * grid)


def _stacked(mlps: list[MLP]) -> list[tuple[Tensor, Tensor]]:
    """Stack several MLPs of one shape, weights (n, inputs, outputs) per layer."""
    layers = [[cast("Linear", layer) for layer in mlp.layers] for mlp in mlps]
    return [
        (
            torch.stack([layer.weight.T for layer in same]).contiguous(),
            torch.stack([layer.bias for layer in same])[:, None],
        )
        for same in zip(*layers, strict=True)
    ]


def _as_products(layer: ConvTranspose2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Write a 2 × 2 transposed convolution of stride 2 as one matrix product.

    Returns
    -------
    weight : tensor (4 · outputs, inputs)
        Output rows ordered as (row, column, channel) of the 2 × 2 pixels.
    bias : tensor (4 · outputs,)
    """
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = layer.bias
    if bias is None:
        bias = weight.new_zeros(layer.out_channels)
    return weight.to(dtype).contiguous(), bias.repeat(4).to(dtype)
