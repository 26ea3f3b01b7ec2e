"""Scenes of correlated bands."""

import numpy as np
import xarray as xr

from hyperpeft.records import Scene


def make_scene(cube, valid=None, wavelengths=None):
    cube = np.asarray(cube)
    valid = np.ones(cube.shape[1:], bool) if valid is None else valid
    array = xr.DataArray(cube, dims=("band", "y", "x"))
    return Scene("made", array, valid, wavelengths=wavelengths)


def correlated(bands=20, height=15, width=12, seed=0):
    """A cube whose bands depend on each other, with a falling spectrum of variances."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(bands, bands)) * 0.7 ** np.arange(bands)
    return np.einsum("bc,cyx->byx", mixing, rng.normal(size=(bands, height, width)))
