"""What predicts: from a window of a scene to the logits of its pixels.

A predictor states how far it looks (`reach`); the map reads that much around each tile, so that a
pixel's logits are the same in every tile. All predictors of a map read one `SceneWindow`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hyperpeft.mapping.batches import cell_of, logits_of
from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.interpolation import describe
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.patches import Windows
from hyperpeft.records import Scene
from hyperpeft.spectral import HasBands, Reducer, check_bands
from hyperpeft.training.classifier import Classifier


class Predictor(ABC):
    """Class scores of any pixel of a scene.

    Attributes
    ----------
    class_ids : ndarray of int32, shape (K,)
        The class of each column of the logits, ascending.
    """

    class_ids: np.ndarray

    @property
    @abstractmethod
    def reach(self) -> int:
        """Pixels around a pixel that its logits depend on."""

    @property
    def cell(self) -> int:
        """Side of the squares of the scene's grid whose pixels are one batch."""
        return 1

    @property
    def bands(self) -> HasBands | None:
        """What knows the bands of the training scene and the level of their values."""
        return None

    @abstractmethod
    def check(self, scene: Scene) -> None:
        """Refuse a scene that does not fit, with SceneError."""

    @abstractmethod
    def prepare(self, window: SceneWindow) -> Any:
        """What `logits` needs of a window; called while another window is predicted."""

    @abstractmethod
    def logits(
        self,
        prepared: Any,
        positions: np.ndarray,
        *,
        scattered: bool = False,
        told: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """Logits (n, K) float32 of valid pixels.

        Parameters
        ----------
        prepared
            From `prepare`.
        positions : ndarray of int, shape (n, 2)
            Rows and columns in the scene, inside the window.
        scattered : bool
            The pixels lie far apart.
        told : callable, optional
            Told the positions (m, 2) of each batch that is done.
        """

    def to(self, device: str) -> Predictor:
        """The same predictor on another device; itself where it has none."""
        return self

    @abstractmethod
    def fingerprint(self, into: Fingerprint) -> None:
        """Add all that decides the logits."""

    def described(self, prepared: Any, valid: np.ndarray) -> np.ndarray | None:
        """Cheap descriptions (n, F) of valid pixels for adaptive maps, or None where costless."""
        return None


@dataclass(frozen=True, eq=False)
class EncoderPredictor(Predictor):
    """A classifier on windows of the reduced scene.

    Attributes
    ----------
    model : Classifier
        With its adapters merged.
    reducer : Reducer
    class_ids : ndarray of int32, shape (K,)
    patch_sizes : tuple of int
        Sides of the windows; the logits are the mean over them.
    precision : "fp32" or "bf16"
    batch_cell : int or None
        See `Predictor.cell`; chosen for the device where None.
    """

    model: Classifier
    reducer: Reducer
    class_ids: np.ndarray
    patch_sizes: tuple[int, ...]
    precision: str = "fp32"
    batch_cell: int | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def reach(self) -> int:
        return max(self.patch_sizes) // 2

    @property
    def cell(self) -> int:
        return self.batch_cell or cell_of(self.device)

    @property
    def bands(self) -> Reducer:
        return self.reducer

    def check(self, scene: Scene) -> None:
        check_bands(self.reducer, scene)

    def prepare(self, window: SceneWindow) -> tuple[np.ndarray, tuple[int, int]]:
        origin = (window.tile.top, window.tile.left)
        return window.reduced(self.reducer, self.reach), origin

    def logits(
        self,
        prepared: tuple[np.ndarray, tuple[int, int]],
        positions: np.ndarray,
        *,
        scattered: bool = False,
        told: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray:
        padded, origin = prepared
        half = self.reach
        windows = [self._windows(padded, size) for size in self.patch_sizes]
        index = np.zeros([side - 2 * half for side in padded.shape[1:]], np.int64)
        index[tuple((positions - origin).T)] = np.arange(len(positions))
        out = np.empty((len(positions), len(self.class_ids)), np.float32)
        batches = logits_of(
            self.model, windows, positions, self.cell, self.precision, origin, scattered=scattered
        )
        for batch, logits in batches:
            out[index[tuple((batch - origin).T)]] = logits.numpy()
            if told is not None:
                told(batch)
        return out

    def _windows(self, padded: np.ndarray, size: int) -> Windows:
        """Windows of a size over a cube whose halo is that of the largest."""
        cut = self.reach - size // 2
        inner = padded[:, cut : padded.shape[1] - cut, cut : padded.shape[2] - cut]
        return Windows.over_halo(inner, size, self.device)

    def to(self, device: str) -> EncoderPredictor:
        return replace(self, model=copy.deepcopy(self.model).to(device))

    def fingerprint(self, into: Fingerprint) -> None:
        into.words(torch.__version__, self.device.type, self.precision, self.cell, self.patch_sizes)
        into.module(self.model)
        into.reducer(self.reducer)

    def described(
        self, prepared: tuple[np.ndarray, tuple[int, int]], valid: np.ndarray
    ) -> np.ndarray:
        return describe(prepared[0], self.reach)[valid]
