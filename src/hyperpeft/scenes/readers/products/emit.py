"""EMIT L2A reflectance: NetCDF in the instrument's geometry, put on its map grid here.

    reflectance (downtrack, crosstrack, bands)               float32, -9999 where there is none
    location/glt_x, glt_y (ortho_y, ortho_x)                 column and row in it from 1, 0: none
    sensor_band_parameters/wavelengths, fwhm                 nm
    sensor_band_parameters/good_wavelengths                  0 in the bands of water vapour
    attributes geotransform (as GDAL's), spatial_ref (WKT)

Each map pixel takes the spectrum of the nearest instrument pixel, which the product's look-up
table (GLT) names; no spectrum is mixed. A window is made of tiles, each read from the box of
instrument pixels that it needs. The mask product (L2A_MASK) is another file and not applied.

Source: LP DAAC, EMIT L2A Estimated Surface Reflectance and Uncertainty and Masks, V001.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.cube import Cube, Transform, to_nm
from hyperpeft.scenes.cubes.lazy import LazyCube
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.gdal import wkt_of
from hyperpeft.scenes.readers.recognise import EMIT_CUBES, EMIT_TABLE

_TILE = 64  # map pixels; the strip is rotated, and the box of a wide window would be all of it
_FILL = -9999.0
_CHUNK_CACHE = 2**27


def read_emit(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of an EMIT product on its map grid.

    Raises
    ------
    SceneError
        Parts of the product are missing or do not fit each other.
    """
    path = probe.path
    with h5py.File(path, "r") as file:
        name = next(name for name in EMIT_CUBES if name in file)
        values = file[name]
        if values.ndim != 3:
            raise SceneError(f"{path}:{name}", expected="3 dimensions", got=values.shape)
        glt = [file[part].shape for part in EMIT_TABLE]
        if glt[0] != glt[1] or len(glt[0]) != 2:
            raise SceneError(f"{path}: glt_x and glt_y", expected="one 2-D grid", got=glt)
        bands = values.shape[2]
        centres, widths, good = (
            _vector(path, file, key, bands) for key in ("wavelengths", "fwhm", "good_wavelengths")
        )
        fill = float(np.ravel(values.attrs.get("_FillValue", _FILL))[0])
        transform = _transform(path, file.attrs)
        crs = _crs(path, file.attrs)
    data = GltCube(path, name, fill)
    return Cube(
        path,
        data.to_xarray((_TILE, _TILE)),
        wavelengths=None if centres is None else to_nm(centres, "nm"),
        fwhm=None if widths is None else to_nm(widths, "nm"),
        good=None if good is None else good != 0,
        nodata=(fill,) * bands,
        crs=crs,
        transform=transform,
        block=(_TILE, _TILE),
        notes=("put on the map grid of the product's look-up table, nearest pixel",),
    )


class GltCube(LazyCube):
    """A cube in the instrument's geometry, seen through its look-up table."""

    def __init__(self, path: Path, name: str, fill: float) -> None:
        self.path, self.name, self.fill = path, name, fill
        with h5py.File(path, "r") as file:
            self.dtype = np.dtype(file[name].dtype).newbyteorder("=")
            self.shape = (file[name].shape[2], *file[EMIT_TABLE[0]].shape)

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        shape = (len(bands), rows.stop - rows.start, columns.stop - columns.start)
        out = np.full(shape, self.fill, self.dtype)
        with h5py.File(self.path, "r", rdcc_nbytes=_CHUNK_CACHE) as file:
            table = np.stack(
                [file[part][rows, columns] for part in EMIT_TABLE]
            )  # (2, rows, columns)
            values = file[self.name]
            for top in range(0, shape[1], _TILE):
                for left in range(0, shape[2], _TILE):
                    tile = np.s_[top : top + _TILE, left : left + _TILE]
                    self._fill_tile(values, bands, table[:, *tile], out[:, *tile])
        return out

    def _fill_tile(
        self, values: Any, bands: np.ndarray, table: np.ndarray, out: np.ndarray
    ) -> None:
        known = (table != 0).all(axis=0)
        if not known.any():
            return
        x, y = np.abs(table[:, known].astype(np.int64)) - 1  # negative: taken from a neighbour
        x0, x1, y0, y1 = x.min(), x.max() + 1, y.min(), y.max() + 1
        if y1 > values.shape[0] or x1 > values.shape[1]:
            raise SceneError(
                f"{self.path}: the look-up table points outside the cube",
                expected=f"rows and columns up to {values.shape[:2]}",
                got=(int(y1), int(x1)),
            )
        first = int(bands.min())
        box = values[y0:y1, x0:x1, first : int(bands.max()) + 1]
        out[:, known] = box[y - y0, x - x0][:, bands - first].T


def _vector(path: Path, file: Any, key: str, bands: int) -> np.ndarray | None:
    name = f"sensor_band_parameters/{key}"
    if name not in file:
        return None
    values: np.ndarray = np.asarray(file[name][()]).ravel()
    if len(values) != bands:
        raise SceneError(f"{path}:{name}", expected=f"{bands} values", got=len(values))
    return values


def _transform(path: Path, attributes: Any) -> Transform:
    values = np.ravel(attributes.get("geotransform", ())).astype(np.float64)
    if len(values) != 6:
        raise SceneError(
            f"{path}: attribute geotransform", expected="6 numbers", got=len(values) or "none"
        )
    c, a, b, f, d, e = (float(v) + 0.0 for v in values)
    return (a, b, c, d, e, f)


def _crs(path: Path, attributes: Any) -> str:
    text = attributes.get("spatial_ref", "")
    text = text.decode() if isinstance(text, bytes) else str(text)
    wkt = wkt_of(text)
    if wkt is None:
        raise SceneError(
            f"{path}: attribute spatial_ref", expected="a CRS as WKT", got=text[:60] or "none"
        )
    return wkt
