"""Support vector machines, forests and a discriminant (scikit-learn) on features of the pixels.

    svm, rf, lda     the spectrum, standardised by the training pixels but for the forest
    svm-pca, rf-pca  whitened principal components, and their means over the window
    trees            components, means and a filtered copy that respects edges; randomised trees
    emp              components, openings and closings (extended morphological profile); the same
    rpnet            components, and maps of a random patches network; a machine

Parameters are chosen by cross-validation inside the training pixels, the discriminant's shrinkage
by its formula; validation and test pixels are not looked at. What is fitted is kept as ONNX and
predicts through it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn import config_context
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hyperpeft import spectral
from hyperpeft.baselines import features
from hyperpeft.baselines.base import Fitted, Task
from hyperpeft.baselines.pixel_models import (
    enough_for_discriminant,
    new_discriminant,
    pixel_model_of,
)
from hyperpeft.errors import ConfigError
from hyperpeft.mapping import (
    ContextFeatures,
    PixelFeatures,
    PixelPredictor,
    RandomPatchFeatures,
    features_at,
)
from hyperpeft.spatial import CONTEXT, PROFILE, ContextOptions, RandomPatches

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


C = [2.0**power for power in range(-2, 13, 2)]
GAMMA = [2.0**power for power in range(-6, 5, 2)]  # over the number of features
LEAF = [1, 2, 4]  # fewest pixels of a leaf
SHARE = ["sqrt", 1 / 3]  # of the features, tried at each branching of a tree
SVM_REPEATS = 3  # of the cross-validation; one partition of 120 pixels into folds is noisy
TUNED_TREES = 100  # enough to rank the grid


def svm(task: Task) -> Fitted:
    """Support vector machine with a Gaussian kernel on spectra."""
    return _machine(task, *_spectra(task))


def discriminant(task: Task) -> Fitted:
    """Linear discriminant analysis of spectra; the shrinkage of its covariance is computed.

    Raises
    ------
    ConfigError
        There are no more training pixels than classes.
    """
    if not enough_for_discriminant(task.split.train_ids):
        raise ConfigError(
            "lda needs more training pixels than classes",
            expected=f"more than {len(np.unique(task.split.train_ids))}",
            got=len(task.split.train_ids),
            hint="label a second pixel of a class, or choose another method, such as svm",
        )
    seen, section = _spectra(task)
    x = features_at(task.scene, seen, task.split.train)
    chosen = Choice({"shrinkage": "auto"}, None, 0, len(x))
    return _fitted(task, new_discriminant(), chosen, seen, x, section)


def svm_pca(task: Task) -> Fitted:
    """Support vector machine with a Gaussian kernel on components and their surroundings."""
    return _machine(task, *_surroundings(task))


def forest(task: Task) -> Fitted:
    """Random forest on spectra."""
    return _forest(RandomForestClassifier, task, *_spectra(task))


def forest_pca(task: Task) -> Fitted:
    """Random forest on components and their surroundings."""
    return _forest(RandomForestClassifier, task, *_surroundings(task))


def trees(task: Task) -> Fitted:
    """Extremely randomised trees on context that respects edges."""
    return _forest(ExtraTreesClassifier, task, *_context(task, CONTEXT))


def morphological_profiles(task: Task) -> Fitted:
    """Extremely randomised trees on an extended morphological profile."""
    return _forest(ExtraTreesClassifier, task, *_context(task, PROFILE, task.options["components"]))


def random_patches(task: Task) -> Fitted:
    """Support vector machine on the maps of a random patches network, which sees the scene."""
    reducer = _reducer(task, "zscore")
    network = RandomPatches.fit(
        reducer.reduce(task.scene),
        task.scene.valid,
        task.seed,
        task.options["layers"],
        task.options["patches"],
    )
    seen = RandomPatchFeatures(reducer, network)
    return _machine(task, seen, features.reducer_section(reducer))


Seen = tuple[PixelFeatures, dict[str, Any]]
"""Features, and the reducer's section of the record."""


def _spectra(task: Task) -> Seen:
    section = features.unreduced_section("standardise", "train", len(task.split.train))
    return features.centred(task.scene, task.split.train), section


def _surroundings(task: Task) -> Seen:
    found = spectral.principal_components(
        task.scene, task.options["components"], fit_on=task.fit_on, train=task.split.train
    )
    seen = features.components(found, task.patch_size // 2, task.scene)
    return seen, features.components_section(found, task.fit_on)


def _context(task: Task, options: ContextOptions, components: int | None = None) -> Seen:
    reducer = _reducer(task, "sqrt")
    where = spectral.fitted_pixels(task.scene, task.fit_on, task.split.train)
    components = None if components is None else min(components, spectral.N_BANDS)
    seen = ContextFeatures.fit(task.scene, reducer, options, components, where)
    return seen, features.reducer_section(reducer)


def _reducer(task: Task, normalise: str) -> spectral.Reducer:
    return spectral.fit(task.scene, normalise=normalise, fit_on=task.fit_on, train=task.split.train)


def _machine(task: Task, seen: PixelFeatures, section: dict[str, Any]) -> Fitted:
    x = features_at(task.scene, seen, task.split.train)
    grid = {"C": C, "gamma": [value / x.shape[1] for value in GAMMA]}
    otherwise = {"C": 2.0**6, "gamma": 1 / x.shape[1]}
    chosen = _chosen(SVC(), grid, task, x, otherwise, SVM_REPEATS, StandardScaler())
    estimator = make_pipeline(StandardScaler(), SVC(**chosen.parameters))
    return _fitted(task, estimator, chosen, seen, x, section)


def _forest(kind: Any, task: Task, seen: PixelFeatures, section: dict[str, Any]) -> Fitted:
    x = features_at(task.scene, seen, task.split.train)
    grid: dict[str, list[Any]] = {"min_samples_leaf": LEAF, "max_features": SHARE}
    estimator = kind(TUNED_TREES, random_state=task.seed)
    otherwise = {"min_samples_leaf": 1, "max_features": "sqrt"}
    chosen = _chosen(estimator, grid, task, x, otherwise)
    count = task.options["trees"]
    estimator.set_params(n_estimators=count, **chosen.parameters)
    return _fitted(task, estimator, chosen, seen, x, section, trees=count)


def _chosen(
    estimator: Any,
    grid: dict[str, list[Any]],
    task: Task,
    x: np.ndarray,
    otherwise: dict[str, Any],
    repeats: int = 1,
    scaler: Any = None,
) -> Choice:
    return choose(
        estimator,
        grid,
        x,
        task.split.train_ids,
        folds=task.options["folds"],
        seed=task.seed,
        otherwise=otherwise,
        repeats=repeats,
        scaler=scaler,
    )


def _fitted(
    task: Task,
    estimator: Any,
    chosen: Choice,
    seen: PixelFeatures,
    x: np.ndarray,
    section: dict[str, Any],
    **sizes: int,
) -> Fitted:
    ids, targets = np.unique(task.split.train_ids, return_inverse=True)
    estimator.fit(x, targets)
    model = pixel_model_of(estimator, len(ids))
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], SVC):
        sizes = {"support_vectors": len(estimator[-1].support_)}
    about = {
        "features": x.shape[1],
        **chosen.parameters,
        **sizes,
        "tuning": {"folds": chosen.folds, "pixels": chosen.pixels, "accuracy": chosen.accuracy},
        "library": f"scikit-learn {sklearn.__version__}",
    }
    predictor = PixelPredictor(seen, model, ids.astype(np.int32))
    return Fitted(predictor, about, section, samples=len(x))
