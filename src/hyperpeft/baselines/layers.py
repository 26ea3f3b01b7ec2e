"""The transformer layer that two of the networks share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A pre-norm transformer layer: x + attention(norm x), then x + perceptron(norm x).

    Vaswani et al. 2017, arXiv 1706.03762, with the norm before each part as in Dosovitskiy et al.
    2021, arXiv 2010.11929. Attention is scaled by the root of a head's width.

    Parameters
    ----------
    dim, heads, hidden : int
        Width D, attention heads, hidden units of the perceptron.
    dropout : float
        After attention and after each layer of the perceptron.
    bias : bool
        Of the layer that makes queries, keys and values.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.perceptron = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, L, D) to tokens (N, L, D)."""
        x = x + self.dropout(self.proj(self._attend(self.norm1(x))))
        return x + self.perceptron(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        n, length, dim = x.shape
        shape = (n, length, 3, self.heads, dim // self.heads)
        q, k, v = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)  # each (N, heads, L, D / heads)
        out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(n, length, dim)
