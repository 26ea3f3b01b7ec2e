"""Rasters through GDAL (rasterio, rioxarray): GeoTIFF, ENVI and whatever else it opens.

The cube stays on disk and is read by windows. GDAL keeps decoded blocks in a cache whose size is
a share of the machine's memory unless GDAL_CACHEMAX says otherwise: it is kept small here, so that
memory is bounded by what is read.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import HyperpeftError, SceneError
from hyperpeft.scenes.cubes.cube import Cube, Transform
from hyperpeft.scenes.cubes.scaling import scale_note
from hyperpeft.scenes.readers import hdf5_checks
from hyperpeft.scenes.readers.band_tags import BandTags
from hyperpeft.scenes.readers.gdal_checks import check_sources, import_rasterio, refuse_services
from hyperpeft.scenes.readers.matlab import is_hdf5
from hyperpeft.system.text import whole_number

_CACHE_MB = "256"  # holds a row of blocks of a wide scene, all bands
ENVI_DATA = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".envi")


@contextmanager
def open_raster(
    path: Path, key: str | None = None, error: type[HyperpeftError] = SceneError
) -> Iterator[Any]:
    """Open a raster quietly: GDAL's own messages become one clear error.

    Parameters
    ----------
    key : str or None
        Name of a subdataset (NetCDF, HDF), or number of a page of a GeoTIFF, from 1.
    """
    rasterio = import_rasterio(path)
    refuse_services(path, error)
    if path.is_file() and is_hdf5(path):  # under any name, and beside an EnMAP product
        hdf5_checks.check(path, error)
    os.environ.setdefault("GDAL_CACHEMAX", _CACHE_MB)
    with quiet(), rasterio.Env(CPL_VSIL_GZIP_WRITE_PROPERTIES="NO", GDAL_PAM_ENABLED="NO"):
        try:
            dataset = rasterio.open(path)
            if dataset.subdatasets:
                name = _subdataset(path, dataset.subdatasets, key, error)
                dataset = rasterio.open(name)
        except HyperpeftError:
            raise
        except Exception as problem:  # also UnicodeDecodeError, of GDAL's own message
            raise error(
                f"{path} cannot be opened as a raster ({_reason(problem, path)})",
                hint=_advice(path),
            ) from None
        with dataset:
            check_sources(path, dataset, error)
            yield dataset


def read_raster(path: Path, key: str | None = None) -> Cube:
    """A lazy cube of a raster file, with its wavelengths, bad-band list, nodata and georeference.

    Parameters
    ----------
    path : Path
        GeoTIFF, VRT, or the header or the data file of an ENVI pair, or anything else GDAL opens.

    Raises
    ------
    SceneError
        Not a raster, damaged, or of complex numbers.
    """
    path = envi_data_file(path)
    with open_raster(path, key) as dataset:
        if any(np.dtype(t).kind not in "biuf" for t in dataset.dtypes):
            raise SceneError(f"{path}", expected="real numbers", got=f"type {dataset.dtypes[0]}")
        data = _lazy(dataset.name)
        if dataset.driver == "ENVI":
            _check_interleave(path)
            if _envi_field(path, "file compression"):
                data = data.load()  # a window of a gzip stream costs the whole stream
            else:
                _refuse_short_envi(path, dataset)
        tags = BandTags(dataset)
        scale, offset = tags.scaling()
        cube = Cube(
            path=path,
            data=data,
            good=tags.good(),
            nodata=tuple(dataset.nodatavals),
            masks=_mask_band(dataset),
            scale=scale,
            offset=offset,
            crs=crs_of(dataset),
            transform=transform_of(dataset),
            block=_block(dataset),
            key=key or "",
            others=sources_of(path, dataset),
        )
        cube = replace(cube, notes=scale_note(cube))
        wavelengths, fwhm = tags.spectral()
        if wavelengths is None and dataset.driver == "VRT":
            return _like_first_source(cube, dataset)
        return replace(cube, wavelengths=wavelengths, fwhm=fwhm)


def sources_of(path: Path, dataset: Any, seen: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """What else decides a raster's values: an ENVI header; the sources of a VRT, and theirs."""
    if dataset.driver not in ("ENVI", "VRT"):
        return ()
    listed = [Path(name) for name in dataset.files if not name.endswith((".aux.xml", ".ovr"))]
    found = [o for o in listed if o.is_file() and not o.samefile(path) and o not in seen]
    seen = (path, *seen, *found)
    if dataset.driver == "VRT":
        for other in found:
            with open_raster(other) as source:
                seen = (*seen, *sources_of(other, source, seen))
    return tuple(dict.fromkeys(o for o in seen if o != path))


def _block(dataset: Any) -> tuple[int, int]:
    shapes = dataset.block_shapes
    return max(rows for rows, _ in shapes), max(columns for _, columns in shapes)


