"""The numbers of a classifier on windows by name, and the shapes that they must have.

Weights of linear layers stand as they multiply: (inputs, outputs). With B bands of the scene, width
D, hidden width H, L tokens, F features of the head, W heads (1 where one serves all windows) and K
classes:

    reducer.mean (B, 1, 1), reducer.matrix (12, B, 1, 1), reducer.shift (12,)
    embed.weight (192, D), positions (L, D), which hold the bias of the embedding
    block{i}.norm1.weight/bias (D,), .q, .k, .v and .proj: .weight (D, D) and .bias (D,),
        those of q over sqrt(D / heads), .norm2.weight/bias (D,),
        .fc1.weight (D, H), .fc1.bias (H,), .fc2.weight (H, D), .fc2.bias (D,)
    norm.weight/bias (D,), pooled.weight/bias (D,)
    head.weight (W, F, K), head.bias (W, 1, K)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from hyperpeft.patches import check_patch_size

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
