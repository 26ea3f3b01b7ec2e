"""Which pixels train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperpeft.records.scene import Scene


@dataclass(frozen=True)
class Split:
    """Which pixels train, validate and test.

    Attributes
    ----------
    kind : str
        How it was drawn, such as "per-class 10" or "official".
    train, validation, test : ndarray of int64, shape (n, 2)
        Row and column of each pixel.
    train_ids, validation_ids, test_ids : ndarray of int32, shape (n,)
        Class id of each pixel. They travel with the pixels because official rasters may disagree
        with the ground truth.
    notes : tuple of str
        Classes that were too small, pixels that were left out.
    """

    kind: str
    train: np.ndarray
    train_ids: np.ndarray
    validation: np.ndarray
    validation_ids: np.ndarray
    test: np.ndarray
    test_ids: np.ndarray
    notes: tuple[str, ...] = ()

    def per_class(self) -> dict[int, dict[str, int]]:
        """Pixels per class id and part."""
        parts = {
            "train": self.train_ids,
            "validation": self.validation_ids,
            "test": self.test_ids,
        }
        ids = np.unique(np.concatenate(list(parts.values()))).tolist()
        return {
            i: {part: int(np.count_nonzero(values == i)) for part, values in parts.items()}
            for i in ids
        }

    def __repr__(self) -> str:
        return (
            f"<Split {self.kind}: {len(self.train):,} training, {len(self.validation):,} "
            f"validation, {len(self.test):,} test pixels>"
        )


def mask_of(positions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask (H, W) of positions (n, 2)."""
    mask = np.zeros(shape, bool)
    mask[tuple(positions.T)] = True
    return mask


def without_training(scene: Scene, split: Split) -> np.ndarray:
    """Valid pixels (H, W) of a scene that neither train nor validate."""
    valid = scene.valid.copy()
    for pixels in (split.train, split.validation):
        valid[tuple(pixels.T)] = False
    return valid
