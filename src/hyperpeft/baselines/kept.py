"""The files of a fitted baseline: features, and a classifier of pixels or a network of windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperpeft.baselines.network_predictor import NetworkPredictor
from hyperpeft.baselines.pixel_models import PixelModel
from hyperpeft.errors import BundleError
from hyperpeft.mapping import PixelFeatures, PixelPredictor, Predictor


@dataclass(frozen=True)
class Files:
    """Where a baseline's features, ONNX model and network lie; one of the last two is there."""

    features: Path
    pixels: Path
    network: Path


def save(predictor: Predictor, files: Files) -> int | None:
    """Write a predictor's files; the bytes they take together, None where it has no file format."""
    if isinstance(predictor, NetworkPredictor):
        model = files.network
        predictor.model_to_file(model)
    elif isinstance(predictor, PixelPredictor) and isinstance(predictor.model, PixelModel):
        model = files.pixels
        predictor.model.to_file(model)
    else:
        return None
    predictor.features.to_file(files.features)
    return sum(path.stat().st_size for path in (model, files.features))


def load(files: Files, class_ids: np.ndarray) -> PixelPredictor | NetworkPredictor:
    """Read what `save` wrote.

    Raises
    ------
    BundleError
        For files that are missing, damaged, or do not fit each other.
    """
    features = PixelFeatures.from_file(files.features)
    if files.network.is_file():
        return NetworkPredictor.of_files(files.network, features, class_ids)
    model = PixelModel.from_file(files.pixels)
    if (model.features, model.classes) != (features.count, len(class_ids)):
        raise BundleError(
            f"{files.pixels} does not fit its run",
            expected=f"{features.count} features, {len(class_ids)} classes",
            got=f"{model.features}, {model.classes}",
        )
    return PixelPredictor(features, model, class_ids)
