"""Sums, means and guided filters over windows that give a tile the values of the whole scene.

Every sum adds in an order fixed relative to the pixel, by doubling: sums of 2, 4, 8 ... neighbours,
then the powers of two that make up the window. Running sums would be as cheap, but their roundings
depend on where the array begins. So a tile with a halo equals the whole scene to the bit.

The guided filter makes a band p, in every window, a linear function a . I + b of a guide I,

    a = (Cov(I) + eps)^-1 Cov(I, p)        b = mean(p) - a . mean(I)

and gives a pixel the mean over the windows that it lies in (He, Sun and Tang 2013, doi
10.1109/TPAMI.2012.213): flat parts are averaged, and edges of the guide stay edges. Pixels that
are not valid neither give nor take.
"""

from __future__ import annotations

import numpy as np

BLOCK = 4  # bands filtered at a time, which bounds the memory


def box_sum(cube: np.ndarray, radius: int) -> np.ndarray:
    """Sums over windows of side 2 radius + 1, with zeros beyond the borders.

    Parameters
    ----------
    cube : ndarray of float, shape (C, H, W)
    radius : int
        Pixels; also how far a sum looks.

    Returns
    -------
    ndarray, shape (C, H, W)
        Of the cube's type.

    Examples
    --------
    >>> box_sum(np.ones((1, 4, 3)), 1)[0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    return _line_sum(_line_sum(cube, radius, 1), radius, 2)


def valid_means(cube: np.ndarray, valid: np.ndarray, radius: int) -> np.ndarray:
    """Means (C, H, W) float32 over the valid pixels of windows; 0 where not valid.

    Parameters
    ----------
    cube : ndarray of float32, shape (C, H, W)
    valid : ndarray of bool, shape (H, W)
    radius : int
        The windows' side is 2 radius + 1 pixels.
    """
    counts = box_sum(valid.astype(np.float32)[None], radius)
    sums = box_sum(np.where(valid, cube, np.float32(0)), radius)
    return np.where(valid, sums / np.maximum(counts, 1), np.float32(0)).astype(np.float32)


def guided_filter(
    cube: np.ndarray, guide: np.ndarray, valid: np.ndarray, radius: int, eps: float
) -> np.ndarray:
    """Filter each band of a cube along the edges of a guide.

    Parameters
    ----------
    cube : ndarray of float32, shape (C, H, W)
    guide : ndarray of float32, shape (G, H, W)
        G of about 3; standardised with the numbers of the whole scene.
    valid : ndarray of bool, shape (H, W)
    radius : int
        Of the windows, in pixels; the filter looks twice as far.
    eps : float
        Variance of the guide below which a window counts as flat.

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        0 where not valid.

    Examples
    --------
    A noisy edge that the guide has too: the noise goes, the edge stays.

    >>> edge = np.where(np.arange(20) < 10, 0.0, 5.0) * np.ones((1, 30, 1))
    >>> noisy = edge + np.random.default_rng(0).normal(size=edge.shape)
    >>> out = guided_filter(noisy, edge, np.ones((30, 20), bool), 4, 0.01)
    >>> bool(np.abs(out - edge).max() < 1 < np.abs(noisy - edge).max())
    True
    """
    image = np.where(valid, guide, 0).astype(np.float64)
    share = 1 / np.maximum(box_sum(valid.astype(np.float64)[None], radius)[0], 1)  # (H, W)
    mean = box_sum(image, radius) * share  # (G, H, W)
    inverse = _inverse_covariance(image, mean, share, radius, eps)
    out = np.empty(cube.shape, np.float32)
    for start in range(0, len(cube), BLOCK):
        p = np.where(valid, cube[start : start + BLOCK], 0).astype(np.float64)
        p_mean = box_sum(p, radius) * share
        covariance = [
            box_sum(p * band, radius) * share - p_mean * m
            for band, m in zip(image, mean, strict=True)
        ]
        slopes = [_weighted_sum(row, covariance) for row in inverse]  # G of (k, H, W)
        offset = np.where(valid, p_mean - _weighted_sum(mean, slopes), 0)
        result = box_sum(offset, radius)
        for band, slope in zip(image, slopes, strict=True):
            result += box_sum(np.where(valid, slope, 0), radius) * band
        out[start : start + BLOCK] = np.where(valid, result * share, 0)
    return out


def _line_sum(cube: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Sums along one axis over 2 radius + 1 pixels, zeros beyond the borders."""
    size, width = cube.shape[axis], 2 * radius + 1
    margins = [(radius, radius) if i == axis else (0, 0) for i in range(cube.ndim)]
    sums = np.moveaxis(np.pad(cube, margins), axis, 0)  # of `power` pixels from each on
    total, offset, power = np.zeros((size, *sums.shape[1:]), cube.dtype), 0, 1
    while True:
        if width & power:
            total += sums[offset : offset + size]
            offset += power
        if 2 * power > width:
            return np.moveaxis(total, 0, axis)
        sums = sums[:-power] + sums[power:]
        power *= 2


def _inverse_covariance(
    image: np.ndarray, mean: np.ndarray, share: np.ndarray, radius: int, eps: float
) -> list[list[np.ndarray]]:
    """(Cov(I) + eps)^-1 of every window: G x G arrays (H, W)."""
    count = len(image)
    covariance = np.empty((*share.shape, count, count))
    for i in range(count):
        for j in range(i, count):
            product = box_sum((image[i] * image[j])[None], radius)[0] * share
            value = product - mean[i] * mean[j] + (eps if i == j else 0)
            covariance[..., i, j] = covariance[..., j, i] = value
    inverse = np.linalg.inv(covariance)  # matrix by matrix: the array's size changes nothing
    return [[inverse[..., i, j] for j in range(count)] for i in range(count)]


def _weighted_sum(weights: np.ndarray | list[np.ndarray], arrays: list[np.ndarray]) -> np.ndarray:
    """Sum of arrays (k, H, W), each times a weight (H, W), in their order."""
    total = weights[0] * arrays[0]
    for weight, array in zip(weights[1:], arrays[1:], strict=True):
        total += weight * array
    return total
