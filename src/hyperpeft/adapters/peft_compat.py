"""Adapters that stock PEFT saved: how they would have been attached here.

PEFT's configuration names the method and its numbers; which layers it adapted is read from the
keys of the tensors, because `target_modules` may be a pattern.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from hyperpeft.adapters.attach import Attachment, target_names
from hyperpeft.adapters.base import METHODS, NO_PEFT_FORM, Adapter
from hyperpeft.errors import AdapterError


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
