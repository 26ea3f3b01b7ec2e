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
import torch
from torch import Tensor

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
        self._known = torch.from_numpy(known)
        values = torch.from_numpy(logits)
        self._mean = values.mean(0)
        distances = torch.cdist(self._known, self._known)
        self._length = max(float(distances.median()), 1e-6)
        kernel = self._kernel(distances).double()
        kernel.diagonal().add_(NOISE)
        factor = torch.linalg.cholesky(kernel)
        self._weights = torch.cholesky_solve((values - self._mean).double(), factor).float()

    def _kernel(self, distances: Tensor) -> Tensor:
        scaled = distances * (3**0.5 / self._length)
        return (1 + scaled) * torch.exp(-scaled)

    def guess(self, described: np.ndarray) -> np.ndarray:
        """Logits (m, K) float32 of descriptions (m, F)."""
        out = np.empty((len(described), self._weights.shape[1]), np.float32)
        for start in range(0, len(described), CHUNK):
            chunk = torch.from_numpy(described[start : start + CHUNK])
            kernel = self._kernel(torch.cdist(chunk, self._known))  # (chunk, n)
            out[start : start + CHUNK] = (self._mean + kernel @ self._weights).numpy()
        return out
