"""Parameters chosen by stratified cross-validation inside the training pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import Pipeline

MOST_PIXELS = 3000  # more than this tell two grid points apart no better, and cost their square


class Choice(NamedTuple):
    """What cross-validation chose.

    Attributes
    ----------
    parameters : dict
        Of the estimator, by the names of its grid.
    accuracy : float or None
        Mean over the folds in percent; None where there was nothing to hold out.
    folds, pixels : int
        0 folds where there was nothing to hold out.
    """

    parameters: dict[str, Any]
    accuracy: float | None
    folds: int
    pixels: int


def deal(ids: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal pixels into folds, class by class, so that no fold takes all of a class.

    Parameters
    ----------
    ids : ndarray of int, shape (n,)
    folds : int
    rng : Generator

    Returns
    -------
    ndarray of int, shape (n,)
        The fold that holds each pixel out; -1 for the one pixel of a class, which always trains.

    Examples
    --------
    >>> ids = np.array([1, 1, 1, 1, 2, 2, 3])
    >>> folds = deal(ids, 3, np.random.default_rng(0))
    >>> np.bincount(folds[ids == 1]).tolist(), int(folds[6])
    ([2, 1, 1], -1)
    """
    fold = np.full(len(ids), -1)
    start = 0  # the next class continues where the last one stopped: folds of equal sizes
    for i in np.unique(ids):
        members = rng.permutation(np.flatnonzero(ids == i))
        if len(members) > 1:
            fold[members] = (start + np.arange(len(members))) % folds
            start += len(members)
    return fold


def choose(
    estimator: Any,
    grid: dict[str, list[Any]],
    features: np.ndarray,
    ids: np.ndarray,
    *,
    folds: int,
    seed: int,
    otherwise: dict[str, Any],
    repeats: int = 1,
    scaler: Any = None,
) -> Choice:
    """Choose the grid point of the best mean accuracy; the first of equals.

    Parameters
    ----------
    estimator : scikit-learn estimator
        A clone of it is fitted for each grid point and fold.
    grid : dict of lists
        Simplest values first.
    features : ndarray, shape (n, F)
    ids : ndarray of int, shape (n,)
        Of at least two classes.
    folds : int
        At most the size of the largest class.
    seed : int
    otherwise : dict
        The choice where every class has a single pixel.
    repeats : int
        So many ways of dealing pixels into folds, averaged: with few pixels one way is noisy.
    scaler : scikit-learn transformer, optional
        Of the features, fitted in each fold to the pixels that train there.
    """
    rng = np.random.default_rng(seed)
    kept = _thinned(ids, rng)
    features, ids = features[kept], ids[kept]
    folds = min(folds, int(np.unique(ids, return_counts=True)[1].max()))
    if folds < 2:
        return Choice(otherwise, None, 0, len(ids))
    deals = [PredefinedSplit(deal(ids, folds, rng)) for _ in range(repeats)]
    if scaler is not None:
        estimator = Pipeline([("scaler", scaler), ("model", estimator)])
        grid = {f"model__{name}": values for name, values in grid.items()}
    search = GridSearchCV(
        estimator,
        grid,
        scoring="accuracy",
        cv=[pair for deal in deals for pair in deal.split()],
        refit=False,
        error_score="raise",
    )
    # The checks of every call would take longer than the fits of some hundred pixels.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        results = search.fit(features, ids).cv_results_
    # (folds, points); summed fold after fold, so that rounding never depends on the grid's size
    scores = np.stack([results[f"split{i}_test_score"] for i in range(search.n_splits_)])
    accuracy = scores.sum(axis=0) * (100 / len(scores))
    best = int(accuracy.argmax())
    parameters = {
        name.removeprefix("model__"): value for name, value in results["params"][best].items()
    }
    return Choice(parameters, float(accuracy[best]), folds, len(ids))


def _thinned(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of at most about MOST_PIXELS pixels, each class by its share but never below 5."""
    if len(ids) <= MOST_PIXELS:
        return np.arange(len(ids))
    kept = []
    for i in np.unique(ids):
        members = rng.permutation(np.flatnonzero(ids == i))
        kept.append(members[: max(5, round(len(members) * MOST_PIXELS / len(ids)))])
    return np.sort(np.concatenate(kept))
