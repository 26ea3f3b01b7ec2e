"""NEON's airborne spectrometer in HDF5: one site's cube with its metadata.

    <SITE>/Reflectance/Reflectance_Data               (rows, columns, bands); Scale_Factor,
                                                      Data_Ignore_Value
    <SITE>/Radiance/RadianceIntegerPart               the same of radiance at the sensor
    <SITE>/Radiance/RadianceDecimalPart               radiance = whole part + this / its
                                                      Scale_Factor
    .../Metadata/Spectral_Data/Wavelength, FWHM       nm
    .../Metadata/Coordinate_System/Map_Info, EPSG Code

Source: NEON Data Product User Guides, DP1.30006.001, DP3.30006.001 and DP1.30008.001.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import xarray as xr

from hyperpeft.errors import SceneError
from hyperpeft.records import to_nm
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import LazyCube, StoredCube
from hyperpeft.scenes.readers.detect import NEON_CUBES, Probe
from hyperpeft.scenes.readers.notes import unused_datasets
from hyperpeft.scenes.readers.place import hdf5_place
from hyperpeft.scenes.readers.products.parts import part, vector

_DECIMALS = "RadianceDecimalPart"


def read_neon(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube in reflectance or radiance.

    Raises
    ------
    SceneError
        Several sites, or radiance without its decimals.
    """
    path = probe.path
    names = sorted(name for name in probe.members if name.endswith(NEON_CUBES))
    if len(names) != 1:
        raise SceneError(
            f"{path}", expected="one cube of one site", got=", ".join(names), hint="give FILE:KEY"
        )
    name, notes = names[0], list[str]()
    group = name.rsplit("/", 1)[0]
    is_split = name.endswith(NEON_CUBES[1])
    with h5py.File(path, "r") as file:
        values = file[name]
        if values.ndim != 3:
            raise SceneError(f"{path}:{name}", expected="3 dimensions", got=values.shape)
        bands = values.shape[2]
        centres, widths = (
            part(notes, vector, file, f"{group}/Metadata/Spectral_Data/{n}", bands)
            for n in ("Wavelength", "FWHM")
        )
        factor, ignored = (_number(values, n) for n in ("Scale_Factor", "Data_Ignore_Value"))
        crs, transform = hdf5_place(file)
        notes += unused_datasets(file, (name, f"{group}/{_DECIMALS}"))
        if is_split:
            decimals = file.get(f"{group}/{_DECIMALS}")
            divisor = None if decimals is None else _number(decimals, "Scale_Factor")
            if not divisor or decimals.shape != values.shape:
                raise SceneError(
                    f"{path} holds whole numbers of radiance without their decimals",
                    expected=f"{_DECIMALS} of the same shape, with a Scale_Factor",
                )
    whole = StoredCube("hdf5", path, name, "hwb")
    data = whole.to_xarray(whole.block)
    if is_split:
        rest = StoredCube("hdf5", path, f"{group}/{_DECIMALS}", "hwb").to_xarray(whole.block)
        data = SplitCube(data, rest, float(divisor or 1), ignored).to_xarray(whole.block)
        notes.insert(0, "values are radiance, of a whole and a decimal part")
        factor = None
    cube = Cube(
        path,
        data,
        wavelengths=None if centres is None else to_nm(centres, "nm"),
        fwhm=None if widths is None else to_nm(widths, "nm"),
        nodata=(ignored,) * bands if ignored else (),
        empty=(0.0,) if ignored == 0 else (),
        scale=np.full(bands, 1 / factor) if factor else None,
        offset=np.zeros(bands) if factor else None,
        crs=crs,
        transform=transform,
        block=whole.block,
        key=name,
    )
    return replace(cube, notes=(*scale_note(cube), *notes))


class SplitCube(LazyCube):
    """Whole numbers plus decimals over a divisor, as float32; nodata of the whole part stays."""

    def __init__(
        self, whole: xr.DataArray, decimals: xr.DataArray, divisor: float, nodata: float | None
    ) -> None:
        self.whole, self.decimals, self.divisor, self.nodata = whole, decimals, divisor, nodata
        bands, height, width = whole.shape
        self.shape, self.dtype = (bands, height, width), np.dtype(np.float32)

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        where = {"band": bands, "y": rows, "x": columns}
        whole = self.whole.isel(where).values
        out: np.ndarray = (whole + self.decimals.isel(where).values / self.divisor).astype("f4")
        if self.nodata is not None:
            out[whole == self.nodata] = self.nodata
        return out


def _number(values: Any, name: str) -> float | None:
    return float(np.ravel(values.attrs[name])[0]) if name in values.attrs else None
