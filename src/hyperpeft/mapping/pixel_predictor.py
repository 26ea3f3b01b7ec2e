"""A classifier of pixels on features of the image, as a predictor for maps of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.pixel_features import PixelFeatures
from hyperpeft.mapping.predictor import Predictor
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.records import Scene
from hyperpeft.spectral import HasBands

CHUNK = 2**14  # pixels predicted between two reports of progress


class PixelScores(Protocol):
    """A fitted classifier of features, such as `baselines.pixel_model.PixelModel`."""

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores (n, K) of features (n, F); those of a pixel do not depend on the others."""

    @property
    def runtime(self) -> str:
        """What executes it, in words."""

    def digest(self) -> str:
        """Hash of all that decides the scores."""


@dataclass(frozen=True, eq=False)
class PixelPredictor(Predictor):
    """A fitted classifier of the features of a pixel; its scores are the logits.

    Attributes
    ----------
    features : PixelFeatures
    model : PixelScores
    class_ids : ndarray of int32, shape (K,)
    """

    features: PixelFeatures
    model: PixelScores
    class_ids: np.ndarray

    @property
    def reach(self) -> int:
        return self.features.reach

    @property
    def cell(self) -> int:
        return self.features.cell

    @property
    def bands(self) -> HasBands:
        return self.features.bands

    @property
    def runtime(self) -> str:
        return self.model.runtime

    def check(self, scene: Scene) -> None:
        self.features.check(scene)

    def prepare(self, window: SceneWindow) -> tuple[np.ndarray, tuple[int, int]]:
        return self.features.prepare(window), (window.tile.top, window.tile.left)

    def logits(
        self,
        prepared: tuple[np.ndarray, tuple[int, int]],
        positions: np.ndarray,
        *,
        scattered: bool = False,
        told: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray:
        values, origin = prepared
        out = np.empty((len(positions), len(self.class_ids)), np.float32)
        for start in range(0, len(positions), CHUNK):
            chunk = positions[start : start + CHUNK]
            rows, columns = (chunk - origin).T
            out[start : start + len(chunk)] = self.model.scores(values[:, rows, columns].T)
            if told is not None:
                told(chunk)
        return out

    def fingerprint(self, into: Fingerprint) -> None:
        into.words("pixels", self.model.digest(), self.class_ids.tolist())
        self.features.fingerprint(into)
