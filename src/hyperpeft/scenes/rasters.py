"""Rasters through GDAL (rasterio, rioxarray): GeoTIFF, ENVI and whatever else it opens.

The cube stays on disk: `Scene.rows` reads windows of it.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import ConfigError, HyperpeftError, SceneError
from hyperpeft.scenes.cube import Cube, Transform, to_nm

ENVI_DATA = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".envi")


@contextmanager
def open_raster(
    path: Path, key: str | None = None, error: type[HyperpeftError] = SceneError
) -> Iterator[Any]:
    """Open a raster quietly: GDAL's own messages become one clear error.

    Parameters
    ----------
    key : str or None
        Name of a subdataset (NetCDF, HDF).
    """
    rasterio = import_rasterio(path)
    with quiet(), rasterio.Env(CPL_VSIL_GZIP_WRITE_PROPERTIES="NO", GDAL_PAM_ENABLED="NO"):
        try:
            dataset = rasterio.open(path)
            if dataset.subdatasets and (key is not None or dataset.count == 0):
                dataset = rasterio.open(_subdataset(path, dataset.subdatasets, key, error))
        except rasterio.errors.RasterioError as problem:
            raise error(
                f"{path} cannot be opened as a raster ({_reason(problem, path)})",
                do=_advice(path),
            ) from None
        with dataset:
            yield dataset


def read_raster(path: Path, key: str | None = None) -> Cube:
    """A lazy cube of a raster file, with its wavelengths, bad-band list, nodata and georeference.

    Parameters
    ----------
    path : Path
        GeoTIFF, or the header or the data file of an ENVI pair, or anything else GDAL opens.

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
            if _envi_field(path, "file compression"):
                data = data.load()  # a window of a gzip stream costs the whole stream
            else:
                _refuse_short_envi(path, dataset)
        return Cube(
            path=path,
            data=data,
            wavelengths=_wavelengths(dataset),
            good=_good_bands(dataset),
            nodata=tuple(dataset.nodatavals),
            crs=crs_of(dataset),
            transform=transform_of(dataset),
            block_rows=max(rows for rows, _ in dataset.block_shapes),
            notes=_scaling(dataset),
        )


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


def import_rasterio(path: Path) -> Any:
    """Import rasterio, or say that this file needs it."""
    try:
        import rasterio
        import rasterio.errors
    except ImportError:
        raise ConfigError(
            f"{path} is read through GDAL, and rasterio is not installed here",
            do="pip install rasterio rioxarray, or convert the file to .mat or .npy",
        ) from None
    return rasterio


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
    keys = {re.split(r"[:/]", name)[-1]: name for name in names}
    if key in keys:
        return keys[key]
    if key is None and len(names) == 1:
        return names[0]
    listing = ", ".join(f"{path}:{k}" for k in keys)
    if key is None:
        raise error(f"{path} holds several rasters", expected=f"one of {listing}")
    raise error(f"{path} has no raster {key!r}", expected=f"one of {listing}")


def _wavelengths(dataset: Any) -> np.ndarray | None:
    """Band centres in nm from the bands' tags; None unless every band has one."""
    values, units = [], None
    common = dataset.tags()
    for band in range(1, dataset.count + 1):
        tags = {name.lower(): value for name, value in dataset.tags(band).items()}
        try:
            values.append(float(tags["wavelength"]))
        except (KeyError, ValueError):
            return _imagery_wavelengths(dataset)
        units = tags.get("wavelength_units", common.get("wavelength_units", units))
    return to_nm(np.array(values), units)


def _imagery_wavelengths(dataset: Any) -> np.ndarray | None:
    """GDAL's own item for band centres, which newer drivers write."""
    values = [
        dataset.tags(band, ns="IMAGERY").get("CENTRAL_WAVELENGTH_UM")
        for band in range(1, dataset.count + 1)
    ]
    if any(value is None for value in values):
        return None
    return to_nm(np.array([float(value) for value in values]), "um")


def _good_bands(dataset: Any) -> np.ndarray | None:
    """False where the bad-band list, per band or of the ENVI header, has 0."""
    whole = dataset.tags(ns="ENVI").get("bbl") or dataset.tags().get("bbl")
    if whole:
        flags = re.findall(r"[-+.\deE]+", whole)
    else:
        flags = [dataset.tags(band).get("bbl", "1") for band in range(1, dataset.count + 1)]
    try:
        good = np.array([float(flag) != 0 for flag in flags])
    except ValueError:
        return None
    if len(good) != dataset.count:
        raise SceneError(
            f"{dataset.name}: bad-band list", expected=f"{dataset.count} values", got=len(good)
        )
    return good


def _scaling(dataset: Any) -> tuple[str, ...]:
    if all(s == 1 for s in dataset.scales) and all(o == 0 for o in dataset.offsets):
        return ()
    return ("values are as stored: the file's scale and offset are not applied",)


def _envi_field(path: Path, field: str) -> int:
    """A whole number of the ENVI header beside a data file; 0 where there is none."""
    for header in (path.with_suffix(".hdr"), Path(f"{path}.hdr")):
        if header.is_file():
            text = header.read_text(encoding="latin-1")[:100_000]
            found = re.search(rf"(?im)^\s*{field}\s*=\s*(\d+)", text)
            return int(found[1]) if found else 0
    return 0


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
            do="the file is cut short, or its header belongs to another one: get both again",
        )


def _reason(problem: Exception, path: Path) -> str:
    text = " ".join(str(problem).split()).replace(str(path), path.name)
    return text[:160] or type(problem).__name__


def _advice(path: Path) -> str:
    if path.suffix.lower() in ENVI_DATA[1:]:
        return f"an ENVI data file needs its header {path.with_suffix('.hdr').name} beside it"
    return "give a MATLAB, NumPy, GeoTIFF or ENVI file that is complete"
