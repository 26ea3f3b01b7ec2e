"""Which pixels to label next: uncertain ones, unlike each other and unlike those labelled.

A pixel's uncertainty is taken from its class probabilities p:

    entropy   -sum_k p_k log p_k
    margin    1 - (p_1 - p_2), of the two largest
    random    the same for all: the alternative that any other rule has to beat

Of the most uncertain candidates k-means++ (Arthur and Vassilvitskii 2007) draws one after the
other, with a chance proportional to uncertainty times the squared distance to the nearest pixel
that is labelled or drawn, in feature space; core-set (Sener and Savarese 2018, arXiv 1708.00489)
takes the one farthest away instead. Neighbours say the same twice: a least distance on the image
keeps the points apart.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from hyperpeft.errors import ConfigError

Measure = Literal["entropy", "margin", "random"]
Diversity = Literal["kmeans++", "core-set", "none"]
POOL = 0.1  # share of the candidates, the most uncertain ones, that diversity chooses from
LEAST_POOL = 20  # candidates for each point that is wanted


def check_rule(measure: str = "margin", diversity: str = "kmeans++") -> None:
    """Refuse rules that there are not, with ConfigError."""
    for name, value, known in (
        ("measure", measure, get_args(Measure)), ("diversity", diversity, get_args(Diversity)),
    ):  # fmt: skip
        if value not in known:
            raise ConfigError(name, expected=", ".join(known), got=value)


def uncertainty(probabilities: np.ndarray, measure: Measure = "margin") -> np.ndarray:
    """Uncertainty (n,) float64 of class probabilities (n, K), 0 or more.

    Examples
    --------
    >>> uncertainty(np.array([[1.0, 0.0], [0.5, 0.5]]), "margin").tolist()
    [0.0, 1.0]
    """
    check_rule(measure)
    p = probabilities.astype(np.float64)
    if measure == "random" or p.shape[1] < 2:
        return np.ones(len(p))
    if measure == "entropy":
        return -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1)
    best = np.partition(p, -2, axis=1)[:, -2:]
    return 1 - (best[:, 1] - best[:, 0])


def choose(
    uncertain: np.ndarray,
    features: np.ndarray,
    places: np.ndarray,
    count: int,
    *,
    diversity: Diversity = "kmeans++",
    min_distance: float = 3.0,
    labelled: np.ndarray | None = None,
    labelled_features: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Indices of the candidates to label, the first one first.

    Parameters
    ----------
    uncertain : ndarray, shape (n,)
        See `uncertainty`; equal values, as of "random", leave the choice to chance.
    features : ndarray, shape (n, F)
        In which candidates are alike or not.
    places : ndarray of int, shape (n, 2)
        Rows and columns.
    count : int
    diversity : {"kmeans++", "core-set", "none"}
        "none" takes the most uncertain ones.
    min_distance : float
        In pixels, to each other and to labelled pixels.
    labelled : ndarray of int, shape (m, 2), optional
        Pixels that have a label.
    labelled_features : ndarray, shape (m, F), optional

    Returns
    -------
    ndarray of int, shape (at most count,)
        Fewer where the least distance leaves no more.

    Raises
    ------
    ConfigError
    """
    check_rule(diversity=diversity)
    random = np.random.default_rng(seed)
    free = np.ones(len(places), bool)
    if labelled is not None and len(labelled):
        free = _apart(places, labelled, min_distance)
    if not free.any():
        return np.zeros(0, int)
    plain = bool(np.ptp(uncertain) == 0) if len(uncertain) else True
    # Equals in random order, so that no corner of the image is favoured.
    order = random.permutation(np.flatnonzero(free))
    if not plain:
        order = order[np.argsort(-uncertain[order], kind="stable")]
    if plain or diversity == "none":
        return _in_order(order, places, count, min_distance)
    pool = order[: max(LEAST_POOL * count, round(POOL * len(order)))]
    taken = _draw(
        uncertain[pool], _scaled(features[pool], labelled_features), places[pool], count,
        greedy=diversity == "core-set", min_distance=min_distance, random=random,
    )  # fmt: skip
    return pool[taken]


def _scaled(
    features: np.ndarray, labelled: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Features of equal spread, those of labelled pixels in the same units."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    known = None if labelled is None or not len(labelled) else (labelled - mean) / spread
    return (features - mean) / spread, known


def _draw(
    weights: np.ndarray,
    scaled: tuple[np.ndarray, np.ndarray | None],
    places: np.ndarray,
    count: int,
    *,
    greedy: bool,
    min_distance: float,
    random: np.random.Generator,
) -> np.ndarray:
    """k-means++ or farthest-first traversal of a pool, weighted by uncertainty."""
    features, known = scaled
    free = np.ones(len(places), bool)
    nearest = np.full(len(places), np.inf)
    for row in [] if known is None else known:
        nearest = np.minimum(nearest, np.square(features - row).sum(axis=1))
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        gain = weights * np.where(np.isfinite(nearest), nearest, 1.0) * free
        if not gain.sum() > 0:  # all that is left equals what is labelled
            gain = free.astype(np.float64)
        index = int(gain.argmax() if greedy else random.choice(len(gain), p=gain / gain.sum()))
        chosen.append(index)
        nearest = np.minimum(nearest, np.square(features - features[index]).sum(axis=1))
        free &= _apart(places, places[index : index + 1], min_distance)
        free[index] = False
    return np.array(chosen, np.int64)


def _in_order(order: np.ndarray, places: np.ndarray, count: int, min_distance: float) -> np.ndarray:
    chosen: list[int] = []
    for index in order.tolist():
        if len(chosen) == count:
            break
        if not chosen or _apart(places[index][None], places[chosen], min_distance)[0]:
            chosen.append(index)
    return np.array(chosen, np.int64)


def _apart(places: np.ndarray, others: np.ndarray, distance: float) -> np.ndarray:
    """Which places (n, 2) are at least so far from all of the others (m, 2); none is another."""
    from scipy.spatial import KDTree  # slow to load

    nearest, _ = KDTree(others).query(places, distance_upper_bound=max(distance, 1.0))
    apart: np.ndarray = nearest >= max(distance, 1.0)
    return apart
