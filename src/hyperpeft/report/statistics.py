"""What repeated runs say about methods: means over seeds, paired differences, ranks over scenes.

Every function takes all runs; none picks the best. Seeds of one scene are not independent
evidence about other scenes: tests and intervals over scenes treat the scene as the unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import scipy  # its parts are loaded when they are used

RESAMPLES = 10_000
Run = TypeVar("Run")  # what a run is of: a scene and a seed
SEED = 0  # of the resampling, so that a report is the same every time


class Summary(NamedTuple):
    """Mean, sample standard deviation (None for one value) and number of values."""

    mean: float
    std: float | None
    n: int


class Interval(NamedTuple):
    """A mean with its bootstrap confidence interval; of one value there is none."""

    mean: float
    low: float | None
    high: float | None


class Test(NamedTuple):
    """A two-sided Wilcoxon signed-rank test.

    Attributes: `p`, None without any difference that is not 0; `n`, the pairs; `smallest`, the
    least p that so many pairs can give: above 0.05 the test cannot find anything.
    """

    p: float | None
    n: int
    smallest: float


class Ranks(NamedTuple):
    """Average ranks over scenes (1 is best).

    Attributes: `ranks`, by method; `scenes`, their number; `p` of Friedman's test that all methods
    are alike, None where it has no meaning; `critical`, Nemenyi's critical difference at 5 %: two
    methods whose ranks are closer cannot be told apart.
    """

    ranks: dict[str, float]
    scenes: int
    p: float | None
    critical: float | None


def summary(values: Sequence[float]) -> Summary:
    """Mean and standard deviation over seeds.

    Examples
    --------
    >>> summary([90.0, 92.0, 94.0])
    Summary(mean=92.0, std=2.0, n=3)
    """
    array = np.asarray(values, float)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return Summary(float(array.mean()), std, len(array))


def paired(
    first: Mapping[Run, tuple[float, str | None]],
    second: Mapping[Run, tuple[float, str | None]],
) -> tuple[dict[Run, float], list[Run]]:
    """Differences first - second of runs on the very same split.

    Parameters
    ----------
    first, second : mapping
        From what a run is of (scene and seed) to its value and the hash of its split.

    Returns
    -------
    dict
        The difference of each pair.
    list
        What both have, but on other pixels or without a hash: never compared as a pair.
    """
    both = [key for key in first if key in second]
    same = [key for key in both if first[key][1] is not None and first[key][1] == second[key][1]]
    differences = {key: first[key][0] - second[key][0] for key in same}
    return differences, [key for key in both if key not in differences]


def bootstrap(
    groups: Sequence[Sequence[float]],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """Percentile bootstrap of the mean of group means, over both levels: scenes, then seeds.

    Scenes are drawn with replacement, and of each drawn scene its seeds. With one group this is
    the plain bootstrap of its mean.

    Parameters
    ----------
    groups : sequence of sequences of float
        One per scene: a value per seed.
    level : float
        Share of the resamples that the interval holds.
    resamples, seed : int

    Returns
    -------
    Interval
    """
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(group, float) for group in groups]
    if sum(map(len, arrays)) == 1:
        return Interval(float(arrays[0][0]), None, None)
    drawn = np.empty((resamples, len(arrays), len(arrays)))  # every place may hold any scene
    for g, values in enumerate(arrays):
        picks = rng.integers(len(values), size=(resamples, len(arrays), len(values)))
        drawn[:, :, g] = values[picks].mean(axis=2)
    which = rng.integers(len(arrays), size=(resamples, len(arrays), 1))
    means = np.take_along_axis(drawn, which, axis=2)[:, :, 0].mean(axis=1)  # (resamples,)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean([a.mean() for a in arrays])), float(low), float(high))


def wilcoxon(differences: Sequence[float]) -> Test:
    """Whether differences, one per scene, lie to one side of 0 (Wilcoxon 1945).

    Differences of 0 are left out, as in the original test.

    Examples
    --------
    >>> wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0])
    Test(p=0.0625, n=5, smallest=0.0625)
    """
    array = np.asarray(differences, float)
    array = array[array != 0]
    n = len(array)
    smallest = min(1.0, 2.0 ** (1 - n))
    if n == 0:
        return Test(None, 0, smallest)
    # "auto" is exact up to 50 differences; with ties every choice of signs is tried up to 13.
    return Test(float(scipy.stats.wilcoxon(array).pvalue), n, smallest)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """P-values of several comparisons, adjusted together (Holm 1979).

    Examples
    --------
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None})
    {'a': 0.03, 'b': 0.06, 'c': 0.06, 'd': None}
    """
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for i, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - i)))
        adjusted[name] = highest
    return adjusted


def average_ranks(scores: Mapping[str, Mapping[str, float]]) -> Ranks:
    """Rank methods on each scene by their mean score, and average (Demsar 2006, JMLR 7).

    Parameters
    ----------
    scores : mapping of method to mapping of scene to float
        Higher is better. Scenes that a method lacks are left out for all.

    Returns
    -------
    Ranks
        Ties share their average rank. Friedman's test and Nemenyi's difference need at least
        three methods and two scenes.
    """
    methods = list(scores)
    scenes = [s for s in next(iter(scores.values()), {}) if all(s in scores[m] for m in methods)]
    if not scenes:
        return Ranks({}, 0, None, None)
    table = np.array([[scores[m][s] for m in methods] for s in scenes])  # (N, k)
    ranks = np.array([scipy.stats.rankdata(-row) for row in table])  # (N, k)
    n, k = ranks.shape
    mean = dict(zip(methods, ranks.mean(axis=0).tolist(), strict=True))
    if k < 3 or n < 2:
        return Ranks(mean, n, None, None)
    tied = bool((ranks == ranks[:, :1]).all())  # all methods on every scene: nothing to test
    p = None if tied else float(scipy.stats.friedmanchisquare(*table.T).pvalue)
    return Ranks(mean, n, p, critical_difference(k, n))


def critical_difference(k: int, n: int) -> float:
    """Nemenyi's critical difference of average ranks of k methods over n scenes, at 5 %.

    Examples
    --------
    >>> round(critical_difference(4, 14), 2)  # Demsar's worked example gives 1.25 with q = 2.569
    1.25
    """
    q = float(scipy.stats.studentized_range.ppf(0.95, k, np.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * n))
