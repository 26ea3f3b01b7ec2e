"""Adapters on disk, in PEFT's file layout: `adapter_config.json` + `adapter_model.safetensors`.

Keys are PEFT's, "base_model.model." + layer + parameter. What PEFT has no field for (the name of
the method, its options) travels in the metadata of the safetensors file, which PEFT ignores; a
folder without it was saved by PEFT, and is read from its configuration.

A folder may be untrusted. It is data: no pickle is opened, no path in it is followed,
every key and shape is accounted for before the model is touched.

PEFT's configuration names the method and its numbers; which layers it adapted is read from the
keys of the tensors, because `target_modules` may be a pattern.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hyperpeft.adapters.attach import (
    Attachment,
    adapters_of,
    build,
    check_bare,
    parse_blocks,
    place,
    target_names,
)
from hyperpeft.adapters.base import METHODS, NO_PEFT_FORM, Adapter
from hyperpeft.errors import AdapterError
from hyperpeft.system.files import read_json, replacing, within

PREFIX = "base_model.model."
CONFIG, TENSORS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"


@dataclass(frozen=True)
class Saved:
    """What an adapter folder holds.

    Attributes
    ----------
    config : dict
        Of `adapter_config.json`.
    attachment : Attachment or None
        None where PEFT saved the folder.
    tensors : dict of str to Tensor
        By key.
    """

    config: dict[str, Any]
    attachment: Attachment | None
    tensors: dict[str, Tensor]

    @property
    def has_peft_form(self) -> bool:
        """Whether stock PEFT can load the folder."""
        return not str(self.config["peft_type"]).startswith(NO_PEFT_FORM)


def save(model: nn.Module, folder: str | Path, base: str | None = None) -> None:
    """Write a model's adapters.

    Parameters
    ----------
    model : nn.Module
        With adapters attached by `attach`, merged or not.
    folder : str or Path
        Created where missing.
    base : str, optional
        Name of the base model, for the configuration's `base_model_name_or_path`.

    Raises
    ------
    AdapterError
        When the model has no adapters.
    """
    adapters, attachment = adapters_of(model), getattr(model, "attachment", None)
    if not adapters or not isinstance(attachment, Attachment):
        raise AdapterError("this model has no adapters to save", hint="attach one first")
    config = {
        **_method_config(adapters),
        "base_model_name_or_path": base,
        "inference_mode": True,
        "target_modules": _target_modules(model, attachment, adapters),
        "task_type": None,
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in _named(adapters).items()}
    write(Path(folder), Saved(config, attachment, tensors))


def write(folder: Path, saved: Saved) -> None:
    """Write an adapter folder, each file whole or not at all."""
    metadata = {"format": "pt"}
    if saved.attachment is not None:
        metadata["hyperpeft"] = json.dumps(asdict(saved.attachment))
    with replacing(folder / TENSORS) as temporary:
        save_file(saved.tensors, temporary, metadata)
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(saved.config, indent=2) + "\n", encoding="utf-8")


def _method_config(adapters: Mapping[str, Adapter]) -> dict[str, Any]:
    layers = list(adapters.values())
    return type(layers[0]).peft_config(layers)


def _target_modules(
    model: nn.Module, attachment: Attachment, adapters: Mapping[str, Adapter]
) -> list[str]:
    """PEFT's `target_modules`: last parts of names, or whole names where those would hit more.

    They would when only the last blocks are adapted, and for "proj", which is also the name of
    the patch embedding's convolution.
    """
    hit = {n for n, _ in model.named_modules() if n.rpartition(".")[2] in attachment.targets}
    return sorted(attachment.targets if hit == set(adapters) else adapters)


def _named(adapters: Mapping[str, Adapter]) -> dict[str, Tensor]:
    """Every adapter parameter under its name in the file."""
    return {
        f"{PREFIX}{layer}.{adapter.FILE_NAMES[name]}": parameter
        for layer, adapter in adapters.items()
        for name, parameter in adapter.own_parameters()
    }


def load(model: nn.Module, folder: str | Path) -> nn.Module:
    """Attach the adapters saved in a folder, by hyperpeft or by stock PEFT, with their values.

    Parameters
    ----------
    model : nn.Module
        Without adapters: the base model that they were trained on. Left as it was where the
        folder cannot be used.
    folder : str or Path

    Returns
    -------
    nn.Module
        The same model, frozen but for the adapters.

    Raises
    ------
    AdapterError
        When the folder holds no adapter that is known here, or one for another model; wrong keys
        and shapes are named.
    """
    check_bare(model)
    attachment, adapters = restore(model, Path(folder))
    return place(model, attachment, adapters)


def restore(model: nn.Module, folder: Path) -> tuple[Attachment, dict[str, Adapter]]:
    """The saved adapters with their values by layer name, not yet in the model."""
    saved = read(folder)
    attachment = saved.attachment
    if attachment is None:
        attachment = attachment_for(model, saved.config, _keys_within(saved, folder))
    adapters = build(model, attachment)
    parameters = _named(adapters)
    problems = [f"missing {key}" for key in parameters if key not in saved.tensors]
    problems += [f"unexpected {key}" for key in saved.tensors if key not in parameters]
    for key, parameter in parameters.items():
        tensor = saved.tensors.get(key)
        if tensor is None:
            continue
        if tensor.shape != parameter.shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(parameter.shape)}"
            problems.append(f"{key} has shape {shapes}")
        elif not tensor.is_floating_point() or not tensor.float().isfinite().all():
            problems.append(f"{key} holds other than finite real numbers")
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise AdapterError(f"{folder} does not fit this model: {'; '.join(problems[:8])}{more}")
    if saved.attachment is not None:
        _check_agreement(folder, saved.config, _method_config(adapters))
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(saved.tensors[key])
    return attachment, adapters


def _keys_within(saved: Saved, folder: Path) -> list[str]:
    """The keys without PEFT's prefix, which all must have."""
    others = [key for key in saved.tensors if not key.startswith(PREFIX)]
    if others:
        raise AdapterError(
            f"keys of {folder / TENSORS}", expected=f"{PREFIX}...", got=", ".join(others[:8])
        )
    return [key.removeprefix(PREFIX) for key in saved.tensors]


