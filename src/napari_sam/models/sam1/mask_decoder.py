"""SAM's two-way mask decoder, written plainly.

Kirillov et al., "Segment Anything", ICCV 2023; module names as published.
This is the formulation to train with and to test against; predictions use
:mod:`napari_sam.models.sam1.fast_decoder`, the same arithmetic in fewer steps.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.models.sam1.layers import MLP, LayerNorm2d

MASK_TOKENS = 4
DIM = 256
HEADS = 8


class Attention(nn.Module):
    """Multi-head attention with an optionally narrower inside."""

    def __init__(self, dim: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from (B, N, dim) to (B, M, dim)."""
        y = F.scaled_dot_product_attention(
            self._split(self.q_proj(q)),
            self._split(self.k_proj(k)),
            self._split(self.v_proj(v)),
        )
        return cast("Tensor", self.out_proj(y.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to the same."""
        return cast("Tensor", self.lin2(F.relu(self.lin1(x))))


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image to them."""

    def __init__(self, dim: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, dim // 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, hidden)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, dim // 2)

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens (B, N, dim) and image cells (B, M, dim)."""
        if self.first:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        image = keys + key_pe
        update = self.cross_attn_token_to_image(queries + query_pe, image, keys)
        queries = self.norm2(queries + update)
        queries = self.norm3(queries + self.mlp(queries))
        update = self.cross_attn_image_to_token(image, queries + query_pe, queries)
        return queries, self.norm4(keys + update)


class TwoWayTransformer(nn.Module):
    """Two two-way blocks and a last look of the tokens at the image."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, heads, hidden, first=i == 0) for i in range(2)
        )
        self.final_attn_token_to_image = Attention(dim, heads, dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return updated tokens (B, N, dim) and image cells (B, M, dim)."""
        queries, keys = tokens, image
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, image_pe)
        update = self.final_attn_token_to_image(queries + tokens, keys + image_pe, keys)
        return self.norm_final_attn(queries + update), keys


class MaskDecoder(nn.Module):
    """Predict masks from an image embedding and encoded prompts."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(DIM, HEADS, 2048)
        self.iou_token = nn.Embedding(1, DIM)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, DIM)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(DIM, DIM // 4, 2, 2),
            LayerNorm2d(DIM // 4),
            nn.GELU(),
            nn.ConvTranspose2d(DIM // 4, DIM // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(DIM, DIM, DIM, DIM // 8) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(DIM, DIM, DIM, MASK_TOKENS)

    def forward(
        self, image: Tensor, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode a batch of prompts over one image.

        Parameters
        ----------
        image : float tensor (1 or B, 256, g, g)
            Image embedding.
        image_pe : float tensor (1, 256, g, g)
            Positions of its cells.
        sparse : float tensor (B, N, 256)
            Prompt tokens.
        dense : float tensor (1 or B, 256, g or 1, g or 1)
            Mask prompt, or the constant that stands for none.

        Returns
        -------
        logits : float tensor (B, 4, 4 g, 4 g)
            The single-mask output, then the three of the multimask output.
        iou : float tensor (B, 4)
            Their predicted IoU.
        """
        batch = sparse.shape[0]
        fixed = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([fixed.expand(batch, -1, -1), sparse], dim=1)
        cells = (image + dense).expand(batch, -1, -1, -1)
        grid = cells.shape[-2:]
        queries, keys = self.transformer(
            cells.flatten(2).transpose(1, 2),
            image_pe.flatten(2).transpose(1, 2),
            tokens,
        )
        features = self.output_upscaling(
            keys.transpose(1, 2).reshape(batch, DIM, *grid)
        )
        weights = torch.stack(
            [
                mlp(queries[:, 1 + i])
                for i, mlp in enumerate(self.output_hypernetworks_mlps)
            ],
            dim=1,
        )
        logits = weights @ features.flatten(2)
        logits = logits.view(batch, MASK_TOKENS, *features.shape[-2:])
        return logits, self.iou_prediction_head(queries[:, 0])
