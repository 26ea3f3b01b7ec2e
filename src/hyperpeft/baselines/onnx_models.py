"""Forests, linear classifiers and Gaussian vector machines as ONNX graphs, and their numbers back.

A forest:

    TreeEnsembleClassifier -> votes (n, K); scores = log(votes / trees + 0.01)

Votes are sums of exact float32 numbers where leaves are pure, and the rest is float64, so scores
are those of scikit-learn to rounding.

A linear classifier, in float64:

    z = (x - mean) / scale;   scores = z W + b

whose softmax is the classifier's probabilities; of two classes [-d/2, d/2], d their log-odds.

A Gaussian vector machine, in float64:

    z = (x - mean) / scale;   k = exp(-gamma |z - v|^2);   d = k C + b for each pair of classes
    scores = pairs won + s / (3 (|s| + 1)),   s = a class's sum of d

as scikit-learn's `decision_function_shape="ovr"`; of two classes [-d, d].
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import onnx
from onnx import helper

from hyperpeft.models.graphs.frame import ML, Arrays, doubles, make_model, node, sizes

HALVES = (-0.5, 0.5)  # of the log-odds of two classes: their difference is the whole
VOTE_FLOOR = 0.01  # added to the share of votes before the logarithm
DEEPEST = 4096  # levels of a tree; ONNX Runtime builds trees by recursion
_WHOLE = ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_truenodeids",
          "nodes_falsenodeids", "class_treeids", "class_nodeids", "class_ids")  # fmt: skip
_REAL = ("nodes_values", "class_weights")


def forest_arrays(forest: Any) -> dict[str, np.ndarray]:
    """Numbers of a fitted forest of scikit-learn, by the attributes of TreeEnsembleClassifier.

    Leaves name the classes that they hold alone, with their shares as weights.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*_WHOLE, *_REAL)}
    for number, estimator in enumerate(forest.estimators_):
        tree = estimator.tree_
        ids = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        shares = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
        leaves, classes = np.nonzero(shares * leaf[:, None])
        values = {
            "nodes_treeids": np.full(len(ids), number),
            "nodes_nodeids": ids,
            "nodes_featureids": np.where(leaf, 0, tree.feature),
            "nodes_values": np.where(leaf, np.float32(0), _below(tree.threshold)),
            "nodes_truenodeids": np.where(leaf, 0, tree.children_left),
            "nodes_falsenodeids": np.where(leaf, 0, tree.children_right),
            "class_treeids": np.full(len(leaves), number),
            "class_nodeids": leaves,
            "class_ids": classes,
            "class_weights": shares[leaves, classes].astype(np.float32),
        }
        for name, value in values.items():
            parts[name].append(value)
    return {name: np.concatenate(value) for name, value in parts.items()}


def forest_graph(arrays: Arrays, features: int, classes: int) -> onnx.ModelProto:
    """The graph of a forest."""
    kinds = onnx.AttributeProto
    forest = onnx.NodeProto(
        op_type="TreeEnsembleClassifier", domain=ML, input=["features"], output=["label", "votes"]
    )
    for name in _WHOLE:
        forest.attribute.add(name=name, type=kinds.INTS).ints.extend(arrays[name].tolist())
    for name in _REAL:
        forest.attribute.add(name=name, type=kinds.FLOATS).floats.extend(arrays[name].tolist())
    modes = [b"BRANCH_LEQ" if branch else b"LEAF" for branch in _branches(arrays).tolist()]
    forest.attribute.add(name="nodes_modes", type=kinds.STRINGS).strings.extend(modes)
    labels = helper.make_attribute("classlabels_int64s", list(range(max(classes, 3))))
    forest.attribute.extend([labels, helper.make_attribute("post_transform", "NONE")])
    trees = float(arrays["nodes_treeids"].max() + 1)
    nodes = [
        forest,
        node("Cast", ["votes"], "sums"),
        node("MatMul", ["sums", "known"], "counts"),
        node("Div", ["counts", "trees"], "shares"),
        node("Add", ["shares", "floor"], "raised"),
        node("Log", ["raised"], "scores"),
    ]
    constants = {
        "trees": np.array(trees),
        "floor": np.array(VOTE_FLOOR),
        # Of two classes ONNX Runtime would make one, with other rules: a third has no votes.
        "known": np.eye(max(classes, 3), classes),
    }
    return make_model("forest", nodes, constants, features, classes)


