"""The ONNX graph of a classifier on windows: reduction, resize, encoder, pooling, heads.

    values (n, B, s, s), valid (n, 1, s, s) -> reduced (n, 12, s, s) -> logits (n, K)

with s the side of the largest window. It is built from numbers, by operators of opset 17 that every
runtime has, and without tracing: equal numbers make an equal file. The steps are those of
`training.classifier` and `models.spectralgpt`; what multiplies what is arranged for a processor:
the resize is two products with one matrix (the second on transposed images, which the cut into
tokens turns back), tokens are rows of a matrix, so that products add their biases, and the scale of
attention lies in the weights of q.
Several windows are one batch of the encoder.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hyperpeft.models.graphs.frame import (
    BANDS,
    GROUP,
    IR_VERSION,
    OPSET,
    PATCH,
    Architecture,
    Arrays,
)
from hyperpeft.models.patch_geometry import resize_matrix

Entry = Literal["values", "reduced"]
"""What a graph begins with: values of the scene's bands, or windows that are reduced already."""


class Nodes:
    """Nodes and constants of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node; the name of its output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """Keep a constant; its name."""
        self.constants[name] = np.asarray(value)
        return name

    def reshape(self, tensor: str, shape: list[int], output: str) -> str:
        """A view of another shape; 0 stays what it is, -1 is what is left."""
        name = "shape " + " ".join(map(str, shape))
        self.constant(name, np.array(shape, np.int64))
        return self.add("Reshape", [tensor, name], output)

    def linear(self, rows: str, layer: str) -> str:
        """A product of rows (n, D) with a layer's weights, and its bias."""
        return self.add("Gemm", [rows, f"{layer}.weight", f"{layer}.bias"], f"{layer}.output")

    def normalised(self, tensor: str, layer: str, eps: float) -> str:
        """Layer normalisation over the last axis."""
        inputs = [tensor, f"{layer}.weight", f"{layer}.bias"]
        return self.add("LayerNormalization", inputs, f"{layer}.output", axis=-1, epsilon=eps)

    def model(
        self,
        name: str,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        """The finished model."""
        constants = [
            numpy_helper.from_array(np.array(value, order="C"), key)
            for key, value in self.constants.items()
        ]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, constants)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="hyperpeft",
        )


