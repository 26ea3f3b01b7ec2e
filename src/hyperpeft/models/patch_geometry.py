"""Sizes of windows, the mirror at a scene's edge, and the matrix of a resize: numbers alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hyperpeft.errors import ConfigError

MAX_PATCH = 63
CUBIC = -0.75  # slope parameter of the bicubic kernel (Keys 1981), as PyTorch and OpenCV have it


def check_patch_size(patch_size: int) -> int:
    """The size itself; ConfigError unless it is odd and 1 to 63."""
    if not 1 <= patch_size <= MAX_PATCH or patch_size % 2 == 0:
        raise ConfigError(
            "patch size", expected=f"an odd number from 1 to {MAX_PATCH}", got=patch_size
        )
    return patch_size


def mirrored(start: int, stop: int, size: int) -> np.ndarray:
    """Indices start..stop into an axis of `size` pixels that is mirrored beyond its ends.

    >>> mirrored(-2, 6, 4).tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """
    period = max(2 * (size - 1), 1)
    away = np.arange(start, stop) % period
    indices: np.ndarray = np.minimum(away, period - away) if size > 1 else np.zeros_like(away)
    return indices


@lru_cache(maxsize=16)
def resize_matrix(source: int, size: int) -> np.ndarray:
    """The matrix (size, source) float32 that resizes a column of pixels bicubically.

    Row i holds the weights of the four pixels around (i + 1/2) source / size - 1/2 (Keys 1981, doi
    10.1109/TASSP.1981.1163711); a pixel beyond the end counts as the last one.

    >>> resize_matrix(1, 2).tolist()
    [[1.0], [1.0]]
    """
    # The scale and the centres are float32 numbers, as where tensors are resized.
    scale = float(np.float32(source / size))
    centres = ((np.arange(size) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(centres)
    offset = (centres - first).astype(np.float64)
    matrix = np.zeros((size, source))
    for tap in range(-1, 3):
        x = np.abs(offset - tap)
        near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
        far = CUBIC * (((x - 5) * x + 8) * x - 4)
        column = np.clip(first + tap, 0, source - 1).astype(int)
        np.add.at(matrix, (np.arange(size), column), np.where(x <= 1, near, far))
    matrix = matrix.astype(np.float32)
    matrix.setflags(write=False)  # it is shared
    return matrix
