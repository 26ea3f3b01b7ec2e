"""A Gaussian support vector machine as an ONNX graph, and the numbers of one from a file.

    z = (x - mean) / scale;   k = exp(-gamma |z - v|^2);   d = k C + b for each pair of classes
    scores = pairs won + s / (3 (|s| + 1)),   s = a class's sum of d

as scikit-learn's `decision_function_shape="ovr"`; of two classes [-d, d]. All in float64.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import onnx

from hyperpeft.graphs.frame import doubles, make_model, node
from hyperpeft.graphs.numbers import Arrays

_NUMBERS = ("mean", "scale", "vectors", "minus_gamma", "coefficients", "intercept")


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
    constants = {name: np.array(arrays[name], order="C") for name in _NUMBERS}
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
    arrays = doubles(model, _NUMBERS)
    features, count = arrays["vectors"].shape if arrays["vectors"].ndim == 2 else (0, 0)
    pairs = arrays["intercept"].size
    shapes = {
        "mean": (features,), "scale": (features,), "vectors": (features, count),
        "minus_gamma": (),
        "coefficients": (count, pairs), "intercept": (pairs,),
    }  # fmt: skip
    wrong = {n: a.shape for n, a in arrays.items() if a.shape != shapes[n]}
    if wrong or not count or not features or classes_of_pairs(pairs) >= 2**16:
        raise ValueError(f"shapes that do not fit each other: {wrong}")
    if not all(np.isfinite(a).all() for a in arrays.values()) or not (arrays["scale"] > 0).all():
        raise ValueError("numbers that are not finite, or a scale that is not above 0")
    return machine_graph(arrays)


def classes_of_pairs(pairs: int) -> int:
    """How many classes have so many pairs; ValueError where none have."""
    classes = round((1 + (1 + 8 * pairs) ** 0.5) / 2)
    if pairs < 1 or classes * (classes - 1) // 2 != pairs:
        raise ValueError(f"{pairs} pairs of classes")
    return classes
