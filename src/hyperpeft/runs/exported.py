"""A run as one ONNX file: a graph that computes its probabilities, and all that maps with it.

The graph holds every part of the run: the adapted backbone on windows of the scene's values, and
the classic parts of `auto` on their features, mixed:

    values (n, B, s, s), valid (n, 1, s, s), NAME.features (n, F) for each classic part NAME
        -> probabilities (n, K)

Any ONNX runtime executes it. Features and the refinement of a map are not a matter of single
windows: they are computed here, by the numbers in the metadata, and so is the reduction, once for
all windows that overlap. Nothing but numbers is taken from a file: the graphs that are executed are
built again from them, as those of `baselines.pixel_model` are. One file was chosen, and not a
folder, because it is what is handed on: it names its classes and bands, and cannot lose a part.

Metadata: `format`, `hyperpeft` (version), `classes` (names by id), `class_ids` (of the columns),
`bands`, `wavelengths` (nm), `level` (mean absolute value over the bands of the training scene),
`architecture`, `record` (run.json without folders), and the files `reducer.safetensors`,
`refinement.safetensors`, `features.safetensors` and `parts/NAME/features.safetensors` in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from hyperpeft._version import __version__
from hyperpeft.baselines import BASELINES
from hyperpeft.errors import BundleError
from hyperpeft.mapping import GraphPredictor
from hyperpeft.models.graphs.classifier import classifier_graph
from hyperpeft.models.graphs.frame import (
    Architecture,
    Arrays,
    Pool,
    check_arrays,
    content_of,
    input_name,
    metadata_of,
    names_of,
    pixel_model,
    subgraph,
)
from hyperpeft.models.graphs.session import Session, providers
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.config import BACKBONE_PART
from hyperpeft.runs.file_names import FEATURES, MODEL, PARTS, REDUCER, REFINEMENT, RUN
from hyperpeft.runs.inputs import without_folders
from hyperpeft.runs.methods.baseline_files import (
    load_baseline,
    load_refinement,
    pool_of,
    used_parts,
    with_classic_parts,
)
from hyperpeft.runs.record import RunRecord
from hyperpeft.spectral import Reducer

FORMAT = "hyperpeft map model 1"
LARGEST = 2**31 - 1  # bytes: what protobuf holds
ALONE = "pixels"  # the part of a baseline's run
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")

Window = tuple[Arrays, Architecture]
"""Numbers of the part on the backbone, and its architecture."""


def pack(folder: Path, record: RunRecord, window: Window | None) -> onnx.ModelProto:
    """The file of a run.

    Parameters
    ----------
    folder : Path
        The run folder, for the files of classic parts, reducer and refinement.
    record : RunRecord
    window : tuple of arrays and Architecture, or None
        Of the part on the backbone; None where the run has none that counts.

    Raises
    ------
    BundleError
        When it is larger than an ONNX file can be.
    """
    parts = _parts(record, window is not None)
    files = {name: folder / name for name in _files(record, parts)}
    models = {name: onnx.load(path) for name, path in _models(folder, record, parts).items()}
    classes = len(record.adapter["class_ids"])
    pooled = Pool(classes, linear=pool_of(record) == "linear")
    for name, factor, weight in parts:
        if name == BACKBONE_PART:
            assert window is not None
            pooled.add(name, classifier_graph(*window), "logits", factor, weight)
        else:
            pooled.add(name, models[name], "scores", factor, weight)
    model = pooled.model()
    kinds = {name: metadata_of(model)["kind"] for name, model in models.items()}
    helper.set_model_props(model, _properties(folder, record, files, kinds, window))
    if model.ByteSize() > LARGEST:
        raise BundleError(
            f"{folder} is too large for one ONNX file",
            expected=f"at most {LARGEST} bytes",
            got=model.ByteSize(),
            hint="map with --runtime torch",
        )
    return model


def _parts(record: RunRecord, window: bool) -> list[tuple[str, float, float]]:
    """Name, factor and weight of each part."""
    used = used_parts(record)
    if used:
        return [(part["name"], part["factor"], part["weight"]) for part in used]
    return [(BACKBONE_PART if window else ALONE, 1.0, 1.0)]


def _files(record: RunRecord, parts: list[tuple[str, float, float]]) -> list[str]:
    """Names of the files of a run that the metadata hold."""
    names = [] if record.config.get("refine", "none") == "none" else [REDUCER, REFINEMENT]
    for name, _, _ in parts:
        if name == BACKBONE_PART:
            names.append(REDUCER)
        else:
            names.append(FEATURES if name == ALONE else f"{PARTS}/{name}/{FEATURES}")
    return sorted(set(names))


def _models(
    folder: Path, record: RunRecord, parts: list[tuple[str, float, float]]
) -> dict[str, Path]:
    """The ONNX file of each classic part."""
    return {
        name: folder / MODEL if name == ALONE else folder / PARTS / name / MODEL
        for name, _, _ in parts
        if name != BACKBONE_PART
    }


def _properties(
    folder: Path,
    record: RunRecord,
    files: Mapping[str, Path],
    kinds: Mapping[str, str],
    window: Window | None,
) -> dict[str, str]:
    """The metadata."""
    text = without_folders(*_record_of(folder))
    found = {
        "format": FORMAT,
        "hyperpeft": __version__,
        "classes": json.dumps(record.class_names),
        "class_ids": json.dumps(record.adapter["class_ids"]),
        "record": text,
        "kinds": json.dumps(dict(kinds)),
    }
    if window is not None:
        found["architecture"] = json.dumps(window[1].to_dict())
    if REDUCER in files:
        reducer = Reducer.from_file(files[REDUCER])
        found["bands"] = str(len(reducer.mean))
        found["level"] = f"{np.abs(reducer.mean).mean():.6g}"
        if reducer.wavelengths is not None:
            found["wavelengths"] = json.dumps([round(float(w), 4) for w in reducer.wavelengths])
    for name, path in files.items():
        found[name] = base64.b64encode(path.read_bytes()).decode()
    return found


def _record_of(folder: Path) -> tuple[str, dict[str, Any]]:
    """The text of a run's record, and its values."""
    text = (folder / RUN).read_text(encoding="utf-8")
    return text, json.loads(text)


