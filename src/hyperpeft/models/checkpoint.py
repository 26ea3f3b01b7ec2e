"""Files of weights: read without running what is in them, converted, written, made encoders."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyperpeft.errors import WeightsError
from hyperpeft.models.registry import PUBLISHED, SIZES, own_weights, published_file
from hyperpeft.models.spectralgpt import PATCH, SpectralGPT, initialise
from hyperpeft.models.state_dict import encoder_from
from hyperpeft.system.files import cache_folder, check_archive, replacing, sha256_of


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by name; a PyTorch file is converted once, in the cache."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        converted = cache_folder() / "weights" / f"{path.stem}-{sha256_of(path)[:16]}.safetensors"
        if not converted.is_file():
            convert(path, converted)
        return load_file(converted)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error})") from None


def convert(path: Path, out: Path) -> None:
    """Write the tensors of a PyTorch checkpoint as safetensors."""
    tensors = _tensors_of(_safe_load(path), path)
    with replacing(out) as temporary:
        save_file(tensors, temporary, {"format": "pt", "source": path.name})


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
        Metadata, such as the `image_size` it was trained at.
    dtype : torch.dtype
        Of the file. 16 bits are enough for weights, and halve it.
    """
    state = {k: v.detach().cpu().to(dtype).contiguous() for k, v in model.state_dict().items()}
    save_file(state, path, {"format": "pt", **details})
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
        Attention heads, which no checkpoint stores; defaults to width // 64.
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
            heads = num_heads or size.num_heads
            model, _ = encoder_from(read_checkpoint(own), image_size, heads, stride, str(own))
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
