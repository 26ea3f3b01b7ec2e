"""Adapters on disk, in PEFT's file layout: `adapter_config.json` + `adapter_model.safetensors`.

Keys are PEFT's, "base_model.model." + layer + parameter. What PEFT has no field for (the name of
the method, its options) travels in the metadata of the safetensors file, which PEFT ignores.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hyperpeft.adapters.base import Adapter, Attachment, adapters_of, attach, block_number
from hyperpeft.errors import AdapterError
from hyperpeft.files import replacing

PREFIX = "base_model.model."
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


def save(model: nn.Module, folder: Path, base: str | None = None) -> None:
    """Write a model's adapters.

    Parameters
    ----------
    model : nn.Module
        With adapters attached by `attach`.
    folder : Path
        Created where missing.
    base : str, optional
        Name of the base model, for the configuration's `base_model_name_or_path`.
    """
    adapters, attachment = adapters_of(model), getattr(model, "attachment", None)
    if not adapters or not isinstance(attachment, Attachment):
        raise AdapterError("this model has no adapters to save", do="attach one first")
    layers = list(adapters.values())
    config = {
        **type(layers[0]).peft_config(layers),
        "base_model_name_or_path": base,
        "inference_mode": True,
        "target_modules": sorted(attachment.targets),
        "task_type": None,
    }
    if attachment.blocks != "all":
        config["layers_to_transform"] = sorted({block_number(name) for name in adapters})
        config["layers_pattern"] = "blocks"
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in _named(adapters).items()}
    folder = Path(folder)
    with replacing(folder / TENSORS) as temporary:
        metadata = {"format": "pt", "hyperpeft": json.dumps(asdict(attachment))}
        save_file(tensors, temporary, metadata)
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _named(adapters: dict[str, Adapter]) -> dict[str, Tensor]:
    """Every adapter parameter under its name in the file."""
    return {
        f"{PREFIX}{layer}.{_file_name(adapter, name)}": parameter
        for layer, adapter in adapters.items()
        for name, parameter in adapter.role(adapter.A_NAMES + adapter.B_NAMES)
    }


def _file_name(adapter: Adapter, name: str) -> str:
    return adapter.FILE_NAMES[name]


def load(model: nn.Module, folder: Path) -> nn.Module:
    """Attach the adapters saved in a folder, with their values.

    Raises
    ------
    AdapterError
        When the folder holds no adapter of hyperpeft's, or its tensors do not fit this model.
    """
    attachment, tensors = read(Path(folder))
    attach(
        model,
        attachment.method,
        attachment.targets,
        blocks=attachment.blocks,
        **attachment.options,
    )
    parameters = _named(adapters_of(model))
    problems = [f"missing {key}" for key in parameters if key not in tensors]
    problems += [f"unexpected {key}" for key in tensors if key not in parameters]
    problems += [
        f"{key} has shape {tuple(tensors[key].shape)} instead of {tuple(parameter.shape)}"
        for key, parameter in parameters.items()
        if key in tensors and tensors[key].shape != parameter.shape
    ]
    if problems:
        raise AdapterError(f"{folder} does not fit this model: {'; '.join(problems[:8])}")
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(tensors[key])
    return model


def read(folder: Path) -> tuple[Attachment, dict[str, Tensor]]:
    """How the adapters of a folder are attached, and their tensors by key."""
    path = folder / TENSORS
    if not path.is_file():
        raise AdapterError(f"{folder} holds no adapter", expected=TENSORS, got="no such file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        values = json.loads(metadata["hyperpeft"])
        return _attachment(values), tensors
    except KeyError:
        raise AdapterError(f"{path} was not written by hyperpeft: it names no method") from None
    except (SafetensorError, ValueError, TypeError) as error:
        raise AdapterError(f"{path} cannot be read ({error})") from None


def _attachment(values: dict[str, Any]) -> Attachment:
    """An Attachment from JSON, in which tuples have become lists."""
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values["options"].items()
    }
    return Attachment(values["method"], tuple(values["targets"]), values["blocks"], options)
