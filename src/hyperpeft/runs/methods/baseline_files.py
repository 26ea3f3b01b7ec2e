"""The files of a baseline in its run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hyperpeft.baselines import kept
from hyperpeft.errors import BundleError
from hyperpeft.mapping import Predictor
from hyperpeft.mapping.mixture import MixturePredictor
from hyperpeft.runs.config import BACKBONE_PART
from hyperpeft.runs.file_names import (
    FEATURES,
    MODEL,
    NETWORK,
    PARTS,
    REDUCER,
    REFINEMENT,
    SPLIT,
)
from hyperpeft.runs.record import RunRecord
from hyperpeft.system.files import within


def save_baseline(folder: Path, predictor: Predictor) -> int | None:
    """Write a baseline; the bytes it takes, None where its kind of model is not kept."""
    return kept.save(predictor, _files(folder))


def load_baseline(folder: Path, record: RunRecord) -> Predictor:
    """Read a baseline back; BundleError where there is none, or a damaged one."""
    for name in (FEATURES, MODEL, NETWORK, REDUCER, REFINEMENT, SPLIT):
        within(folder, name)
    if not any((folder / name).is_file() for name in (FEATURES, MODEL, NETWORK)):
        raise BundleError(
            f"{folder} is a run of the baseline {record.adapter['method']} without its model",
            hint="use the map.tif and run.json that are in it, or train again",
        )
    return kept.load(_files(folder), np.array(record.adapter["class_ids"], np.int32))


def with_classic_parts(folder: Path, record: RunRecord, predictor: Predictor) -> Predictor:
    """The mixture of a run of `auto` with its part on the backbone; the predictor of other runs."""
    reports = record.adapter.get("parts")
    if not reports:
        return predictor
    used = [report for report in reports if report["weight"] > 0]
    parts: list[Predictor] = []
    for report in used:
        if report["name"] == BACKBONE_PART:
            parts.append(predictor)
            continue
        place = folder / PARTS / report["name"]
        for name in (FEATURES, MODEL, NETWORK):
            within(folder, str((place / name).relative_to(folder)))
        parts.append(kept.load(_files(place), predictor.class_ids))
    return MixturePredictor(
        tuple(parts),
        tuple(report["factor"] for report in used),
        tuple(report["weight"] for report in used),
    )


def _files(folder: Path) -> kept.Files:
    return kept.Files(folder / FEATURES, folder / MODEL, folder / NETWORK)
