"""MATLAB files: v4 and v5 through scipy, v7.3 (HDF5) through h5py.

MATLAB writes arrays column by column and HDF5 declares them row by row, so a v7.3 variable appears
with its axes reversed: they are turned back. Other HDF5 files (.h5) are read as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat, whosmat

from hyperpeft.errors import HyperpeftError, SceneError
from hyperpeft.scenes.readers import matlab_checks
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.notes import unreadable
from hyperpeft.scenes.readers.variables import Variable


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
