"""A run folder, or a model that was exported from one, back to what predicts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hyperpeft.baselines import BASELINES
from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.models.graphs.session import on_gpu
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.exported import load_exported
from hyperpeft.runs.file_names import MODEL, NETWORK, RUN
from hyperpeft.runs.methods.baseline_files import check_parts, load_baseline, load_refinement
from hyperpeft.runs.record import RunRecord
from hyperpeft.system.files import within
from hyperpeft.system.resources import has_gpu

RUNTIMES = ("auto", "torch", "onnx")  # what executes the adapted backbone


def load_run(
    folder: str | Path, *, backbone: str | Path | None = None, runtime: str = "auto"
) -> Bundle:
    """Load a run for prediction.

    Parameters
    ----------
    folder : str or Path
        What `hyperpeft train --out` wrote, or a file of `hyperpeft export`.
    backbone : str or Path, optional
        Where the base model is now, if it was a file that has moved; an exported model needs none.
    runtime : "auto", "torch" or "onnx"
        What executes the adapted backbone. "onnx" needs the file `model.onnx` in the folder, which
        `hyperpeft export RUN --to RUN/model.onnx` writes, and no torch. "auto" is that where the
        file is there, unless torch could use a GPU that ONNX Runtime cannot.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        When the folder is incomplete or holds files of another run, the base model is another than
        the run was trained on, or the runtime cannot execute the run.
    """
    path = Path(folder)
    if runtime not in RUNTIMES:
        raise ConfigError("runtime", expected=f"one of {', '.join(RUNTIMES)}", got=repr(runtime))
    if path.is_file():
        if runtime == "torch":
            raise ConfigError(
                f"{path} is an exported model, which ONNX Runtime executes",
                hint="give the run folder for --runtime torch",
            )
        return load_exported(path)
    record = RunRecord.from_file(path / RUN)
    if record.adapter["method"] in BASELINES:
        if runtime == "onnx" and (path / NETWORK).is_file():
            raise BundleError(
                f"{path} is a run of the network {record.adapter['method']}, which only torch "
                "executes",
                hint="use --runtime torch",
            )
        bundle = Bundle(record, load_baseline(path, record), load_refinement(path, record))
        check_parts(path, record)
        return bundle
    if runtime == "onnx" or (runtime == "auto" and _prefers_onnx(path)):
        return load_exported(_exported_of(path), record=record)
    if not _torch_is_installed():
        raise BundleError(
            f"{path} needs PyTorch, which is not installed",
            hint="install hyperpeft[train], or where the run was trained write its model with "
            f"`hyperpeft export {path} --to {path / MODEL}`",
        )
    from hyperpeft.runs.weight_files import load_adapter_run  # torch takes seconds to load

    bundle = load_adapter_run(path, record, backbone)
    check_parts(path, record)
    return bundle


def _torch_is_installed() -> bool:
    try:
        return importlib.util.find_spec("torch") is not None
    except ModuleNotFoundError:  # an environment that refuses to load it
        return False


def _prefers_onnx(folder: Path) -> bool:
    """Whether the run's exported model is the better choice."""
    if not (folder / MODEL).is_file():
        return False
    if not _torch_is_installed():
        return True
    return not has_gpu() or on_gpu()


def _exported_of(folder: Path) -> Path:
    """The exported model in a run folder."""
    path = within(folder, MODEL)
    if not path.is_file():
        raise BundleError(
            f"{folder} has no {MODEL}: the run was not exported",
            hint=f"write it with `hyperpeft export {folder} --to {path}`",
        )
    return path
