"""A fitted linear map from B bands to the 12 that the backbone reads: applied, written, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hyperpeft.errors import BundleError, SceneError
from hyperpeft.records import Scene
from hyperpeft.spectral import sentinel2
from hyperpeft.system.files import replacing
from hyperpeft.system.text import whole_number

N_BANDS = 12  # what SpectralGPT was pretrained on: Sentinel-2 L2A
FORMAT = "hyperpeft reducer 1"
SAME_WAVELENGTH = 2.0  # nm
COLUMNS = 1024  # pixels reduced in one product
BLOCK = 2**22  # values per block, 32 MiB in float64


@dataclass(frozen=True, eq=False)
class Reducer:
    """A fitted map from B bands to 12: output i is component i mod k, scaled and shifted.

    Attributes
    ----------
    kind : str
        A name of `REDUCTIONS`.
    normalise, fit_on : str
        The rule of `NORMALISERS`, and "scene" or "train": the pixels it was fitted on.
    pixels : int
        How many pixels it was fitted on.
    mean : ndarray of float64, shape (B,)
    components : ndarray of float64, shape (k, B)
        k <= 12 rows; of "pca" orthonormal, by falling variance, largest absolute loading positive.
    explained : ndarray of float64, shape (k,)
        Share of the total variance that each adds to those before it.
    scale, shift : ndarray of float64, shape (12,)
        Output = scale * projection + shift.
    wavelengths : ndarray of float64, shape (B,), or None
        Band centres of the fitted scene in nm, where known.
    outliers : int
        Valid pixels that were left out of the fit because they are far from all others; not
        written to the file.
    """

    kind: str
    normalise: str
    fit_on: str
    pixels: int
    mean: np.ndarray
    components: np.ndarray
    explained: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    wavelengths: np.ndarray | None = None
    outliers: int = 0

    def __repr__(self) -> str:
        share = 100 * float(self.explained.sum())
        return (
            f"<Reducer {self.kind}: {len(self.mean)} bands to {N_BANDS}, {len(self.components)} "
            f"components with {share:.2f} % of the variance, {self.normalise}, fitted on "
            f"{self.pixels:,} pixels ({self.fit_on})>"
        )

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Names of the 12 outputs under "sentinel2"; one that is not seen has another's name."""
        if self.kind != "sentinel2" or self.wavelengths is None:
            return None
        return tuple(sentinel2.NAMES[i] for i in sentinel2.sources(self.wavelengths))

    @property
    def matrix(self) -> np.ndarray:
        """The map as one matrix (12, B): output = matrix (values - mean) + shift."""
        rows: np.ndarray = self.components[cycle(len(self.components))]
        return rows * self.scale[:, None]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the reduction."""
        found: tuple[str, ...] = ()
        if self.outliers:
            who = "1 pixel is" if self.outliers == 1 else f"{self.outliers} pixels are"
            found = (
                f"{who} far outside the range of all others (ten times that "
                f"range or more); the reduction is fitted without them",
            )
        if self.kind != "sentinel2" or self.wavelengths is None:
            return found
        return (*found, *sentinel2.notes(self.wavelengths))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Reduce pixels: values (B, ...) of any number type to float32 (12, ...)."""
        bands = len(self.mean)
        if values.ndim < 1 or values.shape[0] != bands:
            raise SceneError("values to reduce", expected=f"({bands}, ...)", got=values.shape)
        projected = project(values.reshape(bands, -1), self.mean, self.components)
        out = projected[cycle(len(self.components))]  # (12, n)
        out = (out * self.scale[:, None] + self.shift[:, None]).astype(np.float32)
        return out.reshape(N_BANDS, *values.shape[1:])

    def reduce(self, scene: Scene) -> np.ndarray:
        """Reduce a scene block by block to float32 (12, H, W).

        Pixels that are not valid become 0, which is the mean after "zscore".
        """
        check_bands(self, scene)
        height, width, _ = scene.shape
        out = np.zeros((N_BANDS, height, width), np.float32)
        for (rows, columns), values in scene.pieces(BLOCK, scene.valid):
            valid = scene.valid[rows, columns]
            out[:, rows, columns][:, valid] = self.transform(values[:, valid])
        return out

    def to_tensors(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays and texts for a file of safetensors; `from_tensors` takes them back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {k: np.ascontiguousarray(v) for k, v in values.items() if k in _ARRAYS}
        if self.wavelengths is not None:
            arrays["wavelengths"] = np.ascontiguousarray(self.wavelengths, dtype=np.float64)
        return arrays, {k: str(v) for k, v in values.items() if k in _TEXTS}

    @classmethod
    def from_tensors(
        cls, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str], path: Path
    ) -> Reducer:
        """The reducer of `to_tensors`; BundleError, naming the file, for anything else."""
        names = set(_ARRAYS) | ({"wavelengths"} & set(arrays))
        if set(arrays) != names or not set(_TEXTS) <= set(texts):
            raise BundleError(f"{path} is not a reducer", expected=sorted(names), got=[*arrays])
        bands, k = len(arrays["mean"]), len(arrays["explained"])
        shapes = {"mean": (bands,), "components": (k, bands), "explained": (k,)}
        shapes |= {"scale": (N_BANDS,), "shift": (N_BANDS,), "wavelengths": (bands,)}
        wrong = {n: a.shape for n, a in arrays.items() if a.shape != shapes[n]}
        pixels = whole_number(texts["pixels"])
        if wrong or not 1 <= k <= N_BANDS or pixels is None:
            raise BundleError(f"reducer {path} is damaged", expected=shapes, got=wrong or texts)
        values: dict[str, Any] = {**texts, **arrays, "pixels": pixels}
        return cls(**{name: values[name] for name in (*_TEXTS, *names)})

    def to_file(self, path: Path) -> None:
        """Write safetensors: arrays as tensors, the rest as strings in the metadata."""
        arrays, texts = self.to_tensors()
        with replacing(path) as temporary:
            temporary.write_bytes(save(arrays, metadata={"format": FORMAT, **texts}))

    @classmethod
    def from_file(cls, path: Path) -> Reducer:
        """Read what `to_file` wrote; a file that is not a reducer raises BundleError."""
        arrays, texts = read_tensors(path, "reducer")
        if texts.get("format") != FORMAT:
            got = f"format {texts.get('format')!r} with {sorted(arrays)}"
            raise BundleError(f"{path} is not a reducer", expected=repr(FORMAT), got=got)
        return cls.from_tensors(arrays, texts, path)


