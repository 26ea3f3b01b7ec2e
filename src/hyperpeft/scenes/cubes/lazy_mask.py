"""A mask (H, W) whose blocks are looked at when they are asked for: of scenes on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

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
        spans = [_span(part, n) for part, n in zip(parts, self.shape, strict=False)]
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


def _span(key: Any, length: int) -> tuple[int, int] | None:
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
