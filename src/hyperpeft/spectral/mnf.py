"""Minimum noise fraction: the components with the most signal for their noise.

Green, Berman, Switzer and Craig (1988), IEEE Transactions on Geoscience and Remote Sensing 26 (1).
The noise is estimated from differences between neighbours, along rows and columns: what a pixel
and its neighbour do not share counts as noise, so that cov(noise) = cov(difference) / 2.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

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
