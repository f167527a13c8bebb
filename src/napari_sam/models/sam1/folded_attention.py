"""Attention between a few tokens and many cells, weights on the small side.

See :mod:`napari_sam.models.sam1.fast_decoder` for why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_sam.models.sam1.mask_decoder import DIM, HEADS

if TYPE_CHECKING:
    from napari_sam.models.sam1.mask_decoder import Attention


class FoldedAttention:
    """One attention between tokens and cells, weights arranged per head.

    Parameters
    ----------
    attention : Attention
        The layer.
    positions : float32 tensor (cells, 256)
        Encoded positions of the cells.
    tokens_ask : bool
        Whether the tokens are the queries, or the cells.
    dtype : torch.dtype
        Type of what meets the cells.
    """

    def __init__(
        self,
        attention: Attention,
        positions: Tensor,
        *,
        tokens_ask: bool,
        dtype: torch.dtype,
    ) -> None:
        self.scale = (attention.q_proj.out_features // HEADS) ** -0.5
        token, cell = (
            (attention.q_proj, attention.k_proj)
            if tokens_ask
            else (attention.k_proj, attention.q_proj)
        )
        self.token = token
        self.value = attention.v_proj
        self.out = attention.out_proj
        self.dtype = dtype
        # (heads, 16, 256): from a head of the token side to the cells' channels.
        self.cell_weight = per_head(cell.weight)
        self.value_weight = per_head(attention.v_proj.weight)
        self.out_weight = per_head(attention.out_proj.weight.T)
        # A bias on the cells shifts all scores of a token alike.  That cancels
        # where the softmax runs over cells, not where it runs over tokens.
        bias = None if tokens_ask else cell.bias
        self.position_keys = (
            heads_last(F.linear(positions, cell.weight, bias)).to(dtype).contiguous()
        )

    def scores(self, tokens: Tensor, cells: Tensor) -> Tensor:
        """Return scaled scores (B, heads, T, cells) of tokens (B, T, 256)."""
        batch, count = tokens.shape[:2]
        head = split_heads(self.token(tokens)) * self.scale
        folded = (head @ self.cell_weight).to(self.dtype).flatten(1, 2)
        scores = batched(head.to(self.dtype), self.position_keys).flatten(1, 2)
        scores.baddbmm_(folded, cells.transpose(1, 2))
        return scores.view(batch, HEADS, count, -1)

    def gather(self, scores: Tensor, cells: Tensor) -> Tensor:
        """Return what the tokens read from the cells, (B, T, 256) float32."""
        batch, _, count, _ = scores.shape
        weights = scores.softmax(dim=-1)
        read = (weights.flatten(1, 2) @ cells).float()
        read = read.view(batch, HEADS, count, DIM) @ self.value_weight.transpose(1, 2)
        return self._joined(read)

    def gather_projected(self, scores: Tensor, values: Tensor) -> Tensor:
        """Return the same from values (heads, cells, 16) projected beforehand."""
        return self._joined(batched(scores.softmax(dim=-1), values).float())

    def scatter(self, scores: Tensor, tokens: Tensor, cells: Tensor) -> Tensor:
        """Return the cells plus what they read from the tokens, (B, cells, 256)."""
        weights = scores.softmax(dim=2).flatten(1, 2)
        # The weights of a head sum to one, so an eighth of the bias in every
        # row adds up to the bias.
        values = (
            split_heads(self.value(tokens)) @ self.out_weight + self.out.bias / HEADS
        )
        values = values.to(self.dtype).flatten(1, 2)
        return torch.baddbmm(cells, weights.transpose(1, 2), values)

    def _joined(self, heads: Tensor) -> Tensor:
        """Join (B, heads, T, 16) and project to (B, T, 256)."""
        joined = heads.transpose(1, 2).flatten(2) + self.value.bias
        projected: Tensor = self.out(joined)
        return projected


def per_head(weight: Tensor) -> Tensor:
    """Split a projection's outputs, (128, 256) to (heads, 16, 256)."""
    return weight.reshape(HEADS, -1, weight.shape[-1]).contiguous()


def matrix(per_head: Tensor) -> Tensor:
    """Undo :func:`per_head`."""
    return per_head.flatten(0, 1)


def heads_last(x: Tensor) -> Tensor:
    """Arrange (cells, 128) as (heads, 16, cells)."""
    return x.T.reshape(HEADS, -1, len(x))


def split_heads(x: Tensor) -> Tensor:
    """Arrange (B, T, 128) as (B, heads, T, 16)."""
    return x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)


def batched(x: Tensor, shared: Tensor) -> Tensor:
    """Multiply (B, heads, T, n) by the same (heads, n, m) for every B.

    One product per head for the whole batch: broadcasting would copy what is
    shared for every prompt.
    """
    batch, heads, count, _ = x.shape
    y = x.transpose(0, 1).reshape(heads, batch * count, -1) @ shared
    return y.view(heads, batch, count, -1).transpose(0, 1)
