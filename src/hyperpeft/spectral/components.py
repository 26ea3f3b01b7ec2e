"""Mean, covariance, principal components and minimum noise fraction of a scene, block by block.

Mean and scatter are accumulated in float64 over blocks of rows and merged as in Chan, Golub and
LeVeque (1983), so the scene is streamed and a large offset costs no digits.

A few pixels that are far from all others (hot pixels, fills that nobody declared) would decide
the components. They are looked for only where one value makes up a thousandth of the scatter, and
left out of the fit where they lie far outside the range of the others: without any, the fit is that
of all pixels, to the last bit.

Minimum noise fraction: Green, Berman, Switzer and Craig (1988), IEEE Transactions on Geoscience and
Remote Sensing 26 (1). The noise is estimated from differences between neighbours, along rows and
columns: what a pixel and its neighbour do not share counts as noise, so that cov(noise) =
cov(difference) / 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.records import Scene
from hyperpeft.spectral.reducer import BLOCK

_SUSPECT = 1e-3  # share of the scatter of all bands in one value
_SAMPLE = 50_000  # pixels that tell the usual range
_TAIL = 0.005  # share of them beyond it, on either side
_FAR = 10.0  # ranges of the widest band beyond the range of a band
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


class Covariance(NamedTuple):
    """Statistics of the pixels of a scene.

    Attributes
    ----------
    pixels : int
        How many they were computed from.
    mean : ndarray of float64, shape (B,)
    covariance : ndarray of float64, shape (B, B)
    where : ndarray of bool, shape (H, W)
        Those pixels.
    outliers : int
        Pixels that were left out.
    """

    pixels: int
    mean: np.ndarray
    covariance: np.ndarray
    where: np.ndarray
    outliers: int


class _Moments(NamedTuple):
    pixels: int
    mean: np.ndarray  # (B,)
    scatter: np.ndarray  # (B, B), the sum of (x - mean)(x - mean)^T
    lowest: np.ndarray  # (B,)
    highest: np.ndarray  # (B,)


def principal_components(
    scene: Scene, most: int, *, fit_on: str = "scene", train: np.ndarray | None = None
) -> Components:
    """At most so many usable principal components; `fit_on` and `train` as for `fit`."""
    found = covariance_of(scene, fitted_pixels(scene, fit_on, train))
    directions, variance = principal(found.covariance, most)
    total = float(np.trace(found.covariance))
    return Components(found.pixels, found.mean, directions, variance, total)


def covariance_of(scene: Scene, where: np.ndarray) -> Covariance:
    """Mean and covariance of the pixels of a mask (H, W) that are not all equal, outliers left out.

    A pixel is an outlier if a band is further than ten times the range of the widest band beyond
    its own range; ranges are those of all but the outermost half percent on either side.
    """
    found = _moments(scene, where)
    usual = _usual_pixels(scene, where, found)
    if usual is not where:
        found = _moments(scene, usual)
    if found.pixels < 2:
        raise SceneError(
            f"{scene.name}: valid pixels to fit", expected="at least 2", got=found.pixels
        )
    if not found.scatter.any():
        raise SceneError(
            f"{scene.name}: all {found.pixels} fitted pixels are equal in float32, as which they "
            "are read",
            hint="where they differ in the file, subtract an offset or scale them first",
        )
    outliers = int(np.count_nonzero(where & ~usual))
    covariance = found.scatter / (found.pixels - 1)
    return Covariance(found.pixels, found.mean, covariance, usual, outliers)


def _usual_pixels(scene: Scene, where: np.ndarray, found: _Moments) -> np.ndarray:
    """The mask without outliers; the same object if there are none."""
    reach = np.maximum(found.highest - found.mean, found.mean - found.lowest)
    if found.pixels < 3 or not (reach**2).max() > _SUSPECT * np.trace(found.scatter):
        return where
    step = -(-found.pixels // _SAMPLE)
    sample = np.concatenate([values[:, ::step] for values in blocks_of(scene, where)], axis=1)
    tail = max(_TAIL, min(0.05, 5 / sample.shape[1]))
    low, high = np.quantile(sample, [tail, 1 - tail], axis=1, method="closest_observation")
    room = _FAR * (high - low).max()
    low, high = low - room, high + room
    if not room > 0 or ((found.lowest >= low).all() and (found.highest <= high).all()):
        return where  # nearly all pixels are equal and the others are all there is, or none is far
    usual = where.copy()
    for place, values in scene.pieces(BLOCK, where):
        outside = (values < low[:, None, None]) | (values > high[:, None, None])
        usual[place] &= ~outside.any(axis=0)
    return usual


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


def _moments(scene: Scene, where: np.ndarray) -> _Moments:
    bands = scene.shape[2]
    count, mean, scatter = 0, np.zeros(bands), np.zeros((bands, bands))
    lowest, highest = np.full(bands, np.inf), np.full(bands, -np.inf)
    origin: np.ndarray | None = None
    for values in blocks_of(scene, where):
        # Relative to one pixel, equal pixels are exactly 0 and an offset common to all is gone.
        origin = values[:, :1] if origin is None else origin
        lowest = np.minimum(lowest, values.min(axis=1))
        highest = np.maximum(highest, values.max(axis=1))
        values = values - origin
        n = values.shape[1]
        block_mean = values.mean(axis=1)
        centred = values - block_mean[:, None]
        step = block_mean - mean
        scatter += centred @ centred.T + np.outer(step, step) * (n * count / (n + count))
        mean += step * (n / (n + count))
        count += n
    mean = mean if origin is None else mean + origin[:, 0]
    return _Moments(count, mean, scatter, lowest, highest)


_FLOOR = 1e-10  # smallest variance of noise, relative to the largest
_NOTHING = 0.05  # variance over noise of a direction in which nothing varies; white noise has 1


class NoiseEstimate:
    """Covariance of the noise, from blocks of rows that follow each other."""

    def __init__(self, bands: int) -> None:
        self.pairs = 0
        self._scatter = np.zeros((bands, bands))
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, rows: np.ndarray, where: np.ndarray) -> None:
        """The next rows (B, n, W), and which of their pixels (n, W) count."""
        self._pairs(rows[:, :, 1:], rows[:, :, :-1], where[:, 1:] & where[:, :-1])
        self._pairs(rows[:, 1:], rows[:, :-1], where[1:] & where[:-1])
        if self._last is not None:
            above, counted = self._last
            self._pairs(rows[:, :1], above, where[:1] & counted)
        self._last = rows[:, -1:].copy(), where[-1:].copy()

    def _pairs(self, one: np.ndarray, other: np.ndarray, both: np.ndarray) -> None:
        difference = one[:, both].astype(np.float64) - other[:, both]  # (B, pairs)
        self._scatter += difference @ difference.T
        self.pairs += difference.shape[1]

    @property
    def covariance(self) -> np.ndarray:
        """(B, B)."""
        return self._scatter / (2 * max(self.pairs, 1))

    @classmethod
    def of(cls, bands: int, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> NoiseEstimate:
        """From all blocks of a scene."""
        estimate = cls(bands)
        for rows, where in blocks:
            estimate.add(rows, where)
        return estimate


def minimum_noise_fraction(covariance: np.ndarray, noise: np.ndarray, most: int) -> np.ndarray:
    """At most so many directions (k, B) by falling ratio of variance to noise.

    In every direction the noise has variance 1. Directions in which nothing varies are left out;
    there may be none at all.

    Parameters
    ----------
    covariance, noise : ndarray of float64, shape (B, B)
        Of all, and of the noise in it.
    most : int
    """
    values, vectors = np.linalg.eigh(noise)
    if values[-1] <= 0:
        return np.empty((0, len(noise)))
    whitening = vectors / np.sqrt(np.maximum(values, _FLOOR * values[-1]))  # (B, B)
    ratios, turned = np.linalg.eigh(whitening.T @ covariance @ whitening)  # ascending
    k = min(most, int(np.count_nonzero(ratios > _NOTHING)))
    directions: np.ndarray = (whitening @ turned[:, ::-1][:, :k]).T
    return directions
