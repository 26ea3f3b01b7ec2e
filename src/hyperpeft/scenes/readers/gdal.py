"""Rasters opened through GDAL (rasterio) without its messages, and what they say of their place.

GDAL keeps decoded blocks in a cache whose size is a share of the machine's memory unless
GDAL_CACHEMAX says otherwise: it is kept small here, so that memory is bounded by what is read.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as reproject

from hyperpeft.errors import HyperpeftError, LabelsError, SceneError
from hyperpeft.records import Transform
from hyperpeft.scenes.readers import hdf5_checks
from hyperpeft.scenes.readers.detect import Probe, is_archive
from hyperpeft.scenes.readers.envi_header import ENVI_DATA
from hyperpeft.scenes.readers.gdal_checks import (
    check_sources,
    import_rasterio,
    refuse_remote_rasters,
)
from hyperpeft.scenes.readers.notes import first_words
from hyperpeft.system.text import whole_number

_VECTORS = (".shp", ".geojson", ".json", ".kml", ".kmz", ".gml", ".gpx", ".fgb", ".tab", ".mif")
_LOGGERS = ("rasterio", "pyogrio")
_CACHE_MB = "256"  # holds a row of blocks of a wide scene, all bands


@contextmanager
def open_raster(
    path: Path | Probe, key: str | None = None, error: type[HyperpeftError] = SceneError
) -> Iterator[Any]:
    """Open a raster quietly: GDAL's own messages become one clear error.

    Parameters
    ----------
    path : Path or Probe
        A probe has been looked at, and its HDF5 been checked.
    key : str or None
        Name of a subdataset (NetCDF, HDF), or number of a page of a GeoTIFF, from 1.

    Raises
    ------
    HyperpeftError
        Of the class `error`: not a raster, or no such part.
    """
    if isinstance(path, Probe):
        probe = path
    else:  # a file beside the one that was given
        probe = Probe.of(path) if path.exists() else Probe(path)
        if probe.is_hdf5:
            hdf5_checks.check(path, error)
    path = probe.path
    rasterio = import_rasterio(path)
    refuse_remote_rasters(probe, error)
    os.environ.setdefault("GDAL_CACHEMAX", _CACHE_MB)
    with silence_gdal(), rasterio.Env(CPL_VSIL_GZIP_WRITE_PROPERTIES="NO"):
        try:
            dataset = rasterio.open(path)
            if dataset.subdatasets:
                name = _subdataset(path, dataset.subdatasets, key, error)
                dataset = rasterio.open(name)
            else:
                refuse_key(path, key, error)
        except HyperpeftError:
            raise
        except Exception as problem:  # also UnicodeDecodeError, of GDAL's own message
            reason = first_words(problem, 160).replace(str(path), path.name)
            raise error(
                f"{path} cannot be opened as a raster ({reason})", hint=_advice(probe, error)
            ) from None
        with dataset:
            check_sources(path, dataset, error)
            yield dataset


@contextmanager
def list_pages(probe: Probe) -> Iterator[list[Any]]:
    """The opened pages of a TIFF that has several; none where it has one or cannot be read."""
    rasterio = import_rasterio(probe.path)
    with ExitStack() as opened:
        opened.enter_context(silence_gdal())
        opened.enter_context(rasterio.Env())
        try:
            whole = opened.enter_context(rasterio.open(probe.path))
            pages = [opened.enter_context(rasterio.open(name)) for name in whole.subdatasets]
        except Exception:  # the reader of the file says what is wrong
            pages = []
        yield pages


@contextmanager
def silence_gdal() -> Iterator[None]:
    """No warnings about missing georeference, no messages of GDAL and OGR on stderr.

    Both are settings of the process. Threads may read at the same time: the first one saves the
    settings, and the last one restores them.
    """
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()


class _Silence:
    """Settings that are changed while anybody needs it."""

    def __init__(self) -> None:
        self._lock, self._depth, self._settings = threading.Lock(), 0, ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._settings.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                for logger in map(logging.getLogger, _LOGGERS):
                    self._settings.callback(logger.setLevel, logger.level)
                    logger.setLevel(logging.CRITICAL)
            self._depth += 1

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._settings.close()


_silence = _Silence()


def crs_of(dataset: Any) -> str | None:
    """The coordinate reference system as WKT, or None; a local one without a place is none."""
    wkt = str(dataset.crs.to_wkt()) if dataset.crs else None
    local = wkt is not None and wkt.startswith(("LOCAL_CS", "ENGCRS"))
    return None if local and transform_of(dataset) is None else wkt


def transform_of(dataset: Any) -> Transform | None:
    """The affine coefficients, or None for the identity that GDAL gives to plain images."""
    return unless_identity(tuple(dataset.transform)[:6])


def unless_identity(coefficients: Transform) -> Transform | None:
    """The same of coefficients that a file states."""
    a, b, c, d, e, f = coefficients
    if (a, b, c, d, abs(e), f) == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0):
        return None
    return (a + 0.0, b + 0.0, c + 0.0, d + 0.0, e + 0.0, f + 0.0)  # no -0.0


def wkt_of(text: object) -> str | None:
    """A CRS as WKT, from WKT, an EPSG code or a name such as "EPSG:4326"; None for none."""
    rasterio = import_rasterio(Path(str(text)[:60]))
    number = whole_number(text)
    try:
        with silence_gdal(), rasterio.Env():
            named = str(text) if number is None else number
            wkt: str = rasterio.crs.CRS.from_user_input(named).to_wkt()
    except rasterio.errors.CRSError:
        return None
    return wkt


def same_crs(first: str, second: str) -> bool:
    """Whether two CRS as WKT are the same."""
    return first == second or bool(CRS.from_wkt(first) == CRS.from_wkt(second))


def crs_distance(
    first: str, second: str, transform: Transform | None, shape: tuple[int, ...]
) -> float:
    """How far the same numbers in two CRS lie apart at a grid's corners, in pixels; may be inf."""
    if transform is None:
        return math.inf
    height, width = shape
    grid = Affine(*transform)
    xs, ys = zip(*(grid @ (x, y) for x in (0, width) for y in (0, height)), strict=True)
    try:
        there = reproject(CRS.from_wkt(second), CRS.from_wkt(first), xs, ys)
    except Exception:  # GDAL's errors have no root that rasterio shows
        return math.inf
    pixel = min(math.hypot(grid.a, grid.d), math.hypot(grid.b, grid.e))
    moved = np.hypot(np.subtract(there[0], xs), np.subtract(there[1], ys)) / pixel
    return float(moved.max()) if np.isfinite(moved).all() else math.inf


