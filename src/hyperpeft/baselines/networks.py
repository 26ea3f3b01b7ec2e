"""Networks of papers: HybridSN, SSFTT and SpectralFormer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperpeft.errors import ConfigError


def _require(what: str, got: int, least: int) -> None:
    """ConfigError for fewer than a network's kernels leave something of."""
    if got < least:
        raise ConfigError(what, expected=f"at least {least}", got=got)


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


HYBRIDSN_WINDOW, HYBRIDSN_COMPONENTS = 9, 13  # what the kernels leave a pixel of
HYBRIDSN_DROPOUT = 0.4


class HybridSN(nn.Module):
    """Logits (N, K) of windows (N, C, p, p).

    Source: Roy, Krishna, Dubey and Chaudhuri 2020, "HybridSN: Exploring 3-D-2-D CNN Feature
    Hierarchy for Hyperspectral Image Classification", IEEE GRSL 17(2), arXiv 1902.06701.

        windows (N, C, p, p)            C principal components, p = 25
        3D, 8 kernels of 7 x 3 x 3      (N, 8, C - 6, p - 2, p - 2)
        3D, 16 kernels of 5 x 3 x 3     (N, 16, C - 10, p - 4, p - 4)
        3D, 32 kernels of 3 x 3 x 3     (N, 32, C - 12, p - 6, p - 6)
        2D, 64 kernels of 3 x 3         (N, 64, p - 8, p - 8), over kernels and components together
        256 and 128 units, dropout 0.4 after each, then the K classes

    ReLU after every layer but the last. Parameters, as the paper counts them: 5,122,176 for Indian
    Pines (C = 30, K = 16), 4,844,793 for Pavia University (15, 9), 4,845,696 for Salinas (15, 16).

    The published code adds a decay of 1e-6 a step to the paper's rate of 0.001, which changes
    nothing in some hundred steps and is left out. It keeps the epoch of the best training accuracy,
    where this keeps the last, and has zeros beyond the scene's edge.

    Parameters
    ----------
    components : int
        C, at least 13.
    window : int
        p, at least 9.
    classes : int
        K.
    """

    def __init__(self, components: int, window: int, classes: int) -> None:
        super().__init__()
        _require("patch size of hybridsn", window, HYBRIDSN_WINDOW)
        _require("components of hybridsn", components, HYBRIDSN_COMPONENTS)
        self.spectral = nn.Sequential(
            nn.Conv3d(1, 8, (7, 3, 3)),
            nn.ReLU(),
            nn.Conv3d(8, 16, (5, 3, 3)),
            nn.ReLU(),
            nn.Conv3d(16, 32, (3, 3, 3)),
            nn.ReLU(),
        )
        self.spatial = nn.Sequential(nn.Conv2d(32 * (components - 12), 64, 3), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(64 * (window - 8) ** 2, 256),
            nn.ReLU(),
            nn.Dropout(HYBRIDSN_DROPOUT),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Dropout(HYBRIDSN_DROPOUT),
            nn.Linear(128, classes),
        )
        for module in self.modules():  # the published experiments ran on Keras, which starts so
            if isinstance(module, nn.Conv3d | nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.spectral(x.unsqueeze(1))  # (N, 32, C - 12, p - 6, p - 6)
        x = self.spatial(x.flatten(1, 2))  # (N, 64, p - 8, p - 8)
        return self.head(torch.flatten(x, 1))


SSFTT_DIM, SSFTT_TOKENS, SSFTT_HEADS, SSFTT_HIDDEN, SSFTT_DROPOUT = 64, 4, 8, 8, 0.1
SSFTT_WINDOW, SSFTT_COMPONENTS = 5, 3


class SSFTT(nn.Module):
    """Logits (N, K) of windows (N, C, p, p).

    Source: Sun, Zhao, Zheng and Wu 2022, "Spectral-Spatial Feature Tokenization Transformer for
    Hyperspectral Image Classification", IEEE TGRS 60, doi 10.1109/TGRS.2022.3144158.

        windows (N, C, p, p)          C = 30 principal components, p = 13
        3D, 8 kernels of 3 x 3 x 3    (N, 8, C - 2, p - 2, p - 2), batch norm, ReLU
        2D, 64 kernels of 3 x 3       (N, 64, p - 4, p - 4), batch norm, ReLU
        X = (N, L, 64)                L = (p - 4)^2 pixels
        T = softmax(X Wa)^T X Wb      (N, 4, 64): four tokens, each a weighted mean of the pixels
        class token and position      (N, 5, 64)
        layer normalisation, self-attention of 8 heads; again, a perceptron with 8 hidden units
        the class token to the K classes

    Wa and Wb start normal with Glorot's deviation. Dropout 0.1.

    The paper is not openly readable: sizes and schedule are those of the authors' code
    (github.com/zgr6010/HSI_SSFTT). That code scales attention by the whole width (64), and not by
    the root of a head's (8) as Vaswani et al. 2017 do, and has zeros beyond the scene's edge.

    Parameters
    ----------
    components : int
        C, at least 3.
    window : int
        p, at least 5. The number of parameters does not depend on it.
    classes : int
        K.
    """

    def __init__(self, components: int, window: int, classes: int) -> None:
        super().__init__()
        _require("patch size of ssftt", window, SSFTT_WINDOW)
        _require("components of ssftt", components, SSFTT_COMPONENTS)
        self.spectral = nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU())
        self.spatial = nn.Sequential(
            nn.Conv2d(8 * (components - 2), SSFTT_DIM, 3), nn.BatchNorm2d(SSFTT_DIM), nn.ReLU()
        )
        self.to_weights = nn.Linear(SSFTT_DIM, SSFTT_TOKENS, bias=False)  # Wa
        self.to_values = nn.Linear(SSFTT_DIM, SSFTT_DIM, bias=False)  # Wb
        for layer in (self.to_weights, self.to_values):
            nn.init.xavier_normal_(layer.weight)
        self.class_token = nn.Parameter(torch.zeros(1, 1, SSFTT_DIM))
        self.position = nn.Parameter(torch.empty(1, SSFTT_TOKENS + 1, SSFTT_DIM).normal_(0, 0.02))
        self.dropout = nn.Dropout(SSFTT_DROPOUT)
        self.block = Block(SSFTT_DIM, SSFTT_HEADS, SSFTT_HIDDEN, SSFTT_DROPOUT, bias=True)
        self.head = nn.Linear(SSFTT_DIM, classes)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.spectral(x.unsqueeze(1))  # (N, 8, C - 2, p - 2, p - 2)
        x = self.spatial(x.flatten(1, 2))  # (N, 64, p - 4, p - 4)
        x = x.flatten(2).transpose(1, 2)  # (N, L, 64)
        weights = self.to_weights(x).softmax(dim=1)  # (N, L, 4), over the pixels
        tokens = weights.transpose(1, 2) @ self.to_values(x)  # (N, 4, 64)
        first = self.class_token.expand(len(x), -1, -1)
        tokens = self.dropout(torch.cat([first, tokens], dim=1) + self.position)  # (N, 5, 64)
        return self.head(self.block(tokens)[:, 0])


