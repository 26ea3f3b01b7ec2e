"""Putting adapters into a model: attach, detach, merge and unmerge.

Everything that can be wrong is found before the model is changed: a refused call leaves it as it
was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hyperpeft.adapters.base import Adapter, get_method
from hyperpeft.errors import AdapterError

_NUMBER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")  # of a block, in a dotted name


@dataclass(frozen=True)
class Attachment:
    """How adapters were attached: what `save` writes and `load` needs to do it again.

    Attributes
    ----------
    method : str
    targets : tuple of str
        Last parts of layer names, or whole names.
    blocks : "all" or int
        How many of the last blocks.
    options : dict
        Of the method, as they were given.
    """

    method: str
    targets: tuple[str, ...] = ("q", "v")
    blocks: str | int = "all"
    options: Mapping[str, Any] = field(default_factory=dict)


def attach(
    model: nn.Module,
    method: str,
    targets: tuple[str, ...] | str = ("q", "v"),
    *,
    blocks: str | int = "all",
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Freeze a model and put an adapter in the place of each target layer.

    Parameters
    ----------
    model : nn.Module
        Changed in place, or left as it was where anything is wrong. Layers are found by their
        name, such as the "q" of "blocks.0.attn.q"; nothing else is assumed of it.
    method : str
        "lora", "lora+", "krona", "krona+", "lokr", or "full" (everything trainable) and "probe"
        (everything frozen), which attach nothing.
    targets : tuple of str, or str, default ("q", "v")
        Any of q, k, v, proj, fc1, fc2 of a SpectralGPT encoder; "q,v" means the same. A whole
        name such as "blocks.0.attn.q" targets that layer alone.
    blocks : "all", "last k" or int k, default "all"
        Adapt the last k blocks only; with "full", what stands before them in the model is frozen.
    seed : int, default 0
        Of the adapters' random factor.
    **options
        Of the method: see `LoRA`, `KronA` and `LoKr`.

    Returns
    -------
    nn.Module
        The same model; its `attachment` attribute records what was done.

    Raises
    ------
    AdapterError
        Unknown method, target or option, a value that cannot be used, a layer whose weight PyTorch
        reads without calling it, or a model that has adapters already.
    """
    chosen = get_method(method)
    options = {name: _plain(value) for name, value in options.items()}
    blocks = parse_blocks(blocks)
    names = tuple(part.strip() for part in targets.split(",")) if isinstance(targets, str) else None
    attachment = Attachment(method, names or tuple(targets), blocks, options)
    check_bare(model)
    chosen.check_options(options)
    adapters = build(model, attachment, seed) if chosen.adapter is not None else {}
    return place(model, attachment, adapters)


def check_bare(model: nn.Module) -> None:
    """AdapterError where a model has adapters already."""
    if adapters_of(model):
        raise AdapterError("this model has adapters already", hint="merge or detach them first")


def build(model: nn.Module, attachment: Attachment, seed: int = 0) -> dict[str, Adapter]:
    """The adapters of an attachment by layer name, not yet in the model, which is only read."""
    method = get_method(attachment.method)
    if method.adapter is None:
        raise AdapterError(f"method {method.name} attaches no adapter")
    method.check_options(attachment.options)
    make: Callable[..., Adapter] = method.adapter
    generator = torch.Generator().manual_seed(seed)
    adapters: dict[str, Adapter] = {}
    for name in target_names(model, attachment.targets, attachment.blocks):
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        # Drawn on the processor, so that a seed gives the same start on every device.
        adapter = make(linear, generator=generator, **attachment.options)
        adapters[name] = adapter.to(linear.weight.device).train(linear.training)
    return adapters


def place(model: nn.Module, attachment: Attachment, adapters: Mapping[str, Adapter]) -> nn.Module:
    """Freeze a model and put adapters built for it in their places."""
    learns = get_method(attachment.method).trains_encoder
    below = _below(model, attachment.blocks) if learns else []
    model.requires_grad_(learns)
    for parameter in below:
        parameter.requires_grad_(False)
    for name, adapter in adapters.items():
        replace_module(model, name, adapter)
    model.attachment = attachment  # type: ignore[assignment]  # nn.Module types attributes narrowly
    return model


def _plain(value: Any) -> Any:
    """Lists, as YAML and JSON have them, as tuples."""
    return tuple(value) if isinstance(value, list) else value


def parse_blocks(blocks: str | int) -> str | int:
    """Return "all" or a number of last blocks, from "all", "last 4", "4" or 4.

    >>> parse_blocks("last 4"), parse_blocks(4), parse_blocks("all")
    (4, 4, 'all')
    """
    if isinstance(blocks, str):
        found = re.fullmatch(r"\s*(?:last\s+)?(\d{1,9})\s*", blocks)
        value = int(found.group(1)) if found else blocks.strip()
    else:
        value = blocks
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise AdapterError("blocks", expected='"all", "last 4" or a number from 1', got=repr(blocks))


