"""Values in memory to the parts of a Scene."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import xarray as xr

from hyperpeft.errors import LabelsError, SceneError
from hyperpeft.records.colours import default_rgb, palette
from hyperpeft.records.labels import UNLABELLED, Labels
from hyperpeft.records.windows import GRID

DIMS = ("band", "y", "x")
_OTHER_NAMES = {
    "band": ("band", "bands", "wavelength", "wavelengths", "channel", "b"),
    "y": ("y", "row", "rows", "lat", "latitude", "northing"),
    "x": ("x", "col", "cols", "column", "columns", "lon", "longitude", "easting"),
}
_MICROMETRES = 100  # wavelengths that are all below this are in micrometres
_LARGEST_ID = 65535


def parts_of_array(
    cube: Any, labels: Any, wavelengths: Any, crs: Any, transform: Any, valid: Any, name: str
) -> tuple[dict[str, Any], Labels | None]:
    """Arguments of `Scene`, and the labels; see `Scene.from_array`."""
    data = _data(cube, name)
    bands, height, width = data.shape
    nodata = _nodata(data)
    own = _wavelengths_of(data) if wavelengths is None else wavelengths
    centres = None if own is None else _wavelengths(own, bands, name)
    wkt = _crs(data if crs is None else crs)
    place = _transform_of(data) if transform is None else _transform(transform, name)
    values = data.values
    if valid is None:
        mask = np.isfinite(values).all(axis=0) if values.dtype.kind == "f" else np.ones(
            (height, width), bool)  # fmt: skip
        if nodata is not None:
            mask &= (values != nodata).all(axis=0)
    else:
        mask = np.asarray(valid, bool)
        if mask.shape != (height, width):
            raise SceneError(f"{name}: valid", expected=f"shape {(height, width)}", got=mask.shape)
        if values.dtype.kind == "f":
            mask = mask & np.isfinite(values).all(axis=0)
    plain = xr.DataArray(values, dims=DIMS, coords={a: data[a] for a in "yx" if a in data.coords})
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(np.packbits(mask).tobytes())
    parts = {
        "name": name, "cube": plain, "valid": mask, "wavelengths": centres, "crs": wkt,
        "transform": place, "rgb": default_rgb(bands, centres), "sha256": digest.hexdigest(),
    }  # fmt: skip
    return parts, None if labels is None else labels_of_array(labels)


def labels_of_array(labels: Any) -> Labels:
    """Labels of an array (H, W) of whole numbers from 0."""
    if isinstance(labels, Labels):
        return labels
    array = np.asarray(labels)
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array % 1 == 0).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise LabelsError(
            "labels", expected="whole numbers (H, W), 0 where unlabelled", got=f"{array.dtype}"
        )
    if array.ndim != 2:
        raise LabelsError("labels", expected="2 dimensions (H, W)", got=f"shape {array.shape}")
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if low < 0 or high > _LARGEST_ID:
        odd = low if low < 0 else high
        raise LabelsError(
            "labels", expected=f"class ids from 1 to {_LARGEST_ID}, 0 where unlabelled", got=odd
        )
    ids = array.astype(np.int32)
    found = [i for i in np.unique(ids).tolist() if i != UNLABELLED]
    if not found:
        raise LabelsError("labels hold no class", got="0 (unlabelled) everywhere")
    names = {i: f"class {i}" for i in found}
    return Labels(ids, names, palette(found), "array")


def _data(cube: Any, name: str) -> xr.DataArray:
    """The values as (band, y, x)."""
    if isinstance(cube, xr.DataArray):
        data = _ordered(cube, name)
    else:
        array = np.ma.filled(cube, np.nan) if isinstance(cube, np.ma.MaskedArray) else cube
        array = np.asarray(array)
        if array.ndim != 3:
            raise SceneError(
                f"{name}", expected="an array (H, W, B)", got=_what(cube, array),
                hint="give a cube of rows, columns and bands",
            )  # fmt: skip
        data = xr.DataArray(np.moveaxis(array, 2, 0), dims=DIMS)
    if data.dtype.kind not in "iuf" or not data.size:
        raise SceneError(
            f"{name}", expected="real numbers", got=f"{data.dtype} of shape {data.shape}"
        )
    return data


def _what(cube: Any, array: np.ndarray) -> str:
    kind = type(cube).__name__
    return f"shape {array.shape}" if array.dtype.kind in "iuf" else f"a value of type {kind}"


def _ordered(cube: xr.DataArray, name: str) -> xr.DataArray:
    known = {other: dim for dim, others in _OTHER_NAMES.items() for other in others}
    found = {str(dim): known.get(str(dim).lower()) for dim in cube.dims}
    if sorted(map(str, found.values())) != sorted(DIMS):
        raise SceneError(
            f"{name}: dims of the DataArray", expected="band, y and x, in any order",
            got=", ".join(map(str, cube.dims)), hint="rename them: cube.rename(old='band')",
        )  # fmt: skip
    names = {old: new for old, new in found.items() if old != new and new is not None}
    return cube.rename(names).transpose(*DIMS)


def _wavelengths_of(data: xr.DataArray) -> Any:
    for name in ("wavelength", "wavelengths"):
        if name in data.coords and data[name].dims == ("band",):
            return data[name].values
    own = data["band"].values if "band" in data.coords else np.array([])
    # A dimension called wavelength was renamed to band: its values are no counts.
    plausible = own.dtype.kind == "f" and len(own) > 1 and (own > 0.2).all() and (own[0] != 1)
    return own if plausible else data.attrs.get("wavelengths")


def _wavelengths(values: Any, bands: int, name: str) -> np.ndarray:
    try:
        centres = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError):
        centres = np.array([np.nan])
    if len(centres) != bands or not np.isfinite(centres).all() or (centres <= 0).any():
        raise SceneError(
            f"{name}: wavelengths", expected=f"{bands} positive numbers in nm",
            got=f"{len(centres)} values" if len(centres) != bands else "others",
        )  # fmt: skip
    return centres * 1000 if centres.max() < _MICROMETRES else centres


def _crs(given: Any) -> str | None:
    """WKT of a CRS, or of what rioxarray keeps in a DataArray."""
    if isinstance(given, xr.DataArray):
        grid = given.coords.get(GRID)
        given = None if grid is None else grid.attrs.get("crs_wkt") or grid.attrs.get(GRID)
    if given is None:
        return None
    from pyproj import CRS, exceptions  # only where a CRS is given

    try:
        found = CRS.from_user_input(given if isinstance(given, int) else str(given))
    except exceptions.CRSError as problem:
        raise SceneError(f"the CRS {given} cannot be understood ({problem})") from None
    return str(found.to_wkt())


def _transform(given: Any, name: str) -> tuple[float, float, float, float, float, float]:
    try:
        a, b, c, d, e, f = (float(value) for value in tuple(given)[:6])
    except (TypeError, ValueError):
        raise SceneError(f"{name}: transform", expected="6 numbers", got=repr(given)) from None
    if not np.isfinite([a, b, c, d, e, f]).all() or a * e - b * d == 0:
        raise SceneError(f"{name}: transform", expected="an invertible one", got=(a, b, c, d, e, f))
    return a, b, c, d, e, f


def _transform_of(
    data: xr.DataArray,
) -> tuple[float, float, float, float, float, float] | None:
    """From rioxarray's attribute, or from evenly spaced coordinates of pixel centres."""
    grid = data.coords.get(GRID)
    if grid is not None and "GeoTransform" in grid.attrs:
        c, a, b, f, d, e = (float(v) for v in str(grid.attrs["GeoTransform"]).split())
        return a, b, c, d, e, f
    steps = []
    for axis in ("x", "y"):
        if axis not in data.coords or data.sizes[axis] < 2:
            return None
        values = data[axis].values.astype(float)
        step = (values[-1] - values[0]) / (len(values) - 1)
        if step == 0 or np.abs(np.diff(values) - step).max() > 0.01 * abs(step):
            return None
        steps.append((step, values[0] - step / 2))
    (a, c), (e, f) = steps
    if (a, c, e, f) == (1.0, -0.5, 1.0, -0.5):
        return None  # rows and columns
    return a, 0.0, c, 0.0, e, f


def _nodata(data: xr.DataArray) -> float | None:
    for source in (data.attrs, data.encoding):
        for key in ("_FillValue", "nodata", "missing_value"):
            if key in source:
                return float(np.asarray(source[key]).ravel()[0])
    return None