FORMER_DIM, FORMER_DEPTH, FORMER_HEADS, FORMER_HIDDEN, FORMER_DROPOUT = 64, 5, 4, 8, 0.1


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

    Source: Hong, Han, Yao, Gao, Zhang, Plaza and Chanussot 2022, "SpectralFormer: Rethinking
    Hyperspectral Image Classification with Transformers", IEEE TGRS 60, arXiv 2107.02988.

        windows (N, B, p, p)          all B bands, each scaled to 0..1; p = 7
        group-wise embedding          (N, B, m p^2): a band with its m - 1 neighbours, m = 3
        linear, class token, position (N, B + 1, 64), dropout 0.1
        five transformer layers of 4 heads, perceptrons of 8 hidden units
        cross-layer adaptive fusion   from the third layer on, what enters layer l is first fused
                                      with what entered layer l - 2: F z(l) + G z(l - 2) + bias
        layer normalisation of the class token, linear to the K classes

    The bands' neighbours go round at both ends. The paper writes the fusion as one learnable weight
    for each of the two inputs; in the code that its authors have published
    (github.com/danfenghong/IEEE_TGRS_SpectralFormer), F and G are matrices over the tokens, (B + 1)
    x (B + 1), which is what stands here: the published results are of that code. No parameter count
    is known from the paper. 300 epochs, weight decay 5e-3 and groups of 3 are what work built on
    that code gives as its command for Indian Pines; its own defaults are 1,000 epochs and no decay.

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
        self.embed = nn.Linear(group * window**2, FORMER_DIM)
        self.class_token = nn.Parameter(torch.randn(1, 1, FORMER_DIM))
        self.position = nn.Parameter(torch.randn(1, bands + 1, FORMER_DIM))
        self.dropout = nn.Dropout(FORMER_DROPOUT)
        self.blocks = nn.ModuleList(
            Block(FORMER_DIM, FORMER_HEADS, FORMER_HIDDEN, FORMER_DROPOUT, bias=False)
            for _ in range(FORMER_DEPTH)
        )
        self.fusions = nn.ModuleList(Fusion(bands + 1) for _ in range(FORMER_DEPTH - 2))
        self.head = nn.Sequential(nn.LayerNorm(FORMER_DIM), nn.Linear(FORMER_DIM, classes))

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
