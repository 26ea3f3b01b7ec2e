"""SpectralGPT: a transformer over 3-D spatial-spectral tokens, and its masked autoencoder.

Source: Hong et al., "SpectralGPT: Spectral Remote Sensing Foundation Model", TPAMI 2024
(arXiv 2311.07113). A 12-band image is cut into cuboids of 8 x 8 pixels x 3 bands, each of which
becomes one token; tokens are ordered band group first, then row, then column (t, h, w). Positions
are separable: token (t, h, w) gets `pos_embed_temporal[t] + pos_embed_spatial[h, w]`.

Parameter names and shapes are those of the published checkpoints, so that a state dictionary
loads without renaming. There is no class token; what pools the tokens decides that outside.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hyperpeft.errors import ConfigError, InputError

BANDS = 12
BAND_GROUP = 3  # bands per token
GROUPS = BANDS // BAND_GROUP  # T
PATCH = 8  # pixels per side of a token
NORM_EPS = 1e-6


M = TypeVar("M", bound=nn.Module)


class PatchEmbed(nn.Module):
    """Cut an image into 8 x 8 x 3 cuboids and project each to `dim` numbers."""

    def __init__(self, dim: int, stride: int = PATCH) -> None:
        super().__init__()
        self.stride = stride
        # A Conv3d only for its parameters' official names and shapes: (D, 1, 3, 8, 8).
        self.proj = nn.Conv3d(1, dim, (BAND_GROUP, PATCH, PATCH), (BAND_GROUP, stride, stride))

    def forward(self, x: Tensor) -> Tensor:  # (N, 12, S, S) -> (N, L, D)
        cuboids = (
            x.unfold(1, BAND_GROUP, BAND_GROUP)
            .unfold(2, PATCH, self.stride)
            .unfold(3, PATCH, self.stride)
        )  # (N, T, h, w, 3, 8, 8), a view
        tokens = cuboids.flatten(4).flatten(1, 3)  # (N, T h w, 192)
        # One product instead of the convolution: about twice as fast on a processor.
        return F.linear(tokens, self.proj.weight.flatten(1), self.proj.bias)


class Attention(nn.Module):
    """Multi-head self-attention with separate q, k, v projections, as in the checkpoints."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def _heads(self, x: Tensor) -> Tensor:  # (N, L, D) -> (N, heads, L, D / heads)
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:  # (N, L, D)
        if torch.is_autocast_enabled(x.device.type) and not torch.is_grad_enabled():
            # Once for the three. With gradients each has a cast of its own: their sum is float32.
            x = x.to(torch.get_autocast_dtype(x.device.type))
        q, k, v = self._heads(self.q(x)), self._heads(self.k(x)), self._heads(self.v(x))
        mixed = attend(q, k, v, training=self.training)  # (N, heads, L, D / heads)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor, *, training: bool) -> Tensor:
    """softmax(q k^T / sqrt d) v for (N, heads, L, d)."""
    if training and q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # There the fused kernel's backward pass takes four times as long as these products.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (N, heads, L, L)
        return scores.softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:  # (N, L, D)
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SpectralGPT(nn.Module):
    """The encoder: `model(x)` with x (N, 12, S, S) float -> tokens (N, L, D) after the last norm.

    Parameters
    ----------
    dim, depth, num_heads : int
        Width D, number of blocks, attention heads (D must be a multiple of them).
    image_size : int, default 32
        Side S in pixels for which positions are stored; other sizes are interpolated on the fly.
    stride : int, default 8
        Pixels between neighbouring tokens. 8 puts them side by side, as the published weights
        have them; smaller strides let them overlap.
    mlp_ratio : float, default 4
        Hidden width of the MLP over D.

    Raises
    ------
    ConfigError
        When the numbers do not fit each other.

    Attributes
    ----------
    pretrained : bool
        Whether the weights were trained before; set by the code that loads them.
    gradient_checkpointing : bool
        In training, keep only what enters each block and compute the rest again for the
        gradients: a third more work for a fraction of the memory.
    """

    pretrained: bool = False
    gradient_checkpointing: bool = False

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        *,
        image_size: int = 32,
        stride: int = PATCH,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ConfigError("num_heads", expected=f"a divisor of the width {dim}", got=num_heads)
        self.dim, self.depth, self.num_heads, self.image_size = dim, depth, num_heads, image_size
        side = token_grid(image_size, stride)
        self.patch_embed = PatchEmbed(dim, stride)
        self.pos_embed_spatial = nn.Parameter(torch.zeros(1, side * side, dim))
        self.pos_embed_temporal = nn.Parameter(torch.zeros(1, GROUPS, dim))
        hidden = round(dim * mlp_ratio)
        self.blocks = nn.ModuleList(Block(dim, num_heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    @property
    def tokens(self) -> int:
        """L: the tokens of an image of `image_size`."""
        return token_count(self.image_size, self.patch_embed.stride)

    def embed(self, x: Tensor) -> Tensor:
        """Tokens with their positions, before the first block: (N, 12, S, S) -> (N, L, D)."""
        if x.ndim != 4 or x.shape[1] != BANDS or x.shape[2] != x.shape[3]:
            raise InputError("encoder input", expected=f"(N, {BANDS}, S, S)", got=tuple(x.shape))
        side = token_grid(x.shape[-1], self.patch_embed.stride)
        spatial = interpolate_positions(self.pos_embed_spatial, side)  # (1, h w, D)
        positions = self.pos_embed_temporal[:, :, None] + spatial[:, None]  # (1, T, h w, D)
        return self.patch_embed(x) + positions.flatten(1, 2)

    def forward_to(self, x: Tensor, block: int) -> Tensor:
        """The tokens that enter a block (`depth`: the last norm): (N, 12, S, S) -> (N, L, D)."""
        x = self.embed(x)
        for earlier in self.blocks[:block]:
            x = earlier(x)
        return x

    def forward_from(self, tokens: Tensor, block: int) -> Tensor:
        """The output for the tokens (N, L, D) that enter a block."""
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for later in self.blocks[block:]:
            tokens = checkpoint(later, tokens, use_reentrant=False) if recompute else later(tokens)
        return self.norm(tokens)  # (N, L, D)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_from(self.forward_to(x, 0), 0)


def token_grid(image_size: int, stride: int = PATCH) -> int:
    """Tokens per side of an image; ConfigError where they would not fill it exactly."""
    if not 1 <= stride <= PATCH or image_size < PATCH or (image_size - PATCH) % stride:
        raise ConfigError(
            "image size and token stride",
            expected=f"a size of {PATCH} + a multiple of the stride, and a stride of 1 to {PATCH}",
            got=f"size {image_size}, stride {stride}",
            hint="use an image size of 32, 64, 96 or 128 with a stride of 8 or 4",
        )
    return (image_size - PATCH) // stride + 1


def token_count(image_size: int, stride: int = PATCH) -> int:
    """Tokens of an image, those of all band groups; errors as of `token_grid`."""
    return GROUPS * token_grid(image_size, stride) ** 2


def interpolate_positions(positions: Tensor, side: int) -> Tensor:
    """Spatial positions (1, g g, D) resampled bicubically to (1, side side, D)."""
    stored = round(positions.shape[1] ** 0.5)
    if stored == side:
        return positions
    grid = positions.unflatten(1, (stored, stored)).permute(0, 3, 1, 2)  # (1, D, g, g)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


def initialise(model: M, seed: int) -> M:
    """Give an encoder, or a decoder of the same parts, seeded values: the same on every machine.

    Linear layers are Xavier-uniform with zero bias and positions normal with deviation 0.02, as
    masked autoencoders start (He et al. 2022).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "pos_embed" in name or name == "mask_token":
                parameter.normal_(0.0, 0.02, generator=generator)
            elif "norm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                fan_out, fan_in = parameter.flatten(1).shape
                bound = (6.0 / (fan_in + fan_out)) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)
    return model


VALUES = PATCH * PATCH * BAND_GROUP  # of one token


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

    Source: Hong et al., "SpectralGPT", TPAMI 2024 (arXiv 2311.07113), on He et al., "Masked
    Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377). The encoder sees the first int(L
    (1 - ratio)) tokens in the order of a random number per token; a light decoder gets these and
    one learned vector in the place of every other, and predicts the 8 x 8 x 3 values of each token.

        loss = mean over removed tokens of (prediction - target)^2
             + mean over places of (sum over band groups of prediction - sum of target)^2

    The second term ties the band groups of a place to each other: the spectrum is one thing.
    Parameter names are those of the published checkpoints.

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
