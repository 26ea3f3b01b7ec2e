"""Forests and vector machines on features of pixels: fitted, scored out of fold, kept as ONNX.

A `Part` is a fitted scikit-learn classifier with scores (m, K) that a softmax at some temperature
makes probabilities (see `training.combination`): of forests the logarithm of their votes' shares
(extremely randomised trees: Geurts, Ernst and Wehenkel 2006, doi 10.1007/s10994-006-6226-1; random
forests: Breiman 2001, doi 10.1023/A:1010933404324), of machines their decision values. Classes that
a fold lacks get the least score.

A `PixelModel` is the same classifier as an ONNX graph. Whatever is kept predicts through it from
the beginning, so that a run and what is read back from its folder agree to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hyperpeft.baselines.onnx_forest import VOTE_FLOOR, forest_arrays, forest_graph, rebuilt_forest
from hyperpeft.baselines.onnx_graphs import FORMAT, operators, sizes
from hyperpeft.baselines.onnx_machine import machine_arrays, machine_graph, rebuilt_machine
from hyperpeft.errors import BundleError, ConfigError
from hyperpeft.system.files import replacing
from hyperpeft.system.memory import format_bytes

TREES = 300
FOLD_TREES = 60  # of a forest that only weighs a part: the weights are no finer
C = (1.0, 16.0, 256.0)
GAMMA = (1 / 16, 1 / 4, 1.0)  # over the number of features
BLOCK = 256  # pixels per call: always the same number, so that a pixel has the same last bits
LARGEST = 2**30  # bytes of a model; protobuf ends at twice that


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
        if hasattr(self.model, "predict_proba"):
            known = np.log(self.model.predict_proba(features) + VOTE_FLOOR)
            least = np.full((len(features), 1), np.log(VOTE_FLOOR))
        else:
            known = self.model.decision_function(features)
            if known.ndim == 1:  # of two classes, for the second
                known = np.stack([-known, known], axis=1)
            least = known.min(axis=1, keepdims=True) - 1
        out = np.repeat(least, self.classes, axis=1)
        out[:, self.model.classes_] = known
        return out

    def to_model(self) -> PixelModel:
        """The same classifier as ONNX; it has to know all classes."""
        return PixelModel.of(self.model, self.classes)


Fit = Callable[[np.ndarray, np.ndarray, int], Part]
"""From features (n, F), class indices (n,) and the number of classes to a part."""


def extra_trees(seed: int, trees: int = TREES, **options: Any) -> Fit:
    """Extremely randomised trees; by default leaves of one pixel and sqrt(F) features a branch."""

    def fit(features: np.ndarray, targets: np.ndarray, classes: int) -> Part:
        forest = ExtraTreesClassifier(trees, random_state=seed, **options)
        return Part(forest.fit(features, targets), classes)

    return fit


def random_forest(seed: int, trees: int = TREES, **options: Any) -> Fit:
    """A random forest."""

    def fit(features: np.ndarray, targets: np.ndarray, classes: int) -> Part:
        forest = RandomForestClassifier(trees, random_state=seed, **options)
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


@dataclass(frozen=True, eq=False)
class PixelModel:
    """A fitted classifier of pixels in ONNX.

    Attributes
    ----------
    content : bytes
        What is written to a file.
    features, classes : int
        F, K.
    """

    content: bytes
    features: int
    classes: int

    @classmethod
    def of(cls, model: Any, classes: int) -> PixelModel:
        """From a fitted forest, SVC, or pipeline of StandardScaler and SVC of scikit-learn.

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
        else:
            arrays = forest_arrays(last)
            if 32 * len(arrays["nodes_values"]) > LARGEST:  # bytes of a node, about
                raise ConfigError(
                    f"{len(last.estimators_)} trees on so many pixels are too large to be kept",
                    expected=f"at most {format_bytes(LARGEST)}",
                    hint="use fewer trees or training pixels",
                )
            graph = forest_graph(arrays, width, classes)
        return cls(graph.SerializeToString(deterministic=True), width, classes)

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(
            self.content, options, providers=["CPUExecutionProvider"]
        )

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores (n, K) float64 of features (n, F) float32, on as many threads as torch uses.

        Every call of the graph has `BLOCK` pixels, on one thread: the scores of a pixel depend on
        no other pixel and on no number of threads.
        """
        session = self._session

        def score(start: int) -> np.ndarray:
            block = features[start : start + BLOCK]
            full = np.zeros((BLOCK, self.features), np.float32)
            full[: len(block)] = block
            scores: np.ndarray = session.run(["scores"], {"features": full})[0]
            return scores[: len(block)]

        starts = range(0, len(features), BLOCK)
        threads = min(torch.get_num_threads(), len(starts))
        if threads <= 1:
            blocks = [score(start) for start in starts]
        else:
            with ThreadPoolExecutor(threads) as pool:
                blocks = list(pool.map(score, starts))
        return np.concatenate(blocks) if blocks else np.empty((0, self.classes))

    def digest(self) -> str:
        """Hash of the graph and of what executes it."""
        return hashlib.sha256(self.content + onnxruntime.__version__.encode()).hexdigest()

    def to_file(self, path: Path) -> None:
        """Write the ONNX file."""
        with replacing(path) as temporary:
            temporary.write_bytes(self.content)

    @classmethod
    def from_file(cls, path: Path) -> PixelModel:
        """Read what `to_file` wrote: its numbers are checked and the graph is built again.

        Raises
        ------
        BundleError
            For a file that is missing, damaged, too large, or another kind of graph.
        """
        try:
            size = path.stat().st_size
            if size > LARGEST:
                raise BundleError(f"{path}", expected=f"at most {LARGEST} bytes", got=size)
            graph = _graph_of(path.read_bytes())
            features, classes = sizes(graph)
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror})") from None
        except ValueError as error:
            why = " ".join(str(error).split())[:300]
            raise BundleError(f"{path} is not a classifier of pixels: {why}") from None
        return cls(graph.SerializeToString(deterministic=True), features, classes)

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelModel, (self.content, self.features, self.classes)


def _graph_of(content: bytes) -> onnx.ModelProto:
    """The graph that a file's numbers make, checked and built again; ValueError where none."""
    try:
        given = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ValueError(f"it is no ONNX file ({error})") from None
    metadata = {entry.key: entry.value for entry in given.metadata_props}
    rebuilt = {"forest": rebuilt_forest, "machine": rebuilt_machine}.get(metadata.get("kind", ""))
    if metadata.get("format") != FORMAT or rebuilt is None:
        got = f"{metadata.get('format')!r} of {metadata.get('kind')!r}"
        raise ValueError(f"expected {FORMAT!r}, got {got}")
    graph = rebuilt(given)
    if operators(graph) != operators(given):
        raise ValueError(f"expected a graph of {operators(graph)}, got {operators(given)}")
    return graph