_ARRAYS = ("mean", "components", "explained", "scale", "shift")
_TEXTS = ("kind", "normalise", "fit_on", "pixels")


def read_tensors(path: Path, what: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file of safetensors; BundleError where it is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    except (OSError, SafetensorError, TypeError) as error:
        raise BundleError(f"{what} {path} cannot be read ({error})") from None


def project(values: np.ndarray, mean: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Projections (k, n) float64 of centred pixels (B, n) on components (k, B)."""
    out = np.empty((len(components), values.shape[1]))
    # Always the same number of pixels at a time: the last bits of a matrix product depend on
    # its shape, and a pixel must not depend on how the scene was cut into blocks and tiles.
    centred = np.zeros((len(mean), COLUMNS))
    for start in range(0, values.shape[1], COLUMNS):
        block = values[:, start : start + COLUMNS]
        n = block.shape[1]
        centred[:, :n] = block - mean[:, None]
        out[:, start : start + n] = (components @ centred)[:, :n]
    return out


class HasBands(Protocol):
    """What was fitted to the bands of a scene."""

    @property
    def mean(self) -> np.ndarray:
        """Of each band, (B,)."""

    @property
    def wavelengths(self) -> np.ndarray | None:
        """In nm, (B,)."""


def check_bands(reducer: HasBands, scene: Scene) -> None:
    """Refuse a scene whose bands are not those that the reducer was fitted on (SceneError)."""
    bands = len(reducer.mean)
    if scene.shape[2] != bands:
        raise SceneError(
            f"{scene.name} does not fit the reducer",
            expected=f"{bands} bands",
            got=scene.shape[2],
            hint="use a scene of the same sensor with the same bad bands removed",
        )
    if reducer.wavelengths is None or scene.wavelengths is None:
        return
    off = np.abs(scene.wavelengths - reducer.wavelengths)
    worst = int(off.argmax())
    if off[worst] > SAME_WAVELENGTH:
        raise SceneError(
            f"{scene.name} does not fit the reducer: band {worst + 1} of {bands}",
            expected=f"{reducer.wavelengths[worst]:g} nm (to {SAME_WAVELENGTH:g} nm)",
            got=f"{scene.wavelengths[worst]:g} nm",
            hint="use a scene of the same sensor with the same bad bands removed",
        )


def cycle(k: int) -> list[int]:
    """Which of k components each of the 12 outputs shows: 0 1 2 0 1 2 ... for k = 3."""
    return [i % k for i in range(N_BANDS)]


FACTOR = 8.0  # levels that differ by more are another scale, and no other illumination or ground
_WINDOWS = 4  # a side: blocks that are looked at
_SIDE = 32  # pixels of a block


def level_ratio(reducer: HasBands, scene: Scene) -> tuple[float, float] | None:
    """Mean absolute value over the bands: of the scene's mean spectrum, and of the reducer's.

    None where both are small beside the spread of the pixels (values around 0), or where no valid
    pixel was met. A grid of 4 x 4 blocks is read.
    """
    height, width = scene.valid.shape
    found = []
    for row in np.linspace(0, max(height - _SIDE, 0), _WINDOWS).astype(int):
        for column in np.linspace(0, max(width - _SIDE, 0), _WINDOWS).astype(int):
            window = slice(row, row + _SIDE), slice(column, column + _SIDE)
            valid = scene.valid[window]
            if valid.any():
                found.append(scene.window(*window)[:, valid].astype(np.float64))
    if not found:
        return None
    values = np.concatenate(found, axis=1)
    ours, theirs = np.abs(values.mean(axis=1)).mean(), np.abs(reducer.mean).mean()
    if max(ours, theirs) < values.std(axis=1).mean() or min(ours, theirs) <= 0:
        return None
    return float(ours), float(theirs)


def check_scale(reducer: HasBands, scene: Scene) -> None:
    """Refuse a scene whose values are far from those that the reducer was fitted on.

    Raises
    ------
    SceneError
        With both levels, and the factor that would bring one to the other.
    """
    levels = level_ratio(reducer, scene)
    if levels is None:
        return
    ours, theirs = levels
    if 1 / FACTOR <= ours / theirs <= FACTOR:
        return
    factor = 10.0 ** round(float(np.log10(theirs / ours)))
    raise SceneError(
        f"{scene.name} has values of another scale than the scene of the run",
        expected=f"a mean near {theirs:.4g}",
        got=f"{ours:.4g}",
        hint=f"give --scale {factor:g} if its values are to be multiplied by that; where a scale "
        f"was given, {factor:g} times it",
    )
