"""Support vector machine and random forest (scikit-learn), on spectra and on surroundings.

On spectra, features are standardised by mean and deviation of the training pixels. "-pca": the
leading principal components of a pixel (whitened) and their means over the window around it.
Parameters are chosen by cross-validation inside the training pixels; validation and test pixels
are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hyperpeft.baselines import features
from hyperpeft.baselines.base import Fitted, Task, Watch
from hyperpeft.baselines.tuning import Choice, choose

C = [2.0**power for power in range(-2, 13, 2)]
GAMMA = [2.0**power for power in range(-6, 5, 2)]  # over the number of features
LEAF = [1, 2, 4]  # fewest pixels of a leaf
SHARE = ["sqrt", 1 / 3]  # of the features, tried at each branching of a tree
SVM_REPEATS = 3  # of the cross-validation; one partition of 120 pixels into folds is noisy
TUNED_TREES = 100  # enough to rank the grid
CHUNK = 8192  # pixels predicted at a time

Features = tuple[np.ndarray, Callable[[np.ndarray], Iterator[np.ndarray]], dict[str, Any]]
"""Of the training pixels (n, F); of any mask, in blocks; the reducer's section of the record."""


def svm(task: Task) -> Fitted:
    """Support vector machine with a Gaussian kernel on spectra."""
    return _svm(task, _spectral(task))


def svm_pca(task: Task) -> Fitted:
    """Support vector machine with a Gaussian kernel on components and their surroundings."""
    return _svm(task, _surrounded(task))


def forest(task: Task) -> Fitted:
    """Random forest on spectra."""
    return _forest(task, _spectral(task))


def forest_pca(task: Task) -> Fitted:
    """Random forest on components and their surroundings."""
    return _forest(task, _surrounded(task))


def _spectral(task: Task) -> Features:
    scene, train = task.scene, task.split.train
    section = dict.fromkeys(("kind", "pixels", "components", "explained_variance"))
    section |= {"normalise": "standardise", "fit_on": "train", "pixels": len(train)}
    return (
        features.spectra_at(scene, train),
        lambda where: features.spectra(scene, where),
        section,
    )


def _surrounded(task: Task) -> Features:
    scene, train = task.scene, task.split.train
    reduced, found = features.reduce(
        scene, task.options["components"], fit_on=task.fit_on, train=train
    )
    cube = features.with_means(reduced, scene.valid, task.patch_size)  # (2k, H, W)
    return (
        cube[:, train[:, 0], train[:, 1]].T,
        lambda where: iter([cube[:, where].T]),
        features.reducer_section(found, task.fit_on),
    )


def _svm(task: Task, seen: Features) -> Fitted:
    count = seen[0].shape[1]
    grid = {"C": C, "gamma": [value / count for value in GAMMA]}
    otherwise = {"C": 2.0**6, "gamma": 1 / count}
    chosen = _chosen(SVC(), grid, task, seen, otherwise, SVM_REPEATS, StandardScaler())
    estimator = make_pipeline(StandardScaler(), SVC(**chosen.parameters))
    estimator.fit(seen[0], task.split.train_ids)
    return _fitted(estimator, chosen, seen, support_vectors=len(estimator[-1].support_))


def _forest(task: Task, seen: Features) -> Fitted:
    grid: dict[str, list[Any]] = {"min_samples_leaf": LEAF, "max_features": SHARE}
    estimator = RandomForestClassifier(TUNED_TREES, random_state=task.seed)
    otherwise = {"min_samples_leaf": 1, "max_features": "sqrt"}
    chosen = _chosen(estimator, grid, task, seen, otherwise)
    trees = task.options["trees"]
    estimator.set_params(n_estimators=trees, **chosen.parameters)
    estimator.fit(seen[0], task.split.train_ids)
    return _fitted(estimator, chosen, seen, trees=trees)


def _chosen(
    estimator: Any,
    grid: dict[str, list[Any]],
    task: Task,
    seen: Features,
    otherwise: dict[str, Any],
    repeats: int = 1,
    scaler: Any = None,
) -> Choice:
    return choose(
        estimator,
        grid,
        seen[0],
        task.split.train_ids,
        folds=task.options["folds"],
        seed=task.seed,
        otherwise=otherwise,
        repeats=repeats,
        scaler=scaler,
    )


def _fitted(estimator: Any, chosen: Choice, seen: Features, **sizes: int) -> Fitted:
    def predict(where: np.ndarray, watch: Watch | None) -> np.ndarray:
        total, done = int(where.sum()), 0
        ids = np.empty(total, np.int32)
        for block in seen[1](where):
            for start in range(0, len(block), CHUNK):
                part = block[start : start + CHUNK]
                ids[done : done + len(part)] = estimator.predict(part)
                done += len(part)
                if watch is not None:
                    watch(done, total)
        return ids

    about = {
        "features": seen[0].shape[1],
        **chosen.parameters,
        **sizes,
        "tuning": {
            "folds": chosen.folds,
            "pixels": chosen.pixels,
            "accuracy": chosen.accuracy,
        },
        "library": f"scikit-learn {sklearn.__version__}",
    }
    return Fitted(predict, about, seen[2], samples=len(seen[0]))
