"""Cubes from files of named arrays: MATLAB, HDF5, .npy and .npz.

MATLAB writes arrays column by column and HDF5 declares them row by row, so a v7.3 variable appears
with its axes reversed: they are turned back. Other HDF5 files (.h5) are read as they are; sign,
scale, nodata and valid range of their arrays as in CF, see `readers.cf`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat, whosmat

from hyperpeft.errors import HyperpeftError, SceneError
from hyperpeft.records import to_nm
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube, from_array
from hyperpeft.scenes.cubes.layouts import DEFAULT, Layout, parse_layout, to_band_first
from hyperpeft.scenes.cubes.lazy import RetypedCube, StoredCube
from hyperpeft.scenes.readers import cf, matlab_checks
from hyperpeft.scenes.readers.detect import NPY_MAGIC, ZIP_MAGIC, Probe
from hyperpeft.scenes.readers.notes import unreadable, unused_layers
from hyperpeft.scenes.readers.place import hdf5_place
from hyperpeft.scenes.readers.stores import (
    SIZE_NAMES,
    WAVELENGTH_NAMES,
    Variable,
    choose_cube,
    choose_map,
    spectral_vectors,
)
from hyperpeft.system.files import check_archive
from hyperpeft.system.resources import require_memory

Loader = Callable[[list[str]], dict[str, Any]]
_SMALL = {name.lower() for pair in SIZE_NAMES for name in pair} | {*WAVELENGTH_NAMES, "bbl"}
_MANY_BANDS = 300  # imaging spectrometers have fewer, with few exceptions


def read_arrays(
    probe: Probe, key: str | Sequence[str] | None = None, layout: str | None = None
) -> Cube:
    """The cube of a file of named arrays, with the wavelengths and bad-band list beside it.

    A 3-D array of an .npy or HDF5 file (MATLAB v7.3 is one) stays on disk and is read by windows;
    the others are read whole.
    """
    path, axes = probe.path, parse_layout(layout)
    variables, load = _open(probe, SceneError)
    small = load(
        [v.name for v in variables if v.numeric and v.name.lower() in _SMALL and _vector(v)]
    )
    size = stated_size(small, SIZE_NAMES)
    name = choose_cube(path, variables, axes, key, size)
    what = f"{path}:{name}" if name else str(path)
    variable = next(v for v in variables if v.name == name)
    shape = variable.shape
    if layout is None:
        axes = _axes_by_wavelengths(small, shape, axes)
    cube = _stored(probe, name, variable, axes)
    if cube is None:
        taken = 2 * path.stat().st_size if path.suffix == ".npz" else 8 * math.prod(shape)
        require_memory(f"{what}, which is read whole,", taken, error=SceneError)
        array = real_array(load([name])[name], what, SceneError)
        cube = from_array(path, to_band_first(array, axes, size, what))
    cube = _by_attributes(cube, _attributes(probe, name))
    if probe.is_hdf5 and probe.suffix != ".mat":
        with h5py.File(path, "r") as file:
            crs, transform = hdf5_place(file)
        cube = replace(cube, crs=crs, transform=transform)
    layers = [v.name for v in variables if v.numeric and v.name != name and _is_layer(v)]
    bands, height, width = cube.data.shape
    waves, bad = spectral_vectors(small, bands)
    return replace(
        cube,
        key=f"{name} {axes.axes}",
        notes=(
            *cube.notes,
            *unused_layers(layers),
            *_axes_note((height, width, bands), axes, given=layout is not None),
        ),
        wavelengths=None if waves is None else to_nm(small[waves], None),
        good=None if bad is None else np.ravel(small[bad]) != 0,
    )


def _stored(probe: Probe, name: str, variable: Variable, layout: Layout) -> Cube | None:
    """A cube that stays in its file; None where the file or the layout does not allow it."""
    if layout.ndim != 3 or len(variable.shape) != 3 or not variable.numeric:
        return None
    if 0 in variable.shape:
        return None
    path, axes = probe.path, layout.axes.replace(" ", "")
    if probe.head.startswith(NPY_MAGIC):
        stored = StoredCube("npy", path, name, axes)
    elif probe.is_hdf5:
        if is_reversed(path, name):
            axes = axes[::-1]
        stored = StoredCube("hdf5", path, name, axes)
    else:
        return None
    return Cube(path, stored.to_xarray(stored.block), block=stored.block)


def _by_attributes(cube: Cube, stored: cf.Stored) -> Cube:
    """A cube with the rules that the attributes of its variable give, see `readers.cf`."""
    if not stored.attrs:
        return cube
    rules = cf.value_rules(cube.path, stored)
    bands = cube.data.shape[0]
    data = cube.data
    if rules.dtype != data.dtype:
        data = RetypedCube(data, rules.dtype).to_xarray(cube.block)
    cube = replace(
        cube,
        data=data,
        marks=rules.marks,
        limits=(rules.limits,) * bands,
        empty=rules.empty,
        scale=np.full(bands, rules.scale),
        offset=np.full(bands, rules.offset),
    )
    return replace(cube, notes=(*cube.notes, *scale_note(cube)))


def _attributes(probe: Probe, name: str, error: type[HyperpeftError] = SceneError) -> cf.Stored:
    """What an HDF5 file that is not MATLAB's says of a variable's values; nothing of others."""
    if not probe.is_hdf5 or probe.suffix == ".mat":
        return cf.Stored(name, np.dtype(float), {})
    try:
        with h5py.File(probe.path, "r") as file:
            item = file[name]
            found = {key: item.attrs[key] for key in cf.NAMES if key in item.attrs}
            return cf.Stored(name, item.dtype, found)
    except Exception as problem:  # h5py's errors of damaged files have no common root
        raise _unreadable(probe.path, problem, error) from None


def read_array(
    probe: Probe, key: str | Sequence[str] | None, error: type[HyperpeftError]
) -> tuple[np.ndarray, cf.Stored]:
    """One label map (or, by its key, any array) of a file of named arrays, and its attributes."""
    path = probe.path
    variables, load = _open(probe, error)
    name = choose_map(path, variables, key)
    array = real_array(load([name])[name], f"{path}:{name}" if name else str(path), error)
    stored = _attributes(probe, name, error)
    return array, stored if stored.attrs else stored._replace(dtype=array.dtype)


def real_array(value: Any, what: str, error: type[HyperpeftError]) -> np.ndarray:
    """The value as an array of integers, booleans or floats; anything else is refused."""
    array: np.ndarray = value if isinstance(value, np.ndarray) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise error(f"{what}", expected="real numbers", got=f"type {array.dtype}")
    if array.size == 0:
        raise error(f"{what} is empty", got=f"shape {array.shape}")
    return array


def _open(probe: Probe, error: type[HyperpeftError]) -> tuple[list[Variable], Loader]:
    path, head = probe.path, probe.head
    if head.startswith(NPY_MAGIC):
        array = _load_numpy(path, error)
        variable = Variable("", array.shape, array.dtype.kind in "biuf")
        return [variable], lambda names: dict.fromkeys(names, array)
    if head.startswith(ZIP_MAGIC):
        return _open_npz(path, error)
    return variables(probe, error), lambda names: load(probe, names, error) if names else {}


def _open_npz(path: Path, error: type[HyperpeftError]) -> tuple[list[Variable], Loader]:
    check_archive(path, error)
    archive = _load_numpy(path, error)
    arrays: dict[str, np.ndarray] = {}
    try:
        for name in archive.files:
            member = archive[name]
            if isinstance(member, np.ndarray):  # bytes where it is another file
                arrays[name] = member
    except ValueError as problem:
        if "pickle" not in str(problem):
            raise _damaged(path, problem, error) from None
        raise _pickled(path, error) from None
    except Exception as problem:  # MemoryError too; zipfile and zlib errors of damaged members
        raise _damaged(path, problem, error) from None
    return [
        Variable(n, a.shape, a.dtype.kind in "biuf") for n, a in arrays.items()
    ], lambda names: {name: arrays[name] for name in names}


def _load_numpy(path: Path, error: type[HyperpeftError]) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as problem:
        if re.search("allow_pickle|objects in dtype", str(problem)):
            raise _pickled(path, error) from None
        raise _damaged(path, problem, error) from None
    except Exception as problem:
        raise _damaged(path, problem, error) from None


def _pickled(path: Path, error: type[HyperpeftError]) -> HyperpeftError:
    return error(
        f"{path} holds Python objects, which are not loaded because they can run code",
        expected="an array of numbers",
        hint="save it again as a plain numeric array",
    )


def _damaged(path: Path, problem: Exception, error: type[HyperpeftError]) -> HyperpeftError:
    return unreadable(path, "a NumPy file", problem, error)


def _vector(variable: Variable) -> bool:
    return math.prod(variable.shape) == max((*variable.shape, 1)) and 0 not in variable.shape


def _is_layer(variable: Variable) -> bool:
    """An array of two axes or more; MATLAB's vectors and numbers have two as well."""
    return sum(side > 1 for side in variable.shape) > 1


