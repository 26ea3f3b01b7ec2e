"""Parameter groups of AdamW, the "+" rule and the schedule.

Under the "+" rule (LoRA+, Hayou et al. 2024, arXiv 2402.12354; KronA+, arXiv 2505.15334) the
zero-initialised factor B of every adapter learns at lambda times the rate of A. Which parameter
is A and which is B is the adapters' own declaration; heads, norms and biases never get lambda.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hyperpeft.adapters import adapters_of


def parameter_groups(
    model: nn.Module, *, lr: float, lam: float, head_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Trainable parameters in groups "A", "B", "weights", "head" and "no_decay".

    Parameters
    ----------
    model : nn.Module
        A classifier whose encoder is the attribute `encoder`.
    lr : float
        Rate of A, and of the encoder's own weights where they learn.
    lam : float
        Rate of B over the rate of A; 1 switches the "+" rule off.
    head_lr : float
        Rate of everything outside the encoder.
    weight_decay : float
        Of matrices; vectors (norms, biases) have none.

    Returns
    -------
    list of dict
        Non-empty groups with "name", "params", "lr" and "weight_decay"; each parameter is in one.
    """
    adapters = adapters_of(model).values()
    a = {id(p) for m in adapters for _, p in m.role(m.A_NAMES)}
    b = {id(p) for m in adapters for _, p in m.role(m.B_NAMES)}
    groups: dict[str, dict[str, Any]] = {
        "A": {"lr": lr, "weight_decay": weight_decay},
        "B": {"lr": lr * lam, "weight_decay": weight_decay},
        "weights": {"lr": lr, "weight_decay": weight_decay},
        "weights_no_decay": {"lr": lr, "weight_decay": 0.0},
        "head": {"lr": head_lr, "weight_decay": weight_decay},
        "head_no_decay": {"lr": head_lr, "weight_decay": 0.0},
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in a:
            group = "A"
        elif id(parameter) in b:
            group = "B"
        else:
            place = "weights" if name.startswith("encoder.") else "head"
            group = place if parameter.ndim > 1 else f"{place}_no_decay"
        groups[group].setdefault("params", []).append(parameter)
    return [{"name": name, **group} for name, group in groups.items() if "params" in group]


def optimiser(groups: list[dict[str, Any]]) -> AdamW:
    """AdamW over the groups."""
    return AdamW(groups)


def cosine(optimizer: Optimizer, *, steps: int, warmup: int) -> LambdaLR:
    """Linear warm-up over `warmup` steps, then half a cosine down to zero at `steps`."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)
