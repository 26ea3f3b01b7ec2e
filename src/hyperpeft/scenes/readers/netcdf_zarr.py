"""Zarr stores and NetCDF-4 files whose dimensions have names: what xarray and CF write.

    cube                one 3-D variable, or the one named reflectance or radiance, in the root or
                        in a group (AVIRIS-3 and AVIRIS-5 keep theirs in the group reflectance)
    dimensions          told by name: band, bands, wavelength; y, row, lat, northing; x, col, ...;
                        others of length 1, such as one time, are left out
    wavelengths, fwhm   1-D variables along the bands, with units; bbl or good_wavelengths as well
    georeference        the grid mapping's WKT and GeoTransform, or evenly spaced x and y
    values              sign, scale, nodata and valid range as in CF, see `readers.cf`

A Zarr array whose dimensions have no names is read with a layout, as .npy is; so is one that is
opened by itself, by default with the layout that its names say.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.records import role_of, to_nm
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.layouts import Layout, parse_layout
from hyperpeft.scenes.cubes.lazy import DIMS, LazyCube, StoredCube, check_chunks
from hyperpeft.scenes.cubes.wavelengths import widths_to_nm
from hyperpeft.scenes.readers import cf
from hyperpeft.scenes.readers.arrays import read_arrays
from hyperpeft.scenes.readers.detect import Probe, is_arrays
from hyperpeft.scenes.readers.notes import unused_layers
from hyperpeft.scenes.readers.place import georeference
from hyperpeft.scenes.readers.stores import (
    Variable,
    arrays_without_dimension_names,
    check_store,
    choose_cube,
    dimensions_of_root,
    is_cdf5,
    joined_name,
    netcdf_groups,
    open_group,
    open_without,
    require_package,
    storage_options,
    zarr_groups,
)

_CUBES = ("reflectance", "radiance", "rfl", "surface_reflectance")
PLACES = ("lat", "latitude", "lon", "longitude", "x", "y", "xc", "yc")  # 2-D coordinates
_CENTRES = ("wavelength", "wavelengths", "wl", "center_wavelength", "band", "bands")
_WIDTHS = ("fwhm", "fwhms", "bandwidth")
_PACKING = ("_Unsigned", "scale_factor", "add_offset")
_AXES = {"band": "b", "y": "h", "x": "w"}  # of a layout, by the role of a dimension
_FLAGS = ("good_wavelengths", "bbl", "good_bands", "good")


def read_zarr(probe: Probe, key: str | Sequence[str] | None, layout: str | None) -> Cube:
    """The cube of a Zarr store, see `_read_labelled`."""
    require_package(probe.path, "zarr")
    check_store(probe.path)
    return _read_labelled(probe.path, key if isinstance(key, str) else None, layout, zarr=True)


def read_store(store: Any, key: str | None, layout: str | None) -> Cube:
    """The cube of a Zarr store on a server, see `readers.remote.store`."""
    return _read_labelled(store, key, layout, zarr=True)


def read_netcdf(probe: Probe, key: str | Sequence[str] | None, layout: str | None) -> Cube:
    """The cube of a NetCDF file, see `_read_labelled`.

    One that is named as HDF5 may be read by a layout, as HDF5 is.
    """
    if layout is not None and is_arrays(probe):
        return read_arrays(probe, key, layout)
    _require_netcdf(probe)
    return _read_labelled(probe.path, key if isinstance(key, str) else None, layout, zarr=False)


def _unused(dataset: xr.Dataset, cube: Cube) -> tuple[str, ...]:
    """A note on wavelengths that are there and cannot be understood."""
    if cube.wavelengths is not None:
        return ()
    lower = {str(name).lower(): name for name in dataset.variables}
    for name in ("wavelength", "wavelengths", "wl", "center_wavelength"):
        if name in lower:
            units = dataset[lower[name]].attrs.get("units", "")
            what = f"unit {units!r}" if units else "shape or numbers"
            return (f"{lower[name]} is not used: its {what} cannot be understood",)
    return ()


def _require_netcdf(probe: Probe) -> None:
    """Refuse what cannot be read here: NetCDF-4 and 64-bit data without their packages."""
    if probe.is_hdf5:
        require_package(probe.path, "h5netcdf")
    elif is_cdf5(probe.path) and importlib.util.find_spec("netCDF4") is None:
        raise SceneError(
            f"{probe.path} is NetCDF of 64-bit data (CDF-5), which only netCDF4 reads",
            hint="pip install netCDF4, or convert it with nccopy -k nc4",
        )


def _read_labelled(path: Path, key: str | None, given: str | None, *, zarr: bool) -> Cube:
    """The cube of a Zarr store or NetCDF-4 file.

    Parameters
    ----------
    key : str or None
        Name of the variable, with its groups: "reflectance/reflectance".
    given : str or None
        The layout that the user gave; then a Zarr array is read by it, whatever its names.

    Raises
    ------
    SceneError
        Damaged, or no such cube, or several.
    ConfigError
        The package that reads this format is not installed.
    """
    named, arrays = _open(path, zarr)
    layout = parse_layout(given or _layout_by_names(path, arrays))
    variables = [
        Variable(joined_name(group, str(name)), values.shape, values.dtype.kind in "biuf")
        for group, dataset in named.items()
        for name, values in dataset.variables.items()
    ]
    bare = [v for found in arrays.values() for v in found]
    listed = sorted([*variables, *bare], key=lambda variable: variable.name)
    chosen = _choose(path, listed, key, layout)
    if given is not None or any(v.name == chosen for v in bare):
        if not zarr:
            raise ConfigError(f"layout: {path} names its own dimensions")
        if storage_options(path) is not None:
            raise SceneError(
                f"{path}: {chosen or 'the array'} has dimensions without names",
                expected="a store that names them, as xarray writes it",
                hint="download it, and give its path and --layout",
            )
        stored = StoredCube("zarr", path, chosen, layout.axes.replace(" ", ""))
        return Cube(
            path, stored.to_xarray(stored.block), block=stored.block, key=f"{chosen} {layout.axes}"
        )
    group = next(
        g for g in named if any(joined_name(g, str(n)) == chosen for n in named[g].variables)
    )
    dataset = _with_parents(named, group)
    cube = _to_cube(path, chosen, dataset, dataset[chosen.rsplit("/", 1)[-1]])
    others = [v.name for v in variables if v.name != chosen and v.numeric and len(v.shape) > 1]
    layers = [n for n in others if n.rsplit("/", 1)[-1].lower() not in PLACES]
    return replace(cube, notes=(*cube.notes, *_unused(dataset, cube), *unused_layers(layers)))


def _layout_by_names(path: Path, arrays: dict[str, list[Variable]]) -> str | None:
    """The layout of an array that is the whole store, by the names of its dimensions."""
    if not _is_one_array(arrays):
        return None
    axes = [_AXES.get(role_of(name) or "") for name in dimensions_of_root(path)]
    return " ".join(map(str, axes)) if set(axes) == set(_AXES.values()) else None


def _is_one_array(arrays: dict[str, list[Variable]]) -> bool:
    return any(variable.name == "" for variable in arrays.get("", ()))


def open_named(probe: Probe) -> dict[str, xr.Dataset]:
    """The groups of a Zarr store or a NetCDF file, each with what the groups above it hold."""
    zarr = probe.is_folder
    if zarr:
        require_package(probe.path, "zarr")
        check_store(probe.path)
    else:
        _require_netcdf(probe)
    named, _ = _open(probe.path, zarr)
    return {group: _with_parents(named, group) for group in named}


def _open(path: Path, zarr: bool) -> tuple[dict[str, xr.Dataset], dict[str, list[Variable]]]:
    """Groups with their arrays whose dimensions have names, and the others by group."""
    groups = zarr_groups(path) if zarr else netcdf_groups(path)
    arrays = arrays_without_dimension_names(path, groups) if zarr else {}
    if _is_one_array(arrays):
        return {}, arrays
    named = {
        g: open_without(path, g, arrays[g]) if g in arrays else open_group(path, g, zarr)
        for g in groups
    }
    return {g: _unpacked(path, _squeezed(dataset)) for g, dataset in named.items()}, arrays


def _unpacked(path: Path, dataset: xr.Dataset) -> xr.Dataset:
    """A group whose vectors and places of pixels are physical numbers; its other values as stored.

    Coordinates are often whole numbers with a scale and an offset.
    """
    physical = {}
    for name, values in dataset.variables.items():
        kept = {k: v for k, v in values.attrs.items() if k not in _PACKING}
        place = values.ndim == 2 and str(name).lower() in PLACES
        if len(kept) == len(values.attrs) or not (place or values.ndim == 1):
            continue
        if values.dtype.kind in "iuf":
            packing = {k: values.attrs[k] for k in values.attrs.keys() - kept.keys()}
            rules = cf.value_rules(path, cf.Stored(str(name), values.dtype, packing))
            numbers = rules.physical(values.values.astype(rules.dtype, copy=False))
            physical[name] = (values.dims, numbers, kept)
    return dataset.assign(physical)


def _squeezed(dataset: xr.Dataset) -> xr.Dataset:
    """A group without the dimensions of length 1 that are no axis of a cube, such as one time."""
    single = [
        dim
        for dim, size in dataset.sizes.items()
        if size == 1 and role_of(str(dim)) is None and not _is_spectral(dataset, str(dim))
    ]
    squeezed = dataset.squeeze(single)
    for name, values in squeezed.variables.items():
        dims = dataset.variables[name].dims
        for key in ("chunks", "chunksizes", "preferred_chunks") if len(dims) > values.ndim else ():
            sizes = values.encoding.pop(key, None)
            if sizes and key != "preferred_chunks":
                pairs = zip(dims, sizes, strict=True)
                values.encoding[key] = tuple(size for dim, size in pairs if dim not in single)
    return squeezed


def _choose(path: Path, variables: list[Variable], key: str | None, layout: Layout) -> str:
    if key is None:
        cubes = [v for v in variables if v.numeric and len(v.shape) == 3]
        for name in _CUBES:
            found = [v for v in cubes if v.name.rsplit("/", 1)[-1].lower() == name]
            if len(found) == 1:
                return found[0].name
        deeper = [v for v in variables if v.numeric and len(v.shape) > 3]
        if len(cubes or deeper) == 1:  # a deeper one is refused by the names of its dimensions
            return (cubes or deeper)[0].name
        variables = cubes or variables
    return choose_cube(path, variables, Layout("b h w") if key is None else layout, key, None)


def _with_parents(named: dict[str, xr.Dataset], group: str) -> xr.Dataset:
    """A group with the variables of the groups above it: coordinates and the grid mapping."""
    dataset = named[group]
    while group:
        group = group.rpartition("/")[0]
        if group not in named:
            continue
        above = {
            n: v
            for n, v in named[group].variables.items()
            if n not in dataset.variables
            and all(dataset.sizes.get(d, size) == size for d, size in v.sizes.items())
        }
        dataset = dataset.assign(above)
    return dataset


def _to_cube(path: Path, name: str, dataset: xr.Dataset, values: xr.DataArray) -> Cube:
    roles = _roles(path, name, dataset, values)
    place = georeference(dataset, values, roles["y"], roles["x"])
    means = cf.value_rules(path, values)
    data = NamedCube(values, roles, means.dtype)
    bands, _, width = data.shape
    chunks = values.encoding.get("chunks") or values.encoding.get("chunksizes") or ()
    check_chunks(path, name, chunks, values.dtype)
    sizes = dict(zip(map(str, values.dims), chunks, strict=False))
    block = (int(sizes.get(roles["y"], 1)), int(sizes.get(roles["x"], width)))
    wavelengths, fwhm = _spectral(dataset, roles["band"])
    flags = _along(dataset, roles["band"], _FLAGS)
    cube = Cube(
        path,
        data.to_xarray(block),
        wavelengths=wavelengths,
        fwhm=fwhm,
        good=None if flags is None else flags.values.ravel() != 0,
        marks=means.marks,
        limits=(means.limits,) * bands,
        empty=means.empty,
        scale=np.full(bands, means.scale),
        offset=np.full(bands, means.offset),
        crs=place.crs,
        transform=place.transform,
        block=block,
        key=name,
    )
    return replace(cube, notes=(*place.notes, *scale_note(cube)))


class NamedCube(LazyCube):
    """A lazy DataArray whose dimensions have other names or another order; its type may turn.

    Its own `transpose` would leave reading by slices: it is cut first and turned in memory.
    """

    def __init__(self, values: xr.DataArray, roles: dict[str, str], dtype: np.dtype) -> None:
        self.values = values.drop_vars(list(values.coords))
        self.roles = roles
        self.dtype = dtype.newbyteorder("=")
        bands, height, width = (values.sizes[roles[dim]] for dim in DIMS)
        self.shape = (bands, height, width)

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        first = int(bands.min())
        where = {"band": slice(first, int(bands.max()) + 1), "y": rows, "x": columns}
        part = self.values.isel({self.roles[dim]: span for dim, span in where.items()})
        block = part.values.transpose([part.dims.index(self.roles[dim]) for dim in DIMS])
        return block.astype(self.dtype, copy=False)[bands - first]


def _spectral(dataset: xr.Dataset, dim: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Band centres and widths in nm."""
    centres = _along(dataset, dim, _CENTRES)
    if centres is None:
        return None, None
    units = str(centres.attrs.get("units", ""))
    if centres.name in ("band", "bands") and not units:
        return None, None  # numbers of bands, unless a unit says that they are wavelengths
    widths = _along(dataset, dim, _WIDTHS)
    if widths is None:
        return to_nm(centres.values, units), None
    own = str(widths.attrs.get("units", units))
    return to_nm(centres.values, units), widths_to_nm(widths.values, own, centres.values)


