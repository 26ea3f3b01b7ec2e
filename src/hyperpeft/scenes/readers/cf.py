"""What the attributes of a CF variable say of its values: sign, scale, and which are none.

    _Unsigned                    "true": signed whole numbers are meant unsigned; "false": reverse
    scale_factor, add_offset     physical value = scale_factor * stored + add_offset
    _FillValue, missing_value    values that mark nodata; a list marks several
    valid_min, valid_max,        values beyond are not valid; as stored, or physical ones where they
    valid_range                  are floating point and the variable scaled whole numbers

Source: CF Conventions 1.11, 2.5.1 and 8.1; NetCDF Users Guide, appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.band_values import fits, typed

_MOST_MARKS = 16
_ROUNDING = 1e-6  # of a physical limit, which may have been written in float32
NAMES = (  # of attributes
    "_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min", "valid_max",
    "valid_range", "_Unsigned", "flag_values", "flag_meanings",
)  # fmt: skip


class Stored(NamedTuple):
    """A variable as stored, of a file that xarray does not open."""

    name: str
    dtype: np.dtype
    attrs: Mapping[str, Any]


class ValueRules(NamedTuple):
    """What stored values mean: their type when read, and the rest as in `Cube` for every band."""

    dtype: np.dtype
    scale: float
    offset: float
    marks: tuple[float, ...]
    empty: tuple[float, ...]
    limits: tuple[float, float]

    @property
    def is_scaled(self) -> bool:
        """Whether values mean other numbers than those that are stored."""
        return (self.scale, self.offset) != (1, 0)

    def hides(self, values: np.ndarray) -> np.ndarray:
        """Where one band, of `dtype` and any shape, has no value; 0 is one unless it is a fill."""
        hidden = np.zeros(values.shape, bool)
        for mark in (*self.marks, *self.empty):
            if mark != mark:
                hidden |= values != values
            elif fits(mark, values.dtype):
                hidden |= values == typed(mark, values.dtype)
        low, high = self.limits
        return hidden | (values < low) | (values > high)

    def physical(self, values: np.ndarray) -> np.ndarray:
        """Values as scaled, in float64; as they are where there is no scale."""
        if not self.is_scaled:
            return values
        return self.scale * values.astype(np.float64) + self.offset


def value_rules(path: Path, values: xr.DataArray | Stored) -> ValueRules:
    """Read the attributes of a variable that is opened as stored.

    A fill value of 0 marks only the pixels that have it in every band: Zarr stores one for every
    array, by default 0, which is a dark band as often as not.

    Raises
    ------
    SceneError
        An attribute has another type or size than it should, or cannot be honoured.
    """
    dtype = _dtype(path, values)
    (scale,) = _numbers(path, values, "scale_factor", 1) or [1]
    (offset,) = _numbers(path, values, "add_offset", 1) or [0]
    fills: set[float] = set()
    for name in ("_FillValue", "missing_value"):
        fills |= {
            reinterpreted(value, values.dtype, dtype) for value in _numbers(path, values, name)
        }
    if len(fills) > _MOST_MARKS:
        raise SceneError(
            f"{path}:{values.name}: values that mark nodata",
            expected=f"at most {_MOST_MARKS}",
            got=len(fills),
        )
    marks = tuple(sorted(value for value in fills if value != 0))
    return ValueRules(
        dtype,
        float(scale),
        float(offset),
        marks=marks,
        empty=(0.0,) if 0 in fills else (),
        limits=_limits(path, values, dtype, scale, offset),
    )


def _dtype(path: Path, values: xr.DataArray | Stored) -> np.dtype:
    stored, said = values.dtype, values.attrs.get("_Unsigned")
    if said is None or stored.kind not in "iu":
        return stored
    one = np.ravel(np.asarray(said, dtype=object))[0] if np.size(said) else ""
    text = one.decode("ascii", "replace") if isinstance(one, bytes) else str(one)
    kind = {"true": "u", "false": "i"}.get(text.strip().lower())
    if kind is None:
        raise _wrong_attribute(path, values, "_Unsigned", "true or false")
    return stored if kind == stored.kind else np.dtype(f"{kind}{stored.itemsize}")


def _limits(
    path: Path, values: xr.DataArray | Stored, dtype: np.dtype, scale: float, offset: float
) -> tuple[float, float]:
    """The lowest and the highest valid value, as stored."""
    lowest, highest = -math.inf, math.inf
    for name, size in (("valid_min", 1), ("valid_max", 1), ("valid_range", 2)):
        found = _numbers(path, values, name, size)
        if not found:
            continue
        if (scale, offset) != (1, 0) and dtype.kind == "f":
            raise _wrong_attribute(
                path, values, name, "no such limit of floating point that is scaled"
            )
        physical = (scale, offset) != (1, 0) and any(isinstance(v, float) for v in found)
        if not physical:
            found = [reinterpreted(value, values.dtype, dtype) for value in found]
        low = found[0] if name != "valid_max" else -math.inf
        high = found[-1] if name != "valid_min" else math.inf
        if not low <= high:
            raise _wrong_attribute(path, values, name, "numbers, the lower one first")
        if physical and scale and math.isfinite(scale):  # another scale is refused later
            low, high = sorted((limit - offset) / scale for limit in (low, high))
            low, high = (x + s * _ROUNDING * max(1, abs(x)) for x, s in ((low, -1), (high, 1)))
        lowest, highest = max(lowest, low), min(highest, high)
    return lowest, highest


def reinterpreted(value: float, stored: np.dtype, dtype: np.dtype) -> float:
    """A value of the stored type as one of the type that is read instead."""
    if dtype == stored or not float(value).is_integer():
        return value
    span = 2 ** (8 * dtype.itemsize)
    value = int(value) % span
    return value - span if dtype.kind == "i" and value >= span // 2 else value


def _numbers(
    path: Path, values: xr.DataArray | Stored, name: str, size: int | None = None
) -> list[float]:
    """The numbers of an attribute, whole ones as int; none where it is missing."""
    if name not in values.attrs:
        return []
    expected = {None: "numbers", 1: "a number"}.get(size, f"{size} numbers")
    try:
        found = [
            int(value) if isinstance(value, int) and abs(value) < 2**64 else float(value)
            for value in np.ravel(values.attrs[name]).tolist()
        ]
    except (TypeError, ValueError, OverflowError):
        raise _wrong_attribute(path, values, name, expected) from None
    if size is not None and len(found) != size:
        raise _wrong_attribute(path, values, name, expected)
    return found


def _wrong_attribute(
    path: Path, values: xr.DataArray | Stored, name: str, expected: str
) -> SceneError:
    found = values.attrs[name]
    found = found.tolist() if isinstance(found, np.ndarray | np.generic) else found
    return SceneError(f"{path}:{values.name}: attribute {name}", expected=expected, got=repr(found))
