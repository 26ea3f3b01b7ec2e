"""Zarr stores and NetCDF-4 files from outside: what they are, their groups, their arrays."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import h5py
import xarray as xr

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.scenes.readers.detect import ZARR_MARKS
from hyperpeft.scenes.readers.variables import Variable

PICKLE = re.compile(rb'"(?:id|name)"\s*:\s*"[^"]*pickle', re.IGNORECASE)


def require_package(path: Path, name: str) -> Any:
    """The package, an extra, that reads a Zarr store or a NetCDF file; refused without it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"{path} is read through {name}, which is not installed here",
            hint=f"pip install {name}, or install hyperpeft[formats]",
        ) from None


def refuse_pickles(path: Path) -> None:
    """Refuse a Zarr store with a codec that unpickles, before anything opens it.

    Raises
    ------
    SceneError
    """
    for name in ZARR_MARKS:
        for mark in path.rglob(name):
            if PICKLE.search(mark.read_bytes()):
                raise SceneError(
                    f"{path} holds Python objects (pickle, in {mark.relative_to(path)}), which are "
                    "not loaded because they can run code",
                    expected="arrays of numbers",
                )


def is_cdf5(path: Path) -> bool:
    """Whether a file is NetCDF-3 with 64-bit data, which scipy does not read."""
    with path.open("rb") as file:
        return file.read(4) == b"CDF\x05"


def storage_options(path: Any) -> dict[str, Any] | None:
    """Options of fsspec for a store on a server; None for a folder."""
    found: dict[str, Any] | None = getattr(path, "storage_options", None)
    return found


def joined_name(group: str, name: str) -> str:
    """The name of an array with its groups, as it is typed behind FILE:."""
    return f"{group}/{name}" if group else name


def zarr_groups(path: Path) -> list[str]:
    """Names of all groups, "" for the root."""
    zarr = require_package(path, "zarr")
    root = zarr.open(str(path), mode="r", storage_options=storage_options(path))
    if isinstance(root, zarr.Array):
        return [""]
    return ["", *(n for n, item in root.members(max_depth=None) if isinstance(item, zarr.Group))]


def netcdf_groups(path: Path) -> list[str]:
    """Names of all groups, "" for the root."""
    groups = [""]
    if not h5py.is_hdf5(path):
        return groups  # NetCDF-3 has none
    with h5py.File(path, "r") as file:
        file.visititems(lambda n, item: groups.append(n) if isinstance(item, h5py.Group) else None)
    return groups


def arrays_without_dimension_names(path: Path, groups: list[str]) -> dict[str, list[Variable]]:
    """Groups of a Zarr store with arrays whose dimensions have no names: xarray refuses them."""
    zarr = require_package(path, "zarr")
    found: dict[str, list[Variable]] = {}
    root = zarr.open(str(path), mode="r", storage_options=storage_options(path))
    if isinstance(root, zarr.Array):
        return {"": [Variable("", root.shape, root.dtype.kind in "biuf")]}
    for group in groups:
        node: Any = root[group] if group else root
        arrays = dict(node.arrays())
        if any(not _dimensions(array) for array in arrays.values() if array.ndim):
            found[group] = [
                Variable(joined_name(group, n), a.shape, a.dtype.kind in "biuf")
                for n, a in arrays.items()
            ]
    return found


def _dimensions(array: Any) -> Any:
    names = array.attrs.get("_ARRAY_DIMENSIONS") or getattr(array.metadata, "dimension_names", None)
    return names if names and all(names) else None


def open_group(path: Path, group: str, zarr: bool) -> xr.Dataset:
    """One group, lazily, its values as stored."""
    options: dict[str, Any] = {
        "group": group or None,
        "mask_and_scale": False,
        "decode_times": False,
        "chunks": None,
        "cache": False,
    }
    if zarr:
        remote = storage_options(path)
        return xr.open_dataset(
            path if remote is None else str(path),
            engine="zarr",
            consolidated=False if remote is None else None,  # a server does not list a store
            storage_options=remote,
            **options,
        )
    if not h5py.is_hdf5(path):
        del options["group"]
        engine: Any = "netcdf4" if is_cdf5(path) else "scipy"
        return xr.open_dataset(path, engine=engine, **options)
    return xr.open_dataset(path, engine="h5netcdf", phony_dims="sort", **options)
