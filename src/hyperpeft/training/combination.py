"""Calibrated combination of classifiers from the scores of pixels that each was fitted without.

Each part gives scores of the classes; a softmax at one temperature for the part makes them
probabilities p_m (temperature: Guo et al. 2017). The combination is their logarithmic pool

    log p = sum_m w_m log p_m - log Z,        w_m >= 0,

with the weights that maximise the likelihood of the left-out pixels. That is a concave problem: a
multinomial regression with one coefficient a part (Heskes 1998, "Selecting weighting factors in
logarithmic opinion pools"). A quadratic prior draws the weights to 1 / M, the geometric mean.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

FACTORS = np.logspace(-1.5, 2, 71)  # of scores, tried as inverse temperatures
FLOOR = 1e-3  # least probability in a likelihood: one confident mistake must not decide alone
PRIOR = 10.0  # pixels whose evidence the prior outweighs


def temperature_factor(
    scores: np.ndarray,
    targets: np.ndarray,
    pixel_weights: np.ndarray | None = None,
) -> float:
    """The factor with which scores (m, K) as logits have the least cross-entropy.

    Parameters
    ----------
    scores : ndarray, shape (m, K)
        Of pixels that the part was fitted without.
    targets : ndarray of int, shape (m,)
    pixel_weights : ndarray, shape (m,), optional

    Returns
    -------
    float
        The inverse temperature, of `FACTORS`; 1.0 where there is no pixel.
    """
    if not len(targets):
        return 1.0
    rows = np.arange(len(targets))
    weights = np.ones(len(targets)) if pixel_weights is None else pixel_weights
    losses = []
    for factor in FACTORS:
        logs = log_softmax(scores * factor, axis=1)
        own = np.log(np.maximum(np.exp(logs[rows, targets]), FLOOR))
        losses.append(-(weights * own).sum())
    return float(FACTORS[int(np.argmin(losses))])


def pool_weights(
    scores: np.ndarray,
    targets: np.ndarray,
    pixel_weights: np.ndarray | None = None,
    pixels: int | None = None,
    prior: float = PRIOR,
) -> np.ndarray:
    """Weights (M,) that maximise the likelihood of the logarithmic pool.

    Parameters
    ----------
    scores : ndarray, shape (M, m, K)
        Of each part, times its inverse temperature, for left-out pixels.
    targets : ndarray of int, shape (m,)
    pixel_weights : ndarray, shape (m,), optional
        How much each counts; they make the kinds of folds count alike.
    pixels : int, optional
        How many different pixels these are, where one is there several times.
    prior : float
        Against so many pixels the prior counts as much as the likelihood; 0 for none.

    Returns
    -------
    ndarray, shape (M,)
        Not below 0; they need not sum to 1. 1 / M where there is no pixel.

    Examples
    --------
    >>> truth = np.arange(100) % 2
    >>> knows, guesses = 3.0 * np.eye(2)[truth], np.eye(2)[truth // 2 % 2]
    >>> knows[:5] = -knows[:5]
    >>> pool_weights(np.stack([knows, guesses]), truth, prior=0.0).round(2).tolist()
    [0.99, 0.19]
    >>> pool_weights(np.stack([knows, guesses]), truth, prior=1e9).round(2).tolist()
    [0.5, 0.5]
    """
    parts, count = scores.shape[:2]
    start = np.full(parts, 1 / parts)
    if not count:
        return start
    share = np.ones(count) if pixel_weights is None else pixel_weights
    share, strength = share / share.sum(), prior * parts / (pixels or count)
    logs, rows = log_softmax(scores, axis=2), np.arange(count)
    own = logs[:, rows, targets]  # (M, m)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        pooled = log_softmax(np.tensordot(weights, logs, 1), axis=1)  # (m, K)
        p = np.exp(pooled)
        mine = p[rows, targets]
        moved = share * (mine > FLOOR)
        slope = (np.einsum("nk,mnk->mn", p, logs) - own) @ moved
        off = weights - start
        value = -float(share @ np.log(np.maximum(mine, FLOOR))) + strength * float(off @ off)
        return value, slope + 2 * strength * off

    found = minimize(loss, start, jac=True, bounds=[(0, None)] * parts, method="L-BFGS-B")
    return np.asarray(found.x, np.float64) if found.x.any() else start
