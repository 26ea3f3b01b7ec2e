"""Where a named array lies on Earth: CF's grid mapping, or evenly spaced coordinates."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any, NamedTuple

import numpy as np
import pyproj
import xarray as xr

from hyperpeft.scenes.cubes.cube import Transform
from hyperpeft.scenes.readers.gdal import wkt_of
from hyperpeft.scenes.readers.places.affine_fit import FITS, fit_affine

_POINTS = 10_000  # of 2-D coordinates, to fit a grid to
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
    notes: list[str] = []
    if crs is None and "grid_mapping_name" in attributes:
        crs = _crs_of_words(attributes)
        if crs is None:
            notes.append(
                f"grid mapping {attributes['grid_mapping_name']} cannot be understood: no CRS"
            )
    degrees = y_dim.lower() in _LATITUDE and x_dim.lower() in _LONGITUDE
    x, y = (_axis(dataset, dim) for dim in (x_dim, y_dim))
    if x is not None and y is not None:
        if crs is None and degrees:
            crs, note = _wgs84()
            notes.append(note)
        dx, x0, rounded = x
        dy, y0, rounded_y = y
        rounded = max(rounded, rounded_y)
        if rounded > _UNEVEN:
            notes.append(
                f"x and y are rounded by up to {rounded:.2g} pixels; the grid is the even one"
            )
        return Place(crs, (dx, 0.0, x0 - dx / 2, 0.0, dy, y0 - dy / 2), tuple(notes))
    numbers = [float(n) for n in re.findall(r"[-+.\deE]+", str(attributes.get("GeoTransform", "")))]
    if len(numbers) == 6:
        c, a, b, f, d, e = numbers
        return Place(crs, (a, b, c, d, e, f), tuple(notes))
    place = _from_two_dimensions(dataset, y_dim, x_dim)
    if place is not None:
        return Place(place.crs, place.transform, (*notes, *place.notes))
    if x_dim in dataset.variables and y_dim in dataset.variables:
        notes.append("x and y are not evenly spaced: the scene has no georeference")
    return Place(crs, None, tuple(notes))


def _wgs84() -> tuple[str | None, str]:
    note = "latitude and longitude are taken as WGS 84, which the file does not say"
    return wkt_of("EPSG:4326"), note


def _from_two_dimensions(dataset: xr.Dataset, y_dim: str, x_dim: str) -> Place | None:
    """A place from latitudes and longitudes of every pixel; None where there are none."""
    found = []
    for names in (_LONGITUDE, _LATITUDE):
        lower = {str(n).lower(): n for n in dataset.variables}
        name = next((lower[n] for n in names if n in lower), None)
        if name is None or set(dataset[name].dims) != {y_dim, x_dim}:
            return None
        found.append(dataset[name].transpose(y_dim, x_dim).values.astype(np.float64))
    return place_of_degrees(*found)


def place_of_degrees(lon: np.ndarray, lat: np.ndarray) -> Place:
    """The place of a grid fitted to longitudes and latitudes (H, W) of its pixels' centres."""
    rows, columns = np.mgrid[: lon.shape[0], : lon.shape[1]]
    step = max(1, lon.size // _POINTS)
    xy = np.stack([lon.ravel(), lat.ravel()], axis=1)[::step]
    fit = fit_affine(columns.ravel()[::step] + 0.5, rows.ravel()[::step] + 0.5, xy)
    if fit is None or fit.residual > FITS:
        off = "" if fit is None else f" (up to {fit.residual:.1f} pixels off)"
        note = (
            f"latitudes and longitudes of the pixels do not make a grid{off} and are not used: the "
            "scene has no georeference"
        )
        return Place(None, None, (note,))
    wkt, note = _wgs84()
    fitted = f"the place is fitted to them, up to {fit.residual:.2g} pixels off"
    return Place(wkt, fit.transform, (f"{note}; {fitted}",))


def _crs_of_words(attributes: dict[str, Any]) -> str | None:
    """The CRS that CF describes by its parameters."""
    plain = {k: v.tolist() if isinstance(v, np.ndarray | np.generic) else v
             for k, v in attributes.items()}  # fmt: skip
    try:
        crs = pyproj.CRS.from_cf(plain)
        return wkt_of(_code(crs) or crs.to_wkt())
    except Exception:  # pyproj raises whatever a parameter leads to
        return None


def _code(crs: pyproj.CRS) -> str | None:
    """The EPSG code of a CRS without a name: degrees or UTM on the ellipsoid of WGS 84."""
    ellipsoid = crs.ellipsoid
    if ellipsoid is None or not math.isclose(ellipsoid.semi_major_metre, 6378137.0):
        return None
    if not math.isclose(ellipsoid.inverse_flattening, 298.257223563, abs_tol=1e-8):
        return None
    if crs.is_geographic:
        return "EPSG:4326"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a PROJ string loses the datum, which has no name here
        terms = crs.to_dict()
    if terms.get("proj") != "utm":
        return None
    return f"EPSG:{(32700 if 'south' in terms else 32600) + int(terms['zone'])}"


def _axis(dataset: xr.Dataset, dim: str) -> tuple[float, float, float] | None:
    """Step, centre of the first pixel and largest deviation in pixels, where an axis is even.

    Coordinates in single precision are even if they deviate by their rounding alone.
    """
    if dim not in dataset.variables or dataset[dim].dtype.kind not in "iuf":
        return None
    stored = dataset[dim].values
    values = stored.astype(np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    places = np.arange(len(values))
    step = (values[-1] - values[0]) / (len(values) - 1)
    first = values[0]
    rounding = 0.0
    if stored.dtype == np.float32:
        rounding = float(np.spacing(np.abs(stored).max()))
        if rounding > _UNEVEN * abs(step):
            step, first = np.polyfit(places, values, 1)
    off = np.abs(values - (first + step * places)).max()
    allowed = max(_UNEVEN, 1e-6 * len(values)) * abs(step)
    if step == 0 or off > max(allowed, min(rounding, abs(step) / 2)):
        return None
    return float(step), float(first), float(off / abs(step))


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
