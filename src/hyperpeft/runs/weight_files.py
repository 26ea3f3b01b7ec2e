"""The weights that a run has learned, as safetensors in its folder, and back to its classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hyperpeft import adapters
from hyperpeft.errors import BundleError
from hyperpeft.mapping import EncoderPredictor
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.models.spectralgpt import PATCH, SpectralGPT
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.file_names import ADAPTER, BACKBONE, HEAD, REDUCER
from hyperpeft.runs.inputs import located
from hyperpeft.runs.methods.baseline_files import (
    adapter_folder,
    check_usable,
    load_refinement,
    with_classic_parts,
)
from hyperpeft.runs.record import RunRecord, method_of_backbone, sees_centre, windows_of
from hyperpeft.spectral import Reducer
from hyperpeft.system.files import replacing
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.precision import choose_precision


def save_weights(folder: Path, model: Classifier, method: str, base: str) -> int:
    """Write adapter (or encoder) and head; the bytes they take together.

    Parameters
    ----------
    folder : Path
    model : Classifier
        Its adapters may be merged: what they learned is written, not the sums.
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


def load_adapter_run(folder: Path, record: RunRecord, backbone: str | Path | None = None) -> Bundle:
    """Load base model, adapter and head; see `runs.load.load_run`."""
    check_usable(folder, record)
    encoder = load_base(folder, record, backbone)
    check_base(folder, record, weights_sha256(encoder.state_dict()), backbone)
    method = adapters.get_method(method_of_backbone(record))
    if method.adapter is not None:
        adapters.merge(adapters.load(encoder, adapter_folder(folder)))
    elif method.trains_encoder:
        read_tensors(encoder, folder / BACKBONE)
    model = Classifier(
        encoder,
        len(record.adapter["class_ids"]),
        centre=sees_centre(record),
        windows=windows_of(record),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return with_head(folder, record, model.to(device))


def load_base(folder: Path, record: RunRecord, backbone: str | Path | None = None) -> SpectralGPT:
    """The encoder that a run started from, or the one in `backbone`, as the run set it up."""
    config = located({**record.config, "backbone": record.backbone["name"]}, folder)
    return load_backbone(
        backbone or config["backbone"],
        config["image_size"],
        config["num_heads"],
        stride=config["stride"] or PATCH,
        # A built-in size that started from scratch does so again, whatever weights there are now.
        pretrained=backbone is not None or bool(record.backbone.get("pretrained", True)),
    )


def check_base(
    folder: Path, record: RunRecord, got: str, backbone: str | Path | None = None
) -> None:
    """BundleError where a base model's hash `got` is not the one that a run was trained on."""
    expected = record.backbone["weights_sha256"]
    if expected != got:
        raise BundleError(
            f"{folder} was trained on another base model than {backbone or 'the one it names'}",
            expected=f"weights of sha256 {expected}",
            got=got,
            hint="give the checkpoint it was trained on with --backbone",
        )


def with_head(folder: Path, record: RunRecord, model: Classifier) -> Bundle:
    """A bundle of a model whose encoder is ready: head and reducer are read from the folder."""
    model.requires_grad_(False)
    read_tensors(model, folder / HEAD, expected=set(model.head_state()))
    reducer = Reducer.from_file(folder / REDUCER)
    predictor = EncoderPredictor(
        model.eval(),
        reducer,
        np.array(record.adapter["class_ids"], np.int32),
        windows_of(record),
        choose_precision(record.config["precision"], next(model.parameters()).device),
    )
    mixed = with_classic_parts(folder, record, predictor)
    return Bundle(record, mixed, load_refinement(folder, record, reducer))
