"""Random patches network: convolutions whose kernels are patches of the scene, no training.

Per layer (Xu, Du, Zhang and Zhang 2018, ISPRS Journal 142, doi 10.1016/j.isprsjprs.2018.05.014):
the input's leading principal components, whitened (p, H, W); k patches of it around random pixels
are the kernels of a convolution, which gives k maps and the next layer's input. The maps of all
layers beside the spectra, each column standardised, go to a support vector machine.

A layer looks size // 2 pixels further, and the whitening sees the scene: a method for whole scenes.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

LAYERS = 5
PATCHES = 20  # k
SIZE = 21  # of a patch, pixels
COMPONENTS = 3  # p


def random_patch_features(
    cube: np.ndarray, valid: np.ndarray, seed: int, layers: int = LAYERS
) -> np.ndarray:
    """Maps of all layers.

    Parameters
    ----------
    cube : ndarray of float32, shape (C, H, W)
        Components of variance 1, at least `COMPONENTS`; 0 where not valid.
    valid : ndarray of bool, shape (H, W)
    seed : int
        Of the patches.
    layers : int

    Returns
    -------
    ndarray of float32, shape (layers * PATCHES, H, W)
        Each of mean 0 and variance 1 over the valid pixels; 0 elsewhere.
    """
    rng = np.random.default_rng(seed)
    pixels, maps = np.argwhere(valid), []
    image = cube[:COMPONENTS]
    for _ in range(layers):
        chosen = rng.choice(pixels, PATCHES, replace=len(pixels) < PATCHES)
        maps.append(_convolved(image, chosen))
        image = _whitened(maps[-1], valid)
    out = np.concatenate(maps)
    values = out[:, valid]
    spread = values.std(axis=1) + 1e-9
    out = (out - values.mean(axis=1)[:, None, None]) / spread[:, None, None]
    return np.where(valid, out, 0).astype(np.float32)


def _convolved(image: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Correlation of an image (p, H, W), mirrored beyond its borders, with its own patches."""
    half = SIZE // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="symmetric")
    kernels = (padded[:, r : r + SIZE, c : c + SIZE] for r, c in centres)
    return np.stack(
        [fftconvolve(padded, kernel[::-1, ::-1, ::-1], mode="valid")[0] for kernel in kernels]
    )


def _whitened(maps: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The leading principal components (COMPONENTS, H, W) of maps, of variance 1."""
    values = maps[:, valid].astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    variance, axes = np.linalg.eigh(values @ values.T / values.shape[1])
    leading = axes[:, ::-1][:, :COMPONENTS] / np.sqrt(variance[::-1][:COMPONENTS] + 1e-9)
    out = np.zeros((leading.shape[1], *valid.shape), np.float32)
    out[:, valid] = leading.T @ values
    return out