def _read(path: Path) -> onnx.ModelProto:
    """An ONNX file; BundleError where it is none."""
    try:
        return onnx.load_model_from_string(content_of(path, LARGEST))
    except DecodeError:
        raise BundleError(
            f"{path}", expected="a run folder, or a .onnx file of `hyperpeft export`",
            got="another file",
        ) from None  # fmt: skip


def load_exported(path: Path, *, record: RunRecord | None = None) -> Bundle:
    """Load an exported run; torch is not needed.

    Parameters
    ----------
    path : Path
    record : RunRecord, optional
        Of the run folder that the file lies in; it must be the run that was exported.

    Raises
    ------
    BundleError
        The file is damaged, of another kind, or of another run than its folder.
    """
    model = _read(path)
    texts = metadata_of(model)
    if texts.get("format") != FORMAT:
        got = repr(texts.get("format"))
        hint = "give a run folder, or a file that `hyperpeft export` wrote"
        raise BundleError(f"{path} is not an exported run", expected=FORMAT, got=got, hint=hint)
    try:
        return _load(path, model, texts, record)
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error, RecursionError) as error:
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise BundleError(f"{path} is a damaged export ({why})") from None


def _load(
    path: Path, model: onnx.ModelProto, texts: Mapping[str, str], record: RunRecord | None
) -> Bundle:
    """The bundle: what the file holds is laid out as a run folder, and read as one."""
    with tempfile.TemporaryDirectory(prefix="hyperpeft-") as place:
        folder = Path(place)
        (folder / RUN).write_text(texts["record"], encoding="utf-8")
        own = RunRecord.from_file(folder / RUN)
        if record is not None:
            _check_same(path, texts["record"])
            own = record
        window = "architecture" in texts
        parts = _parts(own, window)
        if any(name != BACKBONE_PART and not _NAME.fullmatch(name) for name, _, _ in parts):
            raise ValueError("a part whose name is not one")
        for name in _files(own, parts):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(base64.b64decode(texts[name], validate=True))
        kinds = json.loads(texts["kinds"])
        for name, target in _models(folder, own, parts).items():
            part = _pixel_part(model, name, str(kinds[name]), len(own.adapter["class_ids"]))
            target.write_bytes(part.SerializeToString())
        if own.adapter["method"] in BASELINES:
            return Bundle(own, load_baseline(folder, own), load_refinement(folder, own))
        predictor = None
        reducer = None
        if any(name == BACKBONE_PART for name, _, _ in parts):
            reducer = Reducer.from_file(folder / REDUCER)
            predictor = _window_part(model, texts, own, reducer)
        pooled = with_classic_parts(folder, own, predictor)
        return Bundle(own, pooled, load_refinement(folder, own, reducer))


