"""The device of a run, and its number format: float32, or bfloat16 where that is faster."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn


def processes() -> PartialState:
    """Return this process among those of a launch, with its device.

    Accelerate would choose the GPU of a Mac, which has no float64, and the heads are fitted in it.
    """
    wanted = parse_flag_from_env("ACCELERATE_USE_CPU")  # read by an Accelerator, not by this class
    return PartialState(cpu=wanted or torch.backends.mps.is_available())


def choose_precision(wanted: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 where the processor multiplies it faster.

    AVX-512 alone does so on AMD (1.7 times the windows a second on Zen 4), and not on Intel without
    AMX (0.7 times on a Xeon whose AMX is not there).
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Older releases of torch cannot tell: then float32, which is always right.
    capabilities: dict[str, Any] = (
        getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    )
    intel = str(capabilities.get("cpu_name", "")).startswith("Intel")
    fast = any(capabilities.get(name) for name in ("amx_bf16", "bf16")) or (
        capabilities.get("avx512_bf16") and not intel
    )
    return "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a forward pass of that precision runs."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def held_in(model: nn.Module, precision: str) -> Iterator[None]:
    """Keep frozen weights in the precision that autocast would cast them to in every pass.

    The results are the same to the bit; on a processor a step of `base` takes 6 % less time. The
    float32 weights come back at the end.
    """
    frozen = _frozen_weights(model)
    plain = [parameter.data for parameter in frozen]
    if precision == "bf16":
        for parameter in frozen:
            parameter.data = parameter.data.to(torch.bfloat16)
    try:
        yield
    finally:
        for parameter, data in zip(frozen, plain, strict=True):
            parameter.data = data


def for_prediction(model: nn.Module, precision: str) -> nn.Module:
    """The model in evaluation mode, with frozen weights as `held_in` keeps them.

    A copy that shares all other tensors, or the model itself where nothing differs. The model
    stays as it is: several threads may predict with it, and a prediction may stop half-way.
    """
    if precision != "bf16" and not model.training:
        return model
    tensors = {
        id(value): value
        for module in model.modules()
        for values in (vars(module), module._parameters, module._buffers)
        for value in values.values()
        if isinstance(value, torch.Tensor)
    }
    if precision == "bf16":
        for weight in _frozen_weights(model):
            rounded = weight.detach().to(torch.bfloat16)
            tensors[id(weight)] = nn.Parameter(rounded, requires_grad=False)
    return copy.deepcopy(model, tensors).eval()


def _frozen_weights(model: nn.Module) -> list[nn.Parameter]:
    """The matrices that autocast casts in every pass and that do not learn."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if name.endswith(".weight") and parameter.ndim > 1 and not parameter.requires_grad
    ]
