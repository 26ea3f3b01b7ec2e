"""The contract of an adapter, and the registry of methods.

An adapter stands in the place of a named `nn.Linear`: it keeps that layer's weight and bias under
their own names, frozen, and adds the output of a small trainable map,

    y = W x + b + delta(x),    delta(x) = dW x,

with dW = 0 at the start. It declares which of its parameters are A, which starts random and
learns at the base rate, and which are B, which starts at zero and, under the "+" rule of LoRA+
(Hayou et al. 2024, arXiv 2402.12354), learns lambda times faster. The rule itself is the
optimiser's: an adapter does not know whether it is in force.

A new method is one subclass with one `register` line. It imports nothing of hyperpeft but this
file and the errors, and knows nothing of the backbone.

In float32 training, a layer with more rows than outputs merges its delta into the weight once a
step and takes one product,

    y = x (W + dW)^T + b,    dL/dx = dL/dy (W + dW),    dL/dA, dL/dB from delta(x) alone.

Adding delta(x) to W x + b reads and writes the activations several times, forward and backward,
and dW has no more numbers than W: a step of `base` on two processor cores takes 0.96 of the time.
The gradients of A and B come from the delta itself, computed again in the backward pass, so that
a method needs nothing but `delta` and `delta_weight`, and no gradient is as large as dW. Beside a
weight in bfloat16 a small delta would be rounded away, so there it is added to the output.

Where delta(x) itself costs about as much as W x (`is_dense`), such as a sum of Kronecker terms on a
narrow layer, W + dW is formed in every pass and the gradient goes through dW, in every precision:
a step of `tiny` with four terms on all layers takes 0.55 of the time on a processor. Rounding in
bfloat16 is then that of full fine-tuning, and that of prediction with the delta merged.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hyperpeft.errors import AdapterError

NO_PEFT_FORM = "HYPERPEFT_"  # how `peft_type` begins where stock PEFT has no such adapter


class Adapter(nn.Module, ABC):
    """A frozen linear layer with a trainable delta.

    Subclasses set the class variables, create their parameters in `__init__` and define `delta`
    and `delta_weight`. A subclass's `__init__` takes `linear`, its options with their defaults,
    and the keyword `generator`; it checks the values of its options.

    Parameters
    ----------
    linear : nn.Linear
        The layer it stands for. Its weight is shared, not copied.
    dropout : float, default 0
        Share of the delta's inputs set to zero in training, 0 <= dropout < 1.

    Attributes
    ----------
    FILE_NAMES : dict of str to str
        Parameter name here -> name in the PEFT file layout.
    A_NAMES, B_NAMES : tuple of str
        Names of the parameters of each role, whether or not the options call for all of them.
    PEFT_TYPE : str or None
        The `peft_type` of the files that `peft_options` reads.
    """

    FILE_NAMES: ClassVar[Mapping[str, str]]
    A_NAMES: ClassVar[tuple[str, ...]]
    B_NAMES: ClassVar[tuple[str, ...]]
    PEFT_TYPE: ClassVar[str | None] = None

    def __init__(self, linear: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dropout = check_share("dropout", dropout)
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.bias = (
            None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)
        )
        self._plain_weight: Tensor | None = None  # the unmerged weight, while merged

    @abstractmethod
    def delta(self, x: Tensor) -> Tensor:
        """Compute dW x for x (..., in): (..., out), in the dtype of x, without forming dW."""

    @abstractmethod
    def delta_weight(self) -> Tensor:
        """The matrix dW (out, in) in float32."""

    @property
    def is_dense(self) -> bool:
        """Whether dW x for one x costs about as much as W x, so that forming dW pays."""
        return False

    @classmethod
    def peft_config(cls, layers: Sequence[Adapter]) -> dict[str, Any]:
        """The method's part of PEFT's `adapter_config.json`, for adapters of this class.

        A method that stock PEFT does not have keeps this one, which says so.
        """
        return no_peft_form(cls.__name__, "stock PEFT has no such method")

    @classmethod
    def peft_options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Options of this class for an `adapter_config.json` of its PEFT_TYPE.

        Raises
        ------
        AdapterError
            Naming the settings that would change the outputs and are not supported here.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        dropping = bool(self.dropout) and self.training
        if not self.merged and not dropping:
            if self.is_dense and x.numel() >= self.weight.numel() and _computes_in_float32(x):
                return F.linear(x, self.weight + self.delta_weight(), self.bias)
            if _merge_is_cheaper(x, self.weight):
                return _merged_product(self, x)
        y = F.linear(x, self.weight, self.bias)
        if self.merged:
            return y
        return y + self.delta(F.dropout(x, self.dropout) if dropping else x)

    def role(self, names: tuple[str, ...]) -> Iterator[tuple[str, nn.Parameter]]:
        """Own parameters that are among `names`."""
        for name, parameter in self.named_parameters(recurse=False):
            if name in names:
                yield name, parameter

    def own_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every A and B with its name."""
        return self.role(self.A_NAMES + self.B_NAMES)

    @property
    def merged(self) -> bool:
        """Whether the weight holds the delta now."""
        return self._plain_weight is not None

    @torch.no_grad()
    def merge_(self) -> None:
        """Add the delta to the weight, in float32, until `unmerge_`.

        The unmerged weight is kept, so that `unmerge_` gives it back bit by bit; subtracting
        would not. It costs one more weight meanwhile.
        """
        if self._plain_weight is None:
            self._plain_weight = self.weight.data
            self.weight.data = self.adapted_weight()

    @torch.no_grad()
    def unmerge_(self) -> None:
        """Give the weight back as it was before `merge_`."""
        if self._plain_weight is not None:
            # The model may have been moved or cast in between.
            self.weight.data = self._plain_weight.to(self.weight)
            self._plain_weight = None

    def to_linear(self, *, merge: bool) -> nn.Linear:
        """A plain frozen layer, with the delta added to its weight or without it."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain = self.weight.detach()
        if self._plain_weight is not None:  # the model may have been moved or cast since
            plain = self._plain_weight.to(plain)
        weight = (
            (self.weight.detach() if self.merged else self.adapted_weight()) if merge else plain
        )
        linear.weight = nn.Parameter(weight, requires_grad=False)
        linear.bias = self.bias
        return linear.train(self.training)

    def adapted_weight(self) -> Tensor:
        """W + dW (out, in), added in float32, in the dtype of W and without gradients."""
        with torch.no_grad():
            delta = self.delta_weight().to(self.weight.device)
            return (self.weight.float() + delta).to(self.weight.dtype)


def no_peft_form(method: str, reason: str) -> dict[str, Any]:
    """What `adapter_config.json` says of an adapter that stock PEFT cannot hold."""
    return {"peft_type": f"{NO_PEFT_FORM}{method.upper()}", "no_peft_form": reason}


# --- the registry ---------------------------------------------------------------------------


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
    adapter: type[Adapter] | None = None
    plus: bool = False
    trains_encoder: bool = False

    def options(self) -> dict[str, inspect.Parameter]:
        """The method's options by name, from the signature of its class."""
        if self.adapter is None:
            return {}
        parameters = inspect.signature(self.adapter).parameters
        return {n: p for n, p in parameters.items() if n not in ("linear", "generator")}

    def check_options(self, given: Collection[str]) -> None:
        """AdapterError naming the unknown options and the known ones."""
        known = self.options()
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise AdapterError(
                f"options of method {self.name}",
                expected=f"any of {', '.join(known)}" if known else "none",
                got=", ".join(unknown),
            )


