"""A classifier on windows, executed by torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.predictor import WindowPredictor
from hyperpeft.mapping.tiles import cell_of
from hyperpeft.models.windows import Windows
from hyperpeft.spectral import Reducer
from hyperpeft.system.resources import keep_freed_memory
from hyperpeft.training.batches import Batches
from hyperpeft.training.classifier import Classifier, WindowSet, check_finite, mean_logits
from hyperpeft.training.precision import autocast, for_prediction

CACHED = 12 * 2**20  # bytes: `tiny` is fastest with 256 windows of 16 x 16, or 64 of 32 x 32 pixels


@dataclass(frozen=True, eq=False)
class EncoderPredictor(WindowPredictor):
    """A classifier on windows of the reduced scene.

    Attributes
    ----------
    model : Classifier
        With its adapters merged.
    reducer : Reducer
    class_ids : ndarray of int32, shape (K,)
    patch_sizes : tuple of int
        Sides of the windows; the logits are the mean over them.
    precision : "fp32" or "bf16"
    batch_cell : int or None
        See `Predictor.cell`; chosen for the device where None.
    """

    model: Classifier
    reducer: Reducer
    class_ids: np.ndarray
    patch_sizes: tuple[int, ...]
    precision: str = "fp32"
    batch_cell: int | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def cell(self) -> int:
        return self.batch_cell or cell_of(self.device.type)

    @property
    def runtime(self) -> str:
        return f"torch {torch.__version__} {self.device.type} {self.precision}"

    def _logits(self, padded: np.ndarray, batches: list[np.ndarray]) -> Iterator[np.ndarray]:
        windows = [self._windows(padded, size) for size in self.patch_sizes]
        size = self.cell**2
        if self.device.type == "cpu":
            size = min(size, windows_that_fit(self.model, self.precision))
        return logits_of(self.model, windows, batches, size, self.precision)

    def _windows(self, padded: np.ndarray, size: int) -> Windows:
        """Windows of a size over a cube whose halo is that of the largest."""
        cut = self.reach - size // 2
        inner = padded[:, cut : padded.shape[1] - cut, cut : padded.shape[2] - cut]
        return Windows.over_halo(inner, size, self.device)

    def to(self, device: str) -> EncoderPredictor:
        return replace(self, model=copy.deepcopy(self.model).to(device))

    def on_accelerator(self) -> EncoderPredictor:
        return self.to("cuda") if torch.cuda.is_available() else self

    def fingerprint(self, into: Fingerprint) -> None:
        into.words(torch.__version__, self.device.type, self.precision, self.cell, self.patch_sizes)
        into.module(self.model)
        into.reducer(self.reducer)


def windows_that_fit(model: Classifier, precision: str) -> int:
    """Windows whose values between two layers a processor's cache holds; more are slower."""
    encoder = model.encoder
    widest = 4 * encoder.dim  # inside a block
    return max(1, CACHED // (encoder.tokens * widest * (2 if precision == "bf16" else 4)))


def logits_of(
    model: Classifier,
    windows: WindowSet,
    batches: list[np.ndarray],
    size: int,
    precision: str,
) -> Iterator[np.ndarray]:
    """Yield the logits (n, K) of batches of positions (n, 2), of at most `size` pixels each."""
    device = next(model.parameters()).device
    parts, still = Batches(size), for_prediction(model, precision)
    if device.type == "cpu":
        keep_freed_memory()

    def predicted(positions: torch.Tensor) -> torch.Tensor:
        return mean_logits(still, windows, positions)

    for batch in batches:
        # Entered again for each batch: a generator must not leave its caller in this mode.
        with torch.inference_mode(), autocast(device, precision):
            logits = parts(predicted, torch.from_numpy(batch))
        check_finite(logits)
        yield logits.numpy()
