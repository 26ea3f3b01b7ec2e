"""A pool of calibrated predictors, p_m = softmax(factor_m * logits_m).

logarithmic    p = softmax(sum_m w_m log p_m)
linear         p = sum_m w_m p_m, of runs made by earlier versions
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.predictor import Predictor, WindowPredictor
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.records import Scene
from hyperpeft.spectral import HasBands

LEAST = 1e-12  # probability whose logarithm is still a number in float32


@dataclass(frozen=True, eq=False)
class PooledPredictor(Predictor):
    """Predictors of the same classes, pooled; its logits are log-probabilities.

    Attributes
    ----------
    parts : tuple of Predictor
        The first one is the slowest: progress is counted by it, and it describes pixels for
        adaptive maps.
    factors, weights : tuple of float
        Inverse temperature and weight of each part.
    pool : "logarithmic" or "linear"
    """

    parts: tuple[Predictor, ...]
    factors: tuple[float, ...]
    weights: tuple[float, ...]
    pool: Literal["logarithmic", "linear"] = "logarithmic"

    @property
    def class_ids(self) -> np.ndarray:  # type: ignore[override]
        """Ids (K,) of the classes, the same in every part."""
        return self.parts[0].class_ids

    @property
    def reach(self) -> int:
        return max(part.reach for part in self.parts)

    @property
    def cell(self) -> int:
        return max(part.cell for part in self.parts)

    @property
    def bands(self) -> HasBands | None:
        return next((part.bands for part in self.parts if part.bands is not None), None)

    @property
    def runtime(self) -> str:
        part = window_part_of(self) or self.parts[0]
        return part.runtime

    def check(self, scene: Scene) -> None:
        for part in self.parts:
            part.check(scene)

    def prepare(self, window: SceneWindow) -> tuple[Any, ...]:
        return tuple(part.prepare(window) for part in self.parts)

    def logits(
        self,
        prepared: tuple[Any, ...],
        positions: np.ndarray,
        *,
        scattered: bool = False,
        told: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray:
        total = np.zeros((len(positions), len(self.class_ids)))
        rows = zip(self.parts, prepared, self.factors, self.weights, strict=True)
        for number, (part, own, factor, weight) in enumerate(rows):
            tell = told if number == 0 else None
            logits = part.logits(own, positions, scattered=scattered, told=tell)
            logs = scipy.special.log_softmax(factor * logits.astype(np.float64), axis=1)
            total += weight * (np.exp(logs) if self.pool == "linear" else logs)
        if self.pool == "logarithmic":
            total = np.exp(scipy.special.log_softmax(total, axis=1))
        return np.log(np.maximum(total, LEAST)).astype(np.float32)

    def to(self, device: str) -> PooledPredictor:
        return replace(self, parts=tuple(part.to(device) for part in self.parts))

    def on_accelerator(self) -> PooledPredictor:
        return replace(self, parts=tuple(part.on_accelerator() for part in self.parts))

    def fingerprint(self, into: Fingerprint) -> None:
        into.words(self.pool, self.factors, self.weights)
        for part in self.parts:
            part.fingerprint(into)

    def described(self, prepared: tuple[Any, ...], valid: np.ndarray) -> np.ndarray | None:
        return self.parts[0].described(prepared[0], valid)


def window_part_of(predictor: Predictor) -> WindowPredictor | None:
    """The part of a predictor that is an adapted backbone; None where there is none."""
    parts = predictor.parts if isinstance(predictor, PooledPredictor) else (predictor,)
    return next((part for part in parts if isinstance(part, WindowPredictor)), None)
