"""The files of a run folder but the adapter's: of baselines and classic parts, the refinement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hyperpeft.baselines import BASELINES
from hyperpeft.baselines.pixel_model import PixelModel
from hyperpeft.errors import BundleError
from hyperpeft.mapping import PixelFeatures, PixelPredictor, Predictor, Refinement
from hyperpeft.mapping.predictor import PooledPredictor
from hyperpeft.runs.config import BACKBONE_PART
from hyperpeft.runs.file_names import (
    ADAPTER,
    ADAPTER_FILES,
    BACKBONE,
    FEATURES,
    HEAD,
    MODEL,
    NETWORK,
    PARTS,
    REDUCER,
    REFINEMENT,
    RUN,
    SPLIT,
)
from hyperpeft.runs.record import RunRecord
from hyperpeft.spatial import RefineOptions
from hyperpeft.spectral import Reducer
from hyperpeft.system.files import sha256_of, within

if TYPE_CHECKING:
    from hyperpeft.baselines.network_predictor import NetworkPredictor


def save_baseline(folder: Path, predictor: Predictor) -> int | None:
    """Write a baseline; the bytes it takes, None where its kind of model is not kept."""
    return _save(predictor, _files(folder))


def load_baseline(folder: Path, record: RunRecord) -> Predictor:
    """Read a baseline back; BundleError where there is none, or a damaged one."""
    for name in (FEATURES, MODEL, NETWORK, REDUCER, REFINEMENT, SPLIT):
        within(folder, name)
    if not any((folder / name).is_file() for name in (FEATURES, MODEL, NETWORK)):
        raise BundleError(
            f"{folder} is a run of the baseline {record.adapter['method']} without its model",
            hint="use the map.tif and run.json that are in it, or train again",
        )
    return _load(_files(folder), np.array(record.adapter["class_ids"], np.int32))


def with_classic_parts(folder: Path, record: RunRecord, predictor: Predictor | None) -> Predictor:
    """The pool of a run of `auto` with its part on the backbone; the predictor of other runs.

    `predictor` may be None where the part on the backbone counts for nothing.
    """
    reports = record.adapter.get("parts")
    if not reports:
        assert predictor is not None
        return predictor
    used = used_parts(record)
    class_ids = np.array(record.adapter["class_ids"], np.int32)
    parts: list[Predictor] = []
    for report in used:
        if report["name"] == BACKBONE_PART:
            assert predictor is not None
            parts.append(predictor)
            continue
        place = folder / PARTS / report["name"]
        for name in (FEATURES, MODEL, NETWORK):
            within(folder, str((place / name).relative_to(folder)))
        parts.append(_load(_files(place), class_ids))
    return PooledPredictor(
        tuple(parts),
        tuple(report["factor"] for report in used),
        tuple(report["weight"] for report in used),
        pool_of(record),
    )


def pool_of(record: RunRecord) -> Literal["logarithmic", "linear"]:
    """How a run of `auto` pools its parts; the records of earlier versions do not say."""
    return "logarithmic" if record.adapter.get("pool") == "logarithmic" else "linear"


def used_parts(record: RunRecord) -> list[dict[str, Any]]:
    """The parts of a run of `auto` that count, as the record has them; none of other runs."""
    return [part for part in record.adapter.get("parts") or () if part["weight"] > 0]


def _files(folder: Path) -> _Files:
    return _Files(folder / FEATURES, folder / MODEL, folder / NETWORK)


def adapter_folder(folder: Path) -> Path:
    """Where the adapter of a run lies: in `adapter/`, or beside the rest in an exported folder."""
    exported = (folder / ADAPTER_FILES[0]).is_file() and not (folder / ADAPTER).exists()
    return folder if exported else folder / ADAPTER


def check_links(folder: Path) -> None:
    """BundleError for a run folder with links out of it."""
    for name in (HEAD, REDUCER, SPLIT, ADAPTER, BACKBONE, FEATURES, MODEL, NETWORK, REFINEMENT):
        within(folder, name)
    for name in ADAPTER_FILES:
        within(folder, name)


def part_files(folder: Path) -> dict[str, Path]:
    """The files of a run folder that hold what was learned, by their names in the record.

    Not `adapter_config.json`, which names the base model otherwise in a shared run.
    """
    names = (HEAD, REDUCER, BACKBONE, REFINEMENT, FEATURES, MODEL, NETWORK)
    found = {name: folder / name for name in names}
    found[f"{ADAPTER}/{ADAPTER_FILES[1]}"] = adapter_folder(folder) / ADAPTER_FILES[1]
    for path in sorted((folder / PARTS).glob("*/*")):
        if path.name in (FEATURES, MODEL):
            found[path.relative_to(folder).as_posix()] = path
    return {name: path for name, path in found.items() if path.is_file()}


def check_parts(folder: Path, record: RunRecord) -> None:
    """BundleError where a file is not the one that was written with the record.

    The records of earlier versions do not say.
    """
    for name, path in part_files(folder).items():
        expected = (record.files or {}).get(name)
        if expected is None:
            continue
        got = sha256_of(within(folder, path.relative_to(folder).as_posix()))
        if got != expected:
            raise BundleError(
                f"{path} is not the file that was written with {folder / RUN}",
                expected=f"sha256 {expected}", got=got,
                hint="take all files from the folder of one run",
            )  # fmt: skip


def check_usable(folder: Path, record: RunRecord) -> None:
    """BundleError for the run of a baseline, which has no backbone, and for links out of it."""
    check_links(folder)
    method = record.adapter["method"]
    if method in BASELINES:
        raise BundleError(
            f"{folder} is a run of the baseline {method}, which has no backbone and no adapter",
            hint="give a run of an adapter's method",
        )


def load_refinement(
    folder: Path, record: RunRecord, reducer: Reducer | None = None
) -> Refinement | None:
    """The refinement of a run; None where it has none, or is older than refinement."""
    kind = record.config.get("refine", "none")
    if kind == "none":
        return None
    reducer = Reducer.from_file(folder / REDUCER) if reducer is None else reducer
    return Refinement.from_file(folder / REFINEMENT, RefineOptions(kind), reducer)


@dataclass(frozen=True)
class _Files:
    """Where a baseline's features, ONNX model and network lie; one of the last two is there."""

    features: Path
    pixels: Path
    network: Path


