"""The contract of an adapter, and what attaches, merges and counts them.

An adapter stands in the place of a named `nn.Linear`: it keeps that layer's weight and bias under
their own names, frozen, and adds the output of a small trainable map,

    y = W x + b + delta(x),    delta(x) = dW x,

with dW = 0 at the start. It declares which of its parameters are A, which starts random and
learns at the base rate, and which are B, which starts at zero and, under the "+" rule of LoRA+
(Hayou et al. 2024, arXiv 2402.12354), learns lambda times faster.

A new method is one subclass with one `register` line; it knows nothing of the backbone.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperpeft.errors import AdapterError


class Adapter(nn.Module, ABC):
    """A frozen linear layer with a trainable delta.

    Subclasses set the class variables, create their parameters in `__init__` and define `delta`
    and `delta_weight`.

    Attributes
    ----------
    FILE_NAMES : dict of str to str
        Parameter name here -> name in the PEFT file layout.
    A, B : tuple of str
        Names of the parameters of each role.
    """

    FILE_NAMES: ClassVar[Mapping[str, str]]
    A_NAMES: ClassVar[tuple[str, ...]]
    B_NAMES: ClassVar[tuple[str, ...]]

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.bias = (
            None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)
        )

    @abstractmethod
    def delta(self, x: Tensor) -> Tensor:
        """Compute dW x for x (..., in): (..., out), without forming dW."""

    @abstractmethod
    def delta_weight(self) -> Tensor:
        """The matrix dW (out, in) in float32."""

    @classmethod
    @abstractmethod
    def peft_config(cls, layers: list[Adapter]) -> dict[str, Any]:
        """The method's part of PEFT's `adapter_config.json`."""

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        return F.linear(x, self.weight, self.bias) + self.delta(x)

    def role(self, names: tuple[str, ...]) -> Iterator[tuple[str, nn.Parameter]]:
        """Own parameters whose name, without an index, is among `names`."""
        for name, parameter in self.named_parameters():
            if name.split(".")[0] in names:
                yield name, parameter

    def merged(self) -> nn.Linear:
        """A plain layer with the delta added to its weight, in float32."""
        linear = nn.Linear(
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        with torch.no_grad():
            linear.weight.copy_(self.weight.float() + self.delta_weight())
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return linear


@dataclass(frozen=True)
class Method:
    """A name that users type, and what it stands for.

    Attributes
    ----------
    adapter : type of Adapter, or None
        None trains no adapter: the whole encoder (`full`) or nothing of it (`probe`).
    plus : bool
        Whether B learns lambda times faster than A.
    trains_encoder : bool
        Whether the encoder's own weights learn.
    """

    name: str
    adapter: Callable[..., Adapter] | None = None
    plus: bool = False
    trains_encoder: bool = False


METHODS: dict[str, Method] = {
    "full": Method("full", trains_encoder=True),
    "probe": Method("probe"),
}


def register(name: str, *, plus: bool = False) -> Callable[[type[Adapter]], type[Adapter]]:
    """Register an adapter under `name`, and under `name` + "+" where `plus` says so."""

    def wrap(adapter: type[Adapter]) -> type[Adapter]:
        METHODS[name] = Method(name, adapter)
        if plus:
            METHODS[f"{name}+"] = Method(f"{name}+", adapter, plus=True)
        return adapter

    return wrap


@dataclass(frozen=True)
class Attachment:
    """How adapters were attached: what `save` writes and `load` needs to do it again."""

    method: str
    targets: tuple[str, ...] = ("q", "v")
    blocks: str | int = "all"
    options: Mapping[str, Any] = field(default_factory=dict)


def get_method(name: str) -> Method:
    """The method of that name; AdapterError naming the known ones."""
    if name not in METHODS:
        raise AdapterError("method", expected=f"one of {', '.join(METHODS)}", got=repr(name))
    return METHODS[name]


def attach(
    model: nn.Module,
    method: str,
    targets: tuple[str, ...] = ("q", "v"),
    *,
    blocks: str | int = "all",
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Freeze a model and put an adapter in the place of each target layer.

    Parameters
    ----------
    model : nn.Module
        Changed in place. Layers are found by the last part of their name, such as the `q` of
        "blocks.0.attn.q"; nothing else is assumed of it.
    method : str
        "lora", "lora+", "krona", "krona+", "lokr", or "full" (everything trainable) and "probe"
        (everything frozen), which attach nothing.
    targets : tuple of str, default ("q", "v")
        Any of q, k, v, proj, fc1, fc2 of a SpectralGPT encoder.
    blocks : "all" or int
        Adapt the last `blocks` blocks only.
    seed : int, default 0
        Of the adapters' random factor.
    **options
        Of the method: see its class.

    Returns
    -------
    nn.Module
        The same model; its `attachment` attribute records what was done.

    Raises
    ------
    AdapterError
        Unknown method, target or option, or a model that has adapters already.
    """
    chosen = get_method(method)
    if adapters_of(model):
        raise AdapterError("this model has adapters already", do="merge or reload it first")
    model.requires_grad_(chosen.trains_encoder)
    if chosen.adapter is not None:
        names = target_names(model, targets, blocks)
        generator = torch.Generator().manual_seed(seed)
        for name in names:
            linear = model.get_submodule(name)
            try:
                adapter = chosen.adapter(linear, generator=generator, **options)
            except TypeError:
                raise AdapterError(
                    f"options of {method}", expected=_option_names(chosen), got=sorted(options)
                ) from None
            replace_module(model, name, adapter)
    elif options:
        raise AdapterError(f"method {method}", expected="no options", got=sorted(options))
    attachment = Attachment(method, tuple(targets), blocks, dict(options))
    model.attachment = attachment  # type: ignore[assignment]  # nn.Module types attributes narrowly
    return model


def _option_names(method: Method) -> list[str]:
    import inspect

    assert method.adapter is not None
    parameters = inspect.signature(method.adapter).parameters
    return [name for name in parameters if name not in ("linear", "generator")]


def target_names(model: nn.Module, targets: tuple[str, ...], blocks: str | int) -> list[str]:
    """Names of the linear layers to adapt, in the model's order."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    missing = [target for target in targets if not any(n.split(".")[-1] == target for n in linear)]
    if missing or not targets:
        raise AdapterError(
            "targets",
            expected=f"any of {', '.join(dict.fromkeys(n.split('.')[-1] for n in linear))}",
            got=", ".join(missing) or "none",
        )
    names = [name for name in linear if name.split(".")[-1] in targets]
    if blocks == "all":
        return names
    depth = 1 + max(block_number(name) for name in names)
    if not isinstance(blocks, int) or not 1 <= blocks <= depth:
        raise AdapterError("blocks", expected=f'"all" or 1 to {depth}', got=blocks)
    return [name for name in names if block_number(name) >= depth - blocks]


def block_number(name: str) -> int:
    """The first number in a dotted name; 0 where it has none."""
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", name)
    return int(found.group(1)) if found else 0


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module under a dotted name."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def adapters_of(model: nn.Module) -> dict[str, Adapter]:
    """The attached adapters by layer name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Adapter)}


def merge(model: nn.Module) -> nn.Module:
    """Add every delta to its weight and put plain linear layers back, in place.

    The result has the official parameter names, no adapters and nothing trainable.
    """
    for name, adapter in adapters_of(model).items():
        replace_module(model, name, adapter.merged())
    return model.requires_grad_(False)
