"""Values in memory to the parts of a Scene."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from hyperpeft.errors import HyperpeftError, LabelsError, SceneError
from hyperpeft.records.colours import default_rgb, palette
from hyperpeft.records.labels import LARGEST_ID, UNLABELLED, Labels
from hyperpeft.records.windows import GRID, Transform

DIMS = ("band", "y", "x")
_NAMES = {  # of dimensions, in lower case
    "band": ("band", "bands", "wavelength", "wavelengths", "wl", "spectral", "channel", "b"),
    "y": ("y", "row", "rows", "lat", "latitude", "northing", "line", "lines", "ortho_y"),
    "x": (
        "x", "col", "cols", "column", "columns", "lon", "longitude", "easting", "sample", "ortho_x",
    ),
}  # fmt: skip
_WAVELENGTHS = ("wavelength", "wavelengths")  # dims or coordinates in nm or micrometres
_MICROMETRES = 100  # wavelengths that are all below this are in micrometres
_SAME_PLACE = 0.1  # of a pixel, by which coordinates of one place may differ
_FLOAT32_MAX = float(np.finfo(np.float32).max)  # what is computed with is float32


def role_of(dimension: str) -> str | None:
    """Which axis a dimension is by its name: "band", "y" or "x"; None where that does not tell."""
    return next((role for role, names in _NAMES.items() if dimension.lower() in names), None)


def parts_of_array(
    cube: Any, labels: Any, wavelengths: Any, crs: Any, transform: Any, valid: Any, name: str
) -> tuple[dict[str, Any], Labels | None]:
    """Arguments of `Scene`, and the labels; see `Scene.from_array`."""
    data = _data(cube, name)
    bands, height, width = data.shape
    nodata = _nodata(data)
    own = _wavelengths_of(data) if wavelengths is None else wavelengths
    centres, notes = _wavelengths(own, bands, name)
    wkt = _crs(data if crs is None else crs)
    place = _transform_of(data) if transform is None else _transform(transform, name)
    values = data.values
    used = nodata if valid is None else None
    mask = _valid_of(cube, values, used)
    if not mask.any():
        _check_bands(cube, values, used, name)
    plain = xr.DataArray(values, dims=DIMS, coords={a: data[a] for a in "yx" if a in data.coords})
    if valid is not None:
        given = _known_values(on_grid(valid, plain, f"{name}: valid", SceneError)).astype(bool)
        if given.shape != (height, width):
            raise SceneError(f"{name}: valid", expected=f"shape {(height, width)}", got=given.shape)
        mask &= given
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(np.packbits(mask).tobytes())
    parts = {
        "name": name, "cube": plain, "valid": mask, "wavelengths": centres, "crs": wkt,
        "transform": place, "rgb": default_rgb(bands, centres), "sha256": digest.hexdigest(),
        "notes": notes,
    }  # fmt: skip
    return parts, None if labels is None else labels_of_array(labels, plain)


def _valid_of(cube: Any, values: np.ndarray, nodata: float | None) -> np.ndarray:
    """Pixels (H, W) whose bands are numbers that float32 holds, not masked and not nodata."""
    valid = np.ones(values.shape[1:], bool)
    if values.dtype.kind == "f":
        wide = values.dtype.itemsize > 4
        valid &= (np.abs(values) <= _FLOAT32_MAX if wide else np.isfinite(values)).all(axis=0)
    if nodata is not None:
        valid &= (values != nodata).all(axis=0)
    if isinstance(cube, np.ma.MaskedArray):
        valid &= ~np.ma.getmaskarray(cube).any(axis=2)
    return valid


def _check_bands(cube: Any, values: np.ndarray, nodata: float | None, name: str) -> None:
    """SceneError where some bands have no value at all, of a scene without a valid pixel."""
    masked = isinstance(cube, np.ma.MaskedArray)
    empty = [
        band
        for band in range(len(values))
        if not _valid_of(cube[:, :, [band]] if masked else None, values[[band]], nodata).any()
    ]
    if 0 < len(empty) < len(values):
        raise SceneError(
            f"{name}: {len(empty)} of {len(values)} bands hold no value, so that no pixel is valid",
            got=f"bands {', '.join(str(band) for band in empty[:20])}, from 0",
            hint="leave these bands out of the array",
        )


def on_grid(values: Any, cube: xr.DataArray, what: str, error: type[HyperpeftError]) -> Any:
    """A DataArray as (y, x) with the rows and columns of a cube; anything else as it is."""
    if not isinstance(values, xr.DataArray):
        return values
    named = _renamed(values)
    if named.ndim == 3 and named.sizes.get("band") == 1:
        named = named.squeeze("band")
    if set(named.dims) != {"y", "x"}:
        return named
    named = named.transpose("y", "x")
    for axis in named.dims:
        placed = axis in named.coords and axis in cube.coords
        if placed and _is_turned(named[axis], cube[axis], what, error):
            named = named.isel({axis: slice(None, None, -1)})
    return named


def _is_turned(
    own: xr.DataArray, others: xr.DataArray, what: str, error: type[HyperpeftError]
) -> bool:
    """Whether coordinates are those of others in reverse order; refused where they are others.

    Where one of the two counts pixels, or their numbers differ, nothing can be said.
    """
    values, expected = own.values, others.values
    if values.dtype.kind not in "iuf" or expected.dtype.kind not in "iuf":
        return False
    if values.shape != expected.shape or len(values) < 2:
        return False
    values, expected = values.astype(float), expected.astype(float)
    near = _SAME_PLACE * np.abs(np.diff(expected)).min()
    if np.abs(values - expected).max() <= near:
        return False
    if np.abs(values[::-1] - expected).max() <= near:
        return True
    count = np.arange(len(values))
    for given in (values, expected):
        if given[0] in (0, 0.5, 1) and np.array_equal(given - given[0], count):
            return False
    raise error(
        f"{what} lie elsewhere than the scene",
        expected=f"{own.name} from {expected[0]:g} to {expected[-1]:g}",
        got=f"{values[0]:g} to {values[-1]:g}",
        hint="bring them onto its grid, such as with rioxarray's reproject_match",
    )


def labels_of_array(labels: Any, cube: xr.DataArray) -> Labels:
    """Labels of an array (H, W) of whole numbers, for a scene whose cube is (band, y, x).

    0, nodata of a DataArray, masked pixels and NaN are unlabelled. A DataArray lies where its
    coordinates say, if the cube has coordinates as well.
    """
    if isinstance(labels, Labels):
        return labels
    array = _known_values(on_grid(labels, cube, "labels", LabelsError))
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array % 1 == 0).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise LabelsError(
            "labels", expected="whole numbers (H, W), 0 where unlabelled", got=f"{array.dtype}"
        )
    if array.ndim != 2:
        raise LabelsError("labels", expected="2 dimensions (H, W)", got=f"shape {array.shape}")
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if low < 0 or high > LARGEST_ID:
        odd = low if low < 0 else high
        raise LabelsError(
            "labels", expected=f"class ids from 1 to {LARGEST_ID}, 0 where unlabelled", got=odd
        )
    ids = array.astype(np.int32)
    found = [i for i in np.unique(ids).tolist() if i != UNLABELLED]
    if not found:
        raise LabelsError("labels hold no class", got="0 (unlabelled) everywhere")
    names = {i: f"class {i}" for i in found}
    return Labels(ids, names, palette(found), "array")


def _known_values(labels: Any) -> np.ndarray:
    """The values with 0 where they are none."""
    masked = isinstance(labels, np.ma.MaskedArray)
    array = np.ma.getdata(labels) if masked else np.asarray(labels)
    none = np.array(np.ma.getmaskarray(labels)) if masked else np.zeros(array.shape, bool)
    if array.dtype.kind == "f":
        none |= np.isnan(array)
    if isinstance(labels, xr.DataArray):
        nodata = _nodata(labels)
        if nodata is not None:
            none |= array == nodata
    return np.where(none, UNLABELLED, array).astype(array.dtype) if none.any() else array


def _data(cube: Any, name: str) -> xr.DataArray:
    """The values as (band, y, x)."""
    if isinstance(cube, xr.Dataset):
        names = list(map(str, cube.data_vars))
        raise SceneError(
            name, expected="an array", got=f"a Dataset of {', '.join(names) or 'no variables'}",
            hint=f"choose a variable: ds[{(names or ['name'])[0]!r}]",
        )  # fmt: skip
    if isinstance(cube, xr.DataArray):
        data = _ordered(cube, name)
    else:
        array = np.ma.getdata(cube)  # see `_valid_of` for its mask
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


def _renamed(array: xr.DataArray) -> xr.DataArray:
    """The same with dims that are known by another name called band, y and x."""
    found = {dim: role_of(str(dim)) or str(dim) for dim in array.dims}
    if len(set(found.values())) < len(found):
        return array
    names = {old: new for old, new in found.items() if old != new}
    return array.rename(names)


def _ordered(cube: xr.DataArray, name: str) -> xr.DataArray:
    named = _renamed(cube)
    if sorted(map(str, named.dims)) != sorted(DIMS):
        raise SceneError(
            f"{name}: dims of the DataArray", expected="band, y and x, in any order",
            got=", ".join(map(str, cube.dims)), hint="rename them: cube.rename(old='band')",
        )  # fmt: skip
    for dim in _WAVELENGTHS:
        if dim in cube.dims and dim in cube.coords:
            named = named.assign_coords({dim: ("band", cube[dim].values, cube[dim].attrs)})
    return named.transpose(*DIMS)


def _wavelengths_of(data: xr.DataArray) -> Any:
    for name in _WAVELENGTHS:
        if name in data.coords and data[name].dims == ("band",):
            return data[name]
    own = data["band"] if "band" in data.coords else xr.DataArray(np.array([]))
    first = own.values[:1]
    # Numbers of bands are whole, or count from 1.
    plausible = own.dtype.kind == "f" and len(own) > 1 and (own > 0.2).all() and first != 1
    return own if plausible else data.attrs.get("wavelengths")


def _wavelengths(values: Any, bands: int, name: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Band centres in nm, by the unit of a DataArray; None and a note in one that is not known."""
    if values is None:
        return None, ()
    try:
        centres = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError):
        centres = np.array([np.nan])
    if len(centres) != bands or not np.isfinite(centres).all() or (centres <= 0).any():
        raise SceneError(
            f"{name}: wavelengths", expected=f"{bands} positive numbers in nm",
            got=f"{len(centres)} values" if len(centres) != bands else "others",
        )  # fmt: skip
    units = values.attrs.get("units") if isinstance(values, xr.DataArray) else None
    found = to_nm(centres, None if units is None else str(units))
    if found is None:
        return None, (f"wavelengths are not used: their unit {units!r} cannot be understood",)
    return found, ()


