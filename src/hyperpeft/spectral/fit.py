"""The reduction to 12 bands, fitted on a scene.

By default the exact principal components of the covariance between bands; other ways to 12 are in
`REDUCTIONS`. The components are then normalised by a rule of `NORMALISERS`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.records import Scene
from hyperpeft.spectral import sentinel2
from hyperpeft.spectral.components import (
    USABLE,
    NoiseEstimate,
    covariance_of,
    fitted_pixels,
    minimum_noise_fraction,
    principal,
    signed,
)
from hyperpeft.spectral.normalisers import NORMALISERS, Fitted
from hyperpeft.spectral.reducer import BLOCK, N_BANDS, Reducer


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
            hint="give --reflectance-scale, such as 10000 or 1, or use --normalise zscore",
        )
    count, mean, covariance, where, outliers = covariance_of(
        scene, fitted_pixels(scene, fit_on, train)
    )
    components = REDUCTIONS[reduce](scene, where, covariance)  # (k, B)
    variance = np.einsum("kb,bc,kc->k", components, covariance, components)
    std = np.sqrt(np.where(variance > 0, variance, 1))  # a simulated band may be constant
    fitted = Fitted(scene, where, mean, components, std, reflectance_scale if absolute else None)
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
        outliers=outliers,
    )


def _pca(scene: Scene, where: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return principal(covariance, N_BANDS)[0]


def _sentinel2(scene: Scene, where: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    if scene.wavelengths is None:
        raise SceneError(
            f"{scene.name} does not say its wavelengths, and Sentinel-2 bands need them",
            hint="use --reduce pca or mnf, or a file that has them",
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
            hint="fit on the whole scene (--fit-on scene), or use --reduce pca",
        )
    directions = minimum_noise_fraction(covariance, noise.covariance, N_BANDS)
    if not len(directions):
        raise SceneError(f"{scene.name}: neighbours are all equal; use --reduce pca")
    return signed(directions)


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
