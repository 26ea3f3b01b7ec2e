"""Masked autoencoding of 3-D tokens with SpectralGPT's multi-target loss.

Source: Hong et al., "SpectralGPT", TPAMI 2024 (arXiv 2311.07113), on He et al., "Masked
Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377). The encoder sees the first
int(L (1 - ratio)) tokens in the order of a random number per token; a light decoder gets these
and one learned vector in the place of every other, and predicts the 8 x 8 x 3 values of each token.

    loss = mean over removed tokens of (prediction - target)^2
         + mean over places of (sum over band groups of prediction - sum of target)^2

The second term ties the band groups of a place to each other: the spectrum is one thing.
Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperpeft.errors import ConfigError
from hyperpeft.models.spectralgpt import (
    BAND_GROUP,
    BANDS,
    NORM_EPS,
    PATCH,
    Block,
    SpectralGPT,
    initialise,
    interpolate_positions,
    token_grid,
)

VALUES = PATCH * PATCH * BAND_GROUP  # of one token
GROUPS = BANDS // BAND_GROUP  # T


class Masked(NamedTuple):
    """What the autoencoder gives for a batch."""

    prediction: Tensor  # (N, L, 192)
    mask: Tensor  # (N, L), 1 where the token was removed
    loss: Tensor  # ()


class Decoder(nn.Module):
    """From the tokens that were seen to the values of all."""

    def __init__(self, width: int, dim: int, depth: int, num_heads: int, side: int) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ConfigError(
                "decoder heads", expected=f"a divisor of the decoder's width {dim}", got=num_heads
            )
        self.decoder_embed = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder_pos_embed_spatial = nn.Parameter(torch.zeros(1, side * side, dim))
        self.decoder_pos_embed_temporal = nn.Parameter(torch.zeros(1, GROUPS, dim))
        self.decoder_blocks = nn.ModuleList(Block(dim, num_heads, 4 * dim) for _ in range(depth))
        self.decoder_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(dim, VALUES)

    def forward(self, seen: Tensor, places: Tensor, total: int) -> Tensor:
        """Values (N, L, 192) from tokens seen (N, K, D) at places (N, K) of L = `total`."""
        count, dim = len(seen), self.mask_token.shape[-1]
        seen = self.decoder_embed(seen)  # (N, K, d)
        filled = self.mask_token.to(seen.dtype).expand(count, total, dim)
        tokens = filled.scatter(1, _at(places, dim), seen)  # (N, L, d)
        side = round((total // GROUPS) ** 0.5)
        spatial = interpolate_positions(self.decoder_pos_embed_spatial, side)
        positions = self.decoder_pos_embed_temporal[:, :, None] + spatial[:, None]
        tokens = tokens + positions.flatten(1, 2)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(tokens))


class MaskedAutoencoder(nn.Module):
    """An encoder with the decoder that it is pretrained with.

    Parameters
    ----------
    encoder : SpectralGPT
    decoder_dim, decoder_depth, decoder_heads : int
    mask_ratio : float
        Share of the tokens that is removed, above 0 and below 1; at least one token stays.
    normalise_targets : bool
        Predict each token's values less their mean, over their deviation.
    seed : int
        Of the decoder's start.
    """

    def __init__(
        self,
        encoder: SpectralGPT,
        *,
        decoder_dim: int = 96,
        decoder_depth: int = 1,
        decoder_heads: int = 3,
        mask_ratio: float = 0.75,
        normalise_targets: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < mask_ratio < 1:
            raise ConfigError("mask ratio", expected="above 0 and below 1", got=mask_ratio)
        self.encoder = encoder
        side = token_grid(encoder.image_size, encoder.patch_embed.stride)
        self.decoder = Decoder(encoder.dim, decoder_dim, decoder_depth, decoder_heads, side)
        initialise(self.decoder, seed)
        self.mask_ratio, self.normalise_targets = mask_ratio, normalise_targets

    def forward(self, x: Tensor, noise: Tensor) -> Masked:
        """Remove tokens of images x (N, 12, S, S) by noise (N, L), predict and score.

        The tokens with the smallest noise stay.
        """
        tokens = self.encoder.embed(x)  # (N, L, D)
        count, total, dim = tokens.shape
        kept = max(1, int(total * (1 - self.mask_ratio)))
        places = noise.argsort(dim=1)[:, :kept]  # (N, K)
        seen = self.encoder.forward_from(tokens.gather(1, _at(places, dim)), 0)
        prediction = self.decoder(seen, places, total).float()
        mask = torch.ones(count, total, device=x.device).scatter(1, places, 0.0)
        targets = cuboids(x, self.encoder.patch_embed.stride).float()  # (N, L, 192)
        if self.normalise_targets:
            variance, mean = torch.var_mean(targets, dim=-1, keepdim=True)
            targets = (targets - mean) / (variance + 1e-6).sqrt()
        return Masked(prediction, mask, multi_target_loss(prediction, targets, mask))

    def official_state(self) -> dict[str, Tensor]:
        """All tensors under the names of the published checkpoints."""
        return {**self.encoder.state_dict(), **self.decoder.state_dict()}


def multi_target_loss(prediction: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Scalar loss of values (N, L, 192) with mask (N, L); see the head of this file."""
    removed = ((prediction - targets).pow(2).mean(-1) * mask).sum() / mask.sum()
    summed = [v.unflatten(1, (GROUPS, -1)).sum(1) for v in (prediction, targets)]  # (N, h w, 192)
    return removed + (summed[0] - summed[1]).pow(2).mean()


def cuboids(x: Tensor, stride: int = PATCH) -> Tensor:
    """The values of each token, band by band: (N, 12, S, S) -> (N, L, 192)."""
    grid = x.unfold(1, BAND_GROUP, BAND_GROUP).unfold(2, PATCH, stride).unfold(3, PATCH, stride)
    return grid.flatten(4).flatten(1, 3)


def images(values: Tensor) -> Tensor:
    """The inverse of `cuboids` for tokens side by side: (N, L, 192) -> (N, 12, S, S)."""
    side = round((values.shape[1] // GROUPS) ** 0.5)
    grid = values.reshape(len(values), GROUPS, side, side, BAND_GROUP, PATCH, PATCH)
    return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(values), BANDS, side * PATCH, side * PATCH)


def _at(places: Tensor, dim: int) -> Tensor:  # (N, K) -> (N, K, dim), for gather and scatter
    return places.unsqueeze(-1).expand(-1, -1, dim)
