"""Features of the baselines, fitted to a scene or to its training pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperpeft.mapping import ComponentMeans, SpectraFeatures, features_at
from hyperpeft.records import Scene
from hyperpeft.spectral import Components, Reducer, fitted_pixels


def components(found: Components, radius: int, scene: Scene) -> ComponentMeans:
    """Principal components of variance 1, and their means over windows; none for a radius of 0."""
    whitening = found.directions / np.sqrt(found.variance)[:, None]  # (k, B)
    return ComponentMeans(found.mean, whitening, radius, scene.wavelengths)


def components_section(found: Components, fit_on: str) -> dict[str, Any]:
    """What the record says of whitened principal components."""
    return {
        "kind": "pca",
        "normalise": "zscore",
        "fit_on": fit_on,
        "pixels": found.pixels,
        "components": len(found.directions),
        "explained_variance": float(found.variance.sum() / found.total),
    }


def reducer_section(reducer: Reducer) -> dict[str, Any]:
    """What the record says of a reducer."""
    return {
        "kind": reducer.kind,
        "normalise": reducer.normalise,
        "fit_on": reducer.fit_on,
        "pixels": reducer.pixels,
        "components": len(reducer.components),
        "explained_variance": float(reducer.explained.sum()),
    }


def unreduced_section(normalise: str, fit_on: str, pixels: int | None = None) -> dict[str, Any]:
    """What the record says of spectra that are normalised and not reduced."""
    section = dict.fromkeys(("kind", "pixels", "components", "explained_variance"))
    return {**section, "normalise": normalise, "fit_on": fit_on, "pixels": pixels}


def centred(scene: Scene, train: np.ndarray) -> SpectraFeatures:
    """Spectra less the mean of the training pixels, in the scene's own units."""
    bands = scene.shape[2]
    zero, one = np.zeros(bands, np.float32), np.ones(bands, np.float32)
    x = features_at(scene, SpectraFeatures(zero, one), train)  # (n, B)
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    return SpectraFeatures(mean, one, scene.wavelengths)


def ranged(scene: Scene, *, fit_on: str, train: np.ndarray) -> SpectraFeatures:
    """Every band scaled to 0..1 over the fitted pixels."""
    where = fitted_pixels(scene, fit_on, train)
    bands = scene.shape[2]
    low, high = np.full(bands, np.inf), np.full(bands, -np.inf)
    total = np.zeros(bands)
    for place, values in scene.pieces(where=where):
        block = values[:, where[place]]  # (B, n)
        low, high = np.minimum(low, block.min(axis=1)), np.maximum(high, block.max(axis=1))
        total += block.sum(axis=1, dtype=np.float64)
    span = np.where(high > low, high - low, 1.0)
    lowest, level = low.astype(np.float32), (total / np.count_nonzero(where)).astype(np.float32)
    return SpectraFeatures(lowest, span.astype(np.float32), scene.wavelengths, level)
