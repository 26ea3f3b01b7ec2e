"""Kronecker adapters: KronA, and LoKr, whose second factor is of low rank.

Papers: Edalati et al. 2022, "KronA" (arXiv 2212.10650); Yeh et al. 2023, LyCORIS/LoKr
(arXiv 2309.14859). The "+" of KronA+ (Ligan et al. 2025, arXiv 2505.15334) is the optimiser's.

Formula    dW = s (A (x) B),   A (a_out, a_in),  B (b_out, b_in),
           a_out b_out = out,  a_in b_in = in
Product    (A (x) B) x = vec(A X B^T), X = x reshaped row by row to (a_in, b_in); the Kronecker
           matrix is never formed in a forward pass.
Start      KronA: A Kaiming-uniform (a = sqrt 5), B zero.
           LoKr:  A and B2 Kaiming-uniform, B1 zero, B = B1 B2 of rank r.
Scale      KronA: s itself, default 1. LoKr: s = alpha / r, alpha = r by default.
Sizes      "balanced" factors are the most square ones, the smaller in A:
           768 -> A 24 x 24, B 32 x 32, 1,600 parameters a layer.
PEFT       KronA with square factors is a LoKr with full factors: lokr_w1 = A, lokr_w2 = B,
           alpha = s r.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hyperpeft.adapters.base import Adapter, register
from hyperpeft.errors import AdapterError


def balanced(size: int) -> int:
    """The largest divisor of `size` that is not above its square root.

    >>> balanced(768), balanced(192), balanced(7)
    (24, 12, 1)
    """
    return next(d for d in range(math.isqrt(size), 0, -1) if size % d == 0)


def kaiming(shape: tuple[int, ...], generator: torch.Generator | None) -> nn.Parameter:
    """Kaiming-uniform values with a = sqrt 5: uniform within 1 / sqrt(columns)."""
    bound = shape[-1] ** -0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))


def kronecker_product(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """(A (x) B) x for x (..., a_in b_in): (..., a_out b_out)."""
    X = x.unflatten(-1, (A.shape[1], B.shape[1]))  # (..., a_in, b_in)
    XB = X @ B.T  # (..., a_in, b_out)
    return (A @ XB).flatten(-2)  # (..., a_out b_out)


def factor_sizes(factors: str | tuple[int, int], out_features: int, in_features: int) -> list[int]:
    """Sizes (a_out, a_in, b_out, b_in) for "balanced" or the size (a_out, a_in) of A."""
    if factors == "balanced":
        a_out, a_in = balanced(out_features), balanced(in_features)
    elif isinstance(factors, str) or len(factors) != 2:
        raise AdapterError("factors", expected='"balanced" or (rows, columns) of A', got=factors)
    else:
        a_out, a_in = factors
    if min(a_out, a_in) < 1 or out_features % a_out or in_features % a_in:
        raise AdapterError(
            "factors",
            expected=f"divisors of the layer's {out_features} x {in_features}",
            got=f"{a_out} x {a_in}",
        )
    return [a_out, a_in, out_features // a_out, in_features // a_in]


@register("krona", plus=True)
class KronA(Adapter):
    """dW = scale (A (x) B).

    Parameters
    ----------
    linear : nn.Linear
    factors : "balanced" or (int, int), default "balanced"
        Rows and columns of A.
    scale : float, default 1
    generator : torch.Generator, optional
        Of the random start of A.
    """

    FILE_NAMES: ClassVar = {"A": "lokr_w1", "B": "lokr_w2"}
    A_NAMES: ClassVar = ("A",)
    B_NAMES: ClassVar = ("B",)

    def __init__(
        self,
        linear: nn.Linear,
        factors: str | tuple[int, int] = "balanced",
        scale: float = 1.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(linear)
        a_out, a_in, b_out, b_in = factor_sizes(factors, self.out_features, self.in_features)
        self.scale = float(scale)
        self.A = kaiming((a_out, a_in), generator)
        self.B = nn.Parameter(torch.zeros(b_out, b_in))

    def delta(self, x: Tensor) -> Tensor:
        # The scale goes to the smaller factor: one product with a few hundred numbers.
        return kronecker_product(x, self.scale * self.A, self.B)

    def delta_weight(self) -> Tensor:
        return self.scale * torch.kron(self.A.float(), self.B.float())

    @classmethod
    def peft_config(cls, layers: list[Adapter]) -> dict[str, Any]:
        first = layers[0]
        assert isinstance(first, KronA)
        rank = max(first.B.shape)  # PEFT keeps factors full from half of this rank on
        return {"peft_type": "LOKR", "r": rank, "alpha": first.scale * rank}