def rebuilt_forest(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph that the numbers of a file make; ValueError where they make none.

    They must be trees: every walk from a root ends at a leaf that has weights.
    """
    features, classes = sizes(model)
    arrays = _numbers(model)
    for name, limit in (("nodes_featureids", features), ("class_ids", classes)):
        if (arrays[name] < 0).any() or (arrays[name] >= limit).any():
            raise ValueError(f"{name}: expected 0 to {limit - 1}")
    starts = np.flatnonzero(arrays["nodes_nodeids"] == 0)
    _check_trees(arrays, starts)
    _check_leaves(arrays, starts)
    return forest_graph(arrays, features, classes)


def _numbers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The arrays of the only forest in a model, finite and of equal lengths."""
    forests = [n for n in model.graph.node if n.op_type == "TreeEnsembleClassifier"]
    given = {a.name: a for forest in forests for a in forest.attribute}
    arrays = {name: np.array(given[name].ints, np.int64) for name in _WHOLE if name in given}
    arrays |= {name: np.array(given[name].floats, np.float32) for name in _REAL if name in given}
    lacking = [name for name in (*_WHOLE, *_REAL) if not arrays.get(name, np.empty(0)).size]
    if len(forests) != 1 or lacking:
        raise ValueError(f"{len(forests)} forests, without {lacking}")
    for what in ("nodes_", "class_"):
        lengths = {len(array) for name, array in arrays.items() if name.startswith(what)}
        if len(lengths) != 1:
            raise ValueError(f"lists of different lengths: {sorted(lengths)}")
    if not all(np.isfinite(arrays[name]).all() for name in _REAL):
        raise ValueError("numbers that are not finite")
    return arrays


def _check_trees(arrays: Arrays, starts: np.ndarray) -> None:
    """ValueError unless every node but the roots, at `starts`, has one parent before it."""
    tree, ids, branch = arrays["nodes_treeids"], arrays["nodes_nodeids"], _branches(arrays)
    numbers = np.arange(len(ids))
    root_of = starts[np.maximum(np.searchsorted(starts, numbers, side="right") - 1, 0)]
    if not len(starts) or (ids != numbers - root_of).any() or (starts[0] != 0):
        raise ValueError("nodes are not numbered tree after tree")
    if (tree != np.searchsorted(starts, numbers, side="right") - 1).any():
        raise ValueError("trees are not numbered one after the other")
    sizes_of = np.diff([*starts, len(ids)])[tree]
    sides = (arrays["nodes_truenodeids"], arrays["nodes_falsenodeids"])
    parents = np.zeros(len(ids), np.int64)
    for side in sides:
        child = side[branch]
        if (child <= ids[branch]).any() or (child >= sizes_of[branch]).any():
            raise ValueError("branches that lead back, or out of their tree")
        np.add.at(parents, root_of[branch] + child, 1)
    parents[starts] += 1
    if (parents != 1).any():
        raise ValueError("nodes with more or fewer than one parent")
    level = starts
    for _ in range(DEEPEST):
        level = level[branch[level]]
        if not len(level):
            return
        level = np.concatenate([root_of[level] + side[level] for side in sides])
    raise ValueError(f"a tree of more than {DEEPEST} levels")


def _check_leaves(arrays: Arrays, starts: np.ndarray) -> None:
    """ValueError unless leaves, and only they, have weights, and of two classes at least."""
    tree, leaf = arrays["class_treeids"], arrays["class_nodeids"]
    if (tree < 0).any() or (tree >= len(starts)).any():
        raise ValueError("leaves of trees that are not there")
    lengths = np.diff([*starts, len(arrays["nodes_nodeids"])])
    if (leaf < 0).any() or (leaf >= lengths[tree]).any():
        raise ValueError("leaves that are not there")
    weighted = np.zeros(len(arrays["nodes_nodeids"]), bool)
    weighted[starts[tree] + leaf] = True
    if not np.array_equal(weighted, ~_branches(arrays)):
        raise ValueError("leaves without weights, or weights of branches")
    if len(np.unique(arrays["class_ids"])) < 2 or (arrays["class_weights"] <= 0).any():
        raise ValueError("weights of fewer than two classes, or not above 0")


def _branches(arrays: Arrays) -> np.ndarray:
    """Which nodes branch; the children of others are 0."""
    return arrays["nodes_truenodeids"] > 0


def _below(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 numbers that are not above thresholds: x <= t stays the same for all x.

    >>> _below(np.array([0.1, 2.0])).tolist() == [float(np.nextafter(np.float32(0.1), -1)), 2.0]
    True
    """
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


_LINEAR_NUMBERS = ("mean", "scale", "weight", "intercept")


def linear_arrays(model: Any, scaler: Any) -> dict[str, np.ndarray]:
    """Numbers of a fitted linear classifier of scikit-learn, and of a StandardScaler before it."""
    weight, intercept = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:
        weight, intercept = weight * HALVES, intercept * HALVES
    return {
        "mean": scaler.mean_,
        "scale": scaler.scale_,
        "weight": weight.astype(np.float64),
        "intercept": intercept.astype(np.float64),
    }


def linear_graph(arrays: Arrays) -> onnx.ModelProto:
    """The graph of a linear classifier."""
    features, classes = arrays["weight"].shape
    # In one order in memory: of a file's numbers every sum is what it was of the fitted ones.
    constants = {name: np.array(arrays[name], order="C") for name in _LINEAR_NUMBERS}
    nodes = [
        node("Cast", ["features"], "exact"),
        node("Sub", ["exact", "mean"], "centred"),
        node("Div", ["centred", "scale"], "z"),
        node("MatMul", ["z", "weight"], "products"),
        node("Add", ["products", "intercept"], "scores"),
    ]
    return make_model("linear", nodes, constants, features, classes)


def rebuilt_linear(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph that the numbers of a file make; ValueError where they do not fit each other."""
    arrays = doubles(model, _LINEAR_NUMBERS)
    features, classes = arrays["weight"].shape if arrays["weight"].ndim == 2 else (0, 0)
    shapes = {
        "mean": (features,), "scale": (features,), "weight": (features, classes),
        "intercept": (classes,),
    }  # fmt: skip
    _check_numbers(arrays, shapes)
    if not 1 < classes < 2**16:
        raise ValueError(f"{classes} classes")
    return linear_graph(arrays)


def _check_numbers(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError unless arrays have these shapes, none empty, and are finite; scales above 0."""
    wrong = {n: a.shape for n, a in arrays.items() if a.shape != shapes[n] or not a.size}
    if wrong:
        raise ValueError(f"shapes that do not fit each other: {wrong}")
    if not all(np.isfinite(a).all() for a in arrays.values()) or not (arrays["scale"] > 0).all():
        raise ValueError("numbers that are not finite, or a scale that is not above 0")


_MACHINE_NUMBERS = ("mean", "scale", "vectors", "minus_gamma", "coefficients", "intercept")


def machine_arrays(machine: Any, scaler: Any = None) -> dict[str, np.ndarray]:
    """Numbers of a fitted Gaussian SVC of scikit-learn, and of a StandardScaler before it."""
    vectors = machine.support_vectors_.astype(np.float64)  # (M, F)
    classes = len(machine.classes_)
    class_of = np.repeat(np.arange(classes), machine.n_support_)
    pairs = list(combinations(range(classes), 2))
    coefficients = np.zeros((len(vectors), len(pairs)))
    for column, (first, second) in enumerate(pairs):
        if classes == 2:
            coefficients[:, 0] = machine.dual_coef_[0]
            continue
        for one, other in ((first, second - 1), (second, first)):
            own = class_of == one
            coefficients[own, column] = machine.dual_coef_[other, own]
    width = vectors.shape[1]
    return {
        "mean": np.zeros(width) if scaler is None else scaler.mean_,
        "scale": np.ones(width) if scaler is None else scaler.scale_,
        "vectors": vectors.T,
        "minus_gamma": np.array(-float(machine._gamma)),
        "coefficients": coefficients,
        "intercept": machine.intercept_.astype(np.float64),
    }


def machine_graph(arrays: Arrays) -> onnx.ModelProto:
    """The graph of a vector machine."""
    features, pairs = len(arrays["vectors"]), len(arrays["intercept"])
    classes = classes_of_pairs(pairs)
    # In one order in memory: of a file's numbers every sum is what it was of the fitted ones.
    constants = {name: np.array(arrays[name], order="C") for name in _MACHINE_NUMBERS}
    constants |= {
        "norms": (constants["vectors"] ** 2).sum(axis=0)[None],
        "ones": np.ones((features, 1)),
        "minus_two": np.array(-2.0),
    }
    # Lengths by a product: a ReduceSum rounds by where a row begins in memory, and the scores of a
    # pixel would depend on its place among the others.
    steps: list[tuple[str, list[str], str]] = [
        ("Cast", ["features"], "exact"),
        ("Sub", ["exact", "mean"], "centred"),
        ("Div", ["centred", "scale"], "z"),
        ("Mul", ["z", "z"], "squares"),
        ("MatMul", ["squares", "ones"], "length"),
        ("MatMul", ["z", "vectors"], "products"),
        ("Mul", ["products", "minus_two"], "twice"),
        ("Add", ["twice", "length"], "partial"),
        ("Add", ["partial", "norms"], "distances"),
        ("Mul", ["distances", "minus_gamma"], "exponents"),
        ("Exp", ["exponents"], "kernel"),
        ("MatMul", ["kernel", "coefficients"], "sums"),
        ("Add", ["sums", "intercept"], "decisions"),  # (n, pairs)
    ]
    if classes == 2:
        constants["sides"] = np.array([[-1.0, 1.0]])
        steps.append(("Mul", ["decisions", "sides"], "scores"))
    else:
        sides, seconds = np.zeros((pairs, classes)), np.zeros((1, classes))
        for row, (first, second) in enumerate(combinations(range(classes), 2)):
            sides[row, [first, second]] = 1, -1
            seconds[0, second] += 1
        constants |= {
            "sides": sides, "seconds": seconds, "zero": np.array(0.0), "one": np.array(1.0),
            "three": np.array(3.0),
        }  # fmt: skip
        steps += [
            ("GreaterOrEqual", ["decisions", "zero"], "firsts"),
            ("Cast", ["firsts"], "won"),
            ("MatMul", ["won", "sides"], "balance"),
            ("Add", ["balance", "seconds"], "votes"),
            ("MatMul", ["decisions", "sides"], "confidence"),
            ("Abs", ["confidence"], "size"),
            ("Add", ["size", "one"], "larger"),
            ("Mul", ["larger", "three"], "divisor"),
            ("Div", ["confidence", "divisor"], "fraction"),
            ("Add", ["votes", "fraction"], "scores"),
        ]
    nodes = [node(*step) for step in steps]
    return make_model("machine", nodes, constants, features, classes)


def rebuilt_machine(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph that the numbers of a file make; ValueError where they do not fit each other."""
    arrays = doubles(model, _MACHINE_NUMBERS)
    features, count = arrays["vectors"].shape if arrays["vectors"].ndim == 2 else (0, 0)
    pairs = arrays["intercept"].size
    shapes = {
        "mean": (features,), "scale": (features,), "vectors": (features, count),
        "minus_gamma": (),
        "coefficients": (count, pairs), "intercept": (pairs,),
    }  # fmt: skip
    _check_numbers(arrays, shapes)
    if classes_of_pairs(pairs) >= 2**16:
        raise ValueError(f"{pairs} pairs of classes")
    return machine_graph(arrays)


def classes_of_pairs(pairs: int) -> int:
    """How many classes have so many pairs; ValueError where none have."""
    classes = round((1 + (1 + 8 * pairs) ** 0.5) / 2)
    if pairs < 1 or classes * (classes - 1) // 2 != pairs:
        raise ValueError(f"{pairs} pairs of classes")
    return classes
