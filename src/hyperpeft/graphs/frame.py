"""Frames of ONNX models: of classifiers of pixels, and of several graphs pooled in one.

A file from elsewhere is read for its numbers alone: they are checked, and the graph that is
executed is built again from them (see `baselines.pixel_model` and `runs.exported`). So nothing that
a file may hold besides, such as other operators, references to files or custom code, is ever run.

    p = softmax(sum_m weight_m log softmax(factor_m scores_m))

or, of runs made by earlier versions, p = sum_m weight_m softmax(factor_m scores_m). Names of a
part's nodes and constants in a pool begin with its name and a slash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hyperpeft.graphs.numbers import Arrays

FORMAT = "hyperpeft pixel model 1"
ML = "ai.onnx.ml"
OPSET, IR_VERSION = 17, 8
OPSETS = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, 3)]


def make_model(
    kind: str, nodes: list[onnx.NodeProto], constants: Arrays, features: int, classes: int
) -> onnx.ModelProto:
    """A model from features (n, F) float32 to scores (n, K) float64, with its constants."""
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("scores", TensorProto.DOUBLE, ["n", classes])],
        [
            numpy_helper.from_array(np.array(value, order="C"), name)
            for name, value in constants.items()
        ],
    )
    model = helper.make_model(
        graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="hyperpeft"
    )
    helper.set_model_props(model, {"format": FORMAT, "kind": kind})
    return model


def node(operator: str, inputs: list[str], output: str) -> onnx.NodeProto:
    """One step of a graph; a cast is to 64 bits."""
    made = helper.make_node(operator, inputs, [output])
    if operator == "Cast":
        made.attribute.append(helper.make_attribute("to", TensorProto.DOUBLE))
    return made


def doubles(model: onnx.ModelProto, names: Sequence[str]) -> Arrays:
    """The constants of a model from elsewhere, float64; ValueError where one lacks."""
    arrays = {}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            if tensor.data_type != TensorProto.DOUBLE or tensor.external_data:
                raise ValueError(f"{tensor.name}: expected numbers of 64 bits in the file itself")
            arrays[tensor.name] = numpy_helper.to_array(tensor)
    if set(arrays) != set(names):
        raise ValueError(f"expected {tuple(names)}, got {sorted(arrays)}")
    return arrays


def sizes(model: onnx.ModelProto) -> tuple[int, int]:
    """Features F and classes K of a model from elsewhere, from the shapes of input and output."""
    found: list[int] = []
    for values in (model.graph.input, model.graph.output):
        shape = [d.dim_value for d in values[0].type.tensor_type.shape.dim] if values else []
        if len(values) != 1 or len(shape) != 2 or not 1 <= shape[1] < 2**16:
            raise ValueError("expected one input (n, F) and one output (n, K)")
        found.append(int(shape[1]))
    return found[0], found[1]


def operators(model: onnx.ModelProto) -> str:
    """The operators of a graph, in their order."""
    return " ".join(node.op_type for node in model.graph.node)[:400]


def input_name(part: str, name: str) -> str:
    """An input of a part's graph among those of all: features are its own."""
    return f"{part}.{name}" if name == "features" else name


class Pool:
    """A graph of the parts' graphs; the names of each begin with that of the part."""

    def __init__(self, classes: int, *, linear: bool = False) -> None:
        self._classes, self._linear = classes, linear
        self._graph = onnx.GraphProto(name="hyperpeft")
        self._shares: list[str] = []

    def add(
        self, part: str, model: onnx.ModelProto, output: str, factor: float, weight: float
    ) -> None:
        """Append a part, whose logits or scores are `output`."""
        inputs = {given.name: input_name(part, given.name) for given in model.graph.input}
        for given in model.graph.input:
            self._graph.input.add().CopyFrom(given)
            self._graph.input[-1].name = inputs[given.name]

        def named(name: str) -> str:
            return inputs.get(name, f"{part}/{name}")

        for tensor in model.graph.initializer:
            self._graph.initializer.add().CopyFrom(tensor)
            self._graph.initializer[-1].name = named(tensor.name)
        for node in model.graph.node:
            made = self._graph.node.add()
            made.CopyFrom(node)
            del made.input[:], made.output[:]
            made.input.extend(map(named, node.input))
            made.output.extend(map(named, node.output))
            made.name = made.output[0]
        self._weigh(part, named(output), factor, weight)

    def _weigh(self, part: str, scores: str, factor: float, weight: float) -> None:
        """A part's share, in 64 bits as where they are pooled without a graph."""
        place = f"pool/{part}"
        for name, value in (("factor", factor), ("weight", weight)):
            array = np.array(value, np.float64)
            self._graph.initializer.append(numpy_helper.from_array(array, f"{place}/{name}"))
        self._node("Cast", [scores], f"{place}/scores", to=TensorProto.DOUBLE)
        self._node("Mul", [f"{place}/scores", f"{place}/factor"], f"{place}/scaled")
        softmax = "Softmax" if self._linear else "LogSoftmax"
        self._node(softmax, [f"{place}/scaled"], f"{place}/softmax", axis=-1)
        self._node("Mul", [f"{place}/softmax", f"{place}/weight"], f"{place}/share")
        self._shares.append(f"{place}/share")

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        made = helper.make_node(operator, inputs, [output], name=output, **attributes)
        self._graph.node.append(made)

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        self._node("Sum", self._shares, "pool/sum")
        pooled = "pool/sum"
        if not self._linear:
            pooled = "pool/softmax"
            self._node("Softmax", ["pool/sum"], pooled, axis=-1)
        self._node("Cast", [pooled], "probabilities", to=TensorProto.FLOAT)
        shape: list[str | int | None] = ["n", self._classes]
        output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape)
        self._graph.output.append(output)
        return helper.make_model(
            self._graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="hyperpeft"
        )


def subgraph(model: onnx.ModelProto, part: str) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Nodes and constants of a part, by the names that they had before."""
    start = f"{part}/"

    def named(name: str) -> str:
        return "features" if name == input_name(part, "features") else name.removeprefix(start)

    nodes = []
    for node in model.graph.node:
        if node.name.startswith(start):
            made = onnx.NodeProto()
            made.CopyFrom(node)
            del made.input[:], made.output[:]
            made.input.extend(map(named, node.input))
            made.output.extend(map(named, node.output))
            made.name = ""
            nodes.append(made)
    constants = {
        named(tensor.name): tensor
        for tensor in model.graph.initializer
        if tensor.name.startswith(start)
    }
    return nodes, constants
