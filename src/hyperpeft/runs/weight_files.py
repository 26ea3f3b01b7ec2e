"""The weights that a run has learned, as safetensors in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hyperpeft import adapters
from hyperpeft.errors import BundleError
from hyperpeft.runs.file_names import ADAPTER, BACKBONE, HEAD
from hyperpeft.system.files import replacing
from hyperpeft.training.classifier import Classifier


def save_weights(folder: Path, model: Classifier, method: str, base: str) -> int:
    """Write adapter (or encoder) and head; the bytes they take together.

    Parameters
    ----------
    folder : Path
    model : Classifier
        Not merged.
    method, base : str
        Names of the method and of the base model.
    """
    written = [folder / HEAD]
    _write_tensors(model.head_state(), folder / HEAD)
    chosen = adapters.get_method(method)
    if chosen.trains_encoder:
        _write_tensors(model.encoder.state_dict(), folder / BACKBONE)
        written.append(folder / BACKBONE)
    elif chosen.adapter is not None:
        adapters.save(model.encoder, folder / ADAPTER, base)
        written += sorted((folder / ADAPTER).iterdir())
    return sum(path.stat().st_size for path in written)


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    with replacing(path) as temporary:
        plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        save_file(plain, temporary, {"format": "pt"})


def read_tensors(module: nn.Module, path: Path, expected: set[str] | None = None) -> None:
    """Copy the tensors of a file into a module; every one must be there and fit."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read ({error})") from None
    own = module.state_dict()
    names = expected if expected is not None else set(own)
    wrong = sorted(names ^ set(tensors))
    wrong += sorted(n for n in names & set(tensors) if own[n].shape != tensors[n].shape)
    if wrong:
        raise BundleError(f"{path} does not fit this model", expected=sorted(names), got=wrong)
    odd = [name for name, tensor in tensors.items() if not tensor.float().isfinite().all()]
    if odd:
        raise BundleError(f"{path}: {', '.join(odd[:8])}", expected="finite numbers", got="others")
    module.load_state_dict(tensors, strict=expected is None)