def _axes_by_wavelengths(small: dict[str, Any], shape: tuple[int, ...], default: Layout) -> Layout:
    """The layout of an array whose first or second axis alone is as long as the wavelengths."""
    lengths = {np.size(small[name]) for name in small if name.lower() in WAVELENGTH_NAMES}
    matching = [axis for axis, length in enumerate(shape) if length in lengths]
    if len(shape) != 3 or matching not in ([0], [1]):
        return default
    return parse_layout("b h w" if matching == [0] else "h b w")


def _axes_note(shape: tuple[int, int, int], layout: Layout, *, given: bool) -> tuple[str, ...]:
    """Say how the axes were read where they are not the default, or look like others."""
    h, w, b = shape
    read = f"axes were read as {h} rows, {w} columns, {b} bands"
    if given:
        return ()
    if layout.axes != DEFAULT:
        return (f"{read} (layout {layout.axes!r}), as there are {b} wavelengths",)
    if b < _MANY_BANDS or h >= b:
        return ()
    return (f"{read}; if the first axis holds the bands, give layout 'b h w'",)


def variables(probe: Probe, error: type[HyperpeftError] = SceneError) -> list[Variable]:
    """Names, shapes (as MATLAB shows them) and types, without reading the arrays."""
    path = probe.path
    if probe.is_hdf5:
        return _hdf5_variables(path, error)
    try:
        arrays = matlab_checks.arrays(path)
        if arrays is not None:
            return [Variable(array.name, array.shape, array.numeric) for array in arrays]
        listed = whosmat(str(path))
    except Exception as problem:  # scipy raises whatever its parser stumbles over
        raise _unreadable(path, problem, error) from None
    return [Variable(name, tuple(shape), kind == "double") for name, shape, kind in listed]


