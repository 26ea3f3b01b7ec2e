"""SSFTT: convolutions, a tokenizer with weights drawn from a Gaussian, one transformer layer.

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
(github.com/zgr6010/HSI_SSFTT). That code scales attention by the whole width (64), and not by the
root of a head's (8) as Vaswani et al. 2017 do, and has zeros beyond the scene's edge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperpeft.baselines.layers import Block
from hyperpeft.errors import ConfigError

DIM, TOKENS, HEADS, HIDDEN, DROPOUT = 64, 4, 8, 8, 0.1
LEAST_WINDOW, LEAST_COMPONENTS = 5, 3


class SSFTT(nn.Module):
    """Logits (N, K) of windows (N, C, p, p).

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
        for what, least, got in (
            ("patch size of ssftt", LEAST_WINDOW, window),
            ("components of ssftt", LEAST_COMPONENTS, components),
        ):
            if got < least:
                raise ConfigError(what, expected=f"at least {least}", got=got)
        self.spectral = nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU())
        self.spatial = nn.Sequential(
            nn.Conv2d(8 * (components - 2), DIM, 3), nn.BatchNorm2d(DIM), nn.ReLU()
        )
        self.to_weights = nn.Linear(DIM, TOKENS, bias=False)  # Wa
        self.to_values = nn.Linear(DIM, DIM, bias=False)  # Wb
        for layer in (self.to_weights, self.to_values):
            nn.init.xavier_normal_(layer.weight)
        self.class_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.position = nn.Parameter(torch.empty(1, TOKENS + 1, DIM).normal_(0, 0.02))
        self.dropout = nn.Dropout(DROPOUT)
        self.block = Block(DIM, HEADS, HIDDEN, DROPOUT, bias=True)
        self.head = nn.Linear(DIM, classes)
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
