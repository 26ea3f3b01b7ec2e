"""How far training pixels reach into test windows."""

from __future__ import annotations

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.errors import SplitError
from hyperpeft.records import Split


def leakage(split: Split, shape: tuple[int, int], window: int) -> float | None:
    """Share of test pixels whose window contains at least one training pixel.

    Mirror padding at the scene's edge changes nothing: what it repeats is in the window already.

    Parameters
    ----------
    split : Split
    shape : tuple of 2 ints
        (H, W) of the scene.
    window : int
        Side of the window, odd.

    Returns
    -------
    float or None
        Between 0 and 1; None without test pixels.
    """
    radius = radius_of(window)
    if not len(split.test):
        return None
    near = np.zeros(shape, bool)
    near[tuple(split.train.T)] = True
    near = scipy.ndimage.maximum_filter(near, 2 * radius + 1, mode="constant")
    return float(near[tuple(split.test.T)].mean())


def radius_of(window: int) -> int:
    """Pixels from a window's centre to its edge; SplitError unless the window is odd."""
    if window < 1 or window % 2 == 0:
        raise SplitError("window", expected="an odd number of pixels", got=window)
    return window // 2