def _check_agreement(folder: Path, config: dict[str, Any], ours: dict[str, Any]) -> None:
    """Both files say what the adapter is; PEFT believes the one, hyperpeft the other."""
    for key, value in ours.items():
        if config.get(key) != value:
            raise AdapterError(
                f"{key} in {folder / CONFIG}, against what {TENSORS} was saved with",
                expected=value,
                got=config.get(key),
                hint="take both files from the same save",
            )


def read(folder: Path) -> Saved:
    """The files of an adapter folder, each checked by itself.

    Raises
    ------
    AdapterError
        When a file is missing, broken, or of a kind that can run code.
    """
    config, path = _read_config(folder), within(folder, TENSORS)
    if not path.is_file():
        if (folder / PICKLE).is_file():
            raise AdapterError(
                f"{folder / PICKLE} is a pickle, which can run code when it is opened",
                hint=f"save the adapter as {TENSORS}, PEFT's default since 0.7",
            )
        raise AdapterError(f"{folder} holds no adapter", expected=TENSORS, got="no such file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        own = json.loads(metadata["hyperpeft"]) if "hyperpeft" in metadata else None
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} cannot be read ({error})") from None
    if not tensors:
        raise AdapterError(f"{path} holds no tensors")
    attachment = _attachment(own, path) if own is not None else None
    return Saved(config, attachment, tensors)


def _read_config(folder: Path) -> dict[str, Any]:
    path = within(folder, CONFIG)
    try:
        config = read_json(path, AdapterError)
    except FileNotFoundError:
        raise AdapterError(
            f"{folder} holds no adapter", expected=CONFIG, got="no such file"
        ) from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise AdapterError(f"{path}", expected="a JSON object with peft_type", got=str(config)[:80])
    return config


def _attachment(values: object, path: Path) -> Attachment:
    """An Attachment from JSON, in which tuples have become lists."""
    names = set(Attachment.__dataclass_fields__)
    if (
        not isinstance(values, dict)
        or set(values) != names
        or not isinstance(values["method"], str)
        or not isinstance(values["targets"], list)
        or not all(isinstance(target, str) for target in values["targets"])
        or not isinstance(values["options"], dict)
    ):
        raise AdapterError(
            f"metadata of {path}", expected=f"{', '.join(sorted(names))}", got=str(values)[:120]
        )
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values["options"].items()
    }
    blocks = parse_blocks(values["blocks"])
    return Attachment(values["method"], tuple(values["targets"]), blocks, options)


def attachment_for(model: nn.Module, config: Mapping[str, Any], keys: Iterable[str]) -> Attachment:
    """The attachment that gives a model the adapters of a PEFT folder.

    Parameters
    ----------
    model : nn.Module
        The base model.
    config : dict
        Of `adapter_config.json`; `peft_type` is there.
    keys : iterable of str
        Of `adapter_model.safetensors`, without "base_model.model.".

    Raises
    ------
    AdapterError
        When the method or a setting is not one of hyperpeft's, or a key names no layer.
    """
    name, adapter = _method_for(config["peft_type"])
    options = adapter.peft_options(config)
    layers: set[str] = set()
    strange: list[str] = []
    linear = {n for n, module in model.named_modules() if isinstance(module, nn.Linear)}
    for key in keys:
        ends = (end for end in adapter.FILE_NAMES.values() if key.endswith(f".{end}"))
        layer = next((key.removesuffix(f".{end}") for end in ends), "")
        if layer in linear:
            layers.add(layer)
        else:
            strange.append(key)
    if strange:
        raise AdapterError(
            f"keys of this {config['peft_type']} adapter",
            expected=f"a linear layer of the model, then {', '.join(adapter.FILE_NAMES.values())}",
            got="; ".join(strange[:8]) + (f"; and {len(strange) - 8} more" if strange[8:] else ""),
        )
    targets, blocks = _places(model, layers)
    return Attachment(name, targets, blocks, options)


def _method_for(peft_type: str) -> tuple[str, type[Adapter]]:
    known = {
        method.adapter.PEFT_TYPE: (method.name, method.adapter)
        for method in METHODS.values()
        if method.adapter is not None and method.adapter.PEFT_TYPE and not method.plus
    }
    if peft_type not in known:
        lost = peft_type.startswith(NO_PEFT_FORM)
        raise AdapterError(
            "peft_type of this adapter",
            expected=" or ".join(str(kind) for kind in known),
            got=peft_type,
            hint="its safetensors file has lost the metadata that says more" if lost else None,
        )
    return known[peft_type]


def _places(model: nn.Module, layers: set[str]) -> tuple[tuple[str, ...], str | int]:
    """Targets and blocks that mean these layers: short names where they do, else whole names."""
    targets = tuple(dict.fromkeys(layer.rpartition(".")[2] for layer in sorted(layers)))
    every = target_names(model, targets, "all")
    if set(every) == layers:
        return targets, "all"
    return tuple(name for name in every if name in layers), "all"
