"""Features of the spectrum: as it is, or its principal components with their means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hyperpeft.mapping.pixel_features import PixelFeatures, Tensors, require_shapes, whole
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.records import Scene
from hyperpeft.spatial import valid_means
from hyperpeft.spectral import HasBands, covariance_of, project


@dataclass(frozen=True, eq=False)
class SpectraFeatures(PixelFeatures):
    """The spectrum of the pixel itself, in deviations from a mean.

    Attributes
    ----------
    mean, spread : ndarray of float32, shape (B,)
    wavelengths : ndarray of float64, shape (B,), or None
        Of the scene that they were fitted to, in nm.
    """

    kind: ClassVar[str] = "spectra"
    mean: np.ndarray
    spread: np.ndarray
    wavelengths: np.ndarray | None = None

    @classmethod
    def fit(cls, scene: Scene) -> SpectraFeatures:
        """With mean and spread of each band over the valid pixels of a scene."""
        found = covariance_of(scene, scene.valid)
        spread = np.sqrt(np.diag(found.covariance))
        spread = np.where(spread > 0, spread, 1.0)
        return cls(found.mean.astype(np.float32), spread.astype(np.float32), scene.wavelengths)

    @property
    def count(self) -> int:
        return len(self.mean)

    def prepare(self, window: SceneWindow) -> np.ndarray:
        outer, _ = window.clipped(0)
        valid = window.valid[outer]
        values = window.values[:, *outer][:, valid].astype(np.float32, copy=False)  # (B, n)
        out = np.zeros((len(self.mean), *valid.shape), np.float32)
        out[:, valid] = (values - self.mean[:, None]) / self.spread[:, None]
        return out

    @property
    def bands(self) -> HasBands:
        return self

    def to_tensors(self) -> Tensors:
        return _with_wavelengths({"mean": self.mean, "spread": self.spread}, self.wavelengths), {}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        bands = arrays["mean"].size
        require_shapes(arrays, {"mean": (bands,), "spread": (bands,), "wavelengths": (bands,)})
        if not (arrays["spread"] > 0).all():
            raise ValueError("a spread that is not above 0")
        return cls(arrays["mean"], arrays["spread"], arrays.get("wavelengths"))


@dataclass(frozen=True, eq=False)
class ComponentMeans(PixelFeatures):
    """Principal components of variance 1, and their means over the valid pixels of a window.

    Attributes
    ----------
    mean : ndarray of float64, shape (B,)
    directions : ndarray of float64, shape (k, B)
        Each divided by the deviation of its component.
    radius : int
        The window's side is 2 radius + 1 pixels; 0 leaves the means out.
    wavelengths : ndarray of float64, shape (B,), or None
    """

    kind: ClassVar[str] = "component means"
    mean: np.ndarray
    directions: np.ndarray
    radius: int
    wavelengths: np.ndarray | None = None

    @property
    def count(self) -> int:
        return len(self.directions) * (2 if self.radius else 1)

    @property
    def reach(self) -> int:
        return self.radius

    def prepare(self, window: SceneWindow) -> np.ndarray:
        outer, inner = window.clipped(self.radius)
        valid = window.valid[outer]
        cube = np.zeros((len(self.directions), *valid.shape), np.float32)
        cube[:, valid] = project(window.values[:, *outer][:, valid], self.mean, self.directions)
        if not self.radius:
            return cube[:, *inner]
        means = valid_means(cube, valid, self.radius)
        return np.concatenate([cube[:, *inner], means[:, *inner]])

    @property
    def bands(self) -> HasBands:
        return self

    def to_tensors(self) -> Tensors:
        arrays = {"mean": self.mean, "directions": self.directions}
        return _with_wavelengths(arrays, self.wavelengths), {"radius": self.radius}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        bands, k = arrays["mean"].size, len(arrays["directions"])
        require_shapes(
            arrays, {"mean": (bands,), "directions": (k, bands), "wavelengths": (bands,)}
        )
        radius = whole(values["radius"], 0, 1024)
        return cls(arrays["mean"], arrays["directions"], radius, arrays.get("wavelengths"))


def _with_wavelengths(
    arrays: dict[str, np.ndarray], wavelengths: np.ndarray | None
) -> dict[str, np.ndarray]:
    if wavelengths is None:
        return arrays
    return {**arrays, "wavelengths": np.asarray(wavelengths, np.float64)}
