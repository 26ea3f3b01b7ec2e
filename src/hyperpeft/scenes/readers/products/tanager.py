"""Planet's Tanager: HDF-EOS5 files of one cube, on a map grid (ortho) or as it was seen (basic).

    HDFEOS/{GRIDS,SWATHS}/HYP/Data Fields/surface_reflectance or toa_radiance   (bands, rows,
        columns); attributes wavelengths, fwhm (nm), good_wavelengths, _FillValue
    .../Data Fields/nodata_pixels, beta_cloud_mask          1 where there is nothing, or a cloud
    HDFEOS/GRIDS/HYP attribute epsg_code; else the zone in
    HDFEOS INFORMATION/StructMetadata.0      XDim, YDim, UpperLeftPointMtrs, LowerRightMtrs (outer
                                             edges in m), Projection=HE5_GCTP_UTM, ZoneCode (south
                                             of the equator negative)
    HDFEOS/SWATHS/HYP/Geolocation Fields/Latitude, Longitude                    of basic products

Haze and cirrus are not masked: the ground is still seen there.

Source: Planet Labs, Tanager Product Specification.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import Transform, to_nm
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import StoredCube
from hyperpeft.scenes.readers.detect import TANAGER_CUBES, Probe
from hyperpeft.scenes.readers.gdal import wkt_of
from hyperpeft.scenes.readers.notes import unused_datasets
from hyperpeft.scenes.readers.place import Place
from hyperpeft.scenes.readers.products.parts import PartError, degrees_place, number, part, vector

_STRUCTURE = "HDFEOS INFORMATION/StructMetadata.0"
_MASKS = {"nodata": "nodata_pixels", "cloud": "beta_cloud_mask"}


def read_tanager(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of a Tanager product; reflectance where the file holds both.

    Raises
    ------
    SceneError
        The cube has another number of axes.
    """
    path = probe.path
    notes: list[str] = []
    with h5py.File(path, "r") as file:
        name = next(name for name in TANAGER_CUBES if name in file)
        values = file[name]
        if values.ndim != 3:
            raise SceneError(f"{path}:{name}", expected="3 dimensions", got=values.shape)
        axes = _axes(values)
        bands, *shape = (values.shape[axes.index(axis)] for axis in "bhw")
        centres, widths = (
            part(notes, vector, file, f"{name}@{n}", bands) for n in ("wavelengths", "fwhm")
        )
        good = None
        if "good_wavelengths" in values.attrs:
            good = part(notes, vector, file, f"{name}@good_wavelengths", bands)
        fill, factor, offset = (
            part(notes, number, file, f"{name}@{n}") if n in values.attrs else None
            for n in ("_FillValue", "scale_factor", "add_offset")
        )
        fields, root = name.rsplit("/", 1)[0], name.rsplit("/", 2)[0]
        masks = _masks(file, fields, tuple(shape), notes)
        if "/GRIDS/" in name:
            place = part(notes, _grid, file, root, tuple(shape)) or Place(None, None)
        else:
            names = (f"{root}/Geolocation Fields/{n}" for n in ("Latitude", "Longitude"))
            place = part(notes, degrees_place, file, *names, tuple(shape)) or Place(None, None)
        used = [name, *(f"{fields}/{n}" for n in _MASKS.values()), f"{root}/Geolocation Fields"]
        notes += unused_datasets(file, used)
    stored = StoredCube("hdf5", path, name, axes)
    cube = Cube(
        path,
        stored.to_xarray(stored.block),
        wavelengths=None if centres is None else to_nm(centres, "nm"),
        fwhm=None if widths is None else to_nm(widths, "nm"),
        good=None if good is None else good != 0,
        nodata=(fill,) * bands if fill is not None else (),
        masks=masks,
        scale=None if factor is None else np.full(bands, factor),
        offset=None if factor is None else np.full(bands, offset or 0.0),
        crs=place.crs,
        transform=place.transform,
        block=stored.block,
        key=name,
    )
    return replace(cube, notes=(*scale_note(cube), *place.notes, *notes))


def _axes(values: h5py.Dataset) -> str:
    """Bands come first, unless the wavelengths are as many as the last axis alone is long."""
    count = np.size(values.attrs.get("wavelengths", ()))
    return "hwb" if count == values.shape[2] and count != values.shape[0] else "bhw"


def _masks(
    file: h5py.File, fields: str, shape: tuple[int, ...], notes: list[str]
) -> dict[str, np.ndarray] | None:
    found = {}
    for title, name in _MASKS.items():
        item = file.get(f"{fields}/{name}")
        if item is None:
            continue
        if item.shape != shape:
            notes.append(f"{name} has the shape {item.shape} instead of {shape}: not used")
            continue
        found[title] = item[()] == 1
    return found or None


def _grid(file: h5py.File, root: str, shape: tuple[int, ...]) -> Place:
    """CRS and transform of an ortho product."""
    if _STRUCTURE not in file:
        raise PartError("StructMetadata.0 is missing")
    stored = np.ravel(np.asarray(file[_STRUCTURE][()])).tolist()[0]
    text = stored.decode("ascii", "replace") if isinstance(stored, bytes) else str(stored)
    left, top = _pair(text, "UpperLeftPointMtrs")
    right, bottom = _pair(text, "LowerRightMtrs")
    height, width = shape
    step, down = (right - left) / width, (bottom - top) / height
    if not (step > 0 > down):
        raise PartError("the corners of StructMetadata.0 do not span the cube")
    transform: Transform = (step, 0.0, left, 0.0, down, top)
    code = number(file, f"{root}@epsg_code") if "epsg_code" in file[root].attrs else None
    zone = re.search(r"ZoneCode\s*=\s*(-?\d{1,2})\b", text)
    if code is None and zone and "GCTP_UTM" in text:
        south, code = zone[1].startswith("-"), abs(int(zone[1]))
        code = (32700 if south else 32600) + code if 1 <= code <= 60 else None
    crs = wkt_of(int(code)) if code is not None else None
    return Place(crs, transform, () if crs else ("the projection of the grid is not known",))


def _pair(text: str, name: str) -> tuple[float, float]:
    found = re.search(rf"{name}\s*=\s*\(\s*([-+.\deE]+)\s*,\s*([-+.\deE]+)\s*\)", text)
    try:
        if found is None:
            raise ValueError
        pair = float(found[1]), float(found[2])
    except ValueError:
        raise PartError(f"StructMetadata.0 has no {name} of two numbers") from None
    return pair
