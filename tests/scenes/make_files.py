"""Generators of fake files in every format, written by other libraries than the readers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy.io import savemat

UTM = "EPSG:32633"
ORIGIN = from_origin(364_000, 5_810_000, 30, 30)
ENVI_TYPES = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5, "uint16": 12}


def cube(height: int = 7, width: int = 5, bands: int = 6, dtype: str = "int16") -> np.ndarray:
    """(H, W, B), every value different."""
    return np.arange(1, height * width * bands + 1, dtype=dtype).reshape(height, width, bands)


def mat5(path: Path, **arrays: Any) -> Path:
    savemat(path, arrays, do_compression=True)
    return path


def mat73(path: Path, header: bool = True, **arrays: np.ndarray) -> Path:
    """Axes reversed, classes as attributes and a 512-byte text header, as MATLAB writes it."""
    with h5py.File(path, "w", userblock_size=512 if header else 0) as file:
        for name, array in arrays.items():
            item = file.create_dataset(name, data=array.T)
            item.attrs["MATLAB_class"] = np.bytes_(
                {"float64": "double"}.get(str(array.dtype), str(array.dtype))
            )
        file.create_group("#refs#").create_dataset("a", data=np.zeros((3, 3, 3)))
    if header:
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def geotiff(
    path: Path,
    array: np.ndarray,
    *,
    nodata: float | None = None,
    crs: str | None = UTM,
    band_tags: list[dict[str, str]] | None = None,
    tags: dict[str, str] | None = None,
    colours: dict[int, tuple[int, int, int]] | None = None,
    transform: Any = ORIGIN,
    **options: Any,
) -> Path:
    """An (H, W, B) or (H, W) array as GeoTIFF."""
    stack = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if crs is None:
        transform = None
    profile = dict(
        driver="GTiff",
        count=len(stack),
        height=stack.shape[1],
        width=stack.shape[2],
        dtype=stack.dtype,
        nodata=nodata,
        crs=crs,
        transform=transform,
        **options,
    )
    with rasterio.open(path, "w", **{k: v for k, v in profile.items() if v is not None}) as file:
        file.write(stack)
        for band, values in enumerate(band_tags or [], start=1):
            file.update_tags(band, **values)
        file.update_tags(**(tags or {}))
        if colours:
            file.write_colormap(1, colours)
    return path


def envi(
    path: Path,
    array: np.ndarray,
    *,
    interleave: str = "bsq",
    big_endian: bool = False,
    header: Path | None = None,
    **fields: str,
) -> Path:
    """An (H, W, B) array as raw bytes and a header written by hand."""
    axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    order = array.dtype.newbyteorder(">" if big_endian else "<")
    path.write_bytes(np.ascontiguousarray(array.transpose(axes)).astype(order).tobytes())
    height, width, bands = array.shape
    lines = [
        "ENVI",
        f"samples = {width}",
        f"lines = {height}",
        f"bands = {bands}",
        "header offset = 0",
        "file type = ENVI Standard",
        f"data type = {ENVI_TYPES[array.dtype.name]}",
        f"interleave = {interleave}",
        f"byte order = {int(big_endian)}",
        *(f"{name.replace('_', ' ')} = {value}" for name, value in fields.items()),
    ]
    (header or path.with_suffix(".hdr")).write_text("\n".join(lines) + "\n")
    return path
