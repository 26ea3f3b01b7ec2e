"""Forests and vector machines on features of pixels: fitted, scored out of fold, kept as ONNX.

A `Part` is a fitted scikit-learn classifier with scores (m, K) that a softmax at some temperature
makes probabilities (see `training.combination`): of forests the logarithm of their votes' shares
(extremely randomised trees: Geurts, Ernst and Wehenkel 2006, doi 10.1007/s10994-006-6226-1; random
forests: Breiman 2001, doi 10.1023/A:1010933404324), of machines and discriminants (a common
covariance that is shrunk: Ledoit and Wolf 2004, doi 10.1016/S0047-259X(03)00096-4) their decision
values, halved for a discriminant of two classes. Classes that a fold lacks get the least score.

A `pixel_model.PixelModel` is the same classifier as an ONNX graph. Whatever is kept predicts
through it from the beginning, so that a run and what is read back from its folder agree to the bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hyperpeft.baselines.onnx_models import (
    HALVES,
    VOTE_FLOOR,
    forest_arrays,
    forest_graph,
    linear_arrays,
    linear_graph,
    machine_arrays,
    machine_graph,
)
from hyperpeft.baselines.pixel_model import LARGEST, PixelModel
from hyperpeft.errors import ConfigError
from hyperpeft.system.resources import format_bytes

TREES = 300
FOLD_TREES = 60  # of a forest that only weighs a part: the weights are no finer
C = (1.0, 16.0, 256.0)
GAMMA = (1 / 16, 1 / 4, 1.0)  # over the number of features


class Part(NamedTuple):
    """A fitted classifier of pixels.

    Attributes
    ----------
    model : scikit-learn estimator
        Fitted to class indices.
    classes : int
        K, some of which the fitted pixels may lack.
    """

    model: Any
    classes: int

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores (m, K) of features (m, F)."""
        if not hasattr(self.model, "decision_function"):
            known = np.log(self.model.predict_proba(features) + VOTE_FLOOR)
            least = np.full((len(features), 1), np.log(VOTE_FLOOR))
        else:
            known = self.model.decision_function(features.astype(np.float64))
            if known.ndim == 1:  # of two classes, for the second
                last = self.model[-1] if isinstance(self.model, Pipeline) else self.model
                logits = isinstance(last, LinearDiscriminantAnalysis)
                known = known[:, None] * (HALVES if logits else (-1.0, 1.0))
            least = known.min(axis=1, keepdims=True) - 1
        out = np.repeat(least, self.classes, axis=1)
        out[:, self.model.classes_] = known
        return out

    def to_model(self) -> PixelModel:
        """The same classifier as ONNX; it has to know all classes."""
        return pixel_model_of(self.model, self.classes)


Fit = Callable[[np.ndarray, np.ndarray, int], Part]
"""From features (n, F), class indices (n,) and the number of classes to a part."""


def extra_trees(seed: int, trees: int = TREES, **options: Any) -> Fit:
    """Extremely randomised trees; by default leaves of one pixel and sqrt(F) features a branch."""

    def fit(features: np.ndarray, targets: np.ndarray, classes: int) -> Part:
        forest = ExtraTreesClassifier(trees, random_state=seed, **options)
        return Part(forest.fit(features, targets), classes)

    return fit


def vector_machine(c: float, gamma: float) -> Fit:
    """A Gaussian support vector machine on standardised features; gamma over their number."""

    def fit(features: np.ndarray, targets: np.ndarray, classes: int) -> Part:
        machine = SVC(C=c, gamma=gamma / features.shape[1])
        one_class = len(np.unique(targets)) < 2  # of a fold; a machine needs two
        model = DummyClassifier() if one_class else make_pipeline(StandardScaler(), machine)
        return Part(model.fit(features, targets), classes)

    return fit


def discriminant(features: np.ndarray, targets: np.ndarray, classes: int) -> Part:
    """Linear discriminant analysis of standardised features with a shrunk covariance."""
    enough = enough_for_discriminant(targets)  # in a fold
    model = new_discriminant() if enough else DummyClassifier()
    return Part(model.fit(features, targets), classes)


def enough_for_discriminant(targets: np.ndarray) -> bool:
    """Whether there are two classes at least, and more pixels (n,) than classes."""
    return 1 < len(np.unique(targets)) < len(targets)


def new_discriminant() -> Pipeline:
    """Not fitted; how much the covariance is shrunk follows from the pixels."""
    return make_pipeline(StandardScaler(), _Discriminant(solver="lsqr", shrinkage="auto"))


class _Discriminant(LinearDiscriminantAnalysis):  # type: ignore[misc]  # untyped library
    """It says nothing of a class of one pixel, which adds nothing to the covariance."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> _Discriminant:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Only one sample available")
            super().fit(x, y)
        return self


def tuned_machine(
    features: np.ndarray,
    targets: np.ndarray,
    classes: int,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
) -> Fit:
    """The vector machine of the grid that names most held-out pixels; the first of equals."""
    grid = [vector_machine(c, gamma) for c in C for gamma in GAMMA]
    if not folds:
        return vector_machine(16.0, 1 / 4)
    truth = np.concatenate([targets[held] for _, held in folds])
    hits = [
        np.count_nonzero(
            np.concatenate(out_of_fold(fit, features, targets, classes, folds)).argmax(1) == truth
        )
        for fit in grid
    ]
    return grid[int(np.argmax(hits))]


def out_of_fold(
    fit: Fit,
    features: np.ndarray,
    targets: np.ndarray,
    classes: int,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
) -> list[np.ndarray]:
    """Scores (h, K) of the held-out pixels of each fold (train, held)."""
    return [
        fit(features[train], targets[train], classes).scores(features[held])
        for train, held in folds
    ]


def pixel_model_of(model: Any, classes: int) -> PixelModel:
    """The ONNX graph of a fitted classifier of scikit-learn.

    Parameters
    ----------
    model : RandomForestClassifier, ExtraTreesClassifier, SVC or Pipeline
        The pipeline is a StandardScaler, and SVC or LinearDiscriminantAnalysis.
    classes : int

    Raises
    ------
    ConfigError
        For a forest of more than 1 GiB.
    """
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    last, width = steps[-1], int(model.n_features_in_)
    assert np.array_equal(last.classes_, np.arange(classes)), "a class that was not fitted"
    if isinstance(last, SVC):
        scaler = steps[0] if len(steps) > 1 else None
        graph = machine_graph(machine_arrays(last, scaler))
    elif isinstance(last, LinearDiscriminantAnalysis):
        graph = linear_graph(linear_arrays(last, steps[0]))
    else:
        arrays = forest_arrays(last)
        if 32 * len(arrays["nodes_values"]) > LARGEST:  # bytes of a node, about
            raise ConfigError(
                f"{len(last.estimators_)} trees on so many pixels are too large to be kept",
                expected=f"at most {format_bytes(LARGEST)}",
                hint="use fewer trees or training pixels",
            )
        graph = forest_graph(arrays, width, classes)
    return PixelModel(graph.SerializeToString(deterministic=True), width, classes)
