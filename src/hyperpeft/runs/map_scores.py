"""Scores of a class map at the pixels of a split."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperpeft import metrics


def mask_of(positions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask (H, W) of positions (n, 2)."""
    mask = np.zeros(shape, bool)
    mask[tuple(positions.T)] = True
    return mask


def score_map(
    predicted: np.ndarray, positions: np.ndarray, true: np.ndarray, ids: np.ndarray
) -> dict[str, Any]:
    """Scores of a class map (H, W) at positions (n, 2) with true ids (n,)."""
    every = np.union1d(ids, true)  # official test rasters may hold classes that never trained
    confusion = metrics.confusion_matrix(true, predicted[tuple(positions.T)], every)
    return {"class_ids": every.tolist(), **metrics.scores(confusion, every)}
