"""PRISMA L2D products: two cubes of reflectance in one HDF5 file (.he5).

    HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/{VNIR,SWIR}_Cube   uint16 (rows, bands, columns), 30 m
    attributes of the file:
      List_Cw_{Vnir,Swir}, List_Fwhm_...      band centres and widths in nm, falling; 0 where a
                                              band is not there
      List_Cw_{Vnir,Swir}_Flags               0 where a band is not there
      L2Scale{Vnir,Swir}{Min,Max}             reflectance = min + value (max - min) / 65535
      Epsg_Code, Product_{UL,LR}corner_{easting,northing}

The bands are put in rising order of wavelength, which interleaves VNIR and SWIR where they overlap
(920 to 1010 nm). A pixel of zeros in every band lies outside the strip; a single zero is a dark
band. The error matrices are not applied: a pixel is seldom clean in all bands.

The specification calls the first axis easting, while the products that readers of the field
handle have rows there: the corners tell, since 30 m pixels have to fill them. Corners are read as
the outer edges or as the centres of the corner pixels, whichever the size of the image fits.

Source: ASI, PRISMA Products Specification Document.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.cube import Cube, Transform, to_nm
from hyperpeft.scenes.cubes.lazy import StackedCube, StoredCube
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.gdal import wkt_of
from hyperpeft.scenes.readers.recognise import SWATHS

_FIELDS = "PRS_L2D_HCO/Data Fields"
_PIXEL = 30.0  # m
_FULL_SCALE = 65535.0
_DETECTORS = ("Vnir", "Swir")


def read_prisma(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of a PRISMA L2D product, in reflectance.

    Raises
    ------
    SceneError
        Another level than L2D, or an attribute or a cube is missing.
    """
    path = probe.path
    with h5py.File(path, "r") as file:
        swaths = file[SWATHS]
        if _FIELDS not in swaths:
            levels = sorted({name.split("_")[1] for name in swaths if name.startswith("PRS_L")})
            raise SceneError(
                f"{path}: processing level",
                expected="PRISMA L2D, which is reflectance on a map grid",
                got=", ".join(levels),
                hint="order the scene as L2D",
            )
        for detector in _DETECTORS:
            name = f"{_FIELDS}/{detector.upper()}_Cube"
            if name not in swaths:
                raise SceneError(f"{path} has no {SWATHS}/{name}", hint="get the product again")
        attributes = {name: np.array(value) for name, value in file.attrs.items()}
        shape, other = (swaths[f"{_FIELDS}/{d.upper()}_Cube"].shape for d in _DETECTORS)
        if len(shape) != 3 or len(other) != 3 or shape[::2] != other[::2]:
            raise SceneError(
                f"{path}: VNIR_Cube and SWIR_Cube",
                expected="the same rows and columns",
                got=f"{shape} and {other}",
            )
    axes, transform = _grid(path, attributes, shape)
    parts = [
        StoredCube("hdf5", path, f"{SWATHS}/{_FIELDS}/{detector.upper()}_Cube", axes)
        for detector in _DETECTORS
    ]
    centres, widths, scale, offset, there = (
        np.concatenate(columns)
        for columns in zip(
            *(
                _bands(path, attributes, detector, part.shape[0])
                for detector, part in zip(_DETECTORS, parts, strict=True)
            ),
            strict=True,
        )
    )
    if not there.any():
        raise SceneError(f"{path}: List_Cw_Vnir and List_Cw_Swir name no band")
    cube = Cube(
        path,
        StackedCube([part.to_xarray(part.block) for part in parts]).to_xarray(parts[0].block),
        wavelengths=centres,
        fwhm=widths,
        empty=(0.0,),
        scale=scale,
        offset=offset,
        crs=_crs(path, attributes),
        transform=transform,
        block=parts[0].block,
        notes=("values are reflectance, scaled per detector as the product says",),
    )
    order = np.argsort(np.where(there, centres, np.inf), kind="stable")[: int(there.sum())]
    absent = len(there) - len(order)
    cube = cube.select(order, f"{absent} bands have no wavelength in the product and are dropped")
    return cube


def _bands(path: Path, attributes: dict[str, Any], detector: str, bands: int) -> tuple[Any, ...]:
    """Centres, widths, scale, offset and presence of one detector's bands."""
    centres = _numbers(path, attributes, f"List_Cw_{detector}", bands)
    widths = _numbers(path, attributes, f"List_Fwhm_{detector}", bands)
    there = np.isfinite(centres) & (centres > 0)
    if f"List_Cw_{detector}_Flags" in attributes:
        there &= _numbers(path, attributes, f"List_Cw_{detector}_Flags", bands) != 0
    low = _numbers(path, attributes, f"L2Scale{detector}Min", 1)
    high = _numbers(path, attributes, f"L2Scale{detector}Max", 1)
    scale = np.repeat((high - low) / _FULL_SCALE, bands)
    return to_nm(np.where(there, centres, 1), "nm"), widths, scale, np.repeat(low, bands), there


def _numbers(path: Path, attributes: dict[str, Any], name: str, count: int) -> np.ndarray:
    try:
        values = np.asarray(attributes[name], dtype=np.float64).ravel()
    except (KeyError, ValueError):
        raise SceneError(f"{path} has no attribute {name}", hint="get the product again") from None
    if len(values) != count:
        raise SceneError(f"{path}: attribute {name}", expected=f"{count} values", got=len(values))
    return values


def _grid(
    path: Path, attributes: dict[str, Any], shape: tuple[int, int, int]
) -> tuple[str, Transform]:
    """The order of the axes and the transform, by which pixels of 30 m fill the corners."""
    left, top, right, bottom = (
        float(_numbers(path, attributes, f"Product_{name}", 1)[0])
        for name in (
            "ULcorner_easting",
            "ULcorner_northing",
            "LRcorner_easting",
            "LRcorner_northing",
        )
    )
    across, down = (right - left) / _PIXEL, (top - bottom) / _PIXEL  # pixels
    for axes in ("hbw", "wbh"):
        height, width = shape[axes.index("h")], shape[axes.index("w")]
        for edge in (0.0, 0.5):  # corners are edges, or centres of the corner pixels
            if abs(across + 2 * edge - width) < 0.25 and abs(down + 2 * edge - height) < 0.25:
                x, y = left - edge * _PIXEL, top + edge * _PIXEL
                return axes, (_PIXEL, 0.0, x, 0.0, -_PIXEL, y)
    raise SceneError(
        f"{path}: pixels of 30 m do not fill the product's corners",
        expected=f"about {down:.1f} rows and {across:.1f} columns",
        got=f"{shape[0]} and {shape[2]}",
    )


def _crs(path: Path, attributes: dict[str, Any]) -> str:
    code = int(_numbers(path, attributes, "Epsg_Code", 1)[0])
    wkt = wkt_of(code)
    if wkt is None:
        raise SceneError(f"{path}: Epsg_Code {code} is unknown")
    return wkt
