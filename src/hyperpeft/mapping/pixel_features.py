"""What classifiers of pixels see of a pixel, and such a classifier as a predictor of maps.

Features are fitted once, with the numbers of the training scene, and say how far they look
(`reach`). Their values for a pixel are the same in every tile of any size, and in the whole scene,
to the bit: what lies beyond the scene's edge counts as not valid, and every sum adds in an order
fixed relative to the pixel.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from safetensors.numpy import save

from hyperpeft.errors import BundleError
from hyperpeft.mapping.fingerprint import Fingerprint
from hyperpeft.mapping.predictor import Predictor
from hyperpeft.mapping.tiles import SceneWindow, Tile
from hyperpeft.records import Scene
from hyperpeft.spatial import valid_means
from hyperpeft.spectral import (
    HasBands,
    check_bands,
    covariance_of,
    project,
    read_tensors,
)
from hyperpeft.system.files import replacing
from hyperpeft.system.lazy_names import named_object

FORMAT = "hyperpeft pixel features 1"
TILE = 128  # pixels; few enough that the features of a scattered pixel cost little

Tensors = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Arrays, and what else a file of features holds, as JSON."""


class PixelFeatures(ABC):
    """Features of the pixels of a scene.

    Attributes
    ----------
    kind : str
        In files.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def count(self) -> int:
        """Features of a pixel, F."""

    @property
    def reach(self) -> int:
        """Pixels around a pixel that its features depend on."""
        return 0

    @property
    def cell(self) -> int:
        """Side of the squares of the scene's grid that tiles must be made of."""
        return 1

    @abstractmethod
    def prepare(self, window: SceneWindow) -> np.ndarray:
        """Features (F, h, w) float32 of the window's region; 0 where not valid."""

    @property
    @abstractmethod
    def bands(self) -> HasBands:
        """What knows the bands of the training scene and the level of their values."""

    def check(self, scene: Scene) -> None:
        """Refuse a scene of other bands, with SceneError."""
        check_bands(self.bands, scene)

    @abstractmethod
    def to_tensors(self) -> Tensors:
        """All that decides the features."""

    @classmethod
    @abstractmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        """The features of `to_tensors`; KeyError, TypeError or ValueError for anything else."""

    def fingerprint(self, into: Fingerprint) -> None:
        """Add all that decides the features."""
        arrays, values = self.to_tensors()
        into.words(self.kind, sorted(values.items()))
        for name in sorted(arrays):
            into.words(name)
            into.array(arrays[name])

    def to_file(self, path: Path) -> None:
        """Write safetensors: arrays as tensors, the rest as JSON in the metadata."""
        arrays, values = self.to_tensors()
        metadata = {"format": FORMAT, "kind": self.kind, "values": json.dumps(values)}
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        with replacing(path) as temporary:
            temporary.write_bytes(save(plain, metadata=metadata))

    @staticmethod
    def from_file(path: Path) -> PixelFeatures:
        """Read what `to_file` wrote; a file that is not one raises BundleError."""
        arrays, texts = read_tensors(path, "features")
        home = KINDS.get(texts.get("kind", ""))
        if texts.get("format") != FORMAT or home is None:
            got = f"format {texts.get('format')!r}, kind {texts.get('kind')!r}"
            raise BundleError(f"{path} does not hold features", expected=repr(FORMAT), got=got)
        odd = [n for n, a in arrays.items() if a.dtype.kind != "f" or not np.isfinite(a).all()]
        if odd:
            raise BundleError(f"{path}: {', '.join(odd[:8])}", expected="finite numbers")
        kind: type[PixelFeatures] = named_object(f"hyperpeft.mapping.{home}")
        try:
            return kind.from_tensors(arrays, json.loads(texts["values"]), path)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            why = str(error) or type(error).__name__
            raise BundleError(f"features {path} are damaged ({why})") from None


# Where each kind is, by its name in files.
KINDS = {
    "spectra": "pixel_features:SpectraFeatures",
    "component means": "pixel_features:ComponentMeans",
    "context": "context_features:ContextFeatures",
    "random patches": "context_features:RandomPatchFeatures",
}


