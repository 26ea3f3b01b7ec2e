"""Where a map can be trusted: the area of applicability.

Meyer and Pebesma (2021), doi:10.1111/2041-210X.13650. Features are scaled by the training pixels'
mean and deviation and weighted by their importance; with d(p) the distance from a pixel to the
nearest training pixel and D the mean distance between training pixels,

    DI(p) = d(p) / D                                     (their eq. 1 to 4)

A pixel is inside where DI is at most the largest DI of the training pixels themselves, each to the
nearest one outside its spatial fold, without outliers (above the upper quartile plus 1.5 times the
range between the quartiles). Features are the reduced bands of the pixel, whatever the method;
their importance is the share of their variance that lies between the classes, because a method
need not have weights of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from hyperpeft.errors import ConfigError
from hyperpeft.mapping.outputs.geotiff import bands_writer
from hyperpeft.mapping.outputs.qgis_style import band_style
from hyperpeft.records import Scene
from hyperpeft.spectral import Reducer

BANDS = ("dissimilarity", "applicable")
FOLDS = 10
_MOST = 3000  # training pixels whose mean distance is computed exactly
_SEED = 0  # of k-means, and of the pixels that are drawn where there are more


@dataclass(frozen=True, eq=False)
class Applicability:
    """The training pixels in the space of weighted features.

    Attributes
    ----------
    centre, factor : ndarray of float64, shape (F,)
        A feature counts as (feature - centre) * factor.
    tree : cKDTree
        Of the training pixels.
    mean_distance, threshold : float
    """

    centre: np.ndarray
    factor: np.ndarray
    tree: Any
    mean_distance: float
    threshold: float

    def index(self, features: np.ndarray) -> np.ndarray:
        """The dissimilarity index (n,) of features (n, F)."""
        distance, _ = self.tree.query((features - self.centre) * self.factor, workers=1)
        return np.asarray(distance / self.mean_distance)


def fit_applicability(
    features: np.ndarray, classes: np.ndarray, positions: np.ndarray
) -> Applicability:
    """Scale, weights and threshold from training pixels.

    Parameters
    ----------
    features : ndarray, shape (n, F)
    classes : ndarray of int, shape (n,)
    positions : ndarray of int, shape (n, 2)
        Rows and columns, from which spatial folds are made by k-means.

    Raises
    ------
    ConfigError
        Fewer than four training pixels, or all alike.
    """
    from sklearn.cluster import KMeans  # takes a second to load

    if len(features) < 4:
        raise ConfigError(
            "applicability: training pixels", expected="at least 4", got=len(features)
        )
    centre, spread = features.mean(axis=0), features.std(axis=0)
    between = np.zeros(features.shape[1])
    for i in np.unique(classes):
        of_class = features[classes == i]
        between += len(of_class) / len(features) * (of_class.mean(axis=0) - centre) ** 2
    kept = spread > 0
    importance = np.where(kept, between / np.where(kept, spread**2, 1), 0)
    factor = np.where(kept, importance / np.where(kept, spread, 1), 0)
    points = (features - centre) * factor
    random = np.random.default_rng(_SEED)
    some = points if len(points) <= _MOST else points[random.choice(len(points), _MOST, False)]
    mean_distance = float(pdist(some).mean())
    if mean_distance <= 0:
        raise ConfigError("applicability: the training pixels are all alike")
    folds = KMeans(min(FOLDS, len(points) // 2), random_state=_SEED, n_init=4).fit_predict(
        positions
    )
    own = np.empty(len(points))
    for fold in np.unique(folds):
        inside = folds == fold
        if inside.all():  # all at one place
            own[:] = 0
            break
        own[inside] = cKDTree(points[~inside]).query(points[inside])[0] / mean_distance
    low, high = np.quantile(own, [0.25, 0.75])
    threshold = float(own[own <= high + 1.5 * (high - low)].max())
    return Applicability(centre, factor, cKDTree(points), mean_distance, threshold)


def features_at(reducer: Reducer, scene: Scene, positions: np.ndarray) -> np.ndarray:
    """Reduced bands (n, 12) of pixels (n, 2)."""
    order = np.lexsort(positions.T[::-1])
    where = np.zeros(scene.valid.shape, bool)
    where[tuple(positions.T)] = True
    found = np.empty((len(positions), 12))
    index = np.zeros(scene.valid.shape, np.int64)
    index[tuple(positions[order].T)] = order
    for window, values in scene.pieces(where=where):
        here = where[window]
        if here.any():
            found[index[window][here]] = reducer.transform(values[:, here]).T
    return found


def write_applicability(
    known: Applicability, reducer: Reducer, scene: Scene, path: Path
) -> tuple[int, int]:
    """Write the index and the mask (1 inside, 0 outside); pixels inside, and in all."""
    inside = total = 0
    style = band_style(0, 2 * known.threshold, BANDS[0])
    with bands_writer(
        path, scene.valid.shape, BANDS, crs=scene.crs, transform=scene.transform, style=style,
        extra_tags={"THRESHOLD": f"{known.threshold:.6g}"},
    ) as write:  # fmt: skip
        for (rows, columns), values in scene.pieces():
            valid = scene.valid[rows, columns]
            out = np.full((2, *valid.shape), np.nan, np.float32)
            if valid.any():
                index = known.index(reducer.transform(values[:, valid]).T)
                out[0, valid], out[1, valid] = index, index <= known.threshold
                inside += int(np.count_nonzero(index <= known.threshold))
                total += len(index)
            write(out, rows.start, columns.start)
    return inside, total
