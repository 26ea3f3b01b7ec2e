"""Pixels to classes: batches that are the same however the scene is cut.

The last bits of a batch's logits depend on the batch. A batch is therefore the valid pixels of one
cell of the scene's grid, and a pixel's result is the same in every tile, in the untiled scene,
after a restart and on another worker of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hyperpeft.mapping.tiles import by_cell
from hyperpeft.training.batches import Batches
from hyperpeft.training.classifier import Classifier, WindowSet, check_finite, mean_logits
from hyperpeft.training.precision import autocast, held_in

# Pixels per side. On a processor more windows than its cache holds are slower.
CELL = {"cpu": 8, "cuda": 32}

Watch = Callable[[int, int], None]  # pixels done, pixels in all


@dataclass(frozen=True)
class ClassMap:
    """The class of every pixel.

    Attributes
    ----------
    ids : ndarray of int32, shape (H, W)
        0 where the scene is not valid.
    probabilities : ndarray of float32, shape (K, H, W), or None
        NaN where the scene is not valid.
    pixels : int
        How many were predicted.
    seconds : float
    """

    ids: np.ndarray
    probabilities: np.ndarray | None
    pixels: int
    seconds: float


def cell_of(device: torch.device | str) -> int:
    """Side of a cell on that kind of device."""
    return CELL.get(torch.device(device).type, 16)


def logits_of(
    model: Classifier,
    windows: WindowSet,
    positions: np.ndarray,
    cell: int,
    precision: str,
    origin: tuple[int, int] = (0, 0),
    *,
    scattered: bool = False,
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield positions (n, 2) in the scene and their logits (n, K), cell by cell.

    Parameters
    ----------
    positions : ndarray of int, shape (N, 2)
        Rows and columns in the scene.
    origin : (int, int)
        Where position (0, 0) of the windows lies in the scene.
    scattered : bool
        The pixels lie far apart: as many as a cell holds make a batch, wherever they are.
    """
    size = cell * cell
    starts = range(0, len(positions), size) if scattered else ()
    batches = [positions[i : i + size] for i in starts] or by_cell(positions, cell)
    device = next(model.parameters()).device
    parts, was_training = Batches(size), model.training
    model.eval()

    def predicted(positions: torch.Tensor) -> torch.Tensor:
        return mean_logits(model, windows, positions)

    try:
        with held_in(model, precision):
            for batch in batches:
                # Entered again for each batch: a generator must not leave its caller in this mode.
                with torch.inference_mode(), autocast(device, precision):
                    logits = parts(predicted, torch.from_numpy(batch - origin))
                check_finite(logits)
                yield batch, logits
    finally:
        model.train(was_training)