def features_at(scene: Scene, features: PixelFeatures, positions: np.ndarray) -> np.ndarray:
    """Features of some pixels of a scene, of which only the tiles that hold them are read.

    Parameters
    ----------
    scene : Scene
    features : PixelFeatures
    positions : ndarray of int, shape (n, 2)
        Row and column.

    Returns
    -------
    ndarray of float32, shape (n, F)
        In the order of the positions.
    """
    out = np.zeros((len(positions), features.count), np.float32)
    height, width, _ = scene.shape
    corners, tile_of = np.unique(positions // TILE, axis=0, return_inverse=True)
    for number, (top, left) in enumerate((corners * TILE).tolist()):
        tile = Tile(top, left, min(top + TILE, height), min(left + TILE, width))
        values = features.prepare(SceneWindow.read(scene, tile, features.reach, scene.valid))
        here = tile_of.ravel() == number
        rows, columns = (positions[here] - [top, left]).T
        out[here] = values[:, rows, columns].T
    return out


def require_shapes(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError unless all are there, the wavelengths excepted, of these shapes, and no others."""
    strange = (set(arrays) ^ set(shapes)) - {"wavelengths"}
    wrong = {n: a.shape for n, a in arrays.items() if n in shapes and a.shape != shapes[n]}
    if strange or wrong:
        raise ValueError(f"expected {dict(shapes)}, got {sorted(strange)} {wrong}")


def whole(value: object, low: int, high: int) -> int:
    """A whole number of a file, within limits; ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, got {value!r}")
    return value


@dataclass(frozen=True, eq=False)
class SpectraFeatures(PixelFeatures):
    """The spectrum of the pixel itself, in deviations from a mean.

    Attributes
    ----------
    mean, spread : ndarray of float32, shape (B,)
    wavelengths : ndarray of float64, shape (B,), or None
        Of the scene that they were fitted to, in nm.
    level : ndarray of float32, shape (B,), or None
        The mean spectrum, where `mean` is another origin.
    """

    kind: ClassVar[str] = "spectra"
    mean: np.ndarray
    spread: np.ndarray
    wavelengths: np.ndarray | None = None
    level: np.ndarray | None = None

    @classmethod
    def fit(cls, scene: Scene, where: np.ndarray | None = None) -> SpectraFeatures:
        """With mean and spread of each band over the valid pixels, or those of a mask (H, W)."""
        found = covariance_of(scene, scene.valid if where is None else where)
        spread = np.sqrt(np.diag(found.covariance))
        spread = np.where(spread > 0, spread, 1.0)
        return cls(found.mean.astype(np.float32), spread.astype(np.float32), scene.wavelengths)

    @property
    def count(self) -> int:
        return len(self.mean)

    def prepare(self, window: SceneWindow) -> np.ndarray:
        outer, _ = window.clipped(0)
        valid = window.valid[outer]
        values = window.values[:, *outer][:, valid].astype(np.float32, copy=False)  # (B, n)
        out = np.zeros((len(self.mean), *valid.shape), np.float32)
        out[:, valid] = (values - self.mean[:, None]) / self.spread[:, None]
        return out

    @property
    def bands(self) -> HasBands:
        return self if self.level is None else replace(self, mean=self.level)

    def to_tensors(self) -> Tensors:
        arrays = {"mean": self.mean, "spread": self.spread}
        if self.level is not None:
            arrays["level"] = self.level
        return _with_wavelengths(arrays, self.wavelengths), {}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        bands = arrays["mean"].size
        names = ("mean", "spread", "wavelengths", *(("level",) if "level" in arrays else ()))
        require_shapes(arrays, dict.fromkeys(names, (bands,)))
        if not (arrays["spread"] > 0).all():
            raise ValueError("a spread that is not above 0")
        wavelengths, level = arrays.get("wavelengths"), arrays.get("level")
        return cls(arrays["mean"], arrays["spread"], wavelengths, level)


@dataclass(frozen=True, eq=False)
class ComponentMeans(PixelFeatures):
    """Principal components of variance 1, and their means over the valid pixels of a window.

    Attributes
    ----------
    mean : ndarray of float64, shape (B,)
    directions : ndarray of float64, shape (k, B)
        Each divided by the deviation of its component.
    radius : int
        The window's side is 2 radius + 1 pixels; 0 leaves the means out.
    wavelengths : ndarray of float64, shape (B,), or None
    """

    kind: ClassVar[str] = "component means"
    mean: np.ndarray
    directions: np.ndarray
    radius: int
    wavelengths: np.ndarray | None = None

    @property
    def count(self) -> int:
        return len(self.directions) * (2 if self.radius else 1)

    @property
    def reach(self) -> int:
        return self.radius

    def prepare(self, window: SceneWindow) -> np.ndarray:
        outer, inner = window.clipped(self.radius)
        valid = window.valid[outer]
        cube = np.zeros((len(self.directions), *valid.shape), np.float32)
        cube[:, valid] = project(window.values[:, *outer][:, valid], self.mean, self.directions)
        if not self.radius:
            return cube[:, *inner]
        means = valid_means(cube, valid, self.radius)
        return np.concatenate([cube[:, *inner], means[:, *inner]])

    @property
    def bands(self) -> HasBands:
        return self

    def to_tensors(self) -> Tensors:
        arrays = {"mean": self.mean, "directions": self.directions}
        return _with_wavelengths(arrays, self.wavelengths), {"radius": self.radius}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], path: Path
    ) -> Self:
        bands, k = arrays["mean"].size, len(arrays["directions"])
        require_shapes(
            arrays, {"mean": (bands,), "directions": (k, bands), "wavelengths": (bands,)}
        )
        radius = whole(values["radius"], 0, 1024)
        return cls(arrays["mean"], arrays["directions"], radius, arrays.get("wavelengths"))


def _with_wavelengths(
    arrays: dict[str, np.ndarray], wavelengths: np.ndarray | None
) -> dict[str, np.ndarray]:
    if wavelengths is None:
        return arrays
    return {**arrays, "wavelengths": np.asarray(wavelengths, np.float64)}


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
