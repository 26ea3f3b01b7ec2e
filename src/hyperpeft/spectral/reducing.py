"""A linear map from any number of bands to the 12 that the backbone reads, fitted and applied.

By default the exact principal components of the covariance between bands. Mean and scatter are
accumulated in float64 over blocks of rows and merged as in Chan, Golub and LeVeque (1983), so the
scene is streamed and a large offset costs no digits. Other ways to 12 are in `REDUCTIONS`. The
components are then normalised by a rule of `NORMALISERS`; a new rule is one function and one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperpeft.errors import BundleError, ConfigError, SceneError
from hyperpeft.files import replacing
from hyperpeft.records import Scene
from hyperpeft.spectral import sentinel2
from hyperpeft.spectral.noise import NoiseEstimate, minimum_noise_fraction

N_BANDS = 12  # what SpectralGPT was pretrained on: Sentinel-2 L2A
FORMAT = "hyperpeft reducer 1"
USABLE = 1e-12  # smallest eigenvalue of a usable component, relative to the largest
SAME_WAVELENGTH = 2.0  # nm
S2_SCALE = 10_000  # value of a reflectance of 1 in Sentinel-2 L2A
COLUMNS = 1024  # pixels reduced in one product
BLOCK = 2**22  # values per block, 32 MiB in float64

# Sentinel-2 L2A statistics of BigEarthNet, bands B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12.
# Source: the BigEarthNet models repository of TU Berlin.
BIGEARTHNET_MEAN, BIGEARTHNET_STD = np.array(
    [
        (340.76769064, 554.81258967),
        (429.9430203, 572.41639287),
        (614.21682446, 582.87945694),
        (590.23569706, 675.88746967),
        (950.68368468, 729.89827633),
        (1792.46290469, 1096.01480586),
        (2075.46795189, 1273.45393088),
        (2218.94553375, 1365.45589904),
        (2266.46036911, 1356.13789355),
        (2246.0605464, 1302.3292881),
        (1594.42694882, 1079.19066363),
        (1009.32729131, 818.86747235),
    ]
).T  # (12,) each


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

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Names of the 12 outputs under "sentinel2"; one that is not seen has another's name."""
        if self.kind != "sentinel2" or self.wavelengths is None:
            return None
        return tuple(sentinel2.NAMES[i] for i in sentinel2.sources(self.wavelengths))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the reduction."""
        if self.kind != "sentinel2" or self.wavelengths is None:
            return ()
        return sentinel2.notes(self.wavelengths)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Reduce pixels: values (B, ...) of any number type to float32 (12, ...)."""
        bands = len(self.mean)
        if values.ndim < 1 or values.shape[0] != bands:
            raise SceneError("values to reduce", expected=f"({bands}, ...)", got=values.shape)
        flat = values.reshape(bands, -1)
        out = np.empty((N_BANDS, flat.shape[1]), np.float32)
        # Always the same number of pixels at a time: the last bits of a matrix product depend on
        # its shape, and a pixel must not depend on how the scene was cut into blocks and tiles.
        centred = np.zeros((bands, COLUMNS))
        for start in range(0, flat.shape[1], COLUMNS):
            block = flat[:, start : start + COLUMNS]
            n = block.shape[1]
            centred[:, :n] = block - self.mean[:, None]
            projected = (self.components @ centred)[_cycle(len(self.components)), :n]  # (12, n)
            out[:, start : start + n] = projected * self.scale[:, None] + self.shift[:, None]
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

    def to_file(self, path: Path) -> None:
        """Write safetensors: arrays as tensors, the rest as strings in the metadata."""
        from safetensors.numpy import save

        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {k: np.ascontiguousarray(v) for k, v in values.items() if k in _ARRAYS}
        if self.wavelengths is not None:
            arrays["wavelengths"] = np.ascontiguousarray(self.wavelengths, dtype=np.float64)
        texts = {k: str(v) for k, v in values.items() if k in _TEXTS}
        with replacing(path) as temporary:
            temporary.write_bytes(save(arrays, metadata={"format": FORMAT, **texts}))

    @classmethod
    def from_file(cls, path: Path) -> Reducer:
        """Read what `to_file` wrote; a file that is not a reducer raises BundleError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                texts = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BundleError(f"reducer {path} cannot be read ({error})") from None
        names = set(_ARRAYS) | ({"wavelengths"} & set(arrays))
        if texts.get("format") != FORMAT or set(arrays) != names or not set(_TEXTS) <= set(texts):
            got = f"format {texts.get('format')!r} with {sorted(arrays)}"
            raise BundleError(f"{path} is not a reducer", expected=repr(FORMAT), got=got)
        bands, k = len(arrays["mean"]), len(arrays["explained"])
        shapes = {"mean": (bands,), "components": (k, bands), "explained": (k,)}
        shapes |= {"scale": (N_BANDS,), "shift": (N_BANDS,), "wavelengths": (bands,)}
        wrong = {n: a.shape for n, a in arrays.items() if a.shape != shapes[n]}
        if wrong or not 1 <= k <= N_BANDS or not texts["pixels"].isdecimal():
            raise BundleError(f"reducer {path} is damaged", expected=shapes, got=wrong or texts)
        strings = {name: texts[name] for name in _TEXTS if name != "pixels"}
        return cls(pixels=int(texts["pixels"]), **strings, **arrays)


_ARRAYS = ("mean", "components", "explained", "scale", "shift")
_TEXTS = ("kind", "normalise", "fit_on", "pixels")


def fit(
    scene: Scene,
    *,
    reduce: str = "pca",
    normalise: str = "zscore",
    fit_on: str = "scene",
    train: np.ndarray | None = None,
    reflectance_scale: float | None = None,
) -> Reducer:
    """Fit the reduction of a scene's bands to 12 on its valid pixels, and its normalisation.

    With fewer than 12 usable components (fewer bands, fewer pixels or dependent bands) these are
    repeated in turn from the first, so that no input of the backbone is empty and every one has
    the variance that the normaliser gives it. A principal component is usable if its eigenvalue
    is more than 1e-12 of the largest.

    Parameters
    ----------
    scene : Scene
    reduce : str
        A name of `REDUCTIONS`: "pca", "sentinel2" (the 12 bands of Sentinel-2 L2A, from the
        scene's wavelengths) or "mnf" (minimum noise fraction).
    normalise : str
        A name of `NORMALISERS`. Under "sentinel2", "bigearthnet" has the meaning it was made for:
        the statistics of each of the bands that are simulated.
    fit_on : {"scene", "train"}
        All valid pixels, which sees test pixels (but not their labels), or training pixels only.
    train : ndarray of int, shape (n, 2), optional
        Row and column of the training pixels, for `fit_on="train"`.
    reflectance_scale : float, optional
        The value in the scene of a reflectance of 1; "sentinel2" with "bigearthnet" needs it.

    Returns
    -------
    Reducer

    Raises
    ------
    ConfigError
        When an option is unknown, or `train` is missing or outside the scene.
    SceneError
        When fewer than two valid pixels are there to fit, or all of them are equal; when the
        scene lacks the wavelengths or the neighbours that a reduction needs.
    """
    if normalise not in NORMALISERS:
        raise ConfigError("normalise", expected=f"one of {', '.join(NORMALISERS)}", got=normalise)
    if reduce not in REDUCTIONS:
        raise ConfigError("reduce", expected=f"one of {', '.join(REDUCTIONS)}", got=reduce)
    absolute = (reduce, normalise) == ("sentinel2", "bigearthnet")
    if absolute and not reflectance_scale:
        raise ConfigError(
            "Sentinel-2 bands with the statistics of BigEarthNet need the scale of the reflectance",
            do="give --reflectance-scale, such as 10000 or 1, or use --normalise zscore",
        )
    where = _fitted_pixels(scene, fit_on, train)
    count, mean, covariance = _covariance(scene, where)
    components = REDUCTIONS[reduce](scene, where, covariance)  # (k, B)
    variance = np.einsum("kb,bc,kc->k", components, covariance, components)
    std = np.sqrt(np.where(variance > 0, variance, 1))  # a simulated band may be constant
    fitted = _Fitted(scene, where, mean, components, std, reflectance_scale if absolute else None)
    scale, shift = NORMALISERS[normalise](fitted)
    return Reducer(
        kind=reduce,
        normalise=normalise,
        fit_on=fit_on,
        pixels=count,
        mean=mean,
        components=components,
        explained=_explained(components, covariance),
        scale=scale,
        shift=shift,
        wavelengths=scene.wavelengths,
    )


class Components(NamedTuple):
    """Principal components of a scene.

    Attributes
    ----------
    pixels : int
        How many they were fitted on.
    mean : ndarray of float64, shape (B,)
    directions : ndarray of float64, shape (k, B)
        Orthonormal rows, by falling variance, largest absolute loading positive.
    variance : ndarray of float64, shape (k,)
    total : float
        Variance of all components.
    """

    pixels: int
    mean: np.ndarray
    directions: np.ndarray
    variance: np.ndarray
    total: float


def principal_components(
    scene: Scene, most: int, *, fit_on: str = "scene", train: np.ndarray | None = None
) -> Components:
    """At most so many usable principal components; `fit_on` and `train` as for `fit`."""
    count, mean, covariance = _covariance(scene, _fitted_pixels(scene, fit_on, train))
    directions, variance = _principal(covariance, most)
    return Components(count, mean, directions, variance, float(np.trace(covariance)))


def _covariance(scene: Scene, where: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of pixels, mean (B,) and covariance (B, B) of pixels that are not all equal."""
    count, mean, scatter = _moments(scene, where)
    if count < 2:
        raise SceneError(f"{scene.name}: valid pixels to fit", expected="at least 2", got=count)
    if not scatter.any():
        raise SceneError(f"{scene.name}: all {count} fitted pixels are equal; nothing to learn")
    return count, mean, scatter / (count - 1)


def _principal(covariance: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions (k, B) and variances (k,) of the usable principal components."""
    values, vectors = np.linalg.eigh(covariance)  # ascending (B,), (B, B)
    k = min(most, int(np.count_nonzero(values > USABLE * values[-1])))
    return _signed(vectors[:, ::-1].T[:k]), values[::-1][:k]


def _signed(directions: np.ndarray) -> np.ndarray:
    """The largest absolute loading of each row made positive."""
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    signed: np.ndarray = directions * signs[:, None]
    return signed


def _pca(scene: Scene, where: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return _principal(covariance, N_BANDS)[0]


def _sentinel2(scene: Scene, where: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    if scene.wavelengths is None:
        raise SceneError(
            f"{scene.name} does not say its wavelengths, and Sentinel-2 bands need them",
            do="use --reduce pca or mnf, or a file that has them",
        )
    return sentinel2.weights(scene.wavelengths)


def _mnf(scene: Scene, where: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    bands = len(covariance)
    blocks = ((rows, where[start:stop]) for start, stop, rows in scene.blocks(BLOCK))
    noise = NoiseEstimate.of(bands, blocks)
    if noise.pairs <= bands:
        raise SceneError(
            f"{scene.name}: neighbours to tell noise from signal",
            expected=f"more than {bands} pairs of fitted pixels side by side, as many as bands",
            got=noise.pairs,
            do="fit on the whole scene (--fit-on scene), or use --reduce pca",
        )
    directions = minimum_noise_fraction(covariance, noise.covariance, N_BANDS)
    if not len(directions):
        raise SceneError(f"{scene.name}: neighbours are all equal; use --reduce pca")
    return _signed(directions)


# Each from (scene, mask of fitted pixels, their covariance (B, B)) to directions (k, B).
REDUCTIONS: dict[str, Callable[[Scene, np.ndarray, np.ndarray], np.ndarray]] = {
    "pca": _pca,
    "sentinel2": _sentinel2,
    "mnf": _mnf,
}


def _explained(components: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Share of the variance of all bands that each component adds, as a linear predictor, (k,)."""
    shares, before = [], np.empty((0, len(covariance)))
    for row in components:
        own = row - before.T @ (before @ covariance @ row)  # what those before do not know
        variance = own @ covariance @ own
        if variance <= USABLE * (row @ covariance @ row):
            shares.append(0.0)
            continue
        shares.append(float(((covariance @ own) ** 2).sum() / variance))
        before = np.vstack([before, own / np.sqrt(variance)])
    return np.array(shares) / np.trace(covariance)


def check_bands(reducer: Reducer, scene: Scene) -> None:
    """Refuse a scene whose bands are not those that the reducer was fitted on (SceneError)."""
    bands = len(reducer.mean)
    if scene.shape[2] != bands:
        raise SceneError(
            f"{scene.name} does not fit the reducer",
            expected=f"{bands} bands",
            got=scene.shape[2],
            do="use a scene of the same sensor with the same bad bands removed",
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
            do="use a scene of the same sensor with the same bad bands removed",
        )


def _cycle(k: int) -> list[int]:
    """Which of k components each of the 12 outputs shows: 0 1 2 0 1 2 ... for k = 3."""
    return [i % k for i in range(N_BANDS)]


def _fitted_pixels(scene: Scene, fit_on: str, train: np.ndarray | None) -> np.ndarray:
    """Mask (H, W) of the pixels to fit on."""
    if fit_on == "scene":
        return scene.valid
    if fit_on != "train":
        raise ConfigError("fit_on", expected="scene or train", got=fit_on)
    if train is None or len(train) == 0:
        raise ConfigError("fit_on=train needs training pixels", do="give a split or fit_on=scene")
    if (train < 0).any() or (train >= np.array(scene.valid.shape)).any():
        raise ConfigError("training pixels", expected=f"within {scene.valid.shape}")
    where = np.zeros_like(scene.valid)
    where[tuple(train.T)] = scene.valid[tuple(train.T)]
    return where


def _pixels(scene: Scene, where: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of the masked pixels, (B, n) float64 with n > 0."""
    for place, values in scene.pieces(BLOCK, where):
        if where[place].any():
            yield values[:, where[place]].astype(np.float64)


def _moments(scene: Scene, where: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of pixels, mean (B,) and scatter (B, B), the sum of (x - mean)(x - mean)^T."""
    bands = scene.shape[2]
    count, mean, scatter = 0, np.zeros(bands), np.zeros((bands, bands))
    origin: np.ndarray | None = None
    for values in _pixels(scene, where):
        # Relative to one pixel, equal pixels are exactly 0 and an offset common to all is gone.
        origin = values[:, :1] if origin is None else origin
        values = values - origin
        n = values.shape[1]
        block_mean = values.mean(axis=1)
        centred = values - block_mean[:, None]
        step = block_mean - mean
        scatter += centred @ centred.T + np.outer(step, step) * (n * count / (n + count))
        mean += step * (n / (n + count))
        count += n
    return count, mean if origin is None else mean + origin[:, 0], scatter


@dataclass(frozen=True)
class _Fitted:
    """What a normaliser may look at; the extremes cost a second pass over the scene."""

    scene: Scene
    where: np.ndarray  # (H, W) bool, fitted pixels
    mean: np.ndarray  # (B,)
    components: np.ndarray  # (k, B)
    component_std: np.ndarray  # (k,)
    reflectance_scale: float | None = None  # where the components are bands of Sentinel-2

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of the 12 outputs before scaling, (12,)."""
        repeated: np.ndarray = self.component_std[_cycle(len(self.component_std))]
        return repeated

    @cached_property
    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest value of the 12 outputs before scaling, (12,) each."""
        k = len(self.components)
        low, high = np.full(k, np.inf), np.full(k, -np.inf)
        for values in _pixels(self.scene, self.where):
            projected = self.components @ (values - self.mean[:, None])  # (k, n)
            low = np.minimum(low, projected.min(axis=1))
            high = np.maximum(high, projected.max(axis=1))
        return low[_cycle(k)], high[_cycle(k)]


def _zscore(fitted: _Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Mean 0 and variance 1 of every component (whitening)."""
    return 1 / fitted.std, np.zeros(N_BANDS)


def _minmax(fitted: _Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Every component from 0 to 1 over the fitted pixels."""
    low, high = fitted.extremes
    span = np.where(high > low, high - low, 1)  # a simulated band may be constant
    return 1 / span, -low / span


def _bigearthnet(fitted: _Fitted) -> tuple[np.ndarray, np.ndarray]:
    """(component - mean) / std of the Sentinel-2 bands, as arXiv 2505.15334 normalises.

    Where the components are these bands, their own values are meant: reflectance x 10,000, not
    the distance from the scene's mean.
    """
    if fitted.reflectance_scale is None or fitted.scene.wavelengths is None:
        return 1 / BIGEARTHNET_STD, -BIGEARTHNET_MEAN / BIGEARTHNET_STD
    bands = list(sentinel2.sources(fitted.scene.wavelengths))
    mean, std = BIGEARTHNET_MEAN[bands], BIGEARTHNET_STD[bands]
    factor = S2_SCALE / fitted.reflectance_scale
    return factor / std, (factor * (fitted.components @ fitted.mean) - mean) / std


def _sqrt(fitted: _Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Partial whitening: component / sqrt(std), all scaled to an overall mean variance of 1.

    The leading components keep more of their weight than under "zscore", where the noise of the
    last ones counts as much as they do.
    """
    return 1 / np.sqrt(fitted.std * fitted.std.mean()), np.zeros(N_BANDS)


NORMALISERS: dict[str, Callable[[_Fitted], tuple[np.ndarray, np.ndarray]]] = {
    "zscore": _zscore,
    "minmax": _minmax,
    "bigearthnet": _bigearthnet,
    "sqrt": _sqrt,
}
