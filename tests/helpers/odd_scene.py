"""A scene of three classes that looks alike under no flip, and its files in odd forms."""

from __future__ import annotations

import numpy as np

from tests.helpers.scene_files import ORIGIN

HEIGHT, WIDTH, BANDS = 24, 18, 8
NM = np.linspace(430, 2300, BANDS)
FIRST, SECOND, THIRD = 1, 2, 3


def ground() -> np.ndarray:
    """Class of each pixel (H, W), 1 to 3: a strip, an L and the rest."""
    ids = np.full((HEIGHT, WIDTH), THIRD, np.uint8)
    ids[:7] = FIRST
    ids[:, :5] = SECOND
    ids[-4:, -6:] = FIRST
    return ids


def spectra() -> np.ndarray:
    """Reflectance (4, B) of the classes; row 0 is not used."""
    x = np.linspace(0, 1, BANDS)
    return np.stack([0 * x, 0.1 + 0.4 * x, 0.55 - 0.35 * x, 0.3 + 0.2 * np.sin(7 * x)])


def reflectance(seed: int = 0) -> np.ndarray:
    """(H, W, B) float32 between 0 and 1."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (HEIGHT, WIDTH, BANDS))
    return np.clip(spectra()[ground()] + noise, 0.005, 1).astype(np.float32)


def integers(seed: int = 0, dtype: str = "int16") -> np.ndarray:
    """Reflectance x 10,000."""
    return (reflectance(seed) * 10_000).astype(dtype)


def class_of(values: np.ndarray) -> np.ndarray:
    """The class (...) of the nearest spectrum to values (B, ...) in reflectance."""
    known = spectra()[1:]
    distance = ((values[None] - known[(..., *[None] * (values.ndim - 1))]) ** 2).sum(axis=1)
    nearest: np.ndarray = distance.argmin(axis=0) + 1
    return nearest


def centres() -> tuple[np.ndarray, np.ndarray]:
    """x of the columns and y of the rows, from the north."""
    x = ORIGIN.c + 30 * (np.arange(WIDTH) + 0.5)
    return x, ORIGIN.f - 30 * (np.arange(HEIGHT) + 0.5)
