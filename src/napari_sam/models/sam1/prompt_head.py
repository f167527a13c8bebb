"""A head that sees where objects are, for prompts without a user.

A few convolutions on the image embedding give two maps at a quarter of the
input's resolution: foreground, and object centers.  Everything mode prompts at
the peaks of the second instead of on a blind grid (the idea of automatic prompt
generation in micro-sam).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam.models.sam1.layers import LayerNorm2d

DIM = 256
WIDTH = 64

FOREGROUND, CENTER = 0, 1
"""Channels of the output."""


class PromptHead(nn.Module):
    """Predict foreground and object centers from an image embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(DIM, 2 * WIDTH, 3, padding=1)
        self.norm = LayerNorm2d(2 * WIDTH)
        self.up1 = nn.ConvTranspose2d(2 * WIDTH, WIDTH, 2, 2)
        self.norm1 = LayerNorm2d(WIDTH)
        self.local1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(WIDTH, WIDTH // 2, 2, 2)
        self.local2 = nn.Conv2d(WIDTH // 2, WIDTH // 2, 3, padding=1)
        self.out = nn.Conv2d(WIDTH // 2, 2, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, 256, g, g) to logits (B, 2, 4 g, 4 g)."""
        x = F.gelu(self.norm(self.mix(embedding)))
        x = F.gelu(self.norm1(self.up1(x)))
        x = x + F.gelu(self.local1(x))
        x = F.gelu(self.up2(x))
        x = x + F.gelu(self.local2(x))
        return cast("Tensor", self.out(x))

    def reset_parameters(self, seed: int = 0) -> None:
        """Start anew: objects are rare, so both maps begin near 0.1."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                fan = module.weight[0].numel()
                if isinstance(module, nn.ConvTranspose2d):
                    fan = module.in_channels
                with torch.no_grad():
                    module.weight.normal_(0.0, (2.0 / fan) ** 0.5, generator=generator)
                    if module.bias is not None:
                        module.bias.zero_()
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            cast("Tensor", self.out.bias).fill_(-2.0)