def tensor_info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    """A float32 input or output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def classifier_graph(
    arrays: Arrays, architecture: Architecture, entry: Entry = "values"
) -> onnx.ModelProto:
    """The graph of a classifier.

    Parameters
    ----------
    arrays : mapping of str to ndarray of float32
        As `graphs.frame` lists them; see `check_arrays`.
    architecture : Architecture
    entry : "values" or "reduced"

    Returns
    -------
    ModelProto
        From `values` and `valid` (1 where a pixel is valid, 0 where not), or from `reduced`, to
        `logits` (n, K).
    """
    build = Nodes()
    side, classes = architecture.side, arrays["head.bias"].shape[-1]
    used = {k: v for k, v in arrays.items() if entry == "values" or not k.startswith("reducer.")}
    build.constants.update(used)
    if entry == "values":
        bands = arrays["reducer.mean"].size
        inputs = [
            tensor_info("values", "n", bands, side, side),
            tensor_info("valid", "n", 1, side, side),
        ]
        _reduce(build)
    else:
        inputs = [tensor_info("reduced", "n", BANDS, side, side)]
    tokens = _encode(build, _tokens(build, architecture), arrays, architecture)
    _classify(build, tokens, arrays, architecture)
    return build.model("classifier", inputs, [tensor_info("logits", "n", classes)])


def _reduce(build: Nodes) -> None:
    """`reduced`: the 12 components of valid pixels, 0 of others."""
    centred = build.add("Sub", ["values", "reducer.mean"], "centred")
    inputs = [centred, "reducer.matrix", "reducer.shift"]
    components = build.add("Conv", inputs, "components")
    build.add("Mul", [components, "valid"], "reduced")


def _tokens(build: Nodes, architecture: Architecture) -> str:
    """Values (W n, L, 192) of the tokens of every window, W after W."""
    made = [_cuboids(build, size, architecture) for size in architecture.windows]
    if len(made) == 1:
        return made[0]
    axes = build.constant("first axis", np.array([0], np.int64))
    stacked = [build.add("Unsqueeze", [one, axes], f"{one}.stacked") for one in made]
    together = build.add("Concat", stacked, "windows", axis=0)  # (W, n, L, 192)
    shape = [-1, architecture.tokens, GROUP * PATCH * PATCH]
    return build.reshape(together, shape, "batch")


def _cuboids(build: Nodes, size: int, architecture: Architecture) -> str:
    """Values (n, L, 192) of the tokens of a window of one size: 3 bands, 8 rows, 8 columns each."""
    image, name, window = architecture.image_size, f"window{size}", "reduced"
    cut = (architecture.side - size) // 2
    if cut:
        ends = [build.constant(f"{name}.start", np.full(2, cut)),
                build.constant(f"{name}.end", np.full(2, cut + size)),
                build.constant("image axes", np.array([2, 3]))]  # fmt: skip
        window = build.add("Slice", [window, *ends], name)
    transposed = size != image
    if transposed:
        matrix = build.constant(f"{name}.resize", resize_matrix(size, image).T)  # (p, S)
        wide = build.add("MatMul", [window, matrix], f"{name}.wide")  # (n, 12, p, S)
        turned = build.add("Transpose", [wide], f"{name}.turned", perm=[0, 1, 3, 2])
        window = build.add("MatMul", [turned, matrix], f"{name}.resized")  # column, row
    if architecture.stride == PATCH:
        grid = image // PATCH
        parts = [0, BANDS // GROUP, GROUP, grid, PATCH, grid, PATCH]
        split = build.reshape(window, parts, f"{name}.split")
        order = [0, 1, 5, 3, 2, 6, 4] if transposed else [0, 1, 3, 5, 2, 4, 6]
        ordered = build.add("Transpose", [split], f"{name}.ordered", perm=order)
        shape = [0, architecture.tokens, GROUP * PATCH * PATCH]
        return build.reshape(ordered, shape, f"{name}.tokens")
    flat = build.reshape(window, [0, BANDS * image * image], f"{name}.flat")
    places = build.constant(f"{name}.places", _places(architecture, transposed))
    return build.add("Gather", [flat, places], f"{name}.tokens", axis=1)


def _places(architecture: Architecture, transposed: bool) -> np.ndarray:
    """Where the values of overlapping tokens lie in an image: (L, 192) indices."""
    image, steps = architecture.image_size, np.arange(architecture.grid) * architecture.stride
    numbers = np.arange(BANDS * image * image).reshape(BANDS, image, image)
    if transposed:
        numbers = numbers.transpose(0, 2, 1)
    found = [
        numbers[band : band + GROUP, row : row + PATCH, column : column + PATCH].ravel()
        for band in range(0, BANDS, GROUP)
        for row in steps
        for column in steps
    ]
    return np.stack(found)


def _encode(build: Nodes, values: str, arrays: Arrays, architecture: Architecture) -> str:
    """Tokens (W n, L, D) after the last normalisation, from their values."""
    product = build.add("MatMul", [values, "embed.weight"], "embedded")
    placed = build.add("Add", [product, "positions"], "placed")
    width = arrays["pooled.bias"].size
    tokens = build.reshape(placed, [-1, width], "tokens")  # (W n L, D), so that biases cost nothing
    for number in range(architecture.depth):
        block = f"block{number}"
        mixed = _attend(build, tokens, block, width, architecture)
        tokens = build.add("Add", [tokens, mixed], f"{block}.attended")
        hidden = build.normalised(tokens, f"{block}.norm2", architecture.norm_eps)
        hidden = _gelu(build, build.linear(hidden, f"{block}.fc1"), block)
        hidden = build.linear(hidden, f"{block}.fc2")
        tokens = build.add("Add", [tokens, hidden], f"{block}.output")
    normal = build.normalised(tokens, "norm", architecture.norm_eps)
    return build.reshape(normal, [-1, architecture.tokens, width], "encoded")


def _attend(build: Nodes, tokens: str, block: str, width: int, architecture: Architecture) -> str:
    """Multi-head self-attention of tokens (n L, D), normalised before."""
    heads, count = architecture.num_heads, architecture.tokens
    normal = build.normalised(tokens, f"{block}.norm1", architecture.norm_eps)
    parts = []
    for letter, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        name = f"{block}.{letter}"
        rows = build.linear(normal, name)
        split = build.reshape(rows, [-1, count, heads, width // heads], f"{name}.heads")
        parts.append(build.add("Transpose", [split], f"{name}.ordered", perm=order))
    scores = build.add("MatMul", parts[:2], f"{block}.scores")  # (n, heads, L, L)
    weights = build.add("Softmax", [scores], f"{block}.weights", axis=-1)
    mixed = build.add("MatMul", [weights, parts[2]], f"{block}.mixed")
    ordered = build.add("Transpose", [mixed], f"{block}.joined", perm=[0, 2, 1, 3])
    flat = build.reshape(ordered, [-1, width], f"{block}.flat")
    return build.linear(flat, f"{block}.proj")


def _gelu(build: Nodes, tensor: str, block: str) -> str:
    """X (1 + erf(x / sqrt 2)) / 2, in the order of steps that runtimes know as one."""
    for name, value in (("root of two", 2**0.5), ("one", 1.0), ("half", 0.5)):
        build.constant(name, np.float32(value))
    scaled = build.add("Div", [tensor, "root of two"], f"{block}.scaled")
    error = build.add("Erf", [scaled], f"{block}.erf")
    raised = build.add("Add", [error, "one"], f"{block}.raised")
    product = build.add("Mul", [tensor, raised], f"{block}.doubled")
    return build.add("Mul", [product, "half"], f"{block}.gelu")


def _classify(build: Nodes, tokens: str, arrays: Arrays, architecture: Architecture) -> None:
    """`logits`: pooled and normalised tokens, the centre beside them, the mean over the heads."""
    count, side, several = architecture.tokens, architecture.side, len(architecture.windows)
    # A mean by a product: the sums of a reduction may depend on where a row begins in memory.
    share = build.constant("share", np.full((1, count), 1 / count, np.float32))
    mean = build.add("MatMul", [share, tokens], "mean")  # (W n, 1, D)
    width = arrays["pooled.bias"].size
    pooled = build.reshape(mean, [several, -1, width], "pooled.input")  # (W, n, D)
    features = build.normalised(pooled, "pooled", architecture.pooled_eps)
    if architecture.centre:
        middle = [build.constant("centre.start", np.full(2, side // 2)),
                  build.constant("centre.end", np.full(2, side // 2 + 1)),
                  build.constant("image axes", np.array([2, 3]))]  # fmt: skip
        centre = build.add("Slice", ["reduced", *middle], "centre")
        flat = build.reshape(centre, [1, -1, BANDS], "centre.flat")
        weight = build.constant("centre.weight", np.float32(architecture.centre))
        weighted = build.add("Mul", [flat, weight], "centre.weighted")
        copies = [weighted] * several
        stacked = build.add("Concat", copies, "centre.copies", axis=0) if several > 1 else weighted
        features = build.add("Concat", [features, stacked], "head.features", axis=-1)
    product = build.add("MatMul", [features, "head.weight"], "head.product")
    logits = build.add("Add", [product, "head.bias"], "head.output")  # (W, n, K)
    classes = arrays["head.bias"].shape[-1]
    if several == 1:
        build.reshape(logits, [-1, classes], "logits")
        return
    total = build.add("ReduceMean", [logits], "logits", axes=[0], keepdims=0)
    assert total == "logits"
