"""An encoder from a state dictionary, with every key accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperpeft.errors import WeightsError
from hyperpeft.models.spectralgpt import PATCH, SpectralGPT, interpolate_positions, token_grid

# Of the masked autoencoder that was pretrained, only these serve no encoder.
_SET_ASIDE = ("mask_token", "decoder_")


@dataclass(frozen=True)
class Account:
    """Where each key of a checkpoint went."""

    used: tuple[str, ...]
    set_aside: tuple[str, ...]


def encoder_from(
    state: Mapping[str, Tensor],
    image_size: int = 32,
    num_heads: int | None = None,
    stride: int = PATCH,
    source: str = "checkpoint",
) -> tuple[SpectralGPT, Account]:
    """Build the encoder that a state dictionary describes, and account for every key.

    Width, depth and MLP ratio are read from the shapes.

    Returns
    -------
    model : SpectralGPT
    account : Account

    Raises
    ------
    WeightsError
        Naming the keys that are missing, unexpected or of another shape.
    """
    aside = tuple(sorted(key for key in state if key.startswith(_SET_ASIDE)))
    ours = {key: value for key, value in state.items() if key not in aside}
    model = _empty_like(ours, image_size, num_heads, stride, source)
    expected = model.state_dict()
    spatial = ours.get("pos_embed_spatial")
    if spatial is not None and _is_square(spatial, model.dim):
        ours["pos_embed_spatial"] = interpolate_positions(
            spatial.float(), token_grid(image_size, stride)
        )
    problems = [f"missing {key}" for key in expected if key not in ours]
    problems += [f"unexpected {key}" for key in ours if key not in expected]
    problems += [
        f"{key} has shape {tuple(ours[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in ours and ours[key].shape != value.shape
    ]
    problems += [
        f"{key} holds other than finite real numbers"
        for key, value in ours.items()
        if key in expected and not (value.is_floating_point() and _finite(value))
    ]
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise WeightsError(
            f"{source} does not hold a SpectralGPT encoder of width {model.dim} and depth "
            f"{model.depth}: {'; '.join(problems[:8])}{more}"
        )
    # Copies: what is done to the model must not reach the caller's tensors.
    model.load_state_dict({key: v.float().clone() for key, v in ours.items()}, assign=True)
    return model, Account(tuple(sorted(ours)), aside)


def _finite(values: Tensor) -> bool:
    return bool(values.float().isfinite().all())


def _is_square(positions: Tensor, dim: int) -> bool:
    side = round(positions.shape[1] ** 0.5) if positions.ndim == 3 else 0
    return tuple(positions.shape) == (1, side * side, dim)


def _empty_like(
    state: Mapping[str, Tensor], image_size: int, num_heads: int | None, stride: int, source: str
) -> SpectralGPT:
    """An encoder with the width, depth and MLP ratio that the shapes tell, without memory.

    Shapes are compared before anything is allocated: one wrong shape can stand for terabytes.
    """
    embed, fc1 = state.get("patch_embed.proj.weight"), state.get("blocks.0.mlp.fc1.weight")
    for key, value, ndim in (
        ("patch_embed.proj.weight", embed, 5),
        ("blocks.0.mlp.fc1.weight", fc1, 2),
    ):
        if value is None or value.ndim != ndim:
            problem = "missing" if value is None else f"of shape {tuple(value.shape)}"
            raise WeightsError(f"{source} does not hold a SpectralGPT encoder: {key} is {problem}")
    assert embed is not None
    assert fc1 is not None
    dim = embed.shape[0]
    numbers = {key.split(".")[1] for key in state if key.startswith("blocks.")}
    depth = len([number for number in numbers if number.isdecimal()])
    heads = num_heads or dim // 64
    if heads < 1 or dim % heads:
        raise WeightsError(
            f"{source}: the number of attention heads of a width of {dim} is not stored",
            expected=f"num_heads, a divisor of {dim}",
            got=num_heads,
        )
    ratio = fc1.shape[0] / dim
    with torch.device("meta"):
        return SpectralGPT(dim, depth, heads, image_size=image_size, stride=stride, mlp_ratio=ratio)
