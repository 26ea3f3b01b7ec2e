"""Small ONNX models: the frame that forests and vector machines share.

A file from elsewhere is read for its numbers alone: they are checked, and the graph that is
executed is built again from them (see `pixel_models`). So nothing that a file may hold besides,
such as other operators, references to files or custom code, is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FORMAT = "hyperpeft pixel model 1"
ML = "ai.onnx.ml"

Arrays = Mapping[str, np.ndarray]


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
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="hyperpeft")
    helper.set_model_props(model, {"format": FORMAT, "kind": kind})
    return model


def node(operator: str, inputs: list[str], output: str) -> onnx.NodeProto:
    """One step of a graph; a cast is to 64 bits."""
    made = helper.make_node(operator, inputs, [output])
    if operator == "Cast":
        made.attribute.append(helper.make_attribute("to", TensorProto.DOUBLE))
    return made


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
