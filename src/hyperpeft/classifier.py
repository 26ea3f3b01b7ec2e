"""What is trained and predicts: encoder, average pooling of tokens, LayerNorm, linear head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from hyperpeft.backbone import SpectralGPT
from hyperpeft.patches import Windows, resize


class Classifier(nn.Module):
    """Logits of K classes for a batch of windows.

    Parameters
    ----------
    encoder : SpectralGPT
    classes : int
        K.
    seed : int
        Of the head's start: normal with deviation 0.02, zero bias.
    """

    def __init__(self, encoder: SpectralGPT, classes: int, seed: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.LayerNorm(encoder.dim)
        self.head = nn.Linear(encoder.dim, classes)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.normal_(0.0, 0.02, generator=generator)
            self.head.bias.zero_()

    def forward(self, x: Tensor, entering: int | None = None) -> Tensor:
        """Logits (N, K) of windows (N, 12, p, p), or of the tokens (N, L, D) entering a block."""
        if entering is None:
            x, entering = self.enter(x, 0), 0
        return self.from_tokens(self.encoder.leave(x, entering))

    def enter(self, windows: Tensor, block: int) -> Tensor:
        """The tokens (N, L, D) that enter a block, for windows (N, 12, p, p)."""
        return self.encoder.enter(resize(windows, self.encoder.image_size), block)

    def from_tokens(self, tokens: Tensor) -> Tensor:  # (N, L, D) -> (N, K)
        """Logits from the encoder's output."""
        return self.head(self.norm(tokens.mean(dim=1)))

    def head_state(self) -> dict[str, Tensor]:
        """The head's tensors: norm and linear layer."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("encoder.")}


def choose_precision(wanted: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 where the processor multiplies it in hardware."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Older releases of torch cannot tell: then float32, which is always right.
    capabilities: dict[str, Any] = (
        getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    )
    fast = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
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
    frozen = [
        parameter
        for name, parameter in model.named_parameters()
        if name.endswith(".weight") and parameter.ndim > 1 and not parameter.requires_grad
    ]
    plain = [parameter.data for parameter in frozen]
    if precision == "bf16":
        for parameter in frozen:
            parameter.data = parameter.data.to(torch.bfloat16)
    try:
        yield
    finally:
        for parameter, data in zip(frozen, plain, strict=True):
            parameter.data = data


def predict(
    model: nn.Module,
    windows: Windows,
    positions: Tensor,
    *,
    precision: str = "fp32",
    batch_size: int = 64,
) -> Iterator[Tensor]:
    """Logits (n, K) float32 on the processor, batch by batch, for pixels (N, 2) row, column."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for batch in positions.split(batch_size):
            # Entered anew for each batch: a generator must not leave its caller in inference mode.
            with torch.inference_mode(), autocast(device, precision):
                logits = model(windows.at(batch).to(device)).float().cpu()
            yield logits
    finally:
        model.train(was_training)
