"""NEON's airborne reflectance in HDF5: one site's cube with its metadata.

    <SITE>/Reflectance/Reflectance_Data               (rows, columns, bands); Scale_Factor,
                                                      Data_Ignore_Value
    <SITE>/Reflectance/Metadata/Spectral_Data/Wavelength, FWHM                 nm
    <SITE>/Reflectance/Metadata/Coordinate_System/Map_Info, EPSG Code

Radiance files have the same form with Radiance in the names, whose values may be split into whole
numbers and decimals; those are not read.

Source: NEON Data Product User Guide, DP3.30006.001.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.band_scale import scale_note
from hyperpeft.scenes.cubes.cube import Cube, to_nm
from hyperpeft.scenes.cubes.lazy import StoredCube
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.places.hdf5_place import hdf5_place

_DATA = "Reflectance/Reflectance_Data"


def read_neon(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube in reflectance.

    Raises
    ------
    SceneError
        Several sites, or a table of another length than there are bands.
    """
    path = probe.path
    names = sorted(name for name in probe.members if name.endswith(f"/{_DATA}"))
    if len(names) != 1:
        raise SceneError(f"{path}", expected="one site", got=", ".join(names))
    with h5py.File(path, "r") as file:
        values = file[names[0]]
        if values.ndim != 3:
            raise SceneError(f"{path}:{names[0]}", expected="3 dimensions", got=values.shape)
        bands = values.shape[2]
        metadata = f"{names[0].rsplit('/', 1)[0]}/Metadata/Spectral_Data"
        centres, widths = (
            _vector(path, file, f"{metadata}/{n}", bands) for n in ("Wavelength", "FWHM")
        )
        factor, ignored = (_number(values, n) for n in ("Scale_Factor", "Data_Ignore_Value"))
        crs, transform = hdf5_place(file)
    stored = StoredCube("hdf5", path, names[0], "hwb")
    cube = Cube(
        path,
        stored.to_xarray(stored.block),
        wavelengths=None if centres is None else to_nm(centres, "nm"),
        fwhm=None if widths is None else to_nm(widths, "nm"),
        nodata=(ignored,) * bands if ignored else (),
        empty=(0.0,) if ignored == 0 else (),
        scale=np.full(bands, 1 / factor) if factor else None,
        offset=np.zeros(bands) if factor else None,
        crs=crs,
        transform=transform,
        block=stored.block,
        key=names[0],
    )
    return replace(cube, notes=scale_note(cube))


def _number(values: Any, name: str) -> float | None:
    return float(np.ravel(values.attrs[name])[0]) if name in values.attrs else None


def _vector(path: Path, file: h5py.File, name: str, bands: int) -> np.ndarray | None:
    if name not in file:
        return None
    values = np.ravel(np.asarray(file[name][()], dtype=np.float64))
    if len(values) != bands:
        raise SceneError(f"{path}:{name}", expected=f"{bands} values", got=len(values))
    return values
