"""`Mapper`: a predictor with all it needs to map one tile of a scene."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.mapping.adaptive import Filled, fill
from hyperpeft.mapping.predictor import Predictor
from hyperpeft.mapping.refinement import Refinement
from hyperpeft.mapping.tiles import SceneWindow, Tile
from hyperpeft.records import UNLABELLED, Scene

Watch = Callable[[int, int], None]  # pixels done, pixels in all


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
class TileData:
    """What a tile is predicted from.

    Attributes
    ----------
    tile, region : Tile
        The tile, and the part of the scene whose pixels decide it.
    wanted : ndarray of bool
        Pixels of the tile to classify.
    predicted : ndarray of bool
        Pixels of the region to predict.
    valid : ndarray of bool
        Of the region.
    prepared : object
        From `Predictor.prepare`.
    guide : ndarray or None
        From `Refinement.guide`.
    """

    tile: Tile
    region: Tile
    wanted: np.ndarray
    predicted: np.ndarray
    valid: np.ndarray
    prepared: Any
    guide: np.ndarray | None


@dataclass(frozen=True)
class Mapper:
    """A predictor and what to make of its logits; all of it can be sent to another process.

    Attributes
    ----------
    predictor : Predictor
    layers : Layers
    adaptive : bool
        Predict where the map is uncertain, fill elsewhere, and audit what was filled.
    refinement : Refinement or None
        Of the probabilities, on the image.
    """

    predictor: Predictor
    layers: Layers = Layers()
    adaptive: bool = False
    refinement: Refinement | None = None

    @property
    def class_ids(self) -> np.ndarray:
        """Ids (K,) of the predictor's classes."""
        return self.predictor.class_ids

    @property
    def halo(self) -> int:
        """Pixels around a tile that are read with it."""
        return self.predictor.reach + (self.refinement.reach if self.refinement else 0)

    def read(self, scene: Scene, tile: Tile, where: np.ndarray | None = None) -> TileData:
        """Read a tile and prepare it; `where` (H, W) restricts the pixels, and is valid ones."""
        refinement = self.refinement
        reach = refinement.reach if refinement else 0
        region = tile.expanded(reach, self.predictor.cell, scene.valid.shape)
        window = SceneWindow.read(scene, region, self.predictor.reach, scene.valid)
        valid = scene.valid[region.inside]
        wanted = (scene.valid if where is None else where)[tile.inside]
        predicted = valid if reach else wanted
        if reach and where is not None:
            near = scipy.ndimage.binary_dilation(
                where[region.inside], np.ones((2 * reach + 1, 2 * reach + 1))
            )
            predicted = valid & near
        guide = refinement.guide(window) if refinement else None
        return TileData(
            tile, region, wanted, predicted, valid, self.predictor.prepare(window), guide
        )

    def map(self, data: TileData, told: Callable[[int], None] | None = None) -> TileMap:
        """Classify a tile.

        Parameters
        ----------
        data : TileData
        told : callable, optional
            Told how many pixels of the tile more are done.
        """
        start = time.monotonic()
        work = _Work(self.predictor, data, told)
        described = None
        if self.adaptive and data.predicted.any():
            described = self.predictor.described(data.prepared, data.predicted)
        if described is not None:
            seed = (data.tile.top, data.tile.left)
            filled = fill(described, work.places, work.predict, seed=seed)
        else:
            n = len(work.places)
            filled = Filled(work.predict(np.arange(n)), np.ones(n, bool), None)
        chosen, probabilities = self._probabilities(filled, data)
        if told is not None:
            told(int((~filled.encoded[chosen]).sum()))
        result = self._layers(probabilities, filled.encoded[chosen], data.wanted)
        audit = filled.audit
        return TileMap(
            *result,
            pixels=len(probabilities),
            encoded=int(filled.encoded[chosen].sum()),
            seconds=time.monotonic() - start,
            busy=work.busy,
            audited=audit.pixels if audit else 0,
            wrong=audit.wrong if audit else 0,
            bound=audit.bound if audit else 0.0,
        )

    def _probabilities(self, filled: Filled, data: TileData) -> tuple[np.ndarray, np.ndarray]:
        """Which predicted pixels (n,) are wanted, and their probabilities (m, K)."""
        wanted = np.zeros(data.predicted.shape, bool)
        wanted[data.tile.within(data.region)] = data.wanted
        chosen = wanted[data.predicted]
        chances = scipy.special.softmax(filled.logits, axis=1)  # (n, K)
        if self.refinement is None or data.guide is None:
            return chosen, chances[chosen]
        cube = np.zeros((len(self.class_ids), *data.predicted.shape), np.float32)
        cube[:, data.predicted] = chances.T
        refined = self.refinement.apply(cube, data.guide, data.valid)
        return chosen, refined[:, wanted].T

    def _layers(
        self, chances: np.ndarray, encoded: np.ndarray, valid: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        ids = np.full(valid.shape, UNLABELLED, np.int32)
        ids[valid] = self.class_ids[chances.argmax(axis=1)]
        probabilities = confidence = None
        if self.layers.probabilities:
            probabilities = np.full((len(self.class_ids), *valid.shape), np.nan, np.float32)
            probabilities[:, valid] = chances.T
        if self.layers.confidence:
            best = np.partition(chances, -2, axis=1)[:, -2:]  # ascending
            entropy = scipy.special.entr(chances).sum(axis=1)
            confidence = np.full((3, *valid.shape), np.nan, np.float32)
            confidence[:, valid] = np.stack([best[:, 1] - best[:, 0], entropy, encoded])
        return ids, probabilities, confidence


class _Work:
    """The predictor's side of one tile: pixels by their index, and the seconds they took."""

    def __init__(
        self, predictor: Predictor, data: TileData, told: Callable[[int], None] | None
    ) -> None:
        self._predictor, self._data, self._told = predictor, data, told
        self.places = np.argwhere(data.predicted) + np.array([data.region.top, data.region.left])
        self.busy = 0.0

    def predict(self, which: np.ndarray) -> np.ndarray:
        """Logits (n, K) of pixels by their index among the predicted ones."""
        start = time.monotonic()
        logits = self._predictor.logits(
            self._data.prepared,
            self.places[which],
            scattered=len(which) < len(self.places),
            told=self._count,
        )
        self.busy += time.monotonic() - start
        return logits

    def _count(self, batch: np.ndarray) -> None:
        if self._told is None:
            return
        tile = self._data.tile
        rows, columns = (batch - np.array([tile.top, tile.left])).T
        height, width = tile.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        self._told(int(self._data.wanted[rows[inside], columns[inside]].sum()))
