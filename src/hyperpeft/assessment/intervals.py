"""Confidence intervals of proportions and ratios from a stratified random sample.

Wilson (1927), doi:10.1080/01621459.1927.10502953: of one proportion.
Zou and Donner (2008), doi:10.1002/sim.3095, and Zou, Huang and Zhang (2009),
doi:10.1016/j.csda.2008.09.033 (MOVER): the limits l_h, u_h of each stratum give those of the sum

    L = p - sqrt(sum_h W_h^2 (p_h - l_h)^2),    U = p + sqrt(sum_h W_h^2 (u_h - p_h)^2)

With Wilson's limits a stratum in which no error was seen still adds to the width, because its error
rate is not known to be 0. p +- 1.96 SE, as in Olofsson et al. (2014), takes it to be known: with
rare errors it covers the truth far too seldom (`docs/how-to/assessment.md` has figures).
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts are loaded when they are used

LEVEL = 0.95


def quantile(level: float = LEVEL) -> float:
    """1.96 for 95 %."""
    return float(scipy.special.ndtri(0.5 + level / 2))


def wilson(
    share: np.ndarray, size: np.ndarray, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of proportions (H,) seen in samples of `size` (H,); infinite for a census.

    Examples
    --------
    >>> low, high = wilson(np.array([1.0]), np.array([20.0]))
    >>> round(float(low[0]), 3), float(high[0])
    (0.839, 1.0)
    """
    square = quantile(level) ** 2
    with np.errstate(divide="ignore"):
        spread = square / size
    centre = (share + spread / 2) / (1 + spread)
    half = np.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    low = np.where(share <= 0, 0.0, np.maximum(centre - half, 0))
    high = np.where(share >= 1, 1.0, np.minimum(centre + half, 1))
    return low, high


def of_sum(
    weights: np.ndarray, share: np.ndarray, size: np.ndarray, level: float = LEVEL
) -> tuple[float, float]:
    """Limits of sum_h W_h p_h: weights, shares and (effective) sample sizes (H,)."""
    low, high = wilson(share, size, level)
    middle = float(weights @ share)
    below = math.sqrt(float((weights**2) @ (share - low) ** 2))
    above = math.sqrt(float((weights**2) @ (high - share) ** 2))
    return max(middle - below, 0.0), min(middle + above, float(weights.sum()))


def of_ratio(
    weights: tuple[np.ndarray, np.ndarray],
    within: np.ndarray,
    beside: np.ndarray,
    size: np.ndarray,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Limits of A / (A + B), where A = sum_h W_h a_h and B = sum_h W_h b_h.

    `weights` are those of A and of B (H,): 0 in a stratum where there can be no such pixel, which
    then adds nothing to the width. A and B are shares of disjoint pixels: for the producer's
    accuracy of a class those that are mapped rightly and those that are missed. The limits are the
    ratios R at which the limits of (1 - R) A - R B reach 0, with the covariance of A
    and B, -sum_h W_h^2 a_h b_h / n_h.
    """
    a, b = float(weights[0] @ within), float(weights[1] @ beside)
    ratio = a / (a + b)
    low_a, high_a = of_sum(weights[0], within, size, level)
    low_b, high_b = of_sum(weights[1], beside, size, level)
    correlation = _correlation(weights, within, beside, size)

    def margin(r: float, of_a: float, of_b: float, sign: int) -> float:
        p, q = (1 - r) * of_a, r * of_b
        spread = math.sqrt(max(p * p + q * q - 2 * correlation * p * q, 0.0))
        return (1 - r) * a - r * b - sign * spread

    down, up = (a - low_a, high_b - b, 1), (high_a - a, b - low_b, -1)
    root, low, high = scipy.optimize.brentq, ratio, ratio
    if a > 0 > margin(ratio, *down):
        low = root(margin, 0, ratio, args=down)
    if b > 0 and margin(ratio, *up) > 0:
        high = root(margin, ratio, 1, args=up)
    return low if a > 0 else 0.0, high if b > 0 else 1.0


def _correlation(
    weights: tuple[np.ndarray, np.ndarray],
    within: np.ndarray,
    beside: np.ndarray,
    size: np.ndarray,
) -> float:
    a, b = weights
    variances = float(a**2 @ (within * (1 - within) / size))
    variances *= float(b**2 @ (beside * (1 - beside) / size))
    if variances <= 0:
        return 0.0
    together = -float((a * b) @ (within * beside / size))
    return float(np.clip(together / math.sqrt(variances), -1, 1))
