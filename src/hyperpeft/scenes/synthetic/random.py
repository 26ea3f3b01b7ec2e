"""Labelled scenes without end, for pretraining: every one with other classes and another sensor.

They cost nothing, carry no licence and never run out. Nothing in them is meant to look like one
particular place; what matters is that the difficulties of real scenes occur in all strengths:
similar classes, variants within a class, parcels of their own kind, gradients over the ground,
mixed pixels at borders and inside, shade, noise that differs from band to band, stripes.
"""

from __future__ import annotations

import numpy as np
import scipy  # its parts are loaded when they are used
import xarray as xr

from hyperpeft.errors import ConfigError
from hyperpeft.records import Labels, Scene, palette

_CURVES = 24  # cosines that a spectrum is made of
Random = np.random.Generator


def random_scene(rng: np.random.Generator, size: int = 56) -> Scene:
    """Draw a scene of `size` x `size` pixels, 8 to 47 bands and 3 to 16 classes.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same state gives the same scene.
    size : int
        At least 16 pixels.

    Returns
    -------
    Scene
        Float32 in arbitrary units, every pixel labelled with an id from 1; classes may be missing.
    """
    if size < 16:
        raise ConfigError("size of a random scene", expected="at least 16 pixels", got=size)
    bands, count = int(rng.integers(8, 48)), int(rng.integers(3, 17))
    # How far apart the classes are, in units of the spread of all spectra: decides how hard it is.
    apart = _log_uniform(rng, 0.06, 0.6)
    classes, parcels = _ground(rng, size, count)
    cube = _mix(rng, classes, _class_spectra(rng, count, bands, apart))
    cube += _variation(rng, classes, parcels, count, bands, apart)
    cube = _illuminate(rng, cube) + _noise(rng, cube.shape, apart)
    ids = (classes + 1).astype(np.int32)
    names = {i: f"class {i}" for i in range(1, count + 1)}
    return Scene(
        name="random (generated)",
        cube=xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x")),
        valid=np.ones((size, size), dtype=bool),
        labels=Labels(ids, names, palette(names), "generated"),
    )


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _curves(rng: Random, count: int, bands: int, decay: float) -> np.ndarray:
    """Smooth random spectra (count, bands) of unit norm in their cosines' coefficients."""
    order = np.arange(1, min(bands, _CURVES) + 1)
    cosines = np.cos(np.pi * np.outer(order - 1, (np.arange(bands) + 0.5) / bands))  # (c, bands)
    weights = rng.standard_normal((count, len(order))) * order**-decay
    norms = np.sqrt((weights**2).sum(axis=1, keepdims=True)) + 1e-9
    curves: np.ndarray = weights @ cosines / norms
    return curves


def _field(rng: Random, size: int, scale: float) -> np.ndarray:
    """A smooth random surface (size, size), standardised; `scale` in pixels."""
    surface = scipy.ndimage.gaussian_filter(
        rng.standard_normal((size, size)), scale, mode="reflect"
    )
    standardised: np.ndarray = (surface - surface.mean()) / (surface.std() + 1e-9)
    return standardised


