"""Calibrated combination of classifiers from the scores of pixels that each was fitted without.

Each part gives scores of the classes; a softmax at one temperature for the part makes them
probabilities p_m. The combination is their mixture,

    p = sum_m w_m p_m,        w on the simplex,

with the weights that maximise the likelihood of the left-out pixels, a concave problem that
expectation maximisation solves; a Dirichlet prior draws them to the uniform weights (stacking of
predictive distributions: Yao et al. 2018, doi 10.1214/17-BA1091; temperature: Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

FACTORS = np.logspace(-1.5, 2, 71)  # of scores, tried as inverse temperatures
FLOOR = 1e-3  # least probability in a likelihood: one confident mistake must not decide alone
PRIOR = 0.1  # of the left-out pixels: pseudo-pixels that speak for each part alike
ROUNDS = 200


def temperature_factor(
    scores: np.ndarray,
    targets: np.ndarray,
    pixel_weights: np.ndarray | None = None,
    smoothing: float = 0.0,
) -> float:
    """The factor with which scores (m, K) as logits have the least cross-entropy.

    Parameters
    ----------
    scores : ndarray, shape (m, K)
        Of pixels that the part was fitted without.
    targets : ndarray of int, shape (m,)
    pixel_weights : ndarray, shape (m,), optional
    smoothing : float
        Share of a label that is spread over all classes.

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
        own = _floored(np.exp(logs[rows, targets]))
        spread = logs.mean(axis=1) if smoothing else 0.0
        losses.append(-(weights * ((1 - smoothing) * own + smoothing * spread)).sum())
    return float(FACTORS[int(np.argmin(losses))])


def mixture_weights(
    likelihoods: np.ndarray, pixel_weights: np.ndarray | None = None, prior: float = PRIOR
) -> np.ndarray:
    """Weights (M,) that maximise the likelihood of the mixture.

    Parameters
    ----------
    likelihoods : ndarray, shape (M, m)
        The probability that each part gives to the class of each left-out pixel.
    pixel_weights : ndarray, shape (m,), optional
        How much each pixel counts; they make the kinds of folds count alike.
    prior : float
        0 lets the likelihood decide alone, large values give uniform weights.

    Returns
    -------
    ndarray, shape (M,)
        Uniform where there is no pixel.

    Examples
    --------
    >>> better, worse = np.full(100, 0.9), np.full(100, 0.3)
    >>> mixture_weights(np.stack([better, worse]), prior=0.0).round(2).tolist()
    [1.0, 0.0]
    >>> mixture_weights(np.stack([better, worse]), prior=1e6).round(2).tolist()
    [0.5, 0.5]
    """
    parts, count = likelihoods.shape
    weights = np.full(parts, 1 / parts)
    if not count:
        return weights
    share = np.ones(count) if pixel_weights is None else pixel_weights
    share = share / share.sum()
    p = np.maximum(likelihoods, FLOOR)
    for _ in range(ROUNDS):
        joint = weights[:, None] * p
        owed = (joint / joint.sum(axis=0)) @ share  # (M,)
        weights = (owed + prior / parts) / (1 + prior)
    return weights


def combine(
    scores: Sequence[np.ndarray], factors: Sequence[float], weights: Sequence[float]
) -> np.ndarray:
    """Probabilities of the mixture, of scores with the classes along the last axis."""
    total = 0.0
    for values, factor, weight in zip(scores, factors, weights, strict=True):
        total = total + weight * np.exp(log_softmax(values * factor, axis=-1))
    return np.asarray(total)


def _floored(likelihood: np.ndarray) -> np.ndarray:
    """Log-likelihoods no worse than that of the floor."""
    return np.log(np.maximum(likelihood, FLOOR))
