"""The smallest encoder with what a test of adapters needs, and values that look trained."""

import torch

from hyperpeft import adapters
from hyperpeft.models.spectralgpt import SpectralGPT, initialise

DIM, DEPTH = 96, 2  # 96 = 8 x 12: factors that differ, and a rank of 4 that is low


def encoder(seed=0, dim=DIM, depth=DEPTH):
    return initialise(SpectralGPT(dim, depth, 2), seed).eval()


def images(count=2, seed=1):
    return torch.randn(count, 12, 32, 32, generator=torch.Generator().manual_seed(seed))


def train_somehow(model, seed=2, deviation=0.3):
    """Random values for every A and B, as if training had moved them far from the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in adapters.adapters_of(model).values():
            for _, parameter in adapter.own_parameters():
                noise = torch.empty(parameter.shape).normal_(0, deviation, generator=generator)
                parameter.copy_(noise)
    return model


def relative(a, b):
    """Largest difference over the largest value."""
    a, b = a.detach().double(), b.detach().double()
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
