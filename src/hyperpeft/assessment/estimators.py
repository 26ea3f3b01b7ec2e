"""Estimators of map accuracy and area for stratified random sampling, with confidence intervals.

Intervals. Wilson (1927), doi:10.1080/01621459.1927.10502953: of one proportion.
Zou and Donner (2008), doi:10.1002/sim.3095, and Zou, Huang and Zhang (2009),
doi:10.1016/j.csda.2008.09.033 (MOVER): the limits l_h, u_h of each stratum give those of the sum

    L = p - sqrt(sum_h W_h^2 (p_h - l_h)^2),    U = p + sqrt(sum_h W_h^2 (u_h - p_h)^2)

With Wilson's limits a stratum in which no error was seen still adds to the width, because its error
rate is not known to be 0. p +- 1.96 SE, as in Olofsson et al. (2014), takes it to be known: with
rare errors it covers the truth far too seldom (`docs/how-to/assessment.md` has figures).

Estimators. Stehman (2014), doi:10.1080/01431161.2014.930207, for strata of any kind; where the
strata are the map classes they are those of Olofsson et al. (2014), doi:10.1016/j.rse.2014.02.015.
With y_u and x_u indicators of pixel u, N_h pixels in stratum h of which n_h were checked, and N =
sum_h N_h:

    area, overall accuracy      Y = sum_h N_h mean_h(y) / N                              (his eq. 3)
      variance                  sum_h N_h^2 (1 - n_h/N_h) s2_h(y) / n_h / N^2                 (25)
    user's, producer's          R = Y / X                                                     (27)
      variance                  sum_h N_h^2 (1 - n_h/N_h) s2_h(y - R x) / n_h / (X N)^2       (28)

y is 1 where map and reference agree on a class; x is 1 where the map has it (user's accuracy) or
the reference has it (producer's accuracy).

Pixels of different area, as those of geographic coordinates. The pixels of a stratum were drawn
with equal probability whatever their area a_u, so N_h mean_h(y) / N would be a share of pixels. A
share of the area is the separate ratio estimate (Cochran 1977, section 6.10)

    Y = sum_h A_h r_h / A,   r_h = sum_h a_u y_u / sum_h a_u

with A_h the area of stratum h: N_h becomes A_h, a pixel counts by its area, s2_h is that of the
residuals a_u (y_u - r_h) / mean_h(a), and Wilson's n_h is (sum a_u)^2 / sum a_u^2 (Kish 1965).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.errors import ConfigError

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
    used = np.flatnonzero(a + b)
    if len(used) == 1 and math.isclose(within[used[0]] + beside[used[0]], 1):
        return -1.0  # of a stratum all that is not the one is the other, also where none was seen
    if variances <= 0:
        return 0.0
    together = -float((a * b) @ (within * beside / size))
    return float(np.clip(together / math.sqrt(variances), -1, 1))


Rule = Literal["wilson", "normal"]
RULES: tuple[Rule, ...] = ("wilson", "normal")


@dataclass(frozen=True)
class Observations:
    """Checked pixels.

    Attributes
    ----------
    strata : ndarray of int, shape (n,)
        Stratum of each, from 0.
    mapped, reference : ndarray of int, shape (n,)
        Class of each on the map, and on the ground.
    sizes : ndarray of float, shape (H,)
        Pixels of each stratum.
    classes : ndarray of int, shape (H,), or None
        The map class that each stratum is; None where the strata are others.
    areas, pixel_areas : ndarray of float, shapes (H,) and (n,), or None
        Of the strata and of the checked pixels, each in any unit; None where pixels are alike.
    """

    strata: np.ndarray
    mapped: np.ndarray
    reference: np.ndarray
    sizes: np.ndarray
    classes: np.ndarray | None = None
    areas: np.ndarray | None = None
    pixel_areas: np.ndarray | None = None


@dataclass(frozen=True)
class Estimate:
    """A proportion with its uncertainty; None for what the sample says nothing about.

    Attributes
    ----------
    value, standard_error, low, high : float or None
        From 0 to 1.
    rule : str
        How the interval was made: "wilson", "normal", "census" where all pixels were checked.
    """

    value: float | None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    rule: str = ""


@dataclass(frozen=True)
class Estimates:
    """All that a sample says of a map.

    Attributes
    ----------
    classes : tuple of int
    counts : ndarray of int, shape (K, K)
        Checked pixels, map class by reference class.
    proportions : ndarray of float, shape (K, K)
        The same as shares of the area.
    overall : Estimate
    users, producers, areas : dict of int to Estimate
        By class; areas as shares of the whole.
    """

    classes: tuple[int, ...]
    counts: np.ndarray
    proportions: np.ndarray
    overall: Estimate
    users: dict[int, Estimate]
    producers: dict[int, Estimate]
    areas: dict[int, Estimate]


def estimate(
    seen: Observations, classes: tuple[int, ...], *, rule: Rule = "wilson", level: float = LEVEL
) -> Estimates:
    """Accuracy and area of every class.

    Parameters
    ----------
    seen : Observations
        Every stratum needs a checked pixel.
    classes : tuple of int
        Of map and reference, in the order of the error matrix.
    rule : {"wilson", "normal"}
        See `hyperpeft.assessment.estimators`. A normal interval without width, of a sample in which
        everything agrees, is replaced by Wilson's.
    level : float
        Of confidence.

    Raises
    ------
    ConfigError
        A stratum without a checked pixel, a rule that does not exist, or a level that is not
        between 0 and 1.
    """
    if rule not in RULES:
        raise ConfigError("interval", expected=f"one of {', '.join(RULES)}", got=rule)
    if not 0 < level < 1:
        raise ConfigError("level", expected="above 0 and below 1, such as 0.95", got=level)
    strata = _Strata(seen, rule, level)
    mapped, reference = seen.mapped, seen.reference
    agree = mapped == reference
    counts = np.array([[np.count_nonzero((mapped == i) & (reference == j)) for j in classes]
                       for i in classes])  # fmt: skip
    proportions = np.array([[strata.mean((mapped == i) & (reference == j)) for j in classes]
                            for i in classes])  # fmt: skip
    return Estimates(
        classes,
        counts,
        proportions,
        overall=strata.share(agree),
        users={k: strata.users(agree & (mapped == k), mapped == k, k) for k in classes},
        producers={k: strata.producers(agree & (reference == k), reference == k, k)
                   for k in classes},
        areas={k: strata.share(reference == k) for k in classes},
    )  # fmt: skip


class _Strata:
    """Means over strata, their variances and intervals."""

    def __init__(self, seen: Observations, rule: Rule, level: float) -> None:
        self._index, self._rule, self._level = seen.strata, rule, level
        self._classes = seen.classes
        self.n = np.bincount(seen.strata, minlength=len(seen.sizes)).astype(float)
        if (self.n == 0).any():
            raise ConfigError("strata", expected="a checked pixel in each", got="none in some")
        areas = seen.sizes if seen.areas is None else seen.areas
        self.weights = areas / areas.sum()
        self._relative = np.ones(len(seen.strata))  # area of a pixel over the mean of its stratum
        if seen.pixel_areas is not None:
            self._relative = seen.pixel_areas / self._means(seen.pixel_areas)[self._index]
        self._rest = np.clip(1 - self.n / seen.sizes, 0, 1)  # finite population correction
        with np.errstate(divide="ignore"):
            size = self.n / self._means(self._relative)
            self._size = np.where(self._rest > 0, size / self._rest, np.inf)

    def _means(self, values: np.ndarray) -> np.ndarray:
        weights = self._relative * values
        return np.bincount(self._index, weights=weights, minlength=len(self.n)) / self.n

    def mean(self, values: np.ndarray) -> float:
        return min(float(self.weights @ self._means(values)), 1.0)  # rounding may exceed 1

    def _error(self, values: np.ndarray) -> float | None:
        """Standard error of a mean; None where a stratum that is not a census has one pixel."""
        if ((self.n < 2) & (self._rest > 0)).any():
            return None
        squares = self._relative * (values - self._means(values)[self._index]) ** 2
        spread = self._means(squares) * self.n / np.maximum(self.n - 1, 1)
        return math.sqrt(float(self.weights**2 @ (self._rest * spread / self.n)))

    def share(self, values: np.ndarray) -> Estimate:
        value, error = self.mean(values), self._error(values)
        limits = of_sum(self.weights, self._means(values), self._size, self._level)
        return self._estimate(value, error, limits)

    def users(self, right: np.ndarray, mapped: np.ndarray, k: int) -> Estimate:
        here = True if self._classes is None else self._classes == k
        return self._ratio(right, mapped, (self.weights * here, self.weights * here))

    def producers(self, right: np.ndarray, reference: np.ndarray, k: int) -> Estimate:
        if self._classes is None:
            return self._ratio(right, reference, (self.weights, self.weights))
        here = self._classes == k
        return self._ratio(right, reference, (self.weights * here, self.weights * ~here))

    def _ratio(
        self, part: np.ndarray, whole: np.ndarray, weights: tuple[np.ndarray, np.ndarray]
    ) -> Estimate:
        total = self.mean(whole)
        if total == 0:
            return Estimate(None)
        value = self.mean(part) / total
        error = self._error(part - value * whole)
        rest = whole & ~part
        limits = of_ratio(weights, self._means(part), self._means(rest), self._size, self._level)
        return self._estimate(value, None if error is None else error / total, limits)

    def _estimate(self, value: float, error: float | None, limits: tuple[float, float]) -> Estimate:
        if not self._rest.any():
            return Estimate(value, 0.0, value, value, "census")
        if self._rule == "normal" and error:
            half = quantile(self._level) * error
            return Estimate(value, error, max(value - half, 0.0), min(value + half, 1.0), "normal")
        return Estimate(value, error, *limits, "wilson")