def _mask_band(dataset: Any) -> dict[str, np.ndarray] | None:
    """What the file's own mask band hides: one mask for all bands, which has no nodata value."""
    from rasterio.enums import MaskFlags

    flags = dataset.mask_flag_enums[0]
    if MaskFlags.per_dataset not in flags or MaskFlags.nodata in flags:
        return None
    if MaskFlags.alpha in flags:
        return None  # an alpha band belongs to a picture
    try:
        return {"mask band": dataset.read_masks(1) == 0}
    except Exception as problem:  # rasterio's errors of damaged files have no common root
        raise SceneError(f"{dataset.name}: its mask cannot be read ({problem})") from None


def _like_first_source(cube: Cube, dataset: Any) -> Cube:
    """A VRT leaves out what its sources say of their bands: ask the first one."""
    sources = [Path(name) for name in dataset.files[1:]]
    bands = cube.data.shape[0]
    for source in sources:
        if source == cube.path or source.suffix.lower() == ".vrt" or not source.is_file():
            continue
        with open_raster(source) as first:
            if first.count != bands:
                return cube
            tags = BandTags(first)
            wavelengths, fwhm = tags.spectral()
            good = tags.good() if cube.good is None or cube.good.all() else cube.good
            return replace(cube, wavelengths=wavelengths, fwhm=fwhm, good=good)
    return cube


def envi_data_file(path: Path) -> Path:
    """The data file of an ENVI header; any other path as it is.

    Raises
    ------
    SceneError
        No data file lies beside the header.
    """
    if path.suffix.lower() != ".hdr":
        return path
    stem = path.with_suffix("")  # scene.hdr or scene.bsq.hdr
    beside = {p.name.lower(): p for p in path.parent.iterdir() if p.is_file()}
    for ending in ENVI_DATA:
        data = beside.get((stem.name + ending).lower())
        if data is not None:
            return data
    raise SceneError(
        f"the ENVI header {path} has no data file beside it",
        expected=f"{stem.name} with no ending or one of {', '.join(ENVI_DATA[1:])}",
    )


def crs_of(dataset: Any) -> str | None:
    """The coordinate reference system as WKT, or None."""
    return dataset.crs.to_wkt() if dataset.crs else None


def transform_of(dataset: Any) -> Transform | None:
    """The affine coefficients, or None for the identity that GDAL gives to plain images."""
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    if (a, b, c, d, abs(e), f) == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0):
        return None
    return (a + 0.0, b + 0.0, c + 0.0, d + 0.0, e + 0.0, f + 0.0)  # no -0.0


def _lazy(name: str) -> Any:
    import rioxarray

    data: Any = rioxarray.open_rasterio(name, parse_coordinates=False, cache=False, masked=False)
    data = data.drop_vars(list(data.coords))
    data.attrs.clear()
    return data


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings about missing georeference, no GDAL messages on stderr."""
    logger = logging.getLogger("rasterio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


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


def _key_of(subdataset: str) -> str:
    """How a user names it: the cube in HDF5:"a.h5"://group/cube, the 2 in GTIFF_DIR:2:a.tif."""
    page = re.match(r"GTIFF_DIR:(\d+):", subdataset)
    return page[1] if page else re.split(r"[:/]", subdataset)[-1]


def _envi_field(path: Path, field: str) -> int:
    """A whole number of the ENVI header beside a data file; 0 where there is none."""
    return whole_number(_envi_text(path, field)) or 0


def _envi_text(path: Path, field: str) -> str:
    """A word of the ENVI header beside a data file; "" where there is none."""
    for header in (path.with_suffix(".hdr"), Path(f"{path}.hdr")):
        if header.is_file():
            with header.open(encoding="latin-1") as file:
                text = file.read(100_000)
            found = re.search(rf"(?im)^[ \t]*{field}[ \t]*=[ \t]*(\S+)", text)
            return found[1] if found else ""
    return ""


def _check_interleave(path: Path) -> None:
    """GDAL reads an unknown interleave as bsq, and the pixels of every band from others."""
    found = _envi_text(path, "interleave")
    if found.lower() not in ("bsq", "bil", "bip"):
        raise SceneError(
            f"{path}: interleave in its header", expected="bsq, bil or bip", got=found or "none"
        )


def _refuse_short_envi(path: Path, dataset: Any) -> None:
    """GDAL reads zeros behind the end of a raw file: compare its size with the header's."""
    pixels = dataset.count * dataset.height * dataset.width
    offset = _envi_field(path, "header offset")
    size = offset + pixels * np.dtype(dataset.dtypes[0]).itemsize
    if path.stat().st_size < size:
        raise SceneError(
            f"{path} is shorter than its header says",
            expected=f"{size} bytes",
            got=path.stat().st_size,
            hint="the file is cut short, or its header belongs to another one: get both again",
        )


def _reason(problem: Exception, path: Path) -> str:
    text = " ".join(str(problem).split()).replace(str(path), path.name)
    return text[:160] or type(problem).__name__


def _advice(path: Path) -> str:
    if path.suffix.lower() in ENVI_DATA[1:]:
        return f"an ENVI data file needs its header {path.with_suffix('.hdr').name} beside it"
    return "give a MATLAB, NumPy, GeoTIFF or ENVI file that is complete"
