"""SpectralFormer, patch-wise: a transformer along the spectrum, one token a band.

Source: Hong, Han, Yao, Gao, Zhang, Plaza and Chanussot 2022, "SpectralFormer: Rethinking
Hyperspectral Image Classification with Transformers", IEEE TGRS 60, arXiv 2107.02988.

    windows (N, B, p, p)          all B bands, each scaled to 0..1; p = 7
    group-wise embedding          (N, B, m p^2): a band with its m - 1 neighbours, m = 3
    linear, class token, position (N, B + 1, 64), dropout 0.1
    five transformer layers of 4 heads, perceptrons of 8 hidden units
    cross-layer adaptive fusion   from the third layer on, what enters layer l is first fused with
                                  what entered layer l - 2: F z(l) + G z(l - 2) + bias
    layer normalisation of the class token, linear to the K classes

The bands' neighbours go round at both ends. The paper writes the fusion as one learnable weight
for each of the two inputs; in the code that its authors have published
(github.com/danfenghong/IEEE_TGRS_SpectralFormer), F and G are matrices over the tokens,
(B + 1) x (B + 1), which is what stands here: the published results are of that code. No parameter
count is known from the paper. 300 epochs, weight decay 5e-3 and groups of 3 are what work built on
that code gives as its command for Indian Pines; its own defaults are 1,000 epochs and no decay.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperpeft.baselines.layers import Block
from hyperpeft.errors import ConfigError

DIM, DEPTH, HEADS, HIDDEN, DROPOUT = 64, 5, 4, 8, 0.1


class Fusion(nn.Module):
    """F x + G earlier + bias, with F and G over the tokens."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.join = nn.Linear(2 * tokens, tokens)  # [F G] and the bias

    def forward(self, x: Tensor, earlier: Tensor) -> Tensor:
        """Two times (N, L, D) to (N, L, D)."""
        both = torch.cat([x, earlier], dim=1)  # (N, 2 L, D)
        return self.join(both.transpose(1, 2)).transpose(1, 2)


class SpectralFormer(nn.Module):
    """Logits (N, K) of windows (N, B, p, p).

    Parameters
    ----------
    bands : int
        B.
    window : int
        p.
    classes : int
        K.
    group : int
        m, odd, at most B.
    """

    def __init__(self, bands: int, window: int, classes: int, group: int) -> None:
        super().__init__()
        if group % 2 == 0 or group > bands:
            raise ConfigError(
                "option group of spectralformer",
                expected=f"an odd number of at most the scene's {bands} bands",
                got=group,
            )
        self.group = group
        self.embed = nn.Linear(group * window**2, DIM)
        self.class_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.position = nn.Parameter(torch.randn(1, bands + 1, DIM))
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.ModuleList(
            Block(DIM, HEADS, HIDDEN, DROPOUT, bias=False) for _ in range(DEPTH)
        )
        self.fusions = nn.ModuleList(Fusion(bands + 1) for _ in range(DEPTH - 2))
        self.head = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.embed(self._grouped(x.flatten(2)))  # (N, B, 64)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        x = self.dropout(x + self.position)  # (N, B + 1, 64)
        entered: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            entered.append(x)
            if number >= 2:
                x = self.fusions[number - 2](x, entered[number - 2])
            x = block(x)
        return self.head(x[:, 0])

    def _grouped(self, x: Tensor) -> Tensor:
        """Bands (N, B, p^2), each beside its neighbours: (N, B, m p^2)."""
        half = self.group // 2
        return torch.cat([x.roll(half - i, dims=1) for i in range(self.group)], dim=2)