def to_nm(values: np.ndarray, units: str | None) -> np.ndarray | None:
    """Band centres or widths in nm; without a unit, numbers below 100 are taken as micrometres.

    None if the values are not wavelengths (not finite, not positive, or in another unit).
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all() or (values <= 0).any():
        return None
    unit = (units or "").strip().lower()
    if unit in ("micrometers", "micrometer", "micrometres", "micrometre", "microns", "micron"):
        unit = "um"
    if unit in ("um", "µm", "μm"):
        return values * 1000.0
    if unit.startswith("nano") or unit == "nm":
        return values
    if unit in ("", "unknown"):
        return values * 1000.0 if values.max() < _MICROMETRES else values
    return None


def _grid(data: xr.DataArray) -> Mapping[str, Any]:
    """Attributes of the grid mapping, by the name that rioxarray or CF gives it."""
    name = data.encoding.get("grid_mapping") or data.attrs.get("grid_mapping") or GRID
    grid = data.coords.get(str(name))
    return {} if grid is None else {str(key): value for key, value in grid.attrs.items()}


def _crs(given: Any) -> str | None:
    """WKT of a CRS, or of what rioxarray keeps in a DataArray."""
    if isinstance(given, xr.DataArray):
        grid = _grid(given)
        given = grid.get("crs_wkt") or grid.get(GRID)
        if given is None and "grid_mapping_name" in grid:
            given = grid
    if given is None:
        return None
    from pyproj import CRS, exceptions  # only where a CRS is given

    try:
        if isinstance(given, Mapping):
            found = CRS.from_cf(dict(given))
        else:
            found = CRS.from_user_input(given if isinstance(given, int) else str(given))
    except (exceptions.CRSError, KeyError) as problem:
        raise SceneError(f"the CRS {given} cannot be understood ({problem})") from None
    return str(found.to_wkt())


def _transform(given: Any, name: str) -> Transform:
    try:
        a, b, c, d, e, f = (float(value) for value in tuple(given)[:6])
    except (TypeError, ValueError):
        raise SceneError(f"{name}: transform", expected="6 numbers", got=repr(given)) from None
    if not np.isfinite([a, b, c, d, e, f]).all() or a * e - b * d == 0:
        raise SceneError(f"{name}: transform", expected="an invertible one", got=(a, b, c, d, e, f))
    if e == 0 and a != 0:  # north up in GDAL's order: corner, size, 0, corner, 0, size
        raise SceneError(
            f"{name}: transform", expected="a, b, c, d, e, f as in affine.Affine",
            got=f"{(a, b, c, d, e, f)}, which is in GDAL's order",
            hint="give affine.Affine.from_gdal(*transform)",
        )  # fmt: skip
    return a, b, c, d, e, f


def _transform_of(data: xr.DataArray) -> Transform | None:
    """From evenly spaced coordinates of pixel centres, and rioxarray's attribute.

    xarray cuts, thins and turns coordinates with the values and leaves the attribute as it is: it
    counts where no coordinate says otherwise.
    """
    text = _grid(data).get("GeoTransform")
    given = None
    if text is not None:
        c, a, b, f, d, e = (float(v) for v in str(text).split())
        given = (a, b, c, d, e, f)
        if b != 0 or d != 0:
            return given  # rotated: no coordinates say where pixels are
    x = _axis(data, "x", None if given is None else (given[0], given[2]))
    y = _axis(data, "y", None if given is None else (given[4], given[5]))
    if x is None or y is None:
        return None
    (a, c), (e, f) = x, y
    whole = all(data[axis].dtype.kind in "iu" for axis in "xy") and not _grid(data)
    counted = (a, e) == (1.0, 1.0) and (whole or (c, f) == (-0.5, -0.5))
    return None if counted else (a, 0.0, c, 0.0, e, f)  # rows and columns are no place


def _axis(
    data: xr.DataArray, axis: str, given: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Step and start of an axis in units of the CRS, as `given` where no coordinate differs."""
    count = data.sizes[axis]
    if axis not in data.coords:
        return given
    values = data[axis].values.astype(float)
    if given is not None:
        step, start = given
        expected = start + step * (np.arange(count) + 0.5)
        counted = np.array_equal(values, np.arange(count))
        if counted or np.abs(values - expected).max() < 0.5 * abs(step):
            return given
        if count < 2:
            return step, float(values[0]) - step / 2
    if count < 2:
        return None
    step = float(values[-1] - values[0]) / (count - 1)
    if step == 0 or np.abs(np.diff(values) - step).max() > 0.01 * abs(step):
        return None
    return step, float(values[0]) - step / 2


def _nodata(data: xr.DataArray) -> float | None:
    # What `encoding` says is of the stored numbers: of floats read from a file they are NaN.
    for source in (data.attrs,) if data.dtype.kind == "f" else (data.attrs, data.encoding):
        for key in ("_FillValue", "nodata", "missing_value"):
            if key in source:
                return float(np.asarray(source[key]).ravel()[0])
    return None