def _ground(rng: Random, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Class (from 0) and parcel number (from 0, without gaps) of each pixel, (size, size)."""
    scale = _log_uniform(rng, 4, 30)  # of a parcel, in pixels
    if rng.random() < 0.65:  # fields, blocks of houses: one class to a parcel
        parcels = _number(_parcels(rng, size, scale))
        classes = rng.integers(0, count, parcels.max() + 1)[parcels]
    else:  # wild land: classes run into each other
        surfaces = [_field(rng, size, scale / 2.5) + rng.normal(0, 0.3) for _ in range(count)]
        classes = np.argmax(surfaces, axis=0)
        parcels = _number(_parcels(rng, size, scale * rng.uniform(0.7, 2)))
    if rng.random() < 0.4:  # roads, rivers, hedges
        for _ in range(int(rng.integers(1, 4))):
            line = np.abs(_field(rng, size, rng.uniform(2, 8))) < rng.uniform(0.03, 0.12)
            classes = np.where(line, rng.integers(0, count), classes)
    if rng.random() < 0.4:  # single trees, cars, huts
        spots = rng.random((size, size)) < rng.uniform(0.005, 0.08)
        classes = np.where(spots, rng.integers(0, count, (size, size)), classes)
    return classes, parcels


def _parcels(rng: Random, size: int, scale: float) -> np.ndarray:
    """Parcel numbers (size, size): cells around points, or a turned grid of uneven steps."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    along = y * np.cos(angle) - x * np.sin(angle)
    stretch = float(np.exp(rng.uniform(-0.75, 0.75)))
    if rng.random() < 0.5:
        u, v = (across * stretch).ravel(), (along / stretch).ravel()
        points = rng.integers(0, size * size, int(np.clip(size**2 / scale**2, 3, 220)))
        distance = (u[:, None] - u[points]) ** 2 + (v[:, None] - v[points]) ** 2
        nearest: np.ndarray = distance.argmin(axis=1).reshape(size, size)
        return nearest
    columns = np.cumsum(rng.uniform(0.5, 1.5, 400) * scale * stretch) + across.min()
    rows = np.cumsum(rng.uniform(0.5, 1.5, 400) * scale / stretch) + along.min()
    grid: np.ndarray = np.searchsorted(columns, across) * 401 + np.searchsorted(rows, along)
    return grid


def _number(parcels: np.ndarray) -> np.ndarray:
    """The same parcels, numbered from 0 without gaps."""
    return np.unique(parcels, return_inverse=True)[1].reshape(parcels.shape)


def _class_spectra(rng: Random, count: int, bands: int, apart: float) -> np.ndarray:
    """Spectra (count, bands): groups of classes that differ by less than the groups do."""
    decay = rng.uniform(0.7, 2.2)
    groups = int(rng.integers(1, max(2, count // 2) + 1))
    centres = _curves(rng, groups, bands, decay) * rng.uniform(0.2, 1.0)
    own = _curves(rng, count, bands, rng.uniform(0.3, 1.5)) * rng.uniform(0.4, 1.6, (count, 1))
    return _curves(rng, 1, bands, decay) + centres[rng.integers(0, groups, count)] + apart * own


def _mix(rng: Random, classes: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Spectra of the pixels (bands, size, size), mixed at borders and sometimes inside."""
    blur = rng.uniform(0.2, 0.9)
    abundances = np.stack(
        [
            scipy.ndimage.gaussian_filter((classes == k).astype(np.float32), blur, mode="nearest")
            for k in range(len(spectra))
        ]
    )  # (count, size, size)
    if rng.random() < 0.6:  # every pixel holds a little of another class
        share = rng.beta(1.2, rng.uniform(3, 12), (1, *classes.shape)) * rng.uniform(0.2, 1)
        other = rng.integers(0, len(spectra), (1, *classes.shape))
        abundances = abundances * (1 - share)
        mixed = np.take_along_axis(abundances, other, 0) + share
        np.put_along_axis(abundances, other, mixed, 0)
    return np.tensordot(spectra.T, abundances, 1)


def _variation(
    rng: Random, classes: np.ndarray, parcels: np.ndarray, count: int, bands: int, apart: float
) -> np.ndarray:
    """What differs within a class (bands, size, size): by parcel, over the ground, by pixel."""
    size, strength = len(classes), apart * _log_uniform(rng, 0.2, 2.5)
    number = int(parcels.max()) + 1
    own = _curves(rng, number, bands, rng.uniform(0.5, 1.5))
    own *= np.abs(rng.standard_normal((number, 1))) * strength * rng.uniform(0.1, 0.8)
    variation: np.ndarray = own.T[:, parcels]
    for _ in range(int(rng.integers(2, 7))):
        spectrum = _curves(rng, 1, bands, rng.uniform(0.5, 2.0))[0]
        # Half of it differs from pixel to pixel: gaps, weeds, roofs; the rest changes slowly.
        pixelwise = rng.random() < 0.5
        surface = _field(rng, size, 0.3 if pixelwise else _log_uniform(rng, 0.7, 12))
        surface = surface * rng.uniform(0.2, 1.5, count)[classes] * strength * rng.uniform(0.2, 1.2)
        variation = variation + spectrum[:, None, None] * surface
    return variation


def _illuminate(rng: Random, cube: np.ndarray) -> np.ndarray:
    """Slopes and shade: one factor for all bands of a pixel."""
    size = cube.shape[1]
    light = rng.uniform(0, 0.15) * _field(rng, size, _log_uniform(rng, 1, 10))
    if rng.random() < 0.5:
        light = light + rng.uniform(0, 0.2) * rng.standard_normal((size, size))
    lit: np.ndarray = (cube + rng.uniform(0.8, 2.5)) * np.exp(np.clip(light, -1, 1))
    return lit


def _noise(rng: Random, shape: tuple[int, ...], apart: float) -> np.ndarray:
    """Sensor noise that differs smoothly between bands, sometimes with stripes down the track."""
    bands, _, width = shape
    level = apart * _log_uniform(rng, 0.015, 1.0) * np.exp(0.5 * _curves(rng, 1, bands, 1.0)[0])
    noise = rng.standard_normal(shape)
    if rng.random() < 0.2:
        noise = noise + rng.standard_normal((bands, 1, width)) * rng.uniform(0.2, 1)
    return noise * level[:, None, None]
