"""A small model and scenes with holes, for tests of maps by tile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from hyperpeft import spectral
from hyperpeft.mapping import EncoderPredictor, Mapper, classify
from hyperpeft.training.classifier import Classifier
from tests.helpers.small import encoder, planted

IDS = np.array([1, 2], np.int32)
CLASSES = {1: "one", 2: "two"}
COLOURS = {1: (255, 0, 0), 2: (0, 0, 255)}


def holed(height: int, width: int, seed: int = 0):
    """A planted scene with some pixels that are not valid."""
    scene = planted(height=height, width=width, seed=seed)
    valid = np.random.default_rng(seed).random((height, width)) > 0.05
    return replace(scene, valid=valid)


def mapper_for(scene, patch_size: int = 5, **changes) -> Mapper:
    model = Classifier(encoder(image_size=8), 2).eval()
    with torch.no_grad():
        model.head.weight.mul_(50)  # so that classes follow the pixels
    reducer = spectral.fit(scene)
    predictor = EncoderPredictor(model, reducer, IDS, (patch_size,), "fp32", 8)
    return Mapper(predictor, **changes)


def in_memory(mapper: Mapper, scene):
    return classify(mapper.predictor, scene, probabilities=True)
