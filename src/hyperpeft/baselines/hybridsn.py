"""HybridSN: three convolutions over space and spectrum, one over space, two hidden layers.

Source: Roy, Krishna, Dubey and Chaudhuri 2020, "HybridSN: Exploring 3-D-2-D CNN Feature Hierarchy
for Hyperspectral Image Classification", IEEE GRSL 17(2), arXiv 1902.06701.

    windows (N, C, p, p)            C principal components, p = 25
    3D, 8 kernels of 7 x 3 x 3      (N, 8, C - 6, p - 2, p - 2)
    3D, 16 kernels of 5 x 3 x 3     (N, 16, C - 10, p - 4, p - 4)
    3D, 32 kernels of 3 x 3 x 3     (N, 32, C - 12, p - 6, p - 6)
    2D, 64 kernels of 3 x 3         (N, 64, p - 8, p - 8), over kernels and components together
    256 and 128 units, dropout 0.4 after each, then the K classes

ReLU after every layer but the last. Parameters, as the paper counts them: 5,122,176 for Indian
Pines (C = 30, K = 16), 4,844,793 for Pavia University (15, 9), 4,845,696 for Salinas (15, 16).

The published code adds a decay of 1e-6 a step to the paper's rate of 0.001, which changes nothing
in some hundred steps and is left out. It keeps the epoch of the best training accuracy, where this
keeps the last, and has zeros beyond the scene's edge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperpeft.errors import ConfigError

LEAST_WINDOW, LEAST_COMPONENTS = 9, 13  # what the kernels leave a pixel of
DROPOUT = 0.4


class HybridSN(nn.Module):
    """Logits (N, K) of windows (N, C, p, p).

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
        for what, least, got in (
            ("patch size of hybridsn", LEAST_WINDOW, window),
            ("components of hybridsn", LEAST_COMPONENTS, components),
        ):
            if got < least:
                raise ConfigError(what, expected=f"at least {least}", got=got)
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
            nn.Dropout(DROPOUT),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
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
