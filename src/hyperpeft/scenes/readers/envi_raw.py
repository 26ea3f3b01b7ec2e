"""ENVI cubes whose header GDAL does not read to its end, though it says all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.cube import Cube, to_nm, widths_to_nm
from hyperpeft.scenes.cubes.lazy import LazyCube
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

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


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
    """Whether the header of a data file begins with a byte-order mark and is ENVI's behind it."""
    header = header_of(path)
    if header is None:
        return False
    with header.open("rb") as file:
        head = file.read(16)
    return head.startswith(b"\xef\xbb\xbfENVI") or head[2:10].replace(b"\0", b"") == b"ENVI"


def read_raw(path: Path, why: str) -> Cube:
    """The cube of a data file by its header alone; `why` GDAL does not read it is noted.

    Raises
    ------
    SceneError
        The header is not complete, or the file is shorter than it says.
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
    centres, widths = _numbers(fields, "wavelength"), _numbers(fields, "fwhm")
    units = fields.get("wavelength_units", "").strip()
    ignored = _numbers(fields, "data_ignore_value")
    good = _numbers(fields, "bbl")
    bands = raw.shape[0]
    return Cube(
        path,
        _as_data(raw),
        wavelengths=to_nm(centres, units) if len(centres) == bands else None,
        fwhm=widths_to_nm(widths, units, centres) if len(widths) == bands == len(centres) else None,
        good=good != 0 if len(good) == bands else None,
        nodata=(float(ignored[0]),) * bands if len(ignored) == 1 and ignored[0] != 0 else (),
        empty=(0.0,) if len(ignored) == 1 and ignored[0] == 0 else (),
        crs=(wkt_of(projected) if projected else None) or crs,
        transform=transform,
        others=() if header is None else (header,),
        notes=(f"the ENVI header is read without GDAL: {why}",),
    )


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


def _numbers(fields: dict[str, str], name: str) -> np.ndarray:
    return np.array([float(n) for n in _NUMBER.findall(fields.get(name, ""))])
