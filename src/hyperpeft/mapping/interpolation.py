"""Guess the encoder's logits of many pixels from those of a few: a Gaussian process.

Each pixel is described by its reduced spectrum and by mean and deviation of its neighbourhood, and
the logits of pixels that the encoder has seen are interpolated between such descriptions (kriging;
Rasmussen and Williams 2006, equation 2.25) under a Matern 3/2 kernel

    k(d) = (1 + sqrt(3) d / l) exp(-sqrt(3) d / l),     l = the median distance.

Far from every known description the guess falls back to the mean of all, whose margin is small: a
pixel that its relatives do not explain is a doubtful one. Fitting n points costs n^3 / 3
operations and no iterations, so there is nothing to tune and the same points give the same guess.
"""

from __future__ import annotations

import numpy as np
import scipy  # its parts are loaded when they are used

NOISE = 1e-2  # variance of what the description does not explain, relative to the logits' own
CHUNK = 4096  # pixels guessed at a time


def describe(padded: np.ndarray, half: int) -> np.ndarray:
    """What is known of every pixel without the encoder.

    Parameters
    ----------
    padded : ndarray of float32, shape (C, h + 2 half, w + 2 half)
        Reduced cube with its halo.
    half : int
        Half of the window.

    Returns
    -------
    ndarray of float32, shape (h, w, F)
        Pixel, mean of its 3 x 3 neighbours, mean and deviation of its window.
    """
    if half == 0:
        return np.ascontiguousarray(padded.transpose(1, 2, 0))
    inner = (slice(half, padded.shape[1] - half), slice(half, padded.shape[2] - half))
    parts: list[np.ndarray] = []
    for band in padded:
        mean = scipy.ndimage.uniform_filter(band, 2 * half + 1)
        square = scipy.ndimage.uniform_filter(band * band, 2 * half + 1)
        deviation = np.sqrt(np.maximum(square - mean * mean, 0))
        near = [scipy.ndimage.uniform_filter(band, 3)] if half > 1 else []
        parts += [part[inner] for part in (band, *near, mean, deviation)]
    return np.stack(parts, axis=-1).astype(np.float32, copy=False)


class Kriging:
    """Logits (n, K) at descriptions (n, F), interpolated to any others.

    Examples
    --------
    >>> x = np.linspace(0, 1, 9, dtype=np.float32)[:, None]
    >>> guess = Kriging(x, np.hstack([x, 1 - x])).guess(np.float32([[0.3]]))
    >>> bool(abs(guess[0, 0] - 0.3) < 0.05)
    True
    """

    def __init__(self, known: np.ndarray, logits: np.ndarray) -> None:
        self._known = np.ascontiguousarray(known, np.float32)
        self._squares = np.einsum("nf,nf->n", self._known, self._known)
        self._mean = logits.mean(axis=0)
        distances = self._distances(self._known)
        np.fill_diagonal(distances, 0)
        self._length = max(float(np.median(distances)), 1e-6)
        kernel = self._kernel(distances).astype(np.float64)
        kernel.flat[:: len(kernel) + 1] += NOISE
        factor = scipy.linalg.cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)
        centred = (logits - self._mean).astype(np.float64)
        weights = scipy.linalg.cho_solve(factor, centred, check_finite=False)
        self._weights = weights.astype(np.float32)

    def _distances(self, described: np.ndarray) -> np.ndarray:
        """Distances (m, n) of descriptions (m, F) to those that are known."""
        squares = np.einsum("mf,mf->m", described, described)
        found = described @ self._known.T  # (m, n)
        found *= -2
        found += squares[:, None]
        found += self._squares
        np.maximum(found, 0, out=found)
        return np.sqrt(found, out=found)

    def _kernel(self, distances: np.ndarray) -> np.ndarray:
        """Matern 3/2 of distances, which are written over."""
        distances *= np.float32(3**0.5 / self._length)
        raised = np.exp(-distances)
        distances += 1
        distances *= raised
        return distances

    def guess(self, described: np.ndarray) -> np.ndarray:
        """Logits (m, K) float32 of descriptions (m, F)."""
        out = np.empty((len(described), self._weights.shape[1]), np.float32)
        for start in range(0, len(described), CHUNK):
            chunk = np.ascontiguousarray(described[start : start + CHUNK], np.float32)
            kernel = self._kernel(self._distances(chunk))  # (chunk, n)
            out[start : start + CHUNK] = self._mean + kernel @ self._weights
        return out
