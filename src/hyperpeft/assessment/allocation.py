"""How many pixels of each stratum are checked.

Olofsson et al. (2014), section 5.1: the size for a wanted standard error of overall accuracy
(their eq. 13, Cochran 1977 eq. 5.25), and its allocation: in proportion to area, with a minimum
for rare classes. Neyman's allocation (Cochran 1977, eq. 5.26) takes n_h in proportion to
W_h S_h, with S_h = sqrt(U_h (1 - U_h)) from the user's accuracies U_h that are expected.
"""

from __future__ import annotations

import math

import numpy as np

from hyperpeft.errors import ConfigError


def sample_size(weights: np.ndarray, users: np.ndarray, standard_error: float) -> int:
    """Pixels for a standard error of overall accuracy.

    Parameters
    ----------
    weights, users : ndarray of float, shape (H,)
        Share of each stratum, and the user's accuracy that is expected in it.
    standard_error : float

    Examples
    --------
    The example of Olofsson et al. (2014), section 5.1.1:

    >>> sample_size(np.array([0.02, 0.015, 0.32, 0.645]), np.array([0.7, 0.6, 0.9, 0.95]), 0.01)
    641
    """
    spread = float(weights @ np.sqrt(users * (1 - users)))
    return max(1, math.ceil((spread / standard_error) ** 2))


def allocate(
    sizes: np.ndarray, total: int, *, minimum: int, users: np.ndarray | None = None
) -> np.ndarray:
    """Pixels to check in each stratum.

    Strata whose share is below the minimum get the minimum, or all their pixels; the others share
    what is left. Rounding is by largest remainder, so that the sum is `total`.

    Parameters
    ----------
    sizes : ndarray of int, shape (H,)
        Pixels of each stratum.
    total : int
        Pixels to check in all.
    minimum : int
        In each stratum.
    users : ndarray of float, shape (H,), optional
        Expected user's accuracies: Neyman's allocation instead of the proportional one.

    Raises
    ------
    ConfigError
        When the minimum alone is more than `total`, or there are fewer pixels.

    Examples
    --------
    >>> allocate(np.array([200, 150, 3200, 6450]), 640, minimum=75).tolist()
    [75, 75, 162, 328]
    """
    if total > sizes.sum():
        raise ConfigError(
            "the size of the sample", expected=f"at most {int(sizes.sum())} pixels", got=total
        )
    least = np.minimum(minimum, sizes)
    if least.sum() > total:
        raise ConfigError(
            f"the size of the sample: {len(sizes)} strata of at least {minimum} pixels need "
            f"{int(least.sum())}",
            got=total,
            hint="give a larger --size or a smaller --minimum",
        )
    wants = sizes.astype(float)
    if users is not None:
        wants = wants * np.sqrt(users * (1 - users))
        if not wants.any():
            wants = sizes.astype(float)
    counts = least.astype(float)
    free = np.ones(len(sizes), bool)
    while free.any():  # each pass fixes at least one stratum, or is the last
        left = total - counts[~free].sum()
        share = left * wants / wants[free].sum() if wants[free].sum() > 0 else least.astype(float)
        low, high = free & (share < least), free & (share > sizes)
        if not (low | high).any():
            counts[free] = share[free]
            break
        bound = low if low.any() else high
        counts[bound] = (least if low.any() else sizes)[bound]
        free &= ~bound
    return _rounded(counts, sizes, total)


def _rounded(counts: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers of this sum, by largest remainder and never above the sizes."""
    whole = np.floor(counts + 1e-9).astype(int)
    for i in np.argsort(whole - counts, kind="stable"):
        if whole.sum() < total and whole[i] < sizes[i]:
            whole[i] += 1
    for i in np.argsort(whole - sizes, kind="stable"):  # where strata were full
        extra = min(total - int(whole.sum()), int(sizes[i] - whole[i]))
        whole[i] += max(extra, 0)
    return whole
