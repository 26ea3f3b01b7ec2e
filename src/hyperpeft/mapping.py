"""A trained model, its reducer and a scene: the class of every valid pixel."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hyperpeft.classifier import Classifier, held_in, predict
from hyperpeft.patches import Windows
from hyperpeft.records import UNLABELLED

BATCH = {"cpu": 64, "cuda": 1024}  # windows; on a processor more than its cache holds is slower


@dataclass(frozen=True)
class ClassMap:
    """The class of every pixel.

    Attributes
    ----------
    ids : ndarray of int32, shape (H, W)
        0 where the scene is not valid.
    probabilities : ndarray of float32, shape (K, H, W), or None
        NaN where the scene is not valid.
    pixels : int
        How many were predicted.
    seconds : float
    """

    ids: np.ndarray
    probabilities: np.ndarray | None
    pixels: int
    seconds: float


def classify(
    model: Classifier,
    windows: Windows,
    where: np.ndarray,
    class_ids: np.ndarray,
    *,
    precision: str = "fp32",
    probabilities: bool = False,
    watch: Callable[[int, int], None] | None = None,
) -> ClassMap:
    """Classify the pixels of a scene.

    Parameters
    ----------
    model : Classifier
        Best with its adapters merged.
    windows : Windows
        Over the scene's reduced cube.
    where : ndarray of bool, shape (H, W)
        The pixels to classify.
    class_ids : ndarray of int, shape (K,)
        The id of each of the model's outputs.
    precision : "fp32" or "bf16"
    probabilities : bool
        Also keep the softmax of every class: K float32 numbers a pixel.
    watch : callable, optional
        Told (pixels done, pixels in all).
    """
    device = next(model.parameters()).device
    positions = torch.from_numpy(np.argwhere(where))  # (n, 2)
    total, done = len(positions), 0
    ids = np.full(where.shape, UNLABELLED, np.int32)
    chances = np.full((len(class_ids), *where.shape), np.nan, np.float32) if probabilities else None
    start = time.monotonic()
    with held_in(model, precision):
        batches = predict(
            model, windows, positions, precision=precision, batch_size=BATCH.get(device.type, 256)
        )
        for logits in batches:  # (n, K)
            rows, columns = positions[done : done + len(logits)].numpy().T
            ids[rows, columns] = class_ids[logits.argmax(1).numpy()]
            if chances is not None:
                chances[:, rows, columns] = logits.softmax(1).T.numpy()
            done += len(logits)
            if watch is not None:
                watch(done, total)
    return ClassMap(ids, chances, total, time.monotonic() - start)
