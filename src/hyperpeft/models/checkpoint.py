"""Files of weights: read without running what is in them, converted, written, made encoders."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyperpeft.errors import ConfigError, WeightsError
from hyperpeft.models.registry import (
    PUBLISHED,
    SIZES,
    num_heads_of,
    own_weights,
    published_file,
)
from hyperpeft.models.spectralgpt import (
    PATCH,
    SpectralGPT,
    initialise,
    interpolate_positions,
    token_grid,
)
from hyperpeft.system.files import cache_folder, check_archive, replacing, sha256_of

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
    heads = num_heads or num_heads_of(source, dim, depth)
    if heads < 1 or dim % heads:
        raise WeightsError(
            f"{source}: the number of attention heads of a width of {dim} is not stored",
            expected=f"num_heads, a divisor of {dim}",
            got=num_heads,
        )
    ratio = fc1.shape[0] / dim
    with torch.device("meta"):
        return SpectralGPT(dim, depth, heads, image_size=image_size, stride=stride, mlp_ratio=ratio)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by name; a PyTorch file is converted once, in the cache."""
    if path.suffix != ".safetensors":
        return _read_converted(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error})") from None


def _read_converted(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file; without the cache where it is damaged or cannot be written."""
    converted = cache_folder() / "weights" / f"{path.stem}-{sha256_of(path)[:16]}.safetensors"
    with suppress(OSError, SafetensorError):
        if converted.is_file():
            return load_file(converted)
    try:
        convert(path, converted)
        return load_file(converted)
    except (ConfigError, OSError, SafetensorError):
        return _tensors_of(_safe_load(path), path)


def convert(path: Path, out: Path, num_heads: int | None = None) -> None:
    """Write the tensors of a PyTorch checkpoint as safetensors, and how many heads."""
    tensors = _tensors_of(_safe_load(path), path)
    heads = {} if num_heads is None else {"num_heads": str(num_heads)}
    with replacing(out) as temporary:
        save_file(tensors, temporary, {"format": "pt", "source": path.name, **heads})


def _safe_load(path: Path) -> object:
    try:
        check_archive(path, WeightsError)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"checkpoint {path} does not exist") from None
    except WeightsError:
        raise
    except Exception as error:  # whatever its unpickler stumbles over
        raise WeightsError(
            f"checkpoint {path} is not a PyTorch file of tensors alone ({_why(error)})",
            hint="it was not loaded, because files with other objects can run code",
        ) from None


def _why(error: Exception) -> str:
    """What torch found, without its advice to load the file all the same."""
    text = " ".join(str(error).split()) or type(error).__name__
    # The name of the class or function that is not allowed stands in one of several sentences.
    named = re.search(r"(?:GLOBAL |Unsupported (?:global|class):? (?:GLOBAL )?)([\w.]+\w)", text)
    if named is not None:
        return f"it holds {named[1]}"
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or of another kind"
    return text.partition(". ")[0][:160]


def _tensors_of(content: object, path: Path) -> dict[str, Tensor]:
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(
            f"checkpoint {path}",
            expected="a state dictionary, or one under the key 'model'",
            got=sorted(map(str, content)) if isinstance(content, Mapping) else type(content),
        )
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(f"checkpoint {path}", expected="tensors only", got=f"others: {others}")
    # Copies, because safetensors refuses tensors that share memory.
    return {str(key): value.detach().clone().contiguous() for key, value in state.items()}


def save_backbone(
    model: SpectralGPT,
    path: Path,
    details: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write an encoder as safetensors, and give the hash of what will be read back.

    Parameters
    ----------
    model : SpectralGPT
    path : Path
    details : mapping of str to str
        More metadata than the number of heads, such as the `image_size` it was trained at.
    dtype : torch.dtype
        Of the file. 16 bits are enough for weights, and halve it.
    """
    state = {k: v.detach().cpu().to(dtype).contiguous() for k, v in model.state_dict().items()}
    save_file(state, path, {"format": "pt", "num_heads": str(model.num_heads), **details})
    return weights_sha256(state)


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of names and float32 values: the identity of a base model, whatever its file."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def load_backbone(
    source: str | Path,
    image_size: int = 32,
    num_heads: int | None = None,
    *,
    stride: int = PATCH,
    seed: int = 0,
    pretrained: bool = True,
) -> SpectralGPT:
    """Build an encoder from a built-in size, a published name or a checkpoint file.

    Parameters
    ----------
    source : str or Path
        "tiny" (pretrained weights that come with the package), "small", "base", "large", "huge"
        (a seeded initialisation, unless pretrained weights are found, see `own_weights`),
        "spectralgpt", "spectralgpt+" (published weights, downloaded once), or a .pth, .pt or
        .safetensors file.
    image_size : int, default 32
        Side in pixels of the images that the encoder will see; stored positions of another grid
        are interpolated bicubically. `image_size_of(source)` is what weights were trained at: 16
        for `tiny`.
    num_heads : int, optional
        Attention heads. The shapes of weights do not tell them: by default what a file written by
        hyperpeft says, else those of the built-in size of this width and depth, else width // 64.
    stride : int, default 8
        Pixels between tokens.
    seed : int, default 0
        Of the initialisation, for the built-in sizes.
    pretrained : bool, default True
        False starts a built-in size from its initialisation although weights are there.

    Returns
    -------
    SpectralGPT
        In evaluation mode: images (N, 12, S, S) to tokens (N, L, width). `model.pretrained` tells
        whether its weights were trained.

    Raises
    ------
    WeightsError
        Unknown name, unreadable file, or keys that do not match the architecture.
    """
    name = str(source)
    if name in SIZES:
        size = SIZES[name]
        own = own_weights(name) if pretrained else None
        if own is not None:
            heads = num_heads or num_heads_of(own, size.dim, size.depth)
            model, _ = encoder_from(read_checkpoint(own), image_size, heads, stride, str(own))
            if (model.dim, model.depth) != (size.dim, size.depth):
                raise WeightsError(
                    f"{own} holds another encoder than {name}",
                    expected=f"width {size.dim}, depth {size.depth}",
                    got=f"width {model.dim}, depth {model.depth}",
                    hint="give the file itself with --backbone, or remove it from the data folder",
                )
            model.pretrained = True
            return model.eval()
        model = SpectralGPT(
            size.dim, size.depth, num_heads or size.num_heads, image_size=image_size, stride=stride
        )
        model.pretrained = False
        return initialise(model, seed).eval()
    if not pretrained:
        raise WeightsError(
            f"backbone {name!r} is trained weights and cannot start from scratch",
            expected=f"one of {', '.join(SIZES)}",
        )
    path = published_file(name) if name in PUBLISHED else Path(source)
    if not path.is_file():
        raise WeightsError(
            f"backbone {name!r}",
            expected=f"one of {', '.join([*SIZES, *PUBLISHED])} or a checkpoint file",
            got="no such name or file",
        )
    model, _ = encoder_from(read_checkpoint(path), image_size, num_heads, stride, str(path))
    model.pretrained = True
    return model.eval()
