"""Zarr stores and NetCDF-4 files: what they are, and which of their variables is the cube."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import ZarrStore

from hyperpeft.errors import ConfigError, HyperpeftError, LabelsError, SceneError
from hyperpeft.scenes.cubes.layouts import Layout
from hyperpeft.scenes.readers.detect import ZARR_MARKS

_IMAGE_BANDS = 4  # an array of so few bands beside a cube is a picture, not a second cube
SIZE_NAMES = (("lines", "cols"), ("nRow", "nCol"), ("nrow", "ncol"), ("rows", "cols"))
WAVELENGTH_NAMES = ("wavelength", "wavelengths", "wl", "wave", "lambda", "lambdas")


@dataclass(frozen=True)
class Variable:
    """One array of a file: its name, its shape, and whether it holds real numbers."""

    name: str
    shape: tuple[int, ...]
    numeric: bool


def split_spec(spec: str | Path) -> tuple[Path, str | None]:
    """Split FILE[:KEY] at the first colon behind a path that exists, else at the last colon.

    A key may have colons, and so may a file that exists. A path that exists as it stands is never
    split, nor is a drive's letter split off; an empty path is refused.

    Examples
    --------
    >>> split_spec("no-such-scene.mat:data")[1]
    'data'
    >>> split_spec("C:/no-such-scene.mat")[1] is None
    True
    """
    text = str(spec)
    if not text:
        raise ConfigError("a path is empty", hint="give a file, or . for the current folder")
    if Path(text).exists():
        return Path(text), None
    parts = [(text[: m.start()], text[m.end() :]) for m in re.finditer(":", text)]
    parts = [(head, key) for head, key in parts if head and key and not _is_drive(head, key)]
    if not parts:
        return Path(text), None
    head, key = next((p for p in parts if _is_there(*p)), parts[-1])
    return Path(head), key


def _is_drive(head: str, key: str) -> bool:
    return len(head) == 1 and head.isalpha() and key[0] in ("/", "\\")


def _is_there(head: str, key: str) -> bool:
    """Whether a path exists; a folder that is called as the scheme of an address is not meant."""
    return Path(head).is_file() if key.startswith("//") else Path(head).exists()


def choose_cube(
    path: Path,
    variables: Sequence[Variable],
    layout: Layout,
    key: str | Sequence[str] | None,
    scalars: tuple[int, int] | None,
) -> str:
    """The name of the cube's variable.

    Parameters
    ----------
    key : str, sequence of str or None
        A name is binding; several are accepted names of which the first that exists is taken;
        otherwise the variable is found by its dimensions and type.
    scalars : (int, int) or None
        Rows and columns that the file states beside a matrix of pixels.

    Raises
    ------
    SceneError
        No candidate, or several: all are listed as FILE:KEY with their shapes.
    """
    named = _by_key(path, variables, key, SceneError)
    if named is not None:
        return named
    found = [v for v in variables if v.numeric and len(v.shape) == layout.ndim and 0 not in v.shape]
    if layout.ndim == 2:
        size = layout.size or scalars
        pixels = 1 - layout.band_axis
        if size is not None:
            found = [v for v in found if v.shape[pixels] == size[0] * size[1]]
    big = [v for v in found if v.shape[layout.band_axis] > _IMAGE_BANDS]
    found = big or found
    if layout.ndim == 3 and not big and scalars is not None:
        _refuse_abundances(path, variables, scalars)
    if len(found) != 1:
        raise _not_one(path, variables, found, f"one {layout.ndim}-D numeric variable", SceneError)
    return found[0].name


def choose_map(path: Path, variables: Sequence[Variable], key: str | Sequence[str] | None) -> str:
    """The name of the label map's variable: the only 2-D numeric one that is not a vector.

    Raises
    ------
    LabelsError
        No candidate, or several: all are listed as FILE:KEY with their shapes.
    """
    named = _by_key(path, variables, key, LabelsError)
    if named is not None:
        return named
    found = [v for v in variables if v.numeric and len(v.shape) == 2 and min(v.shape) > 1]
    if len(found) != 1:
        raise _not_one(path, variables, found, "one 2-D numeric variable", LabelsError)
    return found[0].name


def spectral_vectors(values: Mapping[str, np.ndarray], bands: int) -> tuple[str | None, str | None]:
    """Names of the wavelength vector and of the bad-band list among small variables, or None."""
    lower = {name.lower(): name for name, v in values.items() if v.size == bands}
    waves = next((lower[name] for name in WAVELENGTH_NAMES if name in lower), None)
    return waves, lower.get("bbl")


def _by_key(
    path: Path,
    variables: Sequence[Variable],
    key: str | Sequence[str] | None,
    error: type[HyperpeftError],
) -> str | None:
    if key is None:
        return None
    names = [v.name for v in variables]
    if not isinstance(key, str):
        lower = {name.lower(): name for name in names}
        return next((lower[k.lower()] for k in key if k.lower() in lower), None)
    if key not in names:
        raise error(
            f"{path} has no variable {key!r}", expected=f"one of {_listing(path, variables)}"
        )
    return key


def _refuse_abundances(path: Path, variables: Iterable[Variable], size: tuple[int, int]) -> None:
    """A file of bands x pixels also holds a small (H, W, C) array of abundances: not the cube."""
    pixels = size[0] * size[1]
    matrices = [v for v in variables if v.numeric and len(v.shape) == 2 and pixels in v.shape]
    if not matrices:
        return
    v = max(matrices, key=lambda matrix: min(matrix.shape))
    raise SceneError(
        f"{path} holds its cube as a matrix of bands and pixels ({v.name}, {v.shape[0]} x "
        f"{v.shape[1]}, of an image of {size[0]} x {size[1]} pixels)",
        hint="give its layout: 'b (w h)' if pixels go down the columns (MATLAB), "
        "'b (h w)' if along the rows",
    )


def _listing(path: Path, variables: Iterable[Variable]) -> str:
    return ", ".join(f"{path}:{v.name} {v.shape}" for v in variables) or "nothing"


def _not_one(
    path: Path,
    variables: Sequence[Variable],
    found: Sequence[Variable],
    expected: str,
    error: type[HyperpeftError],
) -> HyperpeftError:
    if found:
        return error(
            f"{path} is ambiguous",
            expected=expected,
            got=_listing(path, found),
            hint="type the one you mean as FILE:KEY",
        )
    return error(
        f"{path} holds no such array",
        expected=expected,
        got=_listing(path, variables),
        hint="choose another file, or give the layout of a matrix of pixels, such as 'b (w h)'"
        if error is SceneError
        else "choose another file",
    )


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


def holds_pickles(metadata: bytes) -> bool:
    """Whether metadata of Zarr name a codec that unpickles, however they are written."""
    try:
        plain = json.dumps(json.loads(metadata)).encode()
    except (ValueError, RecursionError):  # what reads them refuses them
        plain = b""
    return bool(PICKLE.search(metadata) or PICKLE.search(plain))


def check_store(path: Path) -> None:
    """Refuse a Zarr store that unpickles or has files elsewhere, before anything opens it.

    Raises
    ------
    SceneError
        A codec that unpickles, a link to a folder or to a file out of the store, a pipe or device.
    """
    level = [path]
    while level:
        for entry in sorted(os.scandir(level.pop()), key=lambda entry: entry.name):
            place = Path(entry.path)
            name = place.relative_to(path)
            if entry.is_dir(follow_symlinks=False):
                level.append(place)
                continue
            if not (_is_within(place, path) if entry.is_symlink() else entry.is_file()):
                raise SceneError(
                    f"{path}: {name} is a link to a folder or out of the store, or no file",
                    expected="all values in the store itself",
                    hint="put the files themselves into the store, if you trust them",
                )
            if entry.name in ZARR_MARKS and holds_pickles(place.read_bytes()):
                raise SceneError(
                    f"{path} holds Python objects (pickle, in {name}), which are "
                    "not loaded because they can run code",
                    expected="arrays of numbers",
                )


def _is_within(link: Path, folder: Path) -> bool:
    """Whether a link leads to a file of a folder."""
    return link.is_file() and link.resolve().is_relative_to(folder.resolve())


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


def _zarr_root(path: Path) -> Any:
    """The group or the array of a Zarr store.

    Consolidated metadata may be older than a store, and are used for one on a server alone.
    """
    remote = storage_options(path)
    return require_package(path, "zarr").open(
        str(path),
        mode="r",
        storage_options=remote,
        use_consolidated=False if remote is None else None,
    )


def zarr_groups(path: Path) -> list[str]:
    """Names of all groups, "" for the root."""
    zarr = require_package(path, "zarr")
    root = _zarr_root(path)
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
    """The arrays of a Zarr store whose dimensions have no names, by group.

    xarray refuses a group with one. An array that is the whole store is one, under the name "".
    """
    zarr = require_package(path, "zarr")
    found: dict[str, list[Variable]] = {}
    root = _zarr_root(path)
    if isinstance(root, zarr.Array):
        return {"": [Variable("", root.shape, root.dtype.kind in "biuf")]}
    for group in groups:
        node: Any = root[group] if group else root
        bare = [
            Variable(joined_name(group, n), a.shape, a.dtype.kind in "biuf")
            for n, a in node.arrays()
            if a.ndim and not _dimensions(a)
        ]
        if bare:
            found[group] = bare
    return found


def dimensions_of_root(path: Path) -> tuple[str, ...]:
    """Names of the dimensions of an array that is the whole Zarr store, as far as it has some."""
    return tuple(map(str, _dimensions(_zarr_root(path)) or ()))


def _dimensions(array: Any) -> Any:
    names = array.attrs.get("_ARRAY_DIMENSIONS") or getattr(array.metadata, "dimension_names", None)
    return names if names and all(names) else None


def open_without(path: Path, group: str, bare: Sequence[Variable]) -> xr.Dataset:
    """A group of a Zarr store without the arrays whose dimensions have no names, as stored."""
    remote = storage_options(path)
    store = ZarrStore.open_group(
        str(path),
        mode="r",
        group=group or None,
        consolidated=False if remote is None else None,
        storage_options=remote,
    )
    left_out = {variable.name.rsplit("/", 1)[-1] for variable in bare}
    names = [name for name in store.array_keys() if name not in left_out]
    variables = {name: store.open_store_variable(name) for name in names}
    return xr.Dataset(variables, attrs=store.get_attrs())


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
