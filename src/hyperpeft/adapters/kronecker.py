"""Kronecker adapters: KronA, and LoKr, whose second factor is of low rank.

Papers: Edalati et al. 2022, "KronA" (arXiv 2212.10650); Yeh et al. 2023, LyCORIS/LoKr
(arXiv 2309.14859); sums of Kronecker terms: Bai et al. 2026, "Diving into Kronecker Adapters"
(CDKA, arXiv 2602.01267). The "+" of KronA+ (Ligan et al. 2025, arXiv 2505.15334) is the
optimiser's.

Formula    KronA: dW = s sum_t A_t (x) B_t, over R terms (R = 1 by default)
           LoKr:  dW = (alpha / r) A (x) (B1 B2)
           A (a_out, a_in),  B (b_out, b_in),  B1 (b_out, r),  B2 (r, b_in),
           a_out b_out = out,  a_in b_in = in
Product    (A (x) B) x = vec(A X B^T), X = x reshaped row by row to (a_in, b_in); the Kronecker
           matrix multiplies activations only where terms are many (`is_dense`).
Start      KronA: A Kaiming-uniform (a = sqrt 5: within 1 / sqrt(a_in)), B zero.
           LoKr:  A and B1 Kaiming-uniform, B2 zero, as LyCORIS starts (PEFT's init_weights =
           "lycoris"). PEFT's own default zeroes A instead and draws B1 and B2. Both are files of
           the same form and load alike; here B is what starts at zero in every method, which is
           what the "+" rule speaks of.
Scale      KronA: s itself, default 1. LoKr: alpha / r, with alpha = r unless given, so 1; alpha / r
           also where both factors are full, as PEFT has it (LyCORIS itself then takes 1).
Sizes      "balanced" factors are the most square ones, the smaller in A:
           768 -> A 24 x 24, B 32 x 32: 1,600 parameters a layer, LoKr at r = 4 832.
           LoKr keeps a factor full where a low rank would save nothing, r >= (longer side) / 2,
           which is the rule of LyCORIS and PEFT.
PEFT       LOKR: lokr_w1 = A, lokr_w2 = B, lokr_w2_a = B1, lokr_w2_b = B2 (and lokr_w1_a,
           lokr_w1_b where A is a product too). KronA is written as a LOKR with full factors:
           r = the longest side of B, alpha = s r. PEFT derives the sizes of A from one number,
           `decompose_factor`: -1 is "balanced", f gives f, or where it does not divide a side, the
           largest divisor up to f and the side's root. Any other size of A, and a sum of terms, has
           no PEFT form. Dropout is ours alone, and off in prediction.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from hyperpeft.adapters.base import (
    Adapter,
    check_count,
    check_flag,
    check_positive,
    kaiming,
    no_peft_form,
    refuse_settings,
    register,
)
from hyperpeft.errors import AdapterError

Factors = str | tuple[int, int]

FORMING = 4  # how many times as long as in one large product a multiplication takes in small ones


class Sizes(NamedTuple):
    """Rows and columns of A and of B."""

    a_out: int
    a_in: int
    b_out: int
    b_in: int


def balanced(size: int) -> int:
    """The largest divisor of `size` that is not above its square root.

    >>> balanced(768), balanced(192), balanced(7)
    (24, 12, 1)
    """
    return next(d for d in range(math.isqrt(size), 0, -1) if size % d == 0)


def kronecker_product(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """(A (x) B) x for x (..., a_in b_in): (..., a_out b_out)."""
    X = x.unflatten(-1, (A.shape[1], B.shape[1]))  # (..., a_in, b_in)
    return _left(A, X @ B.T).flatten(-2)  # (..., a_out b_out)


def _left(A: Tensor, X: Tensor) -> Tensor:
    """A X for X (..., a_in, b): as a batch of small products, which needs no transposed copies.

    `A @ X` folds X into one large product and copies it to do so: 1.4 times as long.
    """
    batch = X.flatten(0, -3)  # (N, a_in, b)
    product = torch.bmm(A.expand(len(batch), -1, -1), batch)  # (N, a_out, b)
    return product.unflatten(0, X.shape[:-2])


def kronecker_sum(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """(sum_t A_t (x) B_t) x for A (R, a_out, a_in), B (R, b_out, b_in): (..., a_out b_out)."""
    terms, _, a_in = A.shape
    X = x.unflatten(-1, (a_in, B.shape[2]))  # (..., a_in, b_in)
    # All terms in two products: side by side over the columns of B^T, then over those of A.
    XB = X @ B.flatten(0, 1).T  # (..., a_in, R b_out)
    XB = XB.unflatten(-1, (terms, -1)).transpose(-3, -2).flatten(-3, -2)  # (..., R a_in, b_out)
    return _left(A.transpose(0, 1).flatten(1), XB).flatten(-2)  # (..., a_out b_out)


def factor_sizes(factors: object, out_features: int, in_features: int) -> Sizes:
    """Sizes of A and B for "balanced", or for the size (rows, columns) of A."""
    if factors == "balanced":
        a_out, a_in = balanced(out_features), balanced(in_features)
    else:
        pair = factors if isinstance(factors, tuple | list) and len(factors) == 2 else ()
        if not pair or any(isinstance(n, bool) or not isinstance(n, int) for n in pair):
            raise AdapterError(
                "factors", expected='"balanced" or (rows, columns) of A', got=repr(factors)
            )
        a_out, a_in = pair
    if min(a_out, a_in) < 1 or out_features % a_out or in_features % a_in:
        raise AdapterError(
            "factors",
            expected=f"divisors of the layer's {out_features} x {in_features}",
            got=f"{a_out} x {a_in}",
        )
    return Sizes(a_out, a_in, out_features // a_out, in_features // a_in)


def _side(factor: int, size: int) -> int:
    """The side of A that PEFT derives from its number, for a layer's side; -1 is "balanced".

    >>> _side(24, 192), _side(10, 192), _side(-1, 192)
    (24, 8, 12)
    """
    if factor > 0 and size % factor == 0:
        return factor
    limit = size if factor == -1 else factor
    return max(d for d in range(1, min(limit, balanced(size)) + 1) if size % d == 0)


def decompose_factor(layers: Sequence[tuple[int, int, Sizes]]) -> int | None:
    """PEFT's number that gives these sizes to all layers (out, in, sizes); None where none does."""
    candidates = [-1, *sorted({n for _, _, s in layers for n in (s.a_out, s.a_in)})]
    for factor in candidates:
        if all(
            _side(factor, out) == s.a_out and _side(factor, in_) == s.a_in for out, in_, s in layers
        ):
            return factor
    return None


