"""TinyViT-5M, MobileSAM's image encoder.

Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision
Transformers", ECCV 2022; as used by Zhang et al., "Faster Segment Anything"
(MobileSAM), 2023.  Module names are those of the published checkpoints; every
batch norm is folded into its convolution (:mod:`napari_sam.models.sam1.checkpoint`
folds those of official files).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.core.model import Capabilities
from napari_sam.models.sam1.layers import Dense, Neck, Step, gelu_

if TYPE_CHECKING:
    from collections.abc import Iterator

DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
MLP_RATIO = 4
EXPANSION = 4

# Measured on the CPU: rows to compute at a time, so that what is between two
# layers stays in the caches.
STRIP = 32
MLP_ROWS = 32


class ConvNorm(nn.Module):
    """Convolution with its batch norm folded in, named ``c`` as in TinyViT."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W)."""
        return cast("Tensor", self.c(x))


class PatchEmbed(nn.Module):
    """Two stride-2 convolutions: (B, 3, S, S) to (B, dim, S / 4, S / 4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Entry 1 is the activation; it keeps the published numbering.
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, 3, 2), nn.Identity(), ConvNorm(dim // 2, dim, 3, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embed an image."""
        return cast("Tensor", self.seq[2](gelu_(self.seq[0](x))))


class Bottleneck(nn.Module):
    """1 × 1, depthwise 3 × 3 and 1 × 1 convolutions with GELU between them."""

    def __init__(self, inputs: int, hidden: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = ConvNorm(inputs, hidden, 1)
        self.conv2 = ConvNorm(hidden, hidden, 3, stride, groups=hidden)
        self.conv3 = ConvNorm(hidden, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, out, H / stride, W / stride)."""
        if torch.is_grad_enabled():
            # What backward needs is kept anyway, so strips would save nothing.
            return cast("Tensor", self.conv3(gelu_(self.conv2(gelu_(self.conv1(x))))))
        return torch.cat(list(self._strips(x)), dim=2)

    def _strips(self, x: Tensor) -> Iterator[Tensor]:
        """Compute a few rows at a time, so that the hidden layer stays in cache."""
        height = x.shape[2]
        for top in range(0, height, STRIP):
            bottom = min(top + STRIP, height)
            # One more row on either side, for the 3 x 3 convolution; two above
            # when only every second row is computed.
            start, stop = max(0, top - self.stride), min(bottom + 1, height)
            y = gelu_(self.conv1(x[:, :, start:stop]))
            y = gelu_(self.conv2(y))
            first = (top - start) // self.stride
            rows = -(-(bottom - top) // self.stride)
            yield self.conv3(y[:, :, first : first + rows])


class MBConv(Bottleneck):
    """Inverted bottleneck with a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim * EXPANSION, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to the same."""
        return gelu_(super().forward(x) + x)


class PatchMerging(Bottleneck):
    """Change the number of channels and, with stride 2, halve the resolution."""

    def __init__(self, dim: int, out: int, stride: int) -> None:
        super().__init__(dim, out, out, stride)


class WindowAttention(nn.Module):
    """Self-attention inside one window, with a learnt bias per |dy|, |dx|.

    ``attention_biases`` is (heads, window²): the published tables number the
    offsets in order of first appearance of (|dy|, |dx|), which is raster order.
    """

    bias_index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = Dense(dim, dim * 3)
        self.proj = Dense(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.register_buffer("bias_index", _offsets(window), persistent=False)

    def bias(self) -> Tensor:
        """Return the bias of every pair of positions, (heads, window², window²)."""
        return self.attention_biases[:, self.bias_index]

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows, (B, window², dim) to the same."""
        batch, length, dim = x.shape
        qkv = self.qkv(self.norm(x))
        # One head's query, key and value lie next to each other.
        q, k, v = (
            qkv.view(batch, length, self.heads, 3, dim // self.heads)
            .permute(3, 0, 2, 1, 4)
            .unbind(0)
        )
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=self.bias().to(q.dtype)[None]
        )
        y = y.transpose(1, 2).reshape(batch, length, dim)
        return cast("Tensor", self.proj(y))


class Mlp(nn.Module):
    """Layer norm and two linear layers with a GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = Dense(dim, dim * MLP_RATIO)
        self.fc2 = Dense(dim * MLP_RATIO, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to the same."""
        rows = x.shape[1] if torch.is_grad_enabled() else MLP_ROWS
        parts = self.norm(x).split(rows, dim=1)
        return torch.cat([self.fc2(gelu_(self.fc1(part))) for part in parts], dim=1)


class TinyViTBlock(nn.Module):
    """Window attention, a depthwise 3 × 3 convolution, and an MLP."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        height, width = x.shape[1:3]
        x = x + _unwindow(
            self.attn(_windows(x, self.window)), self.window, height, width
        )
        # A (B, H, W, C) tensor seen as (B, C, H, W) is channels-last already.
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + cast("Tensor", self.mlp(x))


def _offsets(window: int) -> Tensor:
    """Return the row of the bias table for every pair of positions of a window.

    Computed by NumPy, since a network is built on torch's meta device, where torch's
    own operators give no numbers.
    """
    row, col = np.indices((window, window)).reshape(2, -1)
    row, col = np.abs(row[:, None] - row), np.abs(col[:, None] - col)
    return torch.from_numpy(row * window + col)


def _channels_last(x: Tensor) -> Tensor:
    """See (B, C, H, W) as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def _channels_first(x: Tensor) -> Tensor:
    """See (B, H, W, C) as (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def _windows(x: Tensor, window: int) -> Tensor:
    """Cut (B, H, W, C) into (B · windows, window², C), zero-padded."""
    batch, height, width, dim = x.shape
    down, right = -height % window, -width % window
    if down or right:
        x = F.pad(x, (0, 0, 0, right, 0, down))
    rows, cols = (height + down) // window, (width + right) // window
    x = x.view(batch, rows, window, cols, window, dim)
    return x.transpose(2, 3).reshape(-1, window * window, dim)


def _unwindow(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo :func:`_windows`, dropping the padding."""
    rows, cols = -(-height // window), -(-width // window)
    x = x.view(-1, rows, cols, window, window, x.shape[-1])
    x = x.transpose(2, 3).reshape(-1, rows * window, cols * window, x.shape[-1])
    return x[:, :height, :width]


class ConvStage(nn.Module):
    """The first stage: convolutions only."""

    def __init__(self, dim: int, depth: int, out: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MBConv(dim) for _ in range(depth))
        self.downsample = PatchMerging(dim, out, 2)

    def steps(self) -> list[Step]:
        """Return what maps (B, C, H, W) to (B, out, H / 2, W / 2), in order."""
        return [*self.blocks, self.downsample]


class AttentionStage(nn.Module):
    """A stage of window-attention blocks, optionally followed by a merge."""

    def __init__(
        self, dim: int, depth: int, heads: int, window: int, merge: PatchMerging | None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TinyViTBlock(dim, heads, window) for _ in range(depth)
        )
        self.downsample = merge

    def steps(self) -> list[Step]:
        """Return what maps (B, C, H, W) to (B, out, H / stride, W / stride)."""
        merge = [] if self.downsample is None else [self.downsample]
        return [_channels_last, *self.blocks, _channels_first, *merge]


class TinyViT(nn.Module):
    """MobileSAM's image encoder, ``vit_t``.

    Fully convolutional apart from its windows, so any input side that is a
    multiple of 16 works.
    """

    patch = 16
    capabilities = Capabilities(views=True)

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(DIMS[0])
        # The third merge keeps the resolution: the embedding is side / 16.
        strides = (2, 2, 1)
        self.layers = nn.ModuleList([ConvStage(DIMS[0], DEPTHS[0], DIMS[1])])
        for i in (1, 2, 3):
            merge = PatchMerging(DIMS[i], DIMS[i + 1], strides[i]) if i < 3 else None
            self.layers.append(
                AttentionStage(DIMS[i], DEPTHS[i], HEADS[i], WINDOWS[i], merge)
            )
        self.neck = Neck(DIMS[-1], 256)

    def steps(self) -> list[Step]:
        """Return the encoder as short steps to be called one after another."""
        stages = [
            step
            for stage in self.layers
            for step in cast("ConvStage | AttentionStage", stage).steps()
        ]
        return [self.patch_embed, *stages, self.neck]

    def forward(self, x: Tensor) -> Tensor:
        """Encode normalized RGB, (B, 3, S, S) to (B, 256, S / 16, S / 16)."""
        for step in self.steps():
            x = step(x)
        return x
