"""Tokens that enter the first block that learns, computed once for all epochs.

What lies below the first adapted block is frozen, so its output for a window is the same in every
epoch. It is kept for each training pixel and, with augmentation, for each of the eight symmetries
of its window. The tokens are computed up front in batches that depend on nothing but the pixels,
so that a run continued from a checkpoint sees the very same numbers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from hyperpeft.adapters import block_number
from hyperpeft.models.spectralgpt import SpectralGPT
from hyperpeft.models.windows import SYMMETRIES, Windows, apply_symmetry
from hyperpeft.system.files import PART
from hyperpeft.training.batches import Batches
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.precision import autocast

IN_MEMORY = 2 * 2**30  # bytes; more goes to a file
ON_DISK = 32 * 2**30  # bytes; more is not kept at all
BATCH = 64  # windows


def first_trained_block(encoder: SpectralGPT) -> int:
    """The first block with a trainable parameter; `depth` if only what follows them learns.

    0 as well where the embedding learns.
    """
    trained = [name for name, p in encoder.named_parameters() if p.requires_grad]
    if not all(name.startswith(("blocks.", "norm.")) for name in trained):
        return 0
    numbers = [block_number(name) for name in trained if name.startswith("blocks.")]
    return min(numbers, default=encoder.depth)


def is_worthwhile(
    encoder: SpectralGPT,
    pixels: int,
    *,
    augment: bool,
    epochs: int,
    precision: str,
    on_disk: bool = True,
) -> bool:
    """Whether a cache saves work and fits into memory, or onto the disk where that may be used."""
    variants = SYMMETRIES if augment else 1
    size = pixels * variants * _bytes_of_one(encoder, precision)
    return (
        first_trained_block(encoder) > 0
        and epochs > variants
        and size <= (ON_DISK if on_disk else IN_MEMORY)
    )


class TokenCache:
    """Tokens (L, D) of every training pixel and symmetry.

    Parameters
    ----------
    model : Classifier
        On its device.
    windows : Windows
    positions : Tensor of int64, shape (n, 2)
    augment : bool
        Keep all eight symmetries of each window.
    precision : "fp32" or "bf16"
        Of the frozen blocks and of what is kept.
    folder : Path, optional
        Where a file is put when memory is not to hold it; it goes away with the process.
    """

    def __init__(
        self,
        model: Classifier,
        windows: Windows,
        positions: Tensor,
        *,
        augment: bool,
        precision: str,
        folder: Path | None = None,
    ) -> None:
        self.block = first_trained_block(model.encoder)
        self._variants = SYMMETRIES if augment else 1
        device = next(model.parameters()).device
        rows = len(positions) * self._variants
        self.centres = windows.centres(positions)  # (n, 12), the same in every symmetry
        self._tokens: Tensor | None = None
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        batches, was_training = Batches(BATCH), model.training
        model.eval()

        def entering(numbers: Tensor) -> Tensor:
            batch = apply_symmetry(
                windows.at(positions[numbers // self._variants]), numbers % self._variants
            )
            with torch.no_grad(), autocast(device, precision):
                return model.forward_to(batch.to(device), self.block).to(dtype).cpu()  # (N, L, D)

        for start in range(0, rows, BATCH):
            tokens = batches(entering, torch.arange(start, min(start + BATCH, rows)))
            if self._tokens is None:
                self._tokens = _room((rows, *tokens.shape[1:]), dtype, folder)
            self._tokens[start : start + len(tokens)] = tokens
        model.train(was_training)

    def at(self, pixels: Tensor, symmetries: Tensor | None) -> Tensor:
        """Tokens (N, L, D) of pixels (N,) by index, each in its symmetry (N,)."""
        assert self._tokens is not None
        rows = pixels * self._variants
        return self._tokens[rows if symmetries is None else rows + symmetries]


def _bytes_of_one(encoder: SpectralGPT, precision: str) -> int:
    return encoder.tokens * encoder.dim * (2 if precision == "bf16" else 4)


def _room(shape: tuple[int, ...], dtype: torch.dtype, folder: Path | None) -> Tensor:
    """An uninitialised tensor in memory, or in an unnamed file where it is large."""
    values = torch.Size(shape).numel()
    if folder is None or values * dtype.itemsize <= IN_MEMORY:
        return torch.empty(shape, dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".tokens.{PART}") as file:
        # Once mapped it needs no name: nothing is left behind, however the process ends.
        return torch.from_file(file.name, shared=True, size=values, dtype=dtype).view(shape)
