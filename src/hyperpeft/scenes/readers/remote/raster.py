"""GeoTIFFs on a server, read by windows through GDAL: only the ranges that a window needs.

GDAL opens no file on a server (see `system.resources`), but the one that the user names and only
as a GeoTIFF, while a window of it is read. Each window opens it again; its head is in GDAL's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import LazyCube, LazyMask
from hyperpeft.scenes.readers.band_tags import BandTags, not_spectral
from hyperpeft.scenes.readers.detect import TIFF_MAGIC, is_html
from hyperpeft.scenes.readers.gdal import crs_of, silence_gdal, transform_of
from hyperpeft.scenes.readers.gdal_checks import import_rasterio
from hyperpeft.scenes.readers.notes import first_words
from hyperpeft.scenes.readers.remote.address import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Address,
    ask,
    fingerprint,
)

_TRIES = 3
_SMALLEST_BLOCK = 256  # rows and columns; strips and small tiles are joined
_SAMPLE = 64  # rows and columns
_DELIMITERS = ", "


@contextmanager
def open_remote(address: Address, **options: Any) -> Iterator[Any]:
    """Open a GeoTIFF on a server through GDAL.

    Raises
    ------
    SceneError
        There is no such file, it is no GeoTIFF, or the server does not answer.
    """
    rasterio: Any = import_rasterio(address)  # type: ignore[arg-type]
    name = f"/vsis3/{address.url[5:]}" if address.is_s3 else f"/vsicurl/{address.url}"
    ending = name[-16:]
    for mark in _DELIMITERS:  # the ending is one word of a list
        ending = ending.rpartition(mark)[2]
    settings = {
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ending,
        "CPL_VSIL_CURL_ALLOWED_FILENAME": name,
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # nothing beside it is asked for
        "GDAL_HTTP_CONNECTTIMEOUT": str(CONNECT_SECONDS),
        "GDAL_HTTP_TIMEOUT": str(READ_SECONDS),
        "GDAL_HTTP_MAX_RETRY": str(_TRIES),
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_PAM_ENABLED": "NO",
    }
    with silence_gdal(), rasterio.Env(session=rasterio.session.DummySession(), **settings):
        try:
            dataset = rasterio.open(name, driver="GTiff", **options)
        except Exception as problem:  # also UnicodeDecodeError, of GDAL's own message
            reason = first_words(problem, 160).replace(name, address.name)
            raise SceneError(
                f"{address} cannot be opened as a GeoTIFF ({reason})",
                hint="check the address, the credentials and the network",
            ) from None
        with dataset:
            yield dataset


def read_remote_raster(address: Address) -> Cube:
    """The cube of a GeoTIFF on a server; its head alone is read.

    Raises
    ------
    SceneError
        As `open_remote`; or another file than a GeoTIFF.
    """
    state = ""
    if not address.is_s3:
        beginning = ask(address)
        state = beginning.state
        if beginning.head[:4] not in TIFF_MAGIC:
            what = "a web page" if is_html(beginning.head) else "no GeoTIFF"
            raise SceneError(
                f"{address} is {what}",
                expected="a Cloud-Optimized GeoTIFF, or a Zarr store whose address ends in .zarr",
                hint="download files of other kinds, and give their paths",
            )
    with open_remote(address) as dataset:
        if any(np.dtype(t).kind not in "biuf" for t in dataset.dtypes):
            raise SceneError(f"{address}", expected="real numbers", got=f"type {dataset.dtypes[0]}")
        tags = BandTags(dataset)
        marked = [i for i, c in enumerate(dataset.colorinterp) if c.name == "alpha"]
        alpha = [i for i in marked if _is_alpha(address, dataset, i)] if dataset.count > 1 else []
        out, notes = not_spectral(tags, set(alpha), marked)
        notes += [f"band {i + 1} is alpha: it masks, and is no band of the scene" for i in alpha]
        notes += [
            f"band {i + 1} is marked as alpha but holds many values; it is taken as a spectral band"
            for i in marked
            if i not in alpha
        ]
        keep = np.array([i for i in range(dataset.count) if i not in out and i not in alpha])
        tags.select(keep)
        nodata = [dataset.nodatavals[i] for i in keep]
        scale, offset = tags.scaling()
        wavelengths, fwhm = tags.spectral()
        block = _block(dataset)
        shape = (dataset.count, dataset.height, dataset.width)
        stored = RemoteRaster(address, shape, np.result_type(*dataset.dtypes))
        masks = {}
        if alpha:
            masks["alpha"] = LazyMask(shape[1:], block, _Hidden(address, alpha[0] + 1))
        elif _has_mask(dataset):
            masks["mask band"] = LazyMask(shape[1:], block, _Hidden(address, None))
        state = state or f"{dataset.tags()} {shape}"
        cube = Cube(
            path=address,  # type: ignore[arg-type]
            data=stored.to_xarray(block).isel(band=keep),
            wavelengths=wavelengths,
            fwhm=fwhm,
            good=tags.good(),
            nodata=tuple(None if value == 0 else value for value in nodata),
            empty=(0.0,) if 0 in nodata else (),
            masks=masks or None,  # type: ignore[arg-type]
            scale=scale,
            offset=offset,
            crs=crs_of(dataset),
            transform=transform_of(dataset),
            block=block,
            identity=fingerprint(address.url.partition("?")[0], state),
        )
        if not dataset.overviews(1) and not _is_tiled(dataset):
            notes.append("the file is not tiled: windows of it fetch whole rows")
        return replace(cube, notes=(*notes, *scale_note(cube), *tags.unused()))


class RemoteRaster(LazyCube):
    """A GeoTIFF on a server; each window fetches the ranges that it needs."""

    def __init__(self, address: Address, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self.address, self.shape, self.dtype = address, shape, dtype

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        indices = (bands + 1).tolist()
        with open_remote(self.address) as dataset:
            values = _read(self.address, dataset, indices, rows, columns)
        return values.astype(self.dtype, copy=False)


class _Hidden:
    """Where the alpha band or the mask of a GeoTIFF hides a window."""

    def __init__(self, address: Address, alpha: int | None) -> None:
        self.address, self.alpha = address, alpha

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        with open_remote(self.address) as dataset:
            return _read(self.address, dataset, self.alpha, rows, columns) == 0


def _read(
    address: Address, dataset: Any, bands: list[int] | int | None, rows: slice, columns: slice
) -> np.ndarray:
    window = (rows.start, rows.stop), (columns.start, columns.stop)
    try:
        if bands is None:
            values: np.ndarray = dataset.read_masks(1, window=window)
        else:
            values = dataset.read(bands, window=window)
    except Exception as problem:  # rasterio's errors of networks have no common root
        raise SceneError(
            f"{address}: rows {rows.start} to {rows.stop} cannot be read "
            f"({first_words(problem, 120)})",
            hint="check the network, and try again",
        ) from None
    return values


def _is_alpha(address: Address, dataset: Any, index: int) -> bool:
    """Whether a band that is marked as alpha holds two values at most, by a sample of it."""
    where = []
    for size in dataset.shape:
        start = max(0, size // 2 - _SAMPLE // 2)
        where.append(slice(start, min(size, start + _SAMPLE)))
    return len(np.unique(_read(address, dataset, index + 1, *where))) <= 2


def _has_mask(dataset: Any) -> bool:
    flags = {flag.name for flag in dataset.mask_flag_enums[0]}
    return "per_dataset" in flags and not flags & {"nodata", "alpha"}


def _is_tiled(dataset: Any) -> bool:
    return all(columns < dataset.width for _, columns in dataset.block_shapes)


def _block(dataset: Any) -> tuple[int, int]:
    """Rows and columns that are looked at together: multiples of what is stored together."""
    rows = max(rows for rows, _ in dataset.block_shapes)
    columns = max(columns for _, columns in dataset.block_shapes)
    return (
        rows * max(1, _SMALLEST_BLOCK // rows),
        columns * max(1, _SMALLEST_BLOCK // columns),
    )
