"""ENVI cubes whose header GDAL does not read to its end, though it says all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import LazyCube
from hyperpeft.scenes.readers.band_tags import BandTags, not_spectral
from hyperpeft.scenes.readers.detect import HDF5_MAGIC, TIFF_MAGIC, ZIP_MAGIC
from hyperpeft.scenes.readers.envi_header import (
    INTERLEAVES,
    TYPES,
    header_of,
    interleave,
    number,
    read_fields,
    values_size,
)
from hyperpeft.scenes.readers.gdal import wkt_of
from hyperpeft.scenes.readers.place import parse_map_info

_OTHERS = (  # how other formats begin: TIFF, HDF5, PNG, JPEG, NITF, HDF4, NetCDF, Erdas, VRT
    *TIFF_MAGIC, HDF5_MAGIC, ZIP_MAGIC, b"\x89PNG", b"\xff\xd8\xff", b"\0\0\0\x0cjP", b"NITF",
    b"\x0e\x03\x13\x01", b"CDF\x01", b"CDF\x02", b"CDF\x05", b"EHFA_HEADER_TAG", b"<VRTDataset",
)  # fmt: skip
_SEEK = 2**12  # bytes that are read in a row in the time of a read elsewhere


class RawCube(LazyCube):
    """Numbers of one type behind an offset, mapped for each window."""

    def __init__(self, path: Path, offset: int, order: str, axes: str, shape: tuple[int, ...]):
        self.path, self.offset, self.order, self.axes = path, offset, order, axes
        self.stored = shape
        bands, height, width = (shape[axes.index(axis)] for axis in "bhw")
        self.shape = (bands, height, width)
        self.dtype = np.dtype(order).newbyteorder("=")

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        array = np.memmap(self.path, self.order, "r", self.offset, self.stored)
        turned = array.transpose([self.axes.index(axis) for axis in "bhw"])
        return np.array(turned[bands, rows, columns]).astype(self.dtype, copy=False)

    @property
    def mixed(self) -> bool:
        """Whether a pixel's bands lie side by side, so that one band costs as much as all."""
        return self.axes == "hwb"

    def row_bytes(self, columns: int, step: int, bands: int) -> int:
        """What `thin` reads of a row: every column of a window, or single pixels."""
        size: int = self.dtype.itemsize
        if not self.mixed:
            return columns * size * bands
        pixel = size * self.shape[0]
        return min(columns * pixel, -(-columns // step) * (_SEEK + pixel))

    def thin(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """As `window`, also with steps.

        Each row is read by itself: mapping a file pulls in much that lies around a row, which
        counts as memory in use. Where a pixel's bands lie side by side and the step leaves much of
        a row out, each pixel is.
        """
        wanted, step = range(rows.start, rows.stop, rows.step or 1), columns.step or 1
        width = columns.stop - columns.start
        if self.row_bytes(width, step, len(bands)) < self.row_bytes(width, 1, len(bands)):
            return self._scattered(bands, wanted, columns)
        across = len(range(columns.start, columns.stop, step))
        out = np.empty((len(bands), len(wanted), across), self.dtype)
        depth = self.shape[0] if self.mixed else 1
        buffer = np.empty(width * depth, self.order)
        with self.path.open("rb", buffering=0) as file:
            for i, row in enumerate(wanted):
                if self.mixed:
                    self._fill(buffer, file, (row, columns.start, 0))
                    out[:, i] = buffer.reshape(-1, depth)[::step, bands].T
                    continue
                for k, band in enumerate(bands.tolist()):
                    first = (band, row, columns.start) if self.axes == "bhw" else (
                        row, band, columns.start
                    )  # fmt: skip
                    self._fill(buffer, file, first)
                    out[k, i] = buffer[::step]
        return out

    def _scattered(self, bands: np.ndarray, wanted: range, columns: slice) -> np.ndarray:
        """Pixels read one by one."""
        across = range(columns.start, columns.stop, columns.step)
        low, high, size = int(bands.min()), int(bands.max()) + 1, self.dtype.itemsize
        parts = []
        with self.path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for row in wanted:
                for column in across:
                    file.seek(self._place((row, column, low)))
                    parts.append(file.read((high - low) * size))
        pixels = np.frombuffer(b"".join(parts), self.order)
        pixels = pixels.reshape(len(wanted), len(across), high - low)
        return pixels[..., bands - low].transpose(2, 0, 1).astype(self.dtype, order="C")

    def _place(self, index: tuple[int, int, int]) -> int:
        """Byte of the number at an index in the file's order of axes."""
        number = (index[0] * self.stored[1] + index[1]) * self.stored[2] + index[2]
        return self.offset + number * self.dtype.itemsize

    def _fill(self, buffer: np.ndarray, file: Any, first: tuple[int, int, int]) -> None:
        """Fill a buffer with the numbers from an index on, in the file's order of axes.

        Raises
        ------
        OSError
            The file ends before.
        """
        file.seek(self._place(first))
        view, done = buffer.data.cast("B"), 0
        while done < len(view):
            count = file.readinto(view[done:])
            if not count:
                raise OSError(f"{self.path} ends after {file.tell()} bytes")
            done += count


def has_mark(path: Path) -> bool:
    """Whether the header of a data file begins with a byte-order mark and is ENVI's behind it.

    The header of another file with that name does not count, see `holds_numbers`.
    """
    header = header_of(path)
    if header is None:
        return False
    with header.open("rb") as file:
        head = file.read(16)
    marked = head.startswith(b"\xef\xbb\xbfENVI") or head[2:10].replace(b"\0", b"") == b"ENVI"
    return marked and holds_numbers(path, read_fields(path))


def holds_numbers(path: Path, fields: dict[str, str]) -> bool:
    """Whether a file may hold the bare numbers of an ENVI header, rather than another format.

    A TIFF beside the header of an ENVI pair of the same name has its own size and begins as TIFF.
    """
    if path.stat().st_size == number(fields, "header_offset") + values_size(fields):
        return True
    with path.open("rb") as file:
        return not file.read(16).startswith(_OTHERS)


class _Header:
    """The fields of a header under the names that rasterio has for a raster's."""

    def __init__(self, path: Path, fields: dict[str, str], count: int) -> None:
        self.name, self.count, self._fields = str(path), count, fields
        names = self._listed("band_names")[:count]
        self.descriptions = [*names, *[""] * (count - len(names))]
        self.scales = self._numbers("data_gain_values", 1.0)
        self.offsets = self._numbers("data_offset_values", 0.0)

    def tags(self, band: int = 0, ns: str = "") -> dict[str, str]:
        return {} if band or ns != "ENVI" else self._fields

    def _listed(self, name: str) -> list[str]:
        text = self._fields.get(name, "").strip()
        return [part.strip() for part in text.strip("{}").split(",")] if text[:1] == "{" else []

    def _numbers(self, name: str, default: float) -> list[float]:
        """One a band; as GDAL has it, a list of another length is not used."""
        numbers = [_to_float(text) for text in self._listed(name)]
        return numbers if len(numbers) == self.count else [default] * self.count


def read_raw(path: Path, why: str) -> Cube:
    """The cube of a data file by its header alone; `why` GDAL does not read it is noted.

    Raises
    ------
    SceneError
        The header is not complete or has a bad-band list of another length, or the file is shorter
        than it says.
    """
    fields = read_fields(path)
    header = header_of(path)
    raw = raw_cube(path, fields)
    if raw is None:
        raise SceneError(
            f"{header} is not a complete ENVI header",
            expected="samples, lines, bands, a data type of real numbers and an interleave",
        )
    offset = number(fields, "header_offset")
    if path.stat().st_size < offset + values_size(fields):
        raise SceneError(
            f"{path} is shorter than its header says",
            expected=f"{offset + values_size(fields)} bytes",
            got=path.stat().st_size,
        )
    crs, transform = parse_map_info(fields.get("map_info", ""))
    projected = fields.get("coordinate_system_string", "").strip("{} ")
    tags = BandTags(_Header(path, fields, raw.shape[0]))
    out, left_out = not_spectral(tags, set(), [])
    data = _as_data(raw)
    if out:
        keep = np.array([i for i in range(tags.count) if i not in out])
        tags.select(keep)
        data = data.isel(band=keep)
    wavelengths, fwhm = tags.spectral()
    scale, plus = tags.scaling()
    ignored = _to_float(fields.get("data_ignore_value", "nan"))
    cube = Cube(
        path,
        data,
        wavelengths=wavelengths,
        fwhm=fwhm,
        good=tags.good(),
        nodata=(ignored,) * tags.count if ignored and ignored == ignored else (),
        empty=(0.0,) if ignored == 0 else (),
        scale=scale,
        offset=plus,
        crs=(wkt_of(projected) if projected else None) or crs,
        transform=transform,
        others=() if header is None else (header,),
    )
    notes = (f"the ENVI header is read without GDAL: {why}", *left_out)
    return replace(cube, notes=(*notes, *scale_note(cube), *tags.unused()))


def raw_cube(path: Path, fields: dict[str, str]) -> RawCube | None:
    """The numbers of a data file by its header's fields; None where they do not say all."""
    kind, order = TYPES.get(number(fields, "data_type")), interleave(fields)
    shape = {k: number(fields, n) for k, n in (("h", "lines"), ("w", "samples"), ("b", "bands"))}
    if kind is None or kind.startswith("c") or order not in INTERLEAVES or not all(shape.values()):
        return None
    axes = {"bsq": "bhw", "bil": "hbw", "bip": "hwb"}[order]
    endian = ">" if number(fields, "byte_order") else "<"
    offset = number(fields, "header_offset")
    return RawCube(path, offset, f"{endian}{kind}", axes, tuple(shape[axis] for axis in axes))


def _as_data(raw: RawCube) -> xr.DataArray:
    return raw.to_xarray((1, raw.shape[2]))


def _to_float(text: str) -> float:
    """The number in front of a comment; NaN for none."""
    try:
        return float(text.split(";")[0].strip("{} "))
    except ValueError:
        return float("nan")
