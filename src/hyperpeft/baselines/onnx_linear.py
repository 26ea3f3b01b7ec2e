"""A linear classifier as an ONNX graph, and the numbers of one from a file.

    z = (x - mean) / scale;   scores = z W + b

All in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from hyperpeft.graphs.frame import doubles, make_model, node
from hyperpeft.graphs.numbers import Arrays

_NUMBERS = ("mean", "scale", "weight", "intercept")


def linear_arrays(model: Any, scaler: Any) -> dict[str, np.ndarray]:
    """Numbers of a fitted linear classifier of scikit-learn, and of a StandardScaler before it."""
    weight, intercept = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:
        weight, intercept = weight * [-1.0, 1.0], intercept * [-1.0, 1.0]
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
    constants = {name: np.array(arrays[name], order="C") for name in _NUMBERS}
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
    arrays = doubles(model, _NUMBERS)
    features, classes = arrays["weight"].shape if arrays["weight"].ndim == 2 else (0, 0)
    shapes = {
        "mean": (features,), "scale": (features,), "weight": (features, classes),
        "intercept": (classes,),
    }  # fmt: skip
    wrong = {n: a.shape for n, a in arrays.items() if a.shape != shapes[n]}
    if wrong or not features or not 1 < classes < 2**16:
        raise ValueError(f"shapes that do not fit each other: {wrong}")
    if not all(np.isfinite(a).all() for a in arrays.values()) or not (arrays["scale"] > 0).all():
        raise ValueError("numbers that are not finite, or a scale that is not above 0")
    return linear_graph(arrays)
