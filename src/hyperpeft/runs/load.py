"""A run folder back to a model that predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hyperpeft import adapters
from hyperpeft.baselines import BASELINES
from hyperpeft.errors import BundleError
from hyperpeft.mapping import EncoderPredictor, Refinement
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.models.spectralgpt import PATCH, SpectralGPT
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.config import AUTO, METHOD
from hyperpeft.runs.file_names import (
    ADAPTER,
    ADAPTER_FILES,
    BACKBONE,
    FEATURES,
    HEAD,
    MODEL,
    NETWORK,
    REDUCER,
    REFINEMENT,
    RUN,
    SPLIT,
)
from hyperpeft.runs.methods.baseline_files import load_baseline, with_classic_parts
from hyperpeft.runs.record import RunRecord
from hyperpeft.runs.weight_files import read_tensors
from hyperpeft.spatial import RefineOptions
from hyperpeft.spectral import Reducer
from hyperpeft.system.files import within
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.precision import choose_precision


def load_run(folder: str | Path, *, backbone: str | Path | None = None) -> Bundle:
    """Load a run folder for prediction.

    Parameters
    ----------
    folder : str or Path
        What `hyperpeft train --out` wrote.
    backbone : str or Path, optional
        Where the base model is now, if it was a file that has moved.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        When the folder is incomplete or the base model is another than the run was trained on.
    """
    folder = Path(folder)
    record = RunRecord.from_file(folder / RUN)
    if record.adapter["method"] in BASELINES:
        return Bundle(record, load_baseline(folder, record), load_refinement(folder, record))
    check_usable(folder, record)
    encoder = load_base(record, backbone)
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


def adapter_folder(folder: Path) -> Path:
    """Where the adapter of a run lies: in `adapter/`, or beside the rest in an exported folder."""
    exported = (folder / ADAPTER_FILES[0]).is_file() and not (folder / ADAPTER).exists()
    return folder if exported else folder / ADAPTER


def check_links(folder: Path) -> None:
    """BundleError for a run folder with links out of it."""
    for name in (HEAD, REDUCER, SPLIT, ADAPTER, BACKBONE, FEATURES, MODEL, NETWORK, REFINEMENT):
        within(folder, name)
    for name in ADAPTER_FILES:
        within(folder, name)


def check_usable(folder: Path, record: RunRecord) -> None:
    """BundleError for the run of a baseline, which has no backbone, and for links out of it."""
    check_links(folder)
    method = record.adapter["method"]
    if method in BASELINES:
        raise BundleError(
            f"{folder} is a run of the baseline {method}, which has no backbone and no adapter",
            hint="give a run of an adapter's method",
        )


def load_base(record: RunRecord, backbone: str | Path | None = None) -> SpectralGPT:
    """The encoder that a run started from, or the one in `backbone`, as the run set it up."""
    config = record.config
    return load_backbone(
        backbone or record.backbone["name"],
        config["image_size"],
        config["num_heads"],
        stride=config["stride"] or PATCH,
        # A built-in size that started from scratch does so again, whatever weights there are now.
        pretrained=backbone is not None or bool(record.backbone.get("pretrained", True)),
    )


def windows_of(record: RunRecord) -> tuple[int, ...]:
    """Sides of a run's windows; records of before there could be several hold a number."""
    sizes = record.config["patch_size"]
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def load_refinement(
    folder: Path, record: RunRecord, reducer: Reducer | None = None
) -> Refinement | None:
    """The refinement of a run; None where it has none, or is older than refinement."""
    kind = record.config.get("refine", "none")
    if kind == "none":
        return None
    reducer = Reducer.from_file(folder / REDUCER) if reducer is None else reducer
    return Refinement.from_file(folder / REFINEMENT, RefineOptions(kind), reducer)


def sees_centre(record: RunRecord) -> bool:
    """Whether a run's head sees the centre pixel; records of before there was a choice lack it."""
    return bool(record.config.get("centre", False))


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


def method_of_backbone(record: RunRecord) -> str:
    """The adapter method of a run; of `auto`, that of its part on the backbone."""
    method = str(record.adapter["method"])
    return METHOD if method == AUTO else method
