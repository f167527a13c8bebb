"""SAM's prompt encoder: points, boxes and masks to tokens and a dense map.

Kirillov et al., "Segment Anything", ICCV 2023; module names as published.
Coordinates here are the model's: (x, y) in pixels of the square input, and
half a pixel is added inside, as SAM does.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import cast

import torch
from torch import Tensor, nn

from napari_sam.models.sam1.layers import LayerNorm2d


class TokenLabel(IntEnum):
    """What a prompt token stands for, SAM's numbering."""

    PADDING = -1
    NEGATIVE = 0
    POSITIVE = 1
    BOX_START = 2
    BOX_END = 3


class RandomPositionEncoding(nn.Module):
    """Positions as sines and cosines of random projections (Tancik et al. 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer(
            "positional_encoding_gaussian_matrix", torch.zeros(2, features)
        )

    def forward(self, xy: Tensor) -> Tensor:
        """Encode coordinates in 0..1, (..., 2) to (..., 2 · features)."""
        angle = (2 * xy - 1) @ self.positional_encoding_gaussian_matrix
        angle = 2 * math.pi * angle
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Encode prompts for the mask decoder.

    Parameters
    ----------
    side : int
        Side of the square input in pixels; the embedding is ``side / 16``.
    dim : int
        Width of a token.
    """

    def __init__(self, side: int = 1024, dim: int = 256) -> None:
        super().__init__()
        self.side = side
        self.grid = side // 16
        self.pe_layer = RandomPositionEncoding(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def tokens(self, xy: Tensor, labels: Tensor) -> Tensor:
        """Encode points and box corners.

        Parameters
        ----------
        xy : float tensor (B, N, 2)
            Model coordinates.
        labels : int tensor (B, N)
            :class:`TokenLabel` values.

        Returns
        -------
        float tensor (B, N, dim)
        """
        position = self.pe_layer((xy + 0.5) / self.side)
        table = torch.cat(
            [
                cast("nn.Embedding", e).weight
                for e in (self.not_a_point_embed, *self.point_embeddings)
            ]
        )
        padding = (labels == TokenLabel.PADDING)[..., None]
        return torch.where(padding, 0.0, position) + table[labels + 1]

    def dense(self, logits: Tensor | None) -> Tensor:
        """Encode mask logits (B, 1, side / 4, side / 4), or none.

        Returns
        -------
        float tensor (B or 1, dim, side / 16 or 1, side / 16 or 1)
            To be added to the image embedding.
        """
        if logits is None:
            return self.no_mask_embed.weight[:, :, None, None]
        return cast("Tensor", self.mask_downscaling(logits))

    def image_positions(self) -> Tensor:
        """Encode the positions of the embedding's cells, (1, dim, grid, grid)."""
        weight = self.no_mask_embed.weight
        step = (torch.arange(self.grid, device=weight.device) + 0.5) / self.grid
        y, x = torch.meshgrid(step, step, indexing="ij")
        code = cast("Tensor", self.pe_layer(torch.stack([x, y], dim=-1)))
        return code.permute(2, 0, 1)[None]
