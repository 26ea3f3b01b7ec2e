"""Where a cube lies: grid mappings, coordinates, control points, map info.

Map info of ENVI:

    {UTM, 1.000, 1.000, 364000.0, 5810000.0, 30.0, 30.0, 33, North, WGS-84, units=Meters}
     name  x     y      of the reference pixel, from 1; its easting and northing; pixel size;
     zone, hemisphere and datum; rotation=degrees (counter-clockwise)

NEON and others say it in HDF5 as

    .../Coordinate_System/Map_Info   "UTM, 1.000, 1.000, 364000.00, ...", a dataset or an attribute
    .../Coordinate_System/EPSG Code    "32633"
    .../Coordinate_System/Coordinate_System_String     WKT
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import h5py
import numpy as np
import pyproj
import xarray as xr

from hyperpeft.records import Transform
from hyperpeft.scenes.readers.gdal import silence_gdal, unless_identity, wkt_of

FITS = 1.0  # pixels; a worse fit is no grid
_ROUNDING = 1e-9  # of a pixel
_FEWEST = 3  # points that make a plane


class AffineFit(NamedTuple):
    """A transform, and the largest distance of a point from where it takes its pixel, in pixels."""

    transform: Transform
    residual: float


def fit_affine(columns: np.ndarray, rows: np.ndarray, xy: np.ndarray) -> AffineFit | None:
    """Least squares of places (n, 2) on columns and rows (n,), both at the corners of pixels.

    None for fewer than three points, points in a line, or numbers that are not finite.
    """
    design = np.stack([columns, rows, np.ones_like(columns)], axis=1).astype(np.float64)
    if len(design) < _FEWEST or not np.isfinite(xy).all() or np.linalg.matrix_rank(design) < 3:
        return None
    centre = xy.mean(axis=0)
    solution = np.linalg.lstsq(design, xy - centre, rcond=None)[0]  # (3, 2)
    away = np.hypot(*(design @ solution - (xy - centre)).T)
    pixel = min(np.hypot(*solution[0]), np.hypot(*solution[1]))
    if not pixel > 0:
        return None
    solution[:2][np.abs(solution[:2]) < _ROUNDING * pixel] = 0  # a rotation by rounding alone
    (a, d), (b, e), (c, f) = solution.tolist()
    transform = (a, b, c + float(centre[0]), d, e, f + float(centre[1]))
    return AffineFit(transform, float(away.max() / pixel))


_POINTS = 10_000  # of 2-D coordinates, to fit a grid to
_UNEVEN = 1e-3  # of a pixel, over the whole axis
_NUMBERED = (1.0, 0.0, 1.0, 0.0)  # steps and starts of numbers of columns and rows
_RADIANS = ("rad", "radian", "radians")
_METRES = {
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), 1.0),
    **dict.fromkeys(("km", "kilometre", "kilometer", "kilometres", "kilometers"), 1000.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), 0.3048),
    **dict.fromkeys(("us-ft", "us_survey_foot", "us survey foot", "ftus"), 1200 / 3937),
}
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
    even = _from_axes(dataset, y_dim, x_dim, crs)
    if even is not None:
        notes += even.notes
        if even.transform is not None:
            return Place(even.crs, even.transform, tuple(notes))
    numbers = [float(n) for n in re.findall(r"[-+.\deE]+", str(attributes.get("GeoTransform", "")))]
    if len(numbers) == 6:
        c, a, b, f, d, e = numbers
        return Place(crs, (a, b, c, d, e, f), tuple(notes))
    place = _from_two_dimensions(dataset, y_dim, x_dim)
    if place is not None:
        return Place(place.crs, place.transform, (*notes, *place.notes))
    if even is None and x_dim in dataset.variables and y_dim in dataset.variables:
        notes.append("x and y are not evenly spaced: the scene has no georeference")
    return Place(crs, None, tuple(notes))


def _from_axes(dataset: xr.Dataset, y_dim: str, x_dim: str, crs: str | None) -> Place | None:
    """A place from evenly spaced x and y, in the unit of the CRS; None where they are not that.

    Numbers of rows and columns, and coordinates in a unit of another kind, give no transform.
    """
    x, y = (_axis(dataset, dim) for dim in (x_dim, y_dim))
    if x is None or y is None:
        return None
    units = [str(dataset[dim].attrs.get("units", "")).strip() for dim in (x_dim, y_dim)]
    (dx, x0, rounded), (dy, y0, rounded_y) = x, y
    if crs is None and not any(units) and (dx, x0, dy, y0) == _NUMBERED:
        return Place(None, None)
    notes = []
    if crs is None and y_dim.lower() in _LATITUDE and x_dim.lower() in _LONGITUDE:
        crs, note = _wgs84()
        notes.append(note)
    sizes = [_unit_size(unit, crs) for unit in units]
    if None in sizes:
        against = "without a CRS" if crs is None else f"which {pyproj.CRS(crs).name} has not"
        unit = units[sizes.index(None)]
        notes.append(f"x and y are in {unit}, {against}: no georeference is taken from them")
        return Place(crs, None, tuple(notes))
    if 0 in sizes:
        notes.append(f"x and y are in {units[sizes.index(0)]}, an unknown unit: taken as they are")
    across, down = (size or 1.0 for size in sizes)
    if across != 1 or down != 1:
        to = "metres" if crs is None else "the unit of the CRS"
        notes.append(f"x and y are converted from {units[across == 1]} to {to}")
    dx, x0, dy, y0 = dx * across, x0 * across, dy * down, y0 * down
    rounded = max(rounded, rounded_y)
    if rounded > _UNEVEN:
        notes.append(f"x and y are rounded by up to {rounded:.2g} pixels; the grid is the even one")
    return Place(crs, (dx, 0.0, x0 - dx / 2, 0.0, dy, y0 - dy / 2), tuple(notes))


def _unit_size(unit: str, crs: str | None) -> float | None:
    """A unit of coordinates in that of a CRS, in metres or degrees without one.

    0 for a unit that is not known, None for one of another kind: metres where the CRS has degrees.
    """
    unit = unit.lower()
    if unit in ("", "1"):
        return 1.0
    angle = 1.0 if unit in _RADIANS else math.radians(1) if unit.startswith("deg") else None
    size = _METRES.get(unit) if angle is None else angle
    if size is None:
        return 0.0
    if crs is None:
        return None if unit in _RADIANS else 1.0 if angle is not None else size
    known = pyproj.CRS(crs)
    if known.is_geographic != (angle is not None):
        return None
    theirs = known.axis_info[0].unit_conversion_factor
    return 1.0 if math.isclose(size, theirs, rel_tol=1e-9) else size / theirs


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
    with silence_gdal():  # a PROJ string loses the datum, which has no name here
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


_NAD83 = ("nad83", "northamerica1983", "northamerican1983")


def parse_map_info(text: str, crs: str | None = None) -> tuple[str | None, Transform | None]:
    """CRS as WKT and transform; each None where the text does not tell.

    Parameters
    ----------
    text : str
    crs : str or None
        A code or WKT that is known otherwise and wins.
    """
    parts = [part.strip() for part in text.strip().strip("{}").split(",")]
    try:
        x, y, easting, northing, width, height = (float(part) for part in parts[1:7])
    except ValueError:
        return (None if crs is None else wkt_of(crs)), None
    rotation = re.search(r"rotation\s*=\s*([-+.\deE]+)", text)
    angle = math.radians(-float(rotation[1])) if rotation else 0.0
    cos, sin = math.cos(angle), math.sin(angle)
    a, b, d, e = width * cos, -width * sin, -height * sin, -height * cos  # as GDAL has it
    c, f = easting - (x - 1) * width, northing + (y - 1) * height
    known = (None if crs is None else wkt_of(crs)) or _named_crs(parts)
    return known, unless_identity((a, b, c, d, e, f))


def _named_crs(parts: list[str]) -> str | None:
    words = [re.sub(r"[\W_]", "", part).lower() for part in parts]
    is_wgs = any(word.startswith("wgs84") for word in words)
    is_nad = any(word in _NAD83 for word in words)
    if words[0] == "utm" and len(words) > 8 and words[7].isdecimal() and 1 <= int(words[7]) <= 60:
        zone, south = int(words[7]), words[8].startswith("s")
        if is_wgs:
            return wkt_of(f"EPSG:{(32700 if south else 32600) + zone}")
        return wkt_of(f"EPSG:{26900 + zone}") if is_nad and not south and zone <= 23 else None
    if words[0] in ("geographiclatlon", "geographic"):
        return wkt_of("EPSG:4326") if is_wgs else wkt_of("EPSG:4269") if is_nad else None
    return None


_MAP, _CODES = ("mapinfo",), ("epsgcode", "epsg", "epsgcodes")
_SYSTEMS = ("coordinatesystemstring", "crswkt", "spatialref")


def hdf5_place(file: h5py.File) -> tuple[str | None, Transform | None]:
    """CRS as WKT and transform, each None where the file does not tell."""
    texts: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        _collect(texts, name, item)
        for key in item.attrs:
            _keep(texts, key, item.attrs[key])

    for key in file.attrs:
        _keep(texts, key, file.attrs[key])
    file.visititems(visit)
    system = next((texts[key] for key in (*_CODES, *_SYSTEMS) if key in texts), None)
    if "mapinfo" not in texts:
        return None, None
    return parse_map_info(texts["mapinfo"], system)


def _collect(texts: dict[str, str], name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset) and item.size == 1:
        key = name.rsplit("/", 1)[-1]
        if _plain(key) in (*_MAP, *_CODES, *_SYSTEMS):
            _keep(texts, key, item[()])


def _keep(texts: dict[str, str], key: str, value: Any) -> None:
    plain = _plain(key)
    if plain in (*_MAP, *_CODES, *_SYSTEMS):
        found = np.ravel(np.asarray(value))
        if found.size == 1:
            one = found[0]
            text = one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)
            texts.setdefault(plain, text)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
