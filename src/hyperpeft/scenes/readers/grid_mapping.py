"""Where a named array lies on Earth: CF's grid mapping, or evenly spaced coordinates."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from hyperpeft.scenes.cubes.cube import Transform
from hyperpeft.scenes.readers.gdal import wkt_of

_UNEVEN = 1e-3  # of a pixel, over the whole axis
_LATITUDE, _LONGITUDE = ("lat", "latitude"), ("lon", "longitude")


class Place(NamedTuple):
    """CRS as WKT, transform of the rows as they are stored, and notes."""

    crs: str | None
    transform: Transform | None
    notes: tuple[str, ...] = ()


def georeference(dataset: xr.Dataset, values: xr.DataArray, y_dim: str, x_dim: str) -> Place:
    """Where an array lies, from its grid mapping and its coordinates."""
    mapping = str(values.attrs.get("grid_mapping", values.encoding.get("grid_mapping", "")))
    names = (mapping.split(":")[0].strip(), "spatial_ref", "crs", "transverse_mercator")
    attributes: dict[str, Any] = dict(dataset.attrs)
    for name in names:
        if name in dataset.variables:
            attributes = dict(dataset[name].attrs)
            break
    crs = _crs(attributes)
    notes: tuple[str, ...] = ()
    if crs is None and y_dim.lower() in _LATITUDE and x_dim.lower() in _LONGITUDE:
        crs = _crs({"crs": "EPSG:4326"})
        notes = ("latitude and longitude are taken as WGS 84, which the file does not say",)
    x, y = (_axis(dataset, dim) for dim in (x_dim, y_dim))
    if x is not None and y is not None:
        (x0, dx), (y0, dy) = x, y
        return Place(crs, (dx, 0.0, x0 - dx / 2, 0.0, dy, y0 - dy / 2), notes)
    numbers = [float(n) for n in re.findall(r"[-+.\deE]+", str(attributes.get("GeoTransform", "")))]
    if len(numbers) == 6:
        c, a, b, f, d, e = numbers
        return Place(crs, (a, b, c, d, e, f), notes)
    uneven = x_dim in dataset.variables and y_dim in dataset.variables
    note = "x and y are not evenly spaced: the scene has no georeference"
    return Place(crs, None, (note,) if uneven else ())


def _axis(dataset: xr.Dataset, dim: str) -> tuple[float, float] | None:
    """Centre of the first pixel and the step along a dimension, where it is even."""
    if dim not in dataset.variables or dataset[dim].dtype.kind not in "iuf":
        return None
    values = dataset[dim].values.astype(np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    step = (values[-1] - values[0]) / (len(values) - 1)
    even = values[0] + step * np.arange(len(values))
    if step == 0 or np.abs(values - even).max() > max(_UNEVEN, 1e-6 * len(values)) * abs(step):
        return None
    return float(values[0]), float(step)


def _crs(attributes: dict[str, Any]) -> str | None:
    """The CRS of a grid mapping's attributes as WKT."""
    for name in ("spatial_ref", "crs_wkt", "crs", "epsg", "proj:epsg"):
        text = attributes.get(name)
        if text is None or text == "":
            continue
        wkt = wkt_of(text)
        if wkt is not None:
            return wkt
    return None