def _roles(path: Path, name: str, dataset: xr.Dataset, values: xr.DataArray) -> dict[str, str]:
    """Which dimension is which."""
    roles: dict[str, str] = {}
    for dim in map(str, values.dims):
        role = role_of(dim)
        if role is None and _is_spectral(dataset, dim):
            role = "band"
        if role is not None:
            roles.setdefault(role, dim)
    if len(roles) != 3:
        raise SceneError(
            f"{path}:{name} has dimensions {', '.join(map(str, values.dims))}",
            expected="one of band or wavelength, one of y, row, lat or northing, "
            "and one of x, col, lon or easting",
            hint="rename them with xarray, or give the layout of a Zarr array, such as 'b h w'",
        )
    others = [dim for dim in map(str, values.dims) if dim not in roles.values()]
    if others:
        got = ", ".join(f"{dim} of length {values.sizes[dim]}" for dim in others)
        raise SceneError(
            f"{path}:{name} has more dimensions than a cube",
            expected=", ".join(dim for dim in map(str, values.dims) if dim not in others),
            got=f"also {got}",
            hint=f"choose one with xarray, such as isel({others[0]}=0), and save it",
        )
    return roles


def _is_spectral(dataset: xr.Dataset, dim: str) -> bool:
    """Whether wavelengths lie along a dimension, whatever it is called."""
    return _along(dataset, dim, ("wavelength", "wavelengths", "wl")) is not None


def _along(dataset: xr.Dataset, dim: str, names: tuple[str, ...]) -> xr.DataArray | None:
    """A numeric vector along a dimension, by its name."""
    lower = {str(name).lower(): name for name in dataset.variables}
    for name in names:
        if name in lower:
            vector = dataset[lower[name]]
            if vector.dims == (dim,) and vector.dtype.kind in "biuf":
                return vector
    return None
