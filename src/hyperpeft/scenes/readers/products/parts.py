"""Parts of a product that may be missing or not fit: the cube is read without them, with a note."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import h5py
import numpy as np

from hyperpeft.scenes.readers.place import Place, place_of_degrees

T = TypeVar("T")


class PartError(Exception):
    """A part of a product is missing, or does not fit the cube."""


def part(notes: list[str], read: Callable[..., T], *arguments: Any) -> T | None:
    """What `read` returns; None, and a note, where it raises a `PartError`."""
    try:
        return read(*arguments)
    except PartError as problem:
        notes.append(f"{problem}: not used")
        return None


def vector(file: h5py.File, name: str, count: int) -> np.ndarray:
    """The numbers of a dataset or an attribute "DATASET@NAME", one for each band.

    Raises
    ------
    PartError
        It is missing, of other values, or of another length.
    """
    holder, _, attribute = name.partition("@")
    try:
        item = file[holder or "/"]
        stored = item.attrs[attribute] if attribute else item[()]
        values = np.asarray(stored, dtype=np.float64).ravel()
    except (KeyError, ValueError, TypeError, AttributeError, OSError):
        raise PartError(f"{attribute or holder} is missing or holds no numbers") from None
    if len(values) != count:
        what = "1 value" if len(values) == 1 else f"{len(values)} values"
        raise PartError(f"{attribute or holder} has {what} instead of {count}")
    return values


def number(file: h5py.File, name: str) -> float:
    """The one number of a dataset or an attribute, as `vector`."""
    return float(vector(file, name, 1)[0])


def degrees_place(file: h5py.File, lat: str, lon: str, shape: tuple[int, ...]) -> Place:
    """The place that latitudes and longitudes of every pixel (H, W) give.

    Raises
    ------
    PartError
        They are missing, or of another shape.
    """
    grids: list[Any] = [file.get(name) for name in (lon, lat)]
    if any(getattr(grid, "shape", None) != shape for grid in grids):
        raise PartError(f"{lat} and {lon} are missing or of another shape than the cube")
    x, y = (np.asarray(grid[()], dtype=np.float64) for grid in grids)
    return place_of_degrees(x, y)
