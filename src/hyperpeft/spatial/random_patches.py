"""Random patches network: convolutions whose kernels are patches of the scene, no training.

Per layer (Xu, Du, Zhang and Zhang 2018, ISPRS Journal 142, doi 10.1016/j.isprsjprs.2018.05.014):
the input's leading principal components, whitened (p, H, W); k patches of it around random pixels
are the kernels of a convolution, which gives k maps and the next layer's input. The maps of all
layers, each of variance 1, are features beside the spectra.

It is fitted to a whole scene: kernels and whitening are the scene's. They are numbers that are
kept, so that another scene, or a part of one, gets its maps by the same numbers; a layer looks half
a patch further. Beyond the scene's edge every layer's input is its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are used

LAYERS = 5
PATCHES = 20  # k
SIZE = 21  # of a patch, pixels
COMPONENTS = 3  # p

Edges = tuple[tuple[bool, bool], tuple[bool, bool]]
"""Whether an image ends at the scene's top and bottom, left and right edge."""

WHOLE: Edges = ((True, True), (True, True))


@dataclass(frozen=True, eq=False)
class RandomPatches:
    """A fitted network of random patches.

    Attributes
    ----------
    kernels : ndarray of float32, shape (L, k, p, s, s)
        Of each layer.
    centre : ndarray of float64, shape (L - 1, k)
        Means of a layer's maps, before they are whitened.
    axes : ndarray of float64, shape (L - 1, p, k)
        Leading principal components of a layer's maps, over their deviations.
    mean, spread : ndarray of float64, shape (L k,)
        Of all maps.
    """

    kernels: np.ndarray
    centre: np.ndarray
    axes: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(
        cls,
        cube: np.ndarray,
        valid: np.ndarray,
        seed: int,
        layers: int = LAYERS,
        patches: int = PATCHES,
        size: int = SIZE,
    ) -> RandomPatches:
        """Draw patches of a scene, layer by layer.

        Parameters
        ----------
        cube : ndarray of float32, shape (C, H, W)
            Components of variance 1, at least `COMPONENTS`; 0 where not valid.
        valid : ndarray of bool, shape (H, W)
        seed : int
            Of the patches.
        layers, patches : int
        size : int
            Of a patch in pixels, odd.
        """
        rng = np.random.default_rng(seed)
        pixels, image = np.argwhere(valid), cube[:COMPONENTS].astype(np.float32)
        kernels, centres, axes, means, spreads = [], [], [], [], []
        for layer in range(layers):
            padded = _mirrored(image, size // 2, WHOLE)
            chosen = rng.choice(pixels, patches, replace=len(pixels) < patches)
            kernels.append(np.stack([padded[:, r : r + size, c : c + size] for r, c in chosen]))
            maps = _correlated(padded, kernels[-1])
            values = maps[:, valid].astype(np.float64)  # (k, n)
            means.append(values.mean(axis=1))
            spreads.append(values.std(axis=1) + 1e-9)
            if layer + 1 < layers:
                centres.append(means[-1])
                axes.append(_whitening(values - means[-1][:, None]))
                image = _whitened(maps, valid, centres[-1], axes[-1])
        return cls(
            np.stack(kernels).astype(np.float32),
            np.array(centres).reshape(layers - 1, patches),
            np.array(axes).reshape(layers - 1, COMPONENTS, patches),
            np.concatenate(means),
            np.concatenate(spreads),
        )

    @property
    def count(self) -> int:
        """Maps of all layers, L k."""
        return len(self.mean)

    @property
    def reach(self) -> int:
        """Pixels around a pixel that its maps depend on."""
        return len(self.kernels) * (self.kernels.shape[-1] // 2)

    def maps(self, cube: np.ndarray, valid: np.ndarray, edges: Edges = WHOLE) -> np.ndarray:
        """Maps of a scene, or of a part of one.

        Parameters
        ----------
        cube : ndarray of float32, shape (C, H, W)
            0 where not valid.
        valid : ndarray of bool, shape (H, W)
        edges : tuple
            Which sides are the scene's own; of the others `reach` pixels are cut off.

        Returns
        -------
        ndarray of float32, shape (L k, H', W')
            0 where not valid.
        """
        half = self.kernels.shape[-1] // 2
        parts = []
        layers = list(self._layers(cube[:COMPONENTS], valid, half, edges))
        for layer, (maps, _) in enumerate(layers, start=1):
            left = len(layers) - layer  # layers to come, each of which cuts off half a patch
            rows, columns = (
                slice(0 if a else left * half, None if b or not left else -left * half)
                for a, b in edges
            )
            parts.append(maps[:, rows, columns])
        out = (np.concatenate(parts) - self.mean[:, None, None]) / self.spread[:, None, None]
        return np.where(layers[-1][1], out, 0).astype(np.float32)

    def _layers(
        self, image: np.ndarray, valid: np.ndarray, half: int, edges: Edges
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The maps of each layer, and which of their pixels are valid."""
        rows, columns = (slice(0 if a else half, None if b else -half) for a, b in edges)
        for layer, kernels in enumerate(self.kernels):
            maps = _correlated(_mirrored(image, half, edges), kernels)
            valid = valid[rows, columns]
            yield maps, valid
            if layer + 1 < len(self.kernels):
                image = _whitened(maps, valid, self.centre[layer], self.axes[layer])


def _mirrored(image: np.ndarray, half: int, edges: Edges) -> np.ndarray:
    """An image (p, H, W) with its mirror image beyond those sides that are the scene's."""
    margins = [(half * a, half * b) for a, b in edges]
    return np.pad(image, ((0, 0), *margins), mode="symmetric")


def _correlated(image: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """Correlation (k, H - s + 1, W - s + 1) float32 of an image (p, H, W) with kernels."""
    size, shape = kernels.shape[-1], image.shape[1:]
    fast = [scipy.fft.next_fast_len(side, real=True) for side in shape]
    spectrum = scipy.fft.rfft2(image.astype(np.float64), fast)  # (p, ...)
    out = np.empty((len(kernels), shape[0] - size + 1, shape[1] - size + 1), np.float32)
    for number, kernel in enumerate(kernels):
        product = (spectrum * np.conj(scipy.fft.rfft2(kernel.astype(np.float64), fast))).sum(axis=0)
        full = scipy.fft.irfft2(product, fast)
        out[number] = full[: out.shape[1], : out.shape[2]]
    return out


def _whitening(centred: np.ndarray) -> np.ndarray:
    """Leading principal components (p, k) of centred maps (k, n), over their deviations."""
    variance, vectors = np.linalg.eigh(centred @ centred.T / centred.shape[1])
    leading = vectors[:, ::-1][:, :COMPONENTS] / np.sqrt(variance[::-1][:COMPONENTS] + 1e-9)
    return leading.T


def _whitened(
    maps: np.ndarray, valid: np.ndarray, centre: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Whitened components (p, H, W) float32 of maps; 0 where not valid."""
    out = np.zeros((len(axes), *valid.shape))
    for number, weights in enumerate(axes):
        for weight, mean, band in zip(weights, centre, maps, strict=True):
            out[number] += weight * (band - mean)  # in a fixed order: a tile has the same sums
    return np.where(valid, out, 0).astype(np.float32)