def load(
    probe: Probe, names: list[str], error: type[HyperpeftError] = SceneError
) -> dict[str, Any]:
    """Read some variables, with the axes that MATLAB shows."""
    path = probe.path
    if probe.is_hdf5:
        return _hdf5_load(path, names, error)
    try:
        matlab_checks.check(path, names)
        values = loadmat(str(path), variable_names=names)
        return {name: values[name] for name in names}
    except matlab_checks.NotNumbers as problem:
        what = f"{path}:{names[0]}" if len(names) == 1 else f"{path}"
        raise error(what, expected="real numbers", got=problem) from None
    except Exception as problem:  # as above; also zlib errors and short reads of cut files
        raise _unreadable(path, problem, error) from None


def is_reversed(path: Path, name: str) -> bool:
    """Whether a variable of an HDF5 file is MATLAB's, its axes in reverse."""
    with h5py.File(path, "r") as file:
        return _is_matlab(path, file[name])


def _hdf5_variables(path: Path, error: type[HyperpeftError]) -> list[Variable]:
    found: list[Variable] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            shape = tuple(item.shape or ())
            shape = shape[::-1] if _is_matlab(path, item) else shape
            numeric = item.dtype.kind in "biuf" and _matlab_class(item) not in ("char", "cell")
            found.append(Variable(name, shape, numeric))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except Exception as problem:  # a cut file fails anywhere in the tree
        raise _unreadable(path, problem, error) from None
    return found


def _hdf5_load(path: Path, names: list[str], error: type[HyperpeftError]) -> dict[str, Any]:
    values = {}
    try:
        with h5py.File(path, "r") as file:
            for name in names:
                item = file[name]
                array = item[()]
                values[name] = array.T if _is_matlab(path, item) else array
    except Exception as problem:
        raise _unreadable(path, problem, error) from None
    return values


def _matlab_class(item: Any) -> str:
    name = item.attrs.get("MATLAB_class", b"")
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)


def _is_matlab(path: Path, item: Any) -> bool:
    return path.suffix.lower() == ".mat" or bool(_matlab_class(item))


def _unreadable(path: Path, problem: Exception, error: type[HyperpeftError]) -> HyperpeftError:
    return unreadable(path, "a MATLAB or HDF5 file", problem, error)


def stated_size(values: dict[str, np.ndarray], names: tuple[tuple[str, str], ...]) -> Any:
    """(rows, columns) from a pair of scalars such as `lines` and `cols`, or None."""
    for rows, columns in names:
        if rows in values and columns in values:
            return int(np.ravel(values[rows])[0]), int(np.ravel(values[columns])[0])
    return None