def target_names(model: nn.Module, targets: tuple[str, ...], blocks: str | int) -> list[str]:
    """Names of the linear layers to adapt, in the model's order."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    missing = [t for t in targets if not any(_matches(name, t) for name in linear)]
    if missing or not targets:
        raise AdapterError(
            "targets",
            expected=f"any of {', '.join(dict.fromkeys(n.split('.')[-1] for n in linear))}",
            got=", ".join(map(str, missing)) or "none",
        )
    names = [name for name in linear if any(_matches(name, target) for target in targets)]
    of_block = {name: _block_of(model, name) or 0 for name in names}
    first = _first_block(of_block.values(), blocks)
    names = [name for name in names if of_block[name] >= first]
    for name in names:
        _check_called(model, name)
    return names


def _block_of(model: nn.Module, name: str) -> int | None:
    """The block that a dotted name lies in, from 0; None outside of all.

    Blocks are the first list of modules of which two or more are of one kind and hold others: not
    a Sequential of encoder and head, nor the layers of an MLP. Without one, the first number in
    the name counts.
    """
    module = model
    *path, _ = name.split(".")
    for part in path:
        inside = dict(module.named_children())
        kinds = Counter(type(child) for child in inside.values() if any(child.children()))
        if isinstance(module, nn.ModuleList | nn.Sequential) and max(kinds.values(), default=0) > 1:
            return list(inside).index(part)
        module = module.get_submodule(part)
    return block_number(name) if _NUMBER.search(name) else None


def _first_block(numbers: Iterable[int], blocks: str | int) -> int:
    """The number of the first of the last blocks."""
    if blocks == "all":
        return 0
    depth = 1 + max(numbers)
    if not isinstance(blocks, int) or not 1 <= blocks <= depth:
        raise AdapterError("blocks", expected=f'"all" or 1 to {depth}', got=blocks)
    return depth - blocks


def _below(model: nn.Module, blocks: str | int) -> list[nn.Parameter]:
    """The parameters that stand before the last blocks in the model's order."""
    if blocks == "all":
        return []
    named = dict(model.named_parameters())
    numbers = [_block_of(model, name) for name in named]
    first = _first_block([number or 0 for number in numbers], blocks)
    inside = (number is not None and number >= first for number in numbers)
    return list(named.values())[: next((i for i, there in enumerate(inside) if there), 0)]


def _check_called(model: nn.Module, name: str) -> None:
    """Refuse a layer whose weight PyTorch's own transformer reads without calling the layer."""
    parent = model.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, nn.MultiheadAttention):
        hint = (
            "use an attention of single linear layers, such as torch's scaled_dot_product_attention"
        )
    elif (
        isinstance(parent, nn.TransformerEncoderLayer) and torch.backends.mha.get_fastpath_enabled()
    ):
        hint = "switch that path off: torch.backends.mha.set_fastpath_enabled(False)"
    else:
        return
    raise AdapterError(
        f"{name}: torch.nn.{type(parent).__name__} computes with its weight without calling it, so "
        "that an adapter would have no effect",
        hint=hint,
    )


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def block_number(name: str) -> int:
    """The first number in a dotted name; 0 where it has none."""
    found = _NUMBER.search(name)
    return int(found.group(1)) if found else 0


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module under a dotted name."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def adapters_of(model: nn.Module) -> dict[str, Adapter]:
    """The attached adapters by layer name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Adapter)}


def merge(model: nn.Module) -> nn.Module:
    """Add every delta to its weight, in float32, and put plain linear layers back, in place.

    The result has the official parameter names, no adapters and nothing trainable. For a merge
    that can be taken back see `merged`.

    Parameters
    ----------
    model : nn.Module
        With adapters of `attach` or `load`; one without any stays as it is.

    Returns
    -------
    nn.Module
        The same object.
    """
    return _put_back(model, merge=True)


def detach(model: nn.Module) -> nn.Module:
    """Take the adapters off and put the plain linear layers back, unchanged, in place."""
    return _put_back(model, merge=False)


def _put_back(model: nn.Module, *, merge: bool) -> nn.Module:
    for name, adapter in adapters_of(model).items():
        replace_module(model, name, adapter.to_linear(merge=merge))
    if isinstance(getattr(model, "attachment", None), Attachment):
        del model.attachment
    return model.requires_grad_(False)


@contextmanager
def merged(model: nn.Module) -> Iterator[nn.Module]:
    """Predict at the speed of the plain model, then train on: merged inside, unmerged after.

    The weights come back bit by bit. Adapters that were merged already stay so.
    """
    adapters = [adapter for adapter in adapters_of(model).values() if not adapter.merged]
    try:
        for adapter in adapters:
            adapter.merge_()
        yield model
    finally:
        for adapter in adapters:
            adapter.unmerge_()
