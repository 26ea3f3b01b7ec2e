"""Mean, covariance and principal components of the pixels of a scene, block by block.

Mean and scatter are accumulated in float64 over blocks of rows and merged as in Chan, Golub and
LeVeque (1983), so the scene is streamed and a large offset costs no digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.records import Scene
from hyperpeft.spectral.reducer import BLOCK

USABLE = 1e-12  # smallest eigenvalue of a usable component, relative to the largest


class Components(NamedTuple):
    """Principal components of a scene.

    Attributes
    ----------
    pixels : int
        How many they were fitted on.
    mean : ndarray of float64, shape (B,)
    directions : ndarray of float64, shape (k, B)
        Orthonormal rows, by falling variance, largest absolute loading positive.
    variance : ndarray of float64, shape (k,)
    total : float
        Variance of all components.
    """

    pixels: int
    mean: np.ndarray
    directions: np.ndarray
    variance: np.ndarray
    total: float


def principal_components(
    scene: Scene, most: int, *, fit_on: str = "scene", train: np.ndarray | None = None
) -> Components:
    """At most so many usable principal components; `fit_on` and `train` as for `fit`."""
    count, mean, covariance = covariance_of(scene, fitted_pixels(scene, fit_on, train))
    directions, variance = principal(covariance, most)
    return Components(count, mean, directions, variance, float(np.trace(covariance)))


def covariance_of(scene: Scene, where: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of pixels, mean (B,) and covariance (B, B) of pixels that are not all equal."""
    count, mean, scatter = _moments(scene, where)
    if count < 2:
        raise SceneError(f"{scene.name}: valid pixels to fit", expected="at least 2", got=count)
    if not scatter.any():
        raise SceneError(
            f"{scene.name}: all {count} fitted pixels are equal in float32, as which they are read",
            hint="where they differ in the file, subtract an offset or scale them first",
        )
    return count, mean, scatter / (count - 1)


def principal(covariance: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions (k, B) and variances (k,) of the usable principal components."""
    values, vectors = np.linalg.eigh(covariance)  # ascending (B,), (B, B)
    k = min(most, int(np.count_nonzero(values > USABLE * values[-1])))
    return signed(vectors[:, ::-1].T[:k]), values[::-1][:k]


def signed(directions: np.ndarray) -> np.ndarray:
    """The largest absolute loading of each row made positive."""
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    turned: np.ndarray = directions * signs[:, None]
    return turned


def fitted_pixels(scene: Scene, fit_on: str, train: np.ndarray | None) -> np.ndarray:
    """Mask (H, W) of the pixels to fit on."""
    if fit_on == "scene":
        return scene.valid
    if fit_on != "train":
        raise ConfigError("fit_on", expected="scene or train", got=fit_on)
    if train is None or len(train) == 0:
        raise ConfigError("fit_on=train needs training pixels", hint="give a split or fit_on=scene")
    if (train < 0).any() or (train >= np.array(scene.valid.shape)).any():
        raise ConfigError("training pixels", expected=f"within {scene.valid.shape}")
    where = np.zeros_like(scene.valid)
    where[tuple(train.T)] = scene.valid[tuple(train.T)]
    return where


def blocks_of(scene: Scene, where: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of the masked pixels, (B, n) float64 with n > 0."""
    for place, values in scene.pieces(BLOCK, where):
        if where[place].any():
            yield values[:, where[place]].astype(np.float64)


def _moments(scene: Scene, where: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of pixels, mean (B,) and scatter (B, B), the sum of (x - mean)(x - mean)^T."""
    bands = scene.shape[2]
    count, mean, scatter = 0, np.zeros(bands), np.zeros((bands, bands))
    origin: np.ndarray | None = None
    for values in blocks_of(scene, where):
        # Relative to one pixel, equal pixels are exactly 0 and an offset common to all is gone.
        origin = values[:, :1] if origin is None else origin
        values = values - origin
        n = values.shape[1]
        block_mean = values.mean(axis=1)
        centred = values - block_mean[:, None]
        step = block_mean - mean
        scatter += centred @ centred.T + np.outer(step, step) * (n * count / (n + count))
        mean += step * (n / (n + count))
        count += n
    return count, mean if origin is None else mean + origin[:, 0], scatter
