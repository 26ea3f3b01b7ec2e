"""A run as one ONNX file, which is checked against torch after it is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from hyperpeft.baselines import BASELINES
from hyperpeft.errors import BundleError, HyperpeftError, InputError
from hyperpeft.mapping import (
    EncoderPredictor,
    PixelPredictor,
    Predictor,
    WindowPredictor,
    classify,
    features_at,
)
from hyperpeft.mapping.predictor import PooledPredictor, parts_of, window_part_of
from hyperpeft.mapping.tiles import SceneWindow, Tile
from hyperpeft.models.graphs.frame import Architecture
from hyperpeft.models.graphs.session import Session
from hyperpeft.models.spectralgpt import Attention, interpolate_positions
from hyperpeft.progress import current_listener
from hyperpeft.records import Scene
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.evaluate import reopen
from hyperpeft.runs.exported import load_exported, pack
from hyperpeft.runs.file_names import MODEL, NETWORK
from hyperpeft.runs.inputs import inputs_of_run
from hyperpeft.runs.load import load_run
from hyperpeft.spectral import Reducer
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import refuse_inputs
from hyperpeft.training.classifier import CENTRE_WEIGHT, Classifier

PIXELS = 256  # of the scene, on which the file is checked
TOLERANCE = 1e-4  # of probabilities
SIDE = 64  # pixels of the square of the scene that they are taken from


@dataclass(frozen=True)
class Parity:
    """What the check of an exported file found.

    Attributes
    ----------
    pixels : int
    scene : str or None
        Of whose windows; None where the run's scene is not here, and windows were drawn instead.
    difference : float
        Largest one of the probabilities, of the map's own path and of the whole graph.
    equal : int
        Pixels of equal class.
    """

    pixels: int
    scene: str | None
    difference: float
    equal: int

    def __str__(self) -> str:
        where = f"windows of {self.scene}" if self.scene else "windows drawn at random"
        return (
            f"checked against torch on {self.pixels} {where}: probabilities differ by at most "
            f"{self.difference:.1e}, {self.equal} classes are equal"
        )


def export(run: Path, to: Path, *, backbone: str | None = None) -> list[Path]:
    """Write a run as one ONNX file; see `runs.exported` for what it holds.

    Parameters
    ----------
    run : Path
        Run folder.
    to : Path
        File to write; `model.onnx` in the run folder is what `map RUN` looks for.
    backbone : str, optional
        Where the base model is now, if it was a file that has moved.

    Raises
    ------
    BundleError
        The run is of a kind that has no ONNX form, or incomplete.
    ConfigError
        The file would replace one of the run's.
    HyperpeftError
        What was written gives other probabilities than torch; nothing is left.
    """
    bundle = load_run(run, backbone=backbone, runtime="torch")
    method = bundle.record.adapter["method"]
    if (run / NETWORK).is_file():
        raise BundleError(f"{run} is a run of the network {method}, which has no ONNX form")
    inputs = inputs_of_run(run, bundle.record.config, backbone=backbone)
    own = [] if method in BASELINES else [run / MODEL]  # of a baseline it is the run's own file
    refuse_inputs([to], [(what, path) for what, path in inputs if path not in own], "--to")
    window = window_part_of(bundle.predictor)
    numbers = numbers_of(window) if isinstance(window, EncoderPredictor) else None
    model = pack(run, bundle.record, numbers)
    with replacing(to) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        parity = check_parity(bundle, temporary, _scene_of(bundle, run))
        if parity.difference > TOLERANCE or parity.equal < parity.pixels:
            raise HyperpeftError(f"{to} was not written: {parity}")
    listener = current_listener()
    if listener is not None:
        listener(str(parity))
    return [to]


def _scene_of(bundle: Bundle, run: Path) -> Scene | None:
    """The scene of a run, where it is here."""
    try:
        return reopen(bundle.record, run)
    except (InputError, OSError):
        return None


def check_parity(bundle: Bundle, path: Path, scene: Scene | None) -> Parity:
    """Compare an exported file with its run in torch.

    Parameters
    ----------
    bundle : Bundle
        Of the run, executed by torch.
    path : Path
        The exported file.
    scene : Scene or None
        That windows are taken from.
    """
    exported = load_exported(path)
    piece = _crop(scene) if scene is not None else _drawn(bundle)
    where = _some(piece.valid)
    expected = _probabilities(in_float32(bundle.predictor), piece, where)  # (n, K)
    mapped = _probabilities(exported.predictor, piece, where)
    whole = whole_graph(path, exported.predictor, piece, np.argwhere(where))
    differences = [float(np.abs(found - expected).max()) for found in (mapped, whole)]
    classes = expected.argmax(axis=1)
    equal = (mapped.argmax(axis=1) == classes) & (whole.argmax(axis=1) == classes)
    name = scene.name if scene is not None else None
    return Parity(len(expected), name, max(differences), int(equal.sum()))


def in_float32(predictor: Predictor) -> Predictor:
    """The same predictor, its adapted backbone in float32."""
    if isinstance(predictor, PooledPredictor):
        return replace(predictor, parts=tuple(map(in_float32, predictor.parts)))
    if isinstance(predictor, EncoderPredictor):
        return replace(predictor, precision="fp32")
    return predictor


def _probabilities(predictor: Predictor, scene: Scene, where: np.ndarray) -> np.ndarray:
    found = classify(predictor, scene, where, probabilities=True).probabilities
    assert found is not None
    return found[:, where].T


def whole_graph(
    path: Path, predictor: Predictor, scene: Scene, positions: np.ndarray
) -> np.ndarray:
    """Probabilities (n, K) that the graph of an exported file gives for pixels (n, 2).

    The path that another program takes: values of the scene in, probabilities out.
    """
    parts = parts_of(predictor)
    graph = onnx.load(path)
    names = [given.name for given in graph.graph.input]
    inputs: dict[str, np.ndarray] = {}
    for part in parts:
        if isinstance(part, WindowPredictor):
            inputs["values"], inputs["valid"] = windows_of_values(scene, part.reach, positions)
    classic = [part for part in parts if isinstance(part, PixelPredictor)]
    features = [name for name in names if name.endswith(".features")]
    for name, part in zip(features, classic, strict=True):
        inputs[name] = features_at(scene, part.features, positions)
    assert set(inputs) == set(names)
    return Session(path.read_bytes()).run("probabilities", inputs)


def windows_of_values(
    scene: Scene, reach: int, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The inputs `values` (n, B, s, s) and `valid` (n, 1, s, s) of pixels (n, 2)."""
    window = SceneWindow.read(scene, Tile(0, 0, *scene.valid.shape), reach, scene.valid)
    values, valid = window.mirrored(window.values, reach), window.valid_with(reach)
    side = 2 * reach + 1
    found = np.empty((len(positions), len(values), side, side), np.float32)
    known = np.empty((len(positions), 1, side, side), np.float32)
    for number, (row, column) in enumerate(positions.tolist()):
        place = slice(row, row + side), slice(column, column + side)
        known[number, 0] = valid[place]
        found[number] = np.where(valid[place], values[:, *place], 0)  # NaN times 0 is NaN
    return found, known


