"""Random draws and smooth surfaces as tensors, on any device and repeatable from a seed."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Draws:
    """Random tensors of one generator.

    Parameters
    ----------
    seed : int
    device : torch.device
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high)."""
        values = torch.rand(shape, generator=self.generator, device=self.device)
        return low + (high - low) * values

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Uniform in the logarithm."""
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def integers(self, *shape: int, high: int) -> Tensor:
        """Whole numbers from 0 to high - 1."""
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def chance(self, *shape: int, share: float) -> Tensor:
        """True with probability `share`."""
        return self.uniform(*shape) < share

    def categories(self, weights: Tensor, count: int) -> Tensor:
        """`count` draws from each row of weights (S, K): (S, count)."""
        return torch.multinomial(weights, count, replacement=True, generator=self.generator)

    def surfaces(self, scenes: int, count: int, size: int, grid: int) -> Tensor:
        """Smooth standardised surfaces (scenes, count, size, size) from a coarse grid of numbers.

        `grid` is the number of independent values along a side; a grid as large as the surface
        gives independent pixels.
        """
        if grid >= size:
            return self.normal(scenes, count, size, size)
        coarse = self.normal(scenes, count, grid + 3, grid + 3)
        fine = F.interpolate(
            coarse, size=size + 3 * size // grid, mode="bicubic", align_corners=False
        )
        start = size // grid
        fine = fine[..., start : start + size, start : start + size]
        deviation, mean = torch.std_mean(fine, dim=(-2, -1), keepdim=True)
        return (fine - mean) / (deviation + 1e-6)
