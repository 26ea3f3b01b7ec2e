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

from typing import Any

import numpy as np
import sklearn
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hyperpeft import spectral
from hyperpeft.baselines import features
from hyperpeft.baselines.base import Fitted, Task
from hyperpeft.baselines.grid_search import Choice, choose
from hyperpeft.baselines.pixel_models import new_discriminant, pixel_model_of
from hyperpeft.mapping import (
    ContextFeatures,
    PixelFeatures,
    PixelPredictor,
    RandomPatchFeatures,
    features_at,
)
from hyperpeft.spatial import CONTEXT, PROFILE, ContextOptions, RandomPatches

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
    """Linear discriminant analysis of spectra; the shrinkage of its covariance is computed."""
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
    return _machine(task, seen, features.section_of(reducer))


Seen = tuple[PixelFeatures, dict[str, Any]]
"""Features, and the reducer's section of the record."""


def _spectra(task: Task) -> Seen:
    section = dict.fromkeys(("kind", "pixels", "components", "explained_variance"))
    section |= {"normalise": "standardise", "fit_on": "train", "pixels": len(task.split.train)}
    return features.centred(task.scene, task.split.train), section


def _surroundings(task: Task) -> Seen:
    found = spectral.principal_components(
        task.scene, task.options["components"], fit_on=task.fit_on, train=task.split.train
    )
    seen = features.components(found, task.patch_size // 2, task.scene)
    return seen, features.reducer_section(found, task.fit_on)


def _context(task: Task, options: ContextOptions, components: int | None = None) -> Seen:
    reducer = _reducer(task, "sqrt")
    where = task.scene.valid
    if task.fit_on == "train":
        where = np.zeros_like(where)
        where[tuple(task.split.train.T)] = True
    components = None if components is None else min(components, spectral.N_BANDS)
    seen = ContextFeatures.fit(task.scene, reducer, options, components, where)
    return seen, features.section_of(reducer)


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
