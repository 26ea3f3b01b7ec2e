"""Cubes that stay on disk: reading a window touches that window and nothing else.

A `LazyCube` is what xarray calls a backend array: a shape, a type and a way to read. Each kind of
file has one method to write, `window`; slices, steps, single rows and lists of bands come from
here. Files are opened for each window and closed behind it, so a cube can be pickled, sent to
another process and read by several threads.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.lib.mixins import NDArrayOperatorsMixin
from xarray.backends import BackendArray
from xarray.core import indexing

from hyperpeft.errors import SceneError
from hyperpeft.system.resources import require_memory

DIMS = ("band", "y", "x")
_CHUNK_CACHE = 2**26  # bytes, so that HDF5 decodes a chunk once for one window


class LazyCube(BackendArray):
    """A cube (B, H, W) that is read by windows.

    Attributes
    ----------
    shape : (int, int, int)
    dtype : dtype
    """

    shape: tuple[int, int, int]
    dtype: np.dtype

    @abstractmethod
    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Read (len(bands), rows, columns); the slices lie inside the cube and have no step."""

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        bands = np.arange(self.shape[0])[key[0]]
        rows, inner_rows = _span(key[1], self.shape[1])
        columns, inner_columns = _span(key[2], self.shape[2])
        wanted = np.atleast_1d(bands)
        if 0 in (len(wanted), rows.stop - rows.start, columns.stop - columns.start):
            block = np.empty((len(wanted), rows.stop - rows.start, columns.stop - columns.start))
            block = block.astype(self.dtype)
        else:
            block = self.window(wanted, rows, columns)
        block = block[..., inner_columns][:, inner_rows]
        return block if bands.ndim else block[0]

    def to_xarray(self, block: tuple[int, int] | None = None) -> xr.DataArray:
        """As a DataArray of dims band, y, x; `block` is what the file stores together."""
        data = xr.DataArray(xr.Variable(DIMS, indexing.LazilyIndexedArray(self)))
        if block is not None:
            data.encoding["preferred_chunks"] = {"y": block[0], "x": block[1]}
        return data


def _span(key: Any, length: int) -> tuple[slice, Any]:
    """The stretch of an axis that holds all wanted indices, and where they are in it."""
    wanted = np.arange(length)[key]
    if not wanted.ndim:
        return slice(int(wanted), int(wanted) + 1), 0
    if not len(wanted):
        return slice(0, 0), slice(None)
    start, stop = int(wanted.min()), int(wanted.max()) + 1
    if len(wanted) == stop - start and (len(wanted) == 1 or wanted[0] < wanted[-1]):
        return slice(start, stop), slice(None)
    return slice(start, stop), wanted - start


class StoredCube(LazyCube):
    """A 3-D array of an .npy, HDF5 or Zarr file, its axes in any order.

    Parameters
    ----------
    kind : {"npy", "hdf5", "zarr"}
    path : Path
    name : str
        The array inside the file; "" in an .npy file.
    axes : str
        The file's order of the axes, such as "hwb".
    """

    def __init__(self, kind: str, path: Path, name: str, axes: str) -> None:
        self.kind, self.path, self.name, self.axes = kind, path, name, axes
        with self._open() as array:
            stored, self.dtype = array.shape, np.dtype(array.dtype)
            chunks = getattr(array, "chunks", None)
        check_chunks(path, name, chunks, self.dtype)
        bands, height, width = (int(stored[axes.index(axis)]) for axis in "bhw")
        self.shape = (bands, height, width)
        rows, columns = (chunks[axes.index(a)] for a in "hw") if chunks else _contiguous(axes)
        self.block = (rows or self.shape[1], columns or self.shape[2])

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if self.kind == "hdf5":
            with h5py.File(self.path, "r", rdcc_nbytes=_CHUNK_CACHE) as file:
                yield file[self.name]
        elif self.kind == "zarr":
            import zarr  # an extra

            yield zarr.open_array(str(self.path), mode="r", path=self.name)
        else:  # mapped for this window alone: a mapping that is kept counts as memory in use
            yield np.load(self.path, mmap_mode="r", allow_pickle=False)

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        first = int(bands.min())
        reach = slice(first, int(bands.max()) + 1)  # lists of indices are slow in HDF5
        where = {"b": reach, "h": rows, "w": columns}
        with self._open() as array:
            block = np.asarray(array[tuple(where[axis] for axis in self.axes)])
            block = block.transpose([self.axes.index(axis) for axis in "bhw"])
            if len(bands) != block.shape[0] or (np.diff(bands) != 1).any():
                return block[bands - first]
            return np.array(block, order="C")


def check_chunks(path: Path, name: str, chunks: Sequence[int] | None, dtype: np.dtype) -> None:
    """Refuse chunks without a value, which zarr divides by, and one beyond the free memory.

    A chunk is decoded whole, and its file may be a thousand times smaller.
    """
    if not chunks:
        return
    if min(chunks) < 1:
        raise SceneError(f"{path}:{name}: chunks", expected="1 or more a side", got=tuple(chunks))
    require_memory(
        f"{path}:{name}: a chunk of {' x '.join(map(str, chunks))} values",
        math.prod(chunks) * dtype.itemsize,
        hint="write it again with smaller chunks",
        error=SceneError,
    )


