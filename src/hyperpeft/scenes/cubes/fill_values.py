"""Values that mark nodata although the file may not say so, in the cube's own number type.

    -32768, -9999 in every band             nodata that nobody declared
    one negative number in every band       the same, where there are enough bands to tell
    the largest number of the type          the same; of 32 and more bits, in one band already
    beyond 1e10 as a physical value         fills of CF, NetCDF and ArcGIS, declared or not
    0 in every band, from the edge inwards  ground outside a strip or a flight

A pixel of zeros inside the scene is dark ground as often as not, and stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SENTINELS = (-32768.0, -9999.0)
HUGE = 1e10  # no reflectance, radiance or count is as large
_MANY_BANDS = 4  # in which one and the same number is no measurement


def impossible(block: np.ndarray, largest: np.ndarray | float) -> np.ndarray | None:
    """Values (B, rows, columns) that no measurement has; None where the type has no such values.

    `largest` is the largest absolute value as stored, a number or (B, 1, 1).
    """
    if block.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            size = np.abs(block)
            return (size > largest) & np.isfinite(size)
    if block.dtype.kind not in "iu" or block.dtype.itemsize < 4:
        return None
    limits = np.iinfo(block.dtype)
    found: np.ndarray = block == limits.max
    return found | (block == limits.min) if limits.min else found


def constants(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (rows, columns) of one fill value in every band, and those of 0 in every band."""
    first = block[0]
    if block.dtype.kind == "b":
        return np.zeros(first.shape, bool), np.zeros(first.shape, bool)
    same = candidates(first, len(block))
    if same.any():
        same[same] = (block[:, same] == first[same]).all(axis=0)
    zeros = same & (first == 0)
    return same & ~zeros, zeros


def candidates(first: np.ndarray, bands: int) -> np.ndarray:
    """Pixels whose first band may be part of a fill in every band."""
    kind, size = first.dtype.kind, first.dtype.itemsize
    marks = np.isin(first, [v for v in SENTINELS if fits(v, first.dtype)])
    if bands < _MANY_BANDS:
        return marks
    if kind in "iu" and size > 1:
        marks |= first == np.iinfo(first.dtype).max
    with np.errstate(invalid="ignore"):
        return marks | (first <= 0) if kind != "b" else marks


def from_the_edge(mask: np.ndarray) -> np.ndarray:
    """The part of a mask (H, W) that is connected with the edge of the image."""
    from scipy.ndimage import label  # slow to load, for scenes with zeros alone

    regions, count = label(mask)
    if not count:
        return mask
    edges = (regions[0], regions[-1], regions[:, 0], regions[:, -1])
    known = np.unique(np.concatenate(edges))
    found: np.ndarray = np.isin(regions, known[known > 0])
    return found


def all_equal(block: np.ndarray, value: float) -> np.ndarray:
    """Where every band has the value; the other bands are looked at only where the first has."""
    number = block.dtype.type(value)
    found = block[0] == number
    if found.any():
        found[found] = (block[:, found] == number).all(axis=0)
    return found


def typed(value: float, dtype: np.dtype) -> Any:
    """A value in the number type of a cube."""
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype)


def as_column(nodata: tuple[float | None, ...], dtype: np.dtype) -> np.ndarray | None:
    """Nodata per band as (B, 1, 1) in the cube's type; None if no band has one that fits."""
    possible = [n is not None and fits(n, dtype) for n in nodata]
    if not any(possible):
        return None
    if not all(possible):  # bands without nodata compare with NaN, which equals nothing
        return np.array(
            [n if ok else np.nan for n, ok in zip(nodata, possible, strict=True)], dtype=np.float64
        ).reshape(-1, 1, 1)
    with np.errstate(over="ignore"):
        return np.array(nodata).astype(dtype).reshape(-1, 1, 1)


def fits(value: float, dtype: np.dtype) -> bool:
    """Whether a value can occur in an array of that type (NaN never compares equal)."""
    if dtype.kind == "f":
        return value == value
    if dtype.kind == "b" or not np.isfinite(value) or value != int(value):
        return False
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)