def _save(predictor: Predictor, files: _Files) -> int | None:
    """Write a predictor's files; the bytes they take together, None where it has no file format."""
    if isinstance(predictor, PixelPredictor):
        if not isinstance(predictor.model, PixelModel):
            return None
        model = files.pixels
        predictor.model.to_file(model)
    else:
        if not isinstance(predictor, _network()):
            return None
        model = files.network
        predictor.model_to_file(model)
    predictor.features.to_file(files.features)
    return sum(path.stat().st_size for path in (model, files.features))


def _load(files: _Files, class_ids: np.ndarray) -> PixelPredictor | NetworkPredictor:
    """Read what `save` wrote.

    Raises
    ------
    BundleError
        For files that are missing, damaged, or do not fit each other.
    """
    features = PixelFeatures.from_file(files.features)
    if files.network.is_file():
        return _network().of_files(files.network, features, class_ids)
    model = PixelModel.from_file(files.pixels)
    if (model.features, model.classes) != (features.count, len(class_ids)):
        raise BundleError(
            f"{files.pixels} does not fit its run",
            expected=f"{features.count} features, {len(class_ids)} classes",
            got=f"{model.features}, {model.classes}",
        )
    return PixelPredictor(features, model, class_ids)


def _network() -> type[NetworkPredictor]:
    from hyperpeft.baselines.network_predictor import NetworkPredictor  # torch takes seconds

    return NetworkPredictor
