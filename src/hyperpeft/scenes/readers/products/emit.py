"""EMIT L2A reflectance: NetCDF in the instrument's geometry, put on its map grid here.

    reflectance (downtrack, crosstrack, bands)               float32, -9999 where there is none
    location/glt_x, glt_y (ortho_y, ortho_x)                 column and row in it from 1, 0: none
    sensor_band_parameters/wavelengths, fwhm                 nm
    sensor_band_parameters/good_wavelengths                  0 in the bands of water vapour
    attributes geotransform (as GDAL's), spatial_ref (WKT)

Each map pixel takes the spectrum of the nearest instrument pixel, which the product's look-up
table (GLT) names; no spectrum is mixed. A window is made of tiles, each read from the box of
instrument pixels that it needs. Without a table, its place or pixels that it may point to, the cube
is read as it was seen, with a note. The mask product (L2A_MASK) is another file and not applied.

Source: LP DAAC, EMIT L2A Estimated Surface Reflectance and Uncertainty and Masks, V001.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import to_nm
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import LazyCube, StoredCube
from hyperpeft.scenes.readers.detect import EMIT_CUBES, EMIT_TABLE, Probe
from hyperpeft.scenes.readers.gdal import wkt_of
from hyperpeft.scenes.readers.notes import unused_datasets
from hyperpeft.scenes.readers.place import Place
from hyperpeft.scenes.readers.products.parts import PartError, degrees_place, part, vector

_BANDS = "sensor_band_parameters"
_TILE = 64  # map pixels; the strip is rotated, and the box of a wide window would be all of it
_FILL = -9999.0
_CHUNK_CACHE = 2**27


def read_emit(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of an EMIT product: on its map grid, or as it was seen where it has none.

    Raises
    ------
    SceneError
        The cube has another number of axes.
    """
    path = probe.path
    notes: list[str] = []
    with h5py.File(path, "r") as file:
        name = next(name for name in EMIT_CUBES if name in file)
        values = file[name]
        if values.ndim != 3:
            raise SceneError(f"{path}:{name}", expected="3 dimensions", got=values.shape)
        bands = values.shape[2]
        centres, widths = (
            part(notes, vector, file, f"{_BANDS}/{n}", bands) for n in ("wavelengths", "fwhm")
        )
        good = None
        if f"{_BANDS}/good_wavelengths" in file:
            good = part(notes, vector, file, f"{_BANDS}/good_wavelengths", bands)
        fill = float(np.ravel(values.attrs.get("_FillValue", _FILL))[0])
        place = part(notes, _map_grid, file, values.shape)
        if place is None:
            notes.append("the cube is read as it was seen, which is not a map grid")
            shape, names = values.shape[:2], ("location/lat", "location/lon")
            seen = part(notes, degrees_place, file, *names, shape) or Place(None, None)
        notes += unused_datasets(file, (name, "location"))
    if place is None:
        stored = StoredCube("hdf5", path, name, "hwb")
        data, block, place = stored.to_xarray(stored.block), stored.block, seen
    else:
        data, block = GltCube(path, name, fill).to_xarray((_TILE, _TILE)), (_TILE, _TILE)
    return Cube(
        path,
        data,
        wavelengths=None if centres is None else to_nm(centres, "nm"),
        fwhm=None if widths is None else to_nm(widths, "nm"),
        good=None if good is None else good != 0,
        nodata=(fill,) * bands,
        crs=place.crs,
        transform=place.transform,
        block=block,
        notes=(*place.notes, *notes),
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
        first = int(bands.min())
        box = values[y0:y1, x0:x1, first : int(bands.max()) + 1]
        out[:, known] = box[y - y0, x - x0][:, bands - first].T


def _map_grid(file: h5py.File, shape: tuple[int, ...]) -> Place:
    """The map grid of the look-up table, which has to point into the cube."""
    tables = [file.get(name) for name in EMIT_TABLE]
    shapes = [getattr(table, "shape", ()) for table in tables]
    if len(shapes[0]) != 2 or shapes[0] != shapes[1]:
        raise PartError("glt_x and glt_y are not one 2-D grid")
    for table, most in zip(tables, (shape[1], shape[0]), strict=True):
        if table.dtype.kind not in "iu":
            raise PartError("glt_x and glt_y are not whole numbers")
        if np.abs(table[()].astype(np.int64)).max(initial=0) > most:
            raise PartError("the look-up table points outside the cube")
    c, a, b, f, d, e = (float(v) + 0.0 for v in vector(file, "@geotransform", 6))
    text = file.attrs.get("spatial_ref", "")
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    wkt = wkt_of(text)
    note = "put on the map grid of the product's look-up table, nearest pixel"
    unknown = () if wkt else ("attribute spatial_ref is no CRS: not used",)
    return Place(wkt, (a, b, c, d, e, f), (note, *unknown))