def _check_same(path: Path, text: str) -> None:
    """BundleError where a run folder has another record than the model in it was exported with."""
    if json.loads(text) != json.loads(without_folders(*_record_of(path.parent))):
        raise BundleError(
            f"{path} was exported from another training than that of {path.parent}",
            hint=f"write it again with `hyperpeft export {path.parent} --to {path}`",
        )


def _pixel_part(model: onnx.ModelProto, part: str, kind: str, classes: int) -> onnx.ModelProto:
    """The model of a classic part as its own file holds it; what reads it checks it."""
    nodes, constants = subgraph(model, part)
    inputs = [given for given in model.graph.input if given.name == input_name(part, "features")]
    if len(inputs) != 1 or not nodes:
        raise ValueError(f"no part {part}")
    features = inputs[0].type.tensor_type.shape.dim[1].dim_value
    tensors = []
    for name, tensor in constants.items():
        made = TensorProto()
        made.CopyFrom(tensor)
        made.name = name
        tensors.append(made)
    return pixel_model(kind, nodes, tensors, features, classes)


def _window_part(
    model: onnx.ModelProto, texts: Mapping[str, str], record: RunRecord, reducer: Reducer
) -> GraphPredictor:
    """The part on the backbone: a graph that is built again from the numbers of the file."""
    architecture = Architecture.from_dict(json.loads(texts["architecture"]))
    nodes, constants = subgraph(model, BACKBONE_PART)
    arrays = _arrays(constants, architecture)
    check_arrays(arrays, architecture)
    if not np.array_equal(arrays["reducer.matrix"][..., 0, 0], np.float32(reducer.matrix)):
        raise ValueError(f"{REDUCER} is of another run than the graph")
    class_ids = np.array(record.adapter["class_ids"], np.int32)
    if arrays["head.bias"].shape[-1] != len(class_ids):
        raise ValueError(f"a head of {arrays['head.bias'].shape[-1]} of {len(class_ids)} classes")
    expected = [node.op_type for node in classifier_graph(arrays, architecture).graph.node]
    if [node.op_type for node in nodes] != expected:
        raise ValueError("a graph of other operators than its numbers make")
    graph = classifier_graph(arrays, architecture, "reduced")
    session = Session(graph.SerializeToString(deterministic=True), tuple(providers()))
    return GraphPredictor(reducer, class_ids, architecture.windows, session)


def _arrays(
    constants: Mapping[str, onnx.TensorProto], architecture: Architecture
) -> dict[str, np.ndarray]:
    """The numbers of a classifier among the constants of its graph."""
    arrays = {}
    for name in names_of(architecture):
        tensor = constants[name]
        if tensor.data_type != TensorProto.FLOAT or tensor.external_data:
            raise ValueError(f"{name}: expected numbers of 32 bits in the file itself")
        arrays[name] = numpy_helper.to_array(tensor)
    return arrays
