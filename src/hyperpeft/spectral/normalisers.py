"""Scale and shift of the 12 outputs: a new rule is one function and one entry in `NORMALISERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hyperpeft.records import Scene
from hyperpeft.spectral import sentinel2
from hyperpeft.spectral.components import blocks_of
from hyperpeft.spectral.reducer import N_BANDS, cycle

S2_SCALE = 10_000  # value of a reflectance of 1 in Sentinel-2 L2A

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


@dataclass(frozen=True)
class Fitted:
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
        repeated: np.ndarray = self.component_std[cycle(len(self.component_std))]
        return repeated

    @cached_property
    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest value of the 12 outputs before scaling, (12,) each."""
        k = len(self.components)
        low, high = np.full(k, np.inf), np.full(k, -np.inf)
        for values in blocks_of(self.scene, self.where):
            projected = self.components @ (values - self.mean[:, None])  # (k, n)
            low = np.minimum(low, projected.min(axis=1))
            high = np.maximum(high, projected.max(axis=1))
        return low[cycle(k)], high[cycle(k)]


def _zscore(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Mean 0 and variance 1 of every component (whitening)."""
    return 1 / fitted.std, np.zeros(N_BANDS)


def _minmax(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Every component from 0 to 1 over the fitted pixels."""
    low, high = fitted.extremes
    span = np.where(high > low, high - low, 1)  # a simulated band may be constant
    return 1 / span, -low / span


def _bigearthnet(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
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


def _sqrt(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Partial whitening: component / sqrt(std), all scaled to an overall mean variance of 1.

    The leading components keep more of their weight than under "zscore", where the noise of the
    last ones counts as much as they do.
    """
    return 1 / np.sqrt(fitted.std * fitted.std.mean()), np.zeros(N_BANDS)


NORMALISERS: dict[str, Callable[[Fitted], tuple[np.ndarray, np.ndarray]]] = {
    "zscore": _zscore,
    "minmax": _minmax,
    "bigearthnet": _bigearthnet,
    "sqrt": _sqrt,
}
