"""What a baseline sees of a pixel: its spectrum, or components with their surroundings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from hyperpeft.records import Scene
from hyperpeft.spectral import Components, principal_components

BLOCK = 2**22  # values per block of rows


def spectra(scene: Scene, where: np.ndarray) -> Iterator[np.ndarray]:
    """Spectra (n, B) float32 of the pixels of a mask (H, W), row by row, in blocks."""
    for start, stop, rows in scene.blocks(BLOCK):
        inside = where[start:stop]
        if inside.any():
            yield rows[:, inside].T


def spectra_at(scene: Scene, positions: np.ndarray) -> np.ndarray:
    """Spectra (n, B) float32 of pixels (n, 2) row, column, in their order."""
    out = np.empty((len(positions), scene.shape[2]), np.float32)
    for start, stop, rows in scene.blocks(BLOCK):
        inside = (positions[:, 0] >= start) & (positions[:, 0] < stop)
        out[inside] = rows[:, positions[inside, 0] - start, positions[inside, 1]].T
    return out


def reduce(
    scene: Scene, most: int, *, fit_on: str, train: np.ndarray
) -> tuple[np.ndarray, Components]:
    """Principal components of variance 1 (k, H, W) float32, k <= most; 0 where not valid.

    Parameters
    ----------
    scene : Scene
    most : int
        Components wanted; fewer where the scene has fewer.
    fit_on, train
        As for `spectral.fit`.
    """
    found = principal_components(scene, most, fit_on=fit_on, train=train)
    directions = found.directions / np.sqrt(found.variance)[:, None]  # (k, B), whitening
    out = np.zeros((len(directions), *scene.valid.shape), np.float32)
    for start, stop, rows in scene.blocks(BLOCK):
        valid = scene.valid[start:stop]
        centred = rows[:, valid] - found.mean[:, None]  # (B, n) float64
        out[:, start:stop][:, valid] = directions @ centred
    return out, found


def reducer_section(found: Components, fit_on: str) -> dict[str, Any]:
    """What the record says of whitened principal components."""
    return {
        "kind": "pca",
        "normalise": "zscore",
        "fit_on": fit_on,
        "pixels": found.pixels,
        "components": len(found.directions),
        "explained_variance": float(found.variance.sum() / found.total),
    }


def with_means(cube: np.ndarray, valid: np.ndarray, window: int) -> np.ndarray:
    """A cube (k, H, W) and below it its means over the valid pixels of a window: (2k, H, W)."""
    options = {"size": window, "mode": "constant"}
    share = ndimage.uniform_filter(valid.astype(np.float64), **options)  # valid pixels / window^2
    share = np.where(valid, share, 1.0)
    means = [ndimage.uniform_filter(np.where(valid, band, 0.0), **options) / share for band in cube]
    return np.concatenate([cube, np.where(valid, means, 0.0).astype(np.float32)])


def ranged(scene: Scene, *, fit_on: str, train: np.ndarray) -> np.ndarray:
    """Every band scaled to 0..1 over the fitted pixels: (B, H, W) float32; 0 where not valid."""
    where = scene.valid
    if fit_on == "train":
        where = np.zeros_like(scene.valid)
        where[tuple(train.T)] = scene.valid[tuple(train.T)]
    bands = scene.shape[2]
    low, high = np.full(bands, np.inf), np.full(bands, -np.inf)
    for block in spectra(scene, where):
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    span = np.where(high > low, high - low, 1.0)
    out = np.zeros((bands, *scene.valid.shape), np.float32)
    for start, stop, rows in scene.blocks(BLOCK):
        valid = scene.valid[start:stop]
        out[:, start:stop][:, valid] = (rows[:, valid] - low[:, None]) / span[:, None]
    return out