def _contiguous(axes: str) -> tuple[int, int]:
    """Rows and columns to read together where the file is not chunked; 0 means all of them."""
    return (0, 1) if axes.index("w") < axes.index("h") else (1, 0)


class RetypedCube(LazyCube):
    """A cube of whole numbers whose bytes are meant as another type of the same size."""

    def __init__(self, stored: xr.DataArray, dtype: np.dtype) -> None:
        self.stored, self.dtype = stored, dtype
        bands, height, width = stored.shape
        self.shape = (bands, height, width)

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        return self.stored.isel(band=bands, y=rows, x=columns).values.astype(self.dtype)


class StackedCube(LazyCube):
    """Cubes of the same rows and columns, one behind the other along the bands."""

    def __init__(self, parts: Sequence[xr.DataArray]) -> None:
        self.parts = list(parts)
        sizes = [part.shape[0] for part in self.parts]
        self.starts = np.cumsum([0, *sizes])
        _, height, width = self.parts[0].shape
        self.shape = (int(self.starts[-1]), height, width)
        self.dtype = np.result_type(*(part.dtype for part in self.parts))

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        out = np.empty(
            (len(bands), rows.stop - rows.start, columns.stop - columns.start), self.dtype
        )
        for part, start, stop in zip(self.parts, self.starts, self.starts[1:], strict=False):
            here = np.flatnonzero((bands >= start) & (bands < stop))
            if len(here):
                wanted = bands[here] - start
                out[here] = part.isel(band=wanted, y=rows, x=columns).values
        return out


class ScaledCube(LazyCube):
    """Stored values times a scale plus an offset, per band: float32, or float64 as stored."""

    def __init__(self, stored: xr.DataArray, scale: np.ndarray, offset: np.ndarray) -> None:
        self.stored = stored
        self.scale, self.offset = scale, offset
        bands, height, width = stored.shape
        self.shape = (bands, height, width)
        self.dtype = np.dtype(np.float64 if stored.dtype == np.float64 else np.float32)

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        block = self.stored.isel(band=bands, y=rows, x=columns).values.astype(self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # in pixels that are masked
            block *= self.scale[bands, None, None].astype(self.dtype)
            block += self.offset[bands, None, None].astype(self.dtype)
        return block


Look = Callable[[slice, slice], np.ndarray]


class LazyMask(NDArrayOperatorsMixin):
    """Behaves as an array of bool; what is known is kept.

    A window `mask[rows, columns]` of slices or indices looks at the blocks that it touches;
    anything else, such as `mask.sum()` or `np.argwhere(mask)`, looks at the whole.

    Parameters
    ----------
    shape : (int, int)
    block : (int, int)
        Rows and columns that are looked at together.
    look : callable
        From two slices to an array of bool.
    """

    dtype = np.dtype(bool)
    ndim = 2

    def __init__(self, shape: tuple[int, int], block: tuple[int, int], look: Look) -> None:
        self.shape, self.look = shape, look
        self.block = min(block[0], shape[0]), min(block[1], shape[1])
        self.size = shape[0] * shape[1]
        self.values = np.zeros(shape, bool)
        self.known = np.zeros([-(-n // b) for n, b in zip(shape, self.block, strict=True)], bool)

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        spans = [_mask_span(part, n) for part, n in zip(parts, self.shape, strict=False)]
        spans += [(0, n) for n in self.shape[len(spans) :]]
        if len(parts) > 2 or None in spans:
            self._look_at((0, self.shape[0]), (0, self.shape[1]))
        else:
            self._look_at(*(span for span in spans if span is not None))
        return self.values[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._look_at((0, self.shape[0]), (0, self.shape[1]))
        return np.array(self.values, dtype=dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.asarray(i) if isinstance(i, LazyMask) else i for i in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        height, width = self.shape
        return f"<LazyMask {height} x {width}, {100 * self.known.mean():.0f} % looked at>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("shape", "values", "known", "block", "look", "size"):
            raise AttributeError(name)  # while it is unpickled
        return getattr(np.asarray(self), name)

    def _look_at(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            return
        high, wide = self.block
        for i in range(rows[0] // high, -(-rows[1] // high)):
            for j in range(columns[0] // wide, -(-columns[1] // wide)):
                if self.known[i, j]:
                    continue
                where = (
                    slice(i * high, min((i + 1) * high, self.shape[0])),
                    slice(j * wide, min((j + 1) * wide, self.shape[1])),
                )
                self.values[where] = self.look(*where)
                self.known[i, j] = True


def _mask_span(key: Any, length: int) -> tuple[int, int] | None:
    """The first index and the one behind the last that a key of one axis takes; None: any."""
    if isinstance(key, slice):
        taken = range(*key.indices(length))
        return (min(taken), max(taken) + 1) if len(taken) else (0, 0)
    if isinstance(key, int | np.integer):
        index = int(key) % length if -length <= key < length else 0  # numpy refuses it
        return index, index + 1
    array = np.asarray(key)
    if array.dtype.kind not in "iu" or not array.size:
        return None
    return (int(array.min()), int(array.max()) + 1) if array.min() >= 0 else (0, length)