METHODS: dict[str, Method] = {
    "full": Method("full", trains_encoder=True),
    "probe": Method("probe"),
}

SomeAdapter = TypeVar("SomeAdapter", bound=type[Adapter])


def register(name: str, *, plus: bool = False) -> Callable[[SomeAdapter], SomeAdapter]:
    """Register an adapter under `name`, and under `name` + "+" where `plus` says so."""

    def wrap(adapter: SomeAdapter) -> SomeAdapter:
        METHODS[name] = Method(name, adapter)
        if plus:
            METHODS[f"{name}+"] = Method(f"{name}+", adapter, plus=True)
        return adapter

    return wrap


def get_method(name: str) -> Method:
    """The method of that name; AdapterError naming the known ones."""
    if not isinstance(name, str) or name not in METHODS:
        raise AdapterError("method", expected=f"one of {', '.join(METHODS)}", got=repr(name))
    return METHODS[name]


# --- what the methods share -----------------------------------------------------------------


def kaiming(shape: Sequence[int], generator: torch.Generator | None) -> nn.Parameter:
    """Kaiming-uniform values with a = sqrt 5: uniform within 1 / sqrt(columns)."""
    bound = shape[-1] ** -0.5
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound, generator=generator))


def check_count(what: str, value: object, most: int, why: str) -> int:
    """A whole number from 1 to `most`; AdapterError saying why there is a limit."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise AdapterError(what, expected=f"a whole number from 1 to {most} ({why})", got=value)
    return value


def check_positive(what: str, value: object) -> float:
    """A finite number above 0, as float."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < sys.float_info.max:  # type: ignore[operator]
        raise AdapterError(what, expected="a number above 0", got=repr(value)[:60])
    return float(value)  # type: ignore[arg-type]


