"""PRISMA products: two cubes in one HDF5 file (.he5), of L2D reflectance on a map grid.

    HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/{VNIR,SWIR}_Cube   uint16 (rows, bands, columns), 30 m
    attributes of the file:
      List_Cw_{Vnir,Swir}, List_Fwhm_...      band centres and widths in nm, falling; 0 where a
                                              band is not there
      List_Cw_{Vnir,Swir}_Flags               0 where a band is not there
      L2Scale{Vnir,Swir}{Min,Max}             reflectance = min + value (max - min) / 65535
      Epsg_Code, Product_{UL,LR}corner_{easting,northing}
    of L1, L2B and L2C, which are not on a map grid:
      ScaleFactor_{Vnir,Swir}, Offset_...     of L1: radiance = value / factor - offset
      .../Geolocation Fields/Latitude, Longitude (L1: Latitude_VNIR, Longitude_VNIR)

The bands are put in rising order of wavelength, which interleaves VNIR and SWIR where they overlap
(920 to 1010 nm). A pixel of zeros in every band lies outside the strip; a single zero is a dark
band. The error matrices are not applied: a pixel is seldom clean in all bands.

The specification calls the first axis easting, while the products that readers of the field
handle have rows there: the corners tell, since 30 m pixels have to fill them. Corners are read as
the outer edges or as the centres of the corner pixels, whichever the size of the image fits.

What is missing or does not fit is left out, with a note; both cubes are needed.

Source: ASI, PRISMA Products Specification Document.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import to_nm
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import StackedCube, StoredCube
from hyperpeft.scenes.readers.detect import SWATHS, Probe
from hyperpeft.scenes.readers.gdal import wkt_of
from hyperpeft.scenes.readers.notes import unused_datasets
from hyperpeft.scenes.readers.place import Place
from hyperpeft.scenes.readers.products.parts import PartError, degrees_place, number, part, vector

_LEVELS = ("L2D", "L2C", "L2B", "L1")
_PIXEL = 30.0  # m
_FULL_SCALE = 65535.0
_DETECTORS = ("Vnir", "Swir")


class _Bands(NamedTuple):
    """One detector's bands: all of shape (B,)."""

    centres: np.ndarray
    widths: np.ndarray
    there: np.ndarray


