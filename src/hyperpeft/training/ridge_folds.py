"""Ridge heads without fits for each fold: scores of pixels when any set of pixels is left out.

For centred features X (n, D), class indicators Y (n, K), G = X X^T and mu = strength * trace(G) / n
the smoother of the training pixels, its free intercept included, is

    H = 1 1^T / n + G (G + mu I)^-1 = I + 1 1^T / n - mu (G + mu I)^-1

and for any set S of pixels the fit to the others misses those of S by

    Y_S - F_S = (I - H_SS)^-1 (Y - H Y)_S

exactly, with mu kept (Cook and Weisberg 1982, section 3.5; one pixel: Golub, Heath and Wahba 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Smoother(NamedTuple):
    """What a ridge head says of its own training pixels.

    Attributes
    ----------
    free : ndarray of float64, shape (n, n)
        I - H.
    residuals : ndarray of float64, shape (n, K)
        Indicators less the fit to all pixels.
    indicators : ndarray of float64, shape (n, K)
    """

    free: np.ndarray
    residuals: np.ndarray
    indicators: np.ndarray


def smoother(features: np.ndarray, targets: np.ndarray, classes: int, strength: float) -> Smoother:
    """The smoother of a ridge head on class indicators.

    Parameters
    ----------
    features : ndarray, shape (n, D)
    targets : ndarray of int, shape (n,)
        0 to `classes` - 1.
    classes : int
        K.
    strength : float
        Of the shrinkage, relative to the features' mean square.
    """
    n = len(features)
    indicators = np.eye(classes)[targets]  # (n, K)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    gram = centred @ centred.T  # (n, n)
    mu = strength * np.trace(gram) / n + 1e-12
    free = mu * np.linalg.inv(gram + mu * np.eye(n)) - 1 / n
    return Smoother(free, free @ indicators, indicators)


def leave_out(fitted: Smoother, held: np.ndarray, train: np.ndarray | None = None) -> np.ndarray:
    """Scores of held-out pixels by the head fitted to the pixels that train.

    Parameters
    ----------
    fitted : Smoother
    held : ndarray of int, shape (h,)
        Pixels to score; not among those that train.
    train : ndarray of int, optional
        What trains; every other pixel is left out, scored or not. By default all but `held`.

    Returns
    -------
    ndarray of float64, shape (h, K)
        Near 1 for the class and near 0 for the others.

    Examples
    --------
    Equal to the head that is fitted without them:

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(20, 5)), np.arange(20) % 2
    >>> out = leave_out(smoother(x, y, 2, 0.1), np.array([3, 7, 11]))
    >>> rest = np.setdiff1d(np.arange(20), [3, 7, 11])
    >>> mu = 0.1 * np.square(x - x.mean(0)).sum() / 20
    >>> a, b, mean = x[rest] - x[rest].mean(0), np.eye(2)[y[rest]], np.eye(2)[y[rest]].mean(0)
    >>> weight = np.linalg.solve(a.T @ a + mu * np.eye(5), a.T @ (b - mean))
    >>> np.allclose(out, (x[[3, 7, 11]] - x[rest].mean(0)) @ weight + mean)
    True
    """
    n = len(fitted.indicators)
    gone = held
    if train is not None:
        gone = np.concatenate([held, np.setdiff1d(np.arange(n), np.union1d(held, train))])
    system = fitted.free[np.ix_(gone, gone)]
    missed = np.linalg.solve(system, fitted.residuals[gone])[: len(held)]
    return fitted.indicators[held] - missed


def left_out_scores(
    fitted: Smoother, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """`leave_out` of each fold (train, held): one array (h, K) a fold."""
    return [leave_out(fitted, held, train) for train, held in folds]