class _Kronecker(Adapter):
    """What KronA and LoKr share: the sizes of the factors."""

    def __init__(self, linear: nn.Linear, factors: Factors | int, dropout: float) -> None:
        super().__init__(linear, dropout)
        self.sizes = factor_sizes(factors, self.out_features, self.in_features)

    @classmethod
    def _config(cls, layers: Sequence[Adapter], rank: int, alpha: float) -> dict[str, Any]:
        """A LOKR configuration, or what says that there is none."""
        sizes = [
            (layer.out_features, layer.in_features, layer.sizes)
            for layer in layers
            if isinstance(layer, _Kronecker)
        ]
        factor = decompose_factor(sizes)
        if factor is None:
            return no_peft_form(cls.__name__, "PEFT derives other sizes for these factors")
        return {"peft_type": "LOKR", "r": rank, "alpha": alpha, "decompose_factor": factor}


@register("krona", plus=True)
class KronA(_Kronecker):
    """dW = scale (A_1 (x) B_1 + ... + A_R (x) B_R).

    Parameters
    ----------
    linear : nn.Linear
    factors : "balanced" or (int, int), default "balanced"
        Rows and columns of A: divisors of the layer's sides.
    terms : int, default 1
        R. With more than one, A is (R, a_out, a_in) and B (R, b_out, b_in).
    scale : float, default 1
    dropout : float, default 0
        Of the inputs, in training.
    generator : torch.Generator, optional
        Of the random start of A.

    Raises
    ------
    AdapterError
        For a value that cannot be used.
    """

    FILE_NAMES: ClassVar = {"A": "lokr_w1", "B": "lokr_w2"}
    A_NAMES: ClassVar = ("A",)
    B_NAMES: ClassVar = ("B",)

    def __init__(
        self,
        linear: nn.Linear,
        factors: Factors = "balanced",
        terms: int = 1,
        scale: float = 1.0,
        dropout: float = 0.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(linear, factors, dropout)
        a_out, a_in, b_out, b_in = self.sizes
        # Any matrix is a sum of that many terms (Van Loan & Pitsianis 1993).
        most = min(a_out * a_in, b_out * b_in)
        self.terms = check_count("terms", terms, most, "more adds nothing to this layer")
        self.scale = check_positive("scale", scale)
        several = (terms,) if terms > 1 else ()
        self.A = kaiming((*several, a_out, a_in), generator)
        self.B = nn.Parameter(torch.zeros(*several, b_out, b_in))

    @property
    def is_dense(self) -> bool:
        # Small products take several times as long as one large product of as many numbers.
        a_out, a_in, b_out, b_in = self.sizes
        return FORMING * self.terms * a_in * b_out * (b_in + a_out) >= a_out * b_out * a_in * b_in

    def delta(self, x: Tensor) -> Tensor:
        # The scale goes to the smaller factor: one product with a few hundred numbers.
        A = self.A if self.scale == 1 else self.scale * self.A
        product = kronecker_product if self.terms == 1 else kronecker_sum
        return product(x, A.to(x.dtype), self.B.to(x.dtype))

    def delta_weight(self) -> Tensor:
        A, B = self.A.float(), self.B.float()
        if self.terms == 1:
            return self.scale * torch.kron(A, B)
        delta = torch.einsum("tij,tkl->ikjl", self.scale * A, B)
        return delta.reshape(self.out_features, self.in_features)

    @classmethod
    def peft_config(cls, layers: Sequence[Adapter]) -> dict[str, Any]:
        own = [layer for layer in layers if isinstance(layer, KronA)]
        if own[0].terms > 1:
            return no_peft_form(cls.__name__, "PEFT has no sum of Kronecker terms")
        # PEFT keeps a factor full from half of this rank on.
        rank = max(max(layer.sizes.b_out, layer.sizes.b_in) for layer in own)
        return cls._config(own, rank, own[0].scale * rank)


@register("lokr")
class LoKr(_Kronecker):
    """dW = (alpha / rank) A (x) (B1 B2).

    Parameters
    ----------
    linear : nn.Linear
    rank : int, default 4
        Of B. From half of its longer side on, B is one full matrix.
    alpha : float, optional
        Default: the rank, which makes the scale 1.
    factors : "balanced", (int, int) or int, default "balanced"
        Rows and columns of A: divisors of the layer's sides. A number is PEFT's decompose_factor.
    decompose_both : bool, default False
        Make A a product A1 A2 of that rank too.
    dropout : float, default 0
        Of the inputs, in training.
    generator : torch.Generator, optional
        Of the random start.

    Raises
    ------
    AdapterError
        For a value that cannot be used.
    """

    FILE_NAMES: ClassVar = {
        "A": "lokr_w1",
        "A1": "lokr_w1_a",
        "A2": "lokr_w1_b",
        "B": "lokr_w2",
        "B1": "lokr_w2_a",
        "B2": "lokr_w2_b",
    }
    A_NAMES: ClassVar = ("A", "A1", "A2", "B1")
    B_NAMES: ClassVar = ("B", "B2")
    PEFT_TYPE: ClassVar = "LOKR"

    def __init__(
        self,
        linear: nn.Linear,
        rank: int = 4,
        alpha: float | None = None,
        factors: Factors | int = "balanced",
        decompose_both: bool = False,
        dropout: float = 0.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        if isinstance(factors, int) and not isinstance(factors, bool) and factors > 0:
            factors = _side(factors, linear.out_features), _side(factors, linear.in_features)
        super().__init__(linear, factors, dropout)
        a_out, a_in, b_out, b_in = self.sizes
        # PEFT saves full factors under ranks above what they need: no allocation follows it.
        self.rank = check_count("rank", rank, 2**20, "it is a rank")
        self.alpha = float(rank) if alpha is None else check_positive("alpha", alpha)
        self.scale = self.alpha / self.rank
        self.decompose_both = check_flag("decompose_both", decompose_both)
        if decompose_both and rank < max(a_out, a_in) / 2:
            self.A1, self.A2 = kaiming((a_out, rank), generator), kaiming((rank, a_in), generator)
        else:
            self.A = kaiming((a_out, a_in), generator)
        if rank < max(b_out, b_in) / 2:
            self.B1 = kaiming((b_out, rank), generator)
            self.B2 = nn.Parameter(torch.zeros(rank, b_in))
        else:
            self.B = nn.Parameter(torch.zeros(b_out, b_in))

    def _factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A, with the scale, and B as full matrices: both small."""
        whole = self._parameters
        A = self.A.to(dtype) if "A" in whole else self.A1.to(dtype) @ self.A2.to(dtype)
        B = self.B.to(dtype) if "B" in whole else self.B1.to(dtype) @ self.B2.to(dtype)
        return A if self.scale == 1 else self.scale * A, B

    def delta(self, x: Tensor) -> Tensor:
        return kronecker_product(x, *self._factors(x.dtype))

    def delta_weight(self) -> Tensor:
        return torch.kron(*self._factors(torch.float32))

    @classmethod
    def peft_config(cls, layers: Sequence[Adapter]) -> dict[str, Any]:
        first = layers[0]
        assert isinstance(first, LoKr)
        config = cls._config(layers, first.rank, first.alpha)
        if config["peft_type"] == "LOKR":
            config["decompose_both"] = first.decompose_both
        return config

    @classmethod
    def peft_options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        # use_effective_conv2d is about convolutions only, init_weights about the start.
        training = ("rank_dropout", "module_dropout", "rank_dropout_scale")
        read = {"r", "alpha", "decompose_both", "decompose_factor", "init_weights",
                "use_effective_conv2d", *training}  # fmt: skip
        refuse_settings(config, read)
        dropped = [name for name in training[:2] if config.get(name)]
        if dropped:
            warnings.warn(
                f"{' and '.join(dropped)} of this LOKR adapter act in training only and are not "
                "taken over",
                stacklevel=2,
            )
        factor = config.get("decompose_factor", -1)
        return {
            "rank": config.get("r", 8),
            "alpha": check_positive("alpha", config.get("alpha", 8)),
            "factors": "balanced" if factor == -1 else factor,
            "decompose_both": config.get("decompose_both", False),
        }
