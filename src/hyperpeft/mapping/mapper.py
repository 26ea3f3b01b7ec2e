"""`Mapper`: a trained model with all it needs to map one tile of a scene, here or elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hyperpeft.mapping.adaptive import Filled, fill
from hyperpeft.mapping.batches import logits_of
from hyperpeft.mapping.kriging import describe
from hyperpeft.mapping.tiles import Tile, read
from hyperpeft.patches import Windows
from hyperpeft.records import UNLABELLED, Scene
from hyperpeft.spectral import Reducer
from hyperpeft.training.classifier import Classifier


@dataclass(frozen=True)
class Layers:
    """What to keep of a pixel besides its class."""

    probabilities: bool = False
    confidence: bool = False


@dataclass(frozen=True)
class TileMap:
    """A finished tile of h x w pixels.

    Attributes
    ----------
    ids : ndarray of int32, shape (h, w)
    probabilities : ndarray of float32, shape (K, h, w), or None
    confidence : ndarray of float32, shape (3, h, w), or None
        Margin between the two best probabilities, entropy in nats, and 1 where the encoder was
        asked or 0 where the class was filled in. NaN where the scene is not valid.
    pixels, encoded : int
        Valid pixels, and for how many of them the encoder was asked.
    seconds, busy : float
        Spent on the tile, and of these in the model.
    audited, wrong : int
        Of the adaptive map's audit; 0 where all pixels were encoded.
    bound : float
        Upper bound of the share of pixels that differ from the exact map's.
    """

    ids: np.ndarray
    probabilities: np.ndarray | None
    confidence: np.ndarray | None
    pixels: int
    encoded: int
    seconds: float
    busy: float
    audited: int = 0
    wrong: int = 0
    bound: float = 0.0


@dataclass(frozen=True)
class Mapper:
    """A model, its reducer and its classes; all of it can be sent to another process.

    Attributes
    ----------
    model : Classifier
        With its adapters merged.
    reducer : Reducer
    class_ids : ndarray of int32, shape (K,)
    patch_size : int
    precision : "fp32" or "bf16"
    cell : int
        Side of the square of pixels that make a batch.
    layers : Layers
    adaptive : bool
    """

    model: Classifier
    reducer: Reducer
    class_ids: np.ndarray
    patch_size: int
    precision: str
    cell: int
    layers: Layers = Layers()
    adaptive: bool = False

    def read(self, scene: Scene, tile: Tile) -> np.ndarray:
        """The reduced tile with its halo."""
        return read(scene, self.reducer, tile, self.patch_size // 2)

    def map(
        self,
        padded: np.ndarray,
        valid: np.ndarray,
        tile: Tile,
        told: Callable[[int], None] | None = None,
    ) -> TileMap:
        """Classify a tile.

        Parameters
        ----------
        padded : ndarray
            From `read`.
        valid : ndarray of bool, shape (h, w)
        tile : Tile
        told : callable, optional
            Told how many pixels more are done.
        """
        start = time.monotonic()
        work = _Work(self, padded, valid, tile, told)
        if self.adaptive and valid.any():
            half = self.patch_size // 2
            described = describe(padded, half)[valid]
            filled = fill(described, work.places, work.encode, seed=(tile.top, tile.left))
        else:
            n = len(work.places)
            filled = Filled(work.encode(np.arange(n)), np.ones(n, bool), None)
        if told is not None:
            told(int((~filled.encoded).sum()))
        ids, probabilities, confidence = self._layers(filled, valid)
        audit = filled.audit
        return TileMap(
            ids,
            probabilities,
            confidence,
            pixels=len(filled.logits),
            encoded=int(filled.encoded.sum()),
            seconds=time.monotonic() - start,
            busy=work.busy,
            audited=audit.pixels if audit else 0,
            wrong=audit.wrong if audit else 0,
            bound=audit.bound if audit else 0.0,
        )

    def _layers(
        self, filled: Filled, valid: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        ids = np.full(valid.shape, UNLABELLED, np.int32)
        ids[valid] = self.class_ids[filled.logits.argmax(1)]
        if not (self.layers.probabilities or self.layers.confidence):
            return ids, None, None
        chances = torch.from_numpy(filled.logits).softmax(1)  # (n, K)
        probabilities = confidence = None
        if self.layers.probabilities:
            probabilities = np.full((len(self.class_ids), *valid.shape), np.nan, np.float32)
            probabilities[:, valid] = chances.T.numpy()
        if self.layers.confidence:
            best = chances.topk(2, dim=1).values
            entropy = torch.special.entr(chances).sum(1)
            confidence = np.full((3, *valid.shape), np.nan, np.float32)
            confidence[:, valid] = np.stack([best[:, 0] - best[:, 1], entropy, filled.encoded])
        return ids, probabilities, confidence


class _Work:
    """The encoder's side of one tile: pixels by their index, and the seconds they took."""

    def __init__(
        self,
        mapper: Mapper,
        padded: np.ndarray,
        valid: np.ndarray,
        tile: Tile,
        told: Callable[[int], None] | None,
    ) -> None:
        self._mapper, self._tile, self._told = mapper, tile, told
        device = next(mapper.model.parameters()).device
        self._windows = Windows.over_halo(padded, mapper.patch_size, device)
        self.places = np.argwhere(valid) + np.array([tile.top, tile.left])  # (n, 2) in the scene
        self._index = np.full(valid.shape, -1)
        self._index[valid] = np.arange(len(self.places))
        self.busy = 0.0

    def encode(self, which: np.ndarray) -> np.ndarray:
        """Logits (n, K) of pixels by their index among the valid ones."""
        mapper, origin = self._mapper, (self._tile.top, self._tile.left)
        out = np.empty((len(self.places), len(mapper.class_ids)), np.float32)
        batches = logits_of(
            mapper.model,
            self._windows,
            self.places[which],
            mapper.cell,
            mapper.precision,
            origin,
            scattered=len(which) < len(self.places),
        )
        start = time.monotonic()
        for batch, logits in batches:
            out[self._index[tuple((batch - origin).T)]] = logits.numpy()
            if self._told is not None:
                self._told(len(batch))
        self.busy += time.monotonic() - start
        return out[which]