def read_prisma(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of a PRISMA product, in reflectance, or in radiance for L1.

    Raises
    ------
    SceneError
        A cube is missing, or the two differ in size.
    """
    path = probe.path
    notes: list[str] = []
    with h5py.File(path, "r") as file:
        level, names = _cubes(path, file)
        shapes = [file[name].shape for name in names]
        bands = [
            part(notes, _bands, file, detector, shape[1])
            for detector, shape in zip(_DETECTORS, shapes, strict=True)
        ]
        scales = [part(notes, _scale, file, detector, level) for detector in _DETECTORS]
        axes, place = "hbw", Place(None, None)
        if level == "L2D":
            axes, place = part(notes, _grid, file, shapes[0]) or (axes, place)
        else:
            notes.append(f"the product is {level}, not L2D: it is not on a map grid")
            names_ = _degrees_names(file, level)
            shape = (shapes[0][0], shapes[0][2])
            place = part(notes, degrees_place, file, *names_, shape) or place
        notes += unused_datasets(file, names)
    parts = [StoredCube("hdf5", path, name, axes) for name in names]
    sizes = [cube.shape[0] for cube in parts]
    block = parts[0].block
    known = [scale for scale in scales if scale is not None]
    is_scaled = len(known) == len(_DETECTORS)
    if is_scaled:
        what = "radiance" if level == "L1" else "reflectance"
        notes.insert(0, f"values are {what}, scaled per detector as the product says")
    else:
        notes.insert(0, "values are as stored")
    cube = Cube(
        path,
        StackedCube([cube.to_xarray(block) for cube in parts]).to_xarray(block),
        empty=(0.0,),
        scale=np.repeat([scale for scale, _ in known], sizes) if is_scaled else None,
        offset=np.repeat([offset for _, offset in known], sizes) if is_scaled else None,
        crs=place.crs,
        transform=place.transform,
        block=block,
        notes=(*notes, *place.notes),
    )
    told = [table for table in bands if table is not None]
    return _in_order(cube, told) if len(told) == len(_DETECTORS) else cube


def _in_order(cube: Cube, tables: list[_Bands]) -> Cube:
    """The cube's bands by rising wavelength, without those that are not there."""
    centres, widths, there = (np.concatenate(column) for column in zip(*tables, strict=True))
    order = np.argsort(np.where(there, centres, np.inf), kind="stable")[: int(there.sum())]
    if not len(order):
        raise SceneError(f"{cube.path}: List_Cw_Vnir and List_Cw_Swir name no band")
    absent = len(there) - len(order)
    note = f"{absent} bands have no wavelength in the product and are dropped" if absent else ""
    named = replace(cube, wavelengths=to_nm(centres, "nm"), fwhm=widths)
    return named.select(order, note)


def _cubes(path: Path, file: h5py.File) -> tuple[str, list[str]]:
    """The level of the product and the names of its two cubes."""
    swaths = file[SWATHS]
    levels = [level for level in _LEVELS if f"PRS_{level}_HCO/Data Fields" in swaths]
    if not levels:
        held = sorted({name.split("_")[1] for name in swaths if name.startswith("PRS_L")})
        raise SceneError(
            f"{path}: processing level",
            expected=f"a PRISMA cube of {', '.join(_LEVELS)}",
            got=", ".join(held),
            hint="order the scene as L2D",
        )
    fields = f"{SWATHS}/PRS_{levels[0]}_HCO/Data Fields"
    names = [f"{fields}/{detector.upper()}_Cube" for detector in _DETECTORS]
    for name in names:
        if name not in file:
            raise SceneError(f"{path} has no {name}", hint="get the product again")
    shape, other = (file[name].shape for name in names)
    if len(shape) != 3 or len(other) != 3 or shape[::2] != other[::2]:
        raise SceneError(
            f"{path}: VNIR_Cube and SWIR_Cube",
            expected="the same rows and columns",
            got=f"{shape} and {other}",
            hint="give one of them as FILE:KEY",
        )
    return levels[0], names


def _bands(file: h5py.File, detector: str, count: int) -> _Bands:
    """Centres, widths and presence of one detector's bands."""
    centres = vector(file, f"@List_Cw_{detector}", count)
    widths = vector(file, f"@List_Fwhm_{detector}", count)
    there = np.isfinite(centres) & (centres > 0)
    if f"List_Cw_{detector}_Flags" in file.attrs:
        there &= vector(file, f"@List_Cw_{detector}_Flags", count) != 0
    return _Bands(np.where(there, centres, 1), widths, there)


def _scale(file: h5py.File, detector: str, level: str) -> tuple[float, float]:
    """Scale and offset of one detector's stored values."""
    if level == "L1":
        factor = number(file, f"@ScaleFactor_{detector}")
        if not factor:
            raise PartError(f"ScaleFactor_{detector} is 0")
        return 1 / factor, -number(file, f"@Offset_{detector}")
    low, high = (number(file, f"@L2Scale{detector}{end}") for end in ("Min", "Max"))
    return (high - low) / _FULL_SCALE, low


def _grid(file: h5py.File, shape: tuple[int, int, int]) -> tuple[str, Place]:
    """The order of the axes and the place, by which pixels of 30 m fill the corners."""
    corners = ("ULcorner_easting", "ULcorner_northing", "LRcorner_easting", "LRcorner_northing")
    left, top, right, bottom = (number(file, f"@Product_{name}") for name in corners)
    across, down = (right - left) / _PIXEL, (top - bottom) / _PIXEL  # pixels
    for axes in ("hbw", "wbh"):
        height, width = shape[axes.index("h")], shape[axes.index("w")]
        for edge in (0.0, 0.5):  # corners are edges, or centres of the corner pixels
            if abs(across + 2 * edge - width) < 0.25 and abs(down + 2 * edge - height) < 0.25:
                x, y = left - edge * _PIXEL, top + edge * _PIXEL
                return axes, _place(file, (_PIXEL, 0.0, x, 0.0, -_PIXEL, y))
    raise PartError(
        f"the product's corners are {down:.1f} rows and {across:.1f} columns of 30 m apart, and "
        f"the cube has {shape[0]} and {shape[2]}"
    )


def _place(file: h5py.File, transform: tuple[float, float, float, float, float, float]) -> Place:
    try:
        code = int(number(file, "@Epsg_Code"))
    except (PartError, ValueError, OverflowError):
        return Place(None, transform, ("Epsg_Code is missing: not used",))
    wkt = wkt_of(code)
    return Place(wkt, transform, () if wkt else (f"Epsg_Code {code} is unknown: not used",))


def _degrees_names(file: h5py.File, level: str) -> tuple[str, str]:
    fields = f"{SWATHS}/PRS_{level}_HCO/Geolocation Fields"
    ending = "" if f"{fields}/Latitude" in file else "_VNIR"
    return f"{fields}/Latitude{ending}", f"{fields}/Longitude{ending}"