def _crop(scene: Scene) -> Scene:
    """A square of the scene around the valid pixel in the middle of all."""
    places = np.argwhere(scene.valid)
    middle = places[len(places) // 2]
    rows, columns = (
        slice(start, start + SIDE)
        for start in np.clip(middle - SIDE // 2, 0, np.array(scene.valid.shape)).tolist()
    )
    cube = scene.cube.isel(y=rows, x=columns)
    return replace(scene, cube=cube, valid=scene.valid[rows, columns].copy(), labels=None)


def _drawn(bundle: Bundle) -> Scene:
    """A scene of random spectra of the run's bands; some pixels are not valid."""
    bands = bundle.predictor.bands
    assert bands is not None
    random = np.random.default_rng(0)
    spread = 0.2 * np.abs(bands.mean) + 1e-3
    noise = random.standard_normal((len(spread), 24, 24))
    cube = (bands.mean[:, None, None] + spread[:, None, None] * noise).astype(np.float32)
    scene = Scene.from_array(cube.transpose(1, 2, 0), wavelengths=bands.wavelengths)
    return replace(scene, valid=random.random((24, 24)) < 0.9)


def _some(valid: np.ndarray) -> np.ndarray:
    """At most `PIXELS` valid pixels, spread evenly, as a mask."""
    places = np.argwhere(valid)
    chosen = places[np.unique(np.linspace(0, len(places) - 1, PIXELS).astype(int))]
    where = np.zeros_like(valid)
    where[tuple(chosen.T)] = True
    return where


def numbers_of(predictor: EncoderPredictor) -> tuple[dict[str, np.ndarray], Architecture]:
    """Arrays by the names of `graphs.frame`, and the architecture.

    Parameters
    ----------
    predictor : EncoderPredictor
        With its adapters merged.

    Raises
    ------
    BundleError
        The model holds tensors that an exported graph has no place for.
    """
    model = predictor.model
    encoder = model.encoder
    attention = encoder.get_submodule("blocks.0.attn")
    assert isinstance(attention, Attention)
    architecture = Architecture(
        windows=tuple(predictor.patch_sizes),
        image_size=encoder.image_size,
        stride=encoder.patch_embed.stride,
        num_heads=attention.num_heads,
        depth=encoder.depth,
        centre=CENTRE_WEIGHT if model.centre else 0.0,
        norm_eps=encoder.norm.eps,
        pooled_eps=model.norm.eps,
    )
    state = _State(model)
    with torch.no_grad():
        arrays = {
            **_reducer(predictor.reducer),
            "embed.weight": state.take("encoder.patch_embed.proj.weight").flatten(1).T,
            "positions": _positions(state, architecture.grid),
            **_blocks(state, architecture, encoder.dim),
            **state.pair("encoder.norm", "norm"),
            **state.pair("norm", "pooled"),
            **_heads(state, model, predictor.patch_sizes),
        }
    state.check_all_taken()
    return {name: _plain(value) for name, value in arrays.items()}, architecture


class _State:
    """A model's tensors, each of which is taken once."""

    def __init__(self, model: nn.Module) -> None:
        self._left = {k: v.detach().cpu().float() for k, v in model.state_dict().items()}

    def take(self, name: str) -> Tensor:
        if name not in self._left:
            raise BundleError(f"the model has no {name}: this kind cannot be exported to ONNX")
        return self._left.pop(name)

    def pair(self, layer: str, to: str) -> dict[str, Tensor]:
        """Weight and bias of a normalisation."""
        return {f"{to}.{kind}": self.take(f"{layer}.{kind}") for kind in ("weight", "bias")}

    def linear(self, layer: str, to: str) -> dict[str, Tensor]:
        """Weight, as it multiplies, and bias."""
        return {
            f"{to}.weight": self.take(f"{layer}.weight").T,
            f"{to}.bias": self.take(f"{layer}.bias"),
        }

    def check_all_taken(self) -> None:
        if self._left:
            names = ", ".join(sorted(self._left)[:8])
            raise BundleError(f"the model holds {names}: this kind cannot be exported to ONNX")


def _reducer(reducer: Reducer) -> dict[str, np.ndarray]:
    """The reduction, in the shapes of a convolution."""
    return {
        "reducer.mean": reducer.mean[:, None, None],
        "reducer.matrix": reducer.matrix[:, :, None, None],
        "reducer.shift": reducer.shift,
    }


def _positions(state: _State, grid: int) -> Tensor:
    """Position of each token (L, D), with the bias of the embedding."""
    spatial = interpolate_positions(state.take("encoder.pos_embed_spatial"), grid)
    temporal = state.take("encoder.pos_embed_temporal")
    positions = (temporal[:, :, None] + spatial[:, None]).flatten(1, 2)[0]
    return positions + state.take("encoder.patch_embed.proj.bias")


def _blocks(state: _State, architecture: Architecture, width: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number in range(architecture.depth):
        block, to = f"encoder.blocks.{number}", f"block{number}"
        for layer in ("q", "k", "v", "proj"):
            found |= state.linear(f"{block}.attn.{layer}", f"{to}.{layer}")
        for kind in ("weight", "bias"):  # attention divides by this, of one head's width
            name = f"{to}.q.{kind}"
            found[name] = found[name] * (width // architecture.num_heads) ** -0.5
        for layer in ("fc1", "fc2"):
            found |= state.linear(f"{block}.mlp.{layer}", f"{to}.{layer}")
        for layer in ("norm1", "norm2"):
            found |= state.pair(f"{block}.{layer}", f"{to}.{layer}")
    return found


def _heads(state: _State, model: Classifier, sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """The linear layers of the windows in their order: one of all where there is one."""
    several = isinstance(model.head, nn.ModuleDict)
    names = [f"head.{size}" for size in sizes] if several else ["head"]
    layers = [state.linear(name, "head") for name in names]
    weight = torch.stack([layer["head.weight"] for layer in layers])  # (W, F, K)
    return {
        "head.weight": weight,
        "head.bias": torch.stack([layer["head.bias"] for layer in layers])[:, None],
    }


def _plain(value: Tensor | np.ndarray) -> np.ndarray:
    array = value.numpy() if isinstance(value, Tensor) else value
    return np.ascontiguousarray(array, dtype=np.float32)
