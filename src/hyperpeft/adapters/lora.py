"""LoRA: a delta of low rank.

Paper: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685).
The "+" of LoRA+ (Hayou et al. 2024, arXiv 2402.12354) is the optimiser's.

Formula    dW = (alpha / r) B A,   A (r, in),  B (out, r)
Start      A Kaiming-uniform (a = sqrt 5: within 1 / sqrt(in)), B zero.
Scale      alpha / r. alpha = r unless given, so that the scale is 1 whatever the rank: a higher
           rank adds directions and leaves the size of a step alone. At r = 8 that is also PEFT's
           default (r 8, alpha 8).
Sizes      r (in + out) parameters a layer; 768 x 768 at r = 8: 12,288.
PEFT       LORA: lora_A.weight = A, lora_B.weight = B, lora_alpha = alpha, lora_dropout = dropout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hyperpeft.adapters.base import (
    Adapter,
    check_count,
    check_positive,
    kaiming,
    refuse_settings,
    register,
)
from hyperpeft.errors import AdapterError

# Ways to start A and B that leave the base weights alone; pissa, olora, corda and loftq do not,
# so what they saved is no adapter of the plain backbone.
_STARTS = (True, False, "gaussian", "orthogonal", "eva", "mica")


@register("lora", plus=True)
class LoRA(Adapter):
    """dW = (alpha / rank) B A.

    Parameters
    ----------
    linear : nn.Linear
    rank : int, default 8
        From 1 to the smaller side of the layer.
    alpha : float, optional
        Default: the rank, which makes the scale 1.
    dropout : float, default 0
        Of the inputs of A, in training.
    generator : torch.Generator, optional
        Of the random start of A.

    Raises
    ------
    AdapterError
        For a value that cannot be used.
    """

    FILE_NAMES: ClassVar = {"A": "lora_A.weight", "B": "lora_B.weight"}
    A_NAMES: ClassVar = ("A",)
    B_NAMES: ClassVar = ("B",)
    PEFT_TYPE: ClassVar = "LORA"

    def __init__(
        self,
        linear: nn.Linear,
        rank: int = 8,
        alpha: float | None = None,
        dropout: float = 0.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(linear, dropout)
        most = min(self.in_features, self.out_features)
        self.rank = check_count("rank", rank, most, "more adds nothing to this layer")
        self.alpha = float(rank) if alpha is None else check_positive("alpha", alpha)
        self.scale = self.alpha / self.rank
        self.A = kaiming((rank, self.in_features), generator)
        self.B = nn.Parameter(torch.zeros(self.out_features, rank))

    def delta(self, x: Tensor) -> Tensor:
        # The scale goes to A: fewer numbers than the activations, and none at all where it is 1.
        A = self.A if self.scale == 1 else self.scale * self.A
        return x @ A.to(x.dtype).T @ self.B.to(x.dtype).T  # (..., in) -> (..., r) -> (..., out)

    def delta_weight(self) -> Tensor:
        return self.scale * (self.B.float() @ self.A.float())

    @classmethod
    def peft_config(cls, layers: Sequence[Adapter]) -> dict[str, Any]:
        first = layers[0]
        assert isinstance(first, LoRA)
        return {
            "peft_type": "LORA",
            "r": first.rank,
            "lora_alpha": first.alpha,
            "lora_dropout": first.dropout,
            "bias": "none",
            "use_rslora": False,
            "use_dora": False,
        }

    @classmethod
    def peft_options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        # The group size is PEFT's default number, without meaning while use_qalora is off;
        # eva_config is about the start only.
        read = {"r", "lora_alpha", "lora_dropout", "bias", "init_lora_weights", "eva_config",
                "qalora_group_size"}  # fmt: skip
        refuse_settings(config, read)
        start = config.get("init_lora_weights", True)
        if start not in _STARTS:
            raise AdapterError(
                "init_lora_weights of this LORA adapter",
                expected="one that leaves the base weights as they are",
                got=repr(start),
                hint="save it with PEFT's path_initial_model_for_weight_conversion",
            )
        if config.get("bias", "none") != "none":
            raise AdapterError(
                "bias of this LORA adapter", expected='"none"', got=repr(config["bias"])
            )
        return {
            "rank": config.get("r", 8),
            "alpha": check_positive("lora_alpha", config.get("lora_alpha", 8)),
            "dropout": config.get("lora_dropout", 0.0),
        }