def crs_name(wkt: str) -> str:
    """The code of a CRS, or its WKT."""
    return str(CRS.from_wkt(wkt).to_string())


def _subdataset(path: Path, names: list[str], key: str | None, error: type[HyperpeftError]) -> str:
    keys = {_key_of(name): name for name in names}
    if key in keys:
        return keys[key]
    if key is None and len(names) == 1:
        return names[0]
    listing = ", ".join(f"{path}:{k}" for k in keys)
    if key is None:
        raise error(f"{path} holds several rasters", expected=f"one of {listing}")
    raise error(f"{path} has no raster {key!r}", expected=f"one of {listing}")


def refuse_key(path: Path, key: str | None, error: type[HyperpeftError] = SceneError) -> None:
    """Refuse the name of a part of a file that is one raster; its one page may be called "1"."""
    if key not in (None, "1"):
        raise error(f"{path} is one raster and has no part {key!r}", hint=f"give {path} alone")


def _key_of(subdataset: str) -> str:
    """How a user names it: the cube in HDF5:"a.h5"://group/cube, the 2 in GTIFF_DIR:2:a.tif."""
    page = re.match(r"GTIFF_DIR:(\d+):", subdataset)
    return page[1] if page else re.split(r"[:/]", subdataset)[-1]


def _advice(probe: Probe, error: type[HyperpeftError]) -> str:
    path = probe.path
    if is_archive(probe):
        return "it is an archive: unpack it, and give what it holds"
    if path.suffix.lower() in ENVI_DATA[1:]:
        return f"an ENVI data file needs its header {path.with_suffix('.hdr').name} beside it"
    if error is LabelsError:
        return (
            "give class ids as a raster or an array, vectors (GeoPackage, GeoJSON, shapefile, KML, "
            "GPX, MapInfo, SQLite) or a CSV of points"
        )
    if path.suffix.lower() in _VECTORS:
        return "it holds vectors: give it as --labels, and a raster or an array as the scene"
    return "give a MATLAB, NumPy, GeoTIFF or ENVI file that is complete"
