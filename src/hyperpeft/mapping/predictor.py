"""What a map is predicted by: one predictor, or a pool of several.

A predictor states how far it looks (`reach`); the map reads that much around each tile, so that a
pixel's logits are the same in every tile. All predictors of a map read one `SceneWindow`.

A pool has one of two forms:

    logarithmic    p = softmax(sum_m w_m log p_m)
    linear         p = sum_m w_m p_m, of runs made by earlier versions
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy  # its parts are loaded when they are used
from numpy.lib.stride_tricks import sliding_window_view

from hyperpeft.errors import NotFiniteError
from hyperpeft.mapping.adaptive import describe
from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.tiles import SceneWindow, by_cell, cell_of
from hyperpeft.records import Scene
from hyperpeft.spectral import HasBands, Reducer, check_bands
from hyperpeft.system.resources import thread_count

if TYPE_CHECKING:
    from hyperpeft.models.graphs.session import Session


WINDOWS = 64  # in a call: of more a processor's cache does not hold what is between two layers
AHEAD = 4  # batches a thread that wait for those before them


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

    @property
    def runtime(self) -> str:
        """What executes it, such as "torch 2.9 cpu bf16" or "onnxruntime 1.23 CPU fp32"."""
        return "numpy"

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

    def on_accelerator(self) -> Predictor:
        """The same predictor on a GPU, where there is one that it can use; else itself."""
        return self

    @abstractmethod
    def fingerprint(self, into: Fingerprint) -> None:
        """Add all that decides the logits."""

    def described(self, prepared: Any, valid: np.ndarray) -> np.ndarray | None:
        """Cheap descriptions (n, F) of valid pixels for adaptive maps, or None where costless."""
        return None


class WindowPredictor(Predictor):
    """A classifier on windows of the reduced scene, whatever executes it.

    Attributes
    ----------
    reducer : Reducer
    class_ids : ndarray of int32, shape (K,)
    patch_sizes : tuple of int
        Sides of the windows; the logits are the mean over them.
    """

    reducer: Reducer
    patch_sizes: tuple[int, ...]

    @property
    def reach(self) -> int:
        return max(self.patch_sizes) // 2

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
        size = self.cell**2
        starts = range(0, len(positions), size) if scattered else ()
        batches = [positions[i : i + size] for i in starts] or by_cell(positions, self.cell)
        found = self._logits(padded, [batch - origin for batch in batches])
        return in_order(positions, batches, found, len(self.class_ids), told)

    @abstractmethod
    def _logits(self, padded: np.ndarray, batches: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Logits (n, K) of batches of positions (n, 2), one after the other.

        Position (0, 0) is the first pixel of the padded cube (12, h + 2 reach, w + 2 reach) that
        is inside its halo.
        """

    def described(
        self, prepared: tuple[np.ndarray, tuple[int, int]], valid: np.ndarray
    ) -> np.ndarray:
        return describe(prepared[0], self.reach)[valid]


def in_order(
    positions: np.ndarray,
    batches: Sequence[np.ndarray],
    found: Iterable[np.ndarray],
    classes: int,
    told: Callable[[np.ndarray], None] | None = None,
) -> np.ndarray:
    """Logits (n, K) float32 of positions (n, 2), of which batches were predicted in any order.

    Parameters
    ----------
    positions : ndarray of int, shape (n, 2)
    batches : sequence of ndarray of int, shape (m, 2)
        They share out the positions.
    found : iterable of ndarray, shape (m, K)
        The logits of each batch.
    classes : int
        K.
    told : callable, optional
        Told each batch that is done.
    """
    out = np.empty((len(positions), classes), np.float32)
    if not len(positions):
        return out
    first = positions.min(axis=0)
    index = np.zeros(positions.max(axis=0) - first + 1, np.int64)
    index[tuple((positions - first).T)] = np.arange(len(positions))
    for batch, logits in zip(batches, found, strict=True):
        out[index[tuple((batch - first).T)]] = logits
        if told is not None:
            told(batch)
    return out


@dataclass(frozen=True, eq=False)
class GraphPredictor(WindowPredictor):
    """A classifier on windows of the reduced scene, as an ONNX graph.

    Attributes
    ----------
    reducer : Reducer
    class_ids : ndarray of int32, shape (K,)
    patch_sizes : tuple of int
        Sides of the windows; the logits are the mean over them.
    session : Session
        From `reduced` (n, 12, s, s), windows of the largest size, to `logits` (n, K).
    """

    reducer: Reducer
    class_ids: np.ndarray
    patch_sizes: tuple[int, ...]
    session: Session

    @property
    def cell(self) -> int:
        return cell_of("cuda" if self.session.provider.startswith("CUDA") else "cpu")

    @property
    def runtime(self) -> str:
        return self.session.runtime

    def _logits(self, padded: np.ndarray, batches: list[np.ndarray]) -> Iterator[np.ndarray]:
        side = 2 * self.reach + 1
        view = sliding_window_view(padded, (side, side), axis=(1, 2))  # (12, h, w, s, s)

        rows = max(1, WINDOWS // len(self.patch_sizes)) if self.session.on_processor else None

        def called(pixels: np.ndarray) -> np.ndarray:
            windows = view[:, pixels[:, 0], pixels[:, 1]].transpose(1, 0, 2, 3)
            return self.session.run("logits", {"reduced": np.ascontiguousarray(windows)})

        def predicted(batch: np.ndarray) -> np.ndarray:
            step = rows or len(batch)
            parts = [called(batch[i : i + step]) for i in range(0, len(batch), step)]
            logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
            if not np.isfinite(logits).all():
                raise NotFiniteError("the exported model gives values that are not finite")
            return logits

        threads = thread_count() if self.session.on_processor else 1
        if threads <= 1:
            yield from map(predicted, batches)
            return
        with ThreadPoolExecutor(threads) as pool:
            step = AHEAD * threads
            for start in range(0, len(batches), step):
                yield from pool.map(predicted, batches[start : start + step])

    def fingerprint(self, into: Fingerprint) -> None:
        into.words("graph", self.session.digest(), self.cell, self.patch_sizes)
        into.reducer(self.reducer)


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


def parts_of(predictor: Predictor) -> tuple[Predictor, ...]:
    """The predictors that are pooled; of any other the predictor itself."""
    return predictor.parts if isinstance(predictor, PooledPredictor) else (predictor,)


def window_part_of(predictor: Predictor) -> WindowPredictor | None:
    """The part of a predictor that is an adapted backbone; None where there is none."""
    return next((part for part in parts_of(predictor) if isinstance(part, WindowPredictor)), None)
