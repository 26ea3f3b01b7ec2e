"""Frames of ONNX models, and the numbers that are read from a model by name.

Numbers: weights of linear layers stand as they multiply: (inputs, outputs). With B bands of the
scene, width D, hidden width H, L tokens, F features of the head, W heads (1 where one serves all
windows) and K classes:

    reducer.mean (B, 1, 1), reducer.matrix (12, B, 1, 1), reducer.shift (12,)
    embed.weight (192, D), positions (L, D), which hold the bias of the embedding
    block{i}.norm1.weight/bias (D,), .q, .k, .v and .proj: .weight (D, D) and .bias (D,),
        those of q over sqrt(D / heads), .norm2.weight/bias (D,),
        .fc1.weight (D, H), .fc1.bias (H,), .fc2.weight (H, D), .fc2.bias (D,)
    norm.weight/bias (D,), pooled.weight/bias (D,)
    head.weight (W, F, K), head.bias (W, 1, K)

Frames: a file from elsewhere is read for its numbers alone: they are checked, and the graph that is
executed is built again from them (see `baselines.pixel_model` and `runs.exported`). So nothing that
a file may hold besides, such as other operators, references to files or custom code, is ever run.

    p = softmax(sum_m weight_m log softmax(factor_m scores_m))

or, of runs made by earlier versions, p = sum_m weight_m softmax(factor_m scores_m). Names of a
part's nodes and constants in a pool begin with its name and a slash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hyperpeft.errors import BundleError
from hyperpeft.models.patch_geometry import check_patch_size

BANDS, GROUP, PATCH = 12, 3, 8  # bands of an image; bands and pixels per side of a token
LARGEST_IMAGE = 128

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Architecture:
    """What the numbers alone do not say.

    Attributes
    ----------
    windows : tuple of int
        Sides of the windows, odd; the logits are the mean over them.
    image_size, stride : int
        Pixels per side that windows are resized to, and from one token to the next.
    num_heads, depth : int
        Attention heads and blocks.
    centre : float
        Weight of the centre pixel's 12 components among the features of the head; 0 where it does
        not see them.
    norm_eps, pooled_eps : float
        Of the encoder's normalisations, and of the one before the head.
    """

    windows: tuple[int, ...]
    image_size: int
    stride: int
    num_heads: int
    depth: int
    centre: float
    norm_eps: float
    pooled_eps: float

    @property
    def grid(self) -> int:
        """Tokens per side of an image."""
        return (self.image_size - PATCH) // self.stride + 1

    @property
    def tokens(self) -> int:
        """Tokens L of a window."""
        return BANDS // GROUP * self.grid**2

    @property
    def side(self) -> int:
        """Pixels per side of the largest window."""
        return max(self.windows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` takes it back."""
        return {**asdict(self), "windows": list(self.windows)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The architecture of `to_dict`; ValueError, KeyError or TypeError for anything else."""
        counts = ("image_size", "stride", "num_heads", "depth")
        whole = {name: values[name] for name in counts}
        whole |= {f"window {i}": size for i, size in enumerate(values["windows"])}
        odd = [k for k, v in whole.items() if isinstance(v, bool) or not isinstance(v, int)]
        if odd or not 1 <= len(values["windows"]) <= 64:
            raise ValueError(f"expected whole numbers, got {odd}")
        numbers = {name: float(values[name]) for name in ("centre", "norm_eps", "pooled_eps")}
        made = cls(
            windows=tuple(check_patch_size(size) for size in values["windows"]),
            image_size=values["image_size"],
            stride=values["stride"],
            num_heads=values["num_heads"],
            depth=values["depth"],
            **numbers,
        )
        image, stride = made.image_size, made.stride
        fits = PATCH <= image <= LARGEST_IMAGE and 1 <= stride <= PATCH
        fits = fits and (image - PATCH) % stride == 0
        fits = fits and made.num_heads >= 1 and 0 <= made.depth <= 1024
        if not fits or not all(0 <= value < 1e6 for value in numbers.values()):
            raise ValueError(f"an architecture that there is not: {values}")
        return made


def names_of(architecture: Architecture) -> list[str]:
    """The names of all arrays."""
    layers = ["embed", "norm", "pooled", "head"]
    for number in range(architecture.depth):
        parts = ("norm1", "q", "k", "v", "proj", "norm2", "fc1", "fc2")
        layers += [f"block{number}.{part}" for part in parts]
    pairs = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    pairs.remove("embed.bias")
    return ["reducer.mean", "reducer.matrix", "reducer.shift", "positions", *pairs]


def shapes_of(arrays: Arrays, architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every array; sizes that are free come from the arrays themselves."""
    bands, width = arrays["reducer.mean"].size, arrays["pooled.bias"].size
    features, classes = width + (BANDS if architecture.centre else 0), arrays["head.bias"].shape[-1]
    heads = arrays["head.bias"].shape[0]
    if heads not in (1, len(architecture.windows)) or width % architecture.num_heads:
        raise ValueError(f"{heads} heads of windows, {width} of attention")
    shapes: dict[str, tuple[int, ...]] = {
        "reducer.mean": (bands, 1, 1), "reducer.matrix": (BANDS, bands, 1, 1),
        "reducer.shift": (BANDS,),
        "embed.weight": (GROUP * PATCH * PATCH, width),
        "positions": (architecture.tokens, width),
        "head.weight": (heads, features, classes), "head.bias": (heads, 1, classes),
    }  # fmt: skip
    for number in range(architecture.depth):
        block = f"block{number}"
        hidden = arrays[f"{block}.fc1.bias"].size
        layers = dict.fromkeys(("q", "k", "v", "proj"), (width, width))
        layers |= {"fc1": (width, hidden), "fc2": (hidden, width)}
        for name, shape in layers.items():
            shapes[f"{block}.{name}.weight"] = shape
            shapes[f"{block}.{name}.bias"] = shape[1:]
    norms = [f"block{i}.norm{n}" for i in range(architecture.depth) for n in (1, 2)]
    for name in ("norm", "pooled", *norms):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def check_arrays(arrays: Arrays, architecture: Architecture) -> None:
    """Refuse numbers that make no classifier.

    Raises
    ------
    ValueError
        Missing, superfluous, of another shape or type, or not finite.
    KeyError, IndexError
        One from which sizes are read is missing or has no axes.
    """
    shapes = shapes_of(arrays, architecture)
    strange = sorted(set(arrays) ^ set(shapes))
    if strange:
        raise ValueError(f"numbers missing or not known: {', '.join(strange[:8])}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != shape or 0 in shape:
            got = f"{array.dtype} {array.shape}"
            raise ValueError(f"{name}: expected float32 {shape}, got {got}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers")


FORMAT = "hyperpeft pixel model 1"
ML = "ai.onnx.ml"
OPSET, IR_VERSION = 17, 8
OPSETS = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, 3)]


def content_of(path: Path, largest: int) -> bytes:
    """The bytes of a model's file of at most `largest` bytes.

    Raises
    ------
    BundleError
        The file is missing, cannot be read or is larger.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise BundleError(f"{path}", expected=f"at most {largest} bytes", got=size)
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror})") from None


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Texts of a model by their names."""
    return {entry.key: entry.value for entry in model.metadata_props}


def make_model(
    kind: str, nodes: list[onnx.NodeProto], constants: Arrays, features: int, classes: int
) -> onnx.ModelProto:
    """A model from features (n, F) float32 to scores (n, K) float64, with its constants."""
    tensors = [
        numpy_helper.from_array(np.array(value, order="C"), name)
        for name, value in constants.items()
    ]
    return pixel_model(kind, nodes, tensors, features, classes)


def pixel_model(
    kind: str,
    nodes: list[onnx.NodeProto],
    tensors: list[onnx.TensorProto],
    features: int,
    classes: int,
) -> onnx.ModelProto:
    """`make_model` of constants that are tensors already."""
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("scores", TensorProto.DOUBLE, ["n", classes])],
        tensors,
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
