"""SAM's own image encoder: a plain ViT with window attention (vit_b, l, h).

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection"
(ViTDet), ECCV 2022; as used by Kirillov et al., "Segment Anything", 2023.
Module names as published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.core.model import Capabilities
from napari_sam.models.sam1.layers import Neck, Step


@dataclass(frozen=True, slots=True)
class ViTShape:
    """Everything that tells one SAM ViT from another.

    Parameters
    ----------
    dim, depth, heads : int
        Width, number of blocks, attention heads.
    grid : int
        Side of the embedding in cells of 16 pixels; 64 for SAM.
    window : int
        Side of an attention window in cells; 14 for SAM.
    global_blocks : tuple of int
        Blocks that attend over the whole image.
    mlp : int
        Hidden width of the feed-forward layers.
    out : int
        Channels of the embedding.
    """

    dim: int
    depth: int
    heads: int
    grid: int
    window: int
    global_blocks: tuple[int, ...]
    mlp: int
    out: int = 256


class PatchEmbed(nn.Module):
    """16 × 16 patches to tokens, (B, 3, S, S) to (B, S / 16, S / 16, dim)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """Cut an image into tokens."""
        return cast("Tensor", self.proj(x)).permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Self-attention over a square with decomposed relative positions."""

    offsets: Tensor

    def __init__(self, dim: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))
        # By NumPy: torch's own operators give no numbers on its meta device.
        step = np.arange(size)
        offsets = torch.from_numpy(step[:, None] - step + size - 1)
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, size, size, dim) to the same."""
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        square = q.unflatten(2, (height, width))
        by_row = torch.einsum("bnhwc,hkc->bnhwk", square, self.rel_pos_h[self.offsets])
        by_col = torch.einsum("bnhwc,wkc->bnhwk", square, self.rel_pos_w[self.offsets])
        bias = by_row[..., :, None] + by_col[..., None, :]
        bias = bias.reshape(batch, self.heads, height * width, height * width)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        y = y.transpose(1, 2).reshape(batch, height, width, -1)
        return cast("Tensor", self.proj(y))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to the same."""
        return cast("Tensor", self.lin2(F.gelu(self.lin1(x))))


class Block(nn.Module):
    """Attention (in windows, or global when ``window`` is 0) and an MLP."""

    def __init__(self, shape: ViTShape, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(shape.dim, eps=1e-6)
        self.attn = Attention(shape.dim, shape.heads, window or shape.grid)
        self.norm2 = nn.LayerNorm(shape.dim, eps=1e-6)
        self.mlp = Mlp(shape.dim, shape.mlp)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, g, g, dim) to the same."""
        y = self.norm1(x)
        x = x + (self._in_windows(y) if self.window else self.attn(y))
        return x + cast("Tensor", self.mlp(self.norm2(x)))

    def _in_windows(self, x: Tensor) -> Tensor:
        batch, grid, _, dim = x.shape
        w = self.window
        pad = -grid % w
        n = (grid + pad) // w
        x = F.pad(x, (0, 0, 0, pad, 0, pad)).view(batch, n, w, n, w, dim)
        y = self.attn(x.transpose(2, 3).reshape(-1, w, w, dim))
        y = y.view(batch, n, n, w, w, dim).transpose(2, 3)
        return cast("Tensor", y.reshape(batch, n * w, n * w, dim)[:, :grid, :grid])


class SamViT(nn.Module):
    """SAM's image encoder of any size."""

    patch = 16
    capabilities = Capabilities()

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(shape.dim, self.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.grid, shape.grid, shape.dim))
        self.blocks = nn.ModuleList(
            Block(shape, 0 if i in shape.global_blocks else shape.window)
            for i in range(shape.depth)
        )
        self.neck = Neck(shape.dim, shape.out)

    def steps(self) -> list[Step]:
        """Return the encoder as short steps to be called one after another."""
        return [self._embed, *self.blocks, self._to_output]

    def forward(self, x: Tensor) -> Tensor:
        """Encode normalized RGB, (B, 3, S, S) to (B, out, S / 16, S / 16)."""
        for step in self.steps():
            x = step(x)
        return x

    def _embed(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.patch_embed(x)) + self.pos_embed

    def _to_output(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.neck(x.permute(0, 3, 1, 2)))