def check_share(what: str, value: object) -> float:
    """A number from 0 to below 1, as float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise AdapterError(what, expected="a number from 0 to below 1", got=repr(value))
    return float(value)


def check_flag(what: str, value: object) -> bool:
    """True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise AdapterError(what, expected="true or false", got=repr(value))
    return value


# Settings of PEFT's configurations that say nothing about the outputs.
_HARMLESS = frozenset({
    "auto_mapping", "base_model_name_or_path", "inference_mode", "layers_pattern",
    "layers_to_transform", "exclude_modules", "megatron_core", "peft_type", "peft_version",
    "revision", "target_modules", "task_type",
})  # fmt: skip


def refuse_settings(config: Mapping[str, Any], read: Collection[str]) -> None:
    """Refuse PEFT settings that are switched on and that nothing here reads.

    Later releases of PEFT add variants as new settings that are off by default; one that is on
    and unknown here may change the outputs, so it is named instead of ignored.
    """
    on = [k for k, v in config.items() if v and k not in _HARMLESS and k not in read]
    if on:
        found = ", ".join(f"{key} = {str(config[key])[:60]}" for key in sorted(on))
        raise AdapterError(
            f"this {config.get('peft_type')} adapter of PEFT uses unsupported settings",
            expected="the plain method",
            got=found,
        )


def _computes_in_float32(x: Tensor) -> bool:
    """Whether a float32 weight serves for x (..., in): as it is, or cast by autocast."""
    return x.dtype == torch.float32 or torch.is_autocast_enabled(x.device.type)


def _merge_is_cheaper(x: Tensor, weight: Tensor) -> bool:
    """Whether gradients are asked for, of a layer in float32 with more rows than outputs.

    Parameters
    ----------
    x : Tensor, shape (..., in)
    weight : Tensor, shape (out, in)
    """
    return (
        torch.is_grad_enabled()
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled(x.device.type)
        and x.numel() >= weight.numel()
    )


def _merged_product(adapter: Adapter, x: Tensor) -> Tensor:
    """(W + dW) x + b for x (..., in): (..., out), the same as W x + b + delta(x)."""
    learning = [p for _, p in adapter.own_parameters() if p.requires_grad]
    result: Tensor = _MergedProduct.apply(adapter, x, *learning)
    return result


class _MergedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, adapter: Adapter, x: Tensor, *learning: Tensor) -> Tensor:
        weight = adapter.adapted_weight()
        ctx.adapter = adapter
        ctx.save_for_backward(x, weight, *learning)
        return F.linear(x, weight, adapter.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *learning = ctx.saved_tensors
        into = gradient @ weight if ctx.needs_input_grad[1] else None
        if not learning:
            return None, into
        with torch.enable_grad():
            delta = ctx.adapter.delta(x.detach())
        return None, into, *torch.autograd.grad(delta, learning, gradient)
